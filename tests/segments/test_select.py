"""Kernel, reference and plain Python choose the same members, over blocks and delta rows, unknowns included."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.fastmatch import slots_of
from dispatcher.records.states import Purpose
from dispatcher.segments import compile_text, rule, select
from dispatcher.segments.count import count_compiled
from dispatcher.segments.plan import arrays_of
from dispatcher.segments.rule import Node, Rule, Value
from dispatcher.segments.select import keep_first
from dispatcher.store import Store, open_store
from dispatcher.store.columns import open_block
from dispatcher.store.layout import BLOCK
from tests.reference import fastmatch as reference
from tests.segments.crowd import BRANCHES, CITIES, TAGS, TIERS, chosen, new_crowd, settle

NEXT_NO = BLOCK + 90  # the second block has 1,024 slots
NUMBERS = [*range(40), BLOCK - 1, *range(BLOCK, BLOCK + 90)]
DATES = ["1969-12-31", "1970-01-01", "2024-02-29", "2024-05-01"]
DAYS = ["01-01", "02-29", "05-01", "12-31"]
NAMES = ["Anna", "anna", "Anne-Marie", "Ö", "na", "李雷", 'a "b" \\']
WHOLE = [-(1 << 31) + 1, -2, -1, 0, 1, 2, 7, (1 << 31) - 1]
BIG = [-(1 << 63) + 1, -1, 0, 1, (1 << 63) - 1]
MONEY = ["-1.5", "0", "0.000001", "12.50", "80"]
PHONES = [491700000001, 491700000002, 4420700001, 8613800000000]

VALUES: dict[str, list[Any]] = {
    "tier": TIERS,
    "city": CITIES,
    "branch": BRANCHES[:2] + BRANCHES[298:],
    "visits": WHOLE,
    "serial": BIG,
    "points": BIG,
    "joined": DATES,
    "birthday": DAYS,
    "spend": MONEY,
    "name": NAMES,
    "phone": PHONES,
}
ORDERED = ("visits", "serial", "points", "joined", "birthday", "spend")
QUOTED = ("tier", "city", "branch", "joined", "birthday", "name", "phone")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, int]]:
    with open_store(tmp_path_factory.mktemp("crowd"), write=True, create=True, sync=False) as store:
        yield store, new_crowd(store)


def someone(random: Random, share: float) -> dict[str, Any]:
    """Some of a member's values; each is there with probability `share`, and half the time unknown or known."""
    one: dict[str, Any] = {name: random.choice([None, *values, *values]) for name, values in VALUES.items()}
    one |= {"vip": random.choice([None, True, False]), "tags": random.sample(TAGS, random.choice([0, 0, 1, 3]))}
    one |= {"live": random.random() < 0.9, "suppressed": random.random() < 0.1, "stopped": random.random() < 0.2}
    return {name: value for name, value in one.items() if random.random() < share}


def literal(name: str, value: Any) -> Value:
    if name == "phone":
        return Value(f"+{value}")
    return Value(value) if name in QUOTED else rule.number(str(value))


def literals(name: str) -> st.SearchStrategy[Value]:
    return st.sampled_from([literal(name, value) for value in VALUES[name]])


def conditions() -> st.SearchStrategy[Node]:
    names, ordered = st.sampled_from(list(VALUES)), st.sampled_from(ORDERED)
    texts = st.sampled_from(["A", "n", "na", "nn", "雷", "e-", "Anna", "b"]).map(Value)
    tags = st.lists(st.sampled_from(TAGS).map(Value), min_size=1, max_size=4)
    return st.one_of(
        st.just(rule.Everyone()),
        names.flatmap(lambda n: st.builds(rule.Compare, st.just(n), st.sampled_from(["=", "!="]), literals(n))),
        ordered.flatmap(
            lambda n: st.builds(rule.Compare, st.just(n), st.sampled_from(["<", "<=", ">", ">="]), literals(n))
        ),
        ordered.flatmap(lambda n: st.builds(rule.Between, st.just(n), literals(n), literals(n))),
        names.flatmap(
            lambda n: st.builds(
                rule.OneOf,
                st.just(n),
                st.lists(literals(n), min_size=1, max_size=12).map(rule.values_of),
                st.booleans(),
            )
        ),
        st.builds(
            lambda n, negated: rule.OneOf("branch", rule.values_of(map(Value, BRANCHES[n::7])), negated),
            st.integers(0, 6),
            st.booleans(),
        ),
        st.builds(rule.Text, st.just("name"), st.sampled_from(["contains", "starts with", "ends with"]), texts),
        st.builds(rule.Text, st.just("phone"), st.just("starts with"), st.sampled_from(["49", "+442", "8"]).map(Value)),
        st.builds(rule.Is, st.sampled_from([*VALUES, "tags"]), st.sampled_from(["known", "unknown"])),
        st.builds(rule.Is, st.just("vip"), st.sampled_from(["yes", "no", "known", "unknown"])),
        st.builds(
            lambda names, every, lacks: rule.tags(names, every=every, lacks=lacks), tags, st.booleans(), st.booleans()
        ),
    )


