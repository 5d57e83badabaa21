"""What may come again is known for a day, once; what a person says again is heard."""

import pytest

from dispatcher.outcomes import seals
from dispatcher.outcomes.inbound import Recent, hear, overdue
from dispatcher.outcomes.seals import KNOWN_MS, LATE_MAX, REPEAT_MS
from dispatcher.records.changes import Changes
from dispatcher.records.events import Delivered
from tests.fakes.shop import NOW_MS

HOUR_MS = 3_600_000


def said(text: str, number: str = "4915100000001") -> Delivered:
    return Delivered(source_addr=number, destination_addr="SHOP", octets=text.encode())


def heard(store, message, at_ms, recent):
    with store.begin_write() as view:
        changes, what = hear(view, message, at_ms, recent)
        view.apply(changes)
    return what.what


def ended(store, recent, at_ms):
    """A connection of the endpoint ends."""
    store.apply(recent.doubt(at_ms))


def test_what_a_person_says_again_is_heard_while_no_connection_ended(shop):
    recent = Recent()
    for n in range(5):
        assert heard(shop, said("points"), NOW_MS + n * (REPEAT_MS + 1), recent) == "points"


@pytest.mark.parametrize("later_ms", [REPEAT_MS + 1, HOUR_MS, KNOWN_MS - REPEAT_MS])
def test_what_was_heard_just_before_a_connection_ended_is_a_repeat_for_a_day_once(shop, later_ms):
    recent = Recent()
    assert heard(shop, said("points"), NOW_MS, recent) == "points"
    ended(shop, recent, NOW_MS + 10_000)
    assert heard(shop, said("points"), NOW_MS + later_ms, recent) == "repeat"
    assert heard(shop, said("points"), NOW_MS + later_ms + REPEAT_MS + 1, recent) == "points"


def test_what_was_heard_long_before_a_connection_ended_was_answered(shop):
    recent = Recent()
    assert heard(shop, said("points"), NOW_MS, recent) == "points"
    ended(shop, recent, NOW_MS + REPEAT_MS + 1)
    assert heard(shop, said("points"), NOW_MS + HOUR_MS, recent) == "points"


@pytest.mark.parametrize("down_ms", [1_000, HOUR_MS, 20 * HOUR_MS])
def test_after_a_kill_the_last_messages_are_repeats_however_long_it_was_down(shop, down_ms):
    before = Recent()
    for n, text in enumerate(("early", "points", "hello")):
        heard(shop, said(text), NOW_MS + n * 20_000, before)
    start = NOW_MS + 40_000 + down_ms
    after = Recent()
    assert heard(shop, said("points"), start, after) == "repeat"
    again = Recent()  # and a second start, before the other came again
    assert heard(shop, said("hello"), start + REPEAT_MS + 1, again) == "repeat"
    assert heard(shop, said("early"), start + REPEAT_MS + 2, again) == "inbox"


def test_a_stop_is_never_taken_for_a_repeat_on_suspicion(shop):
    recent = Recent()
    assert heard(shop, said("STOP"), NOW_MS, recent) == "stop"
    ended(shop, recent, NOW_MS)
    assert heard(shop, said("STOP"), NOW_MS + HOUR_MS, recent) == "repeat"  # it holds already
    ended(shop, recent, NOW_MS + HOUR_MS)
    assert heard(shop, said("start"), NOW_MS + 2 * HOUR_MS, recent) == "start"
    assert heard(shop, said("STOP"), NOW_MS + 3 * HOUR_MS, recent) == "stop"


def test_old_seals_go_and_those_of_a_day_stay(shop):
    changes = Changes()
    for hours in range(0, 72):
        seals.keep(changes, b"%016d" % hours, NOW_MS + hours * HOUR_MS, seals.DOUBT)
    shop.apply(changes)
    now_ms = NOW_MS + 72 * HOUR_MS
    while True:
        with shop.begin_write() as view:
            step = overdue(view, now_ms)
            if step is None:
                break
            view.apply(step[0])
    with shop.snapshot() as view:
        left = sorted(int(key[4:]) for key, _ in view.range("mo_seals"))
    assert left[-24:] == list(range(48, 72)) and len(left) <= 36


def test_what_a_connections_end_puts_on_disk_is_bounded(shop):
    recent = Recent()
    with shop.snapshot() as view:
        for no in range(LATE_MAX + 10):
            recent.heard(view, b"%016d" % no, NOW_MS)
    changes = recent.doubt(NOW_MS)
    assert len(changes.rows) == LATE_MAX and changes.octets < 4 << 20
