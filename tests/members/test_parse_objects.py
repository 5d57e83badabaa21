"""NDJSON: what a line may be, what becomes of its keys, and the kernel against plain Python."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.members import _parse_codes, _parse_objects
from tests.fakes.people import job_field, parsed
from tests.reference import parse_objects as reference

NAME = job_field("name", "text", max_length=20)
TAGS = job_field("xtags", "tags", values=["tea"])
CITY = job_field("city", "dict", values=["Ulm"])
KINDS = [NAME, TAGS, CITY, job_field("visits", "int"), job_field("vip", "bool"), job_field("money", "money")]


def line(number: int = 1, **rest: Any) -> str:
    return json.dumps({"phone": f"+49151{number:08d}", **rest}, ensure_ascii=False)


def body(*lines: str) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def test_each_value_means_what_its_characters_mean_in_a_csv_cell(tmp_path: Path):
    lines = [line(1, name="A\n\U0001f600é", xtags=["tea", "a;b"], visits=-7, vip=True, money=12.5, city="Rom"), ""]
    lines += [line(2, name=None, xtags="tea;c", visits="8", vip=False, money="0.5"), line(3, xtags=[], vip="n")]
    outcome, rows, rejects = parsed(tmp_path, body(*lines), *KINDS)
    assert rejects == [] and outcome == {"runs": 1, "rows": 3, "rejected": 0}
    assert rows == [
        {"line": 1, "phone": 4915100000001, "name": "A\n\U0001f600é", "xtags": [0, 1], "visits": -7, "vip": 2}
        | {"money": 12_500_000, "city": 2},
        {"line": 3, "phone": 4915100000002, "xtags": [0, 2], "visits": 8, "vip": 1, "money": 500_000},
        {"line": 4, "phone": 4915100000003, "vip": 1},
    ]


@pytest.mark.parametrize(
    ("row", "column", "code"),
    [
        (line(9, name={"first": "Ann"}), "name", "nested_value"),
        (line(9, name=["Ann"]), "name", "nested_value"),
        (line(9, xtags=["tea", 1]), "xtags", "nested_value"),
        ('{"phone": "+4915100000009", "visits": 1, "visits": 2}', "visits", "duplicate_key"),
        ('{"phone": "+4915100000009", "visits": NaN}', "visits", "bad_json"),
        ('{"phone": "+4915100000009", "visits": -Infinity}', "visits", "bad_json"),
        ('{"phone": "+4915100000009", "visits": 012}', "visits", "bad_json"),
        ('{"phone": "+4915100000009", "visits": 1' + "0" * 399 + "}", "visits", "wrong_value"),
        ('{"phone": "+4915100000009", "visits": 1e400}', "visits", "wrong_value"),
        ('{"phone": "+4915100000009", "name": "\\ud800"}', "name", "lone_surrogate"),
        (line(9, name="\ud800"), "name", "broken_utf8"),
        ('{"phone": "+4915100000009", "name": "\\u0000"}', "name", "control_character"),
        ('{"phone": "+4915100000009", "name": "a\tb"}', "name", "bad_json"),
        ('{"phone": "+4915100000009", "other": ' + "[" * 100_000 + "]" * 100_000 + "}", None, "line_too_long"),
        ('{"phone": "+4915100000009", "other": ' + "[" * 10_000 + "]" * 10_000 + "}", None, "too_deep"),
        ('{"phone": "+4915100000009",}', None, "bad_json"),
        ('{"phone": "+4915100000009"} {}', None, "bad_json"),
        ('{"phone": "+4915100000009"', None, "bad_json"),
        ('["+4915100000009"]', None, "bad_json"),
        ("{}", "phone", "empty_number"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_bad_line_is_kept_with_its_reason_and_costs_only_itself(
    tmp_path: Path, row: str, column: str | None, code: str
):
    lines = [line(1, name="a", visits=1, xtags=["tea"]), row, line(2, name="b")]
    outcome, rows, rejects = parsed(tmp_path, body(*lines), *KINDS)
    assert [r["line"] for r in rows] == [1, 3]
    assert [(r["line"], r["column"], r["code"]) for r in rejects] == [(2, column, code)]
    assert rejects[0]["hint"] and len(rejects[0]["value"]) <= 100
    assert outcome["rejected"] == 1


def test_nested_values_of_keys_that_no_field_has_are_passed_over(tmp_path: Path):
    lines = [line(1, other={"a": [1, {"b": None}], "phone": "x"}, name="Ann"), line(2, more=1)]
    _, rows, rejects = parsed(tmp_path, body(*lines), NAME)
    assert rejects == [] and len(rows) == 2
    header = json.loads((tmp_path / "header.json").read_bytes())
    assert header["ignored"] == ["other", "more"]
    assert header["found"]["mapping"] == {"phone": "phone", "name": "name"}


def test_one_field_may_have_different_keys_in_different_lines_and_no_two_in_one(tmp_path: Path):
    lines = [line(1, name="a"), '{"Mobile": "+4915100000002"}', '{"phone": "+4915100000003", "mobile": "1"}']
    _, rows, rejects = parsed(tmp_path, body(*lines), NAME)
    assert [row["phone"] for row in rows] == [4915100000001, 4915100000002]
    assert [(r["line"], r["code"]) for r in rejects] == [(3, "duplicate_key")]


def test_a_field_that_the_first_lines_do_not_have_is_never_lost_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from dispatcher.members import parse_text

    monkeypatch.setattr(parse_text, "SAMPLE", 100)
    lines = [line(i) for i in range(1, 20)] + [line(20, name="late"), line(21, other=1)]
    outcome, rows, rejects = parsed(tmp_path / "a", body(*lines), NAME)
    assert [(r["line"], r["code"]) for r in rejects] == [(20, "late_key")]
    assert len(rows) == 20 and outcome["ignored_later"] == ["other"]
    _, rows, rejects = parsed(tmp_path / "b", body(*lines), NAME, mapping={"name": "name"})
    assert rejects == [] and rows[19]["name"] == "late"


def test_different_keys_without_end_do_not_take_memory_without_end(tmp_path: Path):
    lines = [line(1), *(json.dumps({"phone": "+4915100000002", f"k{i}": i}) for i in range(10_000))]
    _, _, rejects = parsed(tmp_path, body(*lines), NAME)
    assert {r["code"] for r in rejects} == {"too_many_keys"}
    assert 5_800 < len(rejects) < 6_000


def test_a_parser_started_again_goes_on_after_the_last_whole_run(tmp_path: Path):
    from dispatcher.members import parse
    from dispatcher.members.import_files import read_job
    from tests.members.test_parse import files_of

    lines = [line(i, name=f"n{i}", city=f"c{i % 9}") if i % 7 else "bad" for i in range(1, 100)]
    outcome, *_ = parsed(tmp_path, body(*lines), NAME, CITY, run_rows=10)
    before = files_of(tmp_path)
    for run in range(3, outcome["runs"]):
        (tmp_path / f"run-{run:03d}" / "run.json").unlink()
    assert parse.parse(tmp_path, read_job(tmp_path)) == outcome
    assert files_of(tmp_path) == before


# -- kernel and reference ------------------------------------------------------------------------------

COLUMNS = {b"p": 0, b"t": 1, b"tt": 1, b"n": 2, b"late": reference.LATE, b"\xc3\xa9": 2, b"x": reference.IGNORED}
LISTS = b"\0\1\0"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text('aé\U0001f600\ud800\n\\"\x1f', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["p", "t", "q"]), inner, max_size=2),
    max_leaves=6,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["p", "t", "tt", "n", "late", "x", "é", "\n"]), JSON, max_size=4).flatmap(
        lambda found: st.sampled_from([json.dumps(found), json.dumps(found, ensure_ascii=False), json.dumps(found) * 2])
    ),
    max_size=4,
)
PIECES = st.lists(
    st.sampled_from(rb"""{ } [ ] "p" "t" : , 1 - .5 e+1 0 null true " \ \u00e9 \ud83d\ude00 \ud83d \n {"p": {"t":["a", """.split())
    | st.sampled_from([b" ", b"\n", b"\r", b"\0", b"\xff"]),
    max_size=14,
)  # fmt: skip


