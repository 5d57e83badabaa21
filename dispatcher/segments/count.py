"""How many a segment matches exactly, how many of them a message may reach, and why the rest fell out.

Touches: column blocks and deltas, read through one View.
Rests on: members/guards.py for the guards of a purpose and their order.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.fastmatch import Assembler, Op, Program, match_block
from dispatcher.members.guards import cut
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.plan import LIVE, Columns, Compiled, arrays_of, compile_text, emit
from dispatcher.segments.select import keep_first
from dispatcher.segments.typed import Every, unknown_test
from dispatcher.store.columns import Column, blocks_of, next_member_no, open_block
from dispatcher.store.layout import BLOCK
from dispatcher.tenants.tenant import need_tenant


def count(view: View, tenant: int, text: str, purpose: str = "marketing", as_of_ms: int = 0) -> dict[str, Any]:
    """{matched, reachable, waterfall {reason: n}, unknown, ms, as_of, text, warnings}.

    matched = reachable + the waterfall's sum: each member is counted under the first guard that holds
    it back. unknown: live members of whom some field that the text names is unknown. as_of is the
    caller's instant in the tenant's zone; ms what the count took. Raises CommandRefused as compile_text.
    """
    began = perf_counter()
    zone = ZoneInfo(need_tenant(view, tenant).zone)
    compiled = compile_text(view, tenant, text)
    answer = count_compiled(view, tenant, compiled, Purpose(purpose))
    as_of = datetime.fromtimestamp(as_of_ms / 1000, zone).isoformat(timespec="milliseconds")
    ms = round((perf_counter() - began) * 1000, 3)
    return {**answer, "ms": ms, "as_of": as_of, "text": compiled.text, "warnings": list(compiled.warnings)}


def count_compiled(view: View, tenant: int, compiled: Compiled, purpose: Purpose) -> dict[str, Any]:
    """matched, reachable, waterfall and unknown of a segment already compiled."""
    reasons, program, columns = guard_program(compiled, purpose)
    asked = tuple(dict.fromkeys(compiled.columns + columns))
    tallies = array("Q", bytes(8 * (len(reasons) + 1)))
    # both the segment's answer and plane 0 of the guards' first array: a block's bitmap is the first slots / 8 octets
    found = bytearray(BLOCK)
    left = bytearray(BLOCK // 8)
    matched = reachable = 0
    no = next_member_no(view, tenant)
    for number in range(blocks_of(no)):
        block = open_block(view, tenant, number, asked, next_no=no)
        here = match_block(compiled.program, arrays_of(block, compiled.columns), block.slots, found)
        if compiled.limit is not None and matched + here > compiled.limit:
            here = compiled.limit - matched
            keep_first(found, here)
        matched += here
        reachable += match_block(program, [found, *arrays_of(block, columns)], block.slots, left, tallies)
    waterfall = {reason.word: n for reason, n in zip(reasons, tallies[1:], strict=True)}
    return {"matched": matched, "reachable": reachable, "waterfall": waterfall, "unknown": tallies[0]}


def guard_program(compiled: Compiled, purpose: Purpose) -> tuple[list[Decision], Program, tuple[Column, ...]]:
    """(reasons, program, columns): match_block's arrays are first the matched as plane 0, then the columns.

    Tally 0 counts the unknown, 1 and up the reasons; what is left is who may be reached.
    """
    columns, to = Columns(own=1), Assembler()
    emit(Every((LIVE, unknown_test(compiled.fields))), to, columns)
    to.tally(0)
    to.combine(Op.DROP)
    to.planes(0, 1)
    reasons = cut(to, purpose, columns.position, first_tally=1)
    return reasons, to.program(), columns.asked
