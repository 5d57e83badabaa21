"""`volley smpp status, connect, drain, disconnect`: the running dispatcher's binds, and an operator's hand on them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dispatcher.cli.common import Call, common
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, ConnectBind, DisconnectBind, DrainBind, Envelope

WATCH_S = 1.0
PIPED_COLUMNS = 200
COLUMNS = ("bind", "state", "for", "address", "window", "out/s", "in/s", "p50 ms", "p99 ms", "refused", "last error")
STYLES = {"bound": "green", "connecting": "yellow", "draining": "yellow", "drained": "yellow"}


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
    """Every bind: state, window, rates, response times, refusals, alarms with their remedy.

    Exit status 1 when an endpoint has an alarm or a bind that is not bound.

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
    alarms = [alarm for one in endpoints for alarm in one["alarms"]]
    return {"as_of_ms": status["as_of_ms"], "endpoints": endpoints, "binds": binds, "alarms": alarms}


def _shown(seen: dict[str, Any]) -> Group:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        right, last = column in COLUMNS[4:9], column == COLUMNS[-1]
        table.add_column(column, justify="right" if right else "left", no_wrap=not last, overflow="fold")
    for bind in seen["binds"]:
        refused = sum(error["count"] for error in bind["errors"])
        latest = f" {bind['errors'][0]['name']}" if bind["errors"] else ""
        table.add_row(
            bind["name"] + ("" if bind["mode"] == "trx" else f" {bind['mode']}"),
            Text(bind["state"], STYLES.get(bind["state"], "red")),
            _span(seen["as_of_ms"] - bind["since_ms"]),
            bind["address"] + (" TLS" if bind["tls"] else ""),
            f"{bind['in_flight']}/{bind['window']}",
            f"{bind['submits_per_s']:,.0f}",
            f"{bind['receipts_per_s']:,.0f}",
            _ms(bind["response_ms_p50"]),
            _ms(bind["response_ms_p99"]),
            f"{refused:,}{latest}" if refused else "",
            Text(bind["last_error"]),
        )
    lines: list[Any] = [table]
    for one in seen["endpoints"]:
        if one["flow"]["limit"]:
            now = f"{one['endpoint']}: {one['flow']['limit']:,} parts/s now of {one['rate'] or 'any'}"
            lines.append(Text(f"{now} ({one['flow']['why']}, {one['flow']['events']} times)", "yellow"))
    lines += [Text(f"{alarm['object']}: {alarm['text']}\n  -> {alarm['remedy']}", "red") for alarm in seen["alarms"]]
    return Group(*lines)


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
    f"Bind again at once, whatever was refused or asked for before.\n\n{_WHICH}\n\n\b\n"
    "volley smpp connect main --reason 'new password'",
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
