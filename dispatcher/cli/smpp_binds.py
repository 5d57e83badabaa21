"""`volley smpp status` shows the running dispatcher's binds; `pause, drain, connect, rate, reload` ... change them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dispatcher.cli.common import Call, common
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock, rfc3339
from dispatcher.control.commands import (
    AskStatus,
    ConnectBind,
    DisconnectBind,
    DrainBind,
    Envelope,
    PauseBind,
    RateEndpoint,
    ReconnectBind,
    ReloadEndpoints,
)

WATCH_S = 1.0
PIPED_COLUMNS = 200
COLUMNS = ("bind", "state", "for", "window", "out/s", "in/s", "p50 ms", "p99 ms", "refused")
STYLES = {"bound": "green", "closed": "red", "disconnected": "red"}


def ask_running(call: Call, command: Any, reason: str = "") -> dict[str, Any]:
    """The running dispatcher's answer. Raises ClickException when none runs: nobody else has binds."""
    envelope = Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms(), reason=reason)
    reply = ask(call.settings, command, envelope)
    if reply is None:
        raise click.ClickException(f"no dispatcher runs on {call.settings.data}")
    return reply


@click.command("status")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C; with --json a line each time.")
@click.argument("endpoint", required=False)
@common
def status_command(call: Call, endpoint: str | None, watch: bool) -> None:
    """Every bind: state, window, rates, response times, refusals by code, last errors, alarms with their remedy.

    Exit status 1 when there is an alarm, or a bind that is not bound.

    \b
    volley smpp status
    volley smpp status main --watch
    volley smpp status --json | jq .alarms
    """
    if not watch:
        seen = _look(call, endpoint)
        if call.json:
            click.echo(json.dumps(seen, ensure_ascii=False))
        else:
            Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(_shown(seen))
        if seen["alarms"] or any(bind["state"] != "bound" for bind in seen["binds"]):
            raise SystemExit(1)
        return
    try:
        _watch(call, endpoint)
    except KeyboardInterrupt:
        click.echo()


def _watch(call: Call, endpoint: str | None) -> None:
    if call.json:
        while True:
            click.echo(json.dumps(_look(call, endpoint), ensure_ascii=False))
            time.sleep(WATCH_S)
    with Live(_shown(_look(call, endpoint)), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(_shown(_look(call, endpoint)), refresh=True)


def _look(call: Call, endpoint: str | None) -> dict[str, Any]:
    status = ask_running(call, AskStatus())
    names = sorted({bind["endpoint"] for bind in status["binds"]})
    if endpoint is not None and endpoint not in names:
        raise click.UsageError(f"no endpoint {endpoint!r}: there are {', '.join(names) or 'none'}")

    def of(kind: str) -> list[dict[str, Any]]:
        return [one for one in status.get(kind, ()) if endpoint in (None, one["endpoint"])]

    endpoints, binds = of("endpoints"), of("binds")
    others = {alarm["object"] for one in status["endpoints"] if one not in endpoints for alarm in one["alarms"]}
    alarms = [alarm for alarm in status["alarms"] if alarm["object"] not in others]
    kept = {"kept_ids": status.get("kept_ids")} if endpoint is None else {}
    return {"as_of_ms": status["as_of_ms"], "endpoints": endpoints, "binds": binds, "alarms": alarms, **kept}


def _shown(seen: dict[str, Any]) -> Group:
    if not seen["endpoints"]:
        return Group(Text("no endpoint is configured: everything but sending works"), *_alarms(seen))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[3:] else "left", no_wrap=True)
    for bind in seen["binds"]:
        refused = sum(error["count"] for error in bind["errors"])
        table.add_row(
            bind["name"] + ("" if bind["mode"] == "trx" else f" {bind['mode']}"),
            Text(bind["state"], STYLES.get(bind["state"], "yellow")),
            _span(seen["as_of_ms"] - bind["since_ms"]),
            f"{bind['in_flight']}/{bind['window']}",
            f"{bind['submits_per_s']:,.0f}",
            f"{bind['receipts_per_s']:,.0f}",
            _ms(bind["response_ms_p50"]),
            _ms(bind["response_ms_p99"]),
            f"{refused:,}" if refused else "",
        )
    known = {alarm["text"] for alarm in seen["alarms"]}
    errors = [
        (bind["name"], ("ended before: " if bind["state"] in ("bound", "paused") else "") + bind["last_error"])
        for bind in seen["binds"]
        if bind["last_error"] and bind["last_error"] not in known
    ]
    codes = [(bind["name"], ", ".join(f"{e['count']:,} {e['name']}" for e in bind["errors"])) for bind in seen["binds"]]
    return Group(
        table,
        *(Text(_endpoint(one, seen["binds"]), "yellow" if one["flow"]["limit"] else "") for one in seen["endpoints"]),
        *map(Text, _together(codes, seen)),
        *map(Text, _together(errors, seen)),
        *_kept(seen),
        *_alarms(seen),
    )


def _kept(seen: dict[str, Any]) -> Iterator[Text]:
    """message_ids that can be looked up after their log is gone: `volley message find`."""
    if kept := seen.get("kept_ids"):
        since = f" since {rfc3339(kept['oldest_ms'])}" if kept["oldest_ms"] else ""
        size = f"{kept['segments']:,} segments, {kept['octets'] / 1e6:,.1f} MB"
        until = f"each for {kept['days']:g} days" if kept["days"] else "no more are kept"
        yield Text(f"message_ids: {kept['ids']:,} kept{since} in {size}; {until}")


