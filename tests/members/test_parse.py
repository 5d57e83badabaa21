"""A CSV body to runs and rejects: what is taken, what is not and why, however the body arrives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.people import BAD_KINDS, write_csv
from dispatcher.members import _parse_rows, parse, parse_body, parse_chunk
from dispatcher.members.import_files import HOLD, Job, finish_body, read_job, write_job
from tests.fakes.people import PHONE, job_field, parsed, rejects_of, rows_of
from tests.reference import parse as reference

NAME = job_field("name", "text", max_length=10)
TIER = job_field("tier", "dict", values=["basic", "gold"], closed=True)
CITY = job_field("city", "dict", values=["Ulm"])
JOINED = job_field("joined", "date")
TAGS = job_field("xtags", "tags", values=["tea"])
STATED = {"format": "csv", "compression": "none", "charset": "utf-8"}  # nothing to wait for before the first row


def test_each_column_becomes_its_fields_values(tmp_path: Path):
    fields = (NAME, TIER, JOINED, TAGS, job_field("visits", "int"), job_field("birthday", "month_day"))
    fields += (job_field("vip", "bool"), job_field("money", "money"), job_field("points", "points"))
    body = (
        b"phone,name,tier,joined,xtags,visits,birthday,vip,money,points\n"
        b"+4915100000001, Ann ,gold,2020-02-29,tea; coffee,-7,02-29,Yes,12.5,10\n"
        b"004915100000002,,,,,,,,,\n"
        b"+4915100000003,\xe7\x8e\x8b\xe4\xbc\x9f,basic,29.2.2020,tea,+7,1990-12-31,0,-0.000001,0\n"
    )
    _, rows, rejects = parsed(tmp_path, body, *fields)
    assert rejects == []
    assert rows == [
        {"line": 2, "phone": 4915100000001, "name": "Ann", "tier": 2, "joined": 18321, "xtags": [0, 1], "visits": -7}
        | {"birthday": 2 * 32 + 29, "vip": 2, "money": 12_500_000, "points": 10},
        {"line": 3, "phone": 4915100000002},
        {"line": 4, "phone": 4915100000003, "name": "王伟", "tier": 1, "joined": 18321, "xtags": [0], "visits": 7}
        | {"birthday": 12 * 32 + 31, "vip": 1, "money": -1, "points": 0},
    ]


@pytest.mark.parametrize(
    ("row", "column", "value", "code"),
    [
        (b"12ab34,Bo,gold,2020-01-01", "phone", "12ab34", "wrong_number"),
        (b",Bo,gold,2020-01-01", "phone", "", "empty_number"),
        (b"+4915100000009,Bo,gold,2020-02-30", "joined", "2020-02-30", "wrong_date"),
        (b"+4915100000009,Bo,lead,2020-01-01", "tier", "lead", "not_in_dictionary"),
        (b"+4915100000009,Bo,gold", None, "+4915100000009,Bo,gold", "too_few_columns"),
        (b"+4915100000009,Bo,gold,2020-01-01,", None, "+4915100000009,Bo,gold,2020-01-01,", "too_many_columns"),
        (b"+4915100000009,B\xff,gold,2020-01-01", "name", "B\\xff", "broken_utf8"),
        (b"+4915100000009,Bo the Great,gold,2020-01-01", "name", "Bo the Great", "too_long"),
        (b'+4915100000009,"Bo,gold,2020-01-01', None, '+4915100000009,"Bo,gold,2020-01-01', "unclosed_quote"),
        (b'+4915100000009,"Bo"b,gold,2020-01-01', None, '+4915100000009,"Bo"b,gold,2020-01-01', "text_after_quote"),
        (b"+4915100000009,B\0o,gold,2020-01-01", None, "+4915100000009,B\\x00o,gold,2020-01-01", "nul_octet"),
        (b"+4915100000009,B\x1b[1m,gold,2020-01-01", "name", "B\x1b[1m", "control_character"),
        (b"+49" + b"1" * 200 + b",Bo,gold,2020-01-01", "phone", "+49" + "1" * 96 + "…", "wrong_number"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.islower() else "",
)
def test_a_bad_row_is_kept_with_its_reason_and_costs_only_itself(
    tmp_path: Path, row: bytes, column: str | None, value: str, code: str
):
    good = [b"+491510000000%d,Ann,gold,2020-01-01" % i for i in range(4)]
    body = b"\n".join([b"phone,name,tier,joined", *good[:2], row, *good[2:], b""])
    outcome, rows, rejects = parsed(tmp_path, body, NAME, TIER, JOINED)
    assert [r["line"] for r in rows] == [2, 3, 5, 6]
    assert [(r["line"], r["column"], r["value"], r["code"]) for r in rejects] == [(4, column, value, code)]
    assert outcome == {"runs": 1, "rows": 4, "rejected": 1}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_file"),
        (b"\r\n\n\n", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (b"+4915100000001,Ann\n", "no_header"),
        (b"colour,size\nred,5\n", "no_known_column"),
        (b"name,tier\nAnn,gold\n", "no_phone_column"),
        (b"phone,name,Name\n", "duplicate_column"),
        (b"mobile,msisdn\n", "duplicate_column"),
        (b"PK\x03\x04a.csv", "wrong_format"),
        (b"PK\x03\x04\x14\0[Content_Types].xml", "wrong_format"),
        (b"a" * 257 + b"ustar\x0000", "wrong_format"),
        (b'[{"phone": "+4915100000001"}]', "wrong_format"),
        (b"phone" * 20_000, "bad_header"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_whole(tmp_path: Path, body: bytes, code: str):
    outcome, rows, rejects = parsed(tmp_path, body, NAME, TIER)
    assert outcome["problem"]["code"] == code
    assert (rows, rejects) == ([], [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_delimiter_line_ends_and_bom_are_found_out(tmp_path: Path, delimiter: str, end: str, start: str):
    lines = [("Telefon", "NAME", "note"), ("+4915100000001", '"a,b;c|d"', "x"), ("+4915100000002", "Bo", "y")]
    body = start + end.join(delimiter.join(cells) for cells in lines)
    _, rows, rejects = parsed(tmp_path, body.encode(), NAME, mapping={"telefon": "phone"})
    assert [row.get("name") for row in rows] == ["a,b;c|d", "Bo"], rejects
    header = json.loads((tmp_path / "header.json").read_bytes())
    assert (header["delimiter"], header["ignored"]) == (delimiter, ["note"])


def test_excels_line_about_the_delimiter_is_understood(tmp_path: Path):
    _, rows, rejects = parsed(tmp_path, b"sep=^\r\nphone^name\r\n+4915100000001^a,b\r\n", NAME)
    assert (rows, rejects) == ([{"line": 3, "phone": 4915100000001, "name": "a,b"}], [])


@pytest.mark.parametrize("title", ["phone", "Phone", "MSISDN", "mobile", " Number ", "手机"])
def test_the_number_column_has_many_names(tmp_path: Path, title: str):
    _, rows, _ = parsed(tmp_path, f"{title},name\n+4915100000001,Ann\n".encode(), NAME)
    assert rows == [{"line": 2, "phone": 4915100000001, "name": "Ann"}]


def test_a_mapped_column_that_the_file_lacks_refuses_it(tmp_path: Path):
    outcome, *_ = parsed(tmp_path, b"phone,name\n", NAME, mapping={"vorname": "name"})
    assert outcome["problem"]["code"] == "mapped_column_absent"
    assert "'phone', 'name'" in outcome["problem"]["detail"]


def test_quoted_cells_may_hold_delimiters_quotes_and_lines(tmp_path: Path):
    body = b'phone,name\r\n+4915100000001,"a ""b"""\r\n"+4915100000002","x\ny"\r\n\r\n+4915100000003,"c"\r\n'
    _, rows, rejects = parsed(tmp_path, body, NAME)
    assert [(row["line"], row["name"]) for row in rows] == [(2, 'a "b"'), (3, "x\ny"), (6, "c")]
    assert rejects == []


