"""volley points: entries and balances from the shell."""

from __future__ import annotations

import uuid

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.who import member_no_of
from dispatcher.control.commands import AddPoints
from dispatcher.records.keys import public_member_id


@click.group("points")
def points_group() -> None:
    """Points: entries that add up to the balance."""


@points_group.command("add")
@click.argument("member")
@click.argument("delta", type=int)
@click.option("--source", default="cli", show_default=True)
@click.option("--why", default="")
@click.option("--key", "entry_key", help="The same key again changes nothing; a new one unless given.")
@of_tenant
@common
def add_points_command(
    call: Call, tenant: str | None, member: str, delta: int, source: str, why: str, entry_key: str | None
) -> None:
    """Add DELTA to MEMBER's balance; to take away, write -- before it: volley points add MEMBER -- -20."""
    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = member_no_of(view, number, member)
    key = entry_key or f"cli-{uuid.uuid4()}"
    reply = call.do(AddPoints(member_no=member_no, delta=delta, source=source, key=key, why=why), tenant=number)
    call.show(reply, f"balance {reply['balance']:,}")


@points_group.command("show")
@click.argument("member")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@of_tenant
@common
def show_points_command(call: Call, tenant: str | None, member: str, limit: int) -> None:
    """MEMBER's balance and latest entries."""
    from dispatcher.apps.points.account import balance, statement
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = member_no_of(view, number, member)
        record = {
            "id": public_member_id(member_no),
            "balance": balance(view, number, member_no),
            "entries": list(statement(view, number, member_no, limit)),
        }
        of = need_tenant(view, number)
    call.show(record, of=of)
