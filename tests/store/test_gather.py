"""The kernels of bulk loading against their plain Python meaning."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.store import Store, _gather, gather
from dispatcher.store.columns import ColumnKind, unpack_delta
from dispatcher.store.layout import MEMBER_NO, TENANT_U64
from tests.reference import gather as reference

NUMBERS = st.lists(st.integers(1, 12) | st.integers(0, 2**64 - 1) | st.integers(8_613_000_000_000, 8_613_000_000_040))


def sorted_arrays(numbers: list[int]) -> tuple[array[int], array[int]]:
    ordered, order = array("Q", bytes(8 * len(numbers))), array("I", bytes(4 * len(numbers)))
    _gather.sort_rows(array("Q", numbers), ordered, order)
    return ordered, order


@given(numbers=NUMBERS)
def test_numbers_are_sorted_and_equal_ones_keep_their_order(numbers: list[int]):
    ordered, order = sorted_arrays(numbers)
    assert (list(ordered), list(order)) == reference.sort_rows(numbers)


@given(
    numbers=st.lists(st.integers(1, 9), max_size=30),
    known=st.sets(st.integers(1, 9)),
    limits=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    start=st.integers(0, 5),
    creates=st.booleans(),
    updates=st.booleans(),
)
def test_rows_are_assigned_as_the_reference_assigns_them(
    numbers: list[int], known: set[int], limits: tuple[int, int], start: int, creates: bool, updates: bool
):
    ordered, order = sorted_arrays(numbers)
    start, end = min(start, len(numbers)), len(numbers)
    found = {number: 100 + number for number in known}
    distinct = list(dict.fromkeys(ordered[start:end]))
    window = array("q", [found.get(number, -1) for number in distinct])
    new_rows, new_numbers, refused = array("I", bytes(4 * 40)), array("Q", bytes(8 * 40)), array("I", bytes(4 * 40))
    rows, nos = array("I", bytes(4 * 40)), array("I", bytes(4 * 40))
    stop, new, changed, no = _gather.assign(
        ordered, order, start, end, window, 500, *limits, creates, updates, new_rows, new_numbers, rows, nos, refused
    )
    said = (
        stop,
        list(zip(new_rows[:new], new_numbers[:new], strict=True)),
        list(zip(rows[:changed], nos[:changed], strict=True)),
        list(refused[:no]),
    )
    assert said == reference.assign(list(ordered), list(order), start, end, found, 500, *limits, creates, updates)


@given(numbers=NUMBERS, first_no=st.integers(0, 2**31))
def test_phone_keys_and_rows_are_those_of_the_layout(numbers: list[int], first_no: int):
    ordered = array("Q", sorted(numbers))
    distinct = sorted(set(numbers))
    assert gather.phone_keys(7, ordered, 0, len(ordered)) == [TENANT_U64.pack(7, n) for n in distinct]
    items = gather.PhoneItems(7, array("Q", distinct), len(distinct), first_no)
    rows = [(TENANT_U64.pack(7, n), MEMBER_NO.pack(first_no + i)) for i, n in enumerate(distinct)]
    assert len(items) == len(rows)
    assert list(items) == list(items) == rows


def test_a_row_that_somebody_holds_is_not_written_over():
    numbers = array("Q", range(100, 140))
    held, keys, found = list[object](), list[bytes](), dict[bytes, int]()
    for at, item in enumerate(gather.PhoneItems(7, numbers, 40, 5)):
        assert item == (TENANT_U64.pack(7, numbers[at]), MEMBER_NO.pack(5 + at))
        found[TENANT_U64.pack(7, numbers[at])] = at
        assert found[item[0]] == at  # its hash is its own
        if at % 3 == 0:
            held.append(item)
        elif at % 3 == 1:
            keys.append(item[0])
    assert held == [(TENANT_U64.pack(7, n), MEMBER_NO.pack(5 + n - 100)) for n in numbers[::3]]
    assert keys == [TENANT_U64.pack(7, n) for n in numbers[1::3]]


@pytest.mark.parametrize(("code", "width"), [("B", 1), ("H", 2), ("I", 4), ("Q", 8)])
@given(data=st.data())
def test_numbers_land_in_their_slots(code: str, width: int, data: st.DataObject):
    column = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=20))
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), max_size=20))
    slot = data.draw(st.integers(0, 10))
    block = array(code, [7] * 64)
    octets = bytearray(block.tobytes())
    _gather.fixed(array(code, column).tobytes(), width, array("I", rows), 0, len(rows), octets, slot)
    assert list(array(code, bytes(octets))) == reference.fixed(column, rows, list(block), slot)


@given(data=st.data())
def test_texts_follow_those_that_the_block_had(data: st.DataObject):
    texts = data.draw(st.lists(st.binary(max_size=5), min_size=1, max_size=8))
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=8))
    old = data.draw(st.lists(st.binary(max_size=5), max_size=8))
    slot = data.draw(st.integers(0, 10))
    old_block = reference.text([], [], old, len(old), len(old)) if old else b""
    ends = array("I", [0])
    for text in texts:
        ends.append(ends[-1] + len(text))
    made = _gather.text(ends, b"".join(texts), array("I", rows), 0, len(rows), old_block, len(old), slot, 64)
    assert made == reference.text(texts, rows, old[:slot], slot, 64)


@given(data=st.data())
def test_tags_become_planes_and_deltas(data: st.DataObject):
    tags = data.draw(st.lists(st.lists(st.integers(0, 20), max_size=4), min_size=1, max_size=8))
    rows = data.draw(st.lists(st.integers(0, len(tags) - 1), max_size=8))
    slot, part = data.draw(st.integers(0, 50)), data.draw(st.integers(0, 2))
    ends, codes = array("I", [0]), array("H")
    for row in tags:
        codes.extend(row)
        ends.append(len(codes))
    planes = bytearray(64)
    _gather.planes(ends, codes, array("I", rows), 0, len(rows), part, planes, slot, array("H"))
    assert bytes(planes) == reference.planes(tags, rows, part, slot, 64)
    swap = array("H", [20 - i for i in range(21)])
    mapped = bytearray(64)
    _gather.planes(ends, codes, array("I", rows), 0, len(rows), part, mapped, slot, swap)
    assert bytes(mapped) == reference.planes([[20 - t for t in row] for row in tags], rows, part, slot, 64)
    for adds, given_bits, always in ((False, 1, 0), (True, 1, 0), (False, 0, 1)):
        column = (0, 30, int(ColumnKind.PLANES), 1, 3, ends, codes, array("H"), adds)
        given = array("Q", [given_bits] * len(tags))
        for row, delta in zip(rows, _gather.deltas(array("I", rows), len(rows), given, [column], always), strict=True):
            bits = [sum({1 << tag % 8 for tag in tags[row] if tag // 8 == p}) for p in range(3)]
            entries = {p: bytes((bits[p] if adds else 0xFF, bits[p])) for p in range(3) if bits[p] or not adds}
            assert unpack_delta(delta) == {(30, p, ColumnKind.PLANES): entry for p, entry in entries.items()}


@given(given_bits=st.lists(st.integers(0, 7), min_size=1, max_size=10), data=st.data())
def test_a_delta_row_holds_the_given_cells_and_no_other(given_bits: list[int], data: st.DataObject):
    count = len(given_bits)
    words = data.draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count))
    codes = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    days = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=count, max_size=count))
    ends = array("I", [0])
    for word in words:
        ends.append(ends[-1] + len(word))
    mapping = array("H", [0, 9, 8])  # code 3 found no place any more
    columns = [
        (0, 16, int(ColumnKind.U8), 1, 0, bytes(codes), b"", mapping, False),
        (1, 17, int(ColumnKind.I32), 4, 0, array("i", days), b"", b"", False),
        (2, 18, int(ColumnKind.TEXT), 1, 0, ends, b"".join(words), b"", False),
    ]
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=10))
    for row, delta in zip(
        rows, _gather.deltas(array("I", rows), len(rows), array("Q", given_bits), columns), strict=True
    ):
        wanted = {
            (16, 0, ColumnKind.U8): bytes([[0, 9, 8, 0][codes[row]]]),
            (17, 0, ColumnKind.I32): struct.pack("<i", days[row]),
            (18, 0, ColumnKind.TEXT): words[row],
        }
        assert unpack_delta(delta) == {c: v for bit, (c, v) in enumerate(wanted.items()) if given_bits[row] >> bit & 1}


@given(numbers=st.lists(st.integers(0, 9), max_size=20), earlier=st.sets(st.integers(0, 9)), start=st.integers(0, 20))
def test_repeats_are_rows_whose_number_came_before(numbers: list[int], earlier: set[int], start: int):
    ordered, _ = sorted_arrays(numbers)
    start = min(start, len(numbers))
    distinct = list(dict.fromkeys(ordered[start:]))
    marks = bytearray(len(distinct))
    _gather.seen(ordered, start, len(ordered), array("Q", sorted(earlier)), marks)
    assert list(marks) == [number in earlier for number in distinct]
    before = [number in earlier or number in ordered[:i] for i, number in enumerate(ordered)]
    assert _gather.repeats(ordered, start, len(ordered), marks) == sum(before[start:])


def test_rows_that_give_a_cell_are_counted():
    given_bits = array("Q", [1, 2, 3, 4])
    assert _gather.count_given(array("I", [0, 1, 2, 3, 2]), 5, given_bits, 2) == 3
    with pytest.raises(ValueError, match="row 4"):
        _gather.count_given(array("I", [4]), 1, given_bits, 2)


@pytest.mark.parametrize("append", [True, False])
def test_many_rows_of_one_table_are_written_at_once(store: Store, append: bool):
    changes = Changes()
    changes.put_many("phones", gather.PhoneItems(7, array("Q", [5, 9, 11]), 3, 100), append=append)
    more = Changes()
    more.merge(changes)
    assert more and more.octets == 3 * (10 + 4)
    store.apply(more)
    with store.snapshot() as view:
        assert list(view.range("phones")) == [
            (TENANT_U64.pack(7, n), MEMBER_NO.pack(no)) for n, no in ((5, 100), (9, 101), (11, 102))
        ]


def test_a_row_outside_its_column_is_refused():
    rows = array("I", [5])
    with pytest.raises(ValueError, match="row 5 of a column of 5"):
        _gather.fixed(bytes(5), 1, rows, 0, 1, bytearray(8), 0)
    with pytest.raises(ValueError, match="outside its heap"):
        _gather.text(array("I", [0, 9]), b"abc", array("I", [0]), 0, 1, b"", 0, 0, 64)
    with pytest.raises(ValueError, match="outside the block"):
        _gather.fixed(bytes(8), 1, rows, 0, 1, bytearray(8), 8)
