"""When a bind is tried again and what is an alarm, by how it ended."""

from __future__ import annotations

import pytest

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, CannotConnect, PeerBrokeProtocol
from dispatcher.smpp.rebind import REMEDIES, Backoff, alarm_of, locks

ENDPOINT = Endpoint(name="e", host="h", system_id="x")
LOST = BindLost("closed by the SMSC")


def test_the_wait_doubles_with_jitter_from_the_shortest_to_the_longest():
    backoff = Backoff()
    waits = [backoff.wait_s(ENDPOINT, LOST) for _ in range(12)]
    for wait, most in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60], strict=True):
        assert most / 2 <= wait <= most
    assert len(set(waits)) == len(waits)


def test_a_bind_that_lived_a_minute_begins_anew_and_one_that_did_not_goes_on():
    backoff = Backoff()
    for _ in range(8):
        backoff.wait_s(ENDPOINT, LOST)
    backoff.lived(59)
    assert backoff.wait_s(ENDPOINT, LOST) > 20
    backoff.lived(61)
    assert backoff.failures == 0 and backoff.wait_s(ENDPOINT, LOST) <= 1


@pytest.mark.parametrize("status", [0x0E, 0x0F, 0x53, 0x101])
def test_what_a_retry_may_lock_waits_five_minutes_for_every_bind(status):
    end = BindRefused(status)
    assert Backoff().wait_s(ENDPOINT, end) == 300 and locks(end)
    alarm = alarm_of(end, 1)
    assert alarm is not None and alarm.code == "credentials"


def test_every_status_that_a_bind_may_be_refused_with_is_tried_again_at_its_own_pace():
    for status in [*range(1, 0x121), *range(0x400, 0x500), 1 << 31, (1 << 32) - 1]:
        end, backoff = BindRefused(status), Backoff()
        waits = [backoff.wait_s(ENDPOINT, end) for _ in range(12)]
        if locks(end):
            assert waits == [300] * 12, hex(status)
        elif status == 0x05:
            assert all(2.5 <= wait <= 5 for wait in waits)
        else:
            assert 0.5 <= waits[0] <= 1 and 30 <= waits[-1] <= 60, hex(status)
        alarm = alarm_of(end, 3)
        assert alarm is not None and alarm.text and alarm.remedy, hex(status)


def test_a_session_still_held_is_asked_for_within_five_seconds_however_long_it_takes():
    backoff = Backoff()
    waits = [backoff.wait_s(ENDPOINT, BindRefused(0x05)) for _ in range(50)]
    assert all(2.5 <= wait <= 5 for wait in waits) and not locks(BindRefused(0x05))
    assert backoff.wait_s(ENDPOINT, LOST) <= 1  # and has not used up the back-off of other failures


@pytest.mark.parametrize("status", [0x0D, 0x08, 0x58, 0x14, 0x400, 2**32 - 1])
def test_any_other_refusal_backs_off(status):
    backoff = Backoff()
    assert [round(backoff.wait_s(ENDPOINT, BindRefused(status)) * 2) >= most for most in (1, 2, 4)] == [True] * 3
    assert alarm_of(BindRefused(status), 1) is None and alarm_of(BindRefused(status), 3) is not None


def test_every_alarm_has_a_remedy_and_a_passing_loss_is_none():
    ends = [CannotConnect(code, "x") for code in ("name", "connect", "closed", "file", "certificate", "tls")]
    for end in [*ends, PeerBrokeProtocol("x"), BindRefused(0x05), LOST]:
        alarm = alarm_of(end, 3)
        assert alarm is not None and alarm.text and alarm.remedy == REMEDIES[alarm.code]
    assert alarm_of(LOST, 1) is None and alarm_of(CannotConnect("closed", "x"), 1) is None
