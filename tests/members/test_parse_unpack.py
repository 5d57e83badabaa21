"""gzip and zstd: whole, joined, cut short, damaged, and made to burst."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.members import parse, parse_unpack
from dispatcher.members.import_files import read_job
from dispatcher.members.parse_body import BodyBroken
from dispatcher.members.parse_unpack import Unpacked
from tests.fakes.people import job_field, parsed, rows_of
from tests.members.test_parse import files_of, mixed_body
from tests.members.test_parse_charset import Blocks, read_all

NAME, CITY = job_field("name", "text", max_length=10), job_field("city", "dict", values=["Ulm"])
PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
BOTH = pytest.mark.parametrize("compression", ["gzip", "zstd"])


@BOTH
@pytest.mark.parametrize("charset", ["utf-8", "utf-16"])
def test_a_packed_body_gives_the_runs_of_the_plain_one(tmp_path: Path, compression: str, charset: str):
    body = mixed_body().decode().encode(charset)
    plain, *_ = parsed(tmp_path / "plain", mixed_body(), NAME, CITY, run_rows=10)
    packed, rows, _ = parsed(tmp_path / "packed", PACK[compression](body), NAME, CITY, run_rows=10)
    assert packed == plain
    assert rows == rows_of(tmp_path / "plain", plain)
    found = json.loads((tmp_path / "packed" / "header.json").read_bytes())["found"]
    assert (found["compression"], found["format"]) == (compression, "csv")


@BOTH
@settings(deadline=None)
@given(parts=st.lists(st.binary(max_size=2_000), min_size=1, max_size=4), step=st.integers(1, 3_000))
def test_members_one_after_the_other_are_one_text_however_they_arrive(compression: str, parts: list[bytes], step: int):
    packed = b"".join(map(PACK[compression], parts))
    assert read_all(Unpacked(Blocks(packed, step), compression), 999) == b"".join(parts)


@BOTH
@pytest.mark.parametrize("kept", [0, 2])
def test_a_parser_started_again_goes_on_in_a_packed_body(tmp_path: Path, compression: str, kept: int):
    outcome, *_ = parsed(tmp_path, PACK[compression](mixed_body()), NAME, CITY, run_rows=10)
    before = files_of(tmp_path)
    for run in range(kept, outcome["runs"]):
        (tmp_path / f"run-{run:03d}" / "run.json").unlink()
    assert parse.parse(tmp_path, read_job(tmp_path)) == outcome
    assert files_of(tmp_path) == before


@BOTH
@pytest.mark.parametrize("damage", ["cut", "flip", "junk"])
def test_a_broken_stream_ends_the_import_and_says_where(tmp_path: Path, compression: str, damage: str):
    body = b"phone,name\n" + b"".join(b"+49151%08d,n%d\n" % (i, i * 7_919 % 9_973) for i in range(20_000))
    packed = bytearray(PACK[compression](body))
    if damage == "cut":
        del packed[-9:]
    elif damage == "flip":
        packed[len(packed) // 2] ^= 0x40
    else:
        packed += b"junk"
    outcome, rows, _ = parsed(tmp_path, bytes(packed), NAME, run_rows=1_000)
    assert outcome["problem"]["code"] == "broken_compression"
    assert compression in outcome["problem"]["detail"] and outcome["problem"]["line"] > 1
    assert len(rows) == outcome["rows"] == 1_000 * outcome["runs"], "whole runs, and nothing of the one that was begun"


@BOTH
def test_a_stated_compression_that_is_none_is_a_clear_error(tmp_path: Path, compression: str):
    outcome, *_ = parsed(tmp_path, b"phone,name\n", NAME, compression=compression)
    assert outcome["problem"]["code"] == "broken_compression"


@BOTH
def test_a_bomb_is_refused_in_bounded_memory(compression: str, monkeypatch: pytest.MonkeyPatch):
    bomb = PACK[compression](bytes(256 << 20))
    monkeypatch.setattr(parse_unpack, "BOMB_OCTETS", 64 << 20)
    unpacked = Unpacked(io.BytesIO(bomb), compression)
    into = memoryview(bytearray(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BodyBroken) as caught:
            while unpacked.readinto(into):
                pass
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "unpacks_too_much"
    assert unpacked.unpacked < 100 << 20
