"""What a preview promises beside the counts: arms and the held out, time and what limits it, values that cost a part."""

from typing import Any

import pytest

from dispatcher.campaigns.arms import WHICH_EXCEPTIONS, arms_of
from dispatcher.campaigns.campaign import bitmap_key, create_campaign, load
from dispatcher.campaigns.freeze import freeze_row
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.wording import register_signature
from dispatcher.control.commands import (
    AddSuppression,
    CreateCampaign,
    EditTenant,
    Envelope,
    PreviewCampaign,
    RecordConsents,
    RegisterSignature,
)
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.members.consents import record_consents
from dispatcher.members.suppression import add_suppression
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store
from dispatcher.tenants.edit import edit_tenant
from dispatcher.text.coding import Coding
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

ARMS = [{"name": "A", "share": 50, "text": "Hi {name|you}"}, {"name": "B", "share": 50, "text": "x" * 161}]


@pytest.fixture
def shop(store):
    """Twenty members; the last two have long names."""
    new_shop(store)
    for i in range(20):
        new_member(store, 4915100000001 + i, name="Ann" if i < 18 else f"Bartholomew the {i}th of his name")
    return store


def drafted(store: Store, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Sale", "text": "Hi {name|you}", "sender": "SHOP", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def previewed(
    store: Store, campaign: int, rate: int = 0, coding: Coding | None = None, window_rate: int = 0
) -> dict[str, Any]:
    with store.begin_write() as view:
        envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS)
        changes, reply = preview_campaign(
            view, PreviewCampaign(campaign=campaign), envelope, rate, coding, window_rate=window_rate
        )
        view.apply(changes)
    return reply


def test_arms_and_the_held_out_are_counted_after_the_other_guards(shop):
    do(shop, add_suppression, AddSuppression(numbers=[f"+{4915100000001 + i}" for i in range(6)]))
    campaign = drafted(shop, arms=ARMS, holdout={"percent": 20})
    seen = previewed(shop, campaign)
    assert seen["matched"] == 20 == seen["will_send"] + sum(seen["skipped"].values())
    assert seen["skipped"]["suppressed"] == 6, "whoever is suppressed is not held out"
    assert seen["held_out"] == seen["skipped"]["holdout"] <= 4
    assert sum(seen["by_arm"].values()) == seen["will_send"]
    assert seen["parts"] == {"1": seen["by_arm"]["A"], "2": seen["by_arm"]["B"]}
    assert {sample["arm"] for sample in seen["samples"]} == {"A", "B"}
    with shop.snapshot() as view:
        assert arms_of(load(view, 1, campaign), campaign) is not None, "the start deals as it was shown"


def test_a_second_preview_counts_by_its_own_deal_and_not_by_what_the_first_one_kept(shop):
    for i in range(20):
        new_member(shop, 4915100000001 + i, tier="gold" if i % 3 else "basic")
    campaign = drafted(shop, arms=ARMS, stratify="tier")
    previewed(shop, campaign)
    with shop.snapshot() as view:
        assert view.get("bitmaps", bitmap_key(campaign, WHICH_EXCEPTIONS, 0)), "strata make exceptions"
    for i in range(20):
        new_member(shop, 4915100000001 + i, tier="gold", name="Bartholomew")
    with shop.snapshot() as view:
        frozen = freeze_row(view, 1, load(view, 1, campaign), NOW_MS, campaign)
    previewed(shop, campaign)
    with shop.snapshot() as view:
        assert view.get("bitmaps", bitmap_key(campaign, WHICH_EXCEPTIONS, 0)) is None, "one stratum is the whole"
        everybody = (0xFFFFF).to_bytes(BITMAP_OCTETS, "little")
        split = arms_of(load(view, 1, campaign), campaign).split(view, 1, 0, everybody)
    assert frozen.passed == [[int.from_bytes(bits, "little") for bits in split.arms]]


def test_the_rest_that_waits_for_a_winner_costs_as_its_dearest_text(shop):
    campaign = drafted(shop, arms=ARMS, winner={"by": "delivered", "after_s": 3600, "test_percent": 20})
    seen = previewed(shop, campaign)
    assert (seen["will_send"], seen["billed_parts"]) == (20, 2 + 2 * 2 + 16 * 2)
    assert any("winning text" in warning for warning in seen["warnings"])


def test_values_that_push_a_message_into_another_part_are_named(shop):
    seen = previewed(shop, drafted(shop, text="Dear {name|you}, " + "we are glad to have you. " * 5 + "Come soon"))
    assert seen["parts"] == {"1": 18, "2": 2}
    assert [(one["field"], one["parts"], one["without"], one["members"]) for one in seen["dearer"]] == [
        ("name", 2, 1, 1),
        ("name", 2, 1, 1),
    ]
    assert {one["value"] for one in seen["dearer"]} == {f"Bartholomew the {i}th of his name" for i in (18, 19)}
    assert previewed(shop, drafted(shop))["dearer"] == []


