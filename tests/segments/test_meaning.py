"""Typed tests over columns and the plain evaluator of the rule's tree choose the same members, at any instant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.control.commands import CreateTenant, DefineField
from dispatcher.fastmatch import slots_of
from dispatcher.members.fields import define_field
from dispatcher.segments import compile_text, engaged, rule, select
from dispatcher.segments.column_tests import Always, Complement, Every, Given, OnPlanes, Some, Test
from dispatcher.segments.dates import Moment
from dispatcher.segments.given import ConsentChanged, Engaged, MessagesIn
from dispatcher.segments.rule import Node, Rule, Span, Value
from dispatcher.segments.tree import COMPARISONS, CONSENTS, DAYS, VERBS
from dispatcher.segments.typed import Typing
from dispatcher.store import Store, open_store
from dispatcher.store.columns import FLAGS
from dispatcher.store.layout import BLOCK, OPTOUT_GROUPS
from dispatcher.tenants.tenant import LEAP_RULES, create_tenant
from tests.fakes.shop import do
from tests.reference import segments as reference
from tests.segments.crowd import settle

REGIONS = ["浙江", "浙江/杭州", "浙江/杭州/西湖", "浙江/宁波", "浙江省", "江苏/南京"]
TODAYS = [
    date(2024, 2, 29),
    date(2023, 2, 28),
    date(2023, 3, 1),
    date(2024, 2, 28),
    date(2024, 12, 31),
    date(2100, 3, 1),
]
NUMBERS = [*range(30), BLOCK - 1, *range(BLOCK, BLOCK + 20)]
SALTS = ["", "spring26", "夏"]


Shops = tuple[Store, dict[tuple[str, str], int]]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    """A store with a tenant for each leap rule and each way to keep a birthday."""
    found = {}
    with open_store(tmp_path_factory.mktemp("meaning"), write=True, create=True, sync=False) as store:
        for leap_rule in LEAP_RULES:
            for kind in ("date", "month_day"):
                made = CreateTenant(title=f"{leap_rule} {kind}", zone="Europe/Berlin", leap_rule=leap_rule)
                tenant = do(store, create_tenant, made, tenant=0)["tenant"]
                for command in (
                    DefineField(title="birthday", kind=kind),
                    DefineField(title="joined", kind="date"),
                    DefineField(title="wedding", kind="month_day"),
                    DefineField(title="region", kind="dict", values=REGIONS),
                    DefineField(title="visits", kind="int", bits=32),
                ):
                    do(store, define_field, command, tenant=tenant)
                found[leap_rule, kind] = tenant
        yield store, found


def someone(random: Random, today: date, kind: str) -> dict[str, Any]:
    """A member whose dates lie where today's edges are."""

    def near(years: int = 0) -> date:
        day = today + timedelta(random.choice([0, 0, 1, -1, 7, -7, 30, -30, -31, 365, random.randint(-400, 400)]))
        back = random.randint(0, years)
        return date(day.year - back, 3, 1) - timedelta(1) if (day.month, day.day) == (2, 29) else day.replace(
            year=day.year - back
        )  # fmt: skip

    leap_day = random.random() < 0.2
    birthday = date(random.choice([1960, 1996, 2000, 2020]), 2, 29) if leap_day else near(90)
    one = {
        "live": random.random() < 0.9,
        "stopped": random.random() < 0.3,
        "birthday": birthday.isoformat()[0 if kind == "date" else 5 :],
        "joined": near().isoformat(),
        "wedding": random.choice(["02-29", near().isoformat()[5:]]),
        "region": random.choice(REGIONS),
        "visits": random.randint(-3, 3),
    }
    return {name: value for name, value in one.items() if random.random() < 0.9 or name == "live"}


spans = st.builds(Span, st.sampled_from([1, 2, 7, 30, 31, 52]), st.sampled_from(["day", "week", "month", "year"]))
ages = st.sampled_from([-1, 0, 1, 4, 23, 24, 27, 28, 63, 64]) | st.integers(0, 100)
whole = ages.map(lambda age: rule.number(str(age)))


def conditions() -> st.SearchStrategy[Node]:
    dated = st.sampled_from(["joined", "birthday", "wedding"])
    ops = st.sampled_from(COMPARISONS)
    days = st.sampled_from([-1, 0, 1, 30, 31, 400]).map(lambda n: rule.number(str(n)))
    paths = st.sampled_from([*REGIONS, "江苏"]).map(Value)
    return st.one_of(
        st.builds(rule.IsDay, dated, st.sampled_from(DAYS), st.booleans()),
        st.builds(rule.Within, dated, spans, st.booleans()),
        st.builds(rule.Older, st.just("joined"), spans),
        st.builds(rule.DaysSince, st.just("joined"), ops, days),
        st.builds(rule.InMonth, dated, st.integers(1, 12)),
        st.builds(rule.Compare, st.just("age"), ops, whole),
        st.builds(rule.Between, st.just("age"), whole, whole),
        st.builds(rule.OneOf, st.just("age"), st.lists(whole, min_size=1).map(rule.values_of), st.booleans()),
        st.builds(rule.Is, st.sampled_from(["age", "birthday", "region"]), st.sampled_from(["known", "unknown"])),
        st.builds(rule.InRegion, paths),
        st.builds(rule.Consent, st.sampled_from(["consented to", "opted out of"]), st.just("marketing")),
    )


