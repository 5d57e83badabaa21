"""A claim of some parts of a message: the ledger moves only those, and a start releases only those."""

from __future__ import annotations

from dispatcher.records.batch import ROW, TOLD_ROW, Row
from dispatcher.records.states import State
from dispatcher.smpp.pump import BULK, REPLIES, Book, Kind
from dispatcher.store import Store, ledger
from dispatcher.store.layout import U64

CAMPAIGN = 77
RUN = 0


def new_book() -> Book:
    book = Book(1_000, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=64, reply_ring=64)
    assert book.open_run(CAMPAIGN, 1, 0, bytes(20), b"", receipts=True, honours_stop=True) == RUN
    return book


def claim(book: Book, *messages: tuple[int, int, set[int]]) -> None:
    """(rank, parts, those that this claim takes)"""
    rows = b"".join(
        TOLD_ROW.pack(*Row(4915100000000 + rank, rank, 0, 9, 1, part, parts, 0, 0, 0, 0, rank, part not in taken))
        for rank, parts, taken in messages
        for part in range(parts)
    )
    book.claim(BULK, RUN, rows, len(rows) // ROW.size, b"x")


def write(store: Store, book: Book) -> None:
    """The journal into the log and the log into the ledger."""
    value, _ = book.cut()
    with store.begin_write() as view:
        view.txn.put(U64.pack(ledger.next_position(view)), value, db=view.tables["outcome_log"], append=True)
        ledger.fold(view)
    book.committed()


def parts_in(store: Store, rank: int, state: State) -> list[int]:
    with store.snapshot() as view:
        return ledger.parts_in_state(view, CAMPAIGN, rank, state)


def test_an_uncertain_part_stays_uncertain_when_another_is_claimed_again(store: Store):
    book = new_book()
    claim(book, (0, 3, {0, 1, 2}))
    for kind, part in ((Kind.UNCERTAIN, 0), (Kind.RETRY, 1), (Kind.ACCEPTED, 2)):
        book.log(kind, part, 0, 0, RUN, 0)
    write(store, book)
    claim(book, (0, 3, {1}))
    write(store, book)
    assert [parts_in(store, 0, s) for s in (State.UNCERTAIN, State.CLAIMED, State.ACCEPTED)] == [[0], [1], [2]]


def test_a_part_that_left_is_not_above_the_mark_because_another_was_claimed_again(store: Store):
    book = new_book()
    claim(book, (0, 2, {0, 1}))  # numbers 0 and 1, both leave; part 0 gets no answer
    book.log(Kind.RETRY, 1, 0, 0, RUN, 0)
    claim(book, (0, 2, {1}), (1, 1, {0}))  # 2 and 3, which do not leave
    write(store, book)
    with store.snapshot() as view:
        following, above = ledger.claim_tail(view, {(0, BULK): 2, (0, REPLIES): 0}, {})
    assert parts_in(store, 0, State.CLAIMED) == [0, 1]
    assert above == {(CAMPAIGN, 0, 1): 2, (CAMPAIGN, 1, 0): 3}
    assert following == {(0, BULK): 4}


def test_the_number_after_a_claim_of_some_parts_is_the_next(store: Store):
    book = new_book()
    claim(book, (0, 3, {2}), (1, 2, {0, 1}), (2, 2, {1}), (4, 1, {0}))
    write(store, book)
    with store.snapshot() as view:
        _, above = ledger.claim_tail(view, {(0, BULK): 0, (0, REPLIES): 0}, {})
    parts = [(0, 2), (1, 0), (1, 1), (2, 1), (4, 0)]
    assert above == {(CAMPAIGN, *part): number for number, part in enumerate(parts)}
    assert book.position(BULK) == (5, 0)
