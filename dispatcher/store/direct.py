"""Long files read and written past the page cache, so that whoever syncs another file of the disk does not wait.

Touches: one file each. Rests on: open(2) O_DIRECT (addresses, offsets and lengths in blocks; what is dirty in the cache
is written before it is read); ext4, which in a commit of its journal writes back what other files have allocated since
the last: room that is set aside before is not among that. Chunks are small and one at a time: a sync that is behind
megabytes of read-ahead waits for them (bench/bench_campaign.py, `--only backup`).
Where a file system has no O_DIRECT all goes through the cache; what is written is written back every SYNC_EVERY_OCTETS.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

CHUNK_OCTETS = 256 << 10
SYNC_EVERY_OCTETS = 32 << 20
_BLOCK = mmap.PAGESIZE


class DirectSource:
    """A file that may grow meanwhile. `descriptor` is of it too, for small pieces by the cache without read-ahead."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        self._direct = _open_direct(path, os.O_RDONLY)
        self._buffer = mmap.mmap(-1, CHUNK_OCTETS)

    def chunk(self, at: int, octets: int) -> memoryview:
        """At most CHUNK_OCTETS from `at` on, both in blocks; zeros past the file's end. The next chunk takes its place.
        Raises OSError."""
        view, done = memoryview(self._buffer)[:octets], 0
        while done < octets:
            direct = self._direct >= 0 and done % _BLOCK == 0
            n = os.preadv(self._direct if direct else self.descriptor, [view[done:]], at + done)
            if not n:
                view[done:] = bytes(octets - done)
                break
            done += n
        return view

    def close(self) -> None:
        for descriptor in (self._direct, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._direct = self.descriptor = -1


class DirectFile:
    """Appended to chunk by chunk; only the last chunk may be odd. finish() cuts it to its length and syncs it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """`descriptor` is of the same file, open for writing and empty."""
        self._descriptor, self._done, self._synced = descriptor, 0, 0
        self._direct = _open_direct(path, os.O_WRONLY)

    def append(self, chunk: memoryview) -> None:
        """Aligned, as a DirectSource gives them. Raises OSError."""
        whole = len(chunk) // _BLOCK * _BLOCK if self._direct >= 0 else 0
        for descriptor, piece in ((self._direct, chunk[:whole]), (self._descriptor, chunk[whole:])):
            while piece:
                written = os.pwrite(descriptor, piece, self._done)
                self._done += written
                piece = piece[written:]
        if self._direct < 0 and self._done - self._synced >= SYNC_EVERY_OCTETS:
            os.fdatasync(self._descriptor)
            os.posix_fadvise(self._descriptor, self._synced, self._done - self._synced, os.POSIX_FADV_DONTNEED)
            self._synced = self._done

    def set_aside(self, octets: int) -> None:
        """Room for what is appended next, and no more. Raises OSError."""
        os.posix_fallocate(self._descriptor, self._done, octets)

    def leave_out(self, octets: int) -> None:
        """So many zeros, in whole blocks, that take no room."""
        self._done += octets

    def finish(self) -> None:
        os.ftruncate(self._descriptor, self._done)
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1


def _open_direct(path: Path, flags: int) -> int:
    """-1 where there is no such thing."""
    with suppress(OSError):
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
    return -1
