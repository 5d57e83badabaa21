"""What may be written in a template, what is refused and where, and how values are shown."""

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.campaigns.template import COUPON, MAX_REFERENCES, Template
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import SYSTEM_FIELDS, Field
from dispatcher.store.blocks import ColumnKind

FIELDS = {
    **SYSTEM_FIELDS,
    "name": Field(16, "name", "text", ColumnKind.TEXT),
    "city": Field(17, "city", "dict", ColumnKind.U8, ("Ulm", "Würzburg")),
    "age": Field(18, "age", "int", ColumnKind.I32),
    "joined": Field(19, "joined", "date", ColumnKind.I32),
    "birthday": Field(20, "birthday", "month_day", ColumnKind.U16),
    "vip": Field(21, "vip", "bool", ColumnKind.U8),
    "balance": Field(22, "balance", "money", ColumnKind.I64),
    "likes": Field(23, "likes", "tags", ColumnKind.PLANES, ("tea", "coffee")),
}


def rendered(text, **values):
    return Template.compile(text, FIELDS).render_one(values)


def test_fields_are_replaced_and_braces_kept():
    assert rendered("Hi {name}, you have {points|0} of {{all}}!", name="Ann") == "Hi Ann, you have 0 of {all}!"
    assert rendered("{{{name}}}", name="Ann") == "{Ann}"


def test_a_value_longer_than_its_most_is_cut_and_a_fallback_stands_for_none():
    assert rendered("{name|friend:6}", name="Bartholomew") == "Bartho"
    assert rendered("{name|friend:6}") == "friend"
    assert rendered("[{name|}]") == "[]"
    assert rendered("{name|at 12:30}") == "at 12"
    assert rendered("{name|a:b}") == "a:b"


def test_an_unknown_value_without_fallback_gives_no_text_and_a_sample_shows_its_place():
    template = Template.compile("Hi {name}: {points|0}", FIELDS)
    assert template.render_one({"points": 3}) is None
    assert template.sample({"points": 3}) == "Hi {name}: 3"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("points", -5, "-5"),
        ("phone", 491701234567, "491701234567"),
        ("phone", 0, None),
        ("city", 2, "Würzburg"),
        ("city", "Ulm", "Ulm"),
        ("city", 3, None),
        ("joined", 19782, "2024-02-29"),
        ("joined", datetime.date(2024, 2, 29), "2024-02-29"),
        ("joined", -719163, None),
        ("birthday", 2 * 32 + 29, "02-29"),
        ("birthday", 13 * 32 + 1, None),
        ("vip", 1, "no"),
        ("vip", True, "yes"),
        ("balance", 1_234_567, "1.23"),
        ("balance", -4_000, "0.00"),
        ("balance", Decimal("12.5"), "12.50"),
        ("name", "a\0b\x1bc\ud800", "a b c "),
        ("name", "", None),
    ],
)
def test_a_value_is_shown_by_its_kind(name, value, shown):
    assert rendered(f"{{{name}}}", **{name: value}) == shown


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("Hi {nmae}", "unknown_field", 4),
        ("Hi {a.b}", "template_syntax", 4),
        ("{name!r}", "template_syntax", 1),
        ("{name:12}", "template_syntax", 1),
        ("{x:9999999999}", "template_syntax", 1),
        ("{name.__class__}", "template_syntax", 1),
        ("{0}", "unknown_field", 1),
        ("{name[0]}", "template_syntax", 1),
        ("{}", "template_syntax", 1),
        ("a{name", "template_syntax", 1),
        ("a}b", "template_syntax", 1),
        ("{name|{points}}", "template_syntax", 1),
        ("{name|x:0}", "template_syntax", 1),
        ("{name|x:1001}", "template_syntax", 1),
        ("{name|friend:3}", "template_syntax", 1),
        ("{points|0:3}", "template_syntax", 1),
        ("{likes}", "template_syntax", 1),
        ("a\0", "template_syntax", 1),
        ("ab\x1b", "template_syntax", 2),
        ("\ud800", "template_syntax", 0),
        ("", "template_syntax", 0),
        ("a" * 15_301, "template_syntax", 0),
        ("{name}" * (MAX_REFERENCES + 1), "template_syntax", 0),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text, code, position):
    with pytest.raises(CommandRefused) as refused:
        Template.compile(text, FIELDS)
    assert (refused.value.status, refused.value.code, refused.value.extra["position"]) == (422, code, position)
    assert refused.value.errors[0]["pointer"] == "/text"


def test_the_nearest_field_is_named():
    with pytest.raises(CommandRefused) as refused:
        Template.compile("{nmae}", FIELDS)
    assert refused.value.extra["did_you_mean"] == "name"
    assert "did you mean 'name'?" in refused.value.detail


def test_literals_are_normalised_to_nfc():
    assert Template.compile("cafe\u0301", FIELDS).text == "café"


def test_columns_are_what_the_text_reads_each_once():
    template = Template.compile("{name} {name|x} {points} {city}", FIELDS)
    assert template.columns == [(16, 0, ColumnKind.TEXT), (3, 0, ColumnKind.I64), (17, 0, ColumnKind.U8)]


@given(text=st.text(st.sampled_from("{}|:name1.![]% a"), max_size=40))
def test_any_text_compiles_or_is_refused(text):
    try:
        template = Template.compile(text, FIELDS)
    except CommandRefused:
        return
    assert isinstance(template.sample({}), str)


def test_a_coupon_has_its_place_where_there_is_a_pool_and_shows_as_twelve_x():
    template = Template.compile("Show { coupon } at the till, {name}", FIELDS, pool=True)
    assert template.pieces[1] is COUPON and template.has_coupon
    assert template.render_one({"name": "Ann"}) == "Show XXXXXXXXXXXX at the till, Ann"
    assert template.literals == "Show XXXXXXXXXXXX at the till, "
    assert [ref.field.name for ref in template.references] == ["name"]
    assert not Template.compile("{{coupon}} {name}", FIELDS, pool=True).has_coupon


@pytest.mark.parametrize("text", ["{coupon|none}", "{coupon|none:4}", "{coupon|}"])
def test_a_coupon_has_no_fallback_and_no_length(text):
    with pytest.raises(CommandRefused, match="every member has a code") as refused:
        Template.compile(text, FIELDS, pool=True)
    assert (refused.value.code, refused.value.extra["position"]) == ("template_syntax", 1)


def test_without_a_pool_a_coupon_is_an_unknown_field_and_a_hint_says_what_it_needs():
    with pytest.raises(CommandRefused, match="coupon_pool") as refused:
        Template.compile("Show {coupon}", FIELDS)
    assert (refused.value.code, refused.value.extra["position"]) == ("unknown_field", 6)
    assert refused.value.extra["did_you_mean"] is None
    own = {**FIELDS, "coupon": Field(30, "coupon", "text", ColumnKind.TEXT)}
    assert Template.compile("Show {coupon}", own).render_one({"coupon": "mine"}) == "Show mine"
