"""Progress adds up whatever happened, and says what each counter means."""

import random

import pytest

from dispatcher.campaigns.campaign import create_campaign, mark
from dispatcher.campaigns.life import cancel_campaign, start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.progress import progress
from dispatcher.control.commands import CancelCampaign, CreateCampaign, PreviewCampaign, StartCampaign
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import CampaignState, Decision, State
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, RELEASED, RETRY, UNCERTAIN, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do
from tests.segments.crowd import new_crowd, settle

AUDIENCE = 20_000  # two chunks of ranks


@pytest.fixture
def crowd(store):
    tenant = new_crowd(store)
    settle(store, tenant, {no: {"phone": 4915100000000 + no, "live": True} for no in range(AUDIENCE)}, {}, AUDIENCE)
    return store


def drafted(store, **parts) -> int:
    command = CreateCampaign(**{"title": "Spring", "text": "Hi", "sender": "SHOP", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def started(store, **parts) -> int:
    campaign = drafted(store, **parts)
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    log_begins(store, campaign)
    return campaign


def seen(store, campaign: int, tenant: int = 1, **asked):
    with store.snapshot() as view:
        return progress(view, tenant, campaign, **asked)


def adds_up(answer) -> bool:
    settled = ("delivered", "failed", "expired", "unknown", "no_receipt", "uncertain")
    return (
        answer["audience"] == answer["unsent"] + sum(answer["skipped"].values()) + answer["sent"]
        and answer["sent"] == answer["pending"] + sum(answer[name] for name in settled)
        and answer["pending"] == answer["in_flight"] + answer["retry_wait"] + answer["awaiting_receipt"]
    )


def test_whoever_waits_for_their_own_hours_is_told_when_the_first_of_them_come(crowd):
    campaign = started(crowd)
    opens_ms = NOW_MS + 3_600_000
    waits = {"per_s": 0, "waiting": AUDIENCE, "opens_ms": opens_ms, "limit": "quiet"}
    answer = seen(crowd, campaign, live=waits, now_ms=NOW_MS)
    assert (answer["waiting_until"], answer["eta_s"]) == ("2026-09-21T15:13:20.000Z", 3_600)
    assert seen(crowd, campaign, live={**waits, "per_s": 0.1}, now_ms=NOW_MS)["eta_s"] == 3_600, "a pace that fades"
    some = {**waits, "waiting": 3, "limit": "endpoint_rate"}
    assert seen(crowd, campaign, live=some, now_ms=NOW_MS)["waiting_until"] is None, "the others are being sent to"


def test_before_the_first_claim_everyone_is_unsent(crowd):
    campaign = started(crowd)
    answer = seen(crowd, campaign)
    assert (answer["state"], answer["audience"], answer["unsent"], answer["sent"]) == ("running", AUDIENCE, AUDIENCE, 0)
    assert answer["started_at"] == "2026-09-21T14:13:20.000Z"
    assert adds_up(answer)


def test_a_draft_without_preview_has_no_audience(crowd):
    answer = seen(crowd, drafted(crowd))
    assert (answer["audience"], answer["unsent"], answer["started_at"]) == (0, 0, None)


def test_each_outcome_is_counted_under_its_name(crowd):
    campaign = started(crowd)
    log(crowd, campaign, NOW_MS, claim(0, [1, 1, 1, 1, 1, 2, Decision.OPTED_OUT, Decision.NO_VALUE, 1, 1]))
    log(
        crowd,
        campaign,
        NOW_MS + 50,
        *(record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in (0, 1, 5)),
        record(ACCEPTED, 5, part=1, message_id=b"5b"),
        record(REFUSED, 2, status=0x0B),
        record(RETRY, 3, status=0x58),
        record(UNCERTAIN, 4, state=2),
        record(RELEASED, 9),
        record(RECEIPT, 0, state=State.DELIVERED),
    )
    answer = seen(crowd, campaign)
    assert adds_up(answer)
    expected = {
        "skipped": {"opted_out": 1, "no_value": 1}, "sent": 7, "unsent": AUDIENCE - 9, "in_flight": 1, "retry_wait": 1,
        "awaiting_receipt": 2, "pending": 4, "delivered": 1, "failed": 1, "expired": 0, "uncertain": 1,
        "accepted": 3, "parts_accepted": 4, "retries": 1, "resent": 0, "settled_by_number": 0,
    }  # fmt: skip
    assert expected == {name: answer[name] for name in expected}


def test_without_receipts_accepted_is_the_end(crowd):
    campaign = started(crowd, receipts=False)
    log(crowd, campaign, NOW_MS, claim(0, [1, 1]), record(ACCEPTED, 0, message_id=b"a"))
    answer = seen(crowd, campaign)
    assert (answer["awaiting_receipt"], answer["no_receipt"], answer["pending"]) == (0, 1, 1)
    assert adds_up(answer)


def test_the_unsent_of_a_cancelled_campaign_are_skipped(crowd):
    campaign = started(crowd)
    log(crowd, campaign, NOW_MS, claim(0, [1, Decision.SUPPRESSED]))
    do(crowd, cancel_campaign, CancelCampaign(campaign=campaign))
    answer = seen(crowd, campaign, live={"per_s": 10})
    assert (answer["unsent"], answer["skipped"]) == (0, {"suppressed": 1, "cancelled": AUDIENCE - 2})
    assert (answer["in_flight"], answer["eta_s"]) == (1, None)
    assert answer["finished_at"] is not None
    assert adds_up(answer)


def test_the_live_rate_gives_the_time_that_is_left(crowd):
    campaign = started(crowd)
    assert seen(crowd, campaign)["eta_s"] is None
    assert seen(crowd, campaign, live={"per_s": 0})["eta_s"] is None
    answer = seen(crowd, campaign, live={"per_s": 6_000.0}, now_ms=NOW_MS + 7)
    assert (answer["per_s"], answer["eta_s"], answer["as_of"]) == (6_000.0, 4, "2026-09-21T14:13:20.007Z")
    with crowd.begin_write() as view:
        view.apply(mark(view, 1, campaign, CampaignState.PAUSED, NOW_MS, "dispatcher"))
    assert seen(crowd, campaign, live={"per_s": 6_000.0})["eta_s"] is None


def test_another_tenants_campaign_has_no_progress(crowd):
    assert seen(crowd, started(crowd), tenant=2) is None


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_it_adds_up(crowd, seed):
    draw = random.Random(seed)
    campaign = started(crowd, receipts=bool(seed % 2))
    rank = 0
    for _ in range(30):
        records = []
        for _ in range(draw.randrange(1, 4)):
            many = [
                draw.choice([1, 1, 1, 2, 3, Decision.OPTED_OUT, Decision.TEXT_GREW]) for _ in range(draw.randrange(900))
            ]
            many = many[: AUDIENCE - rank]
            if many:
                records.append(claim(rank, many))
            rank += len(many)
        for _ in range(draw.randrange(200)):
            kind = draw.choice([ACCEPTED, ACCEPTED, ACCEPTED, REFUSED, RETRY, RELEASED, UNCERTAIN, RECEIPT, RECEIPT])
            state = draw.choice([State.DELIVERED, State.FAILED, State.EXPIRED]) if kind == RECEIPT else 2
            records.append(record(kind, draw.randrange(rank + 1), part=draw.randrange(3), state=state))
        log(crowd, campaign, NOW_MS, *records)
        answer = seen(crowd, campaign)
        assert adds_up(answer), answer
