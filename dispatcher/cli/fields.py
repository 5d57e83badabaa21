"""volley field: what a tenant keeps about its members."""

from __future__ import annotations

from typing import Any

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.who import finish_job
from dispatcher.clock import SystemClock
from dispatcher.control.commands import DefineField, EditField, MergeValues, RestoreField, RetireField

KINDS = ("dict", "int", "date", "month_day", "bool", "money", "tags", "text")
BAR = 40  # characters of the longest bar


@click.group("field")
def field_group() -> None:
    """Fields: what is known of a member. FIELD is a name or an id (fld_...)."""


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
@click.option("--sources", is_flag=True, help="Keep each value's source and time.")
@click.option("--rank", "source_rank", multiple=True, help="A source word, repeatable, best first.")
@of_tenant
@common
def add_field_command(call: Call, tenant: str | None, name: str, kind: str, **rest: Any) -> None:
    """Define field NAME of KIND.

    \b
    volley field add tier dict --value basic --value gold --closed
    volley field add city dict --max-values 5000
    """
    rest |= {"values": list(rest["values"]), "bits": int(rest["bits"]), "source_rank": list(rest["source_rank"])}
    reply = call.do(DefineField(title=name, kind=kind, **rest), tenant=call.tenant(tenant))
    call.show(reply, f"{name} ({kind})")


@field_group.command("list")
@click.option("--retired", is_flag=True, help="Those out of use instead.")
@of_tenant
@common
def list_fields_command(call: Call, tenant: str | None, retired: bool) -> None:
    """A tenant's fields, its own and the system's."""
    from dispatcher.members.field_edits import retired_fields
    from dispatcher.members.fields import fields_of, shown

    number = call.tenant(tenant)
    with call.reading() as view:
        found = retired_fields(view, number) if retired else fields_of(view, number).values()
        rows = [{**shown(field), "values": len(field.values), "closed": field.closed} for field in found]
    names = ["id", "name", "kind", "values", "closed", "label", "pii"]
    call.show_rows(names, [{name: row[name] for name in names} for row in rows])


@field_group.command("show")
@click.argument("field")
@of_tenant
@common
def show_field_command(call: Call, tenant: str | None, field: str) -> None:
    """Everything about FIELD, its values too."""
    from dispatcher.members.fields import field_by, fields_of, shown

    number = call.tenant(tenant)
    with call.reading() as view:
        call.show(shown(field_by(fields_of(view, number), field)))