def test_cells_that_an_export_escaped_come_back_as_they_were(tmp_path: Path):
    body = b"phone,name,city,xtags\n+4915100000001,'=1+1,'+Rom,'-a;b\n+4915100000002,'x,''@,'\n"
    _, rows, _ = parsed(tmp_path, body, NAME, CITY, TAGS)
    assert [row["name"] for row in rows] == ["=1+1", "'x"]
    run = json.loads((tmp_path / "run-000" / "run.json").read_bytes())
    assert run["new_values"] == {"city": ["+Rom", "'@"], "xtags": ["-a", "b", "'"]}


def test_an_unclosed_quote_swallows_no_line_after_its_own(tmp_path: Path):
    good = b"".join(b"+4915100%06d,Ann\n" % i for i in range(200))
    _, rows, rejects = parsed(tmp_path, b'phone,name\n+4915100000000,"Bo\n' + good, NAME)
    assert len(rows) == 200
    assert [(r["line"], r["code"]) for r in rejects] == [(2, "unclosed_quote")]


def test_a_row_longer_than_the_limit_is_skipped_to_its_end(tmp_path: Path):
    long = [b"+4915100000001," + b"x" * size for size in (70_000, 3 << 20, 1 << 16)]
    body = b"phone,name\n" + b"\n".join([*long[:2], b"+4915100000002,Ann", long[2]])
    _, rows, rejects = parsed(tmp_path, body, NAME)
    assert rows == [{"line": 4, "phone": 4915100000002, "name": "Ann"}]
    assert [(r["line"], r["code"]) for r in rejects] == [(n, "line_too_long") for n in (2, 3, 5)]


