"""What a condition may ask of which kind of field, and what a wrong one is told."""

from __future__ import annotations

import time

import pytest

from dispatcher.campaigns.campaign import create_campaign
from dispatcher.control.commands import CreateCampaign, CreateTenant, DefineField, SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import define_field
from dispatcher.records.changes import Changes
from dispatcher.records.keys import public_id
from dispatcher.segments import Compiled, compile_text, save_segment
from dispatcher.segments.column_tests import Always, Complement, Every, Given, OnPlanes, Sampled, Some
from dispatcher.segments.dates import Moment
from dispatcher.segments.given import ConsentChanged, Engaged, MessagesIn
from dispatcher.segments.rule import Span
from dispatcher.segments.typed import Typing, typing_of
from dispatcher.store import Store
from dispatcher.store.columns import FLAGS
from dispatcher.store.layout import PLANE_OPTOUT_CARE, TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import NOW_MS, do
from tests.segments.crowd import new_crowd


@pytest.fixture
def shop(store: Store) -> tuple[Store, int]:
    tenant = new_crowd(store)
    for title in ("Spring", "Spring", "Summer"):
        do(store, create_campaign, CreateCampaign(title=title, text="Hi"), tenant=tenant)
    return store, tenant


def compiled(shop: tuple[Store, int], text: str, as_of_ms: int = NOW_MS) -> Compiled:
    with shop[0].snapshot() as view:
        return compile_text(view, shop[1], text, as_of_ms=as_of_ms)


def refusal(shop: tuple[Store, int], text: str) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        compiled(shop, text)
    assert caught.value.status == 422
    return caught.value


def test_an_unknown_field_is_named_with_its_place_and_the_nearest(shop: tuple[Store, int]) -> None:
    found = refusal(shop, 'everyone and tierr = "gold"')
    assert found.code == "unknown_field"
    assert found.extra == {"position": 13, "expected": [], "did_you_mean": "tier"}


@pytest.mark.parametrize(
    ("text", "position", "guess"),
    [
        ('tier = "golt"', 7, "gold"),  # closed: the nearest value
        ('tier in ("gold", "Basics")', 17, "basic"),
        ("tier = 5", 7, '"5"'),
        ('tier > "gold"', 0, None),
        ('visits = "5"', 9, "5"),
        ("visits = 1.5", 9, None),
        ("spend = 1.0000001", 8, None),
        ('joined > "2024-02-30"', 9, None),
        ('joined > "20240230"', 9, None),
        ("joined > 5", 9, '"5"'),
        ('birthday = "02-30"', 11, None),
        ('birthday = "2-3"', 11, None),
        ("vip = 1", 0, None),
        ("tier is yes", 0, None),
        ('name > "a"', 0, None),
        ('name contains ""', 14, None),
        ('tier contains "a"', 0, None),
        ('tags = "t1"', 0, None),
        ('phone = "0170 123"', 8, None),
        ('phone between "1" and "2"', 0, None),
        ('in segment "none"', 11, None),
        ("visits in last 30 days", 0, None),
        ("visits is today", 0, None),
        ("days since birthday > 3", 11, None),
        ("days since joined > 1.5", 20, None),
        ("birthday more than 3 days ago", 0, None),
        ("name in month 5", 0, None),
        ("vip is yes top 5 by vip", 20, None),
        ("age is yes", 0, None),
        ('age = "5"', 6, "5"),
        ("age in last 3 days", 0, None),
        ("consented to marketin", 13, "marketing"),
        ("opted out of otp", 0, None),
        ('received campaign "Sprng"', 18, "Spring"),
        ('sent campaign "Spring" with "1"', 28, "replied to"),
        ("answered nps.q1 <= 6", 9, None),
    ],
)
def test_what_does_not_fit_a_field_is_refused_with_its_place(
    shop: tuple[Store, int], text: str, position: int, guess: str | None
) -> None:
    found = refusal(shop, text)
    assert (found.code, found.extra["position"], found.extra["did_you_mean"]) == ("segment_syntax", position, guess)


def test_a_new_value_of_an_open_dictionary_matches_nobody_and_says_so(shop: tuple[Store, int]) -> None:
    found = compiled(shop, 'city = "Kölln" or has tag "t99"')
    assert found.warnings == (
        'no member has city = "Kölln"; the nearest is "Köln"',
        'no member has tag "t99"; the nearest is "t9"',
    )


def test_numbers_past_a_column_are_compared_as_numbers(shop: tuple[Store, int]) -> None:
    everyone_known = compiled(shop, "visits is known").test
    assert compiled(shop, f"visits < {10**30}").test == everyone_known
    assert compiled(shop, f"visits > {-(10**30)} and visits != {10**12}").warnings == ()
    assert compiled(shop, f"not visits >= {-(1 << 31)}").test == compiled(shop, "visits is unknown").test


