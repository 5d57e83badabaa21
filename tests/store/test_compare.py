"""Delta rows against what members hold: the kernel and its plain Python meaning."""

from __future__ import annotations

import struct
from array import array
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.store import _compare
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.compare import merged_row, named_by
from dispatcher.store.delta import pack_delta
from tests.reference import compare as reference

SLOTS = 64
WIDTH = {1: 1, 2: 2, 3: 4, 4: 8, 5: 8}
# few values, so that old and new are often the same
COLUMNS: reference.Columns = [
    (16, 0, 1, 0, False), (17, 0, 2, 1, False), (18, 0, 3, 2, False), (19, 0, 4, 3, False),
    (20, 0, 7, 4, False), (21, 0, 6, 5, False), (21, 1, 6, 5, False), (22, 0, 1, 7, True),
]  # fmt: skip
TEXTS = st.sampled_from([b"", b"a", b"ab", "Zoë".encode(), b"x" * 17])
numbers = st.integers(0, 3)


def octets_of(data: st.DataObject, kind: int) -> bytes:
    if kind == 7:
        return data.draw(TEXTS)
    if kind == 6:
        return bytes((data.draw(st.integers(0, 255)), data.draw(st.integers(0, 255))))
    return int(data.draw(numbers)).to_bytes(WIDTH[kind], "little")


def row_of(data: st.DataObject) -> bytes:
    """A delta row of some columns; of the 16-bit dictionary perhaps an entry of 8 bits."""
    row = b""
    for field, part, kind, _, _ in COLUMNS:
        if data.draw(st.booleans()):
            said = 1 if kind == 2 and data.draw(st.booleans()) else kind
            octets = octets_of(data, said)
            row += struct.pack("<HBBH", field, part, said, len(octets)) + octets
    return row


def array_of(data: st.DataObject, kind: int) -> Any:
    if data.draw(st.integers(0, 4)) == 0:
        return None
    if kind == 7:
        texts = data.draw(st.lists(TEXTS, min_size=SLOTS, max_size=SLOTS))
        ends = list(accumulate(map(len, texts)))
        starts = [0, *ends[:-1]]
        return SLOTS, (array("I", starts).tobytes(), array("I", ends).tobytes(), b"".join(texts))
    if kind == 6:
        return SLOTS, data.draw(st.binary(min_size=SLOTS, max_size=SLOTS))
    values = data.draw(st.lists(numbers, min_size=SLOTS, max_size=SLOTS))
    return SLOTS, b"".join(value.to_bytes(WIDTH[kind], "little") for value in values)


@settings(deadline=None)
@given(data=st.data())
def test_rows_are_compared_and_sealed_as_the_reference_does(data: st.DataObject):
    arrays = [array_of(data, column[2]) for column in COLUMNS]
    slots = data.draw(st.lists(st.integers(0, SLOTS + 3), min_size=1, max_size=6))
    rows, overlays = [row_of(data) for _ in slots], [row_of(data) for _ in slots]
    kept = _compare.Columns(list(COLUMNS), arrays)
    changed, lost = array("Q", bytes(8 * len(COLUMNS))), array("Q", bytes(8 * len(COLUMNS)))
    said = _compare.compare(rows, array("H", slots), overlays, kept, changed, lost)
    assert (*said, list(changed), list(lost)) == reference.compare(rows, slots, overlays, COLUMNS, arrays)
    assert _compare.seals_of(rows, array("H", slots), kept) == reference.seals_of(rows, slots, COLUMNS, arrays)
    first = data.draw(st.integers(0, SLOTS))
    assert _compare.seals_between(kept, first, 5) == reference.seals_between(COLUMNS, arrays, first, 5)


@settings(deadline=None)
@given(data=st.data())
def test_after_laying_a_row_over_a_member_its_seal_is_the_one_it_was_given(data: st.DataObject):
    arrays = [array_of(data, column[2]) for column in COLUMNS]
    row, overlay = row_of(data), row_of(data)
    kept = _compare.Columns(list(COLUMNS), arrays)
    tallies = array("Q", bytes(8 * len(COLUMNS))), array("Q", bytes(8 * len(COLUMNS)))
    (after,), (before,), (seal,) = _compare.compare([row], array("H", [3]), [overlay], kept, *tallies)
    again = _compare.compare([after], array("H", [3]), [merged_row(overlay, row)], kept, *tallies)
    assert again == ([b""], [b""], [b""])
    back = _compare.compare([before], array("H", [3]), [merged_row(merged_row(overlay, row), before)], kept, *tallies)
    assert back[0] == [b""]
    assert bool(seal) == bool(after)


@settings(deadline=None)
@given(data=st.data())
def test_garbage_raises_only_ValueError(data: st.DataObject):
    row = data.draw(st.binary(max_size=40))
    kept = _compare.Columns(list(COLUMNS), [None] * len(COLUMNS))
    tallies = array("Q", bytes(8 * len(COLUMNS))), array("Q", bytes(8 * len(COLUMNS)))
    for call in (
        lambda: _compare.compare([row], array("H", [0]), [b""], kept, *tallies),
        lambda: _compare.seals_of([row], array("H", [0]), kept),
    ):
        try:
            call()
        except ValueError:
            pass


def test_arrays_shorter_than_their_slots_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        _compare.Columns([(16, 0, 4, 0, False)], [(64, bytes(8 * 63))])
    with pytest.raises(ValueError, match="lists differ"):
        _compare.seals_of([b"", b""], array("H", [1]), _compare.Columns([], []))


def test_a_seal_names_the_entries_that_differ():
    one, two = (20, 0, ColumnKind.TEXT), (16, 0, ColumnKind.U8)
    row = pack_delta({one: b"a", two: b"\x01"})
    seal, now = b"....ab", b",...ac"
    assert named_by(row, seal, now) == [16]
    assert named_by(row, b"....ab", b",...ab") == [20, 16], "no octet tells: any of them"