def test_open_dictionaries_and_tags_take_up_new_words_in_the_order_they_come(tmp_path: Path):
    body = b"phone,city,xtags\n+4915100000001,Rom,a;tea\n+4915100000002,Ulm,b\n+4915100000003,Rom,a;b;;a\n"
    _, rows, _ = parsed(tmp_path, body, CITY, TAGS)
    assert [row["city"] for row in rows] == [2, 1, 2]
    assert [row["xtags"] for row in rows] == [[1, 0], [2], [1, 2]]
    run = json.loads((tmp_path / "run-000" / "run.json").read_bytes())
    assert run["new_values"] == {"city": ["Rom"], "xtags": ["a", "b"]}


def test_a_dictionary_that_is_full_rejects_further_words(tmp_path: Path):
    city = job_field("city", "dict", values=["Ulm"], max_values=2)
    _, rows, rejects = parsed(tmp_path, b"phone,city\n+4915100000001,Rom\n+4915100000002,Bonn\n", city)
    assert [row["city"] for row in rows] == [2]
    assert [r["code"] for r in rejects] == ["dictionary_full"]


def test_a_rejected_row_adds_no_word(tmp_path: Path):
    _, _, rejects = parsed(tmp_path, b"phone,city,joined\n+4915100000001,Rom,never\n", CITY, JOINED)
    assert [r["code"] for r in rejects] == ["wrong_date"]
    assert json.loads((tmp_path / "run-000" / "run.json").read_bytes())["new_values"] == {"city": []}


def test_the_demo_file_gives_exactly_the_rejects_it_was_made_with(tmp_path: Path):
    from bench.people import define_fields

    path = tmp_path / "people.csv"
    expected = write_csv(path, 32_000, seed=7)
    bodies = [{key: value for key, value in body.items() if key != "pii"} for body in define_fields()]
    fields = [job_field(str(body.pop("title")), str(body.pop("kind")), **body) for body in bodies]
    fields.append(job_field("points", "points"))
    outcome, _, rejects = parsed(tmp_path / "import", path.read_bytes(), *fields)
    by_code = {kind: sum(r["code"] == kind for r in rejects) for kind in BAD_KINDS}
    assert by_code == expected.by_code
    assert (outcome["rows"], outcome["rejected"]) == (expected.members + expected.updated, expected.rejected)


