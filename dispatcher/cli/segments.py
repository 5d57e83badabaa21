"""volley segment: which of the members, counted, listed, compared; rules kept under a name.

Reads work on a data folder whether a dispatcher runs or not; save and delete go through it when it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TextIO
from zoneinfo import ZoneInfo

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.clock import YEARS, SystemClock, rfc3339
from dispatcher.control.commands import DeleteSegment, SaveSegment, SnapshotSegment
from dispatcher.errors import CommandRefused
from dispatcher.records import View
from dispatcher.records.keys import parse_public_id, public_member_id
from dispatcher.records.states import Purpose

BAR = 40  # characters of a histogram's longest bar
SHOWN = 20  # lines of a file that mean nobody

as_of_option = click.option(
    "--as-of", metavar="INSTANT", help="As it was then: 2026-03-01 or 2026-03-01T09:00, in the tenant's zone."
)


@click.group("segment")
def segment_group() -> None:
    """Segments: which of the members.

    RULE is an expression of the segment language, or the id (seg_...) of a saved segment.

    \b
    volley segment count 'tier = "gold" and points >= 1000'
    volley segment save Golden 'tier = "gold"' --description "for the spring offer"
    volley segment overlap 'in segment "Golden"' 'birthday in next 7 days'
    """


@segment_group.command("count")
@click.argument("expression", metavar="RULE")
@click.option("--purpose", type=click.Choice([str(p) for p in Purpose]), default="marketing", show_default=True)
@click.option("--explain", "explained", is_flag=True, help="Also what each condition read and cost.")
@as_of_option
@of_tenant
@common
def count_segment_command(
    call: Call, tenant: str | None, expression: str, purpose: str, explained: bool, as_of: str | None
) -> None:
    """How many match RULE, how many of them can be reached for PURPOSE, and why the rest cannot.

    With --json one object: matched, reachable, waterfall, unknown, ms, as_of, text, warnings (and explain).
    """
    from dispatcher.segments.count import count

    number = call.tenant(tenant)
    with call.reading() as view:
        rule, at_ms = _rule(view, number, expression), _instant(view, number, as_of)
        found = count(view, number, rule, purpose=purpose, as_of_ms=at_ms)
        if explained:
            from dispatcher.segments.explain import explain

            found["explain"] = explain(view, number, rule, purpose, at_ms)
    lines = [f"matched {found['matched']:,}, reachable {found['reachable']:,} ({found['ms']:.1f} ms)"]
    lines += [f"  {reason.replace('_', ' '):20} {n:>12,}" for reason, n in found["waterfall"].items()]
    lines += _warned(found)
    call.show(found, "\n".join(lines))
    if explained and not call.json:
        _show_explained(call, found["explain"])


@segment_group.command("list")
@of_tenant
@common
def list_segments_command(call: Call, tenant: str | None) -> None:
    """Saved segments, oldest first."""
    from dispatcher.segments.segment import list_segments

    number = call.tenant(tenant)
    with call.reading() as view:
        rows = [_shown(row) for row in list_segments(view, number)]
    call.show_rows(["id", "title", "version", "expr", "changed_at"], rows, tenant=number)


@segment_group.command("show")
@click.argument("segment", metavar="TITLE_OR_ID")
@click.option("--versions", is_flag=True, help="Every rule it ever had.")
@of_tenant
@common
def show_segment_command(call: Call, tenant: str | None, segment: str, versions: bool) -> None:
    """A saved segment's rule."""
    from dispatcher.segments.segment import segment_versions
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    with call.reading() as view:
        row, of = _saved(view, number, segment), need_tenant(view, number)
        if versions:
            rows = [_shown(one) for one in segment_versions(view, number, _number(row))]
    if versions:
        call.show_rows(["version", "title", "expr", "at", "actor"], rows, tenant=number)
    else:
        call.show(_shown(row), of=of)


@segment_group.command("save")
@click.argument("title")
@click.argument("expression", metavar="EXPR")
@click.option("--description", help="For people; kept as it is unless given.")
@of_tenant
@common
def save_segment_command(call: Call, tenant: str | None, title: str, expression: str, description: str | None) -> None:
    """Keep EXPR under TITLE: a new segment, or the next version of the one with this title."""
    command = SaveSegment(title=title, expr=expression, description=description)
    reply = call.do(command, tenant=call.tenant(tenant))
    lines = [f"{reply['id']} {reply['title']}, version {reply['version']}: {reply['expr']}", *_warned(reply)]
    call.show(_shown(reply), "\n".join(lines))


