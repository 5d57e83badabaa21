"""How a segment is spread, what segments share, a few of its members, all of their numbers."""

import random
from collections import Counter

import pytest

from dispatcher.errors import CommandRefused
from dispatcher.segments.answers import choose, histogram, overlap, sample
from dispatcher.store.layout import BLOCK
from tests.fakes.shop import NOW_MS
from tests.segments.crowd import CITIES, TAGS, TIERS, new_crowd, settle

MEMBERS = BLOCK + 2_000
EDITED = range(100, 200)


def person(no: int, draw: random.Random) -> dict:
    one = {
        "tier": draw.choice([*TIERS, None]),
        "city": draw.choice(CITIES),
        "visits": draw.choice([None, draw.randrange(-50, 1_000)]),
        "joined": f"20{draw.randrange(10, 30)}-0{draw.randrange(1, 10)}-15",
        "birthday": draw.choice(["02-29", "12-31", None]),
        "vip": draw.choice([True, False, None]),
        "spend": draw.randrange(0, 90_000_000),
        "tags": draw.sample(TAGS, draw.randrange(3)),
        "name": "Ada",
        "live": no % 7 > 0,
    }
    return {name: value for name, value in one.items() if value not in (None, [])}


@pytest.fixture(scope="module")
def people():
    draw = random.Random(5)
    return {no: person(no, draw) for no in range(0, MEMBERS, 3)}


@pytest.fixture
def crowd(store, people):
    tenant = new_crowd(store)
    edits = {no: {"tier": "gold", "visits": 7} for no in people if no in EDITED}
    settle(store, tenant, people, edits, MEMBERS)
    return store, {no: one | edits.get(no, {}) for no, one in people.items() if one["live"]}


def asked(store, answer, *args, **kwargs):
    with store.snapshot() as view:
        return answer(view, 1, *args, **kwargs)


@pytest.mark.parametrize(("name", "shown"), [("tier", str), ("city", str), ("vip", bool), ("birthday", str)])
def test_values_are_counted_most_first(crowd, name, shown):
    store, people = crowd
    found = asked(store, histogram, 'tier = "gold" or visits > 500', name, NOW_MS)
    inside = [one for one in people.values() if one.get("tier") == "gold" or one.get("visits", 0) > 500]
    expected = Counter(one[name] for one in inside if name in one)
    assert {row["value"]: row["count"] for row in found["top"]} == expected
    assert [row["count"] for row in found["top"]] == sorted(expected.values(), reverse=True)
    assert all(isinstance(row["value"], shown) for row in found["top"])
    assert (found["matched"], found["known"]) == (len(inside), expected.total())
    assert found["unknown"] == len(inside) - expected.total()


def test_a_member_counts_under_each_of_its_tags(crowd):
    store, people = crowd
    found = asked(store, histogram, "everyone", "tags", NOW_MS, top=4)
    expected = Counter(tag for one in people.values() for tag in one.get("tags", []))
    met = {row["value"]: row["count"] for row in found["top"]}
    assert sorted(met.values(), reverse=True) == sorted(expected.values(), reverse=True)[:4]
    assert all(expected[tag] == count for tag, count in met.items())
    assert found["known"] == sum("tags" in one for one in people.values())


@pytest.mark.parametrize("name", ["visits", "spend", "serial", "joined"])
def test_numbers_and_dates_fall_into_bins_with_round_edges(crowd, name):
    store, people = crowd
    found = asked(store, histogram, 'city = "Bonn"', name, NOW_MS, bins=12)
    inside = [one.get(name) for one in people.values() if one["city"] == "Bonn"]
    known = sorted(value for value in inside if value is not None)
    assert (found["matched"], found["known"], found["unknown"]) == (len(inside), len(known), len(inside) - len(known))
    if not known:
        assert (found["histogram"], found["min"], found["max"]) == (None, None, None)
        return
    assert (found["min"], found["max"]) == (known[0], known[-1])
    assert 1 <= len(found["histogram"]) <= 12
    assert [row["count"] for row in found["histogram"]] == [
        sum(row["from"] <= value < row["to"] for value in known) for row in found["histogram"]
    ]
    assert found["histogram"][0]["from"] <= known[0] and known[-1] < found["histogram"][-1]["to"]


