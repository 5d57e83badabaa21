"""Two members who are one: values, tags, points, consent and number of both, in one transaction, and nothing twice."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.apps.keywords import react
from dispatcher.apps.merge import merge_members
from dispatcher.apps.points.account import add_points, balance, statement
from dispatcher.control.commands import AddPoints, AddSuppression, EraseMember, MergeMembers, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members.aliases import alias_numbers, alias_of, merged_into
from dispatcher.members.consent import lift_optout, opted_out, record_optout, suppressed
from dispatcher.members.erase import erase_member
from dispatcher.members.member import member_json, upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.keys import public_member_id
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number, fold_some
from dispatcher.store.verify import find_problems
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

ONE, TWO, THREE = 4915100000001, 4915100000002, 4915100000003


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    return store


def shown(store: Store, member_no: int) -> dict[str, Any]:
    with store.snapshot() as view:
        member = member_json(view, 1, member_no)
    assert member is not None
    return member


def merged(store: Store, winner: int = 0, loser: int = 1, **rest: Any) -> dict[str, Any]:
    reply = do(store, merge_members, MergeMembers(winner=winner, loser=loser, **rest), at_ms=NOW_MS + 60_000)
    assert problems(store) == []
    return reply


def problems(store: Store) -> list[str]:
    with store.snapshot() as view:
        return [str(problem) for problem in find_problems(view)]


def earn(store: Store, member_no: int, delta: int, key: str) -> None:
    do(store, add_points, AddPoints(member_no=member_no, delta=delta, source="till", key=key))


def test_unknown_values_are_filled_tags_are_joined_and_conflicts_are_told(shop: Store):
    new_member(shop, ONE, name="Ada", city="Bonn", tags=["hotpot"])
    new_member(shop, TWO, name="Ada L.", city="Bonn", vip=True, visits=7, tags=["seafood", "hotpot"])
    reply = merged(shop)
    assert reply["filled"] == ["visits", "vip"] and reply["taken"] == [] and reply["tags_added"] == ["seafood"]
    assert reply["conflicts"] == [{"field": "name", "winner": "Ada", "loser": "Ada L."}]
    values = shown(shop, 0)["values"]
    assert (values["name"], values["city"], values["vip"], values["visits"]) == ("Ada", "Bonn", True, 7)
    assert values["tags"] == ["hotpot", "seafood"]


def test_the_loser_is_right_about_the_fields_that_are_named(shop: Store):
    new_member(shop, ONE, name="Ada", city="Bonn")
    new_member(shop, TWO, name="Ada L.", city="Köln")
    reply = merged(shop, take=["name"])
    assert reply["taken"] == ["name"] and [c["field"] for c in reply["conflicts"]] == ["city"]
    assert shown(shop, 0)["values"]["name"] == "Ada L."


def test_points_go_over_by_an_entry_in_each_account(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    earn(shop, 0, 40, "a")
    earn(shop, 1, 100, "b")
    reply = merged(shop)
    assert (reply["points_moved"], reply["points"]) == (100, 140)
    with shop.snapshot() as view:
        assert balance(view, 1, 0) == 140
        (gave, *_), (got, *_) = statement(view, 1, 1), statement(view, 1, 0)
    assert (gave["delta"], gave["balance"], gave["source"]) == (-100, 0, "merge")
    assert (got["delta"], got["balance"]) == (100, 140)
    assert gave["credit"] == got["debit"] == "transfer:merge"


def test_the_losers_number_leads_to_the_winner(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    reply = merged(shop)
    assert (reply["msisdn"], reply["alias"]) == (f"+{ONE}", f"+{TWO}")
    with shop.snapshot() as view:
        assert find_number(view, 1, TWO) is None and alias_of(view, 1, TWO) == 0
        assert merged_into(view, 1, 1) == 0 and merged_into(view, 1, 0) is None
        assert alias_numbers(view, 1, [ONE, TWO, THREE]) == {TWO: 0}
    again = do(shop, upsert_member, UpsertMember(msisdn=f"+{TWO}", values={"visits": 3}))
    assert (again["member_no"], again["created"]) == (0, False)
    assert shown(shop, 0)["msisdn"] == f"+{ONE}" and shown(shop, 0)["values"]["visits"] == 3
    refusal = refused(shop, upsert_member, UpsertMember(msisdn=f"+{TWO}", must_be_new=True))
    assert (refusal.code, refusal.extra) == ("duplicate_number", {"member": public_member_id(0)})


def test_taking_the_phone_keeps_the_losers_number_and_the_winners_leads_on(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    reply = merged(shop, take=["phone"])
    assert (reply["msisdn"], reply["alias"]) == (f"+{TWO}", f"+{ONE}")
    with shop.snapshot() as view:
        assert find_number(view, 1, TWO) == 0 and alias_of(view, 1, ONE) == 0


def test_a_chain_of_merges_leads_to_the_last(shop: Store):
    for number in (ONE, TWO, THREE):
        new_member(shop, number)
    merged(shop, winner=1, loser=2)
    merged(shop, winner=0, loser=1)
    with shop.snapshot() as view:
        assert merged_into(view, 1, 2) == 0
        assert alias_of(view, 1, THREE) == alias_of(view, 1, TWO) == 0


def test_a_number_that_led_on_may_be_taken_as_ones_own(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    merged(shop)
    do(shop, upsert_member, UpsertMember(member_no=0, msisdn=f"+{TWO}", create=False))
    assert shown(shop, 0)["msisdn"] == f"+{TWO}" and problems(shop) == []


@pytest.mark.parametrize("take", [[], ["phone"]])
@pytest.mark.parametrize("who", [ONE, TWO])
def test_what_either_opted_out_of_the_one_that_stays_is_out_of(shop: Store, who: int, take: list[str]):
    for number in (ONE, TWO):
        new_member(shop, number)
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, who, "marketing", NOW_MS, "SMS: STOP"))
    merged(shop, take=take)
    kept = TWO if take else ONE
    assert shown(shop, 0)["opted_out"] == ["marketing"]
    with shop.snapshot() as view:
        assert opted_out(view, 1, kept, "marketing") and opted_out(view, 1, who, "marketing")


def test_a_suppressed_losers_winner_is_suppressed(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    do(shop, add_suppression, AddSuppression(numbers=[f"+{TWO}"]))
    merged(shop)
    assert shown(shop, 0)["suppressed"]
    with shop.snapshot() as view:
        assert suppressed(view, 1, ONE)


def test_a_stop_from_the_old_number_holds_and_a_start_from_it_does_not_lift(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    merged(shop)
    with shop.begin_write() as view:
        view.apply(record_optout(view, 1, TWO, ("marketing", "care"), NOW_MS + 90_000, "SMS: STOP"))
    assert shown(shop, 0)["opted_out"] == ["marketing", "care"] and problems(shop) == []
    with shop.begin_write() as view:
        view.apply(lift_optout(view, 1, TWO, ("marketing", "care"), NOW_MS + 99_000, "SMS: START"))
    assert shown(shop, 0)["opted_out"] == ["marketing", "care"] and problems(shop) == []


def test_the_old_phone_asks_for_the_balance_of_the_one_who_took_over(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number)
    earn(shop, 1, 70, "a")
    merged(shop)
    heard = Heard(what="points", tenant=1, number=TWO, answer_from="SHOP")
    with shop.begin_write() as view:
        _, entry = react(view, heard, NOW_MS)
    assert entry is not None and "70" in entry.text and entry.to == TWO


def test_a_dry_run_says_the_same_and_writes_nothing(shop: Store):
    new_member(shop, ONE, name="Ada")
    new_member(shop, TWO, name="Bea")
    told = merged(shop, dry_run=True)
    assert told.pop("dry_run") and shown(shop, 1)["values"]["name"] == "Bea"
    done = merged(shop)
    assert not done.pop("dry_run") and done == told


def test_a_merge_that_cannot_be_is_refused_and_says_why(shop: Store):
    for number in (ONE, TWO, THREE):
        new_member(shop, number)
    assert refused(shop, merge_members, MergeMembers(winner=0, loser=0)).status == 422
    assert refused(shop, merge_members, MergeMembers(winner=0, loser=9)).status == 404
    assert refused(shop, merge_members, MergeMembers(winner=0, loser=1, take=["nmae"])).code == "unknown_field"
    merged(shop)
    gone = refused(shop, merge_members, MergeMembers(winner=2, loser=1))
    assert (gone.status, gone.extra) == (409, {"merged_into": public_member_id(0)})


def _sums(store: Store) -> int:
    with store.snapshot() as view:
        return sum(balance(view, 1, no) or 0 for no in range(5))


@settings(max_examples=25, deadline=None)
@given(
    earned=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 500)), max_size=8),
    merges=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4),
    stops=st.lists(st.integers(0, 4), max_size=3),
    erased=st.lists(st.integers(0, 4), max_size=2),
    fold=st.booleans(),
)
def test_whatever_is_merged_and_erased_the_store_adds_up(earned, merges, stops, erased, fold):
    with tempfile.TemporaryDirectory() as folder, open_store(folder, write=True, create=True, sync=False) as store:
        new_shop(store)
        for no in range(5):
            new_member(store, ONE + no, visits=no, tags=[f"t{no}"])
        for at, (no, delta) in enumerate(earned):
            earn(store, no, delta, str(at))
        for at, no in enumerate(stops):
            with store.begin_write() as view:
                view.apply(record_optout(view, 1, ONE + no, "marketing", NOW_MS + at, "SMS: STOP"))
        total = _sums(store)
        assert total == sum(delta for _, delta in earned)
        for winner, loser in merges:
            try:
                merged(store, winner, loser)
            except CommandRefused:
                continue
            assert _sums(store) == total
        if fold:
            with store.begin_write() as view:
                view.apply(fold_some(view, 1))
        for no in erased:
            try:
                do(store, erase_member, EraseMember(member_no=no))
            except CommandRefused:
                continue
            assert problems(store) == []
