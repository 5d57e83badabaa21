"""L6, R11 and S3 of the pitfalls, seen from counters on a clock of the test's."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.smpp.watchdogs import BindSeen, Cure, Seen, Watchdogs

SECOND = 1_000_000_000
BEGIN = 1_000 * SECOND
FREE = BindSeen(0, 0, 0, True)
IDLE = Seen(ready=0, submits=0, receipts=0, accepted=0, pending=0, binds=(FREE, replace(FREE, number=1)))


def watch(seconds: int, seen, dogs: Watchdogs | None = None, begin: int = 0):
    """(second, finding) of everything found while `seen(second)` is looked at each second."""
    dogs = dogs or Watchdogs()
    return [
        (second, finding)
        for second in range(begin, begin + seconds)
        for finding in dogs.look(seen(second), BEGIN + second * SECOND)
    ]


def test_work_that_does_not_leave_is_pushed_after_5_s_and_a_bind_made_anew_after_10():
    found = watch(30, lambda second: replace(IDLE, ready=100))
    assert [(second, finding.cure) for second, finding in found[:4]] == [
        (5, Cure.PUSH), (10, Cure.REBIND), (15, Cure.PUSH), (20, Cure.REBIND),
    ]  # fmt: skip
    assert found[0][1].alarm.code == "stuck" and "100 parts wait" in found[0][1].alarm.text


def test_work_that_leaves_slowly_has_no_room_or_no_bind_is_no_alarm():
    full = tuple(replace(bind, room=False) for bind in IDLE.binds)
    assert watch(60, lambda second: replace(IDLE, ready=100, submits=second // 4)) == []
    assert watch(60, lambda second: replace(IDLE, ready=100, binds=full)) == []
    assert watch(60, lambda second: replace(IDLE, ready=100, binds=())) == []
    assert watch(60, lambda second: IDLE) == []


def test_receipts_that_stop_for_10_minutes_while_thousands_are_owed_make_one_bind_anew():
    found = watch(4_000, lambda second: replace(IDLE, accepted=10 * second, pending=10 * second, submits=second))
    assert [finding.cure for _, finding in found] == [Cure.REBIND] * len(found)
    assert [second for second, _ in found][:2] == [
        700,
        700 + 1_200,
    ]  # 1,000 are owed after 100 s; each time twice as long
    assert found[0][1].alarm.code == "no_receipts"


def test_receipts_that_come_now_and_then_or_are_few_are_waited_for():
    owed = {"accepted": 100_000, "pending": 50_000}
    assert watch(4_000, lambda second: replace(IDLE, **owed, receipts=second // 500)) == []
    assert watch(4_000, lambda second: replace(IDLE, accepted=900, pending=900)) == []
    # the phones of yesterday's campaign that are off: nothing was accepted since the last receipt
    assert watch(4_000, lambda second: replace(IDLE, accepted=100_000, pending=90_000, receipts=10_000)) == []


def test_receipts_are_owed_only_once_something_was_accepted():
    dogs = Watchdogs()
    watch(3_600, lambda second: IDLE, dogs)
    found = watch(500, lambda second: replace(IDLE, accepted=5_000, pending=5_000), dogs, 3_600)
    assert found == []


def test_a_bind_on_which_all_is_refused_while_another_is_accepted_is_made_anew():
    def seen(second: int):
        good = BindSeen(0, 10 * second, 10 * second, True)
        return replace(IDLE, binds=(good, BindSeen(1, 500, 500 + 10 * second, True)))

    found = watch(70, seen)
    assert [(second, finding.bind, finding.cure) for second, finding in found] == [(60, 1, Cure.REBIND)]
    assert found[0][1].alarm.code == "fruitless"


def test_an_smsc_that_refuses_on_all_binds_is_not_the_binds_fault():
    def seen(second: int):
        return replace(IDLE, binds=tuple(BindSeen(number, 500, 500 + 10 * second, True) for number in (0, 1)))

    assert watch(600, seen) == []
