"""Approval by somebody else, edits that undo it, a stop of everything, and what is made of a campaign that is over."""

from typing import Any

import pytest

from dispatcher.campaigns.campaign import LATER, campaign_json, create_campaign, edit_campaign, load, mark
from dispatcher.campaigns.clone import clone_campaign, resend_campaign
from dispatcher.campaigns.field_uses import retire_field
from dispatcher.campaigns.life import (
    approve_campaign,
    pause_campaign,
    reject_campaign,
    resume_campaign,
    start_campaign,
    submit_campaign,
)
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.stops import release_all, stop_all, stopped_json
from dispatcher.control.commands import (
    ApproveCampaign,
    CloneCampaign,
    CreateCampaign,
    EditCampaign,
    EditTenant,
    Envelope,
    PauseCampaign,
    PreviewCampaign,
    RejectCampaign,
    ReleaseAll,
    ResendCampaign,
    ResumeCampaign,
    RetireField,
    StartCampaign,
    StopAll,
    SubmitCampaign,
)
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.records.states import CampaignState, State
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.edit import edit_tenant
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused


@pytest.fixture
def shop(store):
    """Ten members; above five messages somebody else approves."""
    new_shop(store)
    for i in range(10):
        new_member(store, 4915100000001 + i, name=f"Ann {i}")
    do(store, edit_tenant, EditTenant(changes={"approval_above": 5}))
    return store


def by(store, actor: str, handler, command: Any, *, tenant: int = 1, reason: str = "", at_ms: int = NOW_MS):
    with store.begin_write() as view:
        envelope = Envelope(tenant=tenant, actor=actor, at_ms=at_ms, reason=reason)
        changes, reply = handler(view, command, envelope)
        view.apply(changes)
    return reply


def not_by(store, actor: str, handler, command: Any) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        by(store, actor, handler, command)
    return caught.value


def drafted(store, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Spring", "text": "Hi {name|friend}", "sender": "SHOP", **parts})
    return parse_public_id("cmp", by(store, "ann", create_campaign, command)["id"])


def previewed(store, campaign: int) -> str:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]


def submitted(store, **parts: Any) -> int:
    campaign = drafted(store, **parts)
    previewed(store, campaign)
    by(store, "ann", submit_campaign, SubmitCampaign(campaign=campaign))
    return campaign


def started(store, **parts: Any) -> int:
    campaign = drafted(store, **parts)
    do(store, start_campaign, StartCampaign(campaign=campaign, token=previewed(store, campaign)))
    return campaign


def row_of(store, campaign: int) -> dict[str, Any]:
    with store.snapshot() as view:
        return load(view, 1, campaign)


def test_above_the_limit_a_draft_does_not_start_and_is_told_what_to_do(shop):
    campaign = drafted(shop)
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=previewed(shop, campaign)))
    assert (refusal.status, refusal.code) == (409, "approval_required")
    assert ":submit" in refusal.detail
    assert refusal.extra == {"count": 10, "approval_above": 5}


def test_at_or_below_the_limit_nobody_is_asked(shop):
    campaign = drafted(shop, expr="everyone limit 5")
    reply = do(shop, start_campaign, StartCampaign(campaign=campaign, token=previewed(shop, campaign)))
    assert (reply["state"], reply["approval"]) == ("running", None)


