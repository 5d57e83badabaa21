"""What a field holds over all live members: known, unknown, distinct, least, greatest, and how they are spread.

Touches: the tenant's blocks and delta, through a View: one snapshot, exact. Memory is bounded whatever the field
holds: 8 MB of counts for numbers that lie within 2^20 of each other, else 65,536 different values, then "more".
Measured, processor time for 10 million members: a dictionary 16 ms, numbers 43, far apart 110, texts 85 to 140.
"""

from __future__ import annotations

import datetime
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.members.attributes import EPOCH_DAY, decode
from dispatcher.members.fields import Field, field_by, fields_of
from dispatcher.members.tally import Distinct, nice_bins, ones, span, tally_bins, tally_codes, tally_planes
from dispatcher.records.changes import View
from dispatcher.store.columns import (
    FLAGS,
    BlockView,
    Column,
    ColumnKind,
    blocks_of,
    next_member_no,
    open_block,
    read_slot,
)
from dispatcher.store.layout import BLOCK, PLANE_LIVE

BINS = 20
TOP = 20
TOP_MAX = 1_000
DISTINCT_MAX = 65_536  # different values that are told apart, where they are not counted one by one
SPAN_MAX = 1 << 20  # values counted one by one
SHARED_BY = 5  # members who have a value of a pii field, for it to be told

Block = tuple[int, BlockView, memoryview | bytearray]  # its number, the columns asked for, which slots are chosen
Each = Callable[..., Iterator[Block]]  # with these columns


def field_stats(
    view: View, tenant: int, name: str, as_of_ms: int = 0, *, bins: int = BINS, top: int = TOP
) -> dict[str, Any]:
    """See the module. Raises CommandRefused 404. `histogram` and `top` are None where there is none.

    {name, kind, members, known, unknown, distinct, distinct_more, min, max, histogram [{from, to, count}] with `to`
    outside of it, top [{value, count}], top_exact, masked, as_of, ms}. Values are as the API writes them. Of a
    `pii` field nothing is told that is one person's: no least, no greatest, no words, no value of fewer than five.
    """
    began = time.perf_counter()
    field = field_by(fields_of(view, tenant), name)
    no = next_member_no(view, tenant)

    def each(*columns: Column) -> Iterator[Block]:
        for block in range(blocks_of(no)):
            opened = open_block(view, tenant, block, [FLAGS, *columns], next_no=no)
            yield block, opened, opened.plane(FLAGS[0], PLANE_LIVE)

    members = sum(ones(live, opened.slots) for _, opened, live in each())
    told: dict[str, Any] = {"name": field.name, "kind": field.kind, "members": members}
    told |= stats_inside(view, tenant, field, each, bins=bins, top=top)
    ms = round(1e3 * (time.perf_counter() - began), 3)
    return {**told, "unknown": members - told["known"], "as_of": rfc3339(as_of_ms), "ms": ms}


def stats_inside(
    view: View, tenant: int, field: Field, each: Each, *, bins: int = BINS, top: int = TOP
) -> dict[str, Any]:
    """known, distinct, distinct_more, min, max, histogram, top, top_exact, masked of the slots that `each` gives.

    each(*columns) is called once a pass and yields (block, its view with these columns, bitmap of slots / 8 octets or
    more), in any order; a block without a chosen slot may be left out.
    """
    if field.kind == "tags":
        found = _tags(field, each, top)
    elif field.kind == "text":
        found = _texts(view, tenant, field, each, top)
    elif field.column in (ColumnKind.U8, ColumnKind.U16):
        found = _codes(field, each, top)
    elif field.kind == "phone":
        known = sum(
            span(opened.array(field.number), field.column, opened.slots, live)[0]
            for _, opened, live in each(*field.columns)
        )
        found = {"known": known, "distinct": known}  # a number is one member's
    else:
        found = _numbers(field, each, bins)
    if field.pii:
        shared = [part for part in found.get("top") or () if part["count"] >= SHARED_BY]
        found |= {"min": None, "max": None, "top": None if field.kind == "text" else shared}
    empty = {"distinct_more": False, "min": None, "max": None, "histogram": None, "top": None, "top_exact": True}
    return {**empty, **found, "masked": field.pii}


