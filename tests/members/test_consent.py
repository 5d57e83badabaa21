"""Opt-outs are by number and the person's last word wins; planes are copies that follow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.control.commands import AddSuppression, EraseMember, RemoveSuppression, UpsertMember
from dispatcher.members.consent import STOP_GROUPS, group_of, history, lift_optout, opted_out, record_optout, suppressed
from dispatcher.members.erase import erase_member
from dispatcher.members.member import member_json, upsert_member
from dispatcher.members.suppression import add_suppression, remove_suppression
from dispatcher.records.states import Purpose
from dispatcher.store import Store
from tests.fakes.shop import do, new_member, new_shop, refused

NUMBER, OTHER = 4915100000001, 4915100000002
FRESH = itertools.count(4915200000000)


@pytest.fixture(autouse=True)
def _shop(store: Store) -> None:
    new_shop(store)


def say(store: Store, number: int, groups: tuple[str, ...], at_ms: int, *, out: bool) -> None:
    with store.begin_write() as view:
        view.apply((record_optout if out else lift_optout)(view, 1, number, groups, at_ms, "their words"))


def shown(store: Store, member_no: int) -> tuple[list[str], bool]:
    with store.snapshot() as view:
        member = member_json(view, 1, member_no)
    assert member is not None
    return member["opted_out"], member["suppressed"]


def test_a_stop_ends_marketing_care_and_service_and_shows_on_the_member(store: Store):
    member_no = new_member(store, NUMBER)
    say(store, NUMBER, STOP_GROUPS, 5000, out=True)
    assert shown(store, member_no)[0] == ["marketing", "care", "service"]
    with store.snapshot() as view:
        assert all(opted_out(view, 1, NUMBER, group) for group in STOP_GROUPS)
        assert not opted_out(view, 1, OTHER, "marketing") and not opted_out(view, 2, NUMBER, "marketing")
        assert [(word["what"], word["groups"]) for word in history(view, 1, NUMBER)] == [("optout", list(STOP_GROUPS))]


def test_a_strangers_stop_counts_and_meets_the_member_made_later(store: Store):
    say(store, NUMBER, ("marketing",), 5000, out=True)
    assert shown(store, new_member(store, NUMBER))[0] == ["marketing"]


def test_a_change_of_number_brings_the_words_of_the_new_number(store: Store):
    member_no = new_member(store, NUMBER)
    say(store, NUMBER, ("marketing",), 5000, out=True)
    say(store, OTHER, ("care",), 5000, out=True)
    do(store, upsert_member, UpsertMember(member_no=member_no, msisdn=f"+{OTHER}"))
    assert shown(store, member_no)[0] == ["care"]


def test_the_later_word_wins_in_whichever_order_they_arrive(store: Store):
    member_no = new_member(store, NUMBER)
    say(store, NUMBER, ("marketing",), 5000, out=True)
    say(store, NUMBER, ("marketing",), 4000, out=False)
    assert shown(store, member_no)[0] == ["marketing"]
    say(store, NUMBER, ("marketing",), 6000, out=False)
    assert shown(store, member_no)[0] == []
    say(store, NUMBER, ("care",), 7000, out=True)
    say(store, NUMBER, ("care",), 7000, out=False)
    assert shown(store, member_no)[0] == ["care"]
    say(store, NUMBER, ("care",), 7002, out=False)
    say(store, NUMBER, ("marketing",), 5500, out=True)
    assert shown(store, member_no)[0] == []
    with store.snapshot() as view:
        assert [word["at_ms"] for word in history(view, 1, NUMBER)] == [
            *(4000, 5000, 5500, 6000, 7000, 7001, 7002),
        ]


def test_two_words_of_one_millisecond_are_both_kept(store: Store):
    say(store, NUMBER, ("marketing",), 5000, out=True)
    say(store, NUMBER, ("care",), 5000, out=True)
    with store.snapshot() as view:
        assert [word["groups"] for word in history(view, 1, NUMBER)] == [["marketing"], ["care"]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    words=st.lists(st.tuples(st.sampled_from(STOP_GROUPS), st.booleans()), max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_arrival_ends_with_each_groups_latest_word(store: Store, words, order):
    number = next(FRESH)
    timed = [(1000 + 10 * i, group, out) for i, (group, out) in enumerate(words)]
    last = {group: out for _, group, out in timed}
    order.shuffle(timed)
    for at_ms, group, out in timed:
        say(store, number, (group,), at_ms, out=out)
    with store.snapshot() as view:
        assert {group: opted_out(view, 1, number, group) for group in STOP_GROUPS} == {
            group: last.get(group, False) for group in STOP_GROUPS
        }


def test_an_erased_members_number_is_suppressed_for_every_purpose(store: Store):
    member_no = new_member(store, NUMBER)
    say(store, NUMBER, ("marketing",), 5000, out=True)
    do(store, erase_member, EraseMember(member_no=member_no))
    assert shown(store, new_member(store, NUMBER)) == ([], True)


def test_suppression_is_the_tenants_or_the_operators_and_ends_when_both_do(store: Store):
    new_shop(store, "Second")
    members = [new_member(store, NUMBER, tenant=tenant) for tenant in (1, 2)]
    text = f"+{NUMBER}"
    assert do(store, add_suppression, AddSuppression(numbers=[text, text, f"+{OTHER}"])) == {"added": 2, "already": 0}
    assert do(store, add_suppression, AddSuppression(numbers=[text]), tenant=0) == {"added": 1, "already": 0}
    for tenant, member_no in zip((1, 2), members, strict=True):
        with store.snapshot() as view:
            found = member_json(view, tenant, member_no)
            assert found is not None and found["suppressed"] and suppressed(view, tenant, NUMBER)
    assert do(store, remove_suppression, RemoveSuppression(numbers=[text])) == {"removed": 1, "absent": 0}
    assert shown(store, members[0])[1]
    do(store, remove_suppression, RemoveSuppression(numbers=[text]), tenant=0)
    assert not shown(store, members[0])[1]
    assert shown(store, new_member(store, OTHER))[1]


def test_one_wrong_number_refuses_the_whole_list(store: Store):
    error = refused(store, add_suppression, AddSuppression(numbers=[f"+{NUMBER}", "nonsense"]))
    assert error.status == 422 and error.errors[0]["pointer"] == "/numbers/1"
    with store.snapshot() as view:
        assert not suppressed(view, 1, NUMBER)
    assert refused(store, add_suppression, AddSuppression(numbers=[])).status == 422


def test_a_purpose_is_guarded_by_its_group_or_by_none():
    assert {purpose: group_of(purpose) for purpose in Purpose} == {
        Purpose.OTP: None,
        Purpose.TRANSACTIONAL: None,
        Purpose.SERVICE: "service",
        Purpose.CARE: "care",
        Purpose.MARKETING: "marketing",
    }
