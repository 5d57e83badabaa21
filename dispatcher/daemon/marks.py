"""The marks: a file in shared memory that outlives kill -9 and says what of each endpoint's claims may have left.

Touches: the file `marks` of the data folder. 64 octets an endpoint: endpoint 0 has the first, endpoint n those from
64 x (n + 1) on; the second 64 hold the boot_id in which all of them were written. u64 words of an endpoint:

    0..2  a lane's first claim number not yet handed to a socket       3  the greatest claim_credit of this process
    4..6  log position when the lane was last seen empty               7  unused

Rests on: DESIGN 6 (the mark). A power cut may leave it older than the claims: compare the boot_id.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from dispatcher.store.endpoints import ENDPOINTS_MAX

LINE = 64
MARKS_OCTETS = 1 << 16
CREDIT_SLOT = 3
EMPTY_SLOT = 4  # + lane
_BOOT_AT, _BOOT_OCTETS = 64, 36

assert (ENDPOINTS_MAX + 1) * LINE <= MARKS_OCTETS


@dataclass(slots=True)
class Marks:
    """The mapped file."""

    octets: mmap.mmap
    same_boot: bool
    clean: bool  # there was no such file

    @property
    def words(self) -> memoryview:
        """Of endpoint 0."""
        return self.of(0)

    def of(self, endpoint: int) -> memoryview:
        """The words of an endpoint, by its number."""
        at = LINE * (endpoint + 1) if endpoint else 0
        return memoryview(self.octets)[at : at + LINE].cast("Q")

    def sign(self) -> None:
        """From here on they speak of this boot."""
        self.octets[_BOOT_AT : _BOOT_AT + _BOOT_OCTETS] = _boot_id()
        self.octets.flush()


def open_marks(folder: Path) -> Marks:
    """Map the file, made if there is none; one of a single endpoint grows."""
    path = folder / "marks"
    clean = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        os.posix_fallocate(fd, 0, MARKS_OCTETS)  # a hole would be SIGBUS on a full disk, with no exception to catch
        octets = mmap.mmap(fd, MARKS_OCTETS)
    finally:
        os.close(fd)
    return Marks(octets, octets[_BOOT_AT : _BOOT_AT + _BOOT_OCTETS] == _boot_id(), clean)


def _boot_id() -> bytes:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:_BOOT_OCTETS]
