"""What a rule becomes: tests of columns, planes and texts, and what a block is given from outside its columns.

Touches: nothing. Made by typed.py and its helpers, put into a program by plan.py; the keys of Given are
answered by engagement.py and consents.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dispatcher.fastmatch import GREATEST, LEAST, Kind, Op, merge_ranges
from dispatcher.members.fields import Field
from dispatcher.segments.given import Key
from dispatcher.store.columns import Column, ColumnKind

BUCKETS = 10_000  # a member has one bucket of so many for each salt (PRODUCT E, sample)


@dataclass(frozen=True, slots=True)
class Always:
    value: bool


@dataclass(frozen=True, slots=True)
class InRanges:
    column: Column
    ranges: tuple[tuple[int, int], ...]  # sorted, disjoint; both ends inside


@dataclass(frozen=True, slots=True)
class OnPlanes:
    parts: tuple[tuple[Column, int], ...]  # (column, mask of its 8 planes)
    every: bool = False


@dataclass(frozen=True, slots=True)
class OnText:
    column: Column
    op: Op
    needles: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """Members whose bucket under `salt` (fastmatch.bucket_of) lies in low <= bucket < high, of BUCKETS."""

    salt: bytes
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Given:
    """A bitmap a block that does not come from columns; a block that has none has nobody."""

    key: Key


@dataclass(frozen=True, slots=True)
class Complement:
    part: Test


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Test, ...]


Test = Always | InRanges | OnPlanes | OnText | Sampled | Given | Complement | Every | Some


def unknown_test(fields: Iterable[Field]) -> Test:
    """Members of whom one of `fields` is unknown. A tag is had or not: nothing about it is unknown."""
    return Some(tuple([Complement(known_test(of)) for of in fields if of.kind != "tags"]))


def known_test(of: Field) -> Test:
    if of.kind == "tags":
        return OnPlanes(join(plane_of(of, number) for number in range(len(of.values))))
    if of.column == ColumnKind.TEXT:
        return OnText(column_of(of), Op.TEXT_KNOWN)
    return in_ranges(of, [known_range(of)])


def in_ranges(of: Field, ranges: Iterable[tuple[int, int]]) -> Test:
    """The known numbers of a field that lie in one of `ranges`; both ends inside."""
    least, most = known_range(of)
    merged = merge_ranges(_kind(of), [(max(low, least), min(high, most)) for low, high in ranges])
    return InRanges(column_of(of), tuple(merged)) if merged else Always(False)


def outside(of: Field, ranges: Iterable[tuple[int, int]]) -> Test:
    """The known numbers of a field that lie in none of `ranges`."""
    least, most = known_range(of)
    within = merge_ranges(_kind(of), ranges)
    lows = [least, *(high + 1 for _, high in within)]
    highs = [*(low - 1 for low, _ in within), most]
    return in_ranges(of, zip(lows, highs, strict=True))


def known_range(of: Field) -> tuple[int, int]:
    """The least and greatest number that a known value can have: the unknown's lies just below."""
    kind = _kind(of)
    return LEAST[kind] + 1, GREATEST[kind]


def column_of(of: Field) -> Column:
    return of.number, 0, of.column


def plane_of(of: Field, number: int) -> tuple[Column, int]:
    """Where a tag lies."""
    return (of.number, number // 8, ColumnKind.PLANES), 1 << number % 8


def join(places: Iterable[tuple[Column, int]]) -> tuple[tuple[Column, int], ...]:
    """Planes as one mask a column."""
    masks: dict[Column, int] = {}
    for column, mask in places:
        masks[column] = masks.get(column, 0) | mask
    return tuple(masks.items())


def _kind(of: Field) -> Kind:
    return Kind(int(of.column))
