"""When what the SMSC refused goes again."""

from __future__ import annotations

from itertools import pairwise

from dispatcher.daemon.retries import JITTER, LATER_MAX_S, SECOND_NS, next_try, table
from dispatcher.smpp.consts import ESME_RMSGQFUL, ESME_RTHROTTLED
from dispatcher.smpp.pump import Kind, action_of

RETRY_NS, DAY_S = SECOND_NS, 86_400


def waits(status: int, validity_s: int = DAY_S, tries: int = 0) -> list[float]:
    """Seconds before each next try of one message that is always refused so, until it is given up."""
    now, since, found = 1_000 * SECOND_NS, 0, []
    while len(found) < 10_000:
        again = next_try(Kind.RETRY, status, tries, since, now, retry_ns=RETRY_NS, validity_s=validity_s)
        if again is None:
            break
        assert again.tries == tries
        found.append((again.due_ns - now) / SECOND_NS)
        now, since = again.due_ns, again.since_s
    return found


def test_a_full_queue_is_tried_ever_more_slowly_and_as_long_as_the_message_is_valid():
    found = waits(ESME_RMSGQFUL)
    assert 1.0 <= found[0] <= 1 + JITTER
    assert all(later >= earlier * 0.7 for earlier, later in pairwise(found))
    assert max(found) <= LATER_MAX_S * (1 + JITTER) and found[-1] >= LATER_MAX_S
    assert DAY_S <= sum(found) <= DAY_S + LATER_MAX_S * (1 + JITTER)
    assert len(found) < 320, "5 minutes apart for most of a day"


def test_a_throttled_message_waits_alike_each_time_until_it_is_no_longer_valid():
    assert waits(ESME_RTHROTTLED, validity_s=60) == [1.0] * 60


def test_a_status_that_says_little_uses_a_try_and_one_that_never_left_uses_none():
    again = next_try(Kind.RETRY, 0x45, 1, 0, SECOND_NS, retry_ns=RETRY_NS, validity_s=DAY_S)
    assert again is not None and (again.due_ns, again.tries) == (2 * SECOND_NS, 2)
    back = next_try(Kind.RELEASED, 0, 1, 7, SECOND_NS, retry_ns=RETRY_NS, validity_s=DAY_S)
    assert back is not None and (back.due_ns, back.tries, back.since_s) == (SECOND_NS, 1, 7)


def test_the_table_says_of_each_status_how_often_how_far_apart_and_until_when():
    rows = {row["command_status"]: row for row in table(retry_s=1.0, tries_max=3)}
    throttled, queue_full, wrong, other = (
        rows[status] for status in ("0x00000058", "0x00000014", "0x0000000B", "other")
    )
    assert (throttled["action"], throttled["attempts"], throttled["spacing_s"]) == ("throttled", None, [1.0, 1.0])
    assert (queue_full["attempts"], queue_full["spacing_s"], queue_full["until"]) == (None, [1.0, 375.0], "validity")
    assert (wrong["attempts"], wrong["until"]) == (1, "at once")
    assert (other["action"], other["attempts"]) == ("bounded", 3)
    assert "0x00000000" not in rows


def test_what_an_endpoint_says_otherwise_stands_in_the_table_under_what_holds_for_the_others():
    own = {"north": {"0x58": "later", "0x45F": "hold"}, "south": {"88": "fail"}}
    rows = table(retry_s=1.0, tries_max=3, endpoints=own)
    throttled = [row for row in rows if row["command_status"] == "0x00000058"]
    assert [(row["endpoint"], row["action"], row["attempts"]) for row in throttled] == [
        (None, "throttled", None), ("north", "later", None), ("south", "fail", 1),
    ]  # fmt: skip
    vendors = [row for row in rows if row["command_status"] == "0x0000045F"]
    assert [(row["endpoint"], row["action"]) for row in vendors] == [(None, "bounded"), ("north", "hold")]
    assert rows[-1]["command_status"] == "other"


def test_the_table_and_the_pump_say_the_same_of_every_status():
    for row in table(retry_s=1.0, tries_max=3)[:-1]:
        assert row["action"] == action_of(int(row["command_status"], 0)).name.lower()