def test_more_than_two_thousand_conditions_are_refused(shop: tuple[Store, int]) -> None:
    assert compiled(shop, " or ".join(f"visits = {n}" for n in range(2_000)))
    found = refusal(shop, " or ".join(f"visits = {n}" for n in range(2_001)))
    assert "2,000 conditions" in found.detail


def test_a_named_segment_means_what_it_was_saved_as(shop: tuple[Store, int]) -> None:
    store, tenant = shop
    do(store, save_segment, SaveSegment(title="regulars", expr="visits > 3 except vip is yes"), tenant=tenant)
    inner, outer = compiled(shop, "visits > 3 except vip is yes"), compiled(shop, 'in segment "regulars"')
    assert outer.test == inner.test and outer.fields == inner.fields
    assert refusal(shop, 'in segment "regular"').extra["did_you_mean"] == "regulars"


def test_what_went_wrong_inside_a_named_segment_is_placed_where_it_is_named(shop: tuple[Store, int]) -> None:
    store, tenant = shop
    changes = Changes()
    changes.put("segments", TENANT_U64.pack(tenant, 1), pack({"name": "old", "expr": "gone > 3"}))
    store.apply(changes)
    found = refusal(shop, 'vip is yes and in segment "old"')
    assert found.code == "unknown_field" and found.extra["position"] == 26
    assert found.detail.startswith('in segment "old": no field')


def test_segments_that_would_contain_themselves_or_grow_without_end_are_refused(shop: tuple[Store, int]) -> None:
    store, tenant = shop

    def save(title: str, expr: str) -> None:
        do(store, save_segment, SaveSegment(title=title, expr=expr), tenant=tenant)

    save("s0", "visits > 3")
    save("top", "everyone limit 5")
    save("best", "everyone top 5 by visits")
    for n in range(1, 9):
        save(f"s{n}", f'in segment "s{n - 1}" or in segment "s{n - 1}" and vip is yes')
    for title, expr, told in (
        ("s0", 'in segment "s3"', "contain itself"),
        ("self", 'in segment "self"', "contain itself"),
        ("s2", 'in segment "s4"', '"s2" > "s4" > "s3" > "s2"'),
        ("big", 'in segment "s8" or in segment "s8"', "2,000 conditions"),
        ("part", 'in segment "top"', "limit"),
        ("part", 'in segment "best"', "top"),
    ):
        with pytest.raises(CommandRefused, match=told):
            save(title, expr)


SINCE_MS = Moment(NOW_MS, "Europe/Berlin").since_ms(Span(30, "day"))


def test_what_happened_becomes_a_key_with_the_first_instant_of_its_span(shop: tuple[Store, int]) -> None:
    found = compiled(shop, "undelivered any campaign in last 30 days").test
    assert found == Given(Engaged("undelivered", None, None, SINCE_MS))
    assert compiled(shop, 'held out of campaign "Summer"').test == Given(
        Engaged("held_out", campaigns(shop, "Summer")[0], None, None)
    )
    assert compiled(shop, 'replied to any campaign with "1"').test == Given(Engaged("replied", None, "1", None))
    many = compiled(shop, "messages in last 30 days != 2").test
    assert many == Some((Given(MessagesIn(SINCE_MS, 0, 1)), Given(MessagesIn(SINCE_MS, 3, (1 << 32) - 1))))
    assert compiled(shop, "messages in last 30 days < 0").test == Always(False)


def campaigns(shop: tuple[Store, int], title: str) -> tuple[int, ...]:
    with shop[0].snapshot() as view:
        return typing_of(view, shop[1], NOW_MS).campaigns[title]


def test_a_title_that_several_campaigns_carry_means_any_of_them(shop: tuple[Store, int]) -> None:
    numbers = campaigns(shop, "Spring")
    assert len(numbers) == 2
    expected = Some(tuple(Given(Engaged("received", number)) for number in numbers))
    assert compiled(shop, 'received campaign "Spring"').test == expected
    one = compiled(shop, f'received campaign "{public_id("cmp", numbers[1])}"').test
    assert one == Given(Engaged("received", numbers[1]))


def test_consent_is_the_plane_that_guards_a_send(shop: tuple[Store, int]) -> None:
    plane = OnPlanes(((FLAGS, 1 << PLANE_OPTOUT_CARE),))
    assert compiled(shop, "opted out of care").test == plane
    assert compiled(shop, "consented to care").test == Complement(plane)
    recent = Given(ConsentChanged("opted_out", "care", SINCE_MS))
    assert compiled(shop, "opted out of care in last 30 days").test == Every((plane, recent))
    recent = Given(ConsentChanged("consented", "care", SINCE_MS))
    assert compiled(shop, "consented to care in last 30 days").test == Every((Complement(plane), recent))


