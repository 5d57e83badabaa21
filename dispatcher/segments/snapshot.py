"""A segment's members at one instant, or whom a list of numbers means, kept under a title and an id of its own: who
they were, whatever changes later.

Touches: rows of `segments` and `bitmaps`, column blocks by View. A snapshot is a saved segment whose rule is
`in segment "its own title"`, which typed.py answers from its bitmaps: so it can be counted, listed, named by other
rules and by campaigns, renamed and deleted as any. Members erased since are not in it; those merged away stand there
as who took them over. Its bitmaps lie under its id (which SNAPSHOT), 2,040 octets a block with a member.

Weak spot: they are written in one commit, 4 MiB for 33 million members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dispatcher.control.commands import Envelope, SnapshotSegment
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.number_list import Listed, listed_members, told
from dispatcher.segments.plan import compile_text
from dispatcher.segments.rule import quote
from dispatcher.segments.segment import new_segment, rows_of, segment_called, shown_segment
from dispatcher.segments.select import select
from dispatcher.store.ids import next_id
from dispatcher.store.layout import LEDGER_KEY, SNAPSHOT, TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import need_tenant


@dataclass(frozen=True, slots=True)
class Frozen:
    """Who a rule's members are at an instant."""

    text: str  # canonical
    as_of_ms: int
    blocks: list[tuple[int, bytes]]
    count: int
    warnings: list[str]
    listed: Listed | None = None  # of a list of numbers


def freeze_segment(view: View, command: SnapshotSegment, envelope: Envelope) -> Frozen:
    """The longer part of a snapshot, of a read snapshot too. Raises CommandRefused as compile_text."""
    tenant = need_tenant(view, envelope.tenant)
    if command.numbers:
        listed = listed_members(view, tenant, command.numbers)
        rule, warnings = f"a list of {listed.given:,} numbers", list(filter(None, [told(listed.counts())]))
        return Frozen(rule, envelope.at_ms, list(listed.blocks()), listed.members, warnings, listed)
    as_of_ms = envelope.at_ms if command.as_of_ms is None else command.as_of_ms
    compiled = compile_text(view, envelope.tenant, command.expr, as_of_ms=as_of_ms)
    blocks, total = [], 0
    for block, bitmap, count in select(view, envelope.tenant, compiled):
        blocks.append((block, bytes(bitmap)))
        total += count
    return Frozen(compiled.text, as_of_ms, blocks, total, list(compiled.warnings))


def snapshot_segment(
    view: View, command: SnapshotSegment, envelope: Envelope, frozen: Frozen | None = None
) -> tuple[Changes, dict[str, Any]]:
    """A new segment of the members whom `expr` matches at the instant, or whom the numbers mean: then `left_out` says
    of which of them they mean nobody. Raises CommandRefused 409 for a title taken."""
    found = freeze_segment(view, command, envelope) if frozen is None else frozen
    title, row = new_segment(view, envelope.tenant, command.title, command.description, envelope.at_ms)
    if segment_called(view, envelope.tenant, title) is not None:
        raise CommandRefused(409, "state_conflict", f"there is a segment called {quote(title)} already")
    changes = Changes()
    number = next_id(changes, view, envelope.at_ms)
    key = TENANT_U64.pack(envelope.tenant, number)
    of = None if command.of is None else public_id("seg", command.of)
    row |= {
        "expr": f"in segment {quote(title)}",
        "version": 1,
        "changed_ms": envelope.at_ms,
        "frozen": {"as_of_ms": found.as_of_ms, "count": found.count, "rule": found.text, "of": of},
    }
    more: dict[str, Any] = {"warnings": found.warnings}
    if found.listed is not None:
        row["frozen"]["listed"] = found.listed.counts()
        more["left_out"] = found.listed.left_out
    changes.put("segments", key, pack(row))
    for block, bitmap in found.blocks:
        changes.put("bitmaps", LEDGER_KEY.pack(number, SNAPSHOT, block), bitmap)
    return changes, {**shown_segment(key, row), **more}


def list_behind(view: View, tenant: int, canonical: str) -> dict[str, Any] | None:
    """{given, skipped} of the list of numbers that a rule names and nothing else; None for any other rule."""
    for _, row in rows_of(view, tenant):
        if (row.get("frozen") or {}).get("listed") and canonical == f"in segment {quote(row['name'])}":
            return dict(row["frozen"]["listed"])
    return None
