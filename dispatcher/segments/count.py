"""How many a segment matches exactly, how many of them a message may reach, and why the rest fell out.

Touches: column blocks and deltas, read through one View.
Rests on: members/guards.py for the guards of a purpose and their order.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.fastmatch import Assembler, Op, Program
from dispatcher.members.guards import Guard, cut, guards_of
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.caps import Bitmaps, over_caps
from dispatcher.segments.column_tests import Every, Given, Test, unknown_test
from dispatcher.segments.given import Engaged
from dispatcher.segments.match import open_scan, run
from dispatcher.segments.plan import Compiled, compile_text
from dispatcher.segments.program import LIVE, Columns, emit
from dispatcher.segments.select import select
from dispatcher.segments.tree import to_json
from dispatcher.store.columns import Column
from dispatcher.tenants.rules import rules_of
from dispatcher.tenants.tenant import need_tenant

_MATCHED = Engaged("matched")  # a key of our own: the bitmaps are at hand
_CAPPED = Engaged("capped")
_REASONS = 2  # the first tally of the guards; 0 counts the matched, 1 the unknown


def count(
    view: View,
    tenant: int,
    text: str,
    purpose: str = "marketing",
    as_of_ms: int = 0,
    *,
    stop: Callable[[], None] | None = None,
    threads: int = 1,
    tree: bool = False,
) -> dict[str, Any]:
    """{matched, reachable, waterfall {reason: n}, unknown, ms, as_of, text, warnings}, and tree (JSON) when asked.

    matched = reachable + the waterfall's sum: each member is counted under the first guard that holds
    it back. unknown: live members of whom some field that the text names is unknown. as_of is the
    caller's instant in the tenant's zone; ms what the count took. stop is called now and then: what it raises ends
    the count. Raises CommandRefused as compile_text.
    """
    began = perf_counter()
    zone = ZoneInfo(need_tenant(view, tenant).zone)
    compiled = compile_text(view, tenant, text, as_of_ms=as_of_ms)
    answer = count_compiled(view, tenant, compiled, Purpose(purpose), stop, threads)
    as_of = datetime.fromtimestamp(as_of_ms / 1000, zone).isoformat(timespec="milliseconds")
    ms = round((perf_counter() - began) * 1000, 3)
    answer |= {"ms": ms, "as_of": as_of, "text": compiled.text, "warnings": list(compiled.warnings)}
    return {**answer, "tree": to_json(compiled.rule)} if tree else answer


def matched(view: View, tenant: int, compiled: Compiled, *, threads: int = 1) -> int:
    """How many live members a segment has, and nothing else."""
    if compiled.top is not None or compiled.limit is not None:
        return sum(count for _, _, count in select(view, tenant, compiled, threads=threads))
    over = open_scan(view, tenant, compiled.columns, compiled.as_of_ms)
    return run(compiled.program, over, 0, over.blocks, threads=threads)


def count_compiled(
    view: View,
    tenant: int,
    compiled: Compiled,
    purpose: Purpose,
    stop: Callable[[], None] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """matched, reachable, waterfall and unknown of a segment already compiled."""
    test, known = compiled.test, dict[Hashable, Bitmaps]()
    if compiled.top is not None or compiled.limit is not None:  # who is left is known only when all are
        test = Given(_MATCHED)
        known = {_MATCHED: {block: bitmap for block, bitmap, _ in select(view, tenant, compiled, threads=threads)}}
    rules = rules_of(need_tenant(view, tenant), purpose.value)
    capped = None
    if rules.caps:
        capped, known[_CAPPED] = _CAPPED, over_caps(view, tenant, rules.caps, compiled.as_of_ms)
    guards = guards_of(purpose, consent=rules.consent, capped=capped)
    reasons, program, columns = _count_program(test, compiled, guards)
    over = open_scan(view, tenant, columns, compiled.as_of_ms, known)
    tallies = array("Q", bytes(8 * (_REASONS + len(reasons))))
    reachable = run(program, over, 0, over.blocks, tallies=tallies, threads=threads, stop=stop)
    waterfall = {reason.word: n for reason, n in zip(reasons, tallies[_REASONS:], strict=True)}
    return {"matched": tallies[0], "reachable": reachable, "waterfall": waterfall, "unknown": tallies[1]}


def _count_program(
    test: Test, compiled: Compiled, guards: Iterable[Guard]
) -> tuple[list[Decision], Program, tuple[Column | Hashable, ...]]:
    """(reasons, program, columns): what is left is who may be reached, the tallies say the rest."""
    columns, to = Columns(), Assembler()
    emit(Every((LIVE, test)), to, columns, compiled.shares)
    to.tally(0)
    reasons = cut(to, guards, columns.position, first_tally=_REASONS)
    emit(Every((LIVE, unknown_test(compiled.fields))), to, columns)
    to.tally(1)
    to.combine(Op.DROP)
    return reasons, to.program(), columns.asked
