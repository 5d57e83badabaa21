"""Who of a segment may not be sent to, and why: the guards, in the order in which they are asked.

Touches: nothing; a guard is a test over planes and columns that fastmatch runs. segments/count shows
them as a waterfall, campaigns/preview as decisions. The rendering kernel tests the same planes again at
claim, in the same order, since a STOP may have come in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.fastmatch import Assembler, Kind
from dispatcher.members.consent import group_of
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.columns import FLAGS, Column, ColumnKind
from dispatcher.store.layout import FIELD_MSISDN, OPTOUT_GROUPS, PLANE_LIVE, PLANE_SUPPRESSED

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)


@dataclass(frozen=True, slots=True)
class Guard:
    """Pushes the slots that it excludes as one bitmap; `column` is what it must be given."""

    decision: Decision
    column: Column
    planes: int = 0  # 0: an unknown number in `column`

    def push(self, assembler: Assembler, place: int) -> None:
        """`place` is the column's position in the arrays given to match_block."""
        if self.planes:
            assembler.planes(place, self.planes)
        else:
            assembler.ranges(place, Kind(self.column[2]), [(0, 0)])


def guards_of(purpose: Purpose) -> tuple[Guard, ...]:
    """The guards of a purpose, first asked first. Each is tested on who passed those before it."""
    guards = [
        Guard(Decision.NO_VALID_NUMBER, MSISDN),
        Guard(Decision.SUPPRESSED, FLAGS, 1 << PLANE_SUPPRESSED),
    ]
    if group := group_of(purpose):
        guards.append(Guard(Decision.OPTED_OUT, FLAGS, 1 << OPTOUT_GROUPS[group]))
    return tuple(guards)


def push_live(assembler: Assembler, place: int) -> None:
    """Slots that hold a member."""
    assembler.planes(place, 1 << PLANE_LIVE)


def cut(assembler: Assembler, purpose: Purpose, place: Callable[[Column], int], first_tally: int = 0) -> list[Decision]:
    """Take the guarded away from the bitmap on top; tally `first_tally + i` counts the i-th decision returned."""
    decisions = []
    for i, guard in enumerate(guards_of(purpose)):
        guard.push(assembler, place(guard.column))
        assembler.tally_cut(first_tally + i)
        decisions.append(guard.decision)
    return decisions
