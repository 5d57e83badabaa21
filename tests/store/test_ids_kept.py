"""Kept message_ids: the kernel and its reference, whatever the ids and their order; what is kept is found and dropped."""

from __future__ import annotations

import time
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.smpp.pump import Book, Kind
from dispatcher.store import Store, ids_kept, ledger
from dispatcher.store._ids_kept import Ids, check, find
from dispatcher.store.ids_kept import DAY_MS, Known
from dispatcher.store.layout import U64
from dispatcher.store.verify import find_problems
from tests.reference import ids_kept as reference
from tests.store.logs import BASE_MS, Record, append, value_of

PLAIN = Book(1, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=2, reply_ring=2)
DECIMAL = Book(1, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=2, reply_ring=2, ids="hex_decimal")
CAMPAIGN, OTHER, BATCH = 7, 9, 1 << 63 | 1
HOUR_MS = 3_600_000

Accepted = tuple[int, int, int, bytes]  # campaign, rank, part, message_id
texts = st.one_of(
    st.integers(0, 60).map(lambda n: f"{n}".encode()),  # so that many are doubled
    st.integers(0, 1 << 64).map(lambda n: f"{n:x}".encode()),
    st.binary(min_size=1, max_size=64),
)
accepted = st.tuples(
    st.sampled_from([CAMPAIGN, OTHER, BATCH]), st.integers(0, (1 << 32) - 1), st.integers(0, 254), texts
)


def log_value(items: list[Accepted]) -> bytes:
    return value_of([Record(id, Kind.ACCEPTED, rank, part, message_id=text) for id, rank, part, text in items])


def told(items: list[Accepted], book: Book = PLAIN) -> list[reference.Entry]:
    return [(book.key_of(text), id, 0, rank, part) for id, rank, part, text in items]


@settings(max_examples=200)
@given(values=st.lists(st.lists(accepted, min_size=1, max_size=150), min_size=1, max_size=4))
def test_compiled_and_reference_make_the_same_segment_and_find_the_same(values: list[list[Accepted]]):
    ids, entries, owners = Ids(), list[reference.Entry](), list[tuple[int, int]]()
    for items in values:
        ids.add(log_value(items), False)
        entries += told(items)
        owners += [owner for id in sorted({item[0] for item in items}) if (owner := (id, 0)) not in owners]
    made = ids.pack(5, 6)
    assert bytes(made) == reference.pack(entries, owners, 5, 6)
    check(made)
    for key in {entry[0] for entry in entries} | {1}:
        want = reference.find(entries, key)
        assert find(made, array("Q", [key])) == want[-64:]


@given(older=st.lists(accepted, min_size=1, max_size=100), newer=st.lists(accepted, min_size=1, max_size=100))
def test_a_segment_with_more_in_it_is_the_segment_of_all(older: list[Accepted], newer: list[Accepted]):
    first, second = Ids(), Ids()
    first.add(log_value(older), False)
    second.add(log_value(newer), False)
    second.add_segment(first.pack(1, 2))
    made = second.pack(1, 3)
    assert ids_kept.entries(made) == _sorted(told(older) + told(newer))


def _sorted(entries: list[reference.Entry]) -> list[reference.Entry]:
    found: list[reference.Entry] = []
    for entry in sorted(entries, key=lambda entry: entry[0]):
        if not found or found[-1] != entry:
            found.append(entry)
    return found


@given(
    items=st.lists(accepted, min_size=1, max_size=40),
    at=st.integers(0, 1 << 20),
    to=st.integers(0, 255),
    cut=st.integers(0, 1 << 20),
)
def test_a_segment_with_an_octet_changed_or_cut_off_never_passes_for_whole(
    items: list[Accepted], at: int, to: int, cut: int
):
    ids = Ids()
    ids.add(log_value(items), False)
    made = ids.pack(5, 6)
    with pytest.raises(ValueError, match="segment"):
        check(made[: cut % len(made)])
    at = 32 + at % (len(made) - 36)  # the instants before are nobody's business but the sweeper's
    at += 4 * (at >= 36)
    was, made[at] = made[at], to
    if was != to:
        with pytest.raises(ValueError, match="segment"):
            check(made)


@given(octets=st.binary(max_size=400))
def test_octets_that_are_no_segment_raise_only_ValueError(octets: bytes):
    for look in (check, ids_kept.entries, lambda value: find(value, array("Q", [1, 1 << 63]))):
        with pytest.raises(ValueError, match="segment"):
            look(octets)


def slice_(store: Store, items: list[Accepted], now_ms: int, both: frozenset[int] = frozenset()) -> None:
    """These are accepted, and an hour later kept."""
    (position,) = append(store, log_value(items))
    with store.snapshot() as view:
        assert ids_kept.keep(view, HOUR_MS, both, BASE_MS + HOUR_MS - 1) is None, "they are young"
        kept = ids_kept.keep(view, 0, both, now_ms)
    assert kept is not None and kept.added >= len(items)
    with store.begin_write() as view:
        view.apply(kept.changes())
        assert ids_kept.upto(view) == ledger.next_position(view) > position
        assert ids_kept.keep(view, 0, both, now_ms) is None


