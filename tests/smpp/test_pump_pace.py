"""Paces of a tenant, a campaign and a bind beside the endpoint's: exact at the socket, and in nobody else's way."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from dispatcher.smpp.pump import BULK, REPLIES, URGENT, Kind, Pace
from tests.smpp.line import CAMPAIGN, HEAD, MID, Line, Text, batch, response
from tests.smpp.test_pace import most_in

MS, SECOND = 1_000_000, 1_000_000_000
BEGIN = 77 * SECOND


@pytest.fixture
def lines():
    opened: list[Line] = []

    def new(**told) -> Line:
        opened.append(Line(**told))
        opened[-1].book.clock_ns = BEGIN
        return opened[-1]

    yield new
    for line in opened:
        line.__exit__()


def open_run(line: Line, no: int, *paces: Pace) -> int:
    return line.book.open_run(CAMPAIGN + no, 1, 0, HEAD, MID, receipts=False, honours_stop=True, paces=paces)


def claim(line: Line, run: int, ranks, pool: int = BULK, parts: int = 1) -> None:
    rows, count, octets = batch([Text(rank, (b"x",) * parts) for rank in ranks])
    line.book.claim(pool, run, rows, count, octets)


def answer_all(line: Line) -> None:
    for bind in range(len(line.pumps)):
        line.give(b"".join(response(submit.sequence) for submit in line.submits(bind)), bind)


class Feeding:
    """A feeder in small: every 4 ms each campaign claims what its paces and the Book have room for, then all commit."""

    def __init__(self, line: Line, campaigns: dict[int, tuple[Pace, ...]]) -> None:
        self.line, self.campaigns = line, campaigns
        self.ranks = dict.fromkeys(campaigns, 0)
        self.left: dict[int, list[int]] = {run: [] for run in campaigns}

    def run(self, ms: int, parts: int = 1) -> None:
        book = self.line.book
        for now in range(book.clock_ns, book.clock_ns + ms * MS, MS):
            book.clock_ns = now
            if now // MS % 4 == 0:
                for run, paces in self.campaigns.items():
                    room = min([pace.room(now) for pace in paces] + [book.room(BULK), 40])
                    for _ in range(room // parts + (0 < room < parts)):
                        rows, count, octets = batch([Text(self.ranks[run], (b"x",) * parts, number=1_000 + run)])
                        book.claim(BULK, run, rows, count, octets)
                        self.ranks[run] += 1
                self.line.commit()
            self.line.pump.push()
            submits = self.line.submits()
            for submit in submits:
                self.left[submit.to - 1_000].append(now)
            self.line.give(b"".join(response(submit.sequence) for submit in submits))
            book.take_returned()


def test_a_paced_campaign_is_kept_exactly_and_does_not_stand_before_the_others(lines):
    line = lines(window=1_000, credit=4_000)
    slow, free = Pace(20, BEGIN), Pace(5_000, BEGIN)
    runs = {open_run(line, 1, slow): (slow,), open_run(line, 2, free): (free,)}
    feeding = Feeding(line, runs)
    feeding.run(5_000)
    slowly, quickly = feeding.left.values()
    for times, rate in ((slowly, 20), (quickly, 5_000)):
        assert most_in(times, SECOND) <= rate
        assert len(times) - 1 >= 0.99 * rate * (times[-1] - times[0]) / SECOND
        assert len(times) >= 0.98 * rate * 3.99
    assert line.book.released == 0


def test_a_tenants_pace_holds_all_its_campaigns_together(lines):
    line = lines(window=1_000)
    tenant = Pace(100, BEGIN)
    own = [Pace(80, BEGIN), Pace(70, BEGIN)]
    runs = {open_run(line, no, tenant, pace): (tenant, pace) for no, pace in enumerate(own, 1)}
    feeding = Feeding(line, runs)
    feeding.run(4_000)
    both = sorted(chain.from_iterable(feeding.left.values()))
    assert most_in(both, SECOND) <= 100 and len(both) >= 0.98 * 100 * 2.99
    for times, pace in zip(feeding.left.values(), own, strict=True):
        assert most_in(times, SECOND) <= pace.rate and len(times) > 40
    assert tenant.queued <= 10


def test_a_pace_holds_over_several_endpoints(lines):
    one, other = lines(window=1_000), lines(window=1_000)
    pace = Pace(50, BEGIN)
    feeds = [Feeding(line, {open_run(line, 1, pace): (pace,)}) for line in (one, other)]
    for _ in range(3_000):
        for feeding in feeds:
            feeding.run(1)
            feeding.line.book.clock_ns += MS
    times = sorted(at for feeding in feeds for left in feeding.left.values() for at in left)
    assert most_in(times, SECOND) <= 50 and len(times) >= 95


def test_messages_of_several_parts_leave_whole_and_the_others_go_on_meanwhile(lines):
    line = lines(window=1_000)
    slow = Pace(10, BEGIN)
    run = open_run(line, 1, slow)
    feeding = Feeding(line, {run: (slow,)})
    feeding.run(6_000, parts=3)
    times = feeding.left[run]
    assert most_in(times, SECOND) <= 10
    assert len(times) >= 40 and all(times.count(at) == 3 for at in times)
    assert line.book.released <= 3  # the first, before the pace knew how long messages are


def test_what_waits_long_for_its_own_pace_is_given_back_and_the_lane_goes_on(lines):
    line = lines()
    run = open_run(line, 1, Pace(1, BEGIN))  # the first second is empty
    claim(line, run, range(5))
    line.claim(*range(10, 13))
    line.commit()
    assert line.book.released == 5 and line.submits() == []
    line.commit()  # what was given back is on disk: what stands behind it may leave
    assert len(line.submits()) == 3
    assert [item[0] for item in line.book.take_returned()] == [Kind.RELEASED] * 5
    assert line.book.open_parts == 3 and line.marks[BULK] == 8


def test_a_message_that_waits_a_little_for_its_pace_lets_lower_lanes_go_on(lines):
    line = lines()
    pace = Pace(1, BEGIN - 2 * SECOND)
    run = open_run(line, 1, pace)
    pace.left(BEGIN - 980 * MS)
    claim(line, run, [0], pool=URGENT)
    line.claim(7, pool=REPLIES)
    line.claim(8)
    line.commit()
    assert [submit.to % 10 for submit in line.submits()] == [7, 8]
    assert line.book.next_send_ns == BEGIN + 25 * MS
    line.book.clock_ns = BEGIN + 25 * MS
    line.pump.push()
    assert len(line.submits()) == 1


def test_a_binds_own_pace_holds_that_bind_alone(lines):
    line = lines(binds=1, window=50)
    line.pump.pace.set_rate(5, BEGIN - 2 * SECOND)
    line.bind(50)
    line.claim(*range(30))
    line.commit()
    assert (len(line.submits(0)), len(line.submits(1))) == (1, 29)
    line.claim(*range(30, 33))
    line.pumps[1].draining = True
    line.commit()
    assert line.pump.next_send_ns > line.book.clock_ns and line.submits(0) == []


def test_a_change_of_a_runs_paces_takes_what_is_queued_along(lines):
    line = lines()
    before, after = Pace(100, BEGIN), Pace(200, BEGIN)
    run = open_run(line, 1, before)
    claim(line, run, range(6))
    assert before.queued == 6
    assert line.book.open_run(CAMPAIGN + 1, 1, 0, HEAD, MID, receipts=False, honours_stop=True, paces=(after,)) == run
    assert (before.queued, after.queued) == (0, 6)
    line.book.set_paces(run, ())
    assert after.queued == 0
    with pytest.raises(ValueError, match="at most 2"):
        line.book.set_paces(run, [Pace(1) for _ in range(3)])
    with pytest.raises(ValueError, match="closed"):
        line.book.set_paces(99, ())


def test_a_message_of_more_parts_than_its_own_pace_leaves_whole_and_the_next_waits_until_they_are_paid_for(lines):
    line = lines(window=50)
    run = open_run(line, 1, Pace(2, BEGIN - 3 * SECOND))
    claim(line, run, [0], parts=6)
    line.commit()
    assert len(line.submits()) == 6
    left = []
    for step in range(1, 80):
        line.book.clock_ns = BEGIN + step * 50 * MS
        if step % 10 == 1 and not left:
            claim(line, run, [step])
        line.commit()
        left += [line.book.clock_ns - BEGIN] * len(line.submits())
    assert left and left[0] >= 2.9 * SECOND, "six parts at two a second"


def test_octets_that_a_full_socket_kept_back_find_new_places_in_every_pace(lines):
    line = lines()
    with pytest.raises(BlockingIOError):
        while line._ours[0].send(bytes(1_000)):
            pass
    pace = Pace(10, BEGIN - 3 * SECOND)
    run = open_run(line, 1, pace)
    claim(line, run, [0])
    line.commit()
    assert line.pump.blocked and pace.queued == 0
    with pytest.raises(BlockingIOError):
        while line.smsc[0].recv(1 << 20):
            pass
    line.book.clock_ns += 10 * MS
    line.pump.push()  # there is room now, but its place in the pace was earlier
    assert not line.pump.blocked
    with pytest.raises(BlockingIOError):
        line.smsc[0].recv(1)
    line.book.clock_ns += 50 * MS
    line.pump.push()
    assert line.smsc[0].recv(1 << 16) and line.book.queued(BULK) == 0


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_nothing_stays_queued_in_a_pace(lines, seed):
    rng = random.Random(seed)
    line = lines(binds=2, window=6)
    line.book.retry_ns = 0
    paces = [Pace(rng.choice([1, 5, 50, 500]), BEGIN) for _ in range(3)]
    runs = [open_run(line, no, *rng.sample(paces, rng.randint(0, 2))) for no in range(1, 4)]
    for rank in range(120):
        line.book.clock_ns += rng.randrange(200) * MS
        claim(line, rng.choice(runs), [rank], pool=rng.randrange(3), parts=rng.choice([1, 1, 3, 9]))
        if rng.random() < 0.2:
            line.book.stop_run(rng.choice(runs), rng.random() < 0.5)
        if rng.random() < 0.2:
            line.book.set_paces(rng.choice(runs), rng.sample(paces, rng.randint(0, 2)))
        if rng.random() < 0.1:
            pump = rng.randrange(2)
            line.pumps[pump].close()
            line.pumps[pump] = line.bind(6)
            line.pumps.pop()
            for kept in (line.smsc, line._ours):
                kept[pump].close()
            for kept in (line.smsc, line._ours, line._framers):
                kept[pump] = kept.pop()
        line.commit()
        answer_all(line)
        line.commit()
    for pump in line.pumps:
        pump.close()
    line.book.release_queued()
    assert [pace.queued for pace in paces] == [0, 0, 0]
    assert all(line.book.run_open(run) == 0 for run in runs)
