"""Guards: who falls out, once, for the first reason that holds."""

from __future__ import annotations

from array import array

from dispatcher.control.commands import AddSuppression
from dispatcher.fastmatch import BITMAP_OCTETS, Assembler, match_block
from dispatcher.fastmatch import slots_of as bits
from dispatcher.members.consent import STOP_GROUPS, record_optout
from dispatcher.members.guards import MSISDN, cut, guards_of, push_live
from dispatcher.members.suppression import add_suppression
from dispatcher.records.changes import Changes
from dispatcher.records.states import Decision, Purpose
from dispatcher.store import Store
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import FLAGS, ColumnKind, open_block, put_delta
from tests.fakes.shop import do, new_member, new_shop


def waterfall(store: Store, purpose: Purpose) -> tuple[list[int], dict[str, int]]:
    assembler, columns = Assembler(), [FLAGS, MSISDN]
    push_live(assembler, columns.index(FLAGS))
    decisions = cut(assembler, guards_of(purpose), columns.index)
    tallies, out = array("Q", bytes(8 * len(decisions))), bytearray(BITMAP_OCTETS)
    with store.snapshot() as view:
        block = open_block(view, 1, 0, columns)
        arrays = [block.array(field) for field, _, _ in columns]
        match_block(assembler.program(), arrays, block.slots, out, tallies)
    return bits(out), {decision.word: tally for decision, tally in zip(decisions, tallies, strict=True)}


def test_each_member_falls_out_once_for_the_first_reason_that_holds(store: Store):
    new_shop(store)
    numbers = [4915100000000 + i for i in range(1, 6)]
    for number in numbers:
        new_member(store, number)
    with store.begin_write() as view:  # member 4 loses its number, as an import with a bad one leaves it
        changes = Changes()
        put_delta(changes, view, 1, 4, {MSISDN: NUMBER[ColumnKind.U64].pack(0)})
        view.apply(changes)
        view.apply(record_optout(view, 1, numbers[1], STOP_GROUPS, 5000, "stop"))
        view.apply(record_optout(view, 1, numbers[2], "marketing", 5000, "stop"))
    do(store, add_suppression, AddSuppression(numbers=[f"+{numbers[1]}"]))
    assert waterfall(store, Purpose.MARKETING) == ([0, 3], {"no_valid_number": 1, "suppressed": 1, "opted_out": 1})
    assert waterfall(store, Purpose.CARE) == ([0, 2, 3], {"no_valid_number": 1, "suppressed": 1, "opted_out": 0})
    assert waterfall(store, Purpose.OTP) == ([0, 2, 3], {"no_valid_number": 1, "suppressed": 1})
    assert Decision.OPTED_OUT.word == "opted_out"