# -- however it arrives --------------------------------------------------------------------------------


def mixed_body(rows: int = 200) -> bytes:
    kinds = [b'+4915100%06d,"a\nb",gold', b"+4915100%06d,Ann,City%d", b"bad%d,x,gold", b'+4915100%06d,"no end,gold']
    lines = [kinds[i % 4] % ((i, i) if i % 4 == 1 else (i,)) for i in range(rows)]
    return b"phone,name,city\r\n" + b"\r\n".join(lines)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("run-*/*"))}


@pytest.mark.parametrize("read_octets", [1, 7, 64, 1_000])
@pytest.mark.parametrize("chunk_rows", [1, 3, 16_384])
def test_a_body_read_in_any_pieces_gives_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_octets: int, chunk_rows: int
):
    whole, *_ = parsed(tmp_path / "whole", mixed_body(), NAME, CITY, run_rows=10)
    monkeypatch.setattr(parse_body, "READ_OCTETS", read_octets)
    monkeypatch.setattr(parse_chunk, "CHUNK_ROWS", chunk_rows)
    cut, *_ = parsed(tmp_path / "cut", mixed_body(), NAME, CITY, run_rows=10)
    assert cut == whole and whole["runs"] > 2
    assert files_of(tmp_path / "cut").keys() == files_of(tmp_path / "whole").keys()
    assert rows_of(tmp_path / "cut", cut) == rows_of(tmp_path / "whole", whole)
    assert rejects_of(tmp_path / "cut", cut) == rejects_of(tmp_path / "whole", whole)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_parser_started_again_goes_on_after_the_last_whole_run(tmp_path: Path, kept: int):
    outcome, *_ = parsed(tmp_path, mixed_body(), NAME, CITY, run_rows=10)
    before = files_of(tmp_path)
    for run in range(kept, outcome["runs"]):
        (tmp_path / f"run-{run:03d}" / "run.json").unlink()
    assert parse.parse(tmp_path, read_job(tmp_path)) == outcome
    assert files_of(tmp_path) == before


def test_a_body_is_parsed_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = mixed_body()
    write_job(tmp_path, Job(region="", fields=[PHONE, NAME, CITY], run_rows=5, runs_ahead=1_000, **STATED))
    (tmp_path / "body").write_bytes(b"")
    said: list[dict[str, Any]] = []
    seen_runs: list[int] = []

    def grow(_: float) -> None:
        """Stands for the wait: more of the body arrives."""
        at = (tmp_path / "body").stat().st_size
        seen_runs.append(sum(s["event"] == "run" for s in said))
        if at == len(body):
            finish_body(tmp_path, at)
        with open(tmp_path / "body", "ab") as file:
            file.write(body[at : at + 100])

    monkeypatch.setattr(parse_body.time, "sleep", grow)
    outcome = parse.parse(tmp_path, read_job(tmp_path), said.append)
    whole, *_ = parsed(tmp_path / "whole", body, NAME, CITY, run_rows=5)
    assert outcome == whole
    assert rows_of(tmp_path, outcome) == rows_of(tmp_path / "whole", whole)
    assert seen_runs[-1] > 2, "runs were whole before the body was"


def test_a_body_that_stops_growing_or_is_cut_ends_the_import(tmp_path: Path):
    write_job(tmp_path, Job(region="", fields=[PHONE], run_rows=1, stall_s=0, **STATED))
    (tmp_path / "body").write_bytes(b"phone\n+4915100000001\n+49151")
    outcome = parse.parse(tmp_path, read_job(tmp_path))
    assert (outcome["problem"]["code"], outcome["rows"]) == ("body_broken", 1)
    finish_body(tmp_path, 1_000)
    shutil.rmtree(tmp_path / "run-000")
    assert "1000 were announced" in parse.parse(tmp_path, read_job(tmp_path))["problem"]["detail"]


