"""volley member: one member, or one change to many, from the shell."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.shown import Reader
from dispatcher.cli.who import finish_job, member_no_of, unknown_member
from dispatcher.clock import SystemClock
from dispatcher.control.commands import EditMembers, EraseMember, MergeMembers, UnmergeMembers, UpsertMember
from dispatcher.records.keys import parse_member_id, public_id

reason_option = click.option("--reason", default="", help="Kept in the audit log.")


@click.group("member")
def member_group() -> None:
    """One member, by id (mem_...) or number (+49...); `member bulk` changes many."""


@member_group.command("show")
@click.argument("member")
@of_tenant
@common
def show_member_command(call: Call, tenant: str | None, member: str) -> None:
    """What MEMBER's values are."""
    from dispatcher.members.member import member_json
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        record, of = member_json(view, number, member_no_of(view, number, member)), need_tenant(view, number)
    if record is None:
        raise unknown_member(member)
    call.show(record, of=of)


@member_group.command("set")
@click.argument("number", metavar="NUMBER")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--new", is_flag=True, help="Refuse when the number is a member's already.")
@click.option("--source", default="", help="Where the values come from, for fields that keep it; cli unless given.")
@of_tenant
@common
def set_member_command(
    call: Call, tenant: str | None, number: str, values: tuple[str, ...], new: bool, source: str
) -> None:
    """Create or change the member with NUMBER. A value is JSON where it can be read as such; null clears.

    Example: volley member set +4915112345678 name=Ada 'tags=["vip"]' birthday=null
    """
    command = UpsertMember(msisdn=number, values=_pairs(values), must_be_new=new, source=source)
    reply = call.do(command, tenant=call.tenant(tenant))
    if reply.get("kept"):
        click.echo(f"kept from a better source: {', '.join(reply['kept'])}", err=True)
    call.show(reply, str(reply["id"]))


@member_group.command("tag")
@click.argument("member")
@click.option("--add", multiple=True, metavar="TAG", help="Put on; repeatable.")
@click.option("--remove", multiple=True, metavar="TAG", help="Take off; repeatable.")
@click.option("--field", default="", help="Which tags field; may be left out where there is one.")
@of_tenant
@common
def tag_member_command(
    call: Call, tenant: str | None, member: str, add: tuple[str, ...], remove: tuple[str, ...], field: str
) -> None:
    """Put tags on MEMBER and take tags off; the others stay.

    Example: volley member tag +4915112345678 --add vip --remove trial
    """
    if not add and not remove:
        raise click.UsageError("nothing to change: give --add or --remove")
    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = member_no_of(view, number, member)
    command = UpsertMember(
        member_no=member_no, create=False, tags_add=list(add), tags_remove=list(remove), tags_field=field
    )
    reply = call.do(command, tenant=number)
    call.show(reply, str(reply["id"]))


