"""Where a value came from is kept for fields that ask for it; a worse source does not overwrite a better one's."""

from __future__ import annotations

import pytest

from dispatcher.campaigns.field_uses import edit_field, retire_field
from dispatcher.control.commands import EditField, RetireField
from dispatcher.members import provenance
from dispatcher.members.fields import Field, fields_of
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

AT = "2026-09-21T14:13:20.000Z"


@pytest.fixture
def shop(store: Store) -> Store:
    """`city` and `joined` keep their sources; a survey's city is better than an api's, which is better than others."""
    new_shop(store)
    do(store, edit_field, EditField(title="city", changes={"source_rank": ["survey", "api"]}))
    do(store, edit_field, EditField(title="joined", changes={"sources": True}))
    return store


def fields(store: Store) -> dict[str, Field]:
    with store.snapshot() as view:
        return fields_of(view, 1)


def note(store: Store, member: int, source: str, *names: str, at_ms: int = NOW_MS) -> None:
    with store.begin_write() as view:
        changes = Changes()
        known = fields_of(view, 1)
        provenance.note(changes, view, 1, member, [known[name] for name in names], source, at_ms)
        view.apply(changes)


def allowed(store: Store, member: int, name: str, source: str) -> bool:
    with store.snapshot() as view:
        return provenance.allowed(view, 1, member, fields_of(view, 1)[name], source)


def told(store: Store, member: int) -> dict[str, dict[str, str]]:
    with store.snapshot() as view:
        return provenance.of(view, 1, member)


def test_only_fields_that_ask_for_it_keep_source_and_time(shop: Store):
    note(shop, 0, "import:members.csv", "city", "joined", "name")
    assert told(shop, 0) == {name: {"source": "import:members.csv", "at": AT} for name in ("city", "joined")}
    assert told(shop, 1) == {}


def test_the_last_source_counts(shop: Store):
    note(shop, 0, "import:a", "city")
    note(shop, 0, "api", "city", at_ms=NOW_MS + 1_000)
    assert told(shop, 0)["city"] == {"source": "api", "at": "2026-09-21T14:13:21.000Z"}


@pytest.mark.parametrize(
    ("held", "source", "may"),
    [
        (None, "cli", True),
        ("survey", "survey", True),
        ("survey", "api", False),
        ("api", "survey", True),
        ("api", "import:x", False),
        ("import:x", "cli", True),
        ("cli", "import:x", True),
        ("import:x", "api", True),
        ("survey:1", "survey:2", True),
    ],
)
def test_a_worse_source_does_not_overwrite_a_better_one(shop: Store, held: str | None, source: str, may: bool):
    if held:
        note(shop, 0, held, "city")
    assert allowed(shop, 0, "city", source) is may


def test_a_field_without_rank_takes_every_source(shop: Store):
    note(shop, 0, "survey", "joined")
    assert allowed(shop, 0, "joined", "import:x")


def test_many_members_at_once_are_noted_as_one_by_one(shop: Store):
    known = fields(shop)
    with shop.begin_write() as view:
        changes = Changes()
        provenance.note_many(changes, 1, {known["city"].number: range(3)}, "import:x", NOW_MS)
        view.apply(changes)
    assert all(told(shop, member) == {"city": {"source": "import:x", "at": AT}} for member in range(3))


def test_it_follows_the_field_and_is_forgotten_with_the_member(shop: Store):
    note(shop, 0, "api", "city", "joined")
    note(shop, 1, "api", "city")
    do(shop, edit_field, EditField(title="city", changes={"title": "town"}))
    do(shop, retire_field, RetireField(title="joined"))
    assert set(told(shop, 0)) == {"town"}
    with shop.begin_write() as view:
        changes = Changes()
        provenance.forget(view, changes, 1, 0)
        view.apply(changes)
        assert view.count("provenance") == 1
    assert told(shop, 0) == {} and set(told(shop, 1)) == {"town"}


def test_an_age_is_never_stored_for_a_birthday(shop: Store):
    member = new_member(shop, birthday="02-29", joined="2020-02-29")
    with shop.snapshot() as view:
        own = {field.number for field in fields_of(view, 1).values()}
        stored = {int.from_bytes(key[2:4], "big") for key, _ in view.range("blocks")}
        assert member == 0 and "age" not in fields_of(view, 1) and stored <= own | {1, 4}
