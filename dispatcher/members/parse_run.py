"""One run's files as they are written: columns appended chunk by chunk, sorted and sealed at the end.

Touches: the run's folder. Weak spot: the numbers of a run are kept in memory for sorting (36 octets a
row while it sorts), which is what bounds a run.
"""

from __future__ import annotations

import contextlib
import shutil
import zlib
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from dispatcher.members.import_files import RunRecord, run_folder, write_json
from dispatcher.store import gather

_BUFFER = 1 << 20
Octets = bytes | bytearray | memoryview | array  # type: ignore[type-arg]


class RunWriter:
    """The run being written. It is whole once seal() returned; a folder without run.json is thrown away."""

    def __init__(self, folder: Path, run: int, texts: list[str]) -> None:
        self.folder = run_folder(folder, run)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.run = run
        self.rows = 0
        self.rejected = 0
        self.numbers = array("Q")
        self._files: dict[str, BinaryIO] = {}
        self._sizes: dict[str, int] = {}
        self._crcs: dict[str, int] = {}
        for name in texts:
            self.append(name + ".ends", bytes(4))
            self.append(name + ".heap", b"")

    def discard(self) -> None:
        """Leave nothing of a run that is not whole."""
        with contextlib.suppress(OSError):  # a full disk: what was buffered cannot be written either
            self._close()
        if not (self.folder / "run.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()

    def append(self, name: str, octets: Octets) -> None:
        view = memoryview(octets).cast("B")
        if name not in self._files:
            self._files[name] = open(self.folder / name, "wb", buffering=_BUFFER)  # noqa: SIM115
        self._files[name].write(view)
        self._sizes[name] = self._sizes.get(name, 0) + len(view)
        self._crcs[name] = zlib.crc32(view, self._crcs.get(name, 0))

    def size(self, name: str) -> int:
        return self._sizes.get(name, 0)

    def reject(self, rejects: list[dict[str, Any]], keep: int) -> None:
        """Count all, keep the first `keep`."""
        self.rejected += len(rejects)
        for reject in rejects[:keep]:
            self.append("rejects", msgpack.packb(reject))

    def seal(
        self, octet: int, decoded: int, line: int, rejects_kept: int, new_values: dict[str, list[str]]
    ) -> RunRecord:
        """Sort the numbers, close the files, and say that the run is whole."""
        numbers, ordered, order = self.numbers, array("Q", bytes(8 * self.rows)), array("I", bytes(4 * self.rows))
        gather.sort_rows(numbers, ordered, order)
        self.append("sorted", ordered)
        self.append("order", order)
        self._close()
        record = RunRecord(
            rows=self.rows,
            rejected=self.rejected,
            octet=octet,
            decoded=decoded,
            line=line,
            rejects_kept=rejects_kept,
            new_values=new_values,
            files=self._crcs,
        )
        write_json(self.folder / "run.json", asdict(record))
        return record
