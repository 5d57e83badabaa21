"""The store as the admin process opens it: read-only, late, and again when it was replaced."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from admin.reads import Reads, cursor_of, key_of
from dispatcher.errors import CommandRefused, StoreError
from dispatcher.records.changes import Changes, View
from dispatcher.store import open_store


def word(view: View) -> bytes | None:
    return view.get("meta", b"word")


def make(folder: Path, text: bytes) -> None:
    with open_store(folder, write=True, create=True) as store:
        changes = Changes()
        changes.put("meta", b"word", text)
        store.apply(changes)


def test_a_store_that_is_made_later_is_found(tmp_path: Path):
    reads = Reads(tmp_path)
    with pytest.raises(StoreError):
        reads.now(word)
    make(tmp_path, b"first")
    assert reads.now(word) == b"first"
    reads.close()


def test_a_replaced_store_is_opened_anew(tmp_path: Path):
    make(tmp_path, b"first")
    reads = Reads(tmp_path)
    assert reads.now(word) == b"first"
    make(tmp_path / "other", b"second")
    shutil.rmtree(tmp_path / "store")
    shutil.move(tmp_path / "other" / "store", tmp_path / "store")
    reads.look_for_replacement()
    assert reads.now(word) == b"second"
    reads.close()


def test_scans_run_in_worker_threads_and_the_loop_goes_on(tmp_path: Path):
    make(tmp_path, b"first")
    reads = Reads(tmp_path)

    async def run() -> list[bytes | None]:
        return await asyncio.gather(*(reads.scan(word) for _ in range(20)))

    assert asyncio.run(run()) == [b"first"] * 20
    reads.close()


def test_a_cursor_is_opaque_and_a_wrong_one_is_refused():
    assert key_of(cursor_of(b"\x00\xff\x10\x80"), 4) == b"\x00\xff\x10\x80"
    assert key_of(None, 4) is None
    for wrong in ("A", "AAAA", "????", "ä", cursor_of(b"12345"), "=" * 8):
        with pytest.raises(CommandRefused) as refused:
            key_of(wrong, 4)
        assert refused.value.code == "cursor_invalid"