@member_group.command("merge")
@click.argument("winner")
@click.argument("loser")
@click.option("--take", multiple=True, metavar="FIELD", help="Where LOSER is right; phone too. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@reason_option
@of_tenant
@common
def merge_members_command(
    call: Call, tenant: str | None, winner: str, loser: str, take: tuple[str, ...], dry_run: bool, reason: str
) -> None:
    """Make LOSER part of WINNER: values, tags, points, consent. LOSER's number and id lead to WINNER from then on."""
    number = call.tenant(tenant)
    with call.reading() as view:
        members = [member_no_of(view, number, text) for text in (winner, loser)]
    command = MergeMembers(winner=members[0], loser=members[1], take=list(take), dry_run=dry_run)
    reply = call.do(command, tenant=number, reason=reason)
    told = [f"{'would be ' if dry_run else ''}merged into {reply['id']}; {reply['points_moved']:,} points moved"]
    told += [f"  conflict in {c['field']}: {c['winner']!r} stays, not {c['loser']!r}" for c in reply["conflicts"]]
    call.show(reply, "\n".join(told))


@member_group.command("unmerge")
@click.argument("member")
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@reason_option
@of_tenant
@common
def unmerge_members_command(call: Call, tenant: str | None, member: str, dry_run: bool, reason: str) -> None:
    """Take a merge back: MEMBER, the id of the one that was merged away, is a member again with what it had.

    What was changed since in the one that took it over stays, and is named. Example: `volley member unmerge
    mem_0000000100a7 --dry-run`; `volley member timeline WINNER` shows the ids that were merged.
    """
    number = call.tenant(tenant)
    member_no = parse_member_id(member)
    if member_no is None:
        raise click.UsageError(f"MEMBER {member!r}: the id of a member that was merged away, mem_...")
    reply = call.do(UnmergeMembers(member_no=member_no, dry_run=dry_run), tenant=number, reason=reason)
    told = [f"{'would be ' if dry_run else ''}apart from {reply['from']}; {reply['points_back']:,} points back"]
    told += [f"  changed since, stays: {name}" for name in reply["changed_since"]]
    call.show(reply, "\n".join(told))


@member_group.command("erase")
@click.argument("member")
@click.option("--reason", required=True, help="Kept in the audit log.")
@of_tenant
@common
def erase_member_command(call: Call, tenant: str | None, member: str, reason: str) -> None:
    """Erase MEMBER for good; the number stays suppressed, as a salted hash."""
    number = call.tenant(tenant)
    with call.reading() as view:
        member_no = member_no_of(view, number, member)
    reply = call.do(EraseMember(member_no=member_no), tenant=number, reason=reason)
    finish_job(call.settings, number, reply["job"])
    call.show(reply, "erased")


@member_group.command("timeline")
@click.argument("member")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@of_tenant
@common
def show_timeline_command(call: Call, tenant: str | None, member: str, limit: int) -> None:
    """What happened with MEMBER, newest first: messages, receipts, replies, points, consent, edits."""
    from dispatcher.apps.timeline import timeline
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        who, folder = member_no_of(view, number, member), call.settings.data
        reader = Reader.of(need_tenant(view, number))
        found = timeline(view, number, who, limit=limit, folder=folder)
    if found is None:
        raise unknown_member(member)
    rows = [{"at": event["at"], "kind": event["kind"], "what": _told(event, reader)} for event in found[0]]
    call.show_rows(["at", "kind", "what"], found[0] if call.json else rows, tenant=number)


@member_group.command("messages")
@click.argument("member")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@of_tenant
@common
def member_messages_command(call: Call, tenant: str | None, member: str, limit: int) -> None:
    """What MEMBER was sent or not sent, and why; every part, attempt, receipt and reply. The newest first. Example:

    \b
      volley member messages +4915112345678
    """
    from dispatcher.apps.reports.story import messages
    from dispatcher.cli.reports import story_lines

    number = call.tenant(tenant)
    with call.reading() as view:
        member_no, now_ms = member_no_of(view, number, member), SystemClock().epoch_ms()
        found = messages(view, number, member_no, now_ms, limit=limit, folder=call.settings.data)
    if found is None:
        raise unknown_member(member)
    call.show(found, "\n".join(story_lines(found)))


@member_group.command("export")
@click.argument("member")
@of_tenant
@common
def export_member_command(call: Call, tenant: str | None, member: str) -> None:
    """Everything that is held about MEMBER, as one JSON object, for the person themselves."""
    from dispatcher.apps.subject import subject

    number = call.tenant(tenant)
    with call.reading() as view:
        who, folder = member_no_of(view, number, member), call.settings.data
        found = subject(view, number, who, SystemClock().epoch_ms(), folder=folder)
    if found is None:
        raise unknown_member(member)
    click.echo(json.dumps(found, ensure_ascii=False, indent=None if call.json else 2, default=str))


@member_group.command("bulk")
@click.argument("expression")
@click.option("--set", "values", multiple=True, metavar="FIELD=VALUE", help="JSON if it reads as such; repeatable.")
@click.option("--tag", "tags_add", multiple=True, metavar="TAG", help="Put on; repeatable.")
@click.option("--untag", "tags_remove", multiple=True, metavar="TAG", help="Take off; repeatable.")
@click.option("--field", default="", help="Which tags field; may be left out where there is one.")
@click.option("--dry-run", is_flag=True, help="Count who would change; change nothing.")
@click.option("--no-wait", is_flag=True, help="Answer once it has begun.")
@reason_option
@of_tenant
@common
def edit_members_command(
    call: Call, tenant: str | None, expression: str, values: tuple[str, ...], tags_add: tuple[str, ...],
    tags_remove: tuple[str, ...], field: str, dry_run: bool, no_wait: bool, reason: str,
) -> None:  # fmt: skip
    """The same change to everybody whom EXPRESSION matches now; can be undone as an import can.

    Example: volley member bulk 'city = "Bonn"' --set tier=gold --tag moved
    """
    number = call.tenant(tenant)
    command = EditMembers(
        expr=expression, values=_pairs(values), tags_add=list(tags_add), tags_remove=list(tags_remove),
        tags_field=field,
    )  # fmt: skip
    if dry_run:
        found = _would(call, number, command)
        call.show(found, f"{found['matched']:,} match, {found['would_change']:,} would change")
        return
    reply = call.do(command, tenant=number, reason=reason)
    if no_wait:
        call.show(reply, f"{reply['id']}: {reply['matched']:,} to change")
        return
    columns = (TextColumn("changing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False, emoji=False), transient=True) as bar:
        task = bar.add_task("", total=reply["matched"])
        row = finish_job(call.settings, number, reply["job"], lambda row: bar.update(task, completed=row["done"]))
    assert row is not None, "a bulk edit's row stays"
    matched, changed = row["of"], row["members_changed"]
    record = {"id": public_id("imp", reply["job"]), "state": row["state"], "matched": matched, "changed": changed}
    call.show(record, f"{record['id']}: {matched:,} matched, {changed:,} changed, {row['state']}")


def _would(call: Call, tenant: int, command: EditMembers) -> dict[str, Any]:
    from dispatcher.apps.bulk import DRY_BLOCKS, meant, would_change
    from dispatcher.store import open_store

    changed = 0
    with open_store(call.settings.data) as store:
        with store.snapshot() as view:
            edit, _, blocks = meant(view, tenant, command, SystemClock().epoch_ms())
        for at in range(0, len(blocks), DRY_BLOCKS):
            with store.snapshot() as view:
                changed += would_change(view, tenant, edit, blocks[at : at + DRY_BLOCKS])
    return {"dry_run": True, "matched": sum(count for _, _, count in blocks), "would_change": changed}


def _told(event: dict[str, Any], reader: Reader) -> str:
    return reader.pairs({name: value for name, value in event.items() if name not in ("at", "at_ms", "kind")})


def _pairs(values: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for pair in values:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r}: write FIELD=VALUE")
        fields[name] = _value(text)
    return fields


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
