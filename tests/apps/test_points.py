"""Points: entries that add up, never below zero, once per key."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dispatcher.apps.points.account import BALANCE_MAX, add_points, balance, statement
from dispatcher.control.commands import AddPoints, EraseMember
from dispatcher.errors import CommandRefused
from dispatcher.members.erase import erase_member
from dispatcher.members.member import member_json
from dispatcher.store import Store, open_store
from dispatcher.store.columns import fold_some
from tests.fakes.shop import do, new_member, new_shop, refused


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    new_member(store)
    return store


def give(delta: int, key: str, member_no: int = 0, **more: Any) -> AddPoints:
    return AddPoints(**{"member_no": member_no, "delta": delta, "source": "pos", "key": key, **more})


def test_an_entry_moves_the_balance_and_names_both_accounts(shop: Store):
    earned = do(shop, add_points, give(100, "a", why="welcome"), at_ms=5000)
    assert (earned["balance"], earned["debit"], earned["credit"]) == (100, "source:pos", "member")
    assert (earned["reason"], earned["source"], earned["at_ms"]) == ("welcome", "pos", 5000)
    spent = do(shop, add_points, give(-30, "b"))
    assert (spent["balance"], spent["debit"], spent["credit"]) == (70, "member", "source:pos")
    with shop.snapshot() as view:
        assert balance(view, 1, 0) == 70
        member = member_json(view, 1, 0)
        assert member is not None and member["points"] == 70
        assert [entry["delta"] for entry in statement(view, 1, 0)] == [-30, 100]


def test_the_same_key_again_answers_the_first_entry(shop: Store):
    first = do(shop, add_points, give(100, "a"))
    again = do(shop, add_points, give(100, "a"))
    assert again == {**first, "repeated": True}
    with shop.snapshot() as view:
        assert balance(view, 1, 0) == 100 and len(statement(view, 1, 0)) == 1


def test_the_same_key_with_another_entry_is_refused(shop: Store):
    new_member(shop, 4915100000002)
    do(shop, add_points, give(100, "a"))
    for other in (give(50, "a"), give(100, "a", member_no=1), give(100, "a", source="web")):
        assert refused(shop, add_points, other).code == "idempotency_conflict"


def test_more_than_the_balance_is_not_spent(shop: Store):
    do(shop, add_points, give(10, "a"))
    error = refused(shop, add_points, give(-11, "b"))
    assert (error.status, error.code, error.extra["balance"]) == (409, "insufficient_points", 10)
    do(shop, add_points, give(5, "c"))
    assert do(shop, add_points, give(-11, "b"))["balance"] == 4  # a refused key may be used again


def test_the_statement_is_read_in_pages(shop: Store):
    for i in range(1, 6):
        do(shop, add_points, give(i, str(i)), at_ms=1000 + i)
    with shop.snapshot() as view:
        first = statement(view, 1, 0, 2)
        second = statement(view, 1, 0, 2, before=first[-1]["entry"])
        assert [entry["delta"] for entry in first + second] == [5, 4, 3, 2]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"delta": 0}, "/delta"),
        ({"delta": BALANCE_MAX + 1}, "/delta"),
        ({"delta": -(1 << 63)}, "/delta"),
        ({"key": ""}, "/key"),
        ({"key": "x" * 201}, "/key"),
        ({"source": ""}, "/source"),
        ({"why": "x" * 201}, "/why"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(shop: Store, change: dict[str, Any], pointer: str):
    values = {"member_no": 0, "delta": 1, "source": "pos", "key": "k", **change}
    error = refused(shop, add_points, AddPoints(**values))
    assert error.status == 422 and error.errors[0]["pointer"] == pointer


def test_the_balance_has_a_ceiling(shop: Store):
    do(shop, add_points, give(BALANCE_MAX, "a"))
    assert refused(shop, add_points, give(1, "b")).status == 422


def test_nobody_and_erased_members_have_no_points(shop: Store):
    assert refused(shop, add_points, give(1, "a", member_no=9)).status == 404
    assert refused(shop, add_points, give(1, "a", member_no=-1)).status == 404
    do(shop, erase_member, EraseMember(member_no=0))
    assert refused(shop, add_points, give(1, "a")).status == 404
    with shop.snapshot() as view:
        assert balance(view, 1, 0) is None


class Points(RuleBasedStateMachine):
    """Entries, repeats and folds in any order: the sum is the balance and never negative."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(self.folder.name, write=True, create=True, sync=False)
        new_shop(self.store)
        for i in range(2):
            new_member(self.store, 4915100000001 + i)
        self.entries: dict[str, tuple[int, int]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def total(self, member_no: int) -> int:
        return sum(delta for whose, delta in self.entries.values() if whose == member_no)

    @rule(member_no=st.integers(0, 1), delta=st.integers(-60, 60).filter(bool), key=st.sampled_from("abcdefgh"))
    def move(self, member_no: int, delta: int, key: str) -> None:
        command = give(delta, key, member_no)
        if key in self.entries and self.entries[key] == (member_no, delta):
            assert do(self.store, add_points, command)["repeated"]
        elif key in self.entries or self.total(member_no) + delta < 0:
            with pytest.raises(CommandRefused):
                do(self.store, add_points, command)
        else:
            do(self.store, add_points, command)
            self.entries[key] = (member_no, delta)

    @rule(key=st.sampled_from("abcdefgh"))
    def repeat(self, key: str) -> None:
        if key in self.entries:
            member_no, delta = self.entries[key]
            assert do(self.store, add_points, give(delta, key, member_no))["repeated"]

    @rule()
    def fold(self) -> None:
        with self.store.begin_write() as view:
            view.apply(fold_some(view, 1))

    @invariant()
    def entries_sum_to_the_balance(self) -> None:
        with self.store.snapshot() as view:
            for member_no in (0, 1):
                entries = statement(view, 1, member_no)
                assert balance(view, 1, member_no) == self.total(member_no) == sum(each["delta"] for each in entries)
                assert all(each["balance"] >= 0 for each in entries)


TestPoints = Points.TestCase
TestPoints.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
