"""volley field, member, segment, points: a tenant's members from the shell."""

from __future__ import annotations

import json
import uuid
from typing import Any

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AddPoints, DefineField, EraseMember, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.records import View
from dispatcher.records.keys import parse_member_id, public_member_id

KINDS = ("dict", "int", "date", "month_day", "bool", "money", "tags", "text")


@click.group("field")
def field_group() -> None:
    """Fields: what is known of a member."""


@field_group.command("add")
@click.argument("name")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--value", "values", multiple=True, help="A dictionary's entry or a tag, repeatable, in order.")
@click.option("--closed", is_flag=True, help="Other values are errors, not new entries.")
@click.option("--max-values", type=int, default=255, show_default=True, help="Entries a dictionary may grow to.")
@click.option("--bits", type=click.Choice(["32", "64"]), default="64", show_default=True, help="Of an int.")
@click.option("--max-length", type=int, default=160, show_default=True, help="Characters of a text.")
@click.option("--label", default="", help="Shown to people instead of NAME.")
@click.option("--pii", is_flag=True, help="Tells who somebody is: masked where rights do not reach.")
@of_tenant
@common
def add_field_command(call: Call, tenant: str | None, name: str, kind: str, **rest: Any) -> None:
    """Define field NAME of KIND."""
    rest |= {"values": list(rest["values"]), "bits": int(rest["bits"])}
    reply = call.do(DefineField(title=name, kind=kind, **rest), tenant=call.tenant(tenant))
    call.show(reply, f"{name} ({kind})")


@field_group.command("list")
@of_tenant
@common
def list_fields_command(call: Call, tenant: str | None) -> None:
    """A tenant's fields, its own and the system's."""
    from dispatcher.members.fields import fields_of

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = [
            {
                "name": field.name,
                "kind": field.kind,
                "values": len(field.values),
                "closed": field.closed,
                "label": field.label,
                "pii": field.pii,
            }
            for field in fields_of(view, number).values()
        ]
    call.show_rows(["name", "kind", "values", "closed", "label", "pii"], rows)


@click.group("member")
def member_group() -> None:
    """One member, by id (mem_...) or number (+49...)."""


@member_group.command("show")
@click.argument("member")
@of_tenant
@common
def show_member_command(call: Call, tenant: str | None, member: str) -> None:
    """Everything known of MEMBER."""
    from dispatcher.members.member import member_json

    number = call.tenant(tenant)
    with call.reading() as view:
        record = member_json(view, number, _member_no(view, number, member))
    if record is None:
        raise _unknown(member)
    call.show(record)


@member_group.command("set")
@click.argument("number", metavar="NUMBER")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@of_tenant
@common
def set_member_command(call: Call, tenant: str | None, number: str, values: tuple[str, ...]) -> None:
    """Create or change the member with NUMBER. A value is JSON where it can be read as such; null clears."""
    fields: dict[str, Any] = {}
    for pair in values:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r}: write FIELD=VALUE")
        fields[name] = _value(text)
    reply = call.do(UpsertMember(msisdn=number, values=fields), tenant=call.tenant(tenant))
    call.show(reply, str(reply["id"]))


@member_group.command("erase")
@click.argument("member")
@click.option("--reason", required=True, help="Kept in the audit log.")
@of_tenant
@common
def erase_member_command(call: Call, tenant: str | None, member: str, reason: str) -> None:
    """Erase MEMBER for good."""
    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = _member_no(view, number, member)
    reply = call.do(EraseMember(member_no=member_no), tenant=number, reason=reason)
    call.show(reply, "erased")


@click.group("segment")
def segment_group() -> None:
    """Segments: which of the members."""


@segment_group.command("count")
@click.argument("expression")
@click.option("--purpose", default="marketing", show_default=True, help="Whose guards are counted.")
@of_tenant
@common
def count_segment_command(call: Call, tenant: str | None, expression: str, purpose: str) -> None:
    """How many match EXPRESSION, how many of them can be reached, and why the rest cannot."""
    from dispatcher.segments.count import count

    number = call.tenant(tenant)
    with call.reading() as view:
        found = count(view, number, expression, purpose=purpose, as_of_ms=SystemClock().epoch_ms())
    reasons = "".join(f"\n  {reason.replace('_', ' '):20} {n:>12,}" for reason, n in found["waterfall"].items())
    call.show(found, f"matched {found['matched']:,}, reachable {found['reachable']:,} ({found['ms']:.1f} ms){reasons}")


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
        member_no = _member_no(view, number, member)
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

    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = _member_no(view, number, member)
        record = {
            "id": public_member_id(member_no),
            "balance": balance(view, number, member_no),
            "entries": list(statement(view, number, member_no, limit)),
        }
    call.show(record)


def _member_no(view: View, tenant: int, text: str) -> int:
    from dispatcher.members.msisdn import normalise
    from dispatcher.store.columns import find_number
    from dispatcher.tenants.tenant import get_tenant

    member_no = parse_member_id(text)
    if member_no is None:
        owner = get_tenant(view, tenant)
        msisdn = normalise(text, owner.region if owner else "")
        member_no = find_number(view, tenant, msisdn) if isinstance(msisdn, int) else None
    if member_no is None:
        raise _unknown(text)
    return member_no


def _unknown(text: str) -> CommandRefused:
    return CommandRefused(404, "not_found", f"no member {text!r} in this tenant")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