def who_has(store: Store, text: str, book: Book = PLAIN, endpoint: int = 0) -> Known | None:
    key = book.key_of(text.encode(), receipt=True)
    with store.snapshot() as view:
        found = ids_kept.look_up(view, [key, 17])
    with store.begin_write() as view:  # through a cursor, as where pages look unknown
        assert ids_kept.look_up(view, [key, 17]) == found
    return found.get((endpoint, key))


def test_an_id_is_found_and_the_last_who_had_it_counts(store: Store):
    assert who_has(store, "a1") is None
    slice_(store, [(CAMPAIGN, 3, 0, b"A1"), (CAMPAIGN, 4, 1, b"A2")], BASE_MS)
    slice_(store, [(OTHER, 9, 0, b"A2")], BASE_MS + 1)
    slice_(store, [(BATCH, 70_000, 0, b"0017")], BASE_MS + 2)
    with store.snapshot() as view:
        assert [(one.entries, one.owners) for one in ids_kept.kept_ids(view)] == [(4, 3)], (
            "one segment while it is small"
        )
    assert who_has(store, "a1") == Known(CAMPAIGN, 3, 0)
    assert who_has(store, "A2") == Known(OTHER, 9, 0)
    assert who_has(store, "17") == Known(BATCH, 70_000, 0)
    assert who_has(store, "a1", endpoint=1) is None, "an id is one account's"


def test_where_an_endpoint_writes_ids_in_two_forms_a_receipt_finds_its_message_by_either(store: Store):
    slice_(store, [(CAMPAIGN, 3, 0, b"4A3F")], BASE_MS, both=frozenset({0}))
    assert who_has(store, "19007", DECIMAL) == who_has(store, "4a3f", DECIMAL) == Known(CAMPAIGN, 3, 0)


def test_a_new_segment_begins_with_each_day_and_ids_are_dropped_by_the_age_of_their_segment(store: Store):
    slice_(store, [(CAMPAIGN, 1, 0, b"one")], BASE_MS)
    slice_(store, [(CAMPAIGN, 2, 0, b"two")], BASE_MS + DAY_MS)
    slice_(store, [(CAMPAIGN, 3, 0, b"three")], BASE_MS + DAY_MS)
    for now_ms, left in ((2 * DAY_MS - 1, ["one", "two", "three"]), (2 * DAY_MS, ["two", "three"]), (3 * DAY_MS, [])):
        with store.begin_write() as view:
            view.apply(ids_kept.drop_old(view, 2 * DAY_MS, BASE_MS + now_ms))
        assert [text for text in ("one", "two", "three") if who_has(store, text)] == left


def test_an_operator_who_wants_none_kept_has_none_and_the_log_is_read_from_its_beginning_again(store: Store):
    slice_(store, [(CAMPAIGN, 1, 0, b"one")], BASE_MS)
    slice_(store, [(CAMPAIGN, 2, 0, b"two")], BASE_MS + DAY_MS)
    with store.begin_write() as view:
        view.apply(ids_kept.keep_no_more(view))
        assert ids_kept.upto(view) == view.count(ids_kept.TABLE) == 0 and not ids_kept.keep_no_more(view)


def test_verify_says_which_segment_is_damaged(store: Store):
    slice_(store, [(CAMPAIGN, 1, 0, b"one")], BASE_MS)
    with store.begin_write() as view:
        assert list(find_problems(view)) == []
        value = bytearray(view.get(ids_kept.TABLE, U64.pack(BASE_MS)) or b"")
        value[-17] ^= 1
        view.txn.put(U64.pack(BASE_MS), bytes(value), db=view.tables[ids_kept.TABLE])
    with store.snapshot() as view:
        (problem,) = find_problems(view)
        assert str(problem).startswith(f"kept_ids_are_whole: message_ids {BASE_MS}: its crc32 differs")


def test_a_look_up_among_a_million_ids_takes_less_than_a_millisecond(store: Store):
    for no in range(20):
        items = [(CAMPAIGN, 50_000 * no + rank, 0, b"%x" % (50_000 * no + rank)) for rank in range(50_000)]
        slice_(store, items, BASE_MS + no)
    assert who_has(store, f"{777_777:x}") == Known(CAMPAIGN, 777_777, 0)
    took_s = 1.0
    with store.snapshot() as view:
        assert sum(one.entries for one in ids_kept.kept_ids(view)) == 1_000_000
        assert view.txn.stat(view.tables[ids_kept.TABLE])["overflow_pages"] * 4_096 < 9.5 * 1_000_000
        for _ in range(20):
            began = time.perf_counter()
            assert ids_kept.look_up(view, [PLAIN.key_of(b"nobody's")]) == {}
            took_s = min(took_s, time.perf_counter() - began)
    assert took_s < 0.001


def test_how_much_is_kept_is_summed_over_the_segments(store: Store):
    with store.snapshot() as view:
        assert ids_kept.totals(view) == ids_kept.Totals(0, 0, 0, None)
    slice_(store, [(CAMPAIGN, 1, 0, b"one"), (CAMPAIGN, 2, 0, b"two")], BASE_MS)
    slice_(store, [(OTHER, 3, 0, b"three")], BASE_MS + DAY_MS)
    with store.snapshot() as view:
        found = ids_kept.totals(view)
        octets = sum(len(value) for _, value in view.buffers(ids_kept.TABLE))
    assert found == ids_kept.Totals(ids=3, segments=2, octets=octets, oldest_ms=BASE_MS)
