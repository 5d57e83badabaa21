"""Tags of one member put on and taken off; a retired or better-sourced value stays what it was."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.control.commands import DefineField, UpsertMember
from dispatcher.members.fields import define_field
from dispatcher.members.member import member_json, upsert_member
from dispatcher.store import Store
from tests.fakes.shop import do, new_member, new_shop, refused

ONE = 4915100000001


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    new_member(store, ONE, tags=["a", "b"])
    return store


def change(store: Store, **tags: Any) -> list[str]:
    do(store, upsert_member, UpsertMember(member_no=0, create=False, **tags))
    with store.snapshot() as view:
        member = member_json(view, 1, 0)
    assert member is not None
    return list(member["values"]["tags"])


def test_others_stay_and_new_words_join_the_dictionary(shop: Store):
    assert change(shop, tags_add=["c", "c"], tags_remove=["a"]) == ["b", "c"]
    assert change(shop, tags_remove=["never heard of"]) == ["b", "c"]
    assert change(shop, tags_add=["a"]) == ["a", "b", "c"]


def test_more_tags_than_one_group_of_eight_holds(shop: Store):
    many = [f"t{at}" for at in range(20)]
    assert change(shop, tags_add=many) == ["a", "b", *many]
    assert change(shop, tags_remove=many[3:]) == ["a", "b", *many[:3]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags_add": ["a"], "tags_remove": ["a"]},
        {"tags_add": ["x" * 101]},
        {"tags_add": ["a"], "tags_field": "city"},
        {"tags_add": ["a"], "tags_field": "tgas"},
        {"tags_add": ["c"], "values": {"tags": ["d"]}},
    ],
)
def test_a_wrong_wish_changes_nothing(shop: Store, wrong: dict[str, Any]):
    assert refused(shop, upsert_member, UpsertMember(member_no=0, create=False, **wrong)).status == 422
    assert change(shop, tags_remove=["never"]) == ["a", "b"]


def test_two_tags_fields_are_told_apart_by_name(shop: Store):
    do(shop, define_field, DefineField(title="interests", kind="tags"))
    refusal = refused(shop, upsert_member, UpsertMember(member_no=0, create=False, tags_add=["x"]))
    assert "interests" in refusal.detail
    do(shop, upsert_member, UpsertMember(member_no=0, create=False, tags_add=["x"], tags_field="interests"))
    assert change(shop, tags_add=["c"], tags_field="tags") == ["a", "b", "c"]


def test_a_worse_source_does_not_overwrite_a_better_one(shop: Store):
    do(shop, define_field, DefineField(title="mail", kind="text", sources=True, source_rank=["staff", "api"]))
    do(shop, upsert_member, UpsertMember(member_no=0, create=False, values={"mail": "a@b"}, source="staff"))
    worse = do(shop, upsert_member, UpsertMember(member_no=0, create=False, values={"mail": "x@y", "city": "Ulm"}))
    assert worse["kept"] == ["mail"]
    with shop.snapshot() as view:
        member = member_json(view, 1, 0)
    assert member is not None and (member["values"]["mail"], member["values"]["city"]) == ("a@b", "Ulm")
