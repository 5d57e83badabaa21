"""What each condition of a segment reads and costs, what the plan thought of it, and what it really matches.

Touches: column blocks and deltas, read through one View. Each condition is run alone, over everybody, so its ms are
what it would cost by itself; `ms` of the whole is less, since later conditions are asked only of who is left.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from dispatcher.fastmatch import Assembler, Op
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
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
from dispatcher.segments.count import count_compiled
from dispatcher.segments.match import open_scan, run
from dispatcher.segments.plan import Compiled, compile_text
from dispatcher.segments.program import LIVE, Columns, emit, share_of
from dispatcher.store.columns import ColumnKind
from dispatcher.store.layout import FIELD_FLAGS

_TEXT_OPS = {
    Op.TEXT_IN: "in",
    Op.TEXT_CONTAINS: "contains",
    Op.TEXT_STARTS: "starts with",
    Op.TEXT_ENDS: "ends with",
    Op.TEXT_KNOWN: "is known",
}
_SHOWN = 8  # ranges or values of one condition


def explain(
    view: View, tenant: int, text: str, purpose: str = "marketing", as_of_ms: int = 0, *, threads: int = 1
) -> dict[str, Any]:
    """{text, blocks, members, matched, estimate, ms, compile_ms, conditions: [...]}, conditions in the text's order.

    A condition: {path, test, columns [{field, part, kind}], bytes, blocks, blocks_skipped, matched, share, estimate,
    ms}. path says where it hangs, as "and.2.not"; bytes are what its columns hold; blocks_skipped those of which the
    least and greatest number said enough; share and estimate are of the live members. Raises as compile_text.
    """
    began = perf_counter()
    compiled = compile_text(view, tenant, text, as_of_ms=as_of_ms)
    compiled_s = perf_counter() - began
    names = {field.number: field.name for field in fields_of(view, tenant).values()} | {
        FIELD_FLAGS: "state and consent"
    }
    began = perf_counter()
    answer = count_compiled(view, tenant, compiled, Purpose(purpose), None, threads)
    count_s = perf_counter() - began
    live = _live(view, tenant)
    return {
        "text": compiled.text,
        "blocks": open_scan(view, tenant, (), as_of_ms).blocks,
        "members": live,
        "matched": answer["matched"],
        "estimate": round(live * share_of(compiled.test, compiled.shares)),
        "compile_ms": round(1e3 * compiled_s, 3),
        "ms": round(1e3 * count_s, 3),
        "conditions": [
            {"path": path, **_condition(view, tenant, compiled, test, names, live, threads)}
            for path, test in _conditions(compiled.test, "")
        ],
    }


def _conditions(test: Test, path: str) -> Iterator[tuple[str, Test]]:
    match test:
        case Complement(part):
            yield from _conditions(part, f"{path}.not".strip("."))
        case Every(parts) | Some(parts):
            word = "and" if isinstance(test, Every) else "or"
            for n, part in enumerate(parts, 1):
                yield from _conditions(part, f"{path}.{word}.{n}".strip("."))
        case _:
            yield path, test


def _condition(
    view: View, tenant: int, compiled: Compiled, test: Test, names: dict[int, str], live: int, threads: int
) -> dict[str, Any]:
    columns, to = Columns(), Assembler()
    emit(Every((LIVE, test)), to, columns)
    program = to.program()
    zoned = array("Q", bytes(8 * program.steps))
    over = open_scan(view, tenant, columns.asked, compiled.as_of_ms)
    began = perf_counter()
    matched = run(program, over, 0, over.blocks, zoned=zoned, threads=threads)
    took = perf_counter() - began
    read = [column for column in columns.asked if isinstance(column, tuple) and column[0] != FIELD_FLAGS]
    return {
        "test": _said(test, names),
        "columns": [
            {"field": names.get(field, str(field)), "part": part, "kind": ColumnKind(kind).name.lower()}
            for field, part, kind in read
        ],
        "bytes": over.octets - (over.blocks and _flags_octets(view, tenant)),
        "blocks": over.blocks,
        "blocks_skipped": sum(zoned),
        "matched": matched,
        "share": round(matched / live, 6) if live else 0.0,
        "estimate": round(share_of(test, compiled.shares), 6),
        "ms": round(1e3 * took, 3),
    }


def _live(view: View, tenant: int) -> int:
    columns, to = Columns(), Assembler()
    emit(LIVE, to, columns)
    over = open_scan(view, tenant, columns.asked, 0)
    return run(to.program(), over, 0, over.blocks)


def _flags_octets(view: View, tenant: int) -> int:
    columns = Columns()
    columns.position(LIVE.parts[0][0])
    return open_scan(view, tenant, columns.asked, 0).octets


def _said(test: Test, names: dict[int, str]) -> str:
    """A condition by the numbers that the column has: codes of a dictionary, days since 1970, micro-units."""
    match test:
        case Always(value):
            return "everyone" if value else "nobody"
        case InRanges(column, ranges):
            shown = ", ".join(f"{low}" if low == high else f"{low}..{high}" for low, high in ranges[:_SHOWN])
            more = f" and {len(ranges) - _SHOWN} more" if len(ranges) > _SHOWN else ""
            return f"{names.get(column[0], column[0])} in {shown}{more}"
        case OnPlanes(parts, every):
            planes = [
                f"{names.get(column[0], column[0])}[{8 * column[1] + n}]"
                for column, mask in parts
                for n in range(8)
                if mask >> n & 1
            ]
            return f"{'all' if every else 'any'} of {', '.join(planes[:_SHOWN])}"
        case OnText(column, op, needles):
            shown = ", ".join(needle.decode() for needle in needles[:_SHOWN])
            return f"{names.get(column[0], column[0])} {_TEXT_OPS[op]} {shown}".rstrip()
        case Sampled(_, low, high):
            return f"bucket {low}..{high - 1}"
        case Given(key):
            return str(key)
    raise AssertionError(test)
