"""The mapping of columns to fields: what is refused before a body is read, and what each transform does to cells."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.members import parse_cells
from dispatcher.members.parse_cells import Rejected
from dispatcher.members.parse_dates import ISO, read_date_form
from dispatcher.members.parse_mapping import MappingRefused, read_rules
from tests.fakes.people import job_field, parsed
from tests.members.test_parse_cells import LEFT_ODD, kernel_number

KINDS = {"phone": "phone", "name": "text", "joined": "date", "xtags": "tags", "birthday": "month_day", "vip": "bool"}
FIELDS = [
    job_field("name", "text", max_length=10),
    job_field("joined", "date"),
    job_field("xtags", "tags", values=["tea"]),
    job_field("birthday", "month_day"),
    job_field("vip", "bool"),
    job_field("visits", "int"),
    job_field("tier", "dict", values=["basic", "gold"], closed=True),
]


@pytest.mark.parametrize(
    ("mapping", "pointer", "code", "guess"),
    [
        ({"Vorname": "nam"}, "/mapping/Vorname", "unknown_field", "name"),
        ({"a": "name", "b": "name"}, "/mapping/b", "duplicate_column", None),
        ({"A": "name", "a": "joined"}, "/mapping/a", "duplicate_column", None),
        ({"a": {"field": "joined", "date_formt": "%d"}}, "/mapping/a", "unknown_key", "date_format"),
        ({"a": {"field": "joined", "date_format": "auto"}}, "/mapping/a/date_format", "invalid_value", None),
        ({"a": {"field": "joined", "date_format": "%d.%m"}}, "/mapping/a/date_format", "invalid_value", None),
        ({"a": {"field": "joined", "date_format": "%H:%M"}}, "/mapping/a/date_format", "invalid_value", None),
        ({"a": {"field": "joined", "date_format": "%d.%m.%"}}, "/mapping/a/date_format", "invalid_value", None),
        ({"a": {"field": "name", "date_format": "%d.%m.%Y"}}, "/mapping/a/date_format", "invalid_value", None),
        ({"a": {"field": "phone", "region": "XX"}}, "/mapping/a/region", "invalid_value", None),
        ({"a": {"field": "name", "region": "DE"}}, "/mapping/a/region", "invalid_value", None),
        ({"a": {"field": "name", "separator": "|"}}, "/mapping/a/separator", "invalid_value", None),
        ({"a": {"field": "xtags", "separator": "||"}}, "/mapping/a/separator", "invalid_value", None),
        ({"a": {"field": "vip", "values": {"ja": 1}}}, "/mapping/a/values", "invalid_value", None),
        ({"a": {"field": "vip", "values": {" ": "yes"}}}, "/mapping/a/values", "invalid_value", None),
        (
            {"a": {"field": "vip", "values": {str(i): "" for i in range(10_001)}}},
            "/mapping/a/values",
            "invalid_value",
            None,
        ),
        ({"a/b~c": 5}, "/mapping/a~1b~0c", "invalid_value", None),
        ({"a": {"field": 5}}, "/mapping/a", "invalid_value", None),
        ({"a": {"ignore": "yes"}}, "/mapping/a", "invalid_value", None),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_place(mapping: dict[str, Any], pointer: str, code: str, guess: str | None):
    with pytest.raises(MappingRefused) as caught:
        read_rules(mapping, KINDS)
    error = caught.value.errors[0]
    assert (error["pointer"], error["code"], error["did_you_mean"]) == (pointer, code, guess)
    assert error["detail"]


@given(mapping=st.dictionaries(st.text(max_size=3), st.recursive(st.none() | st.text(max_size=3) | st.integers(), lambda of: st.lists(of, max_size=2) | st.dictionaries(st.sampled_from(["field", "values", "region", "ignore", "x", "date_format", "separator"]), of, max_size=3)), max_size=3))  # fmt: skip
def test_any_mapping_is_read_or_refused(mapping: dict[str, Any]):
    try:
        read_rules(mapping, KINDS)
    except MappingRefused as exc:
        assert all(error["pointer"].startswith("/mapping/") for error in exc.errors)


def test_every_transform_of_a_csv(tmp_path: Path):
    body = (
        "Handy;Kunde;Eintritt;Themen;Geburtstag;Stamm;Besuche;Stufe\n"
        "0151 00000001;Ann;29.02.2020;tea|new;3 Mar;ja;n/a;G\n"
        "015100000002;-;1.2.2021;;04 Apr;nein;7;B\n"
        "+4915100000003;Bob;01.03.2022;x;05 May;yes;0;gold\n"
    )
    mapping = {
        "Handy": {"field": "phone", "region": "DE"},
        "Kunde": {"field": "name", "values": {"-": "", "Bob": "Robert"}},
        "Eintritt": {"field": "joined", "date_format": "%d.%m.%Y"},
        "Themen": {"field": "xtags", "separator": "|", "values": {"x": "tea"}},
        "Geburtstag": {"field": "birthday", "date_format": "%d %b"},
        "Stamm": {"field": "vip", "values": {"ja": "yes", "nein": "no"}},
        "Besuche": {"field": "visits", "values": {"n/a": "", "0": "100"}},
        "Stufe": {"field": "tier", "values": {"G": "gold", "B": "basic", "gold": "basic"}},
    }
    _, rows, rejects = parsed(tmp_path, body.encode(), *FIELDS, mapping=mapping)
    assert rejects == []
    days = [(date(*day) - date(1970, 1, 1)).days for day in ((2020, 2, 29), (2021, 2, 1), (2022, 3, 1))]
    assert rows == [
        {"line": 2, "phone": 4915100000001, "name": "Ann", "joined": days[0], "xtags": [0, 1], "birthday": 99}
        | {"vip": 2, "tier": 2},
        {"line": 3, "phone": 4915100000002, "joined": days[1], "birthday": 132, "vip": 1, "visits": 7, "tier": 1},
        {"line": 4, "phone": 4915100000003, "name": "Robert", "joined": days[2], "xtags": [0], "birthday": 165}
        | {"vip": 2, "visits": 100, "tier": 1},
    ]
    found = json.loads((tmp_path / "header.json").read_bytes())["found"]
    assert found["mapping"]["Handy"] == "phone" and found["delimiter"] == ";"


def test_a_mapped_meaning_that_is_wrong_rejects_the_row(tmp_path: Path):
    mapping = {"visits": {"values": {"many": "a lot"}}}
    _, rows, rejects = parsed(tmp_path, b"phone,visits\n+4915100000001,many\n", *FIELDS, mapping=mapping)
    assert rows == []
    assert [(r["value"], r["code"]) for r in rejects] == [("many", "wrong_value")]


def test_an_ignored_column_goes_nowhere(tmp_path: Path):
    for nowhere in ("", {"ignore": True}):
        mapping = {"name": nowhere}
        _, rows, _ = parsed(tmp_path, b"phone,name,vip\n+4915100000001,Ann,y\n", *FIELDS, mapping=mapping)
        assert rows == [{"line": 2, "phone": 4915100000001, "vip": 2}]
        assert json.loads((tmp_path / "header.json").read_bytes())["ignored"] == ["name"]


def test_a_file_without_a_header_is_mapped_by_place(tmp_path: Path):
    body = b"+4915100000001,Ann,x\n+4915100000002,Bo,y\n"
    _, rows, _ = parsed(tmp_path, body, *FIELDS, mapping={"c1": "phone", "c2": "name"})
    assert rows == [
        {"line": 1, "phone": 4915100000001, "name": "Ann"},
        {"line": 2, "phone": 4915100000002, "name": "Bo"},
    ]
    found = json.loads((tmp_path / "header.json").read_bytes())["found"]
    assert (found["header_line"], found["header"]) == (False, ["c1", "c2", "c3"])


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ({"nothing": "name"}, "mapped_column_absent"),
        ({"colour": {"values": {"a": "b"}}}, "unknown_field"),
        ({"colour": "name", "name": {"values": {}}}, "duplicate_column"),
        ({"name": {"date_format": "%d.%m.%Y"}}, "invalid_value"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_refuses_it(tmp_path: Path, mapping: dict[str, Any], code: str):
    outcome, *_ = parsed(tmp_path, b"phone,name,colour\n", *FIELDS, mapping=mapping)
    assert outcome["problem"]["code"] == code


@pytest.mark.parametrize(
    ("form", "text", "day"),
    [
        ("%d/%m/%Y", "03/04/2020", (2020, 4, 3)),
        ("%m/%d/%Y", "03/04/2020", (2020, 3, 4)),
        ("%m/%d/%y", "3/4/69", (1969, 3, 4)),
        ("%d.%m.%y", "03.04.68", (2068, 4, 3)),
        ("%d-%b-%Y", "03-apr-2020", (2020, 4, 3)),
        ("%d %b %Y", "3 September 2020", (2020, 9, 3)),
        ("%Y年%m月%d日", "2020年4月3日", (2020, 4, 3)),
        ("%Y%%%m%%%d", "2020%04%03", (2020, 4, 3)),
    ],
)
def test_a_stated_date_format_is_read(form: str, text: str, day: tuple[int, int, int]):
    assert parse_cells.formed_date_of(text, read_date_form(form)) == (date(*day) - date(1970, 1, 1)).days


@pytest.mark.parametrize("text", ["2020-04-03", "31.02.2020", "3.4.20", "", "03.04.2020x", "3 Sepp 2020"])
def test_what_has_another_form_is_refused(text: str):
    assert isinstance(parse_cells.formed_date_of(text, read_date_form("%d.%m.%Y")), Rejected)


@given(
    form=st.sampled_from(["%d.%m.%Y", "%Y-%m-%d", "%m/%d/%y", "%Y年%m月%d日", "%y%m%d", "%d%m%Y"]),
    cell=st.from_regex(rb"[0-9]{2}[./]?[0-9]{2}[./]?([0-9]{2}){1,2}", fullmatch=True)
    | st.from_regex("[0-9]{4}年[0-9]{2}月[0-9]{2}日", fullmatch=True).map(str.encode)
    | st.dates().map(lambda day: day.isoformat().encode()),
)
@example("%d.%m.%Y", b"29.02.1900")
@example("%m/%d/%y", b"02/29/00")
def test_the_kernel_reads_a_stated_date_format_as_parse_cells_does(form: str, cell: bytes):
    from dispatcher.members import _parse_numbers

    stated = read_date_form(form)
    found = kernel_number(_parse_numbers.DATE, cell, 4, stated.plain)
    if found is not LEFT_ODD:
        assert found == parse_cells.formed_date_of(cell.decode(), stated)
    elif stated.read(cell.decode()) is not None and len(cell) == len(stated.plain):
        assert isinstance(parse_cells.formed_date_of(cell.decode(), stated), Rejected)


def test_the_iso_form_is_the_kernels_own():
    assert read_date_form("%Y-%m-%d").plain == ISO