@pytest.mark.parametrize(
    ("text", "field", "more", "words"),
    [
        ("everyone", "teir", {}, "tier"),
        ("everyone", "tier", {"top": 0}, "top 0"),
        ("everyone", "visits", {"bins": 201}, "bins 201"),
        ("tier =", "tier", {}, "expected"),
    ],
)
def test_a_histogram_that_cannot_be_is_refused_in_words(crowd, text, field, more, words):
    with pytest.raises(CommandRefused, match=words) as caught:
        asked(crowd[0], histogram, text, field, NOW_MS, **more)
    assert caught.value.status == 422


def test_overlap_counts_pairs_each_ones_own_and_all(crowd):
    store, people = crowd
    texts = ['tier = "gold"', 'city = "Bonn"', "visits >= 500", "vip is yes"]
    found = asked(store, overlap, texts, NOW_MS)
    sets = [
        {no for no, one in people.items() if one.get("tier") == "gold"},
        {no for no, one in people.items() if one["city"] == "Bonn"},
        {no for no, one in people.items() if one.get("visits", 0) >= 500},
        {no for no, one in people.items() if one.get("vip")},
    ]
    assert found["shared"] == [[len(a & b) for b in sets] for a in sets]
    assert [row["matched"] for row in found["segments"]] == [len(a) for a in sets]
    others = [set().union(*(b for b in sets if b is not a)) for a in sets]
    assert [row["only"] for row in found["segments"]] == [len(a - b) for a, b in zip(sets, others, strict=True)]
    assert (found["union"], found["every"]) == (len(set().union(*sets)), len(set.intersection(*sets)))


def test_overlap_says_which_of_the_texts_is_wrong(crowd):
    with pytest.raises(CommandRefused) as caught:
        asked(crowd[0], overlap, ["everyone", "tier ="], NOW_MS)
    assert caught.value.errors[0]["pointer"] == "/exprs/1"
    assert caught.value.extra["segment"] == 1
    with pytest.raises(CommandRefused, match="2 to 8"):
        asked(crowd[0], overlap, ["everyone"], NOW_MS)


def test_a_sample_is_spread_evenly_and_drawn_again_by_its_seed(crowd):
    store, people = crowd
    inside = [no for no, one in people.items() if one["city"] == "Bonn"]
    found = asked(store, sample, 'city = "Bonn"', 50, "a", NOW_MS)
    assert found["matched"] == len(inside)
    ranks = [inside.index(no) for no in found["members"]]
    assert [50 * rank // len(inside) for rank in ranks] == pytest.approx(range(50), abs=1)
    assert len(set(ranks)) == 50
    assert asked(store, sample, 'city = "Bonn"', 50, "a", NOW_MS)["members"] == found["members"]
    assert asked(store, sample, 'city = "Bonn"', 50, "b", NOW_MS)["members"] != found["members"]
    few = f'city = "Bonn" and visits = {people[inside[0]].get("visits", 0)} limit 3'
    everybody = list(asked(store, choose, few, NOW_MS).numbers())
    assert asked(store, sample, few, 1_000, "a", NOW_MS)["members"] == everybody
    with pytest.raises(CommandRefused, match="1 to 1,000"):
        asked(store, sample, "everyone", 1_001, "a", NOW_MS)


@pytest.mark.parametrize("after", [-1, 0, 299, BLOCK - 1, BLOCK, MEMBERS])
def test_numbers_go_on_after_any_member(crowd, after):
    store, people = crowd
    chosen = asked(store, choose, 'tier = "gold"', NOW_MS)
    assert list(chosen.numbers(after)) == [no for no, one in people.items() if one.get("tier") == "gold" and no > after]
