"""The matching kernel answers as its plain Python twin, on any columns, at any alignment, and refuses what is short."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.fastmatch import (
    BITMAP_OCTETS,
    BUCKETS,
    GREATEST,
    LEAST,
    Assembler,
    Kind,
    Op,
    Program,
    bucket_of,
    count_bits,
    isas,
    match_block,
    members_of,
    merge_ranges,
    slots_of,
    use_isa,
)
from tests.reference import fastmatch as reference

NUMBERS = {Kind.U8: "B", Kind.U16: "H", Kind.I32: "i", Kind.I64: "q", Kind.U64: "Q"}
TEXTS = st.text("abß€", max_size=5).map(str.encode)


def numbers(kind: Kind) -> st.SearchStrategy[int]:
    """Mostly near zero and near the ends, so that ranges are hit."""
    low, high = LEAST[kind], GREATEST[kind]
    near = st.sampled_from([low, low + 1, 0, 1, 7, high - 1, high])
    return near | st.integers(max(low, -20), 20) | st.integers(low, high)


def unaligned(octets: bytes, by: int) -> memoryview:
    return memoryview(bytes(by) + octets)[by:]


def text_arrays(texts: list[bytes], order: list[int], gap: int) -> list[bytes]:
    """Starts, ends, heap; the heap in any order and with holes, as patched delta rows leave it."""
    heap, starts, ends = b"", [0] * len(texts), [0] * len(texts)
    for i in order:
        heap += b"a" * gap
        starts[i], ends[i] = len(heap), len(heap) + len(texts[i])
        heap += texts[i]
    return [struct.pack(f"<{len(texts)}I", *starts), struct.pack(f"<{len(texts)}I", *ends), heap]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, list[memoryview], int]:
    """A program over one column of each kind, in columns 0..6 (text in 6, 7, 8)."""
    slots = draw(st.sampled_from([64, 128, 192]))
    arrays: list[memoryview] = []
    for kind, code in NUMBERS.items():
        few = draw(st.lists(numbers(kind), min_size=1, max_size=9))
        values = [few[draw(st.integers(0, 1 << 20)) % len(few)] for _ in range(8)] * (slots // 8)
        arrays.append(unaligned(struct.pack(f"<{slots}{code}", *values), draw(st.integers(0, 7))))
    arrays.append(unaligned(draw(st.binary(min_size=slots, max_size=slots)), draw(st.integers(0, 7))))
    texts = (draw(st.lists(TEXTS, min_size=8, max_size=8)) * slots)[:slots]
    order = draw(st.sampled_from([list(range(slots)), list(range(slots - 1, -1, -1)), [*range(1, slots), 0]]))
    arrays += [unaligned(a, draw(st.integers(0, 3))) for a in text_arrays(texts, order, draw(st.integers(0, 2)))]
    to, height = Assembler(), 0
    for _ in range(draw(st.integers(1, 12))):
        if height >= 1 and draw(st.booleans()):
            op = draw(st.sampled_from([Op.AND, Op.OR, Op.AND_NOT, Op.NOT, "tally", "cut", "skip"]))
            if op == "skip":
                place = to.skip()
                push_test(draw, to)
                to.combine(Op.AND)
                to.tally(0)
                to.land(place)
                continue
            if op == "tally":
                to.tally(0)
            elif op == Op.NOT:
                to.combine(Op.NOT)
            elif height >= 2:
                to.tally_cut(1) if op == "cut" else to.combine(op)
                height -= 1
            continue
        push_test(draw, to)
        height += 1
    if not height:
        to.const(True)
    for _ in range(height - 1):
        to.combine(Op.OR)
    return to.program(), arrays, slots


def push_test(draw: st.DrawFn, to: Assembler) -> None:
    match draw(st.integers(0, 6)):
        case 0:
            to.const(draw(st.booleans()))
        case 5:
            to.buckets(draw(st.binary(max_size=2)), draw(st.integers(-1, 9_000)), draw(st.integers(0, 10_001)))
        case 6:
            to.live(5)
        case 1 | 2:
            column = draw(st.integers(0, 4))
            kind = Kind(column + 1)
            ends = st.tuples(numbers(kind), numbers(kind))
            to.ranges(column, kind, draw(st.lists(ends | numbers(kind).map(lambda n: (n, n)), max_size=20)))
        case 3:
            to.planes(5, draw(st.integers(0, 255)), every=draw(st.booleans()))
        case _:
            op = draw(st.sampled_from([Op.TEXT_IN, Op.TEXT_CONTAINS, Op.TEXT_STARTS, Op.TEXT_ENDS]))
            if op == Op.TEXT_IN:
                to.text_in(6, draw(st.lists(TEXTS, max_size=5)))
            else:
                to.text(op, 6, draw(TEXTS))


@pytest.fixture(params=isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = use_isa(request.param)
    yield request.param
    use_isa(before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(programs(), st.integers(0, (1 << 32) - 20_000))
def test_compiled_and_reference_match_the_same_slots(
    isa: str, case: tuple[Program, list[memoryview], int], first_no: int
) -> None:
    program, arrays, slots = case
    out, tallies, plain_tallies = bytearray(b"\xff" * BITMAP_OCTETS), array("Q", [0, 0]), [0, 0]
    count = match_block(program, arrays, slots, out, tallies, first_no)
    plain = reference.match_block(program.octets, arrays, slots, plain_tallies, first_no)
    assert out == reference.bitmap_of(plain, BITMAP_OCTETS)
    assert count == sum(plain) == count_bits(out) == len(slots_of(out))
    assert list(tallies) == plain_tallies
    numbers = array("I", bytes(4 * (count + 16)))
    assert members_of(out, first_no, numbers) == count
    assert numbers[:count].tolist() == [first_no + slot for slot in slots_of(out)]


@given(st.integers(0, (1 << 32) - 1), st.binary(max_size=20))
def test_a_member_falls_into_the_same_bucket_in_kernel_and_reference(member_no: int, salt: bytes) -> None:
    bucket = bucket_of(member_no, salt)
    assert bucket == reference.bucket_of(member_no, salt) and 0 <= bucket < BUCKETS
    first_no, slot = member_no - member_no % 64, member_no % 64
    for low, high, inside in [(bucket, bucket + 1, True), (0, bucket, False), (bucket + 1, BUCKETS, False)]:
        to, out = Assembler(), bytearray(BITMAP_OCTETS)
        to.buckets(salt, low, high)
        match_block(to.program(), [], 64, out, first_no=first_no)
        assert (slot in slots_of(out)) == inside


def test_buckets_never_move() -> None:
    assert [bucket_of(no, b"") for no in (0, 1, 2, 20_000_000)] == [7374, 9377, 4067, 7500]
    assert [bucket_of(no, b"spring") for no in (0, 1)] == [1422, 4463]


@given(st.sampled_from(list(NUMBERS)), st.data())
def test_merged_ranges_hold_the_same_numbers_sorted_and_apart(kind: Kind, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300)), max_size=8))
    merged = merge_ranges(kind, wanted)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(merged))
    for number in range(max(-300, LEAST[kind]), min(300, GREATEST[kind])):
        assert any(a <= number <= b for a, b in merged) == any(a <= number <= b for a, b in wanted)


def test_a_text_that_begins_in_one_slot_and_ends_in_the_next_is_in_neither() -> None:
    to = Assembler()
    to.text(Op.TEXT_CONTAINS, 0, b"ab")
    arrays = text_arrays([b"xa", b"bx", b"ab"] + [b""] * 61, list(range(64)), 0)
    out = bytearray(BITMAP_OCTETS)
    assert match_block(to.program(), arrays, 64, out) == 1 and slots_of(out) == [2]


def test_a_whole_block_and_an_empty_one_are_matched() -> None:
    to = Assembler()
    to.const(True)
    assert match_block(to.program(), [], 16_320, bytearray(BITMAP_OCTETS)) == 16_320
    assert match_block(to.program(), [], 0, bytearray(BITMAP_OCTETS)) == 0


def one_range() -> Program:
    to = Assembler()
    to.ranges(0, Kind.I32, [(1, 2)])
    return to.program()


@pytest.mark.parametrize(
    ("arrays", "slots", "out"),
    [
        ([], 64, BITMAP_OCTETS),  # no array
        ([bytes(4 * 64 - 1)], 64, BITMAP_OCTETS),  # an octet short
        ([bytes(4 * 64)], 63, BITMAP_OCTETS),  # slots not of whole words
        ([bytes(4 * 64)], -64, BITMAP_OCTETS),
        ([bytes(4 * 20_000)], 16_384, BITMAP_OCTETS),  # more slots than a block
        ([bytes(4 * 64)], 64, BITMAP_OCTETS - 1),  # no room for the answer
    ],
)
def test_short_buffers_are_refused(arrays: list[bytes], slots: int, out: int) -> None:
    with pytest.raises(ValueError, match=r"array|slots|octets"):
        match_block(one_range(), arrays, slots, bytearray(out))


def test_text_offsets_outside_the_heap_are_refused() -> None:
    to = Assembler()
    to.text(Op.TEXT_KNOWN, 0)
    starts, ends, heap = text_arrays([b"a"] * 64, list(range(64)), 0)
    with pytest.raises(ValueError, match="heap"):
        match_block(to.program(), [starts, ends, heap[:-1]], 64, bytearray(BITMAP_OCTETS))
    with pytest.raises(ValueError, match="heap"):
        match_block(to.program(), [ends, starts, heap], 64, bytearray(BITMAP_OCTETS))


def test_missing_tallies_are_refused() -> None:
    to = Assembler()
    to.const(True)
    to.tally(3)
    with pytest.raises(ValueError, match="program"):
        match_block(to.program(), [], 64, bytearray(BITMAP_OCTETS), array("Q", [0, 0, 0]))


@given(st.binary(max_size=80), st.integers(0, 79), st.integers(0, 255))
def test_a_damaged_program_is_refused_or_answers_but_never_reads_outside(noise: bytes, at: int, octet: int) -> None:
    whole = bytearray(one_range().octets)
    whole[at % len(whole)] = octet
    arrays = [bytes(8 * 64)]
    for octets in (bytes(whole), bytes(whole[: len(noise)]), b"VFM1" + noise):
        try:
            match_block(Program(octets, 1, 0), arrays, 64, bytearray(BITMAP_OCTETS))
        except ValueError:
            continue
