"""What a condition may ask of which kind of field, and what a wrong one is told."""

from __future__ import annotations

import pytest

from dispatcher.control.commands import SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.segments import Compiled, compile_text, save_segment
from dispatcher.store import Store
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack
from tests.fakes.shop import do
from tests.segments.crowd import new_crowd


@pytest.fixture
def shop(store: Store) -> tuple[Store, int]:
    return store, new_crowd(store)


def compiled(shop: tuple[Store, int], text: str) -> Compiled:
    with shop[0].snapshot() as view:
        return compile_text(view, shop[1], text)


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
    ],
)
def test_what_does_not_fit_a_field_is_refused_with_its_place(
    shop: tuple[Store, int], text: str, position: int, guess: str | None
) -> None:
    found = refusal(shop, text)
    assert (found.code, found.extra["position"], found.extra["did_you_mean"]) == ("segment_syntax", position, guess)


def test_a_new_value_of_an_open_dictionary_matches_nobody_and_says_so(shop: tuple[Store, int]) -> None:
    found = compiled(shop, 'city = "Kölln" or has tag "t99"')
    assert found.warnings == ('no member has city = "Kölln"; the nearest is "Köln"', 'no member has the tag "t99"')


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
    for n in range(1, 9):
        save(f"s{n}", f'in segment "s{n - 1}" or in segment "s{n - 1}" and vip is yes')
    for title, expr, told in (
        ("s0", 'in segment "s3"', "contain itself"),
        ("self", 'in segment "self"', "contain itself"),
        ("big", 'in segment "s8" or in segment "s8"', "2,000 conditions"),
        ("part", 'in segment "top"', "limit"),
    ):
        with pytest.raises(CommandRefused, match=told):
            save(title, expr)
