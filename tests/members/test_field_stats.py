"""What a field holds over all live members, against a count in Python; blocks and delta rows alike."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.field_uses import edit_field
from dispatcher.control.commands import DefineField, EditField, EraseMember
from dispatcher.errors import CommandRefused
from dispatcher.members.erase import erase_member
from dispatcher.members.field_stats import field_stats
from dispatcher.members.fields import define_field, fields_of
from dispatcher.records.changes import Changes
from dispatcher.store import Store, open_store
from dispatcher.store.blocks import NUMBER, default_array, slots_of, text_array, write_block
from dispatcher.store.columns import BLOCK, FLAGS, ColumnKind, fold_some
from dispatcher.tenants.tenant import put_next_member_no
from tests.fakes.shop import do, new_member, new_shop

NUMBER_OF = 4915100000001


@pytest.fixture(autouse=True)
def _shop(store: Store) -> None:
    new_shop(store)


def people(store: Store, *values: dict[str, Any], fold: bool = False) -> None:
    for i, given_values in enumerate(values):
        new_member(store, NUMBER_OF + i, **given_values)
    if fold:
        with store.begin_write() as view:
            view.apply(fold_some(view, 1))


def stats(store: Store, name: str, **options: Any) -> dict[str, Any]:
    with store.snapshot() as view:
        return field_stats(view, 1, name, 0, **options)


def top(found: dict[str, Any]) -> list[tuple[Any, int]]:
    return [(part["value"], part["count"]) for part in found["top"]]


def spread(found: dict[str, Any]) -> list[tuple[Any, Any, int]]:
    return [(part["from"], part["to"], part["count"]) for part in found["histogram"]]


@pytest.mark.parametrize("fold", [False, True], ids=["delta", "blocks"])
def test_a_dictionary_tells_its_most_frequent_words(store: Store, fold: bool):
    people(store, {"city": "Bonn"}, {"city": "Ulm"}, {"city": "Ulm"}, {}, fold=fold)
    found = stats(store, "city")
    assert top(found) == [("Ulm", 2), ("Bonn", 1)]
    assert [found[name] for name in ("members", "known", "unknown", "distinct", "min")] == [4, 3, 1, 2, None]
    assert top(stats(store, "city", top=1)) == [("Ulm", 2)]


def test_tags_are_counted_each_and_who_has_none_is_unknown(store: Store):
    people(store, {"tags": ["a", "b"]}, {"tags": ["b"]}, {}, {"tags": ["c"]})
    new_member(store, NUMBER_OF + 3, tags=[])
    found = stats(store, "tags")
    assert (top(found), found["known"], found["unknown"], found["distinct"]) == ([("b", 2), ("a", 1)], 2, 2, 2)


def test_yes_and_no(store: Store):
    people(store, {"vip": True}, {"vip": False}, {"vip": False}, {})
    assert top(stats(store, "vip")) == [(False, 2), (True, 1)]


def test_days_of_the_year_are_spread_over_months(store: Store):
    people(store, {"birthday": "02-29"}, {"birthday": "02-01"}, {"birthday": "12-31"})
    found = stats(store, "birthday")
    assert (found["min"], found["max"]) == ("02-01", "12-31")
    assert spread(found)[1] == ("02-01", "03-01", 2) and spread(found)[11] == ("12-01", "01-01", 1)
    assert len(spread(found)) == 12


def test_numbers_have_round_bins(store: Store):
    people(store, *({"visits": n} for n in (-1, 0, 7, 19, 20)), {})
    found = stats(store, "visits", bins=5)
    assert (found["min"], found["max"], found["known"], found["distinct"]) == (-1, 20, 5, 5)
    assert spread(found) == [(-10, 0, 1), (0, 10, 2), (10, 20, 1), (20, 30, 1)]


def test_numbers_far_apart_are_told_apart_up_to_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dispatcher.members.field_stats.DISTINCT_MAX", 3)
    people(store, *({"serial": n * 10**12} for n in (-3, 1, 2, 2)))
    found = stats(store, "serial")
    assert (found["distinct"], found["distinct_more"]) == (3, False)
    new_member(store, NUMBER_OF + 9, serial=10**15)
    found = stats(store, "serial")
    assert (found["distinct"], found["distinct_more"]) == (3, True)
    assert sum(count for _, _, count in spread(found)) == 5


@pytest.mark.parametrize(
    ("days", "edges"),
    [
        (("2026-02-27", "2026-03-01"), ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]),
        (("2026-01-31", "2026-03-01"), ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"]),
        (("2020-02-29", "2026-12-31"), [f"{year}-01-01" for year in range(2020, 2028)]),
        (("1931-05-05", "2009-01-01"), [f"{year}-01-01" for year in range(1930, 2011, 5)]),
        (("0001-01-01", "0001-01-02"), ["0001-01-01", "0001-01-02", "0001-01-03"]),
    ],
)
def test_dates_are_spread_over_the_calendar(store: Store, days: tuple[str, ...], edges: list[str]):
    people(store, *({"joined": day} for day in days))
    found = stats(store, "joined")
    assert [part[0] for part in spread(found)] + [spread(found)[-1][1]] == edges
    assert (found["min"], found["max"]) == days and sum(part[2] for part in spread(found)) == len(days)


def test_the_ends_of_the_calendar_are_days_too(store: Store):
    people(store, {"joined": "0001-01-01"}, {"joined": "9999-12-31"})
    found = stats(store, "joined")
    assert (found["min"], found["max"], sum(part[2] for part in spread(found))) == ("0001-01-01", "9999-12-31", 2)


def test_a_text_tells_its_most_frequent_words_exactly_up_to_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch):
    people(store, {"name": "Ann"}, {"name": "Bob"}, {"name": "Bob"}, {})
    found = stats(store, "name")
    assert (top(found), found["known"], found["top_exact"]) == ([("Bob", 2), ("Ann", 1)], 3, True)
    monkeypatch.setattr("dispatcher.members.field_stats.DISTINCT_MAX", 1)
    found = stats(store, "name")
    assert (found["distinct"], found["distinct_more"], found["top_exact"]) == (1, True, False)


def test_of_a_pii_field_nothing_is_told_that_is_one_persons(store: Store):
    people(store, *({"name": "Ann", "visits": i, "city": "Bonn"} for i in range(5)), {"city": "Ulm"})
    for name in ("name", "visits", "city"):
        do(store, edit_field, EditField(title=name, changes={"pii": True}))
    assert stats(store, "name")["top"] is None and stats(store, "name")["masked"]
    visits = stats(store, "visits")
    assert (visits["min"], visits["max"], visits["distinct"]) == (None, None, 5)
    assert top(stats(store, "city")) == [("Bonn", 5)]


def test_who_is_erased_is_not_counted(store: Store):
    people(store, {"city": "Bonn"}, {"city": "Ulm"}, fold=True)
    do(store, erase_member, EraseMember(member_no=0))
    found = stats(store, "city")
    assert (top(found), found["members"]) == ([("Ulm", 1)], 1)


def test_the_fields_of_every_tenant_have_stats_too(store: Store):
    people(store, {}, {})
    assert [stats(store, "phone")[name] for name in ("known", "distinct", "top")] == [2, 2, []]
    assert spread(stats(store, "points")) == [(0, 1, 2)]


def test_a_field_nobody_has_and_a_tenant_without_members(store: Store):
    for name in ("city", "visits", "joined", "name", "tags", "birthday", "points"):
        found = stats(store, name)
        assert (found["members"], found["known"], found["unknown"], found["distinct"]) == (0, 0, 0, 0)
    people(store, {})
    assert stats(store, "visits")["unknown"] == 1


def test_an_unknown_field_is_404_with_the_nearest(store: Store):
    with pytest.raises(CommandRefused) as caught:
        stats(store, "cty")
    assert (caught.value.status, caught.value.extra["did_you_mean"]) == (404, "city")


def test_many_blocks_and_a_wide_dictionary_add_up(store: Store):
    do(store, define_field, DefineField(title="area", kind="dict", max_values=300))
    do(store, edit_field, EditField(title="area", changes={"add_values": [f"a{i}" for i in range(300)]}))
    no = 2 * BLOCK + 100
    with store.begin_write() as view:
        changes = Changes()
        fields = fields_of(view, 1)
        for block in range(3):
            slots = slots_of(no, block)
            live = min(BLOCK, no - block * BLOCK)
            flags = bytearray(slots)
            flags[: slots // 8] = ((1 << live) - 1).to_bytes(slots // 8, "little")
            write_block(changes, 1, FLAGS[0], 0, block, ColumnKind.PLANES, slots, flags)
            members = range(block * BLOCK, block * BLOCK + live)
            numbers = b"".join(NUMBER[ColumnKind.U16].pack(1 + m % 300) for m in members)
            rest = default_array(ColumnKind.U16, slots)[len(numbers) :]
            write_block(changes, 1, fields["area"].number, 0, block, ColumnKind.U16, slots, numbers + rest)
            texts = text_array([b"n%d" % (m % 7) for m in members], slots)
            write_block(changes, 1, fields["name"].number, 0, block, ColumnKind.TEXT, slots, texts)
        put_next_member_no(changes, view, 1, no)
        view.apply(changes)
    areas, names = Counter(f"a{m % 300}" for m in range(no)), Counter(f"n{m % 7}" for m in range(no))
    assert dict(top(stats(store, "area", top=300))) == dict(areas)
    assert dict(top(stats(store, "name"))) == dict(names)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "visits": st.integers(-1_000, 1_000),
                "spend": st.integers(-(10**15), 10**15),
                "joined": st.dates().map(datetime.date.isoformat),
                "city": st.sampled_from("abc"),
                "name": st.sampled_from(["Ann", "Bob"]),
            },
        ),
        max_size=12,
    ),
    st.integers(0, 12),
    st.integers(1, 30),
)
def test_any_members_are_counted_as_python_counts_them(
    tmp_path_factory: pytest.TempPathFactory, members: list[dict[str, Any]], folded: int, bins: int
):
    with open_store(tmp_path_factory.mktemp("any") / "data", write=True, create=True) as store:
        new_shop(store)
        for i, values in enumerate(members):
            new_member(store, NUMBER_OF + i, **values)
            if i == folded:
                people(store, fold=True)
        for name in ("visits", "spend", "joined", "city", "name"):
            found = stats(store, name, bins=bins)
            there = [values[name] for values in members if name in values]
            assert (found["known"], found["distinct"]) == (len(there), len(set(there)))
            if name in ("city", "name"):
                assert dict(top(found)) == dict(Counter(there))
            elif there:
                assert (found["min"], found["max"]) == (min(there), max(there))
                assert len(spread(found)) <= max(bins, 4)
                for low, high, count in spread(found):
                    last = high == "9999-12-31"
                    assert count == sum(1 for value in there if low <= value < high or (last and value == high))
