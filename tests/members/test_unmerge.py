"""A merge taken back: both are as before, but for what was changed since, which stays and is named."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.apps.merge import merge_members, unmerge_members
from dispatcher.apps.points.account import add_points, balance
from dispatcher.control.commands import (
    AddPoints,
    AddSuppression,
    EraseMember,
    MergeMembers,
    UnmergeMembers,
    UpsertMember,
)
from dispatcher.members.aliases import alias_of, merged_into
from dispatcher.members.consent import opted_out, record_optout, suppressed
from dispatcher.members.erase import erase_member
from dispatcher.members.member import upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.records.changes import Changes
from dispatcher.records.keys import public_member_id
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number, fold_some
from dispatcher.store.layout import OPTOUT_GROUPS
from dispatcher.store.values import pack, unpack
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused
from tests.members.test_merge import ONE, THREE, TWO, earn, merged, problems, shown
from tests.members.test_merge import shop as shop  # the fixture

LATER_MS = NOW_MS + 120_000


def apart(store: Store, member_no: int = 1, **rest: Any) -> dict[str, Any]:
    reply = do(store, unmerge_members, UnmergeMembers(member_no=member_no, **rest), at_ms=LATER_MS)
    assert problems(store) == []
    return reply


def change(store: Store, member_no: int, **values: Any) -> None:
    do(store, upsert_member, UpsertMember(member_no=member_no, create=False, values=values), at_ms=LATER_MS)


def two(store: Store) -> list[dict[str, Any]]:
    new_member(store, ONE, city="Bonn", tags=["a", "b"])
    new_member(store, TWO, city="Berlin", name="Ada", tags=["b", "c"])
    earn(store, 1, 40, "k")
    return [shown(store, 0), shown(store, 1)]


def owner(store: Store, number: int) -> int | None:
    with store.snapshot() as view:
        return find_number(view, 1, number)


@pytest.mark.parametrize("take", [[], ["city"], ["phone"], ["city", "phone"]])
def test_both_are_as_they_were_before_the_merge(shop: Store, take: list[str]):
    before = two(shop)
    merged(shop, take=take)
    reply = apart(shop)
    assert [shown(shop, 0), shown(shop, 1)] == before
    assert (reply["changed_since"], reply["points_back"], reply["points_missing"]) == ([], 40, 0)
    assert (reply["id"], reply["from"]) == (public_member_id(1), public_member_id(0))
    assert (owner(shop, ONE), owner(shop, TWO)) == (0, 1)
    with shop.snapshot() as view:
        assert merged_into(view, 1, 1) is None and alias_of(view, 1, TWO) is None


def test_a_dry_run_says_the_same_and_writes_nothing(shop: Store):
    two(shop)
    merged(shop)
    winner = shown(shop, 0)
    said = apart(shop, dry_run=True)
    assert shown(shop, 0) == winner
    assert {**said, "dry_run": False} == apart(shop)


def test_what_was_changed_since_stays_and_is_named(shop: Store):
    two(shop)
    merged(shop, take=["city"])
    change(shop, 0, name="Ada Lovelace")
    reply = apart(shop)
    assert reply["changed_since"] == ["name"] and "city" in reply["restored"]
    assert shown(shop, 0)["values"]["name"] == "Ada Lovelace"
    assert shown(shop, 0)["values"]["city"] == "Bonn"
    assert shown(shop, 1)["values"] == {**shown(shop, 1)["values"], "name": "Ada", "city": "Berlin"}


def test_points_spent_since_are_missing_and_said(shop: Store):
    two(shop)
    merged(shop)
    do(shop, add_points, AddPoints(member_no=0, delta=-30, source="till", key="spent"), at_ms=LATER_MS - 1)
    reply = apart(shop)
    assert (reply["points_back"], reply["points_missing"], reply["changed_since"]) == (10, 30, ["points"])
    with shop.snapshot() as view:
        assert [balance(view, 1, no) for no in (0, 1)] == [0, 10]


def test_a_number_changed_since_stays_and_the_losers_comes_back(shop: Store):
    two(shop)
    merged(shop)
    do(shop, upsert_member, UpsertMember(member_no=0, create=False, msisdn=f"+{THREE}"), at_ms=LATER_MS)
    reply = apart(shop)
    assert reply["changed_since"] == ["phone"]
    assert (owner(shop, ONE), owner(shop, TWO), owner(shop, THREE)) == (None, 1, 0)


def test_a_losers_number_that_is_somebody_elses_by_now_refuses_it(shop: Store):
    two(shop)
    merged(shop)
    changes = Changes()
    with shop.begin_write() as view:  # as an import that was told to take freed numbers leaves it
        changes.delete("merges", b"\0\1" + TWO.to_bytes(8, "big"))
        view.apply(changes)
    new_member(shop, TWO)
    problem = refused(shop, unmerge_members, UnmergeMembers(member_no=1))
    assert (problem.status, problem.code) == (409, "duplicate_number")
    assert str(TWO) in problem.detail and public_member_id(2) in problem.detail


def test_an_opt_out_and_a_suppression_that_came_by_the_merge_go_and_those_said_since_stay(shop: Store):
    two(shop)
    groups = list(OPTOUT_GROUPS)
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, TWO, groups[:2], NOW_MS, "SMS: STOP"))
    do(shop, add_suppression, AddSuppression(numbers=[f"+{TWO}"]))
    merged(shop)
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, ONE, groups[1], LATER_MS - 1, "SMS: STOP"))
    reply = apart(shop)
    assert reply["changed_since"] == [f"opt-out of {groups[1]}"]
    with shop.snapshot() as view:
        assert [opted_out(view, 1, ONE, group) for group in groups[:2]] == [False, True]
        assert [opted_out(view, 1, TWO, group) for group in groups[:2]] == [True, True]
        assert (suppressed(view, 1, ONE), suppressed(view, 1, TWO)) == (False, True)
    assert shown(shop, 0)["opted_out"] == [groups[1]] and not shown(shop, 0)["suppressed"]
    assert shown(shop, 1)["opted_out"] == groups[:2] and shown(shop, 1)["suppressed"]


def test_of_a_chain_the_last_merge_is_taken_back_first(shop: Store):
    before = two(shop)
    new_member(shop, THREE)
    merged(shop)
    merged(shop, winner=2, loser=0)
    problem = refused(shop, unmerge_members, UnmergeMembers(member_no=1))
    assert (problem.status, problem.code) == (409, "state_conflict")
    assert problem.extra == {"merged_into": public_member_id(2)}
    apart(shop, 0)
    apart(shop, 1)
    assert [shown(shop, 0), shown(shop, 1)] == before


def test_what_cannot_be_taken_back_is_refused_and_says_why(shop: Store):
    two(shop)
    assert refused(shop, unmerge_members, UnmergeMembers(member_no=1)).code == "state_conflict"
    assert refused(shop, unmerge_members, UnmergeMembers(member_no=99)).status == 404
    assert refused(shop, unmerge_members, UnmergeMembers(member_no=-1)).status == 404
    merged(shop)
    changes = Changes()
    with shop.begin_write() as view:
        key, octets = next(row for row in view.range("merges") if len(row[0]) == 6)
        row = unpack(octets)
        changes.put("merges", key, pack({name: row[name] for name in row if name not in ("undo", "v")}))
        view.apply(changes)
    assert "kept nothing" in refused(shop, unmerge_members, UnmergeMembers(member_no=1)).detail


def test_who_was_erased_is_not_brought_back(shop: Store):
    two(shop)
    merged(shop)
    do(shop, erase_member, EraseMember(member_no=0, salt=bytes(16)))
    assert refused(shop, unmerge_members, UnmergeMembers(member_no=1)).status in (404, 409)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.fixed_dictionaries(
            {}, optional={"city": st.sampled_from(["Bonn", "Berlin"]), "name": st.sampled_from(["Ada", "Bo"]),
                          "tags": st.lists(st.sampled_from("abc"), unique=True)}
        ),
        min_size=2, max_size=2,
    ),
    take=st.lists(st.sampled_from(["city", "name", "phone"]), unique=True),
    earned=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    folds=st.tuples(st.booleans(), st.booleans()),
    again=st.booleans(),
)  # fmt: skip
def test_whatever_was_merged_comes_apart_as_it_was(values, take, earned, folds, again):
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder), write=True, create=True, sync=False) as store,
    ):
        new_shop(store)
        for number, given_values in zip((ONE, TWO), values, strict=True):
            new_member(store, number, **given_values)
        for no, points in enumerate(earned):
            if points:
                earn(store, no, points, f"k{no}")
        before = [shown(store, 0), shown(store, 1)]
        for n in range(1 + again):
            _fold(store, folds[0])
            at_ms = LATER_MS + 60_000 * n
            do(store, merge_members, MergeMembers(winner=0, loser=1, take=take), at_ms=at_ms)
            _fold(store, folds[1])
            reply = do(store, unmerge_members, UnmergeMembers(member_no=1), at_ms=at_ms + 1_000)
            assert reply["changed_since"] == [] and problems(store) == []
            assert [shown(store, 0), shown(store, 1)] == before


def _fold(store: Store, wanted: bool) -> None:
    if wanted:
        with store.begin_write() as view:
            view.apply(fold_some(view, 1))
