"""Turns: equal shares between those who want, what one leaves going to the others; nobody waits for ever."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.daemon.lanes import LANE, Turns
from dispatcher.records.states import Purpose


def test_purposes_leave_in_their_order():
    lanes = [LANE[purpose] for purpose in Purpose]
    assert lanes == sorted(lanes, reverse=True) and lanes[0] > lanes[1]


def served(turns: Turns, wants: dict[int, int], room: int, size: int = 1, turn: int = 0) -> Counter[int]:
    """Everybody takes whole messages of `size` parts."""
    got: Counter[int] = Counter()

    def take(key: int, most: int) -> int:
        parts = min(most // size * size, wants[key])
        wants[key] -= parts
        got[key] += parts
        return parts

    assert turns.serve([key for key in wants if wants[key]], room, take, turn) == got.total() <= room
    return got


def test_two_share_and_what_one_leaves_goes_to_the_other():
    turns = Turns()
    assert served(turns, {1: 1_000, 2: 1_000}, 100) == {1: 50, 2: 50}
    assert served(turns, {1: 10, 2: 1_000}, 100) == {1: 10, 2: 90}
    assert served(turns, {1: 0, 2: 1_000}, 100) == {2: 100}


def test_with_room_for_one_each_has_its_turn():
    turns, wants = Turns(), dict.fromkeys(range(5), 100)
    order = [next(iter(served(turns, wants, 1))) for _ in range(15)]
    assert order == [*range(5)] * 3


def test_a_message_longer_than_a_share_is_sent_once_its_deficit_holds_it():
    turns, wants = Turns(), {1: 9_000, 2: 9_000}
    got: Counter[int] = Counter()
    for _ in range(60):
        got += served(turns, wants, 8, size=7)
    assert abs(got[1] - got[2]) <= 7 and got.total() >= 7 * 50


def test_a_turn_longer_than_the_room_goes_on_in_the_next_calls_and_then_it_is_anothers():
    turns, wants = Turns(), dict.fromkeys(range(3), 10_000)
    order = [served(turns, wants, 100, turn=250) for _ in range(8)]
    assert order == [{0: 100}, {0: 100}, {0: 50, 1: 50}, {1: 100}, {1: 100}, {2: 100}, {2: 100}, {2: 50, 0: 50}]


def test_turns_of_long_messages_end_too():
    turns, wants = Turns(), dict.fromkeys(range(3), 70_000)
    got: Counter[int] = Counter()
    for _ in range(300):
        got += served(turns, wants, 100, size=7, turn=2_500)
    assert max(got.values()) - min(got.values()) <= 2_500 + 100


@given(
    wants=st.dictionaries(st.integers(1, 9), st.integers(1, 60), min_size=1), room=st.integers(1, 50),
    turn=st.integers(0, 70),
)  # fmt: skip
def test_room_is_used_up_and_everybody_is_through_in_the_end(wants, room, turn):
    turns, rest = Turns(), dict(wants)
    calls = 0
    while any(rest.values()):
        before = sum(rest.values())
        got = served(turns, rest, room, turn=turn)
        assert got.total() == min(room, before)
        calls += 1
    assert calls == -(-sum(wants.values()) // room)
