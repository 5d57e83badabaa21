"""What the market, the tenant and the lists say of each recipient: the same in a count, a preview and at claim."""

from typing import Any

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load
from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.money import guards_of
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.price import set_prices
from dispatcher.campaigns.wording import compose, register_signature, signature_in
from dispatcher.control.commands import (
    AddSuppression,
    CreateCampaign,
    DefineField,
    EditCampaign,
    EditTenant,
    ImportSuppressions,
    PreviewCampaign,
    RecordConsents,
    RegisterSignature,
    RemoveSuppression,
    SetPrices,
    StartCampaign,
)
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.members.consent import record_optout
from dispatcher.members.consents import consents_json, record_consents
from dispatcher.members.fields import define_field
from dispatcher.members.suppression import (
    add_suppression,
    check,
    found_by_hash,
    import_suppressions,
    remove_suppression,
)
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision
from dispatcher.segments.count import count
from dispatcher.store.hashed import digits_hash
from dispatcher.store.verify import find_problems
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.profile import get_profile
from tests.fakes.shop import FRENCH as NUMBERS
from tests.fakes.shop import NOW_MS, do, french_shop, new_member, refused

NOON = 1_790_074_800_000  # 2026-09-22, a Tuesday: 13:00 in Paris


@pytest.fixture
def shop(store):
    return french_shop(store)


def tenant(store, **changes: Any) -> None:
    do(store, edit_tenant, EditTenant(changes=changes))


def drafted(store, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Sale", "text": "Hi", "sender": "SHOP", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command, at_ms=NOON)["id"])


def previewed(store, campaign: int, at_ms: int = NOON) -> dict[str, Any]:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)


def yes(store, *members: int, purpose: str = "marketing", **more: Any) -> dict[str, Any]:
    words = [{"number": f"+{NUMBERS[no]}", "purpose": purpose, "source": "till", **more} for no in members]
    return do(store, record_consents, RecordConsents(consents=words), at_ms=NOON - 1)


def at_claim(store, campaign: int, members=range(6), now_ms: int = NOON) -> dict[str, set[int]]:
    """What is said of members: skip words, `waits`, `clear`."""
    with store.snapshot() as view:
        guards = Guards(view, 1, load(view, 1, campaign), campaign, since_ms=NOON)
        todo = sum(1 << member for member in members).to_bytes(BITMAP_OCTETS, "little")
        verdict = guards.of_block(view, 0, todo, now_ms)
    said = {decision.word: members_in(who) for decision, who in verdict.skips}
    return said | {"clear": members_in(verdict.clear), "waits": members_in(verdict.waits or b"")}


def members_in(bitmap: bytes) -> set[int]:
    word = int.from_bytes(bitmap, "little")
    return {member for member in range(6) if word >> member & 1}


def waterfall(store) -> dict[str, int]:
    with store.snapshot() as view:
        return {word: n for word, n in count(view, 1, "everyone", as_of_ms=NOON)["waterfall"].items() if n}


def test_only_who_said_yes_gets_marketing_where_the_market_asks_for_it(shop):
    tenant(shop, market_profile="fr")
    yes(shop, 0, 1, 2)
    campaign = drafted(shop)
    seen = previewed(shop, campaign)
    assert (seen["will_send"], seen["skipped"]) == (3, {"no_consent": 3})
    assert waterfall(shop) == {"no_consent": 3}
    assert at_claim(shop, campaign) == {"no_consent": {3, 4, 5}, "clear": {0, 1, 2}, "waits": set()}
    care = previewed(shop, drafted(shop, purpose="care"))
    assert (care["will_send"], care["skipped"]) == (6, {}), "care asks for no yes in France"


