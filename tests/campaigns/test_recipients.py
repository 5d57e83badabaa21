"""Recipients by rank: members, decisions, states, times and message_ids as the ledger and its log have them."""

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign
from dispatcher.campaigns.life import cancel_campaign, start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.recipients import recipients
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    EditCampaign,
    EraseMember,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.members.erase import erase_member
from dispatcher.records.keys import parse_public_id, public_member_id
from dispatcher.records.states import Decision, State
from dispatcher.store.layout import BLOCK
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, by, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do
from tests.segments.crowd import new_crowd, settle

STEP = 2  # every other member is there
MEMBERS = STEP * (BLOCK + 1_000)  # so that ranks pass a chunk's end within a block
PHONE = 4915100000000


@pytest.fixture
def store(store):
    tenant = new_crowd(store)
    settle(store, tenant, {no: {"phone": PHONE + no, "live": True} for no in range(0, MEMBERS, STEP)}, {}, MEMBERS)
    return store


@pytest.fixture
def campaign(store) -> int:
    reply = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP"))
    campaign = parse_public_id("cmp", reply["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    # another campaign's log comes before, so that positions are not from 0
    log(store, campaign + 1, NOW_MS, claim(0, [1] * 7))
    log_begins(store, campaign)
    return campaign


def listed(store, campaign: int, tenant: int = 1, **asked):
    with store.snapshot() as view:
        return recipients(view, tenant, campaign, **asked)


def test_one_recipient_has_everything_that_is_known_of_it(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [1, 3]))
    log(
        store,
        campaign,
        NOW_MS + 2_000,
        record(ACCEPTED, 0, message_id=b"other"),
        record(ACCEPTED, 1, part=1, message_id=b"second"),
        record(ACCEPTED, 1, part=0, message_id=b"0A1B2C3D4E"),
        record(ACCEPTED, 1, part=2, message_id=b"third"),
    )
    log(
        store,
        campaign,
        NOW_MS + 9_000,
        *(record(RECEIPT, 1, part=part, state=State.DELIVERED) for part in range(3)),
    )
    assert listed(store, campaign, after_rank=0, limit=1) == [
        {
            "member": public_member_id(STEP),
            "msisdn": f"+{PHONE + STEP}",
            "rank": 1,
            "group": None,
            "decision": "sent",
            "state": "delivered",
            "parts": 3,
            "tries": 1,
            "error": None,
            "submitted_at": "2026-09-21T14:13:20.000Z",
            "final_at": "2026-09-21T14:13:29.000Z",
            "message_id": "0A1B2C3D4E",
        }
    ]


def test_one_never_claimed_is_undecided_and_has_no_times(store, campaign):
    (one,) = listed(store, campaign, limit=1)
    assert (one["decision"], one["state"], one["parts"], one["tries"]) == ("undecided", "unsent", 0, 0)
    assert one["submitted_at"] is one["final_at"] is one["message_id"] is one["error"] is None


def test_pages_meet_every_recipient_once_over_blocks_and_chunks(store, campaign):
    rows, after = [], None
    while page := listed(store, campaign, after_rank=after, limit=4_000):
        rows += page
        after = page[-1]["rank"]
    assert by(rows, "rank") == list(range(MEMBERS // STEP))
    assert by(rows, "member") == [public_member_id(no) for no in range(0, MEMBERS, STEP)]


def test_only_those_of_a_state_or_decision_where_asked(store, campaign):
    last = MEMBERS // STEP - 1
    log(store, campaign, NOW_MS, claim(0, [1, 1, Decision.OPTED_OUT, 1]), claim(last, [1]))
    log(
        store,
        campaign,
        NOW_MS,
        *(record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in (1, last)),
        record(REFUSED, 3, status=0x0B),
    )
    assert by(listed(store, campaign, state=State.ACCEPTED), "rank") == [1, last]
    assert by(listed(store, campaign, state=State.ACCEPTED, after_rank=1), "rank") == [last]
    assert by(listed(store, campaign, state=State.ACCEPTED, limit=1), "message_id") == ["1"]
    assert by(listed(store, campaign, decision=Decision.OPTED_OUT), "rank") == [2]
    assert by(listed(store, campaign, decision=Decision.SENT, state=State.FAILED), "error") == [0x0B]
    assert listed(store, campaign, decision=Decision.OPTED_OUT, state=State.ACCEPTED) == []
    assert by(listed(store, campaign, decision=Decision.UNDECIDED, limit=2), "rank") == [4, 5]
    assert by(listed(store, campaign, state=State.UNSENT, limit=2), "rank") == [2, 4]


def test_the_undecided_of_a_cancelled_campaign_are_cancelled(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [1]))
    do(store, cancel_campaign, CancelCampaign(campaign=campaign))
    assert by(listed(store, campaign, limit=3), "decision") == ["sent", "cancelled", "cancelled"]
    assert by(listed(store, campaign, decision=Decision.CANCELLED, limit=2), "rank") == [1, 2]
    assert listed(store, campaign, decision=Decision.UNDECIDED) == []


def test_an_erased_member_keeps_its_line_without_its_number(store, campaign):
    do(store, erase_member, EraseMember(member_no=0))
    assert by(listed(store, campaign, limit=2), "msisdn") == [None, f"+{PHONE + STEP}"]


def test_a_message_id_whose_log_is_gone_is_null(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [1]))
    log(store, campaign, NOW_MS, record(ACCEPTED, 0, message_id=b"abc"))
    with store.begin_write() as view:
        view.txn.drop(view.tables["outcome_log"], delete=False)
    assert by(listed(store, campaign, limit=1), "message_id") == [None]


def test_a_draft_changed_since_its_preview_and_another_tenant_have_no_recipients(store, campaign):
    reply = do(store, create_campaign, CreateCampaign(title="May", text="Hi"))
    draft = parse_public_id("cmp", reply["id"])
    do(store, preview_campaign, PreviewCampaign(campaign=draft))
    assert len(listed(store, draft, limit=2)) == 2
    do(store, edit_campaign, EditCampaign(campaign=draft, changes={"text": "Bye"}))
    assert listed(store, draft) == []
    assert listed(store, campaign, tenant=2) == []