@pytest.mark.parametrize(
    ("parts", "tenant", "rate", "limit", "seconds"),
    [
        ({}, {}, 0, None, None),
        ({}, {}, 10, "endpoint_rate", 2),
        ({}, {"rate": 4}, 10, "tenant_rate", 5),
        ({"rate": 2}, {"rate": 4}, 10, "campaign_rate", 10),
        ({"schedule": {"spread_over_s": 600}}, {}, 10, "spread", 600),
        ({"rate": 1, "text": "x" * 161}, {}, 10, "campaign_rate", 40),
        ({"arms": ARMS, "winner": {"by": "delivered", "after_s": 60, "test_percent": 20}}, {}, 10, "winner", 63),
    ],
)
def test_the_eta_names_what_limits_it(shop, parts, tenant, rate, limit, seconds):
    if tenant:
        do(shop, edit_tenant, EditTenant(changes=tenant))
    eta = previewed(shop, drafted(shop, **parts), rate)["eta"]
    assert eta["limit"] == limit
    if seconds is None:
        assert eta["end"] is None
    else:
        assert eta["start"] == "2026-09-21T14:13:20.000Z"
        assert eta["end"][14:19] == f"{13 + (20 + seconds) // 60:02}:{(20 + seconds) % 60:02}"


def test_where_no_contract_limits_the_windows_do(shop):
    seen = previewed(shop, drafted(shop), window_rate=4)["eta"]
    assert (seen["limit"], seen["parts_per_s"], seen["end"]) == ("bind_window", 4, "2026-09-21T14:13:25.000Z")
    assert previewed(shop, drafted(shop), 2, window_rate=4)["eta"]["limit"] == "endpoint_rate"


def test_a_window_of_the_day_moves_the_end_to_another_day(shop):
    window = {"from": "09:00", "to": "16:14"}  # it is 16:13:20 in Berlin
    eta = previewed(shop, drafted(shop, rate=1, text="x" * 161 * 3, max_parts=4, schedule={"window": window}))["eta"]
    # 80 parts: 40 s of the window are left, 40 s go out next morning
    assert (eta["limit"], eta["end"]) == ("window", "2026-09-22T07:00:40.000Z")


def test_the_parts_of_those_who_wait_are_what_takes_time_once_their_hours_begin(shop):
    do(shop, edit_tenant, EditTenant(changes={"market_profile": "cn"}))
    new_member(shop, 12125550100)  # it is 10:13 in New York and 16:13 in Berlin
    late = {"at": "2026-09-22T00:00", "zone": "UTC"}  # 20:00 and 02:00
    campaign = drafted(shop, purpose="care", signature="Shop", text="x" * 190, rate=1, schedule=late)
    do(shop, register_signature, RegisterSignature(text="Shop"))
    seen = previewed(shop, campaign)
    assert (seen["parts"], seen["waiting"]) == ({"3": 21}, 20)
    assert (seen["eta"]["limit"], seen["eta"]["end"]) == ("quiet", "2026-09-22T06:01:00.000Z")


def test_only_who_will_be_sent_to_waits(shop):
    do(shop, edit_tenant, EditTenant(changes={"market_profile": "fr"}))
    said = [{"number": f"+{4915100000001 + i}", "purpose": "marketing", "source": "till"} for i in range(20)]
    do(shop, record_consents, RecordConsents(consents=said), at_ms=NOW_MS - 1)
    night = {"at": "2026-09-22T03:00", "zone": "UTC"}
    seen = previewed(shop, drafted(shop, text="Hi {city}", schedule=night))
    assert (seen["will_send"], seen["skipped"], seen["waiting"]) == (0, {"no_value": 20}, 0)
    assert seen["waiting_until"] == [] and not any("wait" in warning for warning in seen["warnings"])
    seen = previewed(shop, drafted(shop, holdout={"size": 5}, schedule=night))
    assert (seen["will_send"], seen["held_out"], seen["waiting"]) == (15, 5, 15)


def test_parts_are_those_of_the_endpoints_way_with_texts(shop):
    text = "x" * 153 + "y" * 7
    assert previewed(shop, drafted(shop, text=text))["parts"] == {"1": 20}
    assert previewed(shop, drafted(shop, text=text), coding=Coding(default_alphabet="latin1"))["parts"] == {"2": 20}


def test_an_endpoint_that_makes_look_alikes_shows_them_whatever_the_campaign_asks(shop):
    seen = previewed(shop, drafted(shop, text="It’s " + "x" * 80), coding=Coding(transliterate=True))
    assert seen["parts"] == {"1": 20}
    assert seen["look_alikes"] == {"changed": {"’": "'"}, "recipients": 20, "parts_before": 40, "parts_after": 20}
    assert previewed(shop, drafted(shop, text="It’s"))["look_alikes"] is None


def test_an_endpoint_without_ucs2_skips_what_it_cannot_say_and_the_preview_names_the_characters(shop):
    seen = previewed(shop, drafted(shop, text="It’s 日"), coding=Coding(ucs2=False))
    assert (seen["will_send"], seen["skipped"]) == (0, {"no_alphabet": 20})
    assert any("no UCS-2 and has no “’”, “日”; look-alikes" in warning for warning in seen["warnings"])
    spared = previewed(shop, drafted(shop, text="It’s"), coding=Coding(ucs2=False, transliterate=True))
    assert (spared["will_send"], spared["look_alikes"]["recipients"]) == (20, 20)
