"""Values between JSON and columns: what goes in comes out; what is wrong says why."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.members.attributes import Wrong, decode, encode
from dispatcher.members.fields import KINDS, Field
from dispatcher.store.blocks import NUMBER, UNKNOWN
from dispatcher.store.columns import ColumnKind

LETTERS = tuple("abcdefghij")


def field(kind: str, **more: Any) -> Field:
    return Field(16, kind, kind, more.pop("column", KINDS[kind]), **more)


FIELDS = {
    "dict": field("dict", values=LETTERS),
    "int": field("int"),
    "small": field("int", column=ColumnKind.I32),
    "date": field("date"),
    "month_day": field("month_day"),
    "bool": field("bool"),
    "money": field("money"),
    "tags": field("tags", values=LETTERS, closed=True),
    "text": field("text", max_length=10),
}
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "dict": st.sampled_from(LETTERS),
    "int": st.integers(-(1 << 63) + 1, (1 << 63) - 1),
    "small": st.integers(-(1 << 31) + 1, (1 << 31) - 1),
    "date": st.dates().map(datetime.date.isoformat),
    "month_day": st.dates(datetime.date(2024, 1, 1), datetime.date(2024, 12, 31)).map(lambda d: d.strftime("%m-%d")),
    "bool": st.booleans(),
    "money": st.integers(-(10**18), 10**18),
    "tags": st.sets(st.sampled_from(LETTERS), min_size=1).map(sorted),
    "text": st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=10),
}


def raw(entries: dict[Any, bytes]) -> dict[Any, int | str | None]:
    """What read_slot answers for these entries."""
    found: dict[Any, int | str | None] = {}
    for column, value in entries.items():
        if column[2] == ColumnKind.PLANES:
            found[column] = value[1] & value[0]
        elif column[2] == ColumnKind.TEXT:
            found[column] = value.decode() or None
        else:
            number = NUMBER[column[2]].unpack(value)[0]
            found[column] = None if number == UNKNOWN[column[2]] else number
    return found


@given(st.sampled_from(sorted(GOOD)).flatmap(lambda kind: st.tuples(st.just(kind), GOOD[kind])))
def test_a_good_value_comes_back_as_it_went_in(case: tuple[str, Any]):
    kind, value = case
    encoded = encode(FIELDS[kind], value)
    assert not isinstance(encoded, Wrong), encoded
    assert encoded[0] is FIELDS[kind] and decode(FIELDS[kind], raw(encoded[1])) == value


@pytest.mark.parametrize("kind", sorted(FIELDS))
@pytest.mark.parametrize("empty", [None, "", []])
def test_null_and_empty_make_a_value_unknown(kind: str, empty: Any):
    encoded = encode(FIELDS[kind], empty)
    assert not isinstance(encoded, Wrong)
    assert decode(FIELDS[kind], raw(encoded[1])) == ([] if kind == "tags" else None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("dict", value) for value in (1, True, " a", "x" * 101, "a\nb", ["a"])),
        *(("int", value) for value in (1.0, True, "1", 1 << 63, -(1 << 63), 10**400)),
        *(("small", value) for value in (1 << 31, -(1 << 31))),
        *(("date", value) for value in ("2026-02-29", "20260228", "2026-W01-1", "01.02.2026", 5, "0000-01-01")),
        *(("month_day", value) for value in ("02-30", "13-01", "00-10", "1-1", 33)),
        *(("bool", value) for value in ("yes", 1, 0)),
        *(("money", value) for value in (1.5, "1,50", "1.5555555", "9" * 14, True, 1 << 63)),
        *(("tags", value) for value in ("a", ["a", 1], ["z"], [""], {"a": 1})),
        *(("text", value) for value in ("x" * 11, "a\x00b", "\ud800", 5)),
    ],
)
def test_a_wrong_value_names_field_value_and_rule(kind: str, value: Any):
    wrong = encode(FIELDS[kind], value)
    assert isinstance(wrong, Wrong), wrong
    assert wrong.detail.startswith(FIELDS[kind].name) and ":" in wrong.detail and len(wrong.detail) < 300


def test_money_may_be_written_in_units():
    for text, micro in (("12.50", 12_500_000), ("-0.000001", -1), ("7", 7_000_000)):
        encoded = encode(FIELDS["money"], text)
        assert not isinstance(encoded, Wrong) and decode(FIELDS["money"], raw(encoded[1])) == micro


def test_a_new_word_of_an_open_dictionary_grows_it():
    encoded = encode(FIELDS["dict"], "new")
    assert not isinstance(encoded, Wrong)
    grown, entries = encoded
    assert grown.values == (*LETTERS, "new") and decode(grown, raw(entries)) == "new"


def test_a_ninth_tag_opens_the_next_part():
    open_tags = field("tags", values=LETTERS[:8])
    encoded = encode(open_tags, ["h", "new"])
    assert not isinstance(encoded, Wrong)
    assert encoded[1] == {(16, 0, ColumnKind.PLANES): b"\xff\x80", (16, 1, ColumnKind.PLANES): b"\xff\x01"}


def test_a_closed_dictionary_says_what_it_holds():
    wrong = encode(field("dict", values=("gold",), closed=True), "iron")
    assert wrong == Wrong("not_in_dictionary", "dict 'iron': a closed dictionary: gold")
    wrong = encode(field("dict", values=("gold",), max_values=1), "iron")
    assert isinstance(wrong, Wrong) and wrong.code == "dictionary_full"
