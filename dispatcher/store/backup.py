"""A backup: one consistent copy of the store's file beside whoever writes it, and how to know later that it is whole.

Touches: the store's file, read-only, under one read transaction; the backup's folder.

    DIR/data.mdb        the store as of one commit; its free pages are zeros that take no room
    DIR/archive/        files of archived campaigns, if there are any (apps/archive.py)
    DIR/manifest.json   {format, schema, at, octets, room_octets, sha256, outcome_log_position, audit, tables, ...}, for
                        people too; room: what octets take on a disk that keeps zeros for nothing

In it: every table, so members, consent, campaigns, ledgers, the outcome log, keys (hashes) and the audit.
Not in it: volley.toml (it has passwords), `marks` (true of one boot only), files of imports that are not done, exports
and logs. DIR is no data folder, so that no dispatcher is started on a backup by mistake.

Rests on: LMDB, which overwrites no page of a commit that is being read: so the file's pages may be read in the order of
the disk, past the page cache (direct.py), where LMDB's own copy follows the tables through the map: every page that it
misses had the disk read megabytes around it, and the syncs of those who send waited (15 % of their rate, now 2).
DESIGN 2: the one long reader has a growth limit, for pages that a writer gives back are not used again while it reads.
The file is under DIR.partial until it is whole.
Weak spot: that limit is looked at as octets pass; a disk that hangs makes the reader wait with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

import dispatcher
from dispatcher.errors import NewerSchema, StoreError
from dispatcher.store import audit
from dispatcher.store._pages import cleaned
from dispatcher.store.direct import CHUNK_OCTETS, DirectFile, DirectSource
from dispatcher.store.environment import MAP_SIZE, Store
from dispatcher.store.layout import ARCHIVE_FOLDER, SCHEMA, TABLES
from dispatcher.store.ledger import next_position
from dispatcher.store.pages import Meta, free_pages, meta_of
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

FORMAT = 1
FILE, MANIFEST = "data.mdb", "manifest.json"
GROWTH_OCTETS_MAX = 4 << 30  # or half of the store: at full rate one under a reader grows some 30 MB/s
BESIDE_OCTETS_S = 50_000_000  # while messages are sent, unless told otherwise: at twice as much it was felt
LOOK_EVERY_S = 2.0  # whether they are: an answer takes the dispatcher some ms
BEHIND_S = 0.1  # of a rate: further behind it begins anew
WARN_AT = 0.5  # of the growth limit
SPARE_OCTETS = 64 << 20  # left free on the backup's disk
MOMENTS_MAX = 1_000  # tries to meet a commit that is not overwritten while it is looked up, of some 10 us each
READ_OCTETS = 1 << 20
ZEROS = bytes(READ_OCTETS)
MEMBERS = ("format", "schema", "at_ms", "octets", "sha256", "outcome_log_position", "tables")

Progress = Callable[[int, int], None]  # octets done, octets in all
Warn = Callable[[str], None]


class BackupRefused(StoreError):
    """A backup that is not made, or one that may not be used; the text says why and what to do."""


@dataclass(slots=True)
class Pace:
    """How fast, and when to give up. octets_s 0: as fast as it goes, BESIDE_OCTETS_S while `sending` says so."""

    octets_s: int = 0
    growth_octets_max: int = 0  # 0: GROWTH_OCTETS_MAX or half of the store, whichever is more
    sending: Callable[[], bool] = lambda: False
    progress: Progress = lambda done, total: None
    warn: Warn = lambda text: None
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _rate: int = -1  # -1: not looked yet
    _began: float = 0.0  # since when it holds
    _from: int = 0  # octets done by then
    _looked: float = 0.0

    def keep(self, done: int) -> None:
        """Wait until `done` octets are not ahead of the rate."""
        now = self.clock()
        if self._rate < 0 or (not self.octets_s and now - self._looked >= LOOK_EVERY_S):
            rate, self._looked = self.octets_s or (BESIDE_OCTETS_S if self.sending() else 0), now
            if rate != self._rate:
                self._rate, self._began, self._from = rate, now, done
        if self._rate:
            ahead_s = (done - self._from) / self._rate - (now - self._began)
            if ahead_s > 0:
                self.pause(ahead_s)
            elif ahead_s < -BEHIND_S:  # what a slow disk took is not caught up with
                self._began, self._from = now, done


def write_backup(store: Store, folder: Path, at_ms: int, pace: Pace | None = None) -> dict[str, Any]:
    """Copy the open store into `folder`, which must not be there yet or be empty; the manifest.

    Raises BackupRefused, with nothing left behind, where there is no room or the store grew past the limit meanwhile.
    """
    pace = pace or Pace()
    check_folder(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(partial / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _alone(descriptor, partial)
        try:
            manifest = _copy(store, descriptor, partial, at_ms, pace)
            copy_archives(store.folder, partial)
            _write_manifest(partial, manifest)
            os.rename(partial, folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)
    return manifest


def check_folder(folder: Path) -> None:
    """Raises BackupRefused unless a backup may be written there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupRefused(f"{folder} is there already and not empty; a backup goes into a folder of its own")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a backup says of itself. Raises BackupRefused, NewerSchema for one of a later version."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupRefused(f"{folder}: no backup here ({MANIFEST} is missing)") from None
    except (OSError, ValueError) as exc:
        raise BackupRefused(f"{folder / MANIFEST} cannot be read: {exc}") from exc
    missing = [name for name in MEMBERS if not isinstance(manifest, dict) or name not in manifest]
    if missing:
        raise BackupRefused(f"{folder / MANIFEST} lacks {', '.join(missing)}")
    if manifest["format"] > FORMAT or manifest["schema"] > SCHEMA:
        version = manifest.get("version", "unknown")
        raise NewerSchema(
            f"{folder}: a backup of version {version}, schema {manifest['schema']}; this one reads up to {SCHEMA}"
        )
    return dict(manifest)