@pytest.mark.parametrize(("held", "ahead"), [(False, 3), (True, 2)])
def test_the_parser_waits_when_too_many_runs_are_not_yet_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool, ahead: int
):
    waiting: list[int] = []

    def apply(_: float) -> None:
        """Stands for the wait: the importer takes the oldest run."""
        whole = [run for run in sorted(tmp_path.glob("run-*")) if (run / "order").exists()]
        waiting.append(len(whole))
        (whole[0] / "order").unlink()

    monkeypatch.setattr(parse_body.time, "sleep", apply)
    (tmp_path / "body").write_bytes(mixed_body())
    finish_body(tmp_path, len(mixed_body()))
    write_job(tmp_path, Job(region="", fields=[PHONE, NAME, CITY], run_rows=5, runs_ahead=3))
    if held:
        (tmp_path / HOLD).touch()
    outcome = parse.parse(tmp_path, read_job(tmp_path))
    assert set(waiting) == {ahead} and outcome["runs"] > 6


def test_a_full_disk_is_said_and_leaves_no_half_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    write_job(tmp_path, Job(region="", fields=[PHONE]))
    (tmp_path / "body").write_bytes(b"phone\n+4915100000001\n")
    finish_body(tmp_path, 21)
    (tmp_path / "outcome.json.part").symlink_to("/dev/full")
    assert parse.main([str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["code"] == "disk_full"


def test_the_parser_is_a_process_that_opens_no_store(tmp_path: Path):
    parsed(tmp_path, b"", NAME)
    (tmp_path / "body").write_bytes(b"phone,name\n+4915100000001,Ann\n")
    finish_body(tmp_path, 30)
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.members.parse_process", str(tmp_path)], capture_output=True, check=True
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["header", "run", "done"]


# -- kernel and reference ------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"b c", b"\0", b'"x"', b"1,2\n", b'"a,\n'])
)


@settings(deadline=None)  # the two long examples take the reference a while
@given(pieces=PIECES, columns=st.integers(1, 3))
@example(pieces=[b'"'] + [b"\n"] * 51 + [b'"'], columns=1)
@example(pieces=[b'"' + b"x" * 65_535 + b'"'], columns=1)
@example(pieces=[b'"' + b"x" * 65_534 + b'"'], columns=1)
def test_compiled_and_reference_cut_the_same_rows(pieces: list[bytes], columns: int):
    body = b"".join(pieces)
    assert cut_all(body, columns, len(body)) == reference.rows_of(body, b",", columns)


@given(pieces=PIECES, columns=st.integers(1, 3), step=st.integers(1, 5))
def test_a_body_cut_at_every_octet_gives_the_same_rows(pieces: list[bytes], columns: int, step: int):
    body = b"".join(pieces)
    assert cut_all(body, columns, step) == reference.rows_of(body, b",", columns)


def cut_all(body: bytes, columns: int, step: int) -> list[reference.Row]:
    """The kernel's rows, when `step` more octets are there at each call."""
    cells, lines = array("I", bytes(8 * columns * 4)), array("I", bytes(4 * 4))
    rows: list[reference.Row] = []
    data = bytearray(body)
    at, line, end = 0, 1, min(step, len(body))
    while True:
        bad: list[tuple[int, int, int, int]] = []
        count, past, line = _parse_rows.cut(
            data, at, end, end == len(body), ord(","), columns, cells, lines, line, 1 << 20, bad
        )
        found = [
            (
                lines[row],
                0,
                [bytes(data[cells[2 * i] : cells[2 * i + 1]]) for i in range(row * columns, (row + 1) * columns)],
            )
            for row in range(count)
        ]
        rows += sorted(found + [(where, status, []) for where, status, _, _ in bad])
        if past == at:
            if end == len(body):
                return rows
            end = min(len(body), end + step)
        at = past