@field_group.command("edit")
@click.argument("field")
@click.option("--label")
@click.option("--pii/--no-pii", default=None)
@click.option("--closed/--open", default=None, help="Whether new values are errors or new entries.")
@click.option("--max-values", type=int, help="More than 255 makes codes of 16 bits, on a live store.")
@click.option("--max-length", type=int, help="Characters of a text; it only grows.")
@click.option("--value", "add_values", multiple=True, help="One more entry or tag, repeatable.")
@click.option("--sources/--no-sources", default=None, help="Keep each value's source and time.")
@click.option("--rank", "source_rank", multiple=True, help="A source word, repeatable, best first; all of them anew.")
@of_tenant
@common
def edit_field_command(call: Call, tenant: str | None, field: str, **options: Any) -> None:
    """Change FIELD; what is not named stays.

    \b
    volley field edit city --max-values 5000 --open
    volley field edit email --rank survey --rank api --rank import
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    changes = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if not changes:
        raise click.UsageError("nothing to change: give an option")
    reply = call.do(EditField(title=field, changes=changes), tenant=call.tenant(tenant))
    call.show(reply, f"{reply['name']} ({reply['kind']})")


@field_group.command("rename")
@click.argument("field")
@click.argument("new_name")
@of_tenant
@common
def rename_field_command(call: Call, tenant: str | None, field: str, new_name: str) -> None:
    """Call FIELD NEW_NAME, also in saved segments and in campaigns that are not over."""
    reply = call.do(EditField(title=field, changes={"title": new_name}), tenant=call.tenant(tenant))
    call.show(reply, f"{field} is {reply['name']}")


@field_group.command("merge-values")
@click.argument("field")
@click.argument("value")
@click.argument("into", required=False, default="")
@click.option("--dry-run", is_flag=True, help="Count who would change; change nothing.")
@click.option("--apart", is_flag=True, help="Instead: VALUE stands for itself again.")
@of_tenant
@common
def merge_values_command(
    call: Call, tenant: str | None, field: str, value: str, into: str, dry_run: bool, apart: bool
) -> None:
    """Give members that have VALUE of the dict FIELD the value INTO; from now on VALUE means INTO.

    \b
    volley field merge-values city Koeln Köln --dry-run
    volley import undo imp_...      puts the members back, then
    volley field merge-values city Koeln --apart
    """
    if bool(into) == apart:
        raise click.UsageError("give either INTO or --apart")
    number = call.tenant(tenant)
    reply = call.do(MergeValues(title=field, value=value, into=into, dry_run=dry_run), tenant=number)
    if "job" in reply:
        row = finish_job(call.settings, number, reply["job"])
        assert row is not None, "a bulk edit's row stays"
        reply |= {"state": row["state"], "changed": row["members_changed"]}
    what = f"{reply.get('id', 'dry run')}: {reply['matched']:,} matched" if into else f"{value} is itself again"
    call.show(reply, what)


@field_group.command("retire")
@click.argument("field")
@of_tenant
@common
def retire_field_command(call: Call, tenant: str | None, field: str) -> None:
    """Hide FIELD from segments, imports and texts; members keep its values. Refused while something names it."""
    reply = call.do(RetireField(title=field), tenant=call.tenant(tenant))
    call.show(reply, f"{reply['name']} retired ({reply['id']})")


@field_group.command("restore")
@click.argument("field")
@click.option("--as", "new_name", default="", help="Another name, where its own is taken by now.")
@of_tenant
@common
def restore_field_command(call: Call, tenant: str | None, field: str, new_name: str) -> None:
    """Bring a retired FIELD back with all its values; by id where several had its name."""
    reply = call.do(RestoreField(title=field, new_title=new_name), tenant=call.tenant(tenant))
    call.show(reply, f"{reply['name']} ({reply['kind']})")


@field_group.group("value")
def value_group() -> None:
    """Words of a dictionary or tags field."""


@value_group.command("rename")
@click.argument("field")
@click.argument("old")
@click.argument("new")
@of_tenant
@common
def rename_value_command(call: Call, tenant: str | None, field: str, old: str, new: str) -> None:
    """Call the value OLD of FIELD NEW; members who have it follow. Refused while a segment names OLD."""
    reply = call.do(EditField(title=field, changes={"rename_values": {old: new}}), tenant=call.tenant(tenant))
    call.show(reply, f"{reply['name']}: {old} is {new}")


@field_group.command("stats")
@click.argument("field")
@click.option("--bins", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Of a histogram, at most.")
@click.option("--top", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Most frequent values.")
@of_tenant
@common
def field_stats_command(call: Call, tenant: str | None, field: str, bins: int, top: int) -> None:
    """Known, unknown, distinct, least, greatest of FIELD over all members, and how its values are spread."""
    from dispatcher.members.field_stats import field_stats

    number = call.tenant(tenant)
    with call.reading() as view:
        found = field_stats(view, number, field, SystemClock().epoch_ms(), bins=bins, top=top)
    call.show(found, _told(found))


def _told(found: dict[str, Any]) -> str:
    more = "more than " if found["distinct_more"] else ""
    lines = [
        f"{found['name']} ({found['kind']}): {found['known']:,} of {found['members']:,} members known, "
        f"{found['unknown']:,} unknown, {more}{found['distinct']:,} distinct ({found['ms']:.1f} ms)"
    ]
    if found["min"] is not None:
        lines.append(f"from {found['min']} to {found['max']}")
    shares = [(f"{part['from']} .. {part['to']}", part["count"]) for part in found["histogram"] or ()]
    shares = shares or [(str(part["value"]), part["count"]) for part in found["top"] or ()]
    most, wide = max((n for _, n in shares), default=0) or 1, max((len(name) for name, _ in shares), default=0)
    lines += [f"  {name:{wide}} {n:>13,} {'█' * round(BAR * n / most)}".rstrip() for name, n in shares]
    return "\n".join(lines)