def check_file(folder: Path, manifest: dict[str, Any], progress: Progress = lambda done, total: None) -> None:
    """Raises BackupRefused where the file is not, octet by octet, what the manifest was written of."""
    copy_file(folder, None, manifest, progress)


def copy_file(
    folder: Path, to: Path | None, manifest: dict[str, Any], progress: Progress = lambda done, total: None
) -> None:
    """The backup's file to `to`, synced; its sum is compared on the way. None: compared only. Raises BackupRefused."""
    file = folder / FILE
    total, done, digest = int(manifest["octets"]), 0, hashlib.sha256()
    try:
        size = file.stat().st_size
        if size != total:
            raise BackupRefused(f"{file} has {size:,} octets, its manifest says {total:,}")
        with file.open("rb") as source, open(to or os.devnull, "wb", opener=_as_the_store_does) as target:
            while octets := source.read(READ_OCTETS):
                digest.update(octets)
                if octets == ZEROS:  # takes no room here either
                    target.seek(len(octets), os.SEEK_CUR)
                else:
                    target.write(octets)
                done += len(octets)
                progress(done, total)
            target.flush()
            if to is not None:
                target.truncate(total)
                os.fsync(target.fileno())
    except OSError as exc:
        raise BackupRefused(f"{file}: {exc}") from exc
    if digest.hexdigest() != manifest["sha256"]:
        raise BackupRefused(f"{file} is not what was written: its sha256 differs from the manifest's")


def open_copy(folder: Path) -> Store:
    """A backup's file as a store to read. Nobody writes it any more, so it is opened without LMDB's lock file (PITFALLS
    B5 is of live files) and may lie on a medium that takes no writes. Tables that its version did not have are absent.
    """
    try:
        env = lmdb.open(
            str(folder / FILE),
            subdir=False,
            readonly=True,
            lock=False,
            map_size=MAP_SIZE,
            max_dbs=len(TABLES) + 8,
            create=False,
        )
    except lmdb.Error as exc:
        raise BackupRefused(f"{folder / FILE}: no store: {exc}") from exc
    tables = {}
    for name in TABLES:
        try:
            tables[name] = env.open_db(name.encode(), create=False)
        except lmdb.NotFoundError:
            continue
    return Store(folder, env, tables, writable=False, _page_octets=env.stat()["psize"])


def copy_archives(folder: Path, to: Path) -> None:
    """Files of archived campaigns, which never change once they are named; all that the copy names are among them."""
    for file in _archives(folder):
        (to / ARCHIVE_FOLDER).mkdir(mode=0o770, exist_ok=True)
        shutil.copyfile(file, to / ARCHIVE_FOLDER / file.name)
        with open(to / ARCHIVE_FOLDER / file.name, "rb") as copied:
            os.fsync(copied.fileno())
    if (to / ARCHIVE_FOLDER).exists():
        sync_folder(to / ARCHIVE_FOLDER)


def _archives(folder: Path) -> list[Path]:
    return sorted((folder / ARCHIVE_FOLDER).glob("*.zst"))


