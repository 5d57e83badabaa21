"""The sliding log by itself: the compiled one is the plain one, no second has more than the rate, and little is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.smpp.pump import Pace
from tests.reference.pace import ReferencePace

MS, SECOND = 1_000_000, 1_000_000_000
BEGIN = 100 * SECOND

STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 400 * MS)),
    st.tuples(st.just("ask"), st.integers(1, 12)),
    st.tuples(st.just("limit"), st.integers(0, 300)),
    st.tuples(st.just("rate"), st.integers(1, 300)),
)


def most_in(times: list[int], span_ns: int) -> int:
    first = most = 0
    for last, now in enumerate(times):
        while times[first] <= now - span_ns:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(max_examples=300)
@given(st.integers(1, 300), st.lists(STEPS, max_size=120))
def test_the_compiled_pace_and_the_plain_one_say_the_same(rate, steps):
    now = BEGIN
    pace, plain = Pace(rate, now), ReferencePace(rate, now)
    for what, number in steps:
        if what == "wait":
            now += number
        elif what == "ask":
            assert pace.free_ns(number) == plain.free_ns(number)
            if now >= plain.free_ns(number):
                for _ in range(number):
                    plain.left(now)
                pace.left(now, number)
            assert pace.room(now, 5 * MS) == plain.room(now, 5 * MS)
        elif what == "limit":
            pace.set_limit(number, now)
            plain.set_limit(number, now)
        else:
            pace.set_rate(number, now)
            plain.set_rate(number, now)
        assert (pace.rate, pace.limit) == (plain.rate, plain.limit)


@settings(max_examples=200)
@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 60 * MS), st.integers(1, 8), st.integers(0, 500)), max_size=300),
)
def test_no_sliding_second_sees_more_than_the_rate_that_holds_at_its_end(rate, steps):
    now, pace, times = BEGIN, Pace(rate, BEGIN), []
    for wait_ns, parts, changed in steps:
        now += wait_ns
        if changed > 450:
            pace.set_rate(changed - 450, now)
        parts = min(parts, pace.limit)
        if now >= pace.free_ns(parts):
            pace.left(now, parts)
            times += [now] * parts
            assert sum(1 for at in times if at > now - SECOND - 4 * MS) <= pace.limit


@pytest.mark.parametrize("rate", [1, 10, 97, 1_000, 50_000])
def test_nearly_all_of_the_rate_is_used_when_work_waits(rate):
    pace, times = Pace(rate, BEGIN), []
    for now in range(BEGIN, BEGIN + 12 * SECOND, MS):
        while now >= pace.free_ns():
            pace.left(now)
            times.append(now)
    assert times[0] >= BEGIN + SECOND  # the first second is empty
    assert most_in(times, SECOND) <= rate
    assert len(times) - 1 >= 0.99 * rate * (times[-1] - times[0]) / SECOND


def test_after_an_idle_stretch_there_is_no_burst():
    pace = Pace(1_000, BEGIN)
    now = BEGIN + 60 * SECOND
    burst = 0
    while now >= pace.free_ns():
        pace.left(now)
        burst += 1
    assert burst <= 51


def test_a_lower_rate_holds_at_once_and_a_higher_one_too():
    now, pace = BEGIN, Pace(1_000, BEGIN)

    def leave_for(ns: int) -> list[int]:
        nonlocal now
        times, end = [], now + ns
        while now < end:
            while now >= pace.free_ns():
                pace.left(now)
                times.append(now)
            now += MS
        return times

    leave_for(3 * SECOND)
    pace.set_rate(100, now)
    changed = now
    slow = leave_for(3 * SECOND)
    assert not [
        at for at in slow if at < changed + 900 * MS
    ]  # the last second held 1,000: nothing fits until it is over
    assert most_in(slow, SECOND) <= 100 and len(slow) > 190
    pace.set_rate(2_000, now)
    assert len(leave_for(SECOND // 2)) > 900


def test_a_limit_is_never_above_the_contract_and_none_is_the_contract():
    pace = Pace(500, BEGIN)
    pace.set_limit(2_000, BEGIN)
    assert pace.limit == 500
    pace.set_limit(50, BEGIN)
    assert (pace.limit, pace.rate) == (50, 500)
    pace.set_limit(0, BEGIN)
    assert pace.limit == 500
    pace.set_rate(0, BEGIN)
    assert pace.limit == 0 and pace.free_ns(99) == 0 and pace.room(BEGIN) > 1_000_000
    pace.set_limit(50, BEGIN)
    assert pace.limit == 50 and pace.free_ns() == BEGIN + 1_005 * MS
