"""The body of an import as octets: read while it still grows, looked ahead into, and held for cutting.

Touches: `body` and `body.size` of the import's folder, read-only. A reader is anything with readinto(),
which answers 0 at the end and blocks while more may come; readers are stacked: Spooled, then one that
unpacks (parse_unpack.py), then one that changes the charset (parse_charset.py).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

from dispatcher.members.import_files import BODY, Job, body_octets

READ_OCTETS = 1 << 20
POLL_S = 0.02  # how often a body that still arrives is looked at


class BodyBroken(Exception):
    """The body cannot be read to its end; `code` is for programs."""

    def __init__(self, detail: str, code: str = "body_broken") -> None:
        super().__init__(detail)
        self.code = code


class Reader(Protocol):
    def readinto(self, into: memoryview, /) -> int:
        """Fill the beginning of `into`; how many octets, 0 at the end. Raises BodyBroken."""


class Spooled:
    """The body as it lies on the disk; waits while more may arrive. `octet` is how far it was read."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._file = open(folder / BODY, "rb", buffering=0)  # noqa: SIM115
        self._stall_s = job.stall_s
        self._parent = os.getppid()
        self.octet = 0

    def readinto(self, into: memoryview) -> int:
        give_up = time.monotonic() + self._stall_s
        while True:
            size = None
            if not (count := self._file.readinto(into) or 0):
                size = body_octets(self._folder)
                count = self._file.readinto(into) or 0  # what came before it was said to be whole
            self.octet += count
            if count:
                return count
            if size is not None:
                if self.octet != size:
                    raise BodyBroken(f"the body has {self.octet} octets, {size} were announced")
                return 0
            if time.monotonic() > give_up:
                raise BodyBroken(f"the body did not grow for {self._stall_s:.0f} s")
            self.wait()

    def seek(self, octet: int) -> None:
        self._file.seek(octet)
        self.octet = octet

    def wait_until_whole(self) -> int:
        """Its size. A format whose table of contents is at the end can be read only then."""
        probe, give_up = 0, time.monotonic() + self._stall_s
        while (size := body_octets(self._folder)) is None:
            now = os.fstat(self._file.fileno()).st_size
            if now != probe:
                probe, give_up = now, time.monotonic() + self._stall_s
            if time.monotonic() > give_up:
                raise BodyBroken(f"the body did not grow for {self._stall_s:.0f} s")
            self.wait()
        if (there := os.fstat(self._file.fileno()).st_size) != size:
            raise BodyBroken(f"the body has {there} octets, {size} were announced")
        return size

    def wait(self) -> None:
        """A moment. Ends the process when whoever started it is gone."""
        if os.getppid() != self._parent:
            raise SystemExit("the dispatcher is gone")
        time.sleep(POLL_S)

    def close(self) -> None:
        self._file.close()


class Peeked:
    """A reader whose beginning can be looked at before it is read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._ahead = b""
        self._at = 0

    def peek(self, octets: int) -> bytes:
        """The first `octets` (fewer when there are no more). Only before the first readinto()."""
        buffer = bytearray(self._ahead)
        room = memoryview(bytearray(min(octets, 1 << 16)))
        while len(buffer) < octets and (count := self._reader.readinto(room[: octets - len(buffer)])):
            buffer += room[:count]
        self._ahead = bytes(buffer)
        return self._ahead

    def readinto(self, into: memoryview) -> int:
        if self._at == len(self._ahead):
            return self._reader.readinto(into)
        part = self._ahead[self._at : self._at + len(into)]
        into[: len(part)] = part
        self._at += len(part)
        return len(part)

    def is_over(self, reader: Reader) -> bool:
        return self._reader is reader

    def forget(self) -> None:
        """What was looked at and not yet read is not to be read any more."""
        self._ahead, self._at = b"", 0


class Window:
    """What was read and not yet cut: `data[at:end]`. `octet` is where data[at] lies in the text, unpacked."""

    def __init__(self, reader: Reader, row_octets_max: int) -> None:
        self._reader = reader
        self._read = 0
        self.data = bytearray(2 * READ_OCTETS + row_octets_max)
        self.at = self.end = 0
        self.final = False

    @property
    def octet(self) -> int:
        return self._read - (self.end - self.at)

    def skip_to(self, octet: int) -> None:
        """Read and forget what lies before `octet`, where something begins."""
        while self.octet < octet:
            self.at += min(self.end - self.at, octet - self.octet)
            if self.at == self.end and self.octet < octet:
                self.fill()
                if self.final and self.at == self.end:
                    raise BodyBroken(f"the body ends at octet {self.octet} of {octet} that it had before")

    def start_at(self, octet: int) -> None:
        """The reader stands at `octet` already; what was read before is forgotten."""
        self._read, self.at, self.end, self.final = octet, 0, 0, False

    def fill(self) -> None:
        """More octets, waiting for them while the body grows; `final` when there are no more."""
        self.data[: self.end - self.at] = self.data[self.at : self.end]
        self.at, self.end = 0, self.end - self.at
        room = min(READ_OCTETS, len(self.data) - self.end)
        count = self._reader.readinto(memoryview(self.data)[self.end : self.end + room])
        self._read += count
        self.end += count
        self.final = count == 0

    def find_line_end(self) -> int:
        """Just past the next LF in what was read; -1 when there is none."""
        return self.data.find(b"\n", self.at, self.end) + 1 or -1
