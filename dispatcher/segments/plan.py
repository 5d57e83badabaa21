"""A segment's text to what runs: the tree, its tests, the kernel's program and the columns it reads.

Touches: the tenant's fields and named segments, through a View. `compile_text` is the one entry for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dispatcher.fastmatch import FEW, Assembler, Kind, Op, Program
from dispatcher.members.fields import Field, fields_of
from dispatcher.records.changes import View
from dispatcher.segments.parse import parse
from dispatcher.segments.rule import Rule
from dispatcher.segments.typed import Always, Complement, Every, InRanges, OnPlanes, OnText, Some, Test, Typing
from dispatcher.store.columns import FLAGS, BlockView, Column, ColumnKind
from dispatcher.store.layout import PLANE_LIVE, TENANT
from dispatcher.store.values import unpack

_COST = {ColumnKind.U8: 2, ColumnKind.U16: 2.5, ColumnKind.I32: 4, ColumnKind.I64: 10, ColumnKind.U64: 10}
LIVE = OnPlanes(((FLAGS, 1 << PLANE_LIVE),))


@dataclass(frozen=True, slots=True)
class Compiled:
    """A segment ready to run over any block of its tenant, until the tenant's fields change."""

    rule: Rule
    text: str  # canonical: equal segments have equal text
    test: Test  # without LIVE and limit
    program: Program  # with LIVE
    columns: tuple[Column, ...]  # what open_block is asked for, in the program's order
    limit: int | None
    fields: tuple[Field, ...]  # named in the text, or in a segment it names
    warnings: tuple[str, ...]


def compile_text(view: View, tenant: int, text: str, *, within: tuple[str, ...] = ()) -> Compiled:
    """Parse, type and plan. Raises CommandRefused 422 segment_syntax or unknown_field, with the place.

    within: titles of saved segments that `text` must not come back to (the one being saved).
    """
    fields = fields_of(view, tenant)
    rule = parse(text, fields)
    named = {row["name"]: row["expr"] for _, row in saved(view, tenant)}
    typing = Typing(fields, named, within)
    test = typing.test(rule)
    columns = Columns()
    program = assemble(Every((LIVE, test)), columns)
    used, warnings = tuple(typing.used.values()), tuple(dict.fromkeys(typing.warnings))
    return Compiled(rule, str(rule), test, program, columns.asked, rule.limit, used, warnings)


def saved(view: View, tenant: int) -> Iterable[tuple[bytes, dict[str, Any]]]:
    """Rows of the tenant's saved segments, oldest first."""
    return ((key, unpack(row)) for key, row in view.range("segments", TENANT.pack(tenant)))


class Columns:
    """Which array of match_block is which column: a text column takes three. The first `own` are the caller's."""

    def __init__(self, own: int = 0) -> None:
        self._positions: dict[Column, int] = {}
        self._next = own

    @property
    def asked(self) -> tuple[Column, ...]:
        return tuple(self._positions)

    def position(self, column: Column) -> int:
        if column not in self._positions:
            self._positions[column] = self._next
            self._next += 3 if column[2] == ColumnKind.TEXT else 1
        return self._positions[column]


def arrays_of(block: BlockView, columns: Iterable[Column]) -> list[Any]:
    """The list of buffers that match_block takes, in the order Columns numbered them."""
    arrays: list[Any] = []
    for column in columns:
        found = block.arrays[column[:2]]
        if isinstance(found, tuple):
            arrays += found
        else:
            arrays.append(found)
    return arrays


def assemble(test: Test, columns: Columns) -> Program:
    assembler = Assembler()
    emit(test, assembler, columns)
    return assembler.program()


def emit(test: Test, to: Assembler, columns: Columns) -> None:
    """Instructions that push the members of `test`."""
    match test:
        case Always(value):
            to.const(value)
        case InRanges(column, ranges):
            to.ranges(columns.position(column), Kind(int(column[2])), ranges)
        case OnPlanes(parts, every):
            combine = Op.AND if every else Op.OR
            _fold(parts, combine, lambda part: to.planes(columns.position(part[0]), part[1], every=every), to)
        case OnText(column, Op.TEXT_IN, needles):
            to.text_in(columns.position(column), needles)
        case OnText(column, op, needles):
            to.text(op, columns.position(column), *needles)
        case Complement(part):
            emit(part, to, columns)
            to.combine(Op.NOT)
        case Every(parts):
            _every(sorted(parts, key=_cost), to, columns)
        case Some(parts):
            _fold(parts, Op.OR, lambda part: emit(part, to, columns), to)


def _every(parts: list[Test], to: Assembler, columns: Columns) -> None:
    """Cheap tests first: the kernel asks the dear ones only of who is left."""
    first, *rest = parts
    emit(first, to, columns)
    for part in rest:
        if isinstance(part, Complement):
            emit(part.part, to, columns)
            to.combine(Op.AND_NOT)
        else:
            emit(part, to, columns)
            to.combine(Op.AND)


def _cost(test: Test) -> float:
    """About the microseconds a block that every slot's answer takes (bench_fastmatch, 2-core machine)."""
    match test:
        case InRanges(column, ranges):
            if len(ranges) <= FEW:
                return _COST[column[2]] * len(ranges)
            return 9 if column[2] in (ColumnKind.U8, ColumnKind.U16) else 55  # a table, a search
        case OnText():
            return 150
        case Complement(part):
            return _cost(part)
        case Every(parts) | Some(parts):
            return sum(map(_cost, parts))
    return 0.5


def _fold(parts: Iterable[Any], op: Op, push: Callable[[Any], None], to: Assembler) -> None:
    """Push one, then each further one and combine: the stack grows with nesting, never with length."""
    empty = True
    for part in parts:
        push(part)
        if not empty:
            to.combine(op)
        empty = False
    if empty:
        to.const(op is Op.AND)
