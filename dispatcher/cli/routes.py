"""`volley route` and `volley smpp route`: which endpoints messages take, why, and the table of ported numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dispatcher.cli.common import Call, common
from dispatcher.cli.talk import ask, send
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, DeleteRoute, Envelope, PutRoute, TurnPorted
from dispatcher.errors import CommandRefused, StoreLocked
from dispatcher.records.states import Purpose
from dispatcher.routes.explain import explain, router_of
from dispatcher.routes.ported import READ_OCTETS, drop_old, get_ported, read_ported, write_slice
from dispatcher.routes.router import Context
from dispatcher.routes.stored import KEYS, as_dict, routes_in_force
from dispatcher.store import open_store
from dispatcher.tenants.tenant import get_tenant

PURPOSES = [purpose.value for purpose in Purpose]
LISTS = tuple(name for name, item in KEYS.items() if str(item.type).startswith("tuple"))


def envelope(reason: str = "") -> Envelope:
    return Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms(), reason=reason)


@click.command("route")
@click.argument("number")
@click.option("--purpose", type=click.Choice(PURPOSES), default="marketing", show_default=True)
@click.option("--tenant", type=int, default=1, show_default=True)
@click.option("--sender", help="Default: the tenant's.")
@common
def explain_command(call: Call, number: str, purpose: str, tenant: int, sender: str | None) -> int:
    """Which endpoint a number takes, and why: every route that was looked at.

    Exit status 1 when no route fits.

    \b
    volley smpp route 8613800000000
    volley smpp route 8613800000000 --purpose otp --sender SHOP --json
    """
    digits = number.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and 1 <= len(digits) <= 15) or digits.startswith("0"):
        raise click.UsageError(f"number {number!r}: 1 to 15 digits, with the country's, as in 8613800000000")
    status = ask(call.settings, AskStatus(), envelope())
    bound = None if status is None else {one["endpoint"]: one["bound"] > 0 for one in status["endpoints"]}
    with open_store(call.settings.data) as store, store.snapshot() as view:
        of = get_tenant(view, tenant)
        router, names = router_of(view, call.settings.endpoints, call.settings.routes, bound)
        context = Context(Purpose(purpose), tenant, sender if sender is not None else of.sender if of else "")
        found = explain(view, router, names, int(digits), context, SystemClock().epoch_ms())
    if call.json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        click.echo(f"{found['number']}: {found['endpoint'] or found['reason']}\n{found['why']}")
        table = Table("route", "from", "fits", "why not", box=None)
        for one in found["routes"]:
            table.add_row(one["route"], one["source"], "yes" if one["fits"] else "no", one["why"])
        Console().print(table)
    return int(found["reason"] == "no_route")


@click.group("route")
def route_group() -> None:
    """Which endpoints messages take. Rows stored here go before the file's [[route]] of the same name."""


@route_group.command("list")
@common
def list_command(call: Call) -> None:
    """Routes in force, and what is loaded of ported numbers.

    \b
    volley route list
    volley route list --json
    """
    with open_store(call.settings.data) as store, store.snapshot() as view:
        found = [{**as_dict(one.route), "source": one.source} for one in routes_in_force(view, call.settings.routes)]
        ported = get_ported(view)
    if call.json:
        click.echo(json.dumps({"routes": found, "ported": {"count": ported.count, "file": ported.file}}))
        return
    table = Table("route", "from", "on", "endpoints", "failover", "prefixes", "networks", "cost", box=None)
    for one in found:
        cells = [one["endpoints"], one["failover"], one["prefixes"], one["networks"]]
        table.add_row(
            one["name"], one["source"], "yes" if one["enabled"] else "no", *(", ".join(cell) for cell in cells),
            str(one["cost"]),
        )  # fmt: skip
    Console().print(table)
    if not any(one["enabled"] for one in found):
        click.echo("no route is enabled: every endpoint gets its share by weight")
    if ported.count:
        click.echo(f"{ported.count:,} ported numbers from {ported.file}, {len(ported.networks)} networks")


