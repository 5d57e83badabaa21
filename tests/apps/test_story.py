"""A person's messages: what was decided and why, every part, attempt and receipt, and what was written back."""

from __future__ import annotations

import pytest

from dispatcher.apps.reports.story import messages
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.contacts import messages_of
from dispatcher.campaigns.life import cancel_campaign, start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import CancelCampaign, CreateCampaign, PreviewCampaign, StartCampaign
from dispatcher.records.changes import Changes
from dispatcher.records.keys import new_id, parse_public_id, public_id, public_member_id
from dispatcher.records.states import Decision, State
from dispatcher.store.endpoints import number_endpoints
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.replies import put_reply
from dispatcher.store.values import pack
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, RETRY, UNCERTAIN, by, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

WHO = 4915100000000


@pytest.fixture
def store(store):
    new_shop(store)
    for i in range(3):
        new_member(store, WHO + i)
    with store.begin_write() as view:
        view.apply(number_endpoints(view, ["main", "spare"]))
    return store


def started(store, at_ms: int = NOW_MS) -> int:
    shown = do(store, create_campaign, CreateCampaign(title=f"Of {at_ms}", text="Hi", sender="SHOP"), at_ms=at_ms)
    campaign = parse_public_id("cmp", shown["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=at_ms)
    log_begins(store, campaign)
    return campaign


def told(store, member_no: int, **asked):
    with store.snapshot() as view:
        return messages(view, 1, member_no, NOW_MS + 10**9, **asked)


def test_a_message_of_two_parts_is_told_from_its_claim_to_its_receipts(store):
    campaign = started(store)
    log(store, campaign, NOW_MS, claim(0, [1, 2, Decision.OPTED_OUT]))
    log(store, campaign, NOW_MS + 100, record(RETRY, 1, status=0x58), record(ACCEPTED, 1, part=1, message_id=b"0B"))
    log(store, campaign, NOW_MS + 1_500, claim(1, [2], again=1))
    log(store, campaign, NOW_MS + 1_700, record(ACCEPTED, 1, message_id=b"0A"))
    log(store, campaign, NOW_MS + 9_000, *(record(RECEIPT, 1, part=p, state=State.DELIVERED) for p in (0, 1)))
    found = told(store, 1)
    assert found["complete"]
    (one,) = found["data"]
    assert (one["campaign"], one["decision"], one["why"], one["state"]) == (
        public_id("cmp", campaign), "sent", None, "delivered",
    )  # fmt: skip
    assert one["parts"] == [
        {
            "part": 1, "state": "delivered", "message_id": "0A",
            "accepted_at": "2026-09-21T14:13:21.700Z", "final_at": "2026-09-21T14:13:29.000Z",
        },
        {
            "part": 2, "state": "delivered", "message_id": "0B",
            "accepted_at": "2026-09-21T14:13:20.100Z", "final_at": "2026-09-21T14:13:29.000Z",
        },
    ]  # fmt: skip
    assert [step["what"] for step in one["steps"]] == [
        "claimed", "refused for now", "accepted", "claimed", "accepted", "receipt", "receipt",
    ]  # fmt: skip
    assert one["steps"][0] == {
        "at": "2026-09-21T14:13:20.000Z", "what": "claimed", "parts": [1, 2], "endpoint": "main",
    }  # fmt: skip
    assert one["steps"][1]["command_status"] == "0x00000058"
    assert one["steps"][3]["parts"] == [1]


def test_whoever_was_not_sent_to_is_told_why(store):
    campaign = started(store)
    log(store, campaign, NOW_MS, claim(0, [1, Decision.HOLDOUT]))
    log(store, campaign, NOW_MS, record(UNCERTAIN, 0, state=2))
    (held,) = told(store, 1)["data"]
    assert (held["decision"], held["why"]) == ("holdout", "held out, to compare with those who were sent to")
    assert held["steps"] == [{"at": "2026-09-21T14:13:20.000Z", "what": "skipped", "decision": "holdout"}]
    (lost,) = told(store, 0)["data"]
    assert (lost["state"], lost["why"]) == ("uncertain", "it may have arrived: its answer was lost")
    assert lost["steps"][-1]["why"] == "the bind was lost"
    do(store, cancel_campaign, CancelCampaign(campaign=campaign))
    (late,) = told(store, 2)["data"]
    assert (late["decision"], late["why"], late["parts"]) == ("cancelled", "the campaign was cancelled first", [])


def test_what_is_only_planned_is_no_part_of_it(store):
    draft = do(store, create_campaign, CreateCampaign(title="Later", text="Hi", sender="SHOP"))
    campaign = parse_public_id("cmp", draft["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    with store.snapshot() as view:
        assert (told(store, 1)["data"], list(messages_of(view, 1, 1))) == ([], [])
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert [one["why"] for one in told(store, 1)["data"]] == ["not decided yet"]


def test_a_reply_stands_with_the_last_message_before_it(store):
    first, second = started(store), started(store, NOW_MS + 3_600_000)
    log(store, first, NOW_MS + 1_000, claim(0, [1, 1, 1]), record(ACCEPTED, 1, message_id=b"1"))
    log(store, second, NOW_MS + 3_601_000, claim(0, [1, 1, 1]), record(REFUSED, 1, status=0x0B))
    changes = Changes()
    for at_ms, member_no, text in ((NOW_MS + 60_000, 1, "yes"), (NOW_MS + 7_200_000, 1, "no"), (NOW_MS + 8, 2, "?")):
        number = new_id(at_ms, 0)
        put_reply(changes, 1, number, member_no, at_ms, text)
        changes.put("inbound", TENANT_U64.pack(1, number), pack({"text": text, "from": "x", "at_ms": at_ms}))
    store.apply(changes)
    data = told(store, 1)["data"]
    assert [one["campaign"] for one in data] == [public_id("cmp", second), public_id("cmp", first)]
    assert [by(one["replies"], "text") for one in data] == [["no"], ["yes"]]
    assert (data[0]["state"], data[0]["error"]) == ("failed", 0x0B)


def test_pages_meet_every_campaign_once(store):
    made = [started(store, NOW_MS + 1_000 * i) for i in range(5)]
    shown, before = [], None
    while True:
        page = told(store, 2, limit=2, before=before)
        shown += by(page["data"], "campaign")
        before = page["next"]
        if before is None:
            break
    assert shown == [public_id("cmp", campaign) for campaign in reversed(made)]
    assert told(store, 99) is None
    assert told(store, 0)["data"][0]["member"] == public_member_id(0)
