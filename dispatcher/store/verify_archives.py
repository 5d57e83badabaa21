"""Whether every file that an archived campaign left is there and is what was written: one check, for whoever knows the
folder.

Touches: rows of `archives`, files of the folder beside the store, read from end to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dispatcher.records.keys import public_id
from dispatcher.store.layout import ARCHIVE_FOLDER, TENANT_U64
from dispatcher.store.problem import Problem
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

READ_OCTETS = 1 << 20


def archives_are_whole(view: Snapshot, folder: Path) -> Iterator[Problem]:
    """Each file is there, as long as its row says, and has its sha256. folder: of the data, or of a backup."""
    for key, octets in view.range("archives"):
        tenant, campaign = TENANT_U64.unpack(key)
        row = unpack(octets)
        path = folder / ARCHIVE_FOLDER / row["file"]
        found = _wrong(path, row["octets"], row["sha256"])
        if found is not None:
            place = f"tenant {tenant}, campaign {public_id('cmp', campaign)}"
            yield Problem("archives_are_whole", place, f"{path}: {found}; put it back from a backup")


def _wrong(path: Path, octets: int, sha256: bytes) -> str | None:
    try:
        size = path.stat().st_size
        if size != octets:
            return f"{size:,} octets, its row says {octets:,}"
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while some := file.read(READ_OCTETS):
                digest.update(some)
    except FileNotFoundError:
        return "missing"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    return None if digest.digest() == sha256 else "damaged: its sha256 is not what was written"
