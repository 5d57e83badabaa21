"""Files made to hurt: each is refused with one clear problem or costs its bad rows, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.members.import_files import Job, finish_body, write_job
from tests.fakes.people import PHONE, job_field, parsed

NAME = job_field("name", "text", max_length=10)
KINDS = [NAME, job_field("visits", "int"), job_field("city", "dict"), job_field("xtags", "tags")]
GOOD = b"+4915100000001,Ann\n"


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b"phone,name\n" + b'+4915100000002,"x\n' * 3 + GOOD, ["text_after_quote", "unclosed_quote"]),
        (b"phone,name\n\0\0\0\n" + GOOD, ["nul_octet"]),
        (b"phone,name\n+4915100000002,a\rb\n" + GOOD, ["control_character"]),
        (b"phone,name\nphone,name\n" + GOOD, ["header_again"]),
        (b"phone,name\n" + GOOD[:-1] + b"\xef\xbb\xbf\n" + b"\xef\xbb\xbf" + GOOD, ["wrong_number"]),
        (b"phone,name\n+4915100000002," + b"x" * 200_000 + b"\n" + GOOD, ["line_too_long"]),
        (b"phone,name\n+4915100000002,a" + b",b" * 20_000 + b"\n" + GOOD, ["too_many_columns"]),
        (b"phone,name\n=cmd|'/c calc'!A1,Ann\n../../etc/passwd,Ann\n" + GOOD, ["wrong_number"] * 2),
    ],
)
def test_hostile_rows_cost_themselves(tmp_path: Path, body: bytes, codes: list[str]):
    _, rows, rejects = parsed(tmp_path, body, *KINDS)
    assert [r["code"] for r in rejects] == codes
    assert len(rows) == 1
    assert all({*r} == {"line", "column", "value", "code", "detail", "hint"} for r in rejects)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"phone,name\r+4915100000001,Ann\r+4915100000002,Bo\r", "bad_header"),
        (b"phone,name\r" + b"+4915100000001,Ann\r" * 10_000, "bad_header"),
        (b"\0" * 1_000, "wrong_charset"),
        (b'"phone,name\n' + GOOD, "bad_header"),
        (b"phone,name" + b",x" * 40_000 + b"\n", "bad_header"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5_000), "wrong_format"),
        (b"%PDF-1.7\n", "wrong_format"),
    ],
)
def test_hostile_files_are_refused_with_one_problem(tmp_path: Path, body: bytes, code: str):
    outcome, rows, _ = parsed(tmp_path, body, *KINDS)
    assert (outcome["problem"]["code"], rows) == (code, [])


def test_a_file_that_is_only_a_header_has_no_rows_and_no_problem(tmp_path: Path):
    assert parsed(tmp_path, b"phone,name\r\n", NAME)[0] == {"runs": 0, "rows": 0, "rejected": 0}


def test_ten_thousand_columns_are_read(tmp_path: Path):
    titles = ["phone", "name", *(f"x{i}" for i in range(9_998))]
    row = ["+4915100000001", "Ann", *("v" * (i % 3) for i in range(9_998))]
    body = "\n".join([",".join(titles), *[",".join(row)] * 500])
    _, rows, rejects = parsed(tmp_path, body.encode(), NAME, row_octets_max=1 << 17)
    assert (len(rows), rejects) == (500, [])


@pytest.mark.parametrize("filename", ["../../x.csv", "/etc/passwd", "C:\\x.parquet.exe", "a\0b", "." * 300])
def test_what_the_file_is_called_names_no_place(tmp_path: Path, filename: str):
    folder = tmp_path / "in"
    _, rows, _ = parsed(folder, b"phone,name\n" + GOOD, NAME, filename=filename)
    assert len(rows) == 1
    assert sorted(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("filename", "body", "format"),
    [
        ("people.jsonl.gz", b'{"phone": "+4915100000001"}\n', "ndjson"),
        ("people.CSV", b"{phone,name\n", "csv"),
        ("", b'\n {"phone": "+4915100000001"}\n', "ndjson"),
        ("", b"phone\n", "csv"),
    ],
)
def test_a_format_is_found_by_content_and_name(tmp_path: Path, filename: str, body: bytes, format: str):
    parsed(tmp_path, body, NAME, filename=filename)
    assert json.loads((tmp_path / "header.json").read_bytes())["found"]["format"] == format


@pytest.mark.parametrize(
    ("body", "stated", "said"),
    [
        (b"PAR1" + bytes(50) + b"PAR1", {"format": "csv"}, "is Parquet, not csv"),
        (gzip.compress(b"phone\n", mtime=0), {"compression": "none"}, "packed with gzip"),
        (gzip.compress(gzip.compress(b"phone\n", mtime=0), mtime=0), {}, "packed with gzip once more"),
        (b"PK\x03\x04", {"format": "csv", "charset": "utf-8"}, "zip archive"),
    ],
)
def test_what_is_stated_wrong_is_said(tmp_path: Path, body: bytes, stated: dict[str, str], said: str):
    outcome, *_ = parsed(tmp_path, body, NAME, **stated)
    assert outcome["problem"]["code"] == "wrong_format" and said in outcome["problem"]["detail"]


def test_what_is_called_parquet_and_is_none_is_said(tmp_path: Path):
    outcome, *_ = parsed(tmp_path, b"phone\n", NAME, filename="x.parquet")
    assert outcome["problem"]["code"] == "wrong_format"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_octets_end_in_rows_rejects_or_a_problem(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    start = data.draw(
        st.sampled_from([b"", b"phone,name\n", b'{"phone":', b"PAR1", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"])
    )
    body = start + data.draw(st.binary(max_size=300))
    outcome, rows, rejects = parsed(tmp_path_factory.mktemp("any"), body, *KINDS)
    assert "problem" in outcome or (outcome["rows"], outcome["rejected"]) == (len(rows), len(rejects))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory")
@pytest.mark.parametrize("kind", ["line", "quote", "object", "rejects", "keys"])
def test_a_great_file_takes_little_memory(tmp_path: Path, kind: str):
    """Some 200 MB of one line, one quote, one object, only rejects or only new keys, by the parser's own process."""
    head, piece, times = {
        "line": (b"phone,name\n", b"x" * (1 << 20), 200),
        "quote": (b'phone,name\n+4915100000001,"', b"x\n" * (1 << 19), 4),
        "object": (b'{"phone":"+4915100000001"}\n{"o":', b"[" * (1 << 20), 200),
        "rejects": (b"phone,name\n", b"nobody,Ann,\n" * 50_000, 20),
        "keys": (b'{"phone":"+4915100000001"}\n', b"", 200_000),
    }[kind]
    rng = random.Random(1)
    with open(tmp_path / "body", "wb") as file:
        file.write(head)
        for _ in range(times):
            file.write(piece or b'{"k%d":1}\n' % rng.getrandbits(60))
    size = os.path.getsize(tmp_path / "body")
    finish_body(tmp_path, size)
    write_job(tmp_path, Job(region="", fields=[PHONE, NAME], format="ndjson" if kind in ("object", "keys") else "csv"))
    code = (
        "import sys; from dispatcher.members import parse; parse.bound_memory(); code = parse.main(sys.argv[1:]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2_000:]
    assert int(done.stdout.split()[-1]) < 130 << 10, "KiB that the process had at most"
    outcome = json.loads((tmp_path / "outcome.json").read_bytes())
    assert outcome["rejected"] > 0 and "problem" not in outcome
