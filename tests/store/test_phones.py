"""Numbers in two tables: found in either, moved in slices that touch few pages, one row read and changed as in one."""

from __future__ import annotations

import mmap
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.store import Store, _phones, open_store, phones
from dispatcher.store.gather import PhoneItems
from dispatcher.store.layout import MEMBER_NO, TENANT_U64
from dispatcher.store.verify_members import numbers_stand_once
from tests.reference import phones as reference

PAGE = 4_096
ROOM = 1 << 20


def key(tenant: int, number: int) -> bytes:
    return TENANT_U64.pack(tenant, number)


def rows_of(held: dict[tuple[int, int], int]) -> list[tuple[bytes, bytes]]:
    return [(key(*of), MEMBER_NO.pack(member)) for of, member in sorted(held.items())]


def fill(store: Store, table: str, held: dict[tuple[int, int], int]) -> None:
    changes = Changes()
    changes.put_many(table, rows_of(held))
    store.apply(changes)


def logical(store: Store) -> dict[tuple[int, int], int]:
    with store.snapshot() as view:
        return {TENANT_U64.unpack(k): MEMBER_NO.unpack(v)[0] for k, v in view.range("phones")}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path, write=True, create=True, sync=False) as opened:
        yield opened


def crowd(count: int, seed: int, first_no: int = 0) -> dict[tuple[int, int], int]:
    numbers = sorted(random.Random(seed).sample(range(10**9), count))
    return {(1, number): first_no + at for at, number in enumerate(numbers)}


NUMBERS = st.lists(st.integers(0, 40), max_size=20)


@settings(max_examples=60, deadline=None)
@given(large=st.sets(st.tuples(st.integers(1, 2), st.integers(0, 40))), new=st.sets(st.integers(0, 40)), asked=NUMBERS)
def test_numbers_are_found_in_both_tables(tmp_path_factory, large, new, asked):
    first = {of: at for at, of in enumerate(sorted(large))}
    second = {(1, number): 1_000 + number for number in new if (1, number) not in first}
    with open_store(tmp_path_factory.mktemp("phones"), write=True, create=True, sync=False) as opened:
        fill(opened, phones.LARGE, first)
        fill(opened, phones.NEW, second)
        ordered = array("Q", sorted(asked))
        with opened.snapshot() as view:
            held = phones.find_many(view, 1, memoryview(ordered), 0, len(ordered))
        assert logical(opened) == first | second
    assert list(held) == reference.look_up(first | second, 1, ordered, [-1] * len(set(asked)))


@settings(max_examples=60, deadline=None)
@given(held=st.sets(st.integers(0, 40)), asked=NUMBERS, seed=st.integers(0, 99))
def test_numbers_that_are_known_to_be_nobodys_are_not_looked_up(tmp_path_factory, held, asked, seed):
    marks = bytearray(random.Random(seed).randbytes(len(set(asked)))).translate(bytes([0, 1] * 128))
    rows, distinct = {(1, number): number for number in held}, sorted(set(asked))
    with open_store(tmp_path_factory.mktemp("phones"), write=True, create=True, sync=False) as opened:
        fill(opened, phones.LARGE, rows)
        with opened.snapshot() as view:
            found = phones.find_many(view, 1, array("Q", sorted(asked)), 0, len(asked), marks)
    assert list(found) == [
        number if mark and number in held else -1 for number, mark in zip(distinct, marks, strict=True)
    ]


def put_by(store: Store, sole: phones.Sole | None, numbers: list[int], tenant: int = 1) -> None:
    changes = Changes()
    changes.put_many(phones.LARGE, PhoneItems(tenant, array("Q", numbers), len(numbers), 0, sole))
    store.apply(changes)


def owns(store: Store, sole: phones.Sole) -> bool:
    with store.begin_write() as view:
        return sole.owns(view)


def test_an_importer_knows_a_new_tenants_numbers_until_another_writes_one(store: Store):
    first, second, other = phones.Sole(1), phones.Sole(1), phones.Sole(2)
    assert owns(store, first) and owns(store, other)
    put_by(store, first, [5, 9])
    put_by(store, other, [5], tenant=2)
    assert owns(store, first) and owns(store, other)
    assert not owns(store, second)  # it finds numbers
    changes = Changes()
    changes.put("phones", key(1, 7), MEMBER_NO.pack(1))
    store.apply(changes)
    assert not owns(store, first) and owns(store, other)
    put_by(store, first, [11])
    assert not owns(store, first)


def test_of_two_importers_of_a_new_tenant_neither_trusts_itself_once_the_other_wrote(store: Store):
    first, second = phones.Sole(1), phones.Sole(1)
    assert owns(store, first) and owns(store, second)
    assert not owns(store, first)
    put_by(store, first, [5])
    assert not owns(store, second)
    put_by(store, second, [9])
    assert not owns(store, first) and not owns(store, second)


def test_numbers_moved_between_the_tables_end_what_an_importer_knows(store: Store):
    sole = phones.Sole(1)
    assert owns(store, sole)
    changes = Changes()
    changes.put_many(phones.NEW, PhoneItems(1, array("Q", [5]), 1, 0, sole))
    store.apply(changes)
    assert owns(store, sole)
    with store.begin_write() as view:
        view.apply(phones.merge_some(view))
    assert not owns(store, sole)


