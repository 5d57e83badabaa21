"""Credit, budget, plan and usage: what a start costs is known before, reserved with it and settled at its end."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.campaigns import usage
from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load, mark
from dispatcher.campaigns.due import due_before, start_due
from dispatcher.campaigns.life import resume_campaign, start_campaign
from dispatcher.campaigns.money import (
    account,
    entries,
    guards_of,
    measure_over,
    next_over,
    quotas_json,
    settle,
    top_up,
)
from dispatcher.campaigns.preview import freeze_row, preview_campaign
from dispatcher.campaigns.price import CHANGES_KEPT, PriceList, has_prices, price_of, prices_json, set_prices
from dispatcher.campaigns.states import DONE
from dispatcher.control.commands import (
    CreateCampaign,
    EditCampaign,
    EditTenant,
    PreviewCampaign,
    ResumeCampaign,
    SetPrices,
    StartCampaign,
    TopUp,
)
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.members.consent import record_optout
from dispatcher.members.prefixes import ranges_by
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision
from dispatcher.store.layout import TENANT
from dispatcher.store.values import unpack
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.tenant import need_tenant
from tests.campaigns.log import claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

GERMAN, FRENCH = 4915100000001, 33612345601
DAY_MS = 86_400_000


@pytest.fixture
def shop(store):
    """Three members in Germany at 20 a part, two in France at 30; prepaid, 1,000 on the account."""
    new_shop(store)
    for i in range(3):
        new_member(store, GERMAN + i)
    for i in range(2):
        new_member(store, FRENCH + i)
    do(store, set_prices, SetPrices(prices={"49": 20, "33": 30}), tenant=0)
    tenant(store, prepaid=True, currency="EUR")
    do(store, top_up, TopUp(micros=1_000, why="invoice"))
    return store


def tenant(store, **changes: Any) -> None:
    do(store, edit_tenant, EditTenant(changes=changes))


def drafted(store, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Sale", "text": "Hi", "sender": "SHOP", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def previewed(store, campaign: int) -> dict[str, Any]:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))


def started(store, campaign: int) -> dict[str, Any]:
    command = StartCampaign(campaign=campaign, token=previewed(store, campaign)["token"])
    reply = do(store, start_campaign, command)
    log_begins(store, campaign)
    return reply


def refused_start(store, campaign: int, token: str = ""):
    token = token or previewed(store, campaign)["token"]
    return refused(store, start_campaign, StartCampaign(campaign=campaign, token=token))


def held(store) -> tuple[int, int]:
    with store.snapshot() as view:
        now = account(view, 1)
    return now.balance, now.reserved


def ended(store, campaign: int, now_ms: int = NOW_MS + 1_000) -> None:
    with store.begin_write() as view:
        view.apply(mark(view, 1, campaign, DONE, now_ms, "dispatcher"))


def settled(store, now_ms: int = NOW_MS + 2_000) -> bool:
    """What the daemon does each minute."""
    with store.snapshot() as view:
        over = next_over(view)
        found = measure_over(view, over, now_ms) if over is not None else {}
    if over is None:
        return False
    with store.begin_write() as view:
        changes = settle(view, over, found, now_ms)
        view.apply(changes)
    return bool(changes)


def month(store, at_ms: int = NOW_MS) -> dict[str, Any]:
    with store.snapshot() as view:
        return usage.usage_json(view, 1, usage.month_of(at_ms, "Europe/Berlin"))


def test_a_preview_says_what_it_costs_by_price_and_what_is_left(shop):
    seen = previewed(shop, drafted(shop))
    assert (seen["cost_micros"], seen["by_price"], seen["currency"]) == (120, {"20": 3, "30": 2}, "EUR")
    assert (seen["balance_micros"], seen["balance_after_micros"]) == (1_000, 880)
    long = previewed(shop, drafted(shop, text="x" * 161))
    assert (long["cost_micros"], long["billed_parts"]) == (240, 10)


def test_a_start_reserves_and_the_end_settles_what_was_sent(shop):
    campaign = drafted(shop)
    started(shop, campaign)
    assert held(shop) == (880, 120)
    assert month(shop)["billed"] == 5 and not month(shop)["settled"]
    # two Germans and a Frenchman were sent to, one opted out meanwhile, one was refused
    log(shop, campaign, NOW_MS, claim(0, [1, 1, Decision.OPTED_OUT, 1, Decision.SUPPRESSED]))
    assert not settled(shop), "it still runs"
    ended(shop, campaign)
    assert not settled(shop), "and has messages in flight"
    log(shop, campaign, NOW_MS, *(record(2, rank, state=3, message_id=b"%d" % rank) for rank in (0, 1, 3)))
    with shop.begin_write() as view:  # a stop after the message does not make it free
        view.apply(record_optout(view, 1, GERMAN, ["marketing"], NOW_MS + 1, "SMS: STOP"))
    assert settled(shop)
    assert held(shop) == (930, 0)
    now = month(shop)
    assert (now["messages"], now["parts"], now["billed"], now["micros"], now["settled"]) == (3, 3, 3, 70, True)
    assert not settled(shop), "once"
    with shop.snapshot() as view:
        assert [(row["kind"], row["micros"]) for _, row in entries(view, 1)] == [
            ("settle", -70), ("reserve", 120), ("top_up", 1_000),
        ]  # fmt: skip


def test_a_campaign_over_two_months_is_used_in_both(shop):
    october = 1_790_805_600_000  # 2026-10-01 00:00 in Berlin
    campaign = drafted(shop)
    started(shop, campaign)
    log(shop, campaign, october - 2_000, claim(0, [1, 1]))
    log(shop, campaign, october, claim(2, [1]))
    log(shop, campaign, october, *(record(2, rank, state=3, message_id=b"%d" % rank) for rank in range(3)))
    ended(shop, campaign, october + 1)
    assert settled(shop, october + 2)
    assert [month(shop, at)["billed"] for at in (october - 2_000, october)] == [2, 1]
    assert held(shop) == (940, 0)


def test_credit_is_not_given_twice_nor_taken_below_nothing(shop):
    first, second = drafted(shop), drafted(shop)
    do(shop, top_up, TopUp(micros=-800))
    started(shop, first)
    refusal = refused_start(shop, second)
    assert (refusal.status, refusal.code) == (409, "insufficient_credit")
    assert (refusal.extra["needed_micros"], refusal.extra["balance_micros"]) == (120, 80)
    assert refused(shop, top_up, TopUp(micros=-81)).code == "insufficient_credit"
    assert refused(shop, top_up, TopUp(micros=0)).status == 422
    do(shop, top_up, TopUp(micros=40))
    started(shop, second)
    assert held(shop) == (0, 240)


def test_a_clock_that_is_put_back_takes_no_reservation_with_it(shop):
    campaign = drafted(shop)
    token, earlier = previewed(shop, campaign)["token"], NOW_MS - DAY_MS
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=earlier)
    assert held(shop) == (880, 120), "the last entry is the one that was made last"
    do(shop, top_up, TopUp(micros=20), at_ms=earlier)
    assert held(shop) == (900, 120)


def test_a_plan_counts_what_runs_as_used(shop):
    tenant(shop, parts_month=9)
    started(shop, drafted(shop))
    refusal = refused_start(shop, drafted(shop))
    assert (refusal.status, refusal.code) == (409, "quota_exceeded")
    assert (refusal.extra["needed_parts"], refusal.extra["parts_left"]) == (5, 4)
    with shop.snapshot() as view:
        left = quotas_json(view, need_tenant(view, 1), NOW_MS)
    assert (left["parts_used"], left["parts_left"], left["balance_micros"]) == (5, 4, 880)


def test_a_budget_below_the_preview_is_refused(shop):
    campaign = drafted(shop, budget_micros=119)
    seen = previewed(shop, campaign)
    assert any("budget" in warning for warning in seen["warnings"])
    refusal = refused_start(shop, campaign, seen["token"])
    assert (refusal.status, refusal.code) == (422, "budget_too_small")
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"budget_micros": 120}))
    assert started(shop, campaign)["state"] == "running"


def test_a_number_without_a_price_is_refused_before_anything_is_sent(shop):
    new_member(shop, 12125550100)
    campaign = drafted(shop)
    seen = previewed(shop, campaign)
    assert seen["no_price"] == 1 and any("without a price" in warning for warning in seen["warnings"])
    refusal = refused_start(shop, campaign, seen["token"])
    assert (refusal.status, refusal.code, refusal.extra["recipients"]) == (422, "price_missing", 1)
    do(shop, set_prices, SetPrices(prices={"": 90}))
    assert previewed(shop, campaign)["cost_micros"] == 210


def test_a_preview_says_what_its_start_would_be_refused_for(shop):
    do(shop, edit_tenant, EditTenant(changes={"parts_month": 2}))
    seen = previewed(shop, drafted(shop))
    assert [warning for warning in seen["warnings"] if "would be refused" in warning and "2 of 2 are left" in warning]
    do(shop, edit_tenant, EditTenant(changes={"parts_month": 0}))
    assert not any("would be refused" in warning for warning in previewed(shop, drafted(shop))["warnings"])


def test_a_price_that_changed_since_the_preview_is_refused_and_named(shop):
    campaign = drafted(shop)
    token = previewed(shop, campaign)["token"]
    do(shop, set_prices, SetPrices(prices={"4915": 25}))
    refusal = refused_start(shop, campaign, token)
    assert (refusal.status, refusal.code, refusal.extra["changed"]) == (409, "price_changed", ["price"])
    assert previewed(shop, campaign)["cost_micros"] == 135


@pytest.mark.parametrize("changed", [{"49": 200}, {"4915": 200}, {"49": None, "": 200}])
@pytest.mark.parametrize("whose", [0, 1])
def test_what_was_started_is_settled_at_the_prices_of_its_start(shop, changed, whose):
    campaign = drafted(shop)
    started(shop, campaign)
    do(shop, set_prices, SetPrices(prices=changed), tenant=whose)
    do(shop, set_prices, SetPrices(prices={"49": 300, "4915": 300}), tenant=whose)
    log(shop, campaign, NOW_MS, claim(0, [1] * 5))
    log(shop, campaign, NOW_MS, *(record(2, rank, state=3, message_id=b"%d" % rank) for rank in range(5)))
    ended(shop, campaign)
    assert settled(shop)
    assert (month(shop)["micros"], held(shop)) == (120, (880, 0)), "the token bound 3 at 20 and 2 at 30"
    assert previewed(shop, drafted(shop))["cost_micros"] == 3 * 300 + 2 * 30, "a new one pays the new price"


def test_a_price_that_was_taken_away_is_none_of_now(shop):
    do(shop, set_prices, SetPrices(prices={"49": None, "33": None}), tenant=0)
    with shop.snapshot() as view:
        assert prices_json(view, 1) == {"own": {}, "operator": {}} and not has_prices(view, 1)
        assert price_of(view, 1, GERMAN) is None
    do(shop, set_prices, SetPrices(prices={"49": 25}), tenant=0)
    with shop.snapshot() as view:
        assert has_prices(view, 1) and (price_of(view, 1, GERMAN), price_of(view, 1, FRENCH)) == (25, None)


def test_a_price_changed_a_hundred_times_stays_a_small_row_that_knows_its_start(shop):
    started(shop, campaign := drafted(shop))
    for micros in range(3 * CHANGES_KEPT):
        do(shop, set_prices, SetPrices(prices={"49": micros}), tenant=0)
    with shop.snapshot() as view:
        row = unpack(view.get("prices", TENANT.pack(0) + b"49"))
        assert len(row["was"]) == CHANGES_KEPT
        version = load(view, 1, campaign)["quote"]["prices"]
        assert PriceList(view, 1, version).of(GERMAN) == row["was"][0][1], "older than what is kept: the oldest"
        assert PriceList(view, 1, row["no"] - 10).of(GERMAN) == 3 * CHANGES_KEPT - 11


def test_what_is_due_without_credit_is_held_and_goes_on_once_there_is_some(shop):
    campaign = drafted(shop, schedule={"at": "2026-09-22T09:00"})
    command = StartCampaign(campaign=campaign, token=previewed(shop, campaign)["token"])
    assert do(shop, start_campaign, command)["state"] == "scheduled"
    assert held(shop) == (1_000, 0), "nothing is reserved before its time"
    do(shop, top_up, TopUp(micros=-900))
    now = NOW_MS + DAY_MS
    with shop.begin_write() as view:
        (due,), _ = due_before(view, now)
        changes, _ = start_due(view, due, freeze_row(view, 1, load(view, 1, campaign), now), now)
        view.apply(changes)
        row = load(view, 1, campaign)
    assert row["state"] == "held" and row["held"]["code"] == "insufficient_credit"
    assert "100" in row["history"][-1]["reason"]
    assert refused(shop, resume_campaign, ResumeCampaign(campaign=campaign)).code == "insufficient_credit"
    do(shop, top_up, TopUp(micros=100))
    assert do(shop, resume_campaign, ResumeCampaign(campaign=campaign))["state"] == "running"
    assert held(shop) == (80, 120)


def test_a_text_that_grew_stops_at_the_budget_and_not_after_it(shop):
    """The reservation is what a campaign may come to; names that grow do not take more."""
    campaign = drafted(shop, text="Hi {name|you}" + " x" * 74)
    assert started(shop, campaign)["state"] == "running"
    assert held(shop) == (880, 120)
    for i in range(3):
        new_member(shop, GERMAN + i, name="Bartholomew the elder")
    with shop.snapshot() as view:
        guards = guards_of(view, 1, load(view, 1, campaign), campaign)
        verdict = guards.of_block(view, 0, (0b11111).to_bytes(BITMAP_OCTETS, "little"), NOW_MS)
        # two parts each for the Germans: 40 + 40 + 40, and nothing is left for France
        assert int.from_bytes(verdict.clear, "little") == 0b00111
        ((decision, who),) = verdict.skips
        assert (decision, int.from_bytes(who, "little")) == (Decision.OVER_BUDGET, 0b11000)
        guards.claimed(view, 0, (0b00011).to_bytes(BITMAP_OCTETS, "little"), NOW_MS)
        again = guards.of_block(view, 0, (0b11100).to_bytes(BITMAP_OCTETS, "little"), NOW_MS)
        assert int.from_bytes(again.clear, "little") == 0b00100


def test_what_was_sent_before_a_restart_is_still_spent(shop):
    campaign = drafted(shop, budget_micros=120)
    started(shop, campaign)
    log(shop, campaign, NOW_MS, claim(0, [2, 2]))
    with shop.snapshot() as view:
        guards = guards_of(view, 1, load(view, 1, campaign), campaign)
        verdict = guards.of_block(view, 0, (0b11100).to_bytes(BITMAP_OCTETS, "little"), NOW_MS)
    assert int.from_bytes(verdict.clear, "little") == 0b00100, "80 of 120 are spent, 20 fit, and 30 more do not"


@pytest.mark.parametrize("prices", [{"x": 1}, {"49": -1}, {"49": True}, {"1" * 16: 1}, {}])
def test_prices_that_make_no_sense_are_refused(shop, prices):
    assert refused(shop, set_prices, SetPrices(prices=prices)).status == 422


prefixes = st.dictionaries(st.text("123456789", max_size=4), st.integers(0, 5), min_size=1, max_size=12)
numbers = st.integers(10_000, 10**15 - 1)


@given(of_prefix=prefixes, number=numbers)
def test_ranges_say_of_a_number_what_its_longest_prefix_says(of_prefix, number):
    found = [
        said for said, ranges in ranges_by(of_prefix).items() if any(low <= number <= high for low, high in ranges)
    ]
    digits = str(number)
    longest = next((digits[:end] for end in range(len(digits), -1, -1) if digits[:end] in of_prefix), None)
    assert found == ([] if longest is None else [of_prefix[longest]])


def test_the_price_of_a_number_is_that_of_its_longest_prefix(shop):
    do(shop, set_prices, SetPrices(prices={"4915": 25, "491510000000": 26}))
    with shop.snapshot() as view:
        prices = PriceList(view, 1)
        assert [prices.of(number) for number in (GERMAN, 4915200000000, 4930123456, 12125550100)] == [26, 25, 20, None]
