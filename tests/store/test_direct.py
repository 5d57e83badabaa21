"""A file past the page cache: what the pipe gave, whatever its length and the sizes of its pieces."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from dispatcher.store.direct import CHUNK_OCTETS, SYNC_EVERY_OCTETS, DirectFile, chunks


def poured(path: Path, octets: bytes, expected: int, pieces: random.Random) -> bytes:
    """The file that came of `octets` through a pipe in pieces of odd sizes."""
    source, sink = os.pipe()

    def pour() -> None:
        at = 0
        while at < len(octets):
            at += os.write(sink, octets[at : at + pieces.randrange(1, 200_000)])
        os.close(sink)

    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    file = DirectFile(path, descriptor, expected)
    for chunk in chunks(source):
        file.append(chunk)
    file.finish()
    file.close()
    thread.join()
    os.close(source)
    os.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize(
    "length", [0, 1, 4_095, 4_096, 4_097, CHUNK_OCTETS, CHUNK_OCTETS + 4_096, 3 * CHUNK_OCTETS + 17]
)
@pytest.mark.parametrize("expected", [0, 2 * CHUNK_OCTETS])
def test_it_holds_what_was_poured_and_nothing_of_what_was_set_aside(tmp_path, length, expected):
    octets = random.Random(length).randbytes(length)
    assert poured(tmp_path / "file", octets, expected, random.Random(1)) == octets


def test_where_the_file_system_has_no_such_writes_it_goes_through_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_DIRECT", os.O_DIRECTORY)  # a flag by which open(2) refuses a file
    octets = random.Random(7).randbytes(SYNC_EVERY_OCTETS + 4_097)
    assert poured(tmp_path / "file", octets, 0, random.Random(2)) == octets
