"""Each way to start a campaign wrongly: a code of its own, and words that say what to do."""

from typing import Any

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load
from dispatcher.campaigns.life import approve_campaign, start_campaign, submit_campaign
from dispatcher.campaigns.preview import TOKEN_LIVES_MS, preview_campaign
from dispatcher.campaigns.price import set_prices
from dispatcher.control.commands import (
    ApproveCampaign,
    CreateCampaign,
    EditCampaign,
    EditTenant,
    Envelope,
    PreviewCampaign,
    SetPrices,
    StartCampaign,
    SubmitCampaign,
)
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of
from dispatcher.records.keys import parse_public_id
from dispatcher.store.layout import TENANT_U16
from dispatcher.tenants.edit import edit_tenant
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused


@pytest.fixture
def shop(store):
    new_shop(store)
    for i in range(3):
        new_member(store, 4915100000001 + i, name=f"Name {i}")
    return store


def drafted(store, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Sale", "text": "Hi {name|you}", "sender": "SHOP", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def token_of(store, campaign: int) -> str:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]


def start(store, campaign: int, token: str, at_ms: int = NOW_MS) -> dict[str, Any]:
    return do(store, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=at_ms)


def refusal_of(store, campaign: int, token: str, at_ms: int = NOW_MS) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        start(store, campaign, token, at_ms)
    assert caught.value.detail, "a problem says what to do"
    return caught.value


def test_started_twice_is_one_campaign_and_another_token_starts_nothing(shop):
    campaign = drafted(shop)
    token = token_of(shop, campaign)
    start(shop, campaign, token)
    again = refusal_of(shop, campaign, token)
    assert (again.status, again.code, again.extra["can"]) == (409, "already_started", ["pause", "cancel"])
    assert "test started it at" in again.detail
    refusal = refusal_of(shop, campaign, "another")
    assert (refusal.status, refusal.code, refusal.extra["state"]) == (409, "state_conflict", "running")
    assert "pause" in refusal.extra["can"]


def test_a_token_of_an_older_preview_is_told_what_changed_since(shop):
    campaign = drafted(shop)
    first = token_of(shop, campaign)
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"text": "Another text"}))
    second = token_of(shop, campaign)
    refusal = refusal_of(shop, campaign, first)
    assert (refusal.status, refusal.extra["changed"]) == (409, ["text"]) and "text changed since" in refusal.detail
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"expr": 'phone != "+4915100000001"'}))
    token_of(shop, campaign)
    assert refusal_of(shop, campaign, second).extra["changed"] == ["expr", "canonical", "count"]
    assert "changed" not in refusal_of(shop, campaign, "never seen").extra


def test_without_approval(shop):
    do(shop, edit_tenant, EditTenant(changes={"approval_above": 2}))
    campaign = drafted(shop)
    refusal = refusal_of(shop, campaign, token_of(shop, campaign))
    assert (refusal.status, refusal.code) == (409, "approval_required")
    assert ":submit" in refusal.detail and refusal.extra == {"count": 3, "approval_above": 2}


def test_started_while_it_waits_for_its_approval(shop):
    campaign = drafted(shop)
    token = token_of(shop, campaign)
    do(shop, submit_campaign, SubmitCampaign(campaign=campaign))
    refusal = refusal_of(shop, campaign, token)
    assert (refusal.status, refusal.code, refusal.extra["state"]) == (409, "approval_required", "awaiting_approval")
    assert "test asked for it at" in refusal.detail and ":approve" in refusal.detail


