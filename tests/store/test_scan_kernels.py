"""The walks of store/_scan and store/_aside against tests/reference/scan.py: whatever rows they meet, the same blocks,
the same derived octets, the same values of changed members; and the same refusals.
"""

from __future__ import annotations

import ctypes
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.store import _aside, _scan
from dispatcher.store.blocks import UNKNOWN, WIDTH, ColumnKind, block_value
from dispatcher.store.columns import text_array
from dispatcher.store.layout import BLOCK, DELTA_KEY, HEADER
from tests.reference import scan as reference

K = ColumnKind
PREFIX = b"\0\1\0\20\0"
NUMBER_KINDS = [K.U8, K.U16, K.I32, K.I64, K.U64]
RECORD = struct.Struct("<QQIIQQQ")
SLOTS = st.sampled_from([64, 128, 1_024])
COPY_ALL = 1 << 62


def read(records: Any) -> list[reference.Block | None]:
    """What addresses lead to, while the caller keeps it."""
    found: list[reference.Block | None] = []
    for data, octets, slots, zoned, low, high, _ in RECORD.iter_unpack(bytes(records)):
        array = ctypes.string_at(data, octets) if data else b""
        found.append(reference.Block(slots, array, (low, high) if zoned else None) if data else None)
    return found


@st.composite
def arrays(draw: st.DrawFn, kinds: list[ColumnKind], slots: int | None = None) -> tuple[ColumnKind, int, bytes]:
    kind, slots = draw(st.sampled_from(kinds)), slots or draw(SLOTS)
    rng = random.Random(draw(st.integers(0, 999)))
    if kind == K.TEXT:
        return kind, slots, text_array(rng.choices([b"", b"Anna", "李雷".encode()], k=slots), slots)
    if kind == K.PLANES:
        return kind, slots, rng.randbytes(slots)
    wide = 8 * WIDTH[kind]
    few = draw(st.sampled_from([[0, 1, 2], [1, 7, 250], [1 << wide - 1, (1 << wide) - 1, 0, 5], list(range(250))]))
    return kind, slots, b"".join(number.to_bytes(wide // 8, "little") for number in rng.choices(few, k=slots))


@st.composite
def column_rows(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Values of one kind or of codes of both widths, now and then damaged; sometimes the next column's row."""
    kind = draw(st.sampled_from(list(K)))
    kinds = [K.U8, K.U16] if kind in (K.U8, K.U16) else [kind]
    rows = []
    for block in sorted(draw(st.sets(st.integers(0, 6), max_size=5))):
        value = bytes(block_value(*draw(arrays(kinds))))
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, 9))
            value = value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]
        if draw(st.integers(0, 19)) == 0:
            value = value[: draw(st.integers(0, len(value)))]
        rows.append((PREFIX + block.to_bytes(4, "big"), value))
    if draw(st.booleans()):
        rows.append((b"\0\1\0\21\0" + bytes(4), b"of the next column"))
    return rows


@given(column_rows(), st.sampled_from(list(K)), st.integers(0, 8), st.sampled_from([0, 4_096, COPY_ALL]))
def test_blocks_of_a_column_are_found_as_the_reference_finds_them(
    rows: list[tuple[bytes, bytes]], kind: ColumnKind, blocks: int, in_place: int
) -> None:
    try:
        expected = reference.column_rows(rows, PREFIX, kind, blocks)
    except ValueError as refused:
        with pytest.raises(ValueError, match=r"^b") as found:
            _scan.column_rows(iter(rows), PREFIX, kind, blocks, in_place)
        assert found.value.args == refused.args
        return
    records, copies, octets = _scan.column_rows(iter(rows), PREFIX, kind, blocks, in_place)
    assert read(records) == expected
    assert octets == sum(len(block.array) for block in expected if block)
    assert in_place != COPY_ALL or len(copies) == sum(block is not None for block in expected)


@given(arrays(list(K)))
def test_a_seal_is_least_greatest_and_a_hash_of_the_contents(case: tuple[ColumnKind, int, bytes]) -> None:
    kind, _, array = case
    assert _scan.seal(array, kind) == reference.seal(array, kind)


def records_of(kind: ColumnKind, slots: int, array: bytes) -> tuple[bytearray, Any]:
    rows = [(PREFIX + bytes(4), bytes(block_value(kind, slots, array)))]
    records, copies, _ = _scan.column_rows(iter(rows), PREFIX, kind, 1, COPY_ALL)
    return records, copies


@given(arrays(NUMBER_KINDS), st.data())
def test_derived_octets_are_the_reference_s(case: tuple[ColumnKind, int, bytes], data: st.DataObject) -> None:
    kind, _, array = case
    records, copies = records_of(*case)
    assert _scan.marks(records) == [reference.seal(array, kind)[2]] and copies
    _, high, _ = reference.seal(array, kind)
    if kind == K.U8:
        assert _scan.value_planes(records, 0, 7) == (reference.value_planes(array, high) if high <= 7 else None)
    elif kind == K.U16:
        assert _scan.postings(records, 0) == (reference.postings(array, high) if high < 1_024 else None)
    else:
        numbers = reference.turned(array, kind)
        assert set(_scan.some_numbers(records, kind, 16)) <= set(numbers)
        near = st.sampled_from(numbers).flatmap(lambda n: st.integers(max(n - 1, 0), min(n + 1, reference.MASK)))
        edges = sorted(data.draw(st.sets(near | st.integers(0, reference.MASK), max_size=255)))
        packed = struct.pack(f"<{len(edges)}Q", *edges)
        assert _scan.codes(records, 0, kind, packed) == reference.codes(array, kind, edges)


