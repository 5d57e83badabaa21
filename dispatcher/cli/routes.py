"""`volley route` and `volley smpp route`: which endpoints messages take, why, and the table of ported numbers."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dispatcher.cli.common import Call, common
from dispatcher.cli.ported import load_command, show_command, undo_command
from dispatcher.cli.talk import ask, send
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, DeleteRoute, Envelope, PutRoute
from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose
from dispatcher.routes.explain import explain, router_of
from dispatcher.routes.ported import get_ported
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


for _command in (load_command, undo_command, show_command):
    route_group.add_command(_command)


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