@given(rows=ROWS, damage=st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=2)), step=st.integers(1, 300))
@settings(max_examples=400, deadline=None)
def test_compiled_and_reference_read_the_same_rows(rows: list[str], damage: tuple[int, bytes] | None, step: int):
    octets = "\n".join(rows).encode("utf-8", "surrogatepass")
    if damage:
        octets = octets[: damage[0]] + damage[1] + octets[damage[0] + 1 :]
    assert cut_all(octets, step) == reference.rows_of(octets, COLUMNS, LISTS, 120)


@given(pieces=PIECES, step=st.integers(1, 9))
@settings(max_examples=600, deadline=None)
@example(pieces=[b'{"t":["a",', b'"b"', b"]", b"}"], step=100)
@example(pieces=[b'{"x":', b"[" * 64, b"1", b"]" * 64, b"}"], step=100)
@example(pieces=[b'{"x":', b"[" * 65, b"1", b"]" * 65, b"}"], step=100)
def test_compiled_and_reference_agree_on_what_is_hardly_json(pieces: list[bytes], step: int):
    octets = b"".join(pieces)
    assert cut_all(octets, step, 1 << 16) == reference.rows_of(octets, COLUMNS, LISTS, 1 << 16)


@given(rows=st.dictionaries(st.sampled_from(["p", "n"]), st.text(max_size=8) | st.integers(), max_size=2))
def test_a_value_is_what_the_json_module_reads(rows: dict[str, Any]):
    octets = json.dumps(rows).encode()
    found = cut_all(octets, len(octets), 1_000)
    if any("\ud800" <= c <= "\udfff" for value in rows.values() if isinstance(value, str) for c in value):
        assert found == [(1, reference.SURROGATE, [])]
    else:
        assert found == [(1, 0, [str(rows.get(key, "")).encode() for key in ("p", "t", "n")])]


def cut_all(octets: bytes, step: int, octets_max: int = 120) -> list[reference.Row]:
    """The kernel's rows, when `step` more octets are there at each call."""
    keys, cells, lines = _parse_codes.Codes(), array("I", bytes(8 * 3 * 4)), array("I", bytes(4 * 4))
    rows: list[reference.Row] = []
    data = bytearray(octets + b" ")
    at, number, end = 0, 1, min(step, len(octets))
    while True:
        bad: list[tuple[int, int, int, int, int, int]] = []
        count, past, number = _parse_objects.cut_objects(
            data, at, end, end == len(octets), keys,
            lambda key: keys.learn(key, COLUMNS.get(key, reference.IGNORED)), LISTS, cells, lines, number, octets_max, bad,
        )  # fmt: skip
        found = [
            (lines[row], 0, [bytes(data[cells[2 * i] : cells[2 * i + 1]]) for i in range(row * 3, row * 3 + 3)])
            for row in range(count)
        ]
        rows += sorted(found + [(where, status, []) for where, status, *_ in bad])
        if past == at:
            if end == len(octets):
                return rows
            end = min(len(octets), end + step)
        at = past