def test_approved_by_its_own_author(shop):
    do(shop, edit_tenant, EditTenant(changes={"approval_above": 2}))
    campaign = drafted(shop)
    token = token_of(shop, campaign)
    do(shop, submit_campaign, SubmitCampaign(campaign=campaign))
    refusal = refused(shop, approve_campaign, ApproveCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (403, "own_approval") and "somebody else" in refusal.detail
    with shop.begin_write() as view:
        other = Envelope(tenant=1, actor="the boss", at_ms=NOW_MS)
        changes, _ = approve_campaign(view, ApproveCampaign(campaign=campaign), other)
        view.apply(changes)
    assert start(shop, campaign, token)["state"] == "running"


@pytest.mark.parametrize(
    ("at", "code", "says"),
    [
        ("2026-09-20T09:00", "schedule_in_the_past", "a later time"),
        ("2027-03-28T02:30", "schedule_missing_hour", "the next time there is"),
    ],
)
def test_a_time_that_is_past_or_that_no_clock_shows(shop, at, code, says):
    command = CreateCampaign(title="x", text="Hi", schedule={"at": at})
    refusal = refused(shop, create_campaign, command)
    assert (refusal.status, refusal.code, refusal.errors[0]["pointer"]) == (422, code, "/schedule/at")
    assert says in refusal.detail


def test_a_time_that_passed_since_the_preview(shop):
    campaign = drafted(shop, schedule={"at": "2026-09-22T09:00"})
    refusal = refusal_of(shop, campaign, token_of(shop, campaign), NOW_MS + 86_400_000)
    assert (refusal.status, refusal.code) == (422, "schedule_in_the_past")


def test_a_field_of_the_text_that_is_gone(shop):
    campaign = drafted(shop, text="Hi {city|you}")
    token = token_of(shop, campaign)
    with shop.begin_write() as view:  # an import of an older store: the API retires nothing that is named
        view.txn.delete(TENANT_U16.pack(1, fields_of(view, 1)["city"].number), db=view.tables["fields"])
    refusal = refusal_of(shop, campaign, token)
    assert (refusal.status, refusal.code) == (422, "unknown_field") and "city" in refusal.detail


def test_nobody_to_send_to(shop):
    campaign = drafted(shop, expr='tier = "gold"')
    refusal = refusal_of(shop, campaign, token_of(shop, campaign))
    assert (refusal.status, refusal.code) == (422, "no_recipients")


def test_nobody_who_said_yes(shop):
    do(shop, edit_tenant, EditTenant(changes={"market_profile": "us"}))
    campaign = drafted(shop)
    refusal = refusal_of(shop, campaign, token_of(shop, campaign))
    assert (refusal.status, refusal.code) == (422, "consent_missing") and "/v1/consents" in refusal.detail


def test_a_preview_of_yesterday(shop):
    campaign = drafted(shop)
    refusal = refusal_of(shop, campaign, token_of(shop, campaign), NOW_MS + TOKEN_LIVES_MS + 1)
    assert (refusal.status, refusal.code, refusal.extra) == (409, "state_conflict", {"ended": True})


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        ({"text": "Bye"}, ["text"]), ({"schedule": {"spread_over_s": 60}}, ["schedule"]), ({"rate": 5}, ["rate"]),
        ({"caps": [{"max": 1, "within_s": 60}]}, ["caps"]), ({"holdout": {"size": 1}}, ["holdout"]),
        ({"budget_micros": 7, "signature": "S"}, ["signature", "budget_micros"]),
    ],
)  # fmt: skip
def test_what_changed_since_the_preview_is_named(shop, parts, changed):
    campaign = drafted(shop)
    token = token_of(shop, campaign)
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes=parts))
    refusal = refusal_of(shop, campaign, token)
    assert (refusal.status, refusal.extra["changed"]) == (409, changed)
    assert "preview again" in refusal.detail


def test_a_budget_without_any_price(shop):
    campaign = drafted(shop, budget_micros=10)
    refusal = refusal_of(shop, campaign, token_of(shop, campaign))
    assert (refusal.status, refusal.code) == (422, "price_missing") and "volley price set" in refusal.detail
    do(shop, set_prices, SetPrices(prices={"": 3}), tenant=0)
    assert start(shop, campaign, token_of(shop, campaign))["state"] == "running"


@pytest.mark.parametrize(
    "parts",
    [
        {"budget_micros": -1}, {"budget_micros": True}, {"rate": -1}, {"rate": 1.5}, {"caps": [{"max": 1}]},
        {"caps": [{"max": -1, "within_s": 5}]}, {"caps": "2/7"}, {"signature": "a{b}"}, {"signature": " x "},
    ],
)  # fmt: skip
def test_guards_of_a_campaign_that_make_no_sense(shop, parts):
    refusal = refused(shop, create_campaign, CreateCampaign(title="x", text="Hi", **parts))
    assert (refusal.status, refusal.code) == (422, "invalid_campaign")
    assert [error["pointer"] for error in refusal.errors] == [f"/{name}" for name in parts]


def test_a_row_of_before_has_no_guards_of_its_own(shop):
    campaign = drafted(shop)
    with shop.snapshot() as view:
        row = load(view, 1, campaign)
    assert (row["caps"], row["budget_micros"], row["rate"], row["quote"]) == ([], None, 0, None)
