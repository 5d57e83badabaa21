"""Snapshots of the store for the routes: opened read-only when first needed, scans in worker threads.

Touches: the store, read-only. A snapshot lives within one call of one function on one thread (STYLE).
The store may be made after this process starts and may be replaced under it (restore): a failure
closes what is open, and the next call opens anew.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import lmdb

from config.settings import Store as Limits
from dispatcher.errors import CommandRefused, StoreError
from dispatcher.segments.warmup import Warmed, Warmup
from dispatcher.store import Snapshot, Store, open_store
from dispatcher.store.care import Care, look
from dispatcher.store.scan import warm

P = ParamSpec("P")
T = TypeVar("T")
Read = Callable[Concatenate[Snapshot, P], T]

WARM_BLOCKS = 48  # derived at a time between counts: some milliseconds
WARM_REST_S = 0.01
THREADS = 4  # scans at once; each is short, and the kernels let go of the GIL
WAITING_MAX = 64  # reads queued behind them; more are refused, so that a slow disk is seen and not hidden


class Reads:
    """The store as the admin process sees it. Any task of one loop may call; close() at the end."""

    def __init__(self, folder: Path, opener: Callable[[], Store] | None = None) -> None:
        self.folder = folder
        self._opener = opener
        self._store: Store | None = None
        self._inode = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
        self._warmer = ThreadPoolExecutor(1, thread_name_prefix="warm")
        self._warming = False
        self._warmup: Warmup | None = None
        self._closed = threading.Event()
        self._waiting = 0

    def __repr__(self) -> str:
        return f"Reads({str(self.folder)!r}, open={self._store is not None}, waiting={self._waiting})"

    def now(self, read: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read(view, ...)` on this thread: for a look-up of a few keys. Raises StoreError."""
        store = self._opened()
        try:
            with store.snapshot() as view:
                return read(view, *args, **kwargs)
        except lmdb.Error as exc:
            self._forget(store)
            raise StoreError(f"{self.folder}: {exc}") from exc

    async def scan(self, read: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read(view, ...)` in a worker thread. Raises StoreError; 503 when too many wait already."""
        if self._waiting >= WAITING_MAX:
            raise CommandRefused(503, "busy", f"{WAITING_MAX} reads wait already")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, lambda: self.now(read, *args, **kwargs))
        finally:
            self._waiting -= 1
            if not self._warming and not self._closed.is_set():
                self._warming = True
                self._warmer.submit(self._warm)

    def _warm(self) -> None:
        """What the last scans' columns still lack (store/derived.py), little by little: no count waits for it."""
        try:
            while not self._closed.is_set() and self.now(warm, None, WARM_BLOCKS):
                self._closed.wait(WARM_REST_S)
        except StoreError:  # the next read says so
            pass
        finally:
            self._warming = False

    def commits(self) -> int:
        """A number that grows with each commit: whoever watches need not look before. Raises StoreError."""
        store = self._opened()
        try:
            return int(store.env.info()["last_txnid"])
        except lmdb.Error as exc:
            self._forget(store)
            raise StoreError(f"{self.folder}: {exc}") from exc

    def warm_up(self) -> None:
        """Open the store, if there is one yet, so that its columns are read before anybody asks."""
        with contextlib.suppress(StoreError):
            self._opened()

    def warmed(self) -> Warmed | None:
        """How far the columns were read into memory since the store was opened."""
        return None if self._warmup is None else self._warmup.statistics()

    def size_octets(self) -> int:
        return self._opened().size_octets()

    def care(self, limits: Limits) -> Care:
        """How full the store is against its limits. Raises StoreError."""
        store = self._opened()
        try:
            return look(store, limits)
        except (lmdb.Error, OSError) as exc:
            self._forget(store)
            raise StoreError(f"{self.folder}: {exc}") from exc

    def close(self) -> None:
        self._closed.set()
        self._warmer.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._warmup is not None:
            self._warmup.stop()
        if self._store is not None and self._opener is None:
            self._store.close()
        self._store = None

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                try:
                    self._store = self._opener() if self._opener else open_store(self.folder)
                except (lmdb.Error, OSError) as exc:
                    raise StoreError(f"{self.folder}: {exc}") from exc
                self._inode = self._inode_now()
                if self._opener is None:
                    self._warmup = Warmup(self._store)
                    self._warmup.start()
            return self._store

    def look_for_replacement(self) -> None:
        """Let go of a store whose file was replaced or removed; called every now and then by the app."""
        store = self._store
        if store is not None and self._opener is None and self._inode_now() != self._inode:
            self._forget(store)

    def _inode_now(self) -> int:
        try:
            return os.stat(self.folder / "store" / "data.mdb").st_ino
        except OSError:
            return 0

    def _forget(self, store: Store) -> None:
        # never closed here: another thread may be inside a snapshot of it; the last reference unmaps it
        with self._lock:
            if self._store is store:
                self._store = None
                if self._warmup is not None:
                    self._warmup.stop()


def cursor_of(key: bytes) -> str:
    """An opaque cursor for `?after=`."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def key_of(cursor: str | None, size: int) -> bytes | None:
    """The key behind a cursor, `size` octets; None without one. Raises CommandRefused 400."""
    if not cursor:
        return None
    try:
        key = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != size:
        raise CommandRefused(400, "cursor_invalid", "`after` is not a cursor that this list gave")
    return key