def test_a_yes_ends_with_a_stop_and_comes_back_only_with_a_later_one(shop):
    tenant(shop, market_profile="us")
    yes(shop, 0)
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, NUMBERS[0], ["marketing"], NOON + 5, "SMS: STOP"))
    early = {"number": f"+{NUMBERS[0]}", "purpose": "marketing", "source": "paper", "at_ms": NOON + 4}
    do(shop, record_consents, RecordConsents(consents=[early]), at_ms=NOON + 9)
    with shop.snapshot() as view:
        said = consents_json(view, 1, NUMBERS[0])
        assert said["now"]["marketing"]["consented_at"] is None and said["now"]["marketing"]["opted_out_at"]
        assert [word["what"] for word in said["history"]] == ["consent", "consent", "stop"], "the paper is older"
    do(shop, record_consents, RecordConsents(consents=[{**early, "at_ms": NOON + 6}]), at_ms=NOON + 9)
    with shop.snapshot() as view:
        assert consents_json(view, 1, NUMBERS[0])["now"]["marketing"]["opted_out_at"] is None
        assert list(find_problems(view)) == []


def test_several_words_of_one_number_in_one_command_are_all_kept(shop):
    words = [
        {"number": f"+{NUMBERS[0]}", "purpose": purpose, "source": "web form", "given": given}
        for purpose, given in (("marketing", True), ("care", True), ("service", False))
    ]
    assert do(shop, record_consents, RecordConsents(consents=words)) == {"given": 2, "withdrawn": 1}
    with shop.snapshot() as view:
        said = consents_json(view, 1, NUMBERS[0])
        assert [bool(said["now"][one]["consented_at"]) for one in ("marketing", "care", "service")] == [
            True,
            True,
            False,
        ]
        assert len(said["history"]) == 3 and said["history"][0]["evidence"]["source"] == "web form"
        assert list(find_problems(view)) == []


@pytest.mark.parametrize(
    ("word", "code", "pointer"),
    [
        ({"number": "12"}, "too_short", "/consents/0/number"),
        ({"purpose": "otp"}, "unknown_purpose", "/consents/0/purpose"),
        ({"source": ""}, "evidence_missing", "/consents/0/evidence/source"),
        ({"at_ms": NOON + 10**9}, "invalid_time", "/consents/0/evidence/at"),
        ({"given": "maybe"}, "invalid_value", "/consents/0/given"),
    ],
)
def test_a_consent_without_evidence_or_sense_is_refused_whole(shop, word, code, pointer):
    one = {"number": f"+{NUMBERS[0]}", "purpose": "marketing", "source": "till", **word}
    other = {"number": f"+{NUMBERS[1]}", "purpose": "marketing", "source": "till"}
    refusal = refused(shop, record_consents, RecordConsents(consents=[one, other]))
    assert refusal.status == 422 and refusal.errors[0]["pointer"] == pointer
    assert refusal.errors[0]["code"] == code or pointer.endswith("number")
    with shop.snapshot() as view:
        assert consents_json(view, 1, NUMBERS[1])["history"] == []


def test_a_member_who_comes_after_the_consent_has_it(shop):
    later = {"number": "+33612345699", "purpose": "marketing", "source": "web form"}
    do(shop, record_consents, RecordConsents(consents=[later]))
    tenant(shop, market_profile="fr")
    new_member(shop, 33612345699)
    assert previewed(shop, drafted(shop))["will_send"] == 1
    with shop.snapshot() as view:
        assert list(find_problems(view)) == []


# -- suppressions


def test_a_list_for_a_signature_holds_for_that_signature_alone(shop):
    tenant(shop, signature="Corner")
    numbers = [f"+{NUMBERS[1]}", f"+{NUMBERS[4]}"]
    assert do(shop, add_suppression, AddSuppression(numbers=numbers, signature="Corner"))["added"] == 2
    mine, other = drafted(shop), drafted(shop, signature="Bakery")
    assert previewed(shop, mine)["skipped"] == {"suppressed": 2}
    assert previewed(shop, other)["skipped"] == {}
    assert at_claim(shop, mine)["suppressed"] == {1, 4}
    with shop.snapshot() as view:
        assert check(view, 1, [numbers[0]]) == [
            {"number": numbers[0], "suppressed": False, "lists": ["signature Corner"]}
        ]
    do(shop, remove_suppression, RemoveSuppression(numbers=numbers[:1], signature="Corner"))
    assert at_claim(shop, mine)["suppressed"] == {4}