def test_whoever_wrote_edited_or_submitted_it_does_not_approve_it(shop):
    campaign = drafted(shop)
    by(shop, "bob", edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May"}))
    previewed(shop, campaign)
    by(shop, "cid", submit_campaign, SubmitCampaign(campaign=campaign))
    for author in ("ann", "bob", "cid"):
        refusal = not_by(shop, author, approve_campaign, ApproveCampaign(campaign=campaign))
        assert (refusal.status, refusal.code) == (403, "own_approval")
    reply = by(shop, "dan", approve_campaign, ApproveCampaign(campaign=campaign), reason="read it")
    assert (reply["state"], reply["approval"]["actor"], reply["approval"]["count"]) == ("approved", "dan", 10)
    assert (reply["history"][-1]["actor"], reply["history"][-1]["reason"]) == ("dan", "read it")


def test_what_is_approved_starts_with_the_token_of_its_preview(shop):
    campaign = submitted(shop)
    by(shop, "dan", approve_campaign, ApproveCampaign(campaign=campaign))
    token = row_of(shop, campaign)["preview"]["token"]
    assert by(shop, "ann", start_campaign, StartCampaign(campaign=campaign, token=token))["state"] == "running"
    assert [entry["state"] for entry in row_of(shop, campaign)["history"]] == [
        "draft", "awaiting_approval", "approved", "running",
    ]  # fmt: skip


def test_nothing_starts_while_it_waits_for_its_approval(shop):
    campaign = submitted(shop)
    token = row_of(shop, campaign)["preview"]["token"]
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert (refusal.status, refusal.extra["state"]) == (409, "awaiting_approval")


@pytest.mark.parametrize("approved", [False, True])
def test_an_edit_makes_it_a_draft_again_and_takes_its_approval(shop, approved):
    campaign = submitted(shop)
    if approved:
        by(shop, "dan", approve_campaign, ApproveCampaign(campaign=campaign))
    reply = by(shop, "ann", edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May"}))
    assert (reply["state"], reply["approval"], reply["submitted"]) == ("draft", None, None)
    token = row_of(shop, campaign)["preview"]["token"]
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert refusal.code == "approval_required"


def test_a_start_whose_field_is_gone_says_which(shop):
    campaign = drafted(shop, expr="everyone limit 2")
    token = previewed(shop, campaign)
    changes = Changes()
    with shop.snapshot() as view:
        key, octets = next(
            (key, row) for key, row in view.range("fields", TENANT.pack(1)) if unpack(row)["name"] == "name"
        )
    changes.put("fields", key, pack({**unpack(octets), "name": "first_name"}))
    shop.apply(changes)
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert (refusal.status, refusal.code, refusal.extra["did_you_mean"]) == (422, "unknown_field", "first_name")


def test_a_rejection_gives_it_back_with_the_reason(shop):
    campaign = submitted(shop)
    reply = by(shop, "dan", reject_campaign, RejectCampaign(campaign=campaign), reason="no emoji please")
    assert (reply["state"], reply["history"][-1]["reason"]) == ("draft", "no emoji please")


@pytest.mark.parametrize(("more", "code"), [(0, None), (1, "approval_required")])
def test_a_count_that_grew_by_more_than_the_tenant_allows_is_approved_anew(shop, more, code):
    do(shop, edit_tenant, EditTenant(changes={"count_change_percent": 10}))
    campaign = submitted(shop)
    by(shop, "dan", approve_campaign, ApproveCampaign(campaign=campaign))
    for i in range(1 + more):
        new_member(shop, 4915100000101 + i, name="New")
    command = StartCampaign(campaign=campaign, token=previewed(shop, campaign))
    if code is None:
        assert do(shop, start_campaign, command)["audience"] == 11
    else:
        refusal = refused(shop, start_campaign, command)
        assert (refusal.code, refusal.extra["changed"]) == (code, ["count"])


def test_submit_needs_a_preview_that_holds_and_somebody_to_send_to(shop):
    campaign = drafted(shop)
    assert "no preview" in refused(shop, submit_campaign, SubmitCampaign(campaign=campaign)).detail
    previewed(shop, campaign)
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"text": "Bye"}))
    assert refused(shop, submit_campaign, SubmitCampaign(campaign=campaign)).extra == {"changed": ["text"]}
    nobody = drafted(shop, expr='tier = "gold"')
    previewed(shop, nobody)
    assert refused(shop, submit_campaign, SubmitCampaign(campaign=nobody)).code == "no_recipients"