@route_group.command("put")
@click.argument("name")
@click.argument("values", nargs=-1, metavar="KEY=VALUE...")
@common
def put_command(call: Call, name: str, values: tuple[str, ...]) -> None:
    """Make or change a stored route; keys are those of [[route]], lists with commas.

    \b
    volley route put cmcc endpoints=main=3,spare=1 prefixes=86134,86135 failover=backup
    volley route put night hours=22:00-06:00 zone=Asia/Shanghai endpoints=cheap
    volley route put cmcc enabled=false
    """
    given: dict[str, Any] = {}
    for one in values:
        key, equals, value = one.partition("=")
        if not equals:
            raise click.UsageError(f"{one!r}: KEY=VALUE")
        given[key] = _typed(key, value)
    reply = send(call.settings, PutRoute(title=name, values=given), envelope())
    click.echo(json.dumps(reply) if call.json else f"route {name} is stored")


@route_group.command("delete")
@click.argument("name")
@common
def delete_command(call: Call, name: str) -> None:
    """Forget a stored route; one of the file with that name holds again.

    \b
    volley route delete cmcc
    """
    reply = send(call.settings, DeleteRoute(title=name), envelope())
    click.echo(json.dumps(reply) if call.json else f"route {name} is deleted")


@route_group.command("load-ported")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@common
def load_command(call: Call, file: Path) -> int:
    """Load the table of ported numbers from lines `number,network`, in place of what was there.

    Lines that cannot be read are passed over and counted; exit status 1 when there are any. 8 octets of memory a line.

    \b
    volley route load-ported ported.csv
    volley route load-ported ported.csv --json
    """
    with Progress(transient=True, disable=call.json) as progress:
        task = progress.add_task("reading", total=file.stat().st_size)
        read = read_ported(_octets(file, lambda n: progress.advance(task, n)))
        if not read.count:
            raise click.ClickException(f"{file}: no line of number,network (a number is 7 to 15 digits)")
        spool = call.settings.data / f"ported.{os.getpid()}.spool"
        try:
            spool.write_bytes(read.entries)
            progress.add_task("writing", total=None)
            _turn(
                call,
                TurnPorted(count=read.count, networks=read.networks, file=file.name, spool=spool.name),
                read.entries,
            )
        finally:
            spool.unlink(missing_ok=True)
    wrong = [{"line": line, "text": octets.decode("utf-8", "replace")} for line, octets in read.wrong]
    if call.json:
        reply = {"count": read.count, "networks": len(read.networks), "lines": read.lines, "wrong": wrong}
        click.echo(json.dumps(reply, ensure_ascii=False))
    else:
        click.echo(f"{read.count:,} ported numbers, {len(read.networks)} networks")
        for one in wrong[:10]:
            click.echo(f"line {one['line']}: {one['text']!r}: number,network with a number of 7 to 15 digits", err=True)
    return int(bool(wrong))


def _turn(call: Call, command: TurnPorted, entries: bytearray) -> None:
    """By the running dispatcher, or here under the writer's lock."""
    if ask(call.settings, command, envelope()) is not None:
        return
    try:
        with open_store(call.settings.data, write=True) as store:
            first, more = 0, True
            while more:
                with store.begin_write() as view:
                    changes = drop_old(view)
                    view.apply(changes)
                    more = bool(changes.rows)
            while first < len(entries) // 8:
                with store.begin_write() as view:
                    changes, first = write_slice(view, entries, first)
                    view.apply(changes)
    except StoreLocked:
        raise click.ClickException("a dispatcher is just starting or stopping: try again") from None
    send(call.settings, command, envelope())


def _octets(file: Path, advance: Any) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while some := stream.read(READ_OCTETS):
            advance(len(some))
            yield some


def _typed(key: str, value: str) -> Any:
    if key in LISTS:
        return [item.strip() for item in value.split(",") if item.strip()]
    kind = str(KEYS[key].type) if key in KEYS else "str"
    try:
        if kind == "bool":
            return {"true": True, "false": False}[value.lower()]
        return int(value) if kind == "int" else float(value) if kind == "float" else value
    except (KeyError, ValueError):
        return value  # the rule says what is wrong with it


__all__ = ["CommandRefused", "explain_command", "route_group"]
