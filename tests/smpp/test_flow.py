"""The limit after a throttle, against a model of an SMSC on a clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dispatcher.smpp.flow import Counts, Flow
from dispatcher.smpp.pump import Pace

MS, SECOND = 1_000_000, 1_000_000_000
BEGIN = 100 * SECOND


@dataclass
class Second:
    """Accepts `cap` in any second, sliding; or in each second of the clock."""

    cap: int
    fixed: bool = False
    accepted: deque[int] = field(default_factory=deque)

    def answer(self, now: int) -> int:
        while self.accepted and (
            self.accepted[0] // SECOND < now // SECOND if self.fixed else self.accepted[0] <= now - SECOND
        ):
            self.accepted.popleft()
        if len(self.accepted) >= self.cap:
            return 0x58
        self.accepted.append(now)
        return 0

    @property
    def congestion(self) -> int:
        return -1


@dataclass
class Bucket:
    """Tokens come at `cap` a second, at most a second's worth."""

    cap: int
    tokens: float = 0.0
    last: int = BEGIN
    congestion: int = -1

    def answer(self, now: int) -> int:
        self.tokens = min(self.cap, self.tokens + (now - self.last) * self.cap / SECOND)
        self.last = now
        if self.tokens < 1:
            return 0x58
        self.tokens -= 1
        return 0


@dataclass
class Queue:
    """A queue of `places`, emptied at `cap` a second: ESME_RMSGQFUL."""

    cap: int
    places: int = 500
    held: float = 0.0
    last: int = BEGIN
    congestion: int = -1

    def answer(self, now: int) -> int:
        self.held = max(0.0, self.held - (now - self.last) * self.cap / SECOND)
        self.last = now
        if self.held >= self.places:
            return 0x14
        self.held += 1
        return 0


class Sending:
    """An endpoint that always has work: its pace and flow, a window, answers after a round trip."""

    def __init__(self, smsc: Second | Bucket | Queue, *, contract: int = 0, window: int = 400, rtt_ms: int = 5) -> None:
        self.smsc, self.window, self.rtt_ns = smsc, window, rtt_ms * MS
        self.now = BEGIN
        self.pace, self.flow = Pace(contract, BEGIN), Flow(contract, BEGIN)
        self.counts = Counts(0, 0)
        self.flying: deque[tuple[int, int, int]] = deque()  # (answered at, sent at, status)
        self.statuses: list[tuple[int, int]] = []
        self.judged = 0

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.now += MS
            while self.flying and self.flying[0][0] <= self.now:
                self._answered(*self.flying.popleft())
            if self.now // MS % 100 == 0:
                self._look()
            while (
                len(self.flying) < self.window
                and self.now >= self.flow.hold_until_ns
                and self.now >= self.pace.free_ns()
            ):
                self.pace.left(self.now)
                status = self.smsc.answer(self.now)
                self.flying.append((self.now + self.rtt_ns, self.now, status))
                self.statuses.append((self.now, status))

    def _answered(self, _at: int, sent: int, status: int) -> None:
        fresh = sent >= self.judged
        self.counts.accepted += status == 0
        self.counts.answered += 1
        if fresh:
            self.counts.first_answers += 1
            self.counts.first_later += status == 0x14
            self.counts.throttled_new += status == 0x58
            self.counts.congestion = max(self.counts.congestion, self.smsc.congestion)
            if status == 0x58:
                self._look()

    def _look(self) -> None:
        if self.flow.look(self.counts, self.now):
            self.judged = self.now
            self.counts = Counts(self.counts.accepted, self.counts.answered)
        self.counts.congestion = -1
        self.pace.set_limit(self.flow.parts_per_s, self.now)

    def share(self, last_s: float, status: int = 0) -> float:
        answers = [each for at, each in self.statuses if at > self.now - last_s * SECOND]
        return answers.count(status) / len(answers)

    def accepted_per_s(self, last_s: float) -> float:
        return sum(1 for at, each in self.statuses if each == 0 and at > self.now - last_s * SECOND) / last_s


