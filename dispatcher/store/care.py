"""How full the store is against its two limits, and who reads it for long: what health, metrics and doctor tell.

Touches: LMDB's own figures and statvfs; some 50 us for all of it. Rests on: DESIGN 2 (alarm at 70 % of store_max or
disk, new work refused at 90 %, the rest is for receipts, folds and deletes) and PITFALLS B3, B4.

Against store_max counts what rows take, not the file's length: LMDB gives pages back to itself and never to the disk,
so a store that was full and was tidied up has room again though its file is as long as before.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from config.settings import Store as Limits
from dispatcher.store.environment import Store

SPARE_OCTETS = 2 << 30  # free at full_percent: a great disk need not keep 10 % free
META_PAGES = 2
OK, ALARM, FULL = "ok", "alarm", "full"
REMEDY = (
    "keep less (volley campaign archive; log_kept_days, ids_kept_days), make room on its disk, "
    "or raise store_max_octets and restart"
)


@dataclass(frozen=True, slots=True)
class Care:
    """One look. `state` is that of the nearer limit; `said` names it, None while all is well."""

    state: str
    said: str | None
    used_octets: int  # pages that hold rows
    file_octets: int
    store_max_octets: int  # 0: no limit of its own
    store_percent: float | None
    disk_free_octets: int
    disk_octets: int
    disk_percent: float
    readers: int  # transactions that are open now, backups and exports among them
    reader_behind: int  # commits since the oldest of them began: pages freed by those are held back

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(store: Store, limits: Limits) -> Care:
    used = used_octets(store)
    free, whole = _disk(store)
    readers, behind = _readers(store)
    state, said = OK, None
    for word, percent in ((FULL, limits.full_percent), (ALARM, limits.alarm_percent)):
        said = short_of(store, limits, percent)
        if said is not None:
            state = word
            break
    return Care(
        state=state,
        said=said,
        used_octets=used,
        file_octets=store.size_octets(),
        store_max_octets=limits.store_max_octets,
        store_percent=round(100 * used / limits.store_max_octets, 1) if limits.store_max_octets else None,
        disk_free_octets=free,
        disk_octets=whole,
        disk_percent=round(100 * (whole - free) / whole, 1) if whole else 0.0,
        readers=readers,
        reader_behind=behind,
    )


def short_of(store: Store, limits: Limits, percent: int) -> str | None:
    """What has reached `percent`, in a sentence; None when nothing has. Cheap: asked before each command."""
    limit = limits.store_max_octets * percent // 100
    if limit and store.size_octets() >= limit:  # rows take no more than the file
        used = used_octets(store)
        if used >= limit:
            most = limits.store_max_octets
            return f"the store has {used:,} octets, {percent} % of store_max_octets = {most:,} are reached"
    free, whole = _disk(store)
    spare = SPARE_OCTETS * (100 - percent) // (100 - limits.full_percent)
    if free < min(spare, whole * (100 - percent) // 100):
        return f"the disk of {store.folder} has {free:,} octets free, {percent} % are used"
    return None


def _disk(store: Store) -> tuple[int, int]:
    """(octets free, octets in all)"""
    disk = os.statvfs(store.folder)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def used_octets(store: Store) -> int:
    """Pages that hold rows: two meta pages, the list of tables, the tables."""
    with store.snapshot() as view:
        stats = [view.txn.stat(table) for table in view.tables.values()] + [store.env.stat()]
    pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
    return int((pages + META_PAGES) * store.env.stat()["psize"])


def _readers(store: Store) -> tuple[int, int]:
    """LMDB's list of slots: a line of words, then `pid thread txnid` each, txnid "-" where none is open."""
    slots = [line.split() for line in store.env.readers().splitlines()[1:]]
    open_ = [int(slot[2]) for slot in slots if len(slot) == 3 and slot[2].isdecimal()]
    return len(open_), max(0, int(store.env.info()["last_txnid"]) - min(open_)) if open_ else 0
