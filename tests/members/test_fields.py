"""Fields of a tenant: defined once, may grow, be renamed and retired, never shrink or change kind."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.campaigns.field_uses import retire_field
from dispatcher.control.commands import (
    DefineField,
    RestoreField,
    RetireField,
    UpsertMember,
)
from dispatcher.members.field_edits import restore_field
from dispatcher.members.fields import TAGS_MAX, define_field, fields_of, with_value
from dispatcher.members.member import live_members, member_json, upsert_member
from dispatcher.store import Store
from dispatcher.store.columns import ColumnKind
from dispatcher.store.layout import FIELD_FIRST, FIELD_MSISDN, FIELD_POINTS
from tests.fakes.people import run_import
from tests.fakes.shop import do, new_member, new_shop, refused


@pytest.fixture(autouse=True)
def _shop(store: Store) -> None:
    new_shop(store)


def test_a_tenant_has_phone_and_points_and_then_its_own_in_order(store: Store):
    with store.snapshot() as view:
        fields = fields_of(view, 1)
    names = list(fields)
    assert names[:4] == ["phone", "points", "name", "tier"] and names[-1] == "tags"
    assert (fields["phone"].number, fields["points"].number) == (FIELD_MSISDN, FIELD_POINTS)
    assert [fields[name].number for name in names[2:]] == list(range(FIELD_FIRST, FIELD_FIRST + len(names) - 2))
    assert not fields["points"].editable and fields["tier"].editable


@pytest.mark.parametrize(
    ("command", "column"),
    [
        ({"kind": "dict"}, ColumnKind.U8),
        ({"kind": "dict", "max_values": 255}, ColumnKind.U8),
        ({"kind": "dict", "max_values": 256}, ColumnKind.U16),
        ({"kind": "int"}, ColumnKind.I64),
        ({"kind": "int", "bits": 32}, ColumnKind.I32),
        ({"kind": "date"}, ColumnKind.I32),
        ({"kind": "month_day"}, ColumnKind.U16),
        ({"kind": "bool"}, ColumnKind.U8),
        ({"kind": "money"}, ColumnKind.I64),
        ({"kind": "tags"}, ColumnKind.PLANES),
        ({"kind": "text"}, ColumnKind.TEXT),
    ],
)
def test_a_kind_has_its_column(store: Store, command: dict[str, Any], column: ColumnKind):
    do(store, define_field, DefineField(title="new_one", **command))
    with store.snapshot() as view:
        assert fields_of(view, 1)["new_one"].column == column


def test_codes_begin_at_1_in_a_dictionary_and_at_0_in_tags(store: Store):
    do(store, define_field, DefineField(title="tags", kind="tags", values=[f"t{i}" for i in range(9)]))
    with store.snapshot() as view:
        fields = fields_of(view, 1)
    tier, tags = fields["tier"], fields["tags"]
    assert (tier.code_of("basic"), tier.code_of("gold"), tier.code_of("iron")) == (1, 2, None)
    assert (tier.value_of(0), tier.value_of(2), tier.value_of(3)) == (None, "gold", None)
    assert (tags.code_of("t0"), tags.value_of(8)) == (0, "t8")
    assert tags.columns == [(tags.number, 0, ColumnKind.PLANES), (tags.number, 1, ColumnKind.PLANES)]


def test_defining_again_changes_nothing_and_more_values_are_appended(store: Store):
    command = DefineField(title="tier", kind="dict", values=["gold", "iron"], closed=True)
    before = do(store, define_field, DefineField(title="tier", kind="dict", values=["basic"], closed=True))
    after = do(store, define_field, command)
    assert before["values"] == ["basic", "gold"] and after["values"] == ["basic", "gold", "iron"]
    assert before["id"] == after["id"]


def test_another_kind_under_the_same_name_is_refused(store: Store):
    assert refused(store, define_field, DefineField(title="tier", kind="text")).code == "state_conflict"
    assert refused(store, define_field, DefineField(title="visits", kind="int", bits=64)).code == "state_conflict"
    assert refused(store, define_field, DefineField(title="city", kind="dict", max_values=300)).status == 409


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "Upper"}, "/title"),
        ({"title": "1st"}, "/title"),
        ({"title": "a b"}, "/title"),
        ({"title": "a.b"}, "/title"),
        ({"title": "x" * 41}, "/title"),
        ({"title": "except"}, "/title"),
        ({"title": "并且"}, "/title"),
        ({"title": "points"}, "/title"),
        ({"kind": "phone"}, "/kind"),
        ({"kind": "blob"}, "/kind"),
        ({"bits": 16}, "/bits"),
        ({"max_length": 0}, "/max_length"),
        ({"max_values": 70_000}, "/max_values"),
        ({"kind": "int", "values": ["a"]}, "/values"),
        ({"max_values": 1, "values": ["a", "b"]}, "/values"),
        ({"kind": "tags", "max_values": 300, "values": [str(i) for i in range(257)]}, "/values"),
        ({"source_rank": ["Not a word"]}, "/source_rank"),
        ({"source_rank": ["api", "api"]}, "/source_rank"),
        ({"closed": True}, "/values"),
        ({"values": ["ok", " blank"]}, "/values/1"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(store: Store, change: dict[str, Any], pointer: str):
    error = refused(store, define_field, DefineField(**{"title": "fresh", "kind": "dict", **change}))
    assert error.status == 422 and error.errors[0]["pointer"] == pointer


def test_a_name_may_be_in_any_script(store: Store):
    do(store, define_field, DefineField(title="年龄", kind="int"))
    with store.snapshot() as view:
        assert "年龄" in fields_of(view, 1)


def test_a_full_or_closed_dictionary_takes_no_more(store: Store):
    do(store, define_field, DefineField(title="size", kind="dict", values=["s"], max_values=2))
    with store.snapshot() as view:
        fields = fields_of(view, 1)
    grown = with_value(fields["size"], "m")
    assert grown is not None and grown.values == ("s", "m")
    assert with_value(grown, "l") is None and with_value(fields["tier"], "iron") is None


# -- a dictionary does not grow without bound -----------------------------------------------------------------


def test_a_file_of_new_words_fills_a_dictionary_to_its_bound_and_the_rest_is_rejected(store: Store):
    do(store, define_field, DefineField(title="colour", kind="dict", max_values=3))
    rows = [f"+{4915100000001 + i},c{i}" for i in range(50)]
    run_import(store, 1, "\n".join(["phone,colour", *rows, ""]).encode())
    with store.snapshot() as view:
        assert fields_of(view, 1)["colour"].values == ("c0", "c1", "c2")
        assert sum(1 for _ in live_members(view, 1)) == 3
    again = [f"+{4915100000101 + i},d{i}" for i in range(50)]
    run_import(store, 2, "\n".join(["phone,colour", *again, ""]).encode())
    with store.snapshot() as view:
        assert len(fields_of(view, 1)["colour"].values) == 3


def test_a_file_of_new_tags_stops_at_256_over_all_tags_fields(store: Store):
    do(store, define_field, DefineField(title="tags", kind="tags", values=[f"t{i}" for i in range(250)]))
    do(store, define_field, DefineField(title="likes", kind="tags"))
    rows = [f"+{4915100000001 + i},a{i},b{i}" for i in range(20)]
    run_import(store, 1, "\n".join(["phone,tags,likes", *rows, ""]).encode())
    with store.snapshot() as view:
        assert sum(len(fields_of(view, 1)[name].values) for name in ("tags", "likes")) == TAGS_MAX


def test_a_refused_value_leaves_no_word_behind(store: Store):
    error = refused(store, upsert_member, UpsertMember(msisdn="+4915100000001", values={"city": "Ulm", "visits": "x"}))
    assert error.status == 422
    with store.snapshot() as view:
        assert fields_of(view, 1)["city"].values == ()


# -- tags: 256 a tenant ----------------------------------------------------------------------------------------


def test_a_tenant_has_256_tags_over_all_its_tags_fields(store: Store):
    do(store, define_field, DefineField(title="tags", kind="tags", values=[f"t{i}" for i in range(200)]))
    do(store, define_field, DefineField(title="likes", kind="tags", values=[f"l{i}" for i in range(55)]))
    with store.snapshot() as view:
        assert [fields_of(view, 1)[name].most for name in ("tags", "likes")] == [201, 56]
    new_member(store, likes=["the last"])
    error = refused(store, upsert_member, UpsertMember(msisdn="+4915100000001", values={"tags": ["one more"]}))
    assert error.errors[0]["code"] == "dictionary_full" and str(TAGS_MAX) in error.detail
    error = refused(store, define_field, DefineField(title="more", kind="tags", values=["x"]))
    assert (error.status, error.code) == (422, "too_many_tags")
    do(store, retire_field, RetireField(title="likes"))
    do(store, define_field, DefineField(title="more", kind="tags", values=["x"]))
    assert refused(store, restore_field, RestoreField(title="likes")).code == "too_many_tags"


def test_all_256_tags_may_be_of_one_field(store: Store):
    every = [f"t{i}" for i in range(TAGS_MAX)]
    do(store, define_field, DefineField(title="tags", kind="tags", max_values=256, values=every))
    member = new_member(store, tags=["t0", "t255"])
    with store.snapshot() as view:
        shown = member_json(view, 1, member)
        assert len(fields_of(view, 1)["tags"].columns) == 32
    assert shown is not None and shown["values"]["tags"] == ["t0", "t255"]
