"""Opens the LMDB store of a data folder: map size, readers, sync, the writer's lock, the schema.

Rests on: PITFALLS B1 to B6 (never writemap, never lock=False, map size fixed, stale readers cleared).
Weak spot: the lock is flock on `writer.lock`; on a network file system that lies about flock two
dispatchers could meet, so a data folder belongs on a local disk.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from dispatcher.errors import NewerSchema, StoreError, StoreLocked
from dispatcher.records.changes import Changes
from dispatcher.store.layout import SCHEMA, TABLES
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import pack, unpack

MAP_SIZE = 1 << 40  # address space, not memory: 1 TiB opens in 6.5 ms (DESIGN 2)
MAX_READERS = 126
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_OCTETS = 64 << 20  # kept of the heap's end when it is free: else each scan's arrays are new pages to be cleared


@dataclass(slots=True)
class Store:
    """An open store. `writable` says whether this process holds the writer's lock."""

    folder: Path
    env: lmdb.Environment
    tables: dict[str, lmdb._Database]
    writable: bool
    _lock_fd: int = -1
    _kept: dict[Any, Any] = field(default_factory=dict)
    _page_octets: int = 4_096
    _owners: dict[int, object] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """A read transaction as a context manager; keep it under a second (DESIGN 2)."""
        return Snapshot(self.env.begin(buffers=True), self.tables, self._kept, self._page_octets)

    def begin_write(self) -> Snapshot:
        """The one write transaction, for the writer thread; commit() or abort() ends it."""
        if not self.writable:
            raise StoreError("this process opened the store read-only")
        return Snapshot(self.env.begin(write=True, buffers=True), self.tables, owners=self._owners)

    def apply(self, changes: Changes) -> None:
        """One whole transaction: for the command line holding the lock, and for tests."""
        with self.begin_write() as view:
            view.apply(changes)

    def size_octets(self) -> int:
        """What the store really takes of its file: pages in use times page size."""
        info, stat = self.env.info(), self.env.stat()
        return int((info["last_pgno"] + 1) * stat["psize"])

    def close(self) -> None:
        self._kept.clear()
        self.env.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(folder: str | Path, *, write: bool = False, create: bool = False, sync: bool = True) -> Store:
    """The store in `folder`/store.

    write: take the writer's lock (raises StoreLocked when another process holds it).
    create: make it when absent (needs write). sync=False is for benchmarks only: loses the power-cut promise.
    Raises StoreError when there is no store, NewerSchema when it is of a later version.
    """
    root = Path(folder)
    path = root / "store"
    if not (path / "data.mdb").exists() and not (write and create):
        raise StoreError(f"{path}: no store here; `volley init {root}` makes one")
    lock_fd = -1
    if write:
        root.mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(root / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(lock_fd)
            raise StoreLocked(f"{root}: another dispatcher has this data folder open") from exc
        path.mkdir(parents=True, exist_ok=True)
    # LMDB mallocs and frees every dirty large value, a scan its arrays: on the heap, not by mmap and munmap (DESIGN 5)
    for option, octets in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, _TRIM_OCTETS)):
        ctypes.CDLL(None).mallopt(option, octets)
    try:
        env = lmdb.open(
            str(path),
            map_size=MAP_SIZE,
            max_dbs=len(TABLES) + 8,
            max_readers=MAX_READERS,
            readonly=not write,
            create=write,
            sync=sync,
            metasync=sync,
            mode=0o660,
            readahead=True,
        )
        env.reader_check()
        tables = _open_tables(root, env, create=write)
        store = Store(root, env, tables, write, lock_fd, _page_octets=env.stat()["psize"])
        _check_schema(store)
    except BaseException:
        if lock_fd >= 0:
            os.close(lock_fd)
        raise
    return store


def _open_tables(root: Path, env: lmdb.Environment, *, create: bool) -> dict[str, lmdb._Database]:
    try:
        return {name: env.open_db(name.encode(), create=create) for name in TABLES}
    except lmdb.NotFoundError as exc:
        env.close()
        raise _earlier(root) from exc


def _earlier(folder: Path) -> StoreError:
    return StoreError(f"{folder}: the store is of an earlier version; start the dispatcher once to bring it on")


def _check_schema(store: Store) -> None:
    """Mark a new store, bring an earlier one on, refuse a later one.

    Schemas 2 to 5 added tables and 6 rows of meta, and none changed a row. open_store has made the tables by now and a
    start of the dispatcher makes the rows: only the number is left.
    """
    with store.snapshot() as view:
        row = view.get("meta", b"schema")
    meta = unpack(row) if row else {"schema": 0, "map_size": MAP_SIZE}
    if meta["schema"] == SCHEMA:
        return
    if meta["schema"] > SCHEMA:
        store.env.close()
        raise NewerSchema(f"{store.folder}: store has schema {meta['schema']}, this version reads up to {SCHEMA}")
    if not store.writable:
        store.env.close()
        raise _earlier(store.folder)
    changes = Changes()
    changes.put("meta", b"schema", pack({**meta, "schema": SCHEMA}))
    store.apply(changes)
