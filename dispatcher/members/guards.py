"""Who of a segment may not be sent to, and why: the guards, in the order in which they are asked.

Touches: nothing; a guard is a test over planes and columns that fastmatch runs. segments/count shows
them as a waterfall, campaigns/preview as decisions. The rendering kernel tests the first three again at
claim, in the same order, since a STOP may have come in between; campaigns/guards.py the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from dispatcher.fastmatch import BITMAP_OCTETS, Assembler, Kind, Op, match_block
from dispatcher.members.consent import group_of
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.columns import FLAGS, BlockView, Column, ColumnKind
from dispatcher.store.layout import CONSENT_GROUPS, FIELD_MSISDN, OPTOUT_GROUPS, PLANE_LIVE, PLANE_SUPPRESSED

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)


@dataclass(frozen=True, slots=True)
class Guard:
    """Pushes the slots that it excludes as one bitmap; `column` is what it must be given, or the key of a bitmap."""

    decision: Decision
    column: Column | Hashable
    planes: int = 0  # 0: an unknown number in `column`
    without: bool = False  # those are excluded that have none of the planes

    def push(self, assembler: Assembler, place: int) -> None:
        """`place` is the column's position in the arrays given to match_block."""
        if self.planes:
            assembler.planes(place, self.planes)
            if self.without:
                assembler.combine(Op.NOT)
        else:
            assembler.ranges(place, Kind.U64, [(0, 0)])


def guards_of(purpose: Purpose, *, consent: bool = False, capped: Hashable = None) -> tuple[Guard, ...]:
    """The guards of a purpose, first asked first. Each is tested on who passed those before it.

    consent: only who said yes. capped: the key of the bitmaps of those who had enough.
    """
    guards = [
        Guard(Decision.NO_VALID_NUMBER, MSISDN),
        Guard(Decision.SUPPRESSED, FLAGS, 1 << PLANE_SUPPRESSED),
    ]
    if group := group_of(purpose):
        guards.append(Guard(Decision.OPTED_OUT, FLAGS, 1 << OPTOUT_GROUPS[group]))
        if consent:
            guards.append(Guard(Decision.NO_CONSENT, FLAGS, 1 << CONSENT_GROUPS[group], without=True))
    if capped is not None:
        guards.append(Guard(Decision.FREQUENCY_CAP, capped, 1))
    return tuple(guards)


def held_back(columns: BlockView, purpose: Purpose, bits: int) -> Iterator[tuple[Decision, int]]:
    """Of a block's slots, a bitmap as a number, those to whom the guards of the rendering kernel let nothing go, by the
    first of them: for whoever decides on recipients that the kernel never sees. `columns` has FLAGS and MSISDN."""
    for guard in guards_of(purpose):
        assembler, out = Assembler(), bytearray(BITMAP_OCTETS)
        guard.push(assembler, 0)
        column = FLAGS if guard.planes else MSISDN
        match_block(assembler.program(), [columns.array(*column[:2])], columns.slots, out)
        if found := bits & int.from_bytes(out, "little"):
            yield guard.decision, found
            bits &= ~found


def push_live(assembler: Assembler, place: int) -> None:
    """Slots that hold a member."""
    assembler.planes(place, 1 << PLANE_LIVE)


def cut(
    assembler: Assembler, guards: Iterable[Guard], place: Callable[[Column | Hashable], int], first_tally: int = 0
) -> list[Decision]:
    """Take the guarded away from the bitmap on top; tally `first_tally + i` counts the i-th decision returned."""
    decisions = []
    for i, guard in enumerate(guards):
        guard.push(assembler, place(guard.column))
        assembler.tally_cut(first_tally + i)
        decisions.append(guard.decision)
    return decisions