def _alarms(seen: dict[str, Any]) -> Iterator[Text]:
    told = [(alarm["object"], f"{alarm['text']}\n  -> {alarm['remedy']}") for alarm in seen["alarms"]]
    return (Text(line, "red") for line in _together(told, seen))


def _endpoint(one: dict[str, Any], binds: list[dict[str, Any]]) -> str:
    """Where it is bound, and at which pace."""
    own = [bind for bind in binds if bind["endpoint"] == one["endpoint"]]
    places = ", ".join(dict.fromkeys(bind["address"] + (" TLS" if bind["tls"] else "") for bind in own))
    pace = f", at most {one['rate']:,} parts/s" if one["rate"] else ""
    if one["flow"]["limit"]:
        flow = one["flow"]
        pace = f", {flow['limit']:,} parts/s now of {one['rate'] or 'any'} ({flow['why']}, {flow['events']} times)"
    submit = sum(bind["mode"] != "rx" for bind in own)
    return f"{one['endpoint']}: {one['bound']} of {submit} bound to {places}{pace}"


def _together(found: Iterable[tuple[str, str]], seen: dict[str, Any]) -> Iterator[str]:
    """A line for each text: binds that say the same are named together, all of an endpoint by its name."""
    names: dict[str, list[str]] = {}
    for name, text in found:
        if text:
            names.setdefault(text, []).append(name)
    for text, those in names.items():
        left = those
        for one in seen["endpoints"]:
            own = [bind["name"] for bind in seen["binds"] if bind["endpoint"] == one["endpoint"]]
            if own and set(own) <= set(left):
                left = [one["endpoint"], *(name for name in left if name not in own)]
        yield f"{', '.join(left)}: {text}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _span(ms: int) -> str:
    seconds = max(0, ms // 1000)
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _hand(word: str, command: Callable[..., Any], meaning: str) -> click.Command:
    @click.command(word, help=meaning, short_help=meaning.split("\n")[0])
    @click.argument("bind", metavar="BIND")
    @click.option("--reason", required=True, help="Kept in the audit.")
    @common
    def hand(call: Call, bind: str, reason: str) -> None:
        reply = ask_running(call, command(bind=bind), reason)
        call.show(reply, f"{word}: {', '.join(reply['binds'])}")

    return hand


_WHICH = "BIND is endpoint.number, or an endpoint for all its binds."
connect_command = _hand(
    "connect", ConnectBind,
    f"Bind and submit again at once, whatever was refused or asked for before.\n\n{_WHICH}\n\n\b\n"
    "volley smpp connect main --reason 'new password'",
)  # fmt: skip
pause_command = _hand(
    "pause", PauseBind,
    f"Submit nothing more; stay bound for receipts and texts.\n\n{_WHICH} It stays so until connected or a restart; "
    "where routes name another endpoint, that one takes over.\n\n\b\n"
    "volley smpp pause main --reason 'carrier asks for an hour'",
)  # fmt: skip
reconnect_command = _hand(
    "reconnect", ReconnectBind,
    f"Make a connection anew: its window is answered first, then it binds again at once.\n\n{_WHICH}\n\n\b\n"
    "volley smpp reconnect main.2 --reason 'receipts stopped'",
)  # fmt: skip
drain_command = _hand(
    "drain", DrainBind,
    f"Submit nothing more on a bind, unbind once its window is answered.\n\n{_WHICH} It stays so until connected or a "
    "restart.\n\n\b\nvolley smpp drain main.0 --reason 'carrier works on it tonight'",
)  # fmt: skip
disconnect_command = _hand(
    "disconnect", DisconnectBind,
    f"End a connection now; what is in its window becomes uncertain.\n\n{_WHICH} It stays so until connected or a "
    "restart.\n\n\b\nvolley smpp disconnect main.3 --reason 'stuck'",
)  # fmt: skip


@click.command("rate")
@click.argument("endpoint")
@click.argument("parts_per_s", metavar="PARTS/S", type=int)
@click.option("--reason", required=True, help="Kept in the audit.")
@common
def rate_command(call: Call, endpoint: str, parts_per_s: int, reason: str) -> None:
    """Another pace of a whole account from now on; 0: no limit of ours.

    It holds until a reload or a restart reads the configuration's.

    \b
    volley smpp rate main 500 --reason 'carrier is slow today'
    """
    reply = ask_running(call, RateEndpoint(endpoint=endpoint, parts_per_s=parts_per_s), reason)
    call.show(reply, f"{endpoint}: " + (f"{parts_per_s:,} parts/s" if parts_per_s else "no limit"))


@click.command("reload")
@click.option("--reason", required=True, help="Kept in the audit.")
@common
def reload_command(call: Call, reason: str) -> None:
    """Read endpoints, routes and rates from the settings anew; binds that they do not change live on.

    Settings with an error change nothing. As SIGHUP, with an answer.

    \b
    volley smpp reload --reason 'new route to France'
    """
    reply = ask_running(call, ReloadEndpoints(), reason)
    done = {what: names for what, names in reply.items() if what != "id" and names}
    call.show(reply, "\n".join(f"{what}: {', '.join(names)}" for what, names in done.items()) or "nothing changed")
