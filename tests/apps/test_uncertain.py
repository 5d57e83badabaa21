"""What may have arrived: listed with its cause, and settled by a person once, whatever comes meanwhile."""

from __future__ import annotations

import pytest

from dispatcher.apps.uncertain import decide_uncertain, uncertain
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.life import cancel_campaign, start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.progress import progress
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    DecideUncertain,
    Envelope,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import State
from dispatcher.store import ledger
from dispatcher.store.endpoints import number_endpoints
from dispatcher.store.verify import verify
from tests.campaigns.log import ACCEPTED, RECEIPT, UNCERTAIN, by, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused


@pytest.fixture
def store(store):
    new_shop(store)
    for i in range(6):
        new_member(store, 4915100000000 + i)
    with store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    return store


@pytest.fixture
def campaign(store) -> int:
    shown = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP"))
    campaign = parse_public_id("cmp", shown["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    log_begins(store, campaign)
    log(store, campaign, NOW_MS, claim(0, [1, 1, 2, 1, 1, 1]))
    log(store, campaign, NOW_MS + 500, record(ACCEPTED, 0, message_id=b"x"), record(UNCERTAIN, 1, state=1))
    log(store, campaign, NOW_MS + 900, *(record(UNCERTAIN, 2, part=part, state=2, status=4) for part in (0, 1)))
    log(store, campaign, NOW_MS + 9_000, *(record(UNCERTAIN, rank, state=3) for rank in (3, 4)))
    return campaign


def listed(store, **asked):
    with store.snapshot() as view:
        return uncertain(view, 1, **asked)


def decided(store, decision: str, **asked):
    reply = do(store, decide_uncertain, DecideUncertain(decision=decision, **asked))
    with store.begin_write() as view:
        while not ledger.fold(view)[1]:
            pass
    return reply


def states(store, campaign: int):
    with store.snapshot() as view:
        found = progress(view, 1, campaign)
    return {name: found[name] for name in ("uncertain", "failed", "no_receipt", "delivered") if found[name]}


def test_each_uncertain_message_is_listed_with_its_cause_bind_and_moment(store, campaign):
    rows, following, about = listed(store)
    assert (by(rows, "rank"), following, about) == ([1, 2, 3, 4], None, {"total": 4, "campaigns": 1})
    assert by(rows, "cause") == ["timeout", "bind_lost", "kill", "kill"]
    assert (rows[1]["parts"], rows[1]["bind"], rows[1]["endpoint"]) == ([1, 2], 3, "main")
    assert rows[1]["at"] == "2026-09-21T14:13:20.900Z"
    assert rows[1]["ends_at"] == "2026-09-24T14:13:20.000Z", "its validity and a day"
    first, following, _ = listed(store, limit=3)
    rest, end, _ = listed(store, limit=3, after=following)
    assert (by(first, "rank"), by(rest, "rank"), end) == ([1, 2, 3], [4], None)


def test_a_person_says_what_became_of_one_of_some_or_of_all_of_a_cause(store, campaign):
    assert decided(store, "failed", campaign=campaign, ranks=[2])["parts"] == 2
    assert states(store, campaign) == {"uncertain": 3, "failed": 1}
    assert decided(store, "sent", campaign=campaign, cause="kill")["decided"] == 2
    assert states(store, campaign) == {"uncertain": 1, "failed": 1, "no_receipt": 2}
    log(store, campaign, NOW_MS + 60_000, record(RECEIPT, 3, state=State.DELIVERED))
    assert states(store, campaign) == {"uncertain": 1, "failed": 1, "no_receipt": 1, "delivered": 1}
    assert decided(store, "failed", campaign=campaign, before_ms=NOW_MS + 501)["decided"] == 1
    assert listed(store)[2]["total"] == 0
    with store.snapshot() as view:
        assert verify(view)["problems"] == []


def test_what_something_else_settled_stays_as_that_said(store, campaign):
    command = DecideUncertain(decision="failed", campaign=campaign, ranks=[1])
    with store.begin_write() as view:  # a receipt is in the log, and the ledger does not know yet
        changes, _ = decide_uncertain(view, command, envelope())
    log(store, campaign, NOW_MS + 10_000, record(RECEIPT, 1, state=State.DELIVERED))
    with store.begin_write() as view:
        ((_, value),) = changes.rows.items()
        later = {("outcome_log", ledger.next_position(view).to_bytes(8, "big")): value}
        changes.rows = later
        view.apply(changes)
        while not ledger.fold(view)[1]:
            pass
    assert states(store, campaign) == {"uncertain": 3, "delivered": 1}
    refusal = refused(store, decide_uncertain, command)
    assert (refusal.status, refusal.code) == (409, "not_uncertain")
    assert "delivered" in refusal.detail


def envelope() -> Envelope:
    return Envelope(tenant=1, actor="test", at_ms=NOW_MS + 20_000)


def test_a_resend_names_the_parts_for_the_dispatcher_and_is_refused_when_nothing_sends_any_more(store, campaign):
    reply = do(store, decide_uncertain, DecideUncertain(decision="resend", campaign=campaign, ranks=[2]))
    assert reply["resend"] == [[campaign, 2, 0, 2], [campaign, 2, 1, 2]]
    do(store, cancel_campaign, CancelCampaign(campaign=campaign))
    refusal = refused(store, decide_uncertain, DecideUncertain(decision="resend", campaign=campaign, ranks=[2]))
    assert (refusal.status, refusal.extra["state"]) == (409, "cancelled")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"decision": "maybe", "campaign": 1}, 422),
        ({"decision": "sent"}, 422),
        ({"decision": "sent", "campaign": 1, "cause": "rain"}, 422),
        ({"decision": "sent", "campaign": 77}, 404),
        ({"decision": "sent", "messages": ["msg_x"]}, 404),
    ],
)
def test_what_makes_no_sense_is_refused(store, asked, status):
    assert refused(store, decide_uncertain, DecideUncertain(**asked)).status == status
    assert listed(store, campaign=99)[0] == []
