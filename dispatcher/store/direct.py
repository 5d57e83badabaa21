"""A long file written past the page cache, so that whoever syncs another file of the same disk does not wait for it.

Touches: one file. Rests on: open(2) O_DIRECT (addresses, offsets and lengths in blocks); ext4, which in a commit of its
journal writes back what other files have allocated since the last: room that is set aside before is not among that.
Where a file system has no O_DIRECT the file goes through the cache and is written back every SYNC_EVERY_OCTETS.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CHUNK_OCTETS = 1 << 20
SYNC_EVERY_OCTETS = 32 << 20
_BLOCK = mmap.PAGESIZE


class DirectFile:
    """Appended to chunk by chunk; only the last chunk may be odd. finish() cuts it to its length and syncs it."""

    def __init__(self, path: Path, descriptor: int, octets: int) -> None:
        """`descriptor` is of the same file, open for writing. octets: about how long it will be. Raises OSError."""
        self._descriptor, self._done, self._synced = descriptor, 0, 0
        os.posix_fallocate(descriptor, 0, max(octets, 1))
        self._direct = -1
        with suppress(OSError):
            self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)

    def append(self, chunk: memoryview) -> None:
        """As `chunks` gives them: aligned. Raises OSError."""
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

    def finish(self) -> None:
        os.ftruncate(self._descriptor, self._done)
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1


def chunks(source: int) -> Iterator[memoryview]:
    """What a pipe gives, in chunks of CHUNK_OCTETS but the last, each in the same aligned buffer."""
    with mmap.mmap(-1, CHUNK_OCTETS) as buffer, memoryview(buffer) as view:
        filled, n = 0, 1
        while n:
            n = os.readv(source, [view[filled:]])
            filled += n
            if filled == CHUNK_OCTETS or (filled and not n):
                with view[:filled] as chunk:
                    yield chunk
                filled = 0
