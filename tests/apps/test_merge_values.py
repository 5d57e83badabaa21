"""Two values of a dictionary made one: who had the first has the other, whoever says the first means it, and back."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.apps.merge_values import merge_values
from dispatcher.campaigns.field_uses import edit_field
from dispatcher.control.commands import EditField, MergeValues, UpsertMember
from dispatcher.members.fields import field_json, fields_of
from dispatcher.members.member import upsert_member
from dispatcher.segments.count import count
from dispatcher.store import Store
from tests.fakes.people import run_import
from tests.fakes.shop import NOW_MS, do, refused
from tests.members.test_bulk import FIRST, drive, undo, values
from tests.members.test_bulk import shop as shop  # the fixture


def merged(store: Store, value: str = "Bonn", into: str = "Köln", **rest: Any) -> dict[str, Any]:
    return do(store, merge_values, MergeValues(title="city", value=value, into=into, **rest))


def matched(store: Store, expr: str) -> int:
    with store.snapshot() as view:
        return int(count(view, 1, expr, as_of_ms=NOW_MS)["matched"])


def shown(store: Store) -> dict[str, Any]:
    with store.snapshot() as view:
        return field_json(fields_of(view, 1)["city"])


def test_members_get_the_other_value_and_the_word_means_it_from_then_on(shop: Store):
    reply = merged(shop)
    assert (reply["matched"], reply["state"]) == (10, "applying")
    assert drive(shop, reply["job"])["state"] == "done"
    assert values(shop, "city") == ["Köln"] * 20
    assert shown(shop)["merged"] == {"Bonn": "Köln"} and "Bonn" in shown(shop)["values"]
    assert matched(shop, 'city = "Bonn"') == matched(shop, 'city = "Köln"') == 20
    do(shop, upsert_member, UpsertMember(msisdn=f"+{FIRST + 50}", values={"city": "Bonn"}))
    assert values(shop, "city")[-1] == "Köln"


def test_a_file_that_says_the_first_word_gives_the_other(shop: Store):
    drive(shop, merged(shop)["job"])
    run_import(shop, 77, f"phone,city\n+{FIRST + 60},Bonn\n+{FIRST + 61},Köln\n+{FIRST},Bonn\n".encode())
    assert values(shop, "city") == ["Köln"] * 22


def test_a_dry_run_counts_and_writes_nothing(shop: Store):
    assert merged(shop, dry_run=True)["matched"] == 10
    assert shown(shop)["merged"] == {} and values(shop, "city").count("Bonn") == 10


def test_the_work_is_undone_and_the_word_stands_for_itself_again(shop: Store):
    before = values(shop, "city")
    job = merged(shop)["job"]
    drive(shop, job)
    undo(shop, job)
    assert values(shop, "city") == before
    merged(shop, into="")
    assert shown(shop)["merged"] == {}
    assert (matched(shop, 'city = "Bonn"'), matched(shop, 'city = "Köln"')) == (10, 10)


def test_a_word_that_others_were_merged_into_takes_them_along(shop: Store):
    drive(shop, merged(shop)["job"])
    do(shop, edit_field, EditField(title="city", changes={"add_values": ["Cologne"]}))
    drive(shop, merged(shop, "Köln", "Cologne")["job"])
    assert shown(shop)["merged"] == {"Bonn": "Cologne", "Köln": "Cologne"}
    assert values(shop, "city") == ["Cologne"] * 20
    do(shop, edit_field, EditField(title="city", changes={"rename_values": {"Cologne": "Colonia"}}))
    assert shown(shop)["merged"] == {"Bonn": "Colonia", "Köln": "Colonia"}
    assert matched(shop, 'city = "Bonn"') == 20


@pytest.mark.parametrize(
    ("command", "status", "pointer"),
    [
        (MergeValues(title="city", value="Paris", into="Köln"), 422, "/value"),
        (MergeValues(title="city", value="Bonn", into="Paris"), 422, "/into"),
        (MergeValues(title="city", value="Bonn", into="Bonn"), 422, "/into"),
        (MergeValues(title="city", value="Bonn"), 422, "/value"),
        (MergeValues(title="visits", value="1", into="2"), 409, ""),
        (MergeValues(title="nope", value="1", into="2"), 404, ""),
    ],
)
def test_what_cannot_be_merged_is_refused_and_says_why(shop: Store, command: MergeValues, status: int, pointer: str):
    problem = refused(shop, merge_values, command)
    assert problem.status == status
    assert pointer == "" or problem.errors[0]["pointer"] == pointer