@segment_group.command("snapshot")
@click.argument("expression", metavar="RULE")
@click.argument("title")
@click.option("--description", help="For people.")
@as_of_option
@of_tenant
@common
def snapshot_segment_command(
    call: Call, tenant: str | None, expression: str, title: str, description: str | None, as_of: str | None
) -> None:
    """Keep who matches RULE now, or as of an instant, under TITLE: a segment that never changes.

    Example: `volley segment snapshot 'tier = "gold"' "Gold in March" --as-of 2026-03-01`; then
    `volley segment count 'in segment "Gold in March" and not tier = "gold"'` says how many have left.
    """
    number = call.tenant(tenant)
    with call.reading() as view:
        rule, at_ms = _rule(view, number, expression), None if as_of is None else _instant(view, number, as_of)
    of = parse_public_id("seg", expression)
    command = SnapshotSegment(title=title, expr=rule, of=of, as_of_ms=at_ms, description=description)
    reply = call.do(command, tenant=number)
    frozen = reply["frozen"]
    lines = [f"{reply['id']} {reply['title']}: {frozen['count']:,} members as of {frozen['as_of']}", *_warned(reply)]
    call.show(_shown(reply), "\n".join(lines))


@segment_group.command("numbers")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.argument("title")
@click.option("--description", help="For people.")
@of_tenant
@common
def numbers_command(call: Call, tenant: str | None, file: TextIO, title: str, description: str | None) -> None:
    """Keep the members whom a file of numbers means, one a line, under TITLE; says of which line nobody is meant.

    \b
      volley segment numbers friday.txt "Friday's list"
      volley campaign create Reminder --segment 'in segment "Friday\'s list"' --text "See you on Friday"
    """
    lines = [(at, text) for at, line in enumerate(file, 1) if (text := line.strip())]
    if not lines:
        raise click.UsageError(f"{file.name}: no number is in it")
    command = SnapshotSegment(title=title, numbers=[text for _, text in lines], description=description)
    reply = call.do(command, tenant=call.tenant(tenant))
    wrong = [f"line {lines[one['index']][0]}: {one['code'].replace('_', ' ')}" for one in reply["left_out"][:SHOWN]]
    said = f"{reply['id']} {reply['title']}: {reply['frozen']['count']:,} members"
    call.show(_shown(reply), "\n".join([said, *_warned(reply), *wrong]))


@segment_group.command("delete")
@click.argument("segment", metavar="TITLE_OR_ID")
@of_tenant
@common
def delete_segment_command(call: Call, tenant: str | None, segment: str) -> None:
    """Delete a saved segment, unless another one names it."""
    number = call.tenant(tenant)
    with call.reading() as view:
        row = _saved(view, number, segment)
    reply = call.do(DeleteSegment(segment=_number(row)), tenant=number)
    call.show(reply, f"deleted {row['title']}")


@segment_group.command("members")
@click.argument("expression", metavar="RULE")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, lowest member numbers first.")
@as_of_option
@of_tenant
@common
def segment_members_command(
    call: Call, tenant: str | None, expression: str, limit: int | None, as_of: str | None
) -> None:
    """Ids of the members that match RULE, a line each, in the order they were made."""
    from itertools import islice

    from dispatcher.segments.answers import choose

    number = call.tenant(tenant)
    with call.reading() as view:
        chosen = choose(view, number, _rule(view, number, expression), _instant(view, number, as_of))
    for member_no in islice(chosen.numbers(), limit):
        member = public_member_id(member_no)
        click.echo(f'{{"id": "{member}"}}' if call.json else member)


@segment_group.command("sample")
@click.argument("expression", metavar="RULE")
@click.option("-n", "n", type=int, default=10, show_default=True, help="How many.")
@click.option("--seed", default="", help="The same seed draws the same members; another draws others.")
@as_of_option
@of_tenant
@common
def sample_segment_command(
    call: Call, tenant: str | None, expression: str, n: int, seed: str, as_of: str | None
) -> None:
    """A few of the members that match RULE, spread evenly."""
    from dispatcher.members.member import member_json
    from dispatcher.segments.answers import sample

    number = call.tenant(tenant)
    with call.reading() as view:
        found = sample(view, number, _rule(view, number, expression), n, seed, _instant(view, number, as_of))
        rows = [member_json(view, number, member_no) or {} for member_no in found["members"]]
    flat = [{**row, **row["values"]} for row in rows]
    names = [name for name in (rows[0]["values"] if rows else {}) if any(row[name] is not None for row in flat)]
    call.show_rows(["id", "msisdn", "points", *names], rows if call.json else flat)


@segment_group.command("overlap")
@click.argument("expressions", metavar="RULE RULE...", nargs=-1, required=True)
@as_of_option
@of_tenant
@common
def overlap_command(call: Call, tenant: str | None, expressions: tuple[str, ...], as_of: str | None) -> None:
    """What two to eight rules share: each pair's members, each one's own, all together."""
    from dispatcher.segments.answers import overlap

    number = call.tenant(tenant)
    with call.reading() as view:
        rules = [_rule(view, number, expression) for expression in expressions]
        found = overlap(view, number, rules, _instant(view, number, as_of))
    if call.json:
        return call.show(found)
    places = [str(place) for place in range(1, len(rules) + 1)]
    rows = []
    for place, segment, shared in zip(places, found["segments"], found["shared"], strict=True):
        pairs = {f"with_{other}": f"{n:,}" for other, n in zip(places, shared, strict=True)}
        rows.append({"#": place, **pairs, "only_here": f"{segment['only']:,}", "rule": segment["text"]})
    call.show_rows(list(rows[0]), rows)
    click.echo(f"in any {found['union']:,}, in all {found['every']:,} ({found['ms']:.1f} ms)")
    return None