@given(st.dictionaries(st.integers(0, 9), st.binary(min_size=2_040, max_size=2_040), max_size=4), st.integers(0, 8))
@settings(max_examples=20)
def test_bitmaps_given_are_blocks_of_one_plane(bitmaps: dict[int, bytes], blocks: int) -> None:
    expected = [reference.Block(BLOCK, bitmaps[n]) if n in bitmaps else None for n in range(blocks)]
    assert read(_scan.bitmap_rows(bitmaps, blocks)) == expected


@st.composite
def delta_rows(draw: st.DrawFn, kinds: list[ColumnKind]) -> list[tuple[int, bytes]]:
    """(member_no, row), ascending; entries of field 16, now and then of another, now and then no row at all."""
    found = []
    for member_no in sorted(draw(st.sets(st.integers(0, 130) | st.integers(BLOCK - 3, BLOCK + 90), max_size=40))):
        row = b""
        for _ in range(draw(st.integers(1, 3))):
            field, kind = draw(st.sampled_from([16, 16, 17])), draw(st.sampled_from(kinds))
            width = draw(st.integers(0, 9)) if kind == K.TEXT else 2 if kind == K.PLANES else WIDTH[kind]
            width += draw(st.integers(0, 199)) == 0
            row += struct.pack("<HBBH", field, 0, kind, width) + draw(st.binary(min_size=width, max_size=width))
        found.append((member_no, row[: len(row) - (draw(st.integers(0, 399)) == 0)]))
    return found


def walked(rows: list[tuple[int, bytes]], before: Any = None) -> Any:
    keyed = [(DELTA_KEY.pack(1, *divmod(member_no, BLOCK)), row) for member_no, row in rows]
    return _aside.changed_rows(keyed, b"\0\1", 0, before)


def values(kind: ColumnKind, count: int, made: Any) -> list[int | bytes]:
    """Of each changed member, read from the blocks that the kernel made of them."""
    blocks = read(made[0])
    assert len(blocks) == -(-count // BLOCK)
    return [reference._stored(blocks[n // BLOCK], n % BLOCK, kind) for n in range(count)]


@given(st.data())
def test_changed_members_have_their_row_over_their_block_also_when_most_came_from_the_delta_before(
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(list(K)))
    kinds = [K.U8, K.U16] if kind in (K.U8, K.U16) else [kind]
    one = data.draw(arrays([kind]))
    records, copies = records_of(*one)
    blocks = [reference.Block(one[1], one[2])]
    first = data.draw(delta_rows(kinds))
    again = {no: row for no, row in first if data.draw(st.booleans())} | dict(data.draw(delta_rows(kinds)))
    before, came, old = None, None, None
    for rows in (first, sorted(again.items())):
        try:
            for _, row in rows:
                reference.entries(row)
        except ValueError:
            with pytest.raises(ValueError, match=r"^b"):
                walked(rows, before)
            return
        before, numbers, came = walked(rows, before)
        assert before.count == len(rows)
        assert list(numbers[: 4 * len(rows)]) == list(struct.pack(f"<{len(rows)}I", *(no for no, _ in rows)))
        try:
            expected = reference.gathered(blocks, (16, 0, kind), rows)
        except ValueError:
            with pytest.raises(ValueError, match="delta row"):
                _aside.gathered(records, kind, 16 << 8, False, before, came, old)
            return
        made = _aside.gathered(records, kind, 16 << 8, False, before, came, old)
        assert values(kind, len(rows), made) == expected
        old = made[1]
    assert copies


def test_bits_given_for_changed_members_are_those_of_their_slots() -> None:
    bitmaps = {0: random.Random(1).randbytes(2_040), 1: random.Random(2).randbytes(2_040)}
    rows = [(no, struct.pack("<HBBHB", 16, 0, 1, 1, 3)) for no in range(5, 3 * BLOCK, 97)]
    changed, _, _ = walked(rows)
    made = _aside.gathered(_scan.bitmap_rows(bitmaps, 2), K.PLANES, -1, True, changed, None, None)
    whole = bitmaps[0] + bitmaps[1] + bytes(2_040)
    assert values(K.PLANES, len(rows), made) == [whole[no // 8] >> no % 8 & 1 for no, _ in rows]


def test_unknown_is_what_a_block_that_is_missing_says() -> None:
    changed, _, _ = walked([(3, struct.pack("<HBBHB", 17, 0, 1, 1, 3))])
    for kind in NUMBER_KINDS:
        made = _aside.gathered(bytearray(48), kind, 16 << 8, False, changed, None, None)
        assert values(kind, 1, made) == [UNKNOWN[kind]]
    assert HEADER == 48
