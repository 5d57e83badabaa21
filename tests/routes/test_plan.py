"""Whole blocks of numbers get the endpoints that the reference gives one number; weights, prefixes, ported numbers."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Route
from dispatcher.routes.plan import NO_ROUTE, WAIT, Plan, Rule
from tests.reference import routes as reference

NETWORKS = ["cmcc", "ctcc", "cucc"]
names = st.sampled_from(["a", "b", "c", "d"])
prefix = st.text("1234", min_size=1, max_size=5)
tiers = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=3, unique_by=lambda t: t[0]).map(tuple),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    made = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        route = Route(
            name=name, endpoints=("x",), prefixes=tuple(draw(st.lists(prefix, max_size=3))),
            networks=tuple(draw(st.lists(st.sampled_from(NETWORKS), max_size=2, unique=True))),
            senders=("S",) * draw(st.integers(0, 1)), cost=draw(st.integers(0, 2)), failover_after_s=5.0,
        )  # fmt: skip
        made.append(Rule(route, draw(tiers), "file"))
    return made


numbers_ = st.lists(
    st.one_of(st.just(0), st.text("1234", min_size=1, max_size=15).map(int), st.integers(1, 10**15 - 1)), max_size=64
)
standing_ = st.dictionaries(st.integers(0, 3), st.sampled_from([0.0, 3.0, 100.0]))


def table(ported: dict[int, str]) -> list[memoryview]:
    entries = sorted(number << 14 | NETWORKS.index(network) for number, network in ported.items())
    cut = [entries[at : at + 3] for at in range(0, len(entries), 3)]  # several values
    return [memoryview(struct.pack(f"<{len(some)}Q", *some)) for some in cut]


@given(rules(), standing_, numbers_, st.integers(0, 2**64 - 1), st.data())
def test_a_block_goes_where_each_of_its_numbers_goes(rules, standing, numbers, todo, data):
    ported = {n: data.draw(st.sampled_from(NETWORKS)) for n in numbers[::3] if n}
    plan = Plan(rules, standing, NETWORKS)
    bits = bytearray(todo.to_bytes(8, "little"))
    shares = plan.split(struct.pack(f"<{len(numbers)}Q", *numbers), bits, table(ported))
    found = {**shares.of, WAIT: shares.waits or bytes(8), NO_ROUTE: shares.no_route or bytes(8)}
    masks = {end: int.from_bytes(mine, "little") for end, mine in found.items()}
    assert sum(masks.values()) == todo, "disjoint, and all of it"
    for slot, number in enumerate(numbers):
        if number and todo >> slot & 1:
            expected = reference.endpoint_of(number, rules, standing, ported)
            assert masks[expected] >> slot & 1, (number, expected)
            assert plan.one(number, table(ported)) == expected


def rule(name: str, *tiers: dict[int, int], **route) -> Rule:
    return Rule(Route(name=name, endpoints=("x",), **route), tuple(tuple(tier.items()) for tier in tiers), "file")


def ends(plan: Plan, numbers) -> Counter[int]:
    return Counter(plan.one(number, []) for number in numbers)


def test_weights_are_kept_and_a_number_always_goes_the_same_way():
    plan = Plan([rule("r", {0: 3, 1: 1})], {0: 0.0, 1: 0.0})
    found = ends(plan, range(10**9, 10**9 + 20_000))
    assert found[0] == pytest.approx(15_000, rel=0.03) and found.total() == 20_000
    again = Plan([rule("r", {0: 3, 1: 1})], {0: 0.0, 1: 0.0})
    assert all(plan.one(n, []) == again.one(n, []) for n in range(10**9, 10**9 + 500))


def test_one_endpoint_for_everybody_asks_no_kernel():
    assert Plan([rule("r", {4: 1})], {4: 0.0}).only == 4
    assert Plan([rule("r", {4: 1}, prefixes=("86",))], {4: 0.0}).only is None, "others have no route"


def test_a_longer_prefix_wins_and_a_prefix_longer_than_the_number_does_not():
    plan = Plan(
        [rule("cn", {0: 1}, prefixes=("86",)), rule("cmcc", {1: 1}, prefixes=("86134", "861350"))], {0: 0.0, 1: 0.0}
    )
    assert [plan.one(n, []) for n in (8613400000000, 8613500000000, 8613510000000, 4915100000000, 86135)] == [
        1,
        1,
        0,
        NO_ROUTE,
        0,
    ]


def test_what_is_down_for_long_is_left_out_then_the_failover_then_the_dearer_route():
    rules = [rule("a", {0: 1, 1: 1}, {2: 1}, failover_after_s=5.0), rule("b", {3: 1}, cost=7)]
    one = [Plan(rules, s).one(8613400000000, []) for s in (
        {0: 0.0, 1: 9.0, 2: 0.0, 3: 0.0}, {0: 9.0, 1: 9.0, 2: 0.0, 3: 0.0}, {0: 9.0, 1: 9.0, 2: 9.0, 3: 0.0},
    )]  # fmt: skip
    assert one == [0, 2, 3]
    waiting = ends(Plan(rules, dict.fromkeys(range(4), 99.0)), range(10**9, 10**9 + 100))
    assert set(waiting) == {0, 1}, "all are down: its own endpoints keep it"
    assert ends(Plan(rules, {}), [10**9]) == {WAIT: 1}, "none of them is configured"
