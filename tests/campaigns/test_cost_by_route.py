"""Money by route: a price may be an endpoint's; the preview shows what goes by each, exactly as the claims will go, and the
same is reserved, held to and settled, whoever carries it in the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from config import Endpoint, Route
from dispatcher.campaigns import usage
from dispatcher.campaigns.campaign import create_campaign, load
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.money import Over, account, measure_over, top_up
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.price import PriceList, price_of, set_prices
from dispatcher.control.commands import (
    AddSuppression,
    CreateCampaign,
    EditTenant,
    Envelope,
    PreviewCampaign,
    SetPrices,
    StartCampaign,
    TopUp,
)
from dispatcher.members.consent import record_optout
from dispatcher.members.suppression import add_suppression
from dispatcher.records.batch import Row, read_rows
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision
from dispatcher.routes.router import Router
from dispatcher.tenants.edit import edit_tenant
from dispatcher.text.coding import Coding, coding_of
from tests.campaigns.log import claim, log, log_begins
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

GERMAN, FRENCH, SPANISH = 4915100000001, 33612345601, 34612345601
MEMBERS = 60  # of Germany, and a few of the others
PRICES = {"49": 20, "main:49": 10, "spare:49": 35, "33": 30, "spare:": 7}
LONG = "word " * 40  # two parts


def router(*, spare: int = 1, down: tuple[int, ...] = ()) -> Router:
    """Germany by two endpoints, 3 to `spare`; France by the second one; Spain by none."""
    routes = [
        Route(name="de", prefixes=("49",), endpoints=("main=3", f"spare={spare}"), failover_after_s=0),
        Route(name="fr", prefixes=("33",), endpoints=("spare",), failover=("main",), failover_after_s=0),
    ]
    made = Router({"main": (0, 1), "spare": (1, 1)}, [(route, "test") for route in routes])
    made.look({number: float("inf") if number in down else 0.0 for number in (0, 1)})
    return made


@pytest.fixture
def shop(store):
    new_shop(store)
    for i in range(MEMBERS):
        new_member(store, GERMAN + i)
    for i in range(4):
        new_member(store, FRENCH + i)
    do(store, set_prices, SetPrices(prices=PRICES), tenant=0)
    do(store, edit_tenant, EditTenant(changes={"prepaid": True}))
    do(store, top_up, TopUp(micros=100_000))
    return store


def previewed(store, of: Router | None, **parts: Any) -> tuple[int, dict[str, Any]]:
    made = do(store, create_campaign, CreateCampaign(**{"title": "Sale", "text": "Hi", "sender": "SHOP", **parts}))
    campaign = parse_public_id("cmp", made["id"])
    with store.begin_write() as view:
        envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS)
        changes, reply = preview_campaign(view, PreviewCampaign(campaign=campaign), envelope, router=of)
        view.apply(changes)
    return campaign, reply


def claimed(store, campaign: int, of: Router) -> Counter[tuple[str, int]]:
    """(endpoint, country) -> parts that the expansion gives it, each as it takes texts."""
    found: Counter[tuple[str, int]] = Counter()
    codings = {of.endpoints[name]: coding_of(endpoint) for name, endpoint in of.settings.items()}
    with store.snapshot() as view:
        made = Expansion(view, 1, campaign, load(view, 1, campaign), of, lambda number: codings.get(number, Coding()))
        for name, number in of.endpoints.items():
            while (batch := made.next(view, number, 1_000, NOW_MS)) is not None:
                for row in read_rows(batch):
                    if row.decision == Decision.SENT:
                        found[name, row.destination // 10 ** (len(str(row.destination)) - 2)] += 1
    return found


def test_who_may_not_be_sent_to_is_told_so_and_not_that_no_route_leads_there(shop):
    for i in range(3):
        new_member(shop, SPANISH + i)
    do(shop, add_suppression, AddSuppression(numbers=[f"+{SPANISH}"]))
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, SPANISH + 1, ["marketing"], NOW_MS, "SMS: STOP"))
    campaign, seen = previewed(shop, router())
    assert seen["skipped"] == {"suppressed": 1, "opted_out": 1, "no_route": 1}
    start(shop, campaign, seen["token"])
    with shop.snapshot() as view:
        made, rows = Expansion(view, 1, campaign, load(view, 1, campaign), router()), list[Row]()
        for number in (0, 1):
            while (batch := made.next(view, number, 1_000, NOW_MS)) is not None:
                rows += read_rows(batch)
    assert [Decision(row.decision).word for row in rows if row.decision != Decision.SENT] == [*seen["skipped"]]


def start(store, campaign: int, token: str) -> None:
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    log_begins(store, campaign)


@pytest.mark.parametrize("text", ["Hi", LONG])
def test_the_preview_says_what_goes_by_each_endpoint_and_the_claims_go_so(shop, text):
    of = router()
    campaign, seen = previewed(shop, of, text=text)
    start(shop, campaign, seen["token"])
    parts = claimed(shop, campaign, of)
    german = {name: parts[name, 49] for name in ("main", "spare")}
    assert german["main"] > german["spare"] > 0 and sum(german.values()) == MEMBERS * (1 + (text == LONG))
    by = seen["by_route"]
    assert by["main"]["billed"] == german["main"] and by["main"]["micros"] == 10 * german["main"]
    assert by["spare"]["billed"] == german["spare"] + parts["spare", 33]
    assert by["spare"]["micros"] == 35 * german["spare"] + 30 * parts["spare", 33], "of one length: the prefix decides"
    assert sum(one["micros"] for one in by.values()) == seen["cost_micros"]
    assert sum(one["messages"] for one in by.values()) == seen["will_send"] == MEMBERS + 4


@pytest.mark.parametrize(
    ("spare", "parts_each", "skipped"),
    [({"latin1": True}, 1, False), ({"transliterate": True}, 1, False), ({"ucs2": False}, 0, True), ({}, 2, False)],
)
def test_each_endpoints_alphabets_count_for_what_goes_by_it(shop, spare, parts_each, skipped):
    """The text is two parts of UCS-2 at `main`."""
    of = router()
    of.settings = {
        name: Endpoint(name=name, host="h", system_id="s", **more) for name, more in (("main", {}), ("spare", spare))
    }
    campaign, seen = previewed(shop, of, text="ça " + "x" * 75)
    start(shop, campaign, seen["token"])
    parts = claimed(shop, campaign, of)
    by = seen["by_route"]
    assert by["main"]["billed"] == by["main"]["parts"] == parts["main", 49] > 0 == parts["main", 49] % 2
    by_spare = parts["spare", 49] + parts["spare", 33]
    if skipped:
        assert by_spare == 0 and "spare" not in by
        assert seen["skipped"]["no_alphabet"] + seen["will_send"] == MEMBERS + 4
        assert any("no UCS-2 and has no “ç”" in warning for warning in seen["warnings"])
    else:
        assert by["spare"]["billed"] == by_spare == by["spare"]["messages"] * parts_each
    looked = seen["look_alikes"]
    assert (looked is None) == (not spare.get("transliterate"))
    if looked is not None:
        assert looked["changed"] == {"ç": "c"}
        assert looked["parts_before"] - looked["parts_after"] == by["spare"]["messages"] == looked["recipients"]


def test_who_has_no_route_is_not_counted_as_sent_to(shop):
    new_member(shop, SPANISH)
    _, seen = previewed(shop, router())
    assert (seen["skipped"], seen["matched"], seen["will_send"]) == ({"no_route": 1}, MEMBERS + 5, MEMBERS + 4)
    assert seen["no_price"] == 0


def test_a_number_without_a_route_and_a_text_without_an_alphabet_are_told_apart(shop):
    new_member(shop, SPANISH)
    of = router()
    of.settings = {
        name: Endpoint(name=name, host="h", system_id="s", ucs2=name == "main") for name in ("main", "spare")
    }
    _, seen = previewed(shop, of, text="ça")
    assert seen["skipped"]["no_route"] == 1 < seen["skipped"]["no_alphabet"]
    assert any("1 member is skipped because no route fits their number" in warning for warning in seen["warnings"])
    assert any("takes no UCS-2 and has no “ç”" in warning for warning in seen["warnings"])


def test_what_was_previewed_is_reserved_held_to_and_settled_whoever_carries_it(shop):
    of = router()
    campaign, seen = previewed(shop, of)
    start(shop, campaign, seen["token"])
    with shop.snapshot() as view:
        assert account(view, 1).reserved == seen["cost_micros"]
    failed_over = router(down=(1,))
    assert claimed(shop, campaign, failed_over) == {("main", 49): MEMBERS, ("main", 33): 4}, "and nobody over budget"
    log(shop, campaign, NOW_MS, claim(0, [1] * (MEMBERS + 4)))
    over = Over(1, campaign, usage.month_of(NOW_MS, "Europe/Berlin"))
    with shop.snapshot() as view:
        (used,) = measure_over(view, over, NOW_MS + 2_000, failed_over).values()
    assert used == usage.Used(MEMBERS + 4, MEMBERS + 4, MEMBERS + 4, seen["cost_micros"])


def test_of_one_prefix_an_endpoints_price_goes_first_and_an_own_before_the_operators(shop):
    do(shop, set_prices, SetPrices(prices={"main:491": 5, "33": 28}))
    with shop.snapshot() as view:
        listed = PriceList(view, 1)
        assert [listed.of(GERMAN, name) for name in ("", "main", "spare", "other")] == [20, 5, 35, 20]
        assert [listed.of(FRENCH, name) for name in ("", "main", "spare")] == [28, 28, 28]
        assert [listed.of(SPANISH, name) for name in ("", "main", "spare")] == [None, None, 7]
        assert [price_of(view, 1, number) for number in (GERMAN, FRENCH, SPANISH)] == [20, 28, 7]
        before = listed.digest
    do(shop, set_prices, SetPrices(prices={"main:491": None}))
    with shop.snapshot() as view:
        assert PriceList(view, 1).of(GERMAN, "main") == 10 and PriceList(view, 1).digest != before


def test_without_routes_everything_has_the_common_price(shop):
    _, seen = previewed(shop, None)
    assert seen["cost_micros"] == 20 * MEMBERS + 4 * 30
    assert list(seen["by_route"]) == ["(no endpoint)"]


@pytest.mark.parametrize("prefix", ["main:4x", ":49", "ma in:49", "main:" + "1" * 16, "+49"])
def test_a_prefix_that_is_none_is_refused_with_its_place(shop, prefix):
    problem = refused(shop, set_prices, SetPrices(prices={prefix: 1}))
    assert (problem.status, problem.errors[0]["pointer"]) == (422, f"/prices/{prefix}")
