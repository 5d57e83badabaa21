"""An import's body on its way to the disk, parsed while it grows (members/import_files.py draws the folder).

Touches: that folder, from worker threads, so that a slow disk holds back the sender and not the loop.
`body.size` (decimal octets) appears, whole, when the body is: before that the parser waits for more, after
it knows where the end is. What the dispatcher was told of is its own to remove.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

from dispatcher.members.import_files import BODY, body_octets, finish_body, import_folder, read_run
from dispatcher.records.keys import parse_public_id

CHUNK_OCTETS = 1 << 18  # one thread hop for some 4 of uvicorn's reads; the parser is never further behind


class Spool:
    """One body. open() or resume(), append() in order, then finish() or rest(); octets reach the file in chunks."""

    def __init__(self, data: Path, import_id: int) -> None:
        self.folder = import_folder(data, import_id)
        self.octets = 0
        self._waiting = bytearray()
        self._fd = -1

    def __repr__(self) -> str:
        return f"Spool({self.folder.name}, octets={self.octets})"

    async def open(self) -> None:
        self._fd = await asyncio.to_thread(self._create)

    async def resume(self) -> None:
        """Go on at the end of what is there. Raises FileNotFoundError when the import's folder is gone."""
        self._fd, self.octets = await asyncio.to_thread(self._reopen)

    async def append(self, data: bytes) -> None:
        """Raises OSError: what was written stays, the import cannot go on."""
        self._waiting += data
        if len(self._waiting) >= CHUNK_OCTETS:
            await self.flush()

    async def flush(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            await asyncio.to_thread(self._write, waiting)
            self.octets += len(waiting)

    async def finish(self) -> int:
        """The body is whole and on disk; its size."""
        await self.flush()
        await asyncio.to_thread(self._seal)
        return self.octets

    async def rest(self) -> int:
        """What has come is on disk, more may come later; how much that is."""
        await self.flush()
        await asyncio.to_thread(os.fsync, self._fd)
        return self.octets

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def remove(self) -> None:
        self.close()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def _create(self) -> int:
        self.folder.mkdir(parents=True, mode=0o770)
        _sync_folder(self.folder.parent)
        return os.open(self.folder / BODY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)

    def _reopen(self) -> tuple[int, int]:
        fd = os.open(self.folder / BODY, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.fsync(fd)  # what a broken piece left becomes part of the body only once it is on disk
        return fd, os.fstat(fd).st_size

    def _write(self, data: bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self._fd, view[done:])

    def _seal(self) -> None:
        os.fsync(self._fd)
        self.close()
        _sync_folder(self.folder)
        finish_body(self.folder, self.octets)
        with contextlib.suppress(FileNotFoundError):  # a short import may have ended by now, its folder with it
            _sync_folder(self.folder)


def applied_share(data: Path, row: dict[str, Any]) -> float | None:
    """How much of the body is applied, 0 to 1; None while its size is not known. `row` as importer.import_json."""
    if row["state"] == "done":
        return 1.0
    if row.get("undo") and row["state"] in ("undoing", "undone"):
        undo = row["undo"]
        return float(round(undo["blocks_done"] / undo["blocks"], 4)) if undo["blocks"] else 0.0
    import_id = parse_public_id("imp", row["id"])
    assert import_id is not None
    folder = import_folder(data, import_id)
    size = body_octets(folder)
    if not size:
        return None
    octet = rows = 0
    for number in itertools.count():
        run = read_run(folder, number)
        if run is None or rows >= row["rows_read"]:
            break
        rows += run.rows + run.rejected
        octet = run.octet
    return round(octet / size * min(1.0, row["rows_read"] / rows), 4) if rows else 0.0


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