def test_a_number_whose_hash_is_listed_is_suppressed_member_or_not(shop):
    hashes = [digits_hash(number).hex() for number in (NUMBERS[2], 33612345699)]
    with shop.snapshot() as view:
        found = found_by_hash(view, 0, hashes)
    assert found["members"] == [[1, 2]]
    late = new_member(shop, 33612345698)  # between the look and the command
    more = [*hashes, digits_hash(33612345698).hex()]
    command = ImportSuppressions(hashes=more, why="robinson", **found)
    assert do(shop, import_suppressions, command, tenant=0) == {"added": 3, "already": 0}
    new_member(shop, 33612345699)
    assert previewed(shop, drafted(shop))["skipped"] == {"suppressed": 3}
    with shop.snapshot() as view:
        assert [one["lists"] for one in check(view, 1, [f"+{NUMBERS[2]}", f"+{NUMBERS[3]}"])] == [["hash"], []]
        assert list(find_problems(view)) == []
    do(shop, import_suppressions, ImportSuppressions(hashes=more, remove=True, members=[[1, 2], [1, late]]), tenant=0)
    assert previewed(shop, drafted(shop))["skipped"] == {}


def test_a_hash_that_is_none_is_refused_with_its_place(shop):
    refusal = refused(shop, import_suppressions, ImportSuppressions(hashes=["00" * 32, "xyz"]))
    assert (refusal.status, refusal.errors[0]["pointer"]) == (422, "/hashes/1")


# -- quiet hours


def test_who_sleeps_is_counted_as_waiting_and_goes_when_it_opens(shop):
    tenant(shop, market_profile="fr")
    yes(shop, *range(6))
    campaign, night = drafted(shop), NOON + 10 * 3_600_000  # 23:00
    seen = previewed(shop, campaign, night)
    assert (seen["will_send"], seen["waiting"]) == (6, 6)
    assert seen["waiting_until"] == [{"at": "2026-09-23T06:00:00.000Z", "recipients": 6}]
    assert seen["eta"]["limit"] == "quiet" and seen["eta"]["start"] == "2026-09-23T06:00:00.000Z"
    said = at_claim(shop, campaign, now_ms=night)
    assert (said["waits"], said["clear"]) == ({0, 1, 2, 3, 4, 5}, set())
    assert at_claim(shop, campaign, now_ms=night + 9 * 3_600_000)["clear"] == {0, 1, 2, 3, 4, 5}


def test_a_members_own_zone_goes_before_that_of_the_number(shop):
    do(shop, define_field, DefineField(title="zone", kind="dict"))
    tokyo = new_member(shop, 33612345607, zone="Asia/Tokyo")
    lost = new_member(shop, 33612345608, zone="Middle/Earth")
    tenant(shop, market_profile="fr", zone_field="zone")
    yes(shop, *range(6))
    words = [
        {"number": f"+{number}", "purpose": "marketing", "source": "till"} for number in (33612345607, 33612345608)
    ]
    do(shop, record_consents, RecordConsents(consents=words))
    with shop.snapshot() as view:  # 16:00 in Paris is 23:00 in Tokyo; a zone that is none is held to Paris
        campaign = drafted(shop)
        row = load(view, 1, campaign) if load(view, 1, campaign) else None
    with shop.snapshot() as view:
        row = load(view, 1, campaign)
        verdict = Guards(view, 1, row, campaign, since_ms=NOON).of_block(
            view, 0, ((1 << 8) - 1).to_bytes(BITMAP_OCTETS, "little"), NOON + 3 * 3_600_000
        )
    assert int.from_bytes(verdict.waits, "little") == 1 << tokyo
    assert int.from_bytes(verdict.clear, "little") >> lost & 1


# -- the text