def test_submit_and_approve_are_safe_to_repeat(shop):
    campaign = submitted(shop)
    before = row_of(shop, campaign)
    by(shop, "ann", submit_campaign, SubmitCampaign(campaign=campaign))
    assert row_of(shop, campaign) == before
    by(shop, "dan", approve_campaign, ApproveCampaign(campaign=campaign))
    before = row_of(shop, campaign)
    by(shop, "eve", approve_campaign, ApproveCampaign(campaign=campaign))
    assert row_of(shop, campaign) == before


@pytest.mark.parametrize(
    "changes", [{"approval_above": -1}, {"approval_above": True}, {"count_change_percent": "5"}, {"zone": "Mars"}]
)
def test_a_wrong_setting_of_a_tenant_is_refused_with_its_name(shop, changes):
    refusal = refused(shop, edit_tenant, EditTenant(changes=changes))
    assert (refusal.status, refusal.errors[0]["pointer"]) == (422, f"/{next(iter(changes))}")


def test_a_stop_pauses_what_runs_and_refuses_every_start_until_it_is_released(shop):
    running, paused = started(shop, expr="everyone limit 2"), started(shop, expr="everyone limit 3")
    do(shop, pause_campaign, PauseCampaign(campaign=paused))
    reply = by(shop, "ann", stop_all, StopAll(), reason="wrong price")
    assert (reply["paused"], reply["campaigns"]) == (1, [public_id("cmp", running)])
    waiting = drafted(shop, expr="everyone limit 4")
    start = StartCampaign(campaign=waiting, token=previewed(shop, waiting))
    for handler, command in ((start_campaign, start), (resume_campaign, ResumeCampaign(campaign=running))):
        refusal = refused(shop, handler, command)
        assert (refusal.status, refusal.code) == (409, "stopped")
        assert "wrong price" in refusal.detail and ":release" in refusal.detail
    reply = do(shop, release_all, ReleaseAll(resume=True))
    assert (reply["resumed"], reply["campaigns"]) == (1, [public_id("cmp", running)])
    assert row_of(shop, paused)["state"] == "paused", "a person paused it"
    assert do(shop, start_campaign, start)["state"] == "running"


def test_a_release_without_resume_leaves_what_it_paused_paused(shop):
    campaign = started(shop, expr="everyone limit 2")
    do(shop, stop_all, StopAll())
    do(shop, release_all, ReleaseAll())
    assert row_of(shop, campaign)["state"] == "paused"
    assert do(shop, resume_campaign, ResumeCampaign(campaign=campaign))["state"] == "running"


def test_the_operators_stop_holds_every_tenant_and_a_tenants_release_does_not_lift_it(shop):
    other = new_shop(shop, "Other")
    new_member(shop, 4915100009999, tenant=other, name="Zoe")
    mine = started(shop, expr="everyone limit 2")
    made = do(shop, create_campaign, CreateCampaign(title="x", text="Hi"), tenant=other)
    theirs = parse_public_id("cmp", made["id"])
    token = do(shop, preview_campaign, PreviewCampaign(campaign=theirs), tenant=other)["token"]
    do(shop, start_campaign, StartCampaign(campaign=theirs, token=token), tenant=other)
    reply = do(shop, stop_all, StopAll(), tenant=0)
    assert (reply["everywhere"], reply["paused"]) == (True, 2)
    released = do(shop, release_all, ReleaseAll(resume=True), tenant=other)
    assert (released["stopped"], released["everywhere"]) == (True, True), "the operator's stop still holds it"
    with shop.snapshot() as view:
        assert stopped_json(view, other)["everywhere"]
        assert load(view, other, theirs)["state"] == "paused"
    assert do(shop, release_all, ReleaseAll(resume=True), tenant=0)["resumed"] == 2
    assert row_of(shop, mine)["state"] == "running"


def test_a_tenants_stop_does_not_touch_another_tenant(shop):
    other = new_shop(shop, "Other")
    campaign = started(shop, expr="everyone limit 2")
    do(shop, stop_all, StopAll(), tenant=other)
    assert row_of(shop, campaign)["state"] == "running"