@pytest.mark.parametrize("contract", [0, 5_000])
@pytest.mark.parametrize("rtt_ms", [1, 30])
@pytest.mark.parametrize("make", [Second, lambda cap: Second(cap, fixed=True)], ids=["sliding", "fixed"])
def test_a_cap_that_changes_is_found_within_30_s_and_hardly_touched(make: Callable[[int], Second], contract, rtt_ms):
    sending = Sending(make(500), contract=contract, rtt_ms=rtt_ms)
    for cap in (500, 50, 2_000):
        sending.smsc.cap = cap
        sending.run(30)
        sending.run(30)
        assert sending.accepted_per_s(30) >= 0.95 * cap, (cap, sending.accepted_per_s(30), sending.flow)
        assert sending.share(30, 0x58) < 0.01, (cap, sending.share(30, 0x58), sending.flow)


def test_a_token_bucket_is_found_too():
    sending = Sending(Bucket(500), rtt_ms=10)
    for cap in (500, 100, 1_000):
        sending.smsc.cap = cap
        sending.run(60)
        assert sending.accepted_per_s(30) >= 0.95 * cap, (cap, sending.accepted_per_s(30))
        assert sending.share(30, 0x58) < 0.01


def test_a_full_queue_of_the_account_slows_to_what_it_takes_out():
    sending = Sending(Queue(300), contract=2_000)
    sending.run(60)
    assert sending.accepted_per_s(30) >= 0.95 * 300
    assert sending.share(30, 0x14) < 0.1


def test_a_share_of_numbers_with_full_queues_slows_nobody():
    class Numbers(Second):
        count = 0

        def answer(self, now: int) -> int:
            self.count += 1
            return 0x14 if self.count % 20 == 0 else super().answer(now)

    sending = Sending(Numbers(10_000), contract=1_000)
    sending.run(20)
    assert sending.flow.events == 0 and sending.flow.limit == 0


def test_even_a_fifth_of_the_numbers_slows_only_for_a_while():
    class Numbers(Second):
        count = 0

        def answer(self, now: int) -> int:
            self.count += 1
            return 0x14 if self.count % 5 == 0 else super().answer(now)

    sending = Sending(Numbers(10_000), contract=1_000)
    sending.run(60)
    assert sending.accepted_per_s(10) > 0.75 * 1_000


def test_congestion_state_slows_before_the_smsc_has_to_refuse():
    class Full(Second):
        @property
        def congestion(self) -> int:
            return min(100, 100 * len(self.accepted) // self.cap)

    for contract in (0, 1_020, 5_000):
        sending = Sending(Full(500), contract=contract)
        for cap in (500, 50, 2_000):
            sending.smsc.cap = cap
            sending.run(60)
            assert sending.accepted_per_s(30) >= 0.95 * min(cap, contract or cap), (contract, cap, sending.flow)
            assert sending.share(30, 0x58) < 0.001


def test_without_a_refusal_nothing_is_limited():
    sending = Sending(Second(10_000), contract=800)
    sending.run(5)
    assert (sending.flow.limit, sending.flow.events) == (0, 0)


def test_an_smsc_that_takes_nothing_is_asked_less_and_less_often_and_then_found_well():
    sending = Sending(Second(0), contract=1_000)
    sending.run(60)
    assert len(sending.statuses) < 500
    assert sending.flow.limit == 1
    sending.smsc.cap = 5_000
    sending.run(45)
    assert sending.accepted_per_s(5) >= 0.95 * 1_000 and sending.flow.limit == 0


def test_what_was_in_the_window_when_it_was_told_is_one_event():
    sending = Sending(Second(500), window=400, rtt_ms=200)
    sending.run(3)
    assert sending.flow.events <= 2


@pytest.mark.parametrize("hold_ns", [SECOND, SECOND // 10])
def test_refusals_that_have_nothing_to_do_with_the_pace_do_not_slow_to_a_standstill(hold_ns):
    class Odd(Second):
        count = 0

        def answer(self, now: int) -> int:
            self.count += 1
            return 0x58 if self.count % 7 == 0 else 0

    sending = Sending(Odd(1), contract=1_000, window=40)
    sending.flow.hold_ns = hold_ns
    sending.run(60)
    assert sending.accepted_per_s(15) > 40  # a tenth of a second of silence after each seventh


def test_a_very_low_cap_is_found_and_not_taken_for_chance():
    sending = Sending(Second(1_000), contract=2_000)
    sending.run(20)
    sending.smsc.cap = 10
    sending.run(60)
    assert sending.accepted_per_s(30) >= 0.85 * 10 and sending.share(30, 0x58) < 0.05
