"""Every timer of a bind on a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from config import Endpoint
from dispatcher.errors import BindLost
from dispatcher.smpp.timers import Timers

SECOND = 1_000_000_000
BEGIN = 1_000 * SECOND


@dataclass
class Link:
    """A pump's counters, as the test wants them."""

    blocked: bool = False
    window: int = 100
    last_received_ns: int = BEGIN
    partial_since_ns: int = 0
    timeouts_in_row: int = 0
    octets_out: int = 0
    submits: int = 0
    delivers: int = 0


def timers(**keys) -> Timers:
    return Timers(Endpoint(name="e", host="h", system_id="x", **keys), BEGIN)


def at(seconds: float) -> int:
    return BEGIN + int(seconds * SECOND)


def test_a_silent_link_is_asked_once_and_lost_when_it_does_not_answer():
    link, watch = Link(), timers(enquire_link_s=30)
    assert not watch.look(link, at(29))
    assert watch.look(link, at(30))
    assert not watch.look(link, at(39))
    with pytest.raises(BindLost, match="enquire_link unanswered for 10 s"):
        watch.look(link, at(41))


def test_anything_that_arrives_answers_an_enquire_link():
    link, watch = Link(), timers(enquire_link_s=30)
    assert watch.look(link, at(30))
    link.last_received_ns = at(33)
    assert not watch.look(link, at(60))
    assert watch.look(link, at(63))


def test_a_pdu_that_stays_a_part_ends_the_bind_though_octets_trickle_in():
    link, watch = Link(partial_since_ns=at(1)), timers()
    for second in range(2, 11):
        link.last_received_ns = at(second)
        watch.look(link, at(second))
    with pytest.raises(BindLost, match="not whole"):
        watch.look(link, at(11.5))


def test_a_peer_that_takes_no_octets_is_lost_and_a_slow_one_is_not():
    link, watch = Link(blocked=True), timers(enquire_link_s=3_600)
    for second in range(100):
        link.octets_out += 1
        watch.look(link, at(second))
    with pytest.raises(BindLost, match="takes no octets for 30 s"):
        watch.look(link, at(99 + 31))


def test_a_peer_that_answers_nothing_any_more_is_mute():
    watch = timers(window=20, response_timeout_s=5)
    watch.look(Link(window=20, timeouts_in_row=19), at(1))
    with pytest.raises(BindLost, match="20 submit_sm in a row unanswered for 5 s"):
        watch.look(Link(window=20, timeouts_in_row=20), at(1))
    with pytest.raises(BindLost):
        timers(window=1).look(Link(window=1, timeouts_in_row=10), at(1))


def test_inactivity_ends_a_bind_without_messages_only_where_it_is_asked_for():
    for keys, lost in (({}, False), ({"inactivity_s": 60.0}, True)):
        link, watch = Link(), timers(**keys)
        for second in (10, 20, 30, 40):
            link.last_received_ns = at(second)
            link.submits += second == 10
            watch.look(link, at(second))
        link.last_received_ns = at(71)
        if lost:
            with pytest.raises(BindLost, match="inactivity_s"):
                watch.look(link, at(71))
        else:
            watch.look(link, at(71))


def test_a_clock_that_stands_still_or_a_reload_changes_nothing_of_what_was_seen():
    link, watch = Link(), timers(enquire_link_s=30)
    assert [watch.look(link, at(30)) for _ in range(3)] == [True, False, False]
    watch.endpoint = Endpoint(name="e", host="h", system_id="x", enquire_link_s=5.0)
    link.last_received_ns = at(31)
    assert watch.look(link, at(36))
