"""Charsets found out and stated; a text cut into any blocks; octets that are none in their charset."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.members import parse, parse_charset
from dispatcher.members.import_files import read_job
from dispatcher.members.parse_charset import Transcoded, find_charset, stated
from tests.fakes.people import job_field, parsed, rows_of
from tests.members.test_parse import files_of

NAME = job_field("name", "text", max_length=20)
CHINESE = ["王伟", "李娜", "欧阳娜娜", "Ann"]
GERMAN = ["Müller", "Jörg Weiß", "Ann", "Bo"]
RUSSIAN = ["Иванов", "Пётр", "Мария", "Сергей"]


def people(names: list[str], rows: int = 100) -> str:
    return "phone,name\n" + "".join(f"+49151{i:08d},{names[i % len(names)]}\n" for i in range(rows))


@pytest.mark.parametrize(
    ("names", "codec", "charset"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8"),
        (["Ann"], "ascii", "utf-8"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE, "utf-16", "utf-16-le"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (GERMAN, "utf-16-be", "utf-16-be"),
        (GERMAN, "latin-1", "latin-1"),
        (["Ren€", "Zoë"], "cp1252", "latin-1"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (["王偉", "李娜", "陳靜"], "big5", "big5"),
        (["田中さん", "すずき", "カナ"], "cp932", "shift_jis"),
    ],
)
def test_a_charset_is_found_out_stated_and_read(tmp_path: Path, names: list[str], codec: str, charset: str):
    _, rows, rejects = parsed(tmp_path, people(names).encode(codec), NAME)
    assert rejects == []
    assert [row["name"] for row in rows] == [names[i % len(names)] for i in range(100)]
    assert json.loads((tmp_path / "header.json").read_bytes())["found"]["charset"] == charset


@pytest.mark.parametrize(("rows", "codec"), [(1, "gb18030"), (1, "latin-1"), (1, "utf-16-le"), (2, "utf-16-be")])
def test_a_short_file_is_enough(rows: int, codec: str):
    names = GERMAN if codec == "latin-1" else CHINESE
    assert find_charset(people(names, rows).encode(codec)) == codec


def test_some_broken_octets_do_not_make_another_charset_of_utf_8():
    text = people(CHINESE).encode()
    assert find_charset(text + b"+4915100000001,\xe5\xbc\xff\n") == "utf-8"
    assert find_charset(b"phone,name\n+4915100000001,B\xff\n") == "utf-8"
    assert find_charset(b"phone,name\n+4915100000001,\xed\xa0\x80\n") == "utf-8"


@pytest.mark.parametrize(("asked", "name"), [("GBK", "gb18030"), ("utf8", "utf-8"), ("ISO-8859-1", "latin-1")])
def test_a_stated_charset_has_many_names_and_overrides(tmp_path: Path, asked: str, name: str):
    assert stated(asked) == name
    text = people(GERMAN if name == "latin-1" else CHINESE).encode(name)
    _, rows, rejects = parsed(tmp_path, text, NAME, charset=asked)
    assert (len(rows), rejects) == (100, [])
    assert stated("utf-7") is None and stated("idna") is None


def test_octets_that_are_none_in_the_charset_reject_their_row_and_no_other(tmp_path: Path):
    text = people(CHINESE, 3).encode("gb18030") + b"+4915100000007,\xb0\x20\n+4915100000008,Bo\n"
    _, rows, rejects = parsed(tmp_path, text, NAME, charset="gb18030")
    assert len(rows) == 4
    assert [(r["line"], r["column"], r["code"]) for r in rejects] == [(5, "name", "broken_charset")]
    wide = "phone,name\n+4915100000001,".encode("utf-16-le") + b"\x00\xd8" + "\n+4915100000002,Bo\n".encode("utf-16-le")
    _, rows, rejects = parsed(tmp_path / "wide", wide, NAME)
    assert ([r["line"] for r in rows], [r["code"] for r in rejects]) == ([3], ["broken_charset"])


def test_the_wrong_charset_stated_rejects_what_it_cannot_mean(tmp_path: Path):
    _, rows, rejects = parsed(tmp_path, people(GERMAN, 4).encode("latin-1"), NAME, charset="utf-8")
    assert len(rows) == 2 and {r["code"] for r in rejects} == {"broken_utf8"}
    assert "charset" in rejects[0]["hint"]


def test_a_mark_in_the_middle_is_a_character(tmp_path: Path):
    text = people(["Ann"], 1) + "\ufeff" + people(["Bo"], 1)
    _, rows, rejects = parsed(tmp_path, text.encode(), NAME)
    assert len(rows) == 2
    assert [(r["line"], r["code"]) for r in rejects] == [(3, "header_again")]


@pytest.mark.parametrize("kept", [0, 1, 3])
@pytest.mark.parametrize("codec", ["utf-16", "gb18030"])
def test_a_parser_started_again_goes_on_in_a_text_of_any_charset(tmp_path: Path, codec: str, kept: int):
    outcome, rows, _ = parsed(tmp_path, people(CHINESE).encode(codec), NAME, run_rows=20)
    before = files_of(tmp_path)
    for run in range(kept, outcome["runs"]):
        (tmp_path / f"run-{run:03d}" / "run.json").unlink()
    assert parse.parse(tmp_path, read_job(tmp_path)) == outcome
    assert files_of(tmp_path) == before
    assert rows_of(tmp_path, outcome) == rows


class Blocks:
    """A reader that gives `step` octets a time."""

    def __init__(self, octets: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(octets), step

    def readinto(self, into: memoryview) -> int:
        return self._file.readinto(into[: self._step])


def read_all(reader: Any, room: int = 7) -> bytes:
    found, into = b"", memoryview(bytearray(room))
    while count := reader.readinto(into):
        found += into[:count]
    return found


@given(text=st.text(), step=st.integers(1, 9), charset=st.sampled_from(["utf-16-le", "utf-16-be", "gb18030"]))
def test_a_text_in_any_blocks_is_the_same_text(text: str, step: int, charset: str):
    codec = parse_charset.CHARSETS[charset][1]
    assert read_all(Transcoded(Blocks(text.encode(codec), step), charset)) == text.encode()


@given(octets=st.binary(max_size=60), step=st.integers(1, 9), charset=st.sampled_from(sorted(parse_charset.CHARSETS)))
def test_any_octets_are_text_or_marked(octets: bytes, step: int, charset: str):
    if charset in ("utf-16", "utf16"):
        return  # becomes one of the two when it is found out
    found = read_all(Transcoded(Blocks(octets, step), charset))
    found.replace(b"\xff", b"").decode()
    assert found == read_all(Transcoded(Blocks(octets, 100), charset), 1_000)


@given(octets=st.binary(max_size=300))
def test_any_sample_has_a_charset_that_is_read(octets: bytes):
    assert find_charset(octets) in parse_charset.CHARSETS