@segment_group.command("histogram")
@click.argument("expression", metavar="RULE")
@click.argument("field")
@click.option("--bins", type=int, default=20, show_default=True, help="Of numbers and dates, at most.")
@click.option("--top", type=int, default=20, show_default=True, help="Values of a dictionary or tags, most first.")
@as_of_option
@of_tenant
@common
def histogram_command(
    call: Call, tenant: str | None, expression: str, field: str, bins: int, top: int, as_of: str | None
) -> None:
    """How the members that match RULE are spread over FIELD."""
    from dispatcher.segments.answers import histogram

    number = call.tenant(tenant)
    with call.reading() as view:
        rule, at_ms = _rule(view, number, expression), _instant(view, number, as_of)
        found = histogram(view, number, rule, field, at_ms, bins=bins, top=top)
    if call.json:
        return call.show(found)
    known = f"known {found['known']:,}, unknown {found['unknown']:,}"
    click.echo(f"{field} of {found['matched']:,}: {known} ({found['ms']:.1f} ms)")
    bars = [(str(row["value"]), row["count"]) for row in found.get("top") or []]
    bars = bars or [(f"{row['from']} ..< {row['to']}", row["count"]) for row in found.get("histogram") or []]
    for line in _bars(bars):
        click.echo(line)
    return None


@segment_group.command("counts")
@click.argument("segment", metavar="TITLE_OR_ID")
@click.option("--from", "begin", metavar="DAY", help="First day, 2026-03-01.")
@click.option("--to", "end", metavar="DAY", help="Last day.")
@of_tenant
@common
def counts_command(call: Call, tenant: str | None, segment: str, begin: str | None, end: str | None) -> None:
    """How many a saved segment had, day by day."""
    from dispatcher.segments.answers import counts_of

    number = call.tenant(tenant)
    with call.reading() as view:
        row = _saved(view, number, segment)
        days = counts_of(view, number, _number(row), _day(begin, "--from"), _day(end, "--to"))
    call.show_rows(["day", "matched", "reachable", "version"], [_shown(one) for one in days], tenant=number)


def _rule(view: View, tenant: int, text: str) -> str:
    """The expression, or the rule of the saved segment with this id."""
    return str(_saved(view, tenant, text)["expr"]) if parse_public_id("seg", text) is not None else text


def _saved(view: View, tenant: int, text: str) -> dict[str, Any]:
    from dispatcher.segments.segment import get_segment

    row = get_segment(view, tenant, text)
    if row is None:
        raise CommandRefused(404, "not_found", f"no saved segment {text!r} in this tenant")
    return row


def _number(row: dict[str, Any]) -> int:
    number = parse_public_id("seg", row["id"])
    assert number is not None, row["id"]
    return number


def _instant(view: View, tenant: int, text: str | None) -> int:
    """Epoch milliseconds; now without a text. A time without a zone is the tenant's."""
    from dispatcher.tenants.tenant import need_tenant

    if text is None:
        return SystemClock().epoch_ms()
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=ZoneInfo(need_tenant(view, tenant).zone))
        if YEARS[0] <= found.year <= YEARS[1]:
            return int(found.timestamp() * 1_000)
    except ValueError:
        pass
    raise click.UsageError(f"--as-of: {text!r} is no instant such as 2026-03-01 or 2026-03-01T09:00+01:00")


def _day(text: str | None, what: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{what}: {text!r} is no day such as 2026-03-01") from None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """With instants as people read them: created_ms becomes created_at."""
    shown = {name: value for name, value in row.items() if not name.endswith("_ms")}
    return shown | {f"{name[:-3]}_at".removeprefix("at_"): rfc3339(row[name]) for name in row if name.endswith("_ms")}


def _warned(record: dict[str, Any]) -> list[str]:
    return [f"  note: {warning}" for warning in record.get("warnings", [])]


def _bars(rows: Sequence[tuple[str, int]]) -> list[str]:
    most = max((n for _, n in rows), default=0)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:>{width}} {n:>12,} {'#' * -(-BAR * n // most) if most else ''}" for name, n in rows]


def _show_explained(call: Call, found: dict[str, Any]) -> None:
    """A line each condition, then what all of it took."""
    rows = [
        {
            "condition": condition["test"],
            "field": ", ".join(dict.fromkeys(str(column["field"]) for column in condition["columns"])),
            "matched": f"{condition['matched']:,}",
            "share": f"{condition['share']:.1%}",
            "guess": f"{condition['estimate']:.1%}",
            "octets": f"{condition['bytes']:,}",
            "blocks": f"{condition['blocks']:,}",
            "skipped": f"{condition['blocks_skipped']:,}",
            "ms": f"{condition['ms']:.3f}",
        }
        for condition in found["conditions"]
    ]
    if rows:
        call.show_rows(list(rows[0]), rows)
    took = f"planned in {found['compile_ms']:.1f} ms, ran in {found['ms']:.1f} ms"
    click.echo(f"{found['matched']:,} of {found['members']:,} members in {found['blocks']:,} blocks; {took}")
