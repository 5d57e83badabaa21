"""A flood of messages from phones is refused in part; an opt-out never is."""

import pytest

from dispatcher.outcomes.flood import A_SOURCE_BURST, A_SOURCE_PER_S, IN_ALL_BURST, SOURCES_MAX, Flood, may_opt_out
from dispatcher.records.events import Delivered


def said(text="hello", number="4915100000001", data_coding=0):
    octets = text.encode("utf-16-be" if data_coding == 8 else "latin-1")
    return Delivered(source_addr=number, destination_addr="SHOP", octets=octets, data_coding=data_coding)


def test_a_sender_has_a_burst_and_then_a_rate():
    flood = Flood()
    taken = sum(flood.takes(said(), 100.0) for _ in range(1_000))
    assert taken == A_SOURCE_BURST and flood.refused == {"source": 1_000 - taken, "total": 0}
    later = sum(flood.takes(said(), 110.0) for _ in range(1_000))
    assert later == 10 * A_SOURCE_PER_S


def test_others_are_heard_meanwhile():
    flood = Flood()
    for _ in range(1_000):
        flood.takes(said(), 100.0)
    assert flood.takes(said(number="4915100000002"), 100.0)


def test_all_together_have_a_bound_too():
    flood = Flood()
    taken = sum(flood.takes(said(number=str(n)), 100.0) for n in range(int(IN_ALL_BURST) + 500))
    assert taken == IN_ALL_BURST and flood.refused["total"] == 500


@pytest.mark.parametrize(("text", "data_coding"), [("STOP", 0), (" stop! ", 8), ("退订", 8), ("Stop, thanks", 3)])
def test_an_opt_out_is_taken_in_any_flood(text, data_coding):
    flood = Flood()
    for _ in range(1_000):
        flood.takes(said(), 100.0)
    assert may_opt_out(said(text, data_coding=data_coding))
    assert all(flood.takes(said(text, data_coding=data_coding), 100.0) for _ in range(100))


def test_a_million_senders_take_bounded_memory():
    flood = Flood()
    for n in range(SOURCES_MAX + 1_000):
        flood.takes(said(number=str(n)), 100.0)
    assert repr(flood).startswith(f"<Flood {SOURCES_MAX} senders")


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_extra():
    flood = Flood()
    taken = sum(flood.takes(said(), 100.0 - n / 10) for n in range(200))
    assert taken == A_SOURCE_BURST