def test_a_clone_is_a_draft_with_the_same_words_and_without_the_time(shop):
    schedule = {"at": "2026-12-01T09:00", "window": {"from": "09:00", "to": "20:00"}, "spread_over_s": 60}
    campaign = drafted(shop, expr="visits > 3", max_parts=2, schedule=schedule)
    reply = by(shop, "bob", clone_campaign, CloneCampaign(campaign=campaign))
    assert (reply["title"], reply["state"], reply["clone_of"]) == ("Spring (copy)", "draft", public_id("cmp", campaign))
    assert (reply["expr"], reply["max_parts"], reply["authors"]) == ("visits > 3", 2, ["bob"])
    assert (reply["schedule"]["at"], reply["schedule"]["spread_over_s"]) == (None, 60)
    assert by(shop, "bob", clone_campaign, CloneCampaign(campaign=campaign, title="June"))["title"] == "June"


def test_a_clone_of_what_names_a_field_that_is_gone_says_so(shop):
    campaign = drafted(shop)
    with shop.begin_write() as view:
        view.apply(mark(view, 1, campaign, CampaignState.RUNNING, NOW_MS, "test"))
        view.apply(mark(view, 1, campaign, CampaignState.DONE, NOW_MS, "test"))
    do(shop, retire_field, RetireField(title="name"))
    refusal = refused(shop, clone_campaign, CloneCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (422, "unknown_field")


def test_a_resend_goes_to_those_whose_message_failed_or_expired_and_to_no_one_else(shop):
    do(shop, edit_tenant, EditTenant(changes={"approval_above": 0}))
    campaign = started(shop)
    log_begins(shop, campaign)
    log(shop, campaign, NOW_MS, claim(0, [1] * 10))
    log(
        shop, campaign, NOW_MS + 50,
        *(record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in range(5)),
        record(RECEIPT, 0, state=State.DELIVERED), record(RECEIPT, 1, state=State.FAILED),
        record(RECEIPT, 3, state=State.EXPIRED),
    )  # fmt: skip
    assert refused(shop, resend_campaign, ResendCampaign(campaign=campaign)).status == 409
    with shop.begin_write() as view:
        view.apply(mark(view, 1, campaign, CampaignState.DONE, NOW_MS, "test"))
    later = NOW_MS + 60_000
    reply = do(shop, resend_campaign, ResendCampaign(campaign=campaign), at_ms=later)
    assert (reply["undelivered"], reply["resend_of"], reply["state"]) == (2, public_id("cmp", campaign), "draft")
    again = parse_public_id("cmp", reply["id"])
    shown = do(shop, preview_campaign, PreviewCampaign(campaign=again), at_ms=later)
    assert [sample["text"] for sample in shown["samples"]] == ["Hi Ann 1", "Hi Ann 3"]


def test_a_resend_to_nobody_is_refused(shop):
    campaign = started(shop, expr="everyone limit 2")
    with shop.begin_write() as view:
        view.apply(mark(view, 1, campaign, CampaignState.DONE, NOW_MS, "test"))
    refusal = refused(shop, resend_campaign, ResendCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (422, "no_recipients")


def test_a_row_of_an_earlier_version_is_shown_started_and_edited(shop):
    campaign = drafted(shop, expr="everyone limit 2")
    token = previewed(shop, campaign)
    row = row_of(shop, campaign)
    old = {name: value for name, value in row.items() if name not in LATER}
    del old["preview"]["fingerprint"]["schedule"]
    changes = Changes()
    changes.put("campaigns", TENANT_U64.pack(1, campaign), pack(old))
    shop.apply(changes)
    assert campaign_json(campaign, row_of(shop, campaign))["schedule"] is None
    assert do(shop, start_campaign, StartCampaign(campaign=campaign, token=token))["state"] == "running"
