"""Files past the page cache: what was read is what was written, whatever its length, with room for no more than that."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from dispatcher.store.direct import CHUNK_OCTETS, SYNC_EVERY_OCTETS, DirectFile, DirectSource

PAGE = 4_096


def copied(source: Path, target: Path, octets: int) -> bytes:
    """The file that came of the first `octets` of another, chunk by chunk."""
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT)
    file, reading = DirectFile(target, descriptor), DirectSource(source)
    if octets:
        file.set_aside(2 * octets)
    for at in range(0, octets, CHUNK_OCTETS):
        file.append(reading.chunk(at, min(CHUNK_OCTETS, octets - at)))
    file.finish()
    reading.close()
    file.close()
    os.close(descriptor)
    return target.read_bytes()


@pytest.mark.parametrize("length", [0, PAGE, CHUNK_OCTETS - PAGE, CHUNK_OCTETS, 3 * CHUNK_OCTETS + PAGE])
def test_it_holds_what_was_read_and_nothing_of_what_was_set_aside(tmp_path: Path, length: int):
    octets = random.Random(length).randbytes(length)
    (tmp_path / "source").write_bytes(octets)
    assert copied(tmp_path / "source", tmp_path / "file", length) == octets


@pytest.mark.parametrize("length", [0, 17, PAGE, PAGE + 17, CHUNK_OCTETS + 17])
def test_past_the_end_of_a_file_there_are_zeros(tmp_path: Path, length: int):
    octets = random.Random(length).randbytes(length)
    (tmp_path / "source").write_bytes(octets)
    asked = CHUNK_OCTETS + 2 * PAGE
    assert copied(tmp_path / "source", tmp_path / "file", asked) == octets.ljust(asked, b"\0")


def test_what_another_wrote_and_has_not_synced_is_read(tmp_path: Path):
    with (tmp_path / "source").open("wb") as file:
        for word in (b"first", b"second"):
            file.seek(0)
            file.write(word.ljust(2 * PAGE, b"."))
            file.flush()
            assert copied(tmp_path / "source", tmp_path / word.decode(), 2 * PAGE) == word.ljust(2 * PAGE, b".")


def test_what_is_left_out_takes_no_room(tmp_path: Path):
    octets = random.Random(3).randbytes(CHUNK_OCTETS)
    (tmp_path / "source").write_bytes(octets)
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    file, reading = DirectFile(tmp_path / "file", descriptor), DirectSource(tmp_path / "source")
    for _ in range(2):
        file.leave_out(64 << 20)
        file.set_aside(CHUNK_OCTETS)
        file.append(reading.chunk(0, CHUNK_OCTETS))
    file.leave_out(1 << 20)
    file.finish()
    assert os.fstat(descriptor).st_size == (129 << 20) + 2 * CHUNK_OCTETS
    assert os.fstat(descriptor).st_blocks * 512 < 1 << 20
    for at in (64 << 20, (128 << 20) + CHUNK_OCTETS):
        assert os.pread(descriptor, CHUNK_OCTETS, at) == octets and os.pread(descriptor, PAGE, at - PAGE) == bytes(PAGE)
    reading.close()
    file.close()
    os.close(descriptor)


def test_where_the_file_system_has_no_such_files_all_goes_through_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_DIRECT", os.O_DIRECTORY)  # a flag by which open(2) refuses a file
    octets = random.Random(7).randbytes(SYNC_EVERY_OCTETS + PAGE)
    (tmp_path / "source").write_bytes(octets)
    assert copied(tmp_path / "source", tmp_path / "file", len(octets)) == octets
