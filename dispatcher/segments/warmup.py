"""Column blocks read into the machine's memory after a start, those first that counts will ask for.

Touches: the store's file, read in order by a thread of low priority; segments, campaigns and columns, through a View.
After a start from a cold disk the first count would read its columns page by page, in the order of members; a column
lies together in the file, so reading it in the file's order takes the time that the disk needs and no more. A count
that comes meanwhile finds what was read and reads the rest itself: nothing waits for this.
Weak spot: the machine's free memory is asked once; a container's own limit is not looked at.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import lmdb
import structlog

from dispatcher.errors import CommandRefused
from dispatcher.members.guards import guards_of
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
from dispatcher.segments.plan import compile_text
from dispatcher.store import Store
from dispatcher.store.layout import TENANT
from dispatcher.store.scan import column_places
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import list_tenants

CHUNK = 1 << 20  # read at once: a millisecond from memory, some from a disk
CAMPAIGNS = 50  # a tenant's newest, whose columns are asked for
SHARE = 2  # of the memory that is free, one part in so many
UNKNOWN_MEMORY = 1 << 30
NICENESS = 10

log = structlog.get_logger("warmup")


@dataclass(frozen=True, slots=True)
class Warmed:
    """How far it is. octets: of `wanted`; `left_out` did not fit into the machine's memory."""

    octets: int
    wanted: int
    left_out: int
    s: float
    done: bool


class Warmup:
    """The thread, from start() to stop(), which must come before the store is closed; or as a context manager.
    What it meets ends it quietly: the next read of the store says so."""

    def __init__(self, store: Store, *, most_octets: int | None = None) -> None:
        self._store = store
        self._most = free_octets() // SHARE if most_octets is None else most_octets
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmup", daemon=True)
        self._octets = self._wanted = self._left_out = 0
        self._began = time.monotonic()
        self._took_s: float | None = None

    def __repr__(self) -> str:
        return f"Warmup({self.statistics()})"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no read is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Warmup:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def statistics(self) -> Warmed:
        took = time.monotonic() - self._began if self._took_s is None else self._took_s
        return Warmed(self._octets, self._wanted, self._left_out, round(took, 3), self._took_s is not None)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # of this thread alone, on Linux
        try:
            with self._store.snapshot() as view:
                wanted, self._left_out = regions(view, self._most)
            self._wanted = sum(octets for _, octets in wanted)
            self._read(wanted)
        except (lmdb.Error, OSError) as exc:
            log.info("warmup_ended", reason=str(exc))
        self._took_s = time.monotonic() - self._began
        if self._wanted and not self._stop.is_set():
            log.info("warmed", octets=self._octets, left_out=self._left_out, s=round(self._took_s, 2))

    def _read(self, wanted: list[tuple[int, int]]) -> None:
        buffer = bytearray(CHUNK)
        fd = os.open(self._store.folder / "store" / "data.mdb", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, octets in wanted:
                for at in range(offset, offset + octets, CHUNK):
                    if self._stop.is_set():
                        return
                    here = min(CHUNK, offset + octets - at)
                    self._octets += os.preadv(fd, [memoryview(buffer)[:here]], at)
        finally:
            os.close(fd)


def regions(view: Snapshot, most_octets: int) -> tuple[list[tuple[int, int]], int]:
    """([(offset, octets) of the store's file], octets left out): whole columns, as long as they fit.

    First what saved segments and the newest campaigns ask for, with the guards; then the others, the small ones first:
    texts, which counts read seldom, are the greatest.
    """
    found = column_places(view)
    sizes = {column: sum(octets for _, octets in runs) for column, runs in found.items()}
    wanted: list[tuple[int, int]] = []
    left_out = 0
    for column in dict.fromkeys(chain(_hot(view), sorted(sizes, key=lambda column: sizes[column]))):
        if column not in found:
            continue
        if sizes[column] > most_octets:
            left_out += sizes[column]
            continue
        most_octets -= sizes[column]
        wanted += found[column]
    return wanted, left_out


def _hot(view: View) -> Iterator[bytes]:
    """Columns that a count is likely to ask for, as the keys of their blocks begin."""
    for tenant in list_tenants(view):
        prefix = TENANT.pack(tenant.number)
        texts = [unpack(row)["expr"] for _, row in view.range("segments", prefix)]
        newest = (unpack(row) for _, row in view.range("campaigns", prefix, reverse=True))
        texts += [row["expr"] for row, _ in zip(newest, range(CAMPAIGNS), strict=False)]
        columns: list[Any] = [guard.column for guard in guards_of(Purpose.MARKETING)]
        for text in dict.fromkeys(texts):
            try:
                columns += [each for each in compile_text(view, tenant.number, text).columns if isinstance(each, tuple)]
            except CommandRefused:  # a field it named is gone
                continue
        for number, part, _ in columns:
            yield prefix + number.to_bytes(2, "big") + bytes((part,))


def free_octets() -> int:
    """What the machine could give without taking from its programs."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return UNKNOWN_MEMORY
