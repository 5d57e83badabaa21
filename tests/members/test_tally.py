"""The kernel that counts values holds to its plain twin; what it is given wrongly it refuses."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.members.tally import Distinct, nice_bins, ones, span, tally_bins, tally_codes, tally_planes
from dispatcher.store.blocks import NUMBER, UNKNOWN
from dispatcher.store.columns import ColumnKind
from tests.reference import tally as reference

KINDS = [ColumnKind.U8, ColumnKind.U16, ColumnKind.I32, ColumnKind.I64]
SLOTS = st.sampled_from([64, 128, 192])


@st.composite
def columns(draw: st.DrawFn, kinds: list[ColumnKind] = KINDS) -> tuple[bytes, ColumnKind, int, bytes | None]:
    """(octets, kind, slots, bitmap): few values, so that they repeat; some unknown; some words whole, some empty."""
    kind, slots = draw(st.sampled_from(kinds)), draw(SLOTS)
    bits = 8 * NUMBER[kind].size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if UNKNOWN[kind] else (0, (1 << bits) - 1)
    few = [*draw(st.lists(st.integers(low, high), min_size=1, max_size=6)), UNKNOWN[kind]]
    numbers = draw(st.lists(st.sampled_from(few), min_size=slots, max_size=slots))
    word = st.sampled_from([b"\0" * 8, b"\xff" * 8]) | st.binary(min_size=8, max_size=8)
    bitmap = draw(st.none() | st.lists(word, min_size=slots // 64, max_size=slots // 64).map(b"".join))
    return b"".join(map(NUMBER[kind].pack, numbers)), kind, slots, bitmap


@given(columns([ColumnKind.U8, ColumnKind.U16]))
def test_codes_are_counted_alike(case: Any):
    ours, plain = (array("Q", bytes(8 << 16)) for _ in range(2))
    tally_codes(*case, ours)
    reference.tally_codes(*case, plain)
    assert ours == plain


@given(columns())
def test_least_and_greatest_are_found_alike(case: Any):
    assert span(*case) == reference.span(*case)


@given(columns(), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, 1 << 62), st.integers(1, 40))
def test_bins_are_filled_alike_wherever_they_lie(case: Any, low: int, width: int, bins: int):
    ours, plain = (array("Q", bytes(8 * bins)) for _ in range(2))
    assert tally_bins(*case, low, width, ours) == reference.tally_bins(*case, low, width, plain)
    assert ours == plain


@given(columns([ColumnKind.I64]), st.integers(1, 1_000))
def test_bins_of_what_is_there_are_filled_alike(case: Any, at_most: int):
    known, least, greatest = span(*case)
    low, width, bins = nice_bins(least, greatest, at_most)
    assert bins <= max(at_most, 4) and low <= least and greatest < low + width * bins
    assert low % width == 0 or low == -(1 << 63)
    ours, plain = (array("Q", bytes(8 * bins)) for _ in range(2))
    assert tally_bins(*case, low, width, ours) == reference.tally_bins(*case, low, width, plain) == known
    assert ours == plain


@given(SLOTS.flatmap(lambda n: st.tuples(st.binary(min_size=n, max_size=n), st.just(n))), st.data())
def test_planes_are_counted_alike(case: tuple[bytes, int], data: st.DataObject):
    octets, slots = case
    bitmap = data.draw(st.none() | st.binary(min_size=slots // 8, max_size=slots // 8))
    ours, plain = (array("Q", bytes(8 * 16)) for _ in range(2))
    seen, met = bytearray(slots // 8), bytearray(slots // 8)
    tally_planes(octets, slots, bitmap, ours, 8, seen)
    reference.tally_planes(octets, slots, bitmap, plain, 8, met)
    assert (ours, seen) == (plain, met) and ones(seen, slots) == reference.ones(met, slots)


@given(columns([ColumnKind.I32, ColumnKind.I64]), st.integers(1, 8))
def test_different_numbers_are_counted_up_to_the_bound(case: Any, bound: int):
    different = Distinct(bound)
    different.add_numbers(*case)
    there = set(reference.known(*case))
    assert (different.found, different.more) == (min(bound, len(there)), len(there) > bound)


@given(st.lists(st.text(max_size=20), min_size=64, max_size=64), st.none() | st.binary(min_size=8, max_size=8))
def test_different_texts_are_counted_with_how_often(texts: list[str], bitmap: bytes | None):
    octets = [text.encode() for text in texts]
    ends = [sum(map(len, octets[: i + 1])) for i in range(64)]
    starts = struct.pack("<64I", *([0, *ends[:-1]]))
    different = Distinct(64)
    known = different.add_texts(starts, struct.pack("<64I", *ends), b"".join(octets), 64, bitmap, 1_000)
    there = [octets[slot] for slot in reference.chosen(64, bitmap) if octets[slot]]
    assert known == len(there) and different.found == len(set(there)) and not different.more
    for _, count, where in different.top(64):
        assert there.count(octets[where - 1_000]) == count
    assert [count for _, count, _ in different.top(3)] == sorted(map(there.count, set(there)), reverse=True)[:3]


@pytest.mark.parametrize(
    "call",
    [
        lambda: tally_codes(bytes(63), ColumnKind.U8, 64, None, array("Q", bytes(8 * 256))),
        lambda: tally_codes(bytes(64), ColumnKind.U8, 64, bytes(7), array("Q", bytes(8 * 256))),
        lambda: tally_codes(bytes(64), ColumnKind.U8, 64, None, array("Q", bytes(8 * 255))),
        lambda: tally_codes(bytes(65), ColumnKind.U8, 65, None, array("Q", bytes(8 * 256))),
        lambda: span(bytes(8 * 63), ColumnKind.I64, 64, None),
        lambda: tally_bins(bytes(8 * 64), ColumnKind.I64, 64, None, 0, 0, array("Q", bytes(8))),
        lambda: tally_bins(bytes(8 * 64), ColumnKind.I64, 64, None, 0, 1, array("Q")),
        lambda: tally_planes(bytes(64), 64, None, array("Q", bytes(8 * 8)), 1),
        lambda: tally_planes(bytes(64), 64, None, array("Q", bytes(8 * 8)), 0, bytearray(7)),
    ],
)
def test_buffers_that_do_not_fit_are_refused(call: Any):
    with pytest.raises(ValueError, match=r"counts|slots|bins"):
        call()