def sync_folder(folder: Path) -> None:
    """Names made, renamed or removed in it are on disk after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(store: Store, descriptor: int, partial: Path, at_ms: int, pace: Pace) -> dict[str, Any]:
    """The file and what its manifest says, of one and the same transaction."""
    source = DirectSource(Path(store.env.path()) / FILE)
    try:
        with _moment(store, source.descriptor) as (view, meta):
            manifest = _described(view, store, at_ms)
            kept = _kept(free_pages(source.descriptor, meta), meta)
            whole = kept.octets + sum(file.stat().st_size for file in _archives(store.folder))
            free = os.statvfs(partial).f_bavail * os.statvfs(partial).f_frsize
            if free < whole + SPARE_OCTETS:
                raise BackupRefused(
                    f"the backup needs {whole:,} octets, the disk of {partial.parent} has {free:,} free"
                )
            began = time.monotonic()
            os.ftruncate(descriptor, 0)
            file = DirectFile(partial / FILE, descriptor)
            try:
                octets, sha256 = _pour(store, source, file, kept, pace)
                file.finish()
            finally:
                file.close()
    finally:
        source.close()
    took_s = round(time.monotonic() - began, 3)
    return manifest | {"octets": octets, "room_octets": kept.octets, "sha256": sha256, "took_s": took_s}


@contextmanager
def _moment(store: Store, file: int) -> Iterator[tuple[Snapshot, Meta]]:
    """A commit that stays readable, and its meta page."""
    for _ in range(MOMENTS_MAX):
        with store.snapshot() as view:
            meta = meta_of(file, view.txn.id(), view.page_octets)
            if meta is not None:
                yield view, meta
                return
    raise BackupRefused(f"the store was written {MOMENTS_MAX} times while its newest commit was looked up; try again")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of the file is copied."""

    meta: Meta
    free: bytearray  # an octet a page
    runs: list[tuple[int, int]]  # begin and end of neighbouring chunks with pages in use, in octets
    octets: int  # of all runs


def _kept(free: bytearray, meta: Meta) -> _Kept:
    pages, end = CHUNK_OCTETS // meta.page_octets, len(free) * meta.page_octets
    runs = list[tuple[int, int]]()
    for first in range(0, len(free), pages):
        if free.find(0, first, first + pages) < 0:
            continue
        begin, until = first * meta.page_octets, min(end, (first + pages) * meta.page_octets)
        if runs and runs[-1][1] == begin:
            begin, _ = runs.pop()
        runs.append((begin, until))
    return _Kept(meta, free, runs, sum(until - begin for begin, until in runs))


def _pour(store: Store, source: DirectSource, file: DirectFile, kept: _Kept, pace: Pace) -> tuple[int, str]:
    """The file's octets and their sum; each chunk is cleaned of what is free, summed, written, slowed, watched."""
    watch = _Growth(store, pace, kept.octets)
    digest, done, at, within = hashlib.sha256(), 0, 0, 0
    size, end = kept.meta.page_octets, len(kept.free) * kept.meta.page_octets
    for begin, until in kept.runs:
        _leave_out(digest, file, begin - at)
        file.set_aside(until - begin)
        for at in range(begin, until, CHUNK_OCTETS):
            chunk = source.chunk(at, min(CHUNK_OCTETS, until - at))
            if at == 0:
                first = kept.meta.pages()
                chunk[: len(first)] = first
            within = cleaned(chunk, size, at // size, kept.free, within)
            digest.update(chunk)
            file.append(chunk)
            done += len(chunk)
            pace.progress(done, kept.octets)
            watch.look()
            pace.keep(done)
        at = until
    _leave_out(digest, file, end - at)
    return end, digest.hexdigest()


def _leave_out(digest: hashlib._Hash, file: DirectFile, octets: int) -> None:
    for at in range(0, octets, READ_OCTETS):
        digest.update(ZEROS[: octets - at])
    file.leave_out(octets)


class _Growth:
    """How much longer the store's file has become while it is read."""

    def __init__(self, store: Store, pace: Pace, total: int) -> None:
        self._store, self._pace = store, pace
        self._most = pace.growth_octets_max or max(GROWTH_OCTETS_MAX, total // 2)
        self._first = store.size_octets()
        self._warned = False

    def look(self) -> None:
        """Raises BackupRefused past the limit; warns once before."""
        grown, most = self._store.size_octets() - self._first, self._most
        if grown > most:
            raise BackupRefused(
                f"given up: the store grew by {grown:,} octets while it was copied, at most {most:,} are allowed "
                "(--growth-max-mb); a backup that is let go faster, or while less is sent, holds fewer pages back"
            )
        if grown > most * WARN_AT and not self._warned:
            self._warned = True
            self._pace.warn(f"the store has grown by {grown:,} octets since the backup began; it ends at {most:,}")


def _described(view: Snapshot, store: Store, at_ms: int) -> dict[str, Any]:
    noted = audit.head(view)
    schema = view.get("meta", b"schema")
    return {
        "format": FORMAT,
        "version": dispatcher.__version__,
        "schema": unpack(schema)["schema"] if schema else SCHEMA,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000)),
        "at_ms": at_ms,
        "of": str(store.folder),
        "outcome_log_position": next_position(view),
        "audit": {"seq": noted["seq"], "seal": noted["seal"].hex()} if noted else None,
        "tables": {table: view.count(table) for table in view.tables},
    }


def _as_the_store_does(name: str, flags: int) -> int:
    return os.open(name, flags, 0o660)


def _alone(descriptor: int, partial: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise BackupRefused(f"{partial}: another backup is being written there") from exc


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    with os.fdopen(os.open(folder / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