def trees() -> st.SearchStrategy[Node]:
    def deeper(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(inner.map(rule.negate), some.map(rule.all_of), some.map(rule.any_of))

    return st.recursive(conditions(), deeper, max_leaves=4)


def rules() -> st.SearchStrategy[Rule]:
    ends = st.tuples(st.integers(0, 9_999), st.integers(0, 9_999)).map(sorted)
    salts = st.sampled_from(SALTS).map(Value)
    shares = st.builds(rule.Sample, st.sampled_from([1, 2_500, 5_000, 10_000]), salts)
    shares |= ends.map(lambda pair: rule.Bucket(*pair))
    tops = st.builds(rule.Top, st.integers(1, 20), st.just("visits"))
    some = st.lists(shares, max_size=2).map(rule.shares_of)
    return st.builds(Rule, trees(), st.none() | trees(), st.none() | st.integers(1, 30), st.none() | tops, some)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    today=st.sampled_from(TODAYS) | st.dates(date(2000, 1, 1), date(2101, 1, 1)),
    leap_rule=st.sampled_from(LEAP_RULES),
    kind=st.sampled_from(["date", "month_day"]),
    minutes=st.sampled_from([0, 30, 90, 720, 1_410]),
    batch=st.lists(rules(), min_size=1, max_size=5),
)
def test_columns_and_the_plain_evaluator_choose_the_same_members(
    shops: Shops,
    seed: int,
    today: date,
    leap_rule: str,
    kind: str,
    minutes: int,
    batch: list[Rule],
) -> None:
    store, tenants = shops
    tenant, random = tenants[leap_rule, kind], Random(seed)
    instant = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(minutes=minutes)
    world = reference.World(int(instant.timestamp() * 1000), "Europe/Berlin", leap_rule)
    people = {no: someone(random, world.today, kind) for no in NUMBERS if random.random() < 0.9}
    settle(store, tenant, people, {}, BLOCK + 40)
    for one in people.values():
        one["opted_out"] = {"marketing": 1 if one.get("stopped") else None}
    with store.snapshot() as view:
        for wanted in batch:
            compiled = compile_text(view, tenant, str(wanted), as_of_ms=world.as_of_ms)
            found = [
                block * BLOCK + slot for block, bitmap, _ in select(view, tenant, compiled) for slot in slots_of(bitmap)
            ]
            assert found == reference.chosen(wanted, people, world), str(wanted)


def happenings() -> st.SearchStrategy[Node]:
    campaigns = st.none() | st.sampled_from(["1", "2"]).map(Value)
    some = st.none() | spans
    counts = st.integers(-1, 4).map(lambda n: rule.number(str(n)))
    return st.one_of(
        st.builds(rule.Campaign, st.sampled_from(VERBS), campaigns, st.none(), some),
        st.builds(rule.Campaign, st.just("replied to"), campaigns, st.sampled_from(["1", "no"]).map(Value), some),
        st.builds(rule.Messages, spans, st.sampled_from(COMPARISONS), counts),
        st.builds(rule.Consent, st.sampled_from(CONSENTS), st.sampled_from(list(OPTOUT_GROUPS)), some),
    )


def answer(test: Test, one: dict[str, Any], as_of_ms: int) -> bool:
    """What a test says of one member, by the words of its keys."""
    match test:
        case Always(value):
            return value
        case Complement(part):
            return not answer(part, one, as_of_ms)
        case Every(parts):
            return all(answer(part, one, as_of_ms) for part in parts)
        case Some(parts):
            return any(answer(part, one, as_of_ms) for part in parts)
        case OnPlanes(((column, mask),)):
            assert column == FLAGS
            return any(
                one["opted_out"][group] is not None and mask == 1 << OPTOUT_GROUPS[group] for group in OPTOUT_GROUPS
            )
        case Given(ConsentChanged(what, group, since_ms)):
            said = one[what][group]
            return said is not None and said >= (since_ms or 0)
        case Given(MessagesIn(since_ms, low, high)):
            return low <= sum(e[0] == "sent" and since_ms <= e[3] <= as_of_ms for e in one["events"]) <= high
        case Given(Engaged(verb, campaign, text, since_ms)):
            return any(
                engaged.VERBS.get(e[0], e[0]) == verb
                and campaign in (None, e[1])
                and text in (None, e[2])
                and (since_ms or 0) <= e[3] <= as_of_ms
                for e in one["events"]
            )
    raise AssertionError(test)


@given(st.data(), st.sampled_from(TODAYS), st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Asia/Shanghai"]))
def test_what_happened_is_asked_for_from_the_first_instant_of_its_span(
    data: st.DataObject, today: date, zone: str
) -> None:
    wanted = data.draw(happenings())
    noon = datetime(today.year, today.month, today.day, 12, tzinfo=ZoneInfo(zone))
    world = reference.World(int(noon.timestamp() * 1000), zone)
    edges = [world.midnight_ms(today - timedelta(days)) for days in (1, 2, 7, 14, 30, 31, 365, 366, 3_000)]
    instants = st.sampled_from(
        [edge + off for edge in edges for off in (-1, 0, 1)] + [world.as_of_ms, world.as_of_ms + 1]
    )
    happened = st.tuples(st.sampled_from(VERBS), st.sampled_from([1, 2]), st.sampled_from(["1", "no"]), instants)
    words = st.fixed_dictionaries({group: st.none() | instants for group in OPTOUT_GROUPS})
    one = {"events": data.draw(st.lists(happened, max_size=5))}
    one |= {"opted_out": data.draw(words), "consented": data.draw(words)}
    typing = Typing({}, {}, (), Moment(world.as_of_ms, zone), {"1": (1,), "2": (2,)})
    assert answer(typing.test(Rule(wanted)), one, world.as_of_ms) == reference.holds(wanted, one, world)
