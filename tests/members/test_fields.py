"""Fields of a tenant: defined once, may grow, never shrink or change kind."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.control.commands import DefineField
from dispatcher.members.fields import define_field, fields_of, with_value
from dispatcher.store import Store
from dispatcher.store.columns import ColumnKind
from dispatcher.store.layout import FIELD_FIRST, FIELD_MSISDN, FIELD_POINTS
from tests.fakes.shop import do, new_shop, refused


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
        ({"title": "points"}, "/title"),
        ({"kind": "phone"}, "/kind"),
        ({"kind": "blob"}, "/kind"),
        ({"bits": 16}, "/bits"),
        ({"max_length": 0}, "/max_length"),
        ({"max_values": 70_000}, "/max_values"),
        ({"kind": "int", "values": ["a"]}, "/values"),
        ({"max_values": 1, "values": ["a", "b"]}, "/values"),
        ({"kind": "tags", "max_values": 300, "values": [str(i) for i in range(256)]}, "/values"),
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