def _tags(field: Field, each: Each, top: int) -> dict[str, Any]:
    """Known is who has at least one tag."""
    counts, known = array("Q", bytes(8 * 8 * len(field.columns) or 8)), 0
    for _, opened, live in each(*field.columns):
        seen = bytearray(opened.slots // 8)
        for _, part, _ in field.columns:
            tally_planes(opened.array(field.number, part), opened.slots, live, counts, 8 * part, seen)
        known += ones(seen, opened.slots)
    tops = _most([(tag, counts[i]) for i, tag in enumerate(field.values)], top)
    return {"known": known, "distinct": sum(1 for count in counts if count), "top": tops}


def _codes(field: Field, each: Each, top: int) -> dict[str, Any]:
    """Dictionaries, yes and no, days of the year."""
    counts = array("Q", bytes(8 << (8 if field.column == ColumnKind.U8 else 16)))
    for _, opened, live in each(*field.columns):
        tally_codes(opened.array(field.number), field.column, opened.slots, live, counts)
    met = [code for code, count in enumerate(counts) if count and code]
    column = field.columns[0]
    values = [(decode(field, {column: code}), counts[code]) for code in met]
    found: dict[str, Any] = {"known": sum(counts) - counts[0], "distinct": len(met), "top": _most(values, top)}
    if field.kind == "month_day" and met:
        found |= {"min": values[0][0], "max": values[-1][0]}
        months = [sum(counts[month * 32 : month * 32 + 32]) for month in range(1, 13)]
        edges = [f"{month:02}-01" for month in (*range(1, 13), 1)]
        found["histogram"] = _histogram(edges, months)
    return found


def _texts(view: View, tenant: int, field: Field, each: Each, top: int) -> dict[str, Any]:
    distinct, known = Distinct(DISTINCT_MAX), 0
    for block, opened, live in each(*field.columns):
        known += distinct.add_texts(*opened.text(field.number), opened.slots, live, block * BLOCK)
    column = field.columns[0]
    tops = [
        {"value": read_slot(view, tenant, where, [column])[column], "count": count}
        for _, count, where in distinct.top(top)
    ]
    # past the bound others may be as many: these are the most frequent of the first DISTINCT_MAX met
    return {
        "known": known,
        "distinct": distinct.found,
        "distinct_more": distinct.more,
        "top": tops,
        "top_exact": not distinct.more,
    }


def _numbers(field: Field, each: Each, bins: int) -> dict[str, Any]:
    known, least, greatest = 0, 0, 0
    for _, opened, live in each(*field.columns):
        here, low, high = span(opened.array(field.number), field.column, opened.slots, live)
        if here:
            least, greatest = (min(least, low), max(greatest, high)) if known else (low, high)
            known += here
    if not known:
        return {"known": 0, "distinct": 0}
    found: dict[str, Any] = {"known": known, "min": _shown(field, least), "max": _shown(field, greatest)}
    if greatest - least < SPAN_MAX:
        counts = array("Q", bytes(8 * (greatest - least + 1)))
        _bins(field, each, least, 1, counts)
        edges = _edges(field, least, greatest, bins)
        sums: Sequence[int] = [sum(counts[max(0, a - least) : b - least]) for a, b in pairwise(edges)]
        distinct, more = len(counts) - counts.count(0), False
    else:
        low, width, number = nice_bins(least, greatest, bins)
        edges = [low + i * width for i in range(number + 1)]
        different, binned = Distinct(DISTINCT_MAX), array("Q", bytes(8 * number))
        for _, opened, live in each(*field.columns):
            values = opened.array(field.number)
            tally_bins(values, field.column, opened.slots, live, low, width, binned)
            different.add_numbers(values, field.column, opened.slots, live)
        sums, distinct, more = binned, different.found, different.more
    found["histogram"] = _histogram([_shown(field, edge) for edge in edges], sums)
    return {**found, "distinct": distinct, "distinct_more": more}


def _bins(field: Field, each: Each, low: int, width: int, counts: array[int]) -> None:
    for _, opened, live in each(*field.columns):
        tally_bins(opened.array(field.number), field.column, opened.slots, live, low, width, counts)


def _edges(field: Field, least: int, greatest: int, bins: int) -> list[int]:
    """Where bins begin, and where the last ends: of dates by days, months, years or decades of the calendar."""
    if field.kind != "date":
        low, width, number = nice_bins(least, greatest, bins)
        return [low + i * width for i in range(number + 1)]
    first, last = (datetime.date.fromordinal(day + EPOCH_DAY) for day in (least, greatest))
    if greatest - least < bins:
        return list(range(least, greatest + 2))
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    step = next((step for step in (1, 3, 12, 60, 120, 1_200) if months <= step * bins), 12_000)
    at = (first.year * 12 + first.month - 1) // step * step
    edges = [at]
    while edges[-1] <= last.year * 12 + last.month - 1:
        edges.append(edges[-1] + step)
    return [_month_begins(edge, greatest) for edge in edges]


def _month_begins(month: int, greatest: int) -> int:
    """Day of the month's first; beyond what a calendar has, its first or the day after the greatest value."""
    if month < 12:
        return 1 - EPOCH_DAY
    year, of_year = divmod(month, 12)
    return datetime.date(year, of_year + 1, 1).toordinal() - EPOCH_DAY if year <= 9_999 else greatest + 1


def _shown(field: Field, number: int) -> Any:
    """As the API writes it; a day after the last of the calendar as the last."""
    if field.kind != "date":
        return number
    return datetime.date.fromordinal(max(1, min(number + EPOCH_DAY, datetime.date.max.toordinal()))).isoformat()


def _histogram(edges: list[Any], counts: Sequence[int]) -> list[dict[str, Any]]:
    return [{"from": a, "to": b, "count": n} for (a, b), n in zip(pairwise(edges), counts, strict=True)]


def _most(values: list[tuple[Any, int]], top: int) -> list[dict[str, Any]]:
    """The most frequent first, of equal ones in the order they have."""
    met = [(value, count) for value, count in values if count]
    return [{"value": value, "count": count} for value, count in sorted(met, key=lambda m: -m[1])[:top]]
