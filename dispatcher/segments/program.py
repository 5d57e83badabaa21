"""Tests of members to one program of the matching kernel, dear tests last and asked only of who is left.

Touches: nothing. `Columns` says in which order the program numbers what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from dispatcher.fastmatch import FEW, TABLE_MAX, Assembler, Kind, Op, Program
from dispatcher.segments.column_tests import (
    Always,
    Complement,
    Every,
    Given,
    InRanges,
    OnPlanes,
    OnText,
    Sampled,
    Some,
    Test,
)
from dispatcher.store.columns import FLAGS, Column, ColumnKind
from dispatcher.store.layout import PLANE_LIVE

LIVE = OnPlanes(((FLAGS, 1 << PLANE_LIVE),))
Shares = Mapping[Test, float]

# about the microseconds that a block's answers take, from memory (bench_fastmatch, 2-core EPYC, AVX-512)
_READ = {ColumnKind.U8: 1.2, ColumnKind.U16: 2.2, ColumnKind.I32: 4.4, ColumnKind.I64: 9.0, ColumnKind.U64: 9.0}
_PLANE, _TEXT, _SEARCH, _SAMPLE = 0.2, 150.0, 90.0, 14.0


@dataclass(slots=True)
class Columns:
    """Which array of the kernel is which column, or which bitmaps given from outside: a text column takes three."""

    positions: dict[Column | Hashable, int] = field(default_factory=dict)
    _next: int = 0

    @property
    def asked(self) -> tuple[Column | Hashable, ...]:
        return tuple(self.positions)

    def position(self, column: Column | Hashable) -> int:
        if column not in self.positions:
            self.positions[column] = self._next
            self._next += 3 if isinstance(column, tuple) and column[2] == ColumnKind.TEXT else 1
        return self.positions[column]


def assemble(test: Test, columns: Columns, shares: Shares | None = None) -> Program:
    assembler = Assembler()
    emit(test, assembler, columns, shares)
    return assembler.program()


def emit(test: Test, to: Assembler, columns: Columns, shares: Shares | None = None) -> None:
    """Instructions that push the members of `test`. shares: of members that a test matches, where it is known."""
    shares = shares or {}
    match test:
        case Always(value):
            to.const(value)
        case InRanges(column, ranges):
            to.ranges(columns.position(column), Kind(int(column[2])), ranges)
        case OnPlanes() if test == LIVE:
            to.live(columns.position(FLAGS))
        case OnPlanes(parts, every):
            combine = Op.AND if every else Op.OR
            _fold(parts, combine, lambda part: to.planes(columns.position(part[0]), part[1], every=every), to)
        case OnText(column, Op.TEXT_IN, needles):
            to.text_in(columns.position(column), needles)
        case OnText(column, op, needles):
            to.text(op, columns.position(column), *needles)
        case Sampled(salt, low, high):
            to.buckets(salt, low, high)
        case Given(key):
            to.planes(columns.position(key), 1)
        case Complement(part):
            emit(part, to, columns, shares)
            to.combine(Op.NOT)
        case Every(parts):
            _every(_narrowing(parts, shares), to, columns, shares)
        case Some(parts):
            _fold(parts, Op.OR, lambda part: emit(part, to, columns, shares), to)


def share_of(test: Test, shares: Shares) -> float:
    """About which part of the members matches; a half where nobody knows."""
    if test in shares:
        return shares[test]
    match test:
        case Always(value):
            return float(value)
        case Sampled(_, low, high):
            return max(0, high - low) / 10_000
        case Complement(part):
            return 1 - share_of(part, shares)
        case Every(parts):
            share = 1.0
            for part in parts:
                share *= share_of(part, shares)
            return share
        case Some(parts):
            share = 1.0
            for part in parts:
                share *= 1 - share_of(part, shares)
            return 1 - share
    return 0.5


def leaves(test: Test) -> Iterable[Test]:
    """The conditions of a test, each as often as it stands there."""
    match test:
        case Complement(part):
            yield from leaves(part)
        case Every(parts) | Some(parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield test


def _narrowing(parts: Iterable[Test], shares: Shares) -> list[Test]:
    """First what takes most members away for its cost. LIVE costs next to nothing and is asked first of all."""
    return sorted(parts, key=lambda part: -1.0 if part == LIVE else cost(part) / (1.001 - share_of(part, shares)))


def _every(parts: list[Test], to: Assembler, columns: Columns, shares: Shares) -> None:
    if not parts:
        return to.const(True)
    first, *rest = parts
    skips = []
    emit(first, to, columns, shares)
    for n, part in enumerate(rest):
        if n and not isinstance(part, Given):
            skips.append(to.skip())
        if isinstance(part, Complement):
            emit(part.part, to, columns, shares)
            to.combine(Op.AND_NOT)
        else:
            emit(part, to, columns, shares)
            to.combine(Op.AND)
    for skip in skips:
        to.land(skip)
    return None


def cost(test: Test) -> float:
    match test:
        case InRanges(column, ranges):
            if len(ranges) <= FEW or (column[2] in (ColumnKind.U8, ColumnKind.U16) and ranges[-1][1] < 1_024):
                return _READ[column[2]] + 0.1 * min(len(ranges), FEW)
            return 10.0 if column[2] in (ColumnKind.U8, ColumnKind.U16) and ranges[-1][1] < TABLE_MAX else _SEARCH
        case OnText():
            return _TEXT
        case Sampled():
            return _SAMPLE
        case OnPlanes(parts):
            return sum(_PLANE * mask.bit_count() for _, mask in parts)
        case Complement(part):
            return cost(part)
        case Every(parts) | Some(parts):
            return sum(map(cost, parts))
    return _PLANE


def _fold(parts: Iterable[object], op: Op, push: Callable[..., None], to: Assembler) -> None:
    """Push one, then each further one and combine: the stack grows with nesting, never with length."""
    empty = True
    for part in parts:
        push(part)
        if not empty:
            to.combine(op)
        empty = False
    if empty:
        to.const(op is Op.AND)