def test_what_an_importer_saw_in_a_transaction_that_failed_is_not_trusted(store: Store):
    put_by(store, None, [5])
    sole = phones.Sole(1)
    with pytest.raises(RuntimeError, match="disk"), store.begin_write() as view:
        changes = Changes()
        changes.delete("phones", key(1, 5))
        view.apply(changes)
        assert sole.owns(view)
        raise RuntimeError("disk")
    assert not owns(store, sole)


class _Cursor:
    """Keys as they lie in pages of 16 octets of a buffer; the kernel sees where a key lies, not what it is."""

    def __init__(self, pages: list[int]) -> None:
        self._buffer, self._pages, self._at = mmap.mmap(-1, 16 * (max(pages, default=0) + 1)), pages, 0

    def set_range(self, wanted: bytes) -> bool:
        self._at = TENANT_U64.unpack(wanted)[1]
        return True

    def key(self) -> memoryview:
        start = 16 * self._pages[self._at]
        return memoryview(self._buffer)[start : start + 1]


@given(st.lists(st.integers(0, 9), max_size=60).map(sorted), st.integers(0, 60), st.integers(0, 12))
def test_compiled_and_reference_count_the_same_pages(pages: list[int], count: int, most: int):
    count, cursor = min(count, len(pages)), _Cursor(pages)
    found = _phones.fitting(cursor.set_range, cursor.key, 1, array("Q", range(len(pages))), count, 16, most)
    assert found == reference.fitting(pages, count, most)


@given(NUMBERS, st.integers(-1, 25))
def test_compiled_and_reference_find_the_same_place(numbers: list[int], group: int):
    ordered = array("Q", sorted(numbers))
    for start in range(len(ordered) + 1):
        found = _phones.place_of(ordered, start, len(ordered), group)
        assert found == reference.place_of(ordered, start, len(ordered), group)


def test_neighbours_share_a_page_and_strangers_do_not(store: Store):
    held = crowd(50_000, 1)
    fill(store, phones.LARGE, held)
    numbers = [number for _, number in held]
    with store.snapshot() as view:
        leaves = view.txn.stat(view.tables[phones.LARGE])["leaf_pages"]
        ordered = array("Q", numbers)
        assert list(phones.find_many(view, 1, memoryview(ordered), 0, len(ordered))) == list(range(50_000))
        with view.txn.cursor(db=view.tables[phones.LARGE]) as at:
            assert _phones.fitting(at.set_range, at.key, 1, ordered, len(ordered), PAGE, 1 << 20) == (50_000, leaves)
        assert phones.removable(view, 1, numbers, most=20) < 20 * PAGE // 22
        spread = numbers[:: 50_000 // 100]
        assert phones.removable(view, 1, spread, most=20) == 10


def test_few_numbers_at_many_places_go_to_the_small_table_and_many_at_few_to_the_large(store: Store):
    fill(store, phones.LARGE, crowd(100_000, 1))
    with store.snapshot() as view:
        for ordered, table in (
            (sorted(number for _, number in crowd(5_000, 2)), phones.NEW),
            (list(range(500_000_000, 500_005_000)), phones.LARGE),
        ):
            numbers = memoryview(array("Q", ordered))
            assert phones.place_for(view, 1, numbers, len(numbers), ROOM) == (table, len(ordered))


def test_a_row_changes_where_it_stands_and_a_new_one_goes_to_the_small_table(store: Store):
    fill(store, phones.LARGE, {(1, 5): 1})
    changes = Changes()
    changes.put("phones", key(1, 5), MEMBER_NO.pack(2))
    changes.put("phones", key(1, 7), MEMBER_NO.pack(3))
    store.apply(changes)
    with store.snapshot() as view:
        assert (view.count("phones"), phones.waiting(view)) == (2, 1)
        assert [row for _, row in view.range("phones", reverse=True)] == [MEMBER_NO.pack(3), MEMBER_NO.pack(2)]
        assert view.get("phones", key(1, 7)) == MEMBER_NO.pack(3)
        assert view.get("phones", key(1, 8)) is None
    changes = Changes()
    changes.delete("phones", key(1, 5))
    changes.delete("phones", key(1, 7))
    store.apply(changes)
    assert logical(store) == {}


def test_a_move_takes_every_number_and_no_slice_touches_more_pages_than_it_may(store: Store):
    large, new = crowd(200_000, 1), crowd(20_000, 2, 200_000)
    new = {of: member for of, member in new.items() if of not in large} | {(2, 9): 1}
    fill(store, phones.LARGE, large)
    fill(store, phones.NEW, new)
    slices = 0
    while True:
        before = logical(store) if slices < 3 else {}
        with store.begin_write() as view:
            changes = phones.merge_some(view)
            view.apply(changes)
        if not changes:
            break
        slices += 1
        assert sum(len(rows) for _, rows, _ in changes.bulk) <= phones.ROWS_A_SLICE
        if before:
            assert logical(store) == before
    with store.snapshot() as view:
        assert phones.waiting(view) == 0
        assert slices >= view.txn.stat(view.tables[phones.LARGE])["leaf_pages"] // (4 * phones.PAGES_A_SLICE)
    assert logical(store) == large | new


def test_a_number_in_both_tables_is_damage_that_verify_names(store: Store):
    fill(store, phones.LARGE, {(1, 5): 1})
    fill(store, phones.NEW, {(1, 5): 1})
    with store.snapshot() as view:
        assert [problem.place for problem in numbers_stand_once(view)] == ["tenant 1, +5"]
