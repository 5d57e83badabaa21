"""message_ids of all parts: found beside the first answer, or far from it while the log may be read that far."""

from __future__ import annotations

import pytest

from dispatcher.store import part_ids
from dispatcher.store.part_ids import BESIDE, PartIds
from dispatcher.store.trail import Trail
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, log_begins, record

CAMPAIGN, OTHER, AT_MS = 7, 9, 1_790_000_000_000


@pytest.fixture
def store(store):
    for campaign in (CAMPAIGN, OTHER):
        log_begins(store, campaign)
    log(store, CAMPAIGN, AT_MS, claim(0, [3, 1, 2]))
    return store


def ids(store, rank: int, parts: int, first: str | None, look: Trail | None = None) -> list[str | None]:
    with store.snapshot() as view:
        return PartIds(CAMPAIGN).of(look or Trail(view), rank, parts, first, AT_MS, None)


def test_answers_of_the_same_commit_and_of_those_beside_it_are_found(store):
    log(store, CAMPAIGN, AT_MS + 10, record(ACCEPTED, 0, part=2, message_id=b"c"))
    log(store, OTHER, AT_MS + 15, record(ACCEPTED, 0, part=1, message_id=b"not mine"))
    log(store, CAMPAIGN, AT_MS + 20, record(ACCEPTED, 0, message_id=b"a"), record(ACCEPTED, 2, message_id=b"x"))
    log(store, CAMPAIGN, AT_MS + 30, record(ACCEPTED, 2, part=1, message_id=b"y\0"))
    log(store, CAMPAIGN, AT_MS + 40, record(ACCEPTED, 0, part=1, message_id=b"b"))
    assert ids(store, 0, 3, "a") == ["a", "b", "c"]
    assert ids(store, 2, 2, "x") == ["x", "y"]


def test_an_answer_that_is_far_is_found_as_long_as_the_log_may_be_read(store):
    log(store, CAMPAIGN, AT_MS + 20, record(ACCEPTED, 2, message_id=b"x"))
    for ms in range(BESIDE + 1):
        log(store, CAMPAIGN, AT_MS + 100 + ms, record(RECEIPT, 1, state=6))
    log(store, CAMPAIGN, AT_MS + 60_000, record(ACCEPTED, 2, part=1, message_id=b"y"))
    assert ids(store, 2, 2, "x") == ["x", "y"]
    with store.snapshot() as view:
        assert ids(store, 2, 2, "x", Trail(view, left=0)) == ["x", None]


def test_a_later_part_is_known_though_the_first_was_never_accepted(store):
    log(store, CAMPAIGN, AT_MS + 20, record(ACCEPTED, 2, part=1, message_id=b"y"))
    assert ids(store, 2, 2, None) == [None, "y"]


def test_what_was_read_is_kept_for_neighbours_and_bounded(store, monkeypatch):
    monkeypatch.setattr(part_ids, "VALUES_KEPT", 2)
    log(store, CAMPAIGN, AT_MS + 1, claim(10, [2] * 20))
    for rank in range(10, 30):
        log(store, CAMPAIGN, AT_MS + rank, record(ACCEPTED, rank, message_id=b"%da" % rank))
        log(store, CAMPAIGN, AT_MS + rank, record(ACCEPTED, rank, part=1, message_id=b"%db" % rank))
    found = PartIds(CAMPAIGN)
    with store.snapshot() as view:
        for rank in range(10, 30):
            assert found.of(Trail(view), rank, 2, f"{rank}a", AT_MS, None) == [f"{rank}a", f"{rank}b"]
            assert found.values_kept <= 2
