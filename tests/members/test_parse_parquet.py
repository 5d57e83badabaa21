"""Parquet: each Arrow type to its field, files that are broken or too clever, and the kernel against plain Python."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import random
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.members import _parse_arrow, parse, parse_body, parse_parquet
from dispatcher.members.import_files import Job, finish_body, read_job, write_job
from tests.fakes.people import PHONE, job_field, parsed, rows_of
from tests.members.test_parse import files_of
from tests.members.test_parse_unpack import PACK
from tests.reference import parse_arrow as reference

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAME = job_field("name", "text", max_length=10)
CITY = job_field("city", "dict", values=["Ulm"])
TAGS = job_field("xtags", "tags", values=["tea"])
KINDS = [NAME, CITY, TAGS, job_field("joined", "date"), job_field("visits", "int"), job_field("vip", "bool")]
KINDS += [job_field("birthday", "month_day"), job_field("money", "money"), job_field("points", "points")]
NUMBERS = [f"+49151{i:08d}" for i in range(3)]
DAY = datetime.date(2020, 2, 29)
DAYS = (DAY - datetime.date(1970, 1, 1)).days


def written(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("name", pa.array(["Ann", None, "王伟"]), ["Ann", None, "王伟"]),
        ("name", pa.array(["Ann", None, "王伟"], pa.large_string()), ["Ann", None, "王伟"]),
        ("name", pa.array(["Ann", None, "Ann"]).dictionary_encode(), ["Ann", None, "Ann"]),
        ("name", pa.array([b"Ann", None, b"Bo"]), ["Ann", None, "Bo"]),
        ("name", pa.array([5, None, 7]), ["5", None, "7"]),
        ("city", pa.array(["Rom", "Ulm", None]).dictionary_encode(), [2, 1, None]),
        ("city", pa.nulls(3), [None] * 3),
        ("joined", pa.array([DAY, None, datetime.date(1, 1, 1)]), [DAYS, None, -719_162]),
        ("joined", pa.array([DAY, None, DAY], pa.date64()), [DAYS, None, DAYS]),
        ("joined", pa.array([datetime.datetime(2020, 2, 29, 23, 59), None, None]), [DAYS, None, None]),
        ("joined", pa.array(["29.02.2020", "20200229", ""]), [DAYS, DAYS, None]),
        ("birthday", pa.array([DAY, None, DAY]), [93, None, 93]),
        ("visits", pa.array([1, None, -3], pa.int8()), [1, None, -3]),
        ("visits", pa.array([1, None, 3], pa.uint64()), [1, None, 3]),
        ("visits", pa.array([1.0, None, -3.0]), [1, None, -3]),
        ("visits", pa.array([1 << 40, None, -(1 << 62)]), [1 << 40, None, -(1 << 62)]),
        ("points", pa.array([1, None, 3], pa.int32()), [1, None, 3]),
        ("vip", pa.array([True, None, False]), [2, None, 1]),
        ("vip", pa.array([1, None, 0]), [2, None, 1]),
        ("money", pa.array([decimal.Decimal("12.50"), None, decimal.Decimal("-1.00")]), [12_500_000, None, -1_000_000]),
        ("money", pa.array([12.5, None, 3.0]), [12_500_000, None, 3_000_000]),
        ("money", pa.array([12, None, -3]), [12_000_000, None, -3_000_000]),
        ("xtags", pa.array([["tea", "a;b"], None, []]), [[0, 1], None, None]),
        ("xtags", pa.array(["tea;new", None, "tea"]), [[0, 1], None, [0]]),
    ],
    ids=lambda value: str(value.type) if hasattr(value, "type") else value if isinstance(value, str) else "",
)
def test_each_arrow_type_becomes_its_fields_values(tmp_path: Path, field: str, values: Any, expected: list[Any]):
    _, rows, rejects = parsed(tmp_path, written({"phone": NUMBERS, field: values}), *KINDS)
    assert rejects == []
    assert [row.get(field) for row in rows] == expected
    assert [row["line"] for row in rows] == [1, 2, 3]
    found = json.loads((tmp_path / "header.json").read_bytes())["found"]
    assert (found["format"], found["mapping"]) == ("parquet", {"phone": "phone", field: field})


@pytest.mark.parametrize(
    ("field", "values", "value", "code"),
    [
        ("name", pa.array(["a", "b" * 11, "c"]), "b" * 11, "too_long"),
        ("name", pa.array([b"a", b"\xff", b"c"]), "\\xff", "broken_utf8"),
        ("visits", pa.array([1.0, 2.5, 3.0]), "2.5", "wrong_value"),
        ("visits", pa.array([1.0, float("nan"), 3.0], from_pandas=False), "nan", "wrong_value"),
        ("visits", pa.array([1, (1 << 64) - 1, 3], pa.uint64()), str((1 << 64) - 1), "wrong_value"),
        ("visits", pa.array([1, -(1 << 63), 3]), str(-(1 << 63)), "wrong_value"),
        ("points", pa.array([1, -2, 3]), "-2", "wrong_value"),
        ("joined", pa.array([1, 1 << 30, 3], pa.int32()).cast(pa.date32()), None, "wrong_date"),
        ("xtags", pa.array([["tea"], ["tea", None], []]), "", "nested_value"),
    ],
)
def test_a_bad_value_rejects_its_row(tmp_path: Path, field: str, values: Any, value: str | None, code: str):
    _, rows, rejects = parsed(tmp_path, written({"phone": NUMBERS, field: values}), *KINDS)
    assert [row["line"] for row in rows] == [1, 3]
    assert [(r["line"], r["column"], r["code"]) for r in rejects] == [(2, field, code)]
    assert value is None or rejects[0]["value"] == value


def test_a_column_of_numbers_is_e164_where_no_region_says_otherwise(tmp_path: Path):
    columns = {"phone": pa.array([4915100000001, 13800138000, None])}
    _, rows, rejects = parsed(tmp_path / "a", written(columns), NAME)
    assert [row["phone"] for row in rows] == [4915100000001, 13800138000]
    assert [(r["line"], r["code"]) for r in rejects] == [(3, "empty_number")]
    _, rows, _ = parsed(tmp_path / "b", written(columns), NAME, region="CN")
    assert rows[-1]["phone"] == 8613800138000


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"phone": NUMBERS, "name": pa.array([{"a": 1}] * 3)}, "unsupported_type"),
        ({"phone": NUMBERS, "name": pa.array([["a"]] * 3)}, "unsupported_type"),
        ({"phone": NUMBERS, "xtags": pa.array([[1]] * 3)}, "unsupported_type"),
        ({"phone": NUMBERS, "visits": pa.array([datetime.time(1)] * 3)}, "unsupported_type"),
        ({"phone": NUMBERS, "visits": pa.array([datetime.datetime(2020, 1, 1)] * 3)}, "unsupported_type"),
        ({"name": ["a"] * 3}, "no_phone_column"),
        ({"colour": ["a"] * 3}, "no_known_column"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_whole(tmp_path: Path, columns: dict[str, Any], code: str):
    outcome, rows, _ = parsed(tmp_path, written(columns), *KINDS)
    assert (outcome["problem"]["code"], rows) == (code, [])


def test_nested_columns_that_no_field_has_are_not_read(tmp_path: Path):
    columns = {"phone": NUMBERS, "a.b": NUMBERS, "extra": pa.array([{"phone": 1}] * 3), "name": ["x", "y", "z"]}
    _, rows, _ = parsed(tmp_path, written(columns), NAME)
    assert [row["name"] for row in rows] == ["x", "y", "z"]


def many(rows: int = 1_000) -> dict[str, Any]:
    return {
        "phone": [f"+49151{i:08d}" if i % 50 else "bad" for i in range(rows)],
        "name": [f"n{i % 7}" if i % 3 else None for i in range(rows)],
        "city": [f"c{i % 20}" for i in range(rows)],
    }


@pytest.mark.parametrize("group", [1, 64, 1_000])
@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_parser_started_again_goes_on_after_the_last_whole_run(tmp_path: Path, group: int, kept: int):
    body = written(many(300), row_group_size=group)
    outcome, rows, _ = parsed(tmp_path, body, NAME, CITY, run_rows=50)
    assert (outcome["rows"], outcome["rejected"]) == (294, 6)
    before = files_of(tmp_path)
    for run in range(kept, outcome["runs"]):
        (tmp_path / f"run-{run:03d}" / "run.json").unlink()
    assert parse.parse(tmp_path, read_job(tmp_path)) == outcome
    assert files_of(tmp_path) == before
    assert rows_of(tmp_path, outcome) == rows


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_packed_parquet_body_is_unpacked_beside_it_and_leaves_nothing(tmp_path: Path, compression: str):
    outcome, *_ = parsed(tmp_path, PACK[compression](written(many())), NAME, CITY)
    assert (outcome["rows"], outcome["rejected"]) == (980, 20)
    assert not (tmp_path / "unpacked").exists()


def test_the_body_must_be_whole_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = written(many(), row_group_size=100)
    write_job(tmp_path, Job(region="", fields=[PHONE, NAME], format="parquet", stall_s=1_000))
    (tmp_path / "body").write_bytes(b"")

    def grow(_: float) -> None:
        at = (tmp_path / "body").stat().st_size
        with open(tmp_path / "body", "ab") as file:
            file.write(body[at : at + 1_000])
        if at + 1_000 >= len(body):
            finish_body(tmp_path, len(body))

    monkeypatch.setattr(parse_body.time, "sleep", grow)
    assert parse.parse(tmp_path, read_job(tmp_path))["rows"] == 980


def test_without_pyarrow_the_answer_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parse_parquet, "pa", None)
    outcome, *_ = parsed(tmp_path, written(many()), NAME)
    assert outcome["problem"]["code"] == "parquet_not_installed"
    assert "pip install 'volley[parquet]'" in outcome["problem"]["hint"]


def test_a_damaged_file_is_refused_or_ends_with_the_row_and_never_otherwise(tmp_path: Path):
    body, rng = written(many(5_000), row_group_size=500), random.Random(3)
    codes = set()
    for turn in range(60):
        damaged = bytearray(body)
        if turn % 3 == 0:
            del damaged[rng.randrange(len(body)) :]
        for _ in range(4):
            if damaged:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        damaged[:4] = b"PAR1"
        outcome, *_ = parsed(tmp_path / str(turn), bytes(damaged), NAME, CITY, run_rows=1_000)
        codes.add(outcome.get("problem", {}).get("code"))
    assert "broken_parquet" in codes
    assert codes <= {"broken_parquet", None, "no_phone_column", "no_known_column", "unsupported_type"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory")
@pytest.mark.parametrize("kind", ["a text in a dictionary", "a page"])
def test_a_small_file_that_would_be_great_takes_little_memory(tmp_path: Path, kind: str):
    """1 GB of one text of 50,000 characters named by 20,000 rows; 300 MB of texts in a page of some kB."""
    if kind == "a page":
        columns = {"phone": NUMBERS * 100, "name": ["y" * 1_000_000] * 300}
        body = written(columns, use_dictionary=False, compression="zstd")
    else:
        numbers = [f"+49151{i:08d}" for i in range(20_000)]
        words = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 50_000]))
        body = written({"phone": numbers, "name": words})
    assert len(body) < 1 << 20
    (tmp_path / "body").write_bytes(body)
    finish_body(tmp_path, len(body))
    write_job(tmp_path, Job(region="", fields=[PHONE, NAME]))
    code = (
        "import sys; from dispatcher.members import parse; parse.bound_memory(); parse.main(sys.argv[1:]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True)
    assert int(done.stdout.split()[-1]) < 300 << 10, "KiB that the process had at most"
    outcome = json.loads((tmp_path / "outcome.json").read_bytes())
    assert outcome["rows"] == 0 and (outcome["rejected"] == 20_000 or outcome["problem"]["code"] == "broken_parquet")


# -- kernel and reference ------------------------------------------------------------------------------


@given(
    texts=st.lists(st.binary(max_size=5) | st.none(), max_size=40),
    span=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_compiled_and_reference_find_the_same_strings(texts: list[bytes | None], span: tuple[int, int]):
    values = pa.array(texts, pa.binary()).slice(*span)
    validity, offsets, _ = (bytes(b) if b is not None else b"" for b in values.buffers())
    if not offsets:
        return
    cells = array("I", bytes(8 * len(values)))
    _parse_arrow.string_cells(offsets, validity, values.offset, len(values), cells)
    pairs = list(zip(cells[::2], cells[1::2], strict=True))
    assert pairs == reference.string_cells(offsets, validity, values.offset, len(values))


@given(
    texts=st.lists(st.text(max_size=3) | st.none(), max_size=40),
    span=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_compiled_and_reference_find_the_same_words_of_a_dictionary(texts: list[str | None], span: tuple[int, int]):
    values = pa.array(texts, pa.string()).dictionary_encode().slice(*span)
    validity, indices = (bytes(b) if b is not None else b"" for b in values.indices.buffers())
    _, offsets, _ = (bytes(b) if b is not None else b"" for b in values.dictionary.buffers())
    cells = array("I", bytes(8 * len(values)))
    where = (offsets, indices, validity, values.indices.offset, len(values))
    _parse_arrow.indexed_cells(*where, cells)
    assert list(zip(cells[::2], cells[1::2], strict=True)) == reference.indexed_cells(*where)


def test_an_index_outside_the_dictionary_is_refused():
    with pytest.raises(ValueError, match="outside the dictionary"):
        _parse_arrow.indexed_cells(bytes(8), b"\1\0\0\0", b"", 0, 1, array("I", bytes(8)))


@given(
    numbers=st.lists(st.integers(-(1 << 31), (1 << 31) - 1) | st.none(), min_size=1, max_size=40),
    wide=st.booleans(),
    start=st.integers(0, 8),
    width=st.sampled_from([4, 8]),
    limits=st.tuples(st.integers(-(1 << 31) + 1, 0), st.integers(0, 1 << 31)),
)
def test_compiled_and_reference_take_the_same_numbers(
    numbers: list[int | None], wide: bool, start: int, width: int, limits: tuple[int, int]
):
    values = pa.array(numbers, pa.int64() if wide else pa.int32()).slice(start)
    validity, octets = (bytes(b) if b is not None else b"" for b in values.buffers())
    rows, each, unknown = len(values), 8 if wide else 4, -(1 << 8 * width - 1)
    out, bits, odd = bytearray(width * rows), array("Q", bytes(8 * rows)), array("I", bytes(4 * rows))
    where = (octets, each, validity, values.offset, rows, bytearray(b"\1") * rows, bits, 4)
    left = _parse_arrow.integers(*where, out, width, unknown, *limits, odd)
    expected = reference.integers(octets, each, validity, values.offset, rows, *limits)
    assert list(odd[:left]) == [i for i, found in enumerate(expected) if found == "odd"]
    assert [bool(given) for given in bits] == [found is not None for found in expected]
    for row, found in enumerate(expected):
        if found != "odd":
            number = int.from_bytes(out[width * row : width * (row + 1)], "little", signed=True)
            assert number == (unknown if found is None else found)
