"""Rows of `replies` against the messages they stand beside, and the loops over them against tests/reference/replies.py."""

from __future__ import annotations

import random
import struct
import tempfile
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.fastmatch import slots_of
from dispatcher.records.changes import Changes
from dispatcher.segments import _replies
from dispatcher.segments.given import Engaged
from dispatcher.store import open_store
from dispatcher.store.layout import BLOCK, TENANT_U64
from dispatcher.store.replies import put_reply, text_mark
from tests.campaigns.log import claim, log
from tests.fakes.shop import NOW_MS
from tests.reference import replies as reference
from tests.segments.sends import DAY_MS, HOUR_MS, says, started
from tests.segments.test_engagement import ranks, who
from tests.segments.test_engagement import store as store  # the fixture

PAGE = 4_096


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 32), count=st.sampled_from([0, 1, 40, 3_000]))
def test_compiled_and_reference_find_the_same_replies_by_walk_and_by_cursor(seed: int, count: int):
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), write=True, create=True, sync=False) as here:
        changes = Changes()
        for n in range(count):
            at_ms = 1_000 * n + draw.randrange(1_000)
            number = draw.randrange(4 * BLOCK)
            put_reply(changes, draw.randrange(1, 4), at_ms << 16 | n & 0xFFFF, number, at_ms, draw.choice("12"))
        here.apply(changes)
        first = TENANT_U64.pack(2, (1_000 * draw.randrange(count + 1)) << 16)
        until = 1_000 * draw.randrange(count + 2)
        mark = draw.choice((None, text_mark("1")))
        with here.snapshot() as view:
            rows = list(view.range("replies"))
            expected = reference.pairs_between(rows, first, until, mark)
            walked = _replies.pairs_between(view.record("replies"), first, PAGE, until, mark)
            asked = _replies.pairs_between([row for row in rows if row[0] >= first], first, 0, until, mark)
            as_they_are = _replies.pairs_between(view.record("replies"), first, PAGE, until, mark, ordered=False)
        assert sorted(memoryview(as_they_are).cast("Q")) == [*memoryview(walked).cast("Q")]
        for octets in (0, BLOCK // 8, BLOCK):
            marked = bytearray(octets)
            _replies.mark_members(as_they_are, marked)
            assert set(slots_of(marked)) == reference.mark_members(expected, octets)
        assert walked == asked == array("Q", [no << 32 | at for no, at in expected]).tobytes()
        found = [
            (block, [*array("I", slots)], [*array("I", at)]) for block, slots, at in _replies.by_block(walked, BLOCK)
        ]
        assert found == reference.by_block(expected, BLOCK)


@given(
    replies=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 3)), max_size=30),
    wanted=st.none() | st.integers(1, 3),
)
def test_compiled_and_reference_mark_the_same_answers(replies: list[tuple[int, int]], wanted: int | None):
    slots, whose = array("I", [slot for slot, _ in replies]), array("I", [number for _, number in replies])
    out = bytearray(16)
    _replies.mark_answers(slots, whose, wanted, out)
    assert {n for n in range(128) if out[n >> 3] >> (n & 7) & 1} == reference.mark_answers(slots, whose, wanted)


def test_a_row_that_is_no_reply_is_named():
    key = TENANT_U64.pack(1, 7)
    with pytest.raises(ValueError, match="x07") as exc:
        _replies.pairs_between([(key, b"short")], TENANT_U64.pack(1, 0), 0, 99, None)
    assert exc.value.args[0] == key


def without_replies(store) -> None:
    """As a store of the version before was."""
    changes = Changes()
    with store.snapshot() as view:
        for key, _ in view.range("replies"):
            changes.delete("replies", key)
    store.apply(changes)


def test_messages_from_before_the_table_are_read_beside_those_that_stand_in_it(store):
    campaign = started(store, "Survey")
    log(store, campaign, NOW_MS, claim(0, [1, 1, 1]))
    first, second, third = ranks(0, 1, 2)
    says(store, first, "1", NOW_MS + HOUR_MS)
    says(store, second, "2", NOW_MS + HOUR_MS)
    without_replies(store)
    assert who(store, Engaged("replied", campaign), NOW_MS + DAY_MS) == [first, second]
    says(store, third, "1", NOW_MS + 2 * HOUR_MS)
    assert who(store, Engaged("replied", campaign), NOW_MS + DAY_MS) == [first, second, third]
    assert who(store, Engaged("replied", campaign, text="1"), NOW_MS + DAY_MS) == [first, third]
    assert who(store, Engaged("replied", campaign, since_ms=NOW_MS + 2 * HOUR_MS), NOW_MS + DAY_MS) == [third]


def test_a_reply_stays_with_the_member_who_had_the_number_when_it_came(store):
    campaign = started(store, "Survey")
    log(store, campaign, NOW_MS, claim(0, [1, 1]))
    first, second = ranks(0, 1)
    says(store, first, "1", NOW_MS + HOUR_MS)
    changes = Changes()
    with store.snapshot() as view:
        rows = dict(view.range("phones"))
        number = next(key for key, row in rows.items() if struct.unpack("<I", row)[0] == first)
        changes.put("phones", number, struct.pack("<I", second))  # the number goes to somebody else
    store.apply(changes)
    assert who(store, Engaged("replied", campaign), NOW_MS + DAY_MS) == [first]


def test_a_stranger_leaves_no_row(store):
    says(store, 999_999_999, "1", NOW_MS)
    with store.snapshot() as view:
        assert [*view.range("replies")] == []
        assert len([*view.range("inbound")]) == 1