def trees() -> st.SearchStrategy[Node]:
    def deeper(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, min_size=2, max_size=4)
        return st.one_of(inner.map(rule.negate), some.map(rule.all_of), some.map(rule.any_of))

    return st.recursive(conditions(), deeper, max_leaves=8)


def rules() -> st.SearchStrategy[Rule]:
    return st.builds(Rule, trees(), st.none() | trees(), st.none() | st.integers(1, 150))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 1 << 32), edited=st.sampled_from([0, 1, 30]), batch=st.lists(rules(), min_size=1, max_size=4)
)
def test_kernel_reference_and_plain_python_choose_the_same_members(
    crowd: tuple[Store, int], seed: int, edited: int, batch: list[Rule]
) -> None:
    store, tenant = crowd
    random = Random(seed)
    people = {no: {"live": True, **someone(random, 0.8)} for no in NUMBERS if random.random() < 0.8}
    edits = {no: someone(random, 0.4) for no in random.sample(NUMBERS, edited)}
    settle(store, tenant, people, edits, NEXT_NO)
    now = {no: {**people.get(no, {}), **edits.get(no, {})} for no in {*people, *edits}}
    with store.snapshot() as view:
        for wanted in batch:
            compiled = compile_text(view, tenant, str(wanted))
            assert compiled.rule == wanted and compiled.text == str(wanted)
            found = list(select(view, tenant, compiled))
            expected = chosen(wanted, now)
            assert [block * BLOCK + slot for block, bitmap, _ in found for slot in slots_of(bitmap)] == expected
            assert sum(count for _, _, count in found) == len(expected)

            block = open_block(view, tenant, 1, compiled.columns)
            plain = reference.match_block(compiled.program.octets, arrays_of(block, compiled.columns), block.slots)
            whole = chosen(Rule(wanted.who, wanted.without), now)
            assert [BLOCK + slot for slot, bit in enumerate(plain) if bit] == [no for no in whole if no >= BLOCK]

            answer = count_compiled(view, tenant, compiled, Purpose.MARKETING)
            left, waterfall = expected, {}
            for reason, stops in (
                ("no_valid_number", lambda one: not one.get("phone")),
                ("suppressed", lambda one: one.get("suppressed")),
                ("opted_out", lambda one: one.get("stopped")),
            ):
                waterfall[reason] = sum(bool(stops(now[no])) for no in left)
                left = [no for no in left if not stops(now[no])]
            fields = [field.name for field in compiled.fields if field.kind != "tags"]
            unknown = [
                no for no, one in now.items() if one.get("live") and any(one.get(f) in (None, "") for f in fields)
            ]
            assert answer == {
                "matched": len(expected),
                "reachable": len(left),
                "waterfall": waterfall,
                "unknown": len(unknown),
            }


@given(st.binary(max_size=64), st.integers(0, 600))
def test_keep_first_keeps_the_lowest_bits(octets: bytes, count: int) -> None:
    bitmap = bytearray(octets.ljust(BLOCK // 8, b"\0"))
    before = slots_of(bitmap)
    keep_first(bitmap, count)
    assert slots_of(bitmap) == before[:count]


def test_a_tenant_without_members_has_nobody(crowd: tuple[Store, int]) -> None:
    store, _ = crowd
    with store.snapshot() as view:
        assert list(select(view, 99, compile_text(view, 99, "everyone"))) == []