@pytest.mark.parametrize(
    ("text", "composed"),
    [
        ("大家好", "【小店】大家好拒收请回复T"),
        ("【旧名】大家好", "【小店】大家好拒收请回复T"),
        ("大家好，回T退订", "【小店】大家好，回T退订"),
        ("【小店】大家好拒收请回复T", "【小店】大家好拒收请回复T"),
    ],
)
def test_a_text_says_who_it_is_from_and_how_to_refuse(text, composed):
    rule = get_profile("cn").text
    assert compose(text, rule, "marketing", "小店") == composed
    assert compose(composed, rule, "marketing", "小店") == composed, "again changes nothing"
    assert signature_in(composed, rule) == "小店"


def test_billed_parts_of_china_are_not_those_on_the_wire(shop):
    tenant(shop, market_profile="cn", signature="Shop", currency="CNY")
    do(shop, register_signature, RegisterSignature(text="Shop"))
    do(shop, set_prices, SetPrices(prices={"": 50_000}), tenant=0)
    campaign = drafted(
        shop, text="Dear customer, the autumn things are here. Come and see them, today", purpose="service"
    )
    seen = previewed(shop, campaign)
    assert seen["text"].startswith("【Shop】")
    units = len(seen["text"])
    assert 70 < units <= 134
    assert (seen["parts"], seen["billed"]) == ({"2": 6}, {"2": 6})
    assert (seen["billed_parts"], seen["cost_micros"]) == (12, 600_000)
    tenant(shop, market_profile="none")
    plain = previewed(shop, drafted(shop, text="x" * 150, purpose="service"))
    assert (plain["parts"], plain["billed"]) == ({"1": 6}, {"1": 6})
    tenant(shop, market_profile="cn")
    long = previewed(shop, drafted(shop, text="【Shop】" + "x" * 60, purpose="service"))
    assert long["billed"] == {"1": 6}


def test_a_signature_must_be_there_fit_and_be_registered(shop):
    tenant(shop, market_profile="cn")
    campaign = drafted(shop, purpose="service")
    refusal = refused(shop, preview_campaign, PreviewCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (422, "signature_missing")
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"signature": "x" * 13}))
    assert refused(shop, preview_campaign, PreviewCampaign(campaign=campaign)).code == "signature_length"
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"signature": "小店"}))
    refusal = refused(shop, preview_campaign, PreviewCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (409, "signature_unregistered")
    do(shop, register_signature, RegisterSignature(text="小店"))
    assert previewed(shop, campaign)["text"] == "【小店】Hi"


def test_a_market_that_changed_since_the_preview_ends_its_token(shop):
    campaign = drafted(shop, purpose="care")
    token = previewed(shop, campaign)["token"]
    tenant(shop, market_profile="fr")
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert (refusal.status, refusal.extra["changed"]) == (409, ["market_profile"])


def test_no_guard_costs_a_campaign_without_rules_anything(shop):
    campaign = drafted(shop)
    with shop.snapshot() as view:
        assert guards_of(view, 1, load(view, 1, campaign), campaign) is None


def test_a_guard_that_the_kernel_asks_first_is_never_answered_here(shop):
    tenant(shop, market_profile="fr", caps=[{"group": "marketing", "max": 0, "within_s": 60}])
    do(shop, add_suppression, AddSuppression(numbers=[f"+{NUMBERS[0]}"]))
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, NUMBERS[1], ["marketing"], NOW_MS, "SMS: STOP"))
    yes(shop, 2)
    campaign = drafted(shop)
    seen = previewed(shop, campaign)
    assert seen["skipped"] == {"suppressed": 1, "opted_out": 1, "no_consent": 3, "frequency_cap": 1}
    assert waterfall(shop) == seen["skipped"]
    said = at_claim(shop, campaign)
    assert said == {"no_consent": {3, 4, 5}, "frequency_cap": {2}, "clear": set(), "waits": set()}
    assert Decision.NO_CONSENT < Decision.FREQUENCY_CAP
