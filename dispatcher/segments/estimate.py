"""Which part of the members a condition matches, asked of a few blocks: so that a plan asks the telling ones first.

Touches: column blocks, read through one View; what it found is kept with the store. A plan made of an old estimate
gives the same members, only later.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from dispatcher.fastmatch import Assembler, Op
from dispatcher.records.changes import View
from dispatcher.segments.column_tests import Every, InRanges, OnPlanes, OnText, Test
from dispatcher.segments.match import run
from dispatcher.segments.program import LIVE, Columns, emit, leaves
from dispatcher.store.scan import scan
from dispatcher.store.snapshot import Snapshot

SAMPLE = 3  # blocks: 49,000 members
CONDITIONS = 64  # of a text with more, the rest is taken as a half
_KEPT = 4_096


def shares_of(view: View, tenant: int, test: Test) -> dict[Test, float]:
    """About which part of the live members matches each column test in `test`. Delta rows are not asked."""
    asked = [leaf for leaf in dict.fromkeys(leaves(test)) if isinstance(leaf, InRanges | OnPlanes | OnText)]
    if not 2 <= len(asked) <= CONDITIONS:
        return {}
    known: dict[Test, float] = {}
    if isinstance(view, Snapshot) and view.kept is not None:
        known = view.kept.setdefault(("shares", tenant), {})
        if len(known) > _KEPT:
            known.clear()
    new = [leaf for leaf in asked if leaf not in known]
    if new:
        for leaf, share in zip(new, _ask(view, tenant, new), strict=True):
            known[leaf] = share
    return {leaf: known.get(leaf, 0.5) for leaf in asked}


def _ask(view: View, tenant: int, tests: Sequence[Test]) -> list[float]:
    columns, to = Columns(), Assembler()
    emit(LIVE, to, columns)
    to.tally(0)
    for n, test in enumerate(tests, 1):
        emit(Every((LIVE, test)), to, columns)
        to.tally(n)
        to.combine(Op.DROP)
    program = to.program()
    over = scan(view, tenant, columns.asked, delta=False)
    tallies = array("Q", bytes(8 * (len(tests) + 1)))
    for block in {over.blocks * n // SAMPLE for n in range(SAMPLE)} if over.blocks else ():
        run(program, over, block, block + 1, tallies=tallies)
    live = tallies[0]
    return [found / live if live else 0.5 for found in tallies[1:]]
