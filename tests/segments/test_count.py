"""Counts with top, limit, samples and a stop; two threads; and what explain says of each condition."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from dispatcher.fastmatch import BUCKETS, bucket_of, slots_of
from dispatcher.segments import compile_text, count, select
from dispatcher.segments.count import matched
from dispatcher.segments.explain import explain
from dispatcher.segments.select import member_numbers
from dispatcher.store import Store, open_store
from dispatcher.store.layout import BLOCK
from tests.segments.crowd import new_crowd, settle

NEXT_NO = 2 * BLOCK + 70
NUMBERS = [*range(50), *range(BLOCK - 3, BLOCK + 60), 2 * BLOCK + 5]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, int, dict[int, dict[str, Any]]]]:
    """Everybody has points; some through a delta row."""
    random = Random(4)
    people = {
        no: {"live": True, "points": random.randrange(9), "tier": random.choice([None, "gold"])} for no in NUMBERS
    }
    people |= {no: {"live": True} for no in (60, 61)}  # of unknown points
    edits = {no: {"points": random.randrange(12), "phone": 491700000000 + no} for no in random.sample(NUMBERS, 30)}
    with open_store(tmp_path_factory.mktemp("crowd"), write=True, create=True, sync=False) as store:
        tenant = new_crowd(store)
        settle(store, tenant, people, edits, NEXT_NO)
        yield store, tenant, {no: {**people[no], **edits.get(no, {})} for no in people}


def chosen(store: Store, tenant: int, text: str, threads: int = 1) -> list[int]:
    with store.snapshot() as view:
        compiled = compile_text(view, tenant, text)
        found = list(select(view, tenant, compiled, threads=threads))
        numbers = [block * BLOCK + slot for block, bitmap, _ in found for slot in slots_of(bitmap)]
        assert member_numbers(view, tenant, compiled, threads=threads).tolist() == numbers
        assert matched(view, tenant, compiled, threads=threads) == len(numbers) == sum(n for _, _, n in found)
        return numbers


@pytest.mark.parametrize("wanted", [1, 2, 7, 40, 113, 114, 1_000])
def test_top_takes_the_highest_known_values_and_the_lowest_numbers_among_equals(crowd: Any, wanted: int) -> None:
    store, tenant, people = crowd
    order = sorted((no for no, one in people.items() if "points" in one), key=lambda no: (-people[no]["points"], no))
    assert chosen(store, tenant, f"everyone top {wanted} by points") == sorted(order[:wanted])
    few = sorted(order[:wanted])[:3]
    assert chosen(store, tenant, f"everyone top {wanted} by points limit 3") == few


def test_a_count_of_a_top_has_the_waterfall_of_those_taken(crowd: Any) -> None:
    store, tenant, people = crowd
    with store.snapshot() as view:
        answer = count(view, tenant, "everyone top 20 by points")
        taken = chosen(store, tenant, "everyone top 20 by points")
        assert answer["matched"] == 20
        assert answer["waterfall"]["no_valid_number"] == sum("phone" not in people[no] for no in taken)
        assert answer["reachable"] + sum(answer["waterfall"].values()) == 20
        assert answer["unknown"] == 2  # two have no points


def test_a_sample_is_the_members_whose_bucket_says_so(crowd: Any) -> None:
    store, tenant, people = crowd
    expected = [no for no in sorted(people) if bucket_of(no, b"spring") < BUCKETS // 4]
    assert chosen(store, tenant, 'everyone sample 25% by "spring"') == expected
    assert chosen(store, tenant, 'everyone sample 25% by "spring"', threads=2) == expected


def test_a_count_is_ended_by_what_its_stop_raises(crowd: Any) -> None:
    store, tenant, _ = crowd

    def stop() -> None:
        raise TimeoutError

    with store.snapshot() as view, pytest.raises(TimeoutError):
        count(view, tenant, "points > 3", stop=stop)


def test_explain_says_of_each_condition_what_it_reads_and_matches(crowd: Any) -> None:
    store, tenant, people = crowd
    with store.snapshot() as view:
        found = explain(view, tenant, 'points >= 100 or (tier = "gold" and not points between 2 and 4)')
    assert found["members"] == len(people) and found["blocks"] == 3
    assert [(one["path"], one["test"]) for one in found["conditions"]] == [
        ("or.1", f"points in 100..{(1 << 63) - 1}"),
        ("or.2.and.1", "tier in 2"),
        ("or.2.and.2.not", "points in 2..4"),
    ]
    first, second, third = found["conditions"]
    assert first["matched"] == 0 and first["blocks_skipped"] == first["blocks"] == 3  # the headers say enough
    assert second["columns"] == [{"field": "tier", "part": 0, "kind": "u8"}]
    assert second["matched"] == sum(one.get("tier") == "gold" for one in people.values())
    assert third["matched"] == sum(2 <= one.get("points", 0) <= 4 for one in people.values())
    assert third["share"] == round(third["matched"] / len(people), 6)
    assert found["matched"] == sum(
        one.get("tier") == "gold" and not 2 <= one.get("points", 0) <= 4 for one in people.values()
    )
    assert all(one["bytes"] > 0 and one["ms"] >= 0 for one in found["conditions"])


def test_a_text_is_compiled_anew_when_fields_or_the_day_change(crowd: Any) -> None:
    store, tenant, _ = crowd
    day = 86_400_000
    with store.snapshot() as view:
        first = compile_text(view, tenant, "points > 3", as_of_ms=day)
        again = compile_text(view, tenant, "points > 3", as_of_ms=day + 1)
        other = compile_text(view, tenant, "points > 3", as_of_ms=3 * day)
    assert again.program is first.program and again.as_of_ms == day + 1
    assert other.program is not first.program