def test_a_share_is_taken_after_the_exception(shop: tuple[Store, int]) -> None:
    found = compiled(shop, 'everyone except has tag "t1" sample 10% by "s" bucket 0..499').test
    assert isinstance(found, Every) and isinstance(found.parts[1], Complement)
    assert found.parts[2:] == (Sampled(b"s", 0, 1_000), Sampled(b"", 0, 500))


def test_top_names_a_field_that_has_an_order(shop: tuple[Store, int]) -> None:
    found = compiled(shop, "everyone top 7 by spend")
    assert found.top is not None and (found.top[0], found.top[1].name) == (7, "spend")
    assert refusal(shop, "everyone top 7 by spnd").code == "unknown_field"


def test_an_age_needs_a_birthday_with_a_year(shop: tuple[Store, int]) -> None:
    assert compiled(shop, "age >= 18").warnings == ("birthday has no year, so every age is unknown",)
    with shop[0].snapshot() as view:
        typing = Typing({}, {})
        with pytest.raises(CommandRefused, match="derived from a date field called birthday"):
            typing.test(typing.parse("age > 3"))
        mine = typing_of(view, shop[1], NOW_MS)
        mine.fields = {**mine.fields, "age": mine.fields["visits"]}
        assert mine.test(mine.parse("age > 3")) == mine.test(mine.parse("visits > 3")) and not mine.timed


def test_only_what_looks_at_the_clock_depends_on_the_moment(shop: tuple[Store, int]) -> None:
    with shop[0].snapshot() as view:
        for text, timed in (
            ("visits > 3 and consented to marketing", False),
            ("joined is today", True),
            ("age > 3", True),
            ("messages in last 3 days > 1", True),
            ("opted out of care in last 3 days", True),
        ):
            typing = typing_of(view, shop[1], NOW_MS)
            typing.test(typing.parse(text))
            assert typing.timed == timed, text


def test_a_region_is_a_path_of_the_field_called_region(store: Store) -> None:
    tenant = do(store, create_tenant, CreateTenant(title="Regions"), tenant=0)["tenant"]
    assert refusal((store, tenant), 'in region "a"').code == "unknown_field"
    values = ["浙江/杭州", "浙江/杭州/西湖", "浙江/宁波", "浙江省"]
    do(store, define_field, DefineField(title="region", kind="dict", values=values, closed=True), tenant=tenant)
    west, city = (
        compiled((store, tenant), '区域 属于 "浙江/杭州/"'),
        compiled((store, tenant), 'region in ("浙江/杭州")'),
    )
    assert west.text == 'in region "浙江/杭州/"'
    assert west.test == compiled((store, tenant), 'region in ("浙江/杭州", "浙江/杭州/西湖")').test != city.test
    assert compiled((store, tenant), 'in region "浙江"').test != compiled((store, tenant), "region is known").test
    found = refusal((store, tenant), 'in region "浙江/杭洲"')
    assert (found.extra["position"], found.extra["did_you_mean"]) == (10, "浙江/杭州")
    assert refusal((store, tenant), 'in region "/"').extra["position"] == 10


def test_a_saved_segment_may_name_fields_by_their_label(shop: tuple[Store, int]) -> None:
    store, tenant = shop
    do(store, define_field, DefineField(title="visits", kind="int", bits=32, label="Besuche"), tenant=tenant)
    assert compiled(shop, "besuche > 3").text == "visits > 3"


@pytest.mark.parametrize(
    "text",
    [
        "branch in (" + ",".join(f'"X{n}"' for n in range(10_000)) + ")",  # all of them unknown words
        "has any tag of (" + ",".join(f'"X{n}"' for n in range(10_000)) + ")",
        " or ".join(f"birthday in next {n % 300 + 1} days" for n in range(2_000)),
        " or ".join(f"not age between {n % 90} and {n % 90 + 1}" for n in range(2_000)),
    ],
)
def test_what_the_limits_allow_is_typed_in_little_time(shop: tuple[Store, int], text: str) -> None:
    with shop[0].snapshot() as view:
        found = typing_of(view, shop[1], NOW_MS).parse(text)
        least = 9.0
        for _ in range(3):
            typing = typing_of(view, shop[1], NOW_MS)
            began = time.thread_time()
            typing.test(found)
            least = min(least, time.thread_time() - began)
        assert least < 0.3 and len(typing.warnings) <= 10
