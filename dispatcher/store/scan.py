"""What a scan over all of a tenant's members reads: where each block of its columns lies; changed members aside.

Touches: rows of `blocks`, `block_versions` and `tenants`, through a View; memory of the snapshot, read only.

Finding the blocks of a column takes a cursor step a block, more than matching them does. So a process keeps what it
found, a ColumnBlocks per column, and takes it again while the column's version, read in the snapshot at hand, is the
same. Why that is safe:
- every transaction that puts or deletes a block of the column raises its version, in that transaction (Snapshot.apply):
  equal version, equal blocks, also after an abort, since only read snapshots keep anything.
- a value of a page or more lies in LMDB's overflow pages. Those are written once and freed when the row is put or
  deleted, never moved for a neighbour's sake; and pages are not used again while a snapshot that may see them is open.
  So within any snapshot of that version the address holds. Shorter values lie in leaf pages, which are copied when a
  neighbour changes: such a value is copied to memory of ours, which has no such neighbours.
- what is kept belongs to one open Store and ends with it; an older snapshot has an older version and finds its own.

In a write transaction nothing is kept, and what a scan was given holds until the transaction's next write.
Changed members are gathered aside (store/aside.py), in the same snapshot: a fold moves a row in one commit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from dispatcher.errors import StoreError
from dispatcher.records.changes import View
from dispatcher.store.aside import changed
from dispatcher.store.blocks import Column, ColumnKind, blocks_of, next_member_no
from dispatcher.store.derived import KINDS, OCTETS_MAX, Derived
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store import _scan as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_scan is not built: run `make build`") from exc

VERSIONS = 2  # of a column's blocks that are kept: the newest, and one that an older snapshot or a fold just left
SCAN_BLOCKS = 8  # derived by one scan: a millisecond
OCTETS = "derived octets"  # what is kept under it: how many were derived
PLACES_GAP = 256 << 10  # read along rather than left out, where two blocks of a column lie so near
RECORD = 48  # octets of a column_block
_COLUMN = Struct(">HHB")
_COPY_ALL = 1 << 62  # no value is as long


@dataclass(slots=True)
class ColumnBlocks:
    """One column's blocks, in block order, as records/column_blocks.h draws them. Keep it while `records` are read."""

    records: bytearray
    kept: list[bytes]  # what the records point at, where that is memory of ours
    octets: int
    derived: Derived | None = None
    made: list[bytes] = field(default_factory=list)  # what they point at as derived
    left: list[tuple[int, int]] = field(default_factory=list)  # (block, mark) of what could be derived still

    def at_least(self, blocks: int) -> bytearray:
        """Records of so many blocks; those that have no value are empty. What another thread reads stays as it is."""
        if len(self.records) < blocks * RECORD:
            self.records = self.records + bytes(blocks * RECORD - len(self.records))
        return self.records


@dataclass(frozen=True, slots=True)
class Scanned:
    """Everything that fastmatch.match_blocks is given beside a program, while the snapshot is open."""

    blocks: int
    columns: list[bytearray | None]  # by number: a text takes three, of which the last two are None
    edges: list[bytes | None]  # by number, of the derived codes
    aside: list[bytearray | None]  # by number, of the changed members
    numbers: bytearray
    changed: int
    octets: int  # of the columns' arrays
    keep: list[Any]


def scan(
    view: View,
    tenant: int,
    columns: Sequence[Column | Hashable],
    given: Mapping[Any, Mapping[int, Any]] | None = None,
    *,
    delta: bool = True,
) -> Scanned:
    """The named columns of all blocks, numbered in their order. A key of `given` is a column of one plane.

    given: {key: {block: bitmap of BLOCK / 8 octets}}. delta: False for an estimate, as if there were no delta rows.
    Raises StoreError on a damaged value.
    """
    blocks = blocks_of(next_member_no(view, tenant))
    given = given or {}
    changes = changed(view, tenant) if delta else None
    records: list[bytearray | None] = []
    edges: list[bytes | None] = []
    aside: list[bytearray | None] = []
    keep: list[Any] = [given, changes]
    octets, room = 0, SCAN_BLOCKS
    for column in columns:
        if column in given:
            rows = kernel.bitmap_rows(dict(given[column]), blocks)
            found, gathered = None, changes.given(rows) if changes else None
        else:
            number, part, kind = column  # type: ignore[misc]
            version = block_version(view, tenant, (number, part, kind))
            found = column_blocks(view, tenant, (number, part, kind), blocks, version)
            keep.append(found)
            octets += found.octets
            if delta and found.derived is not None and isinstance(view, Snapshot):
                found.derived.scans += 1
                if found.derived.scans > 1:
                    room -= _derive(view, found, room)
            rows = found.at_least(blocks)
            kept = version if isinstance(view, Snapshot) and view.kept is not None else None
            gathered = changes.column((number, part, kind), rows, kept) if changes else None
        keep.append(gathered)
        records.append(rows)
        edges.append(found.derived.edges if found and found.derived else None)
        aside.append(gathered.records if gathered else None)
        if found is not None and column[2] == ColumnKind.TEXT:  # type: ignore[index]
            for each in (records, edges, aside):
                each += [None, None]
    numbers, count = (changes.numbers, changes.rows.count) if changes else (bytearray(), 0)
    return Scanned(blocks, records, edges, aside, numbers, count, octets, keep)


def block_version(view: View, tenant: int, column: Column) -> int:
    """How many commits wrote blocks of the column."""
    return int.from_bytes(view.get("block_versions", _COLUMN.pack(tenant, *column[:2])) or b"", "little")


def column_blocks(view: View, tenant: int, column: Column, blocks: int, version: int) -> ColumnBlocks:
    """Where one column's blocks lie in this snapshot; `version` is its block_version."""
    kept = view.kept if isinstance(view, Snapshot) else None
    if kept is None:
        return _find(view, tenant, column, blocks)
    by_version: dict[int, ColumnBlocks] = kept.setdefault((tenant, *column), {})
    found = by_version.get(version)
    if found is None:
        found = _find(view, tenant, column, blocks)
        if column[2] in KINDS:
            found.derived = kept.setdefault(("derived", tenant, *column), Derived(column[2]))
            found.made, found.left = found.derived.place(found.records, kernel.marks(found.records))
        by_version[version] = found
        for old in sorted(by_version)[:-VERSIONS]:
            if old != version:
                by_version.pop(old, None)
    return found


def column_places(view: Snapshot) -> dict[bytes, list[tuple[int, int]]]:
    """Where in the store's file each column's blocks lie: its key's first octets to (offset, octets), near ones as one.
    No block is read."""
    return kernel.places(view.record("blocks"), view.page_octets, _COLUMN.size, PLACES_GAP) or {}


def warm(view: Snapshot, tenant: int | None = None, most: int = 1 << 30) -> bool:
    """Derive up to `most` blocks of columns that were scanned twice (of all tenants: None); whether some are left."""
    kept = view.kept
    if kept is None:
        return False
    for key in [key for key in list(kept) if key[0] == "derived" and tenant in (None, key[1]) and kept[key].scans > 1]:
        _, of, *column = key
        version = block_version(view, of, (column[0], column[1], column[2]))
        found = kept.get(key[1:], {}).get(version)
        if found is not None and found.left:
            most -= _derive(view, found, most)
            if found.left and most <= 0:
                return bool(kept.get(OCTETS, 0) < OCTETS_MAX)
    return False


def _derive(view: Snapshot, found: ColumnBlocks, most: int) -> int:
    """How many blocks were derived."""
    assert view.kept is not None and found.derived is not None
    have: int = view.kept.get(OCTETS, 0)
    if have >= OCTETS_MAX or most <= 0:
        return 0
    blocks, octets = found.derived.more(found.records, found.made, found.left, most)
    view.kept[OCTETS] = view.kept.get(OCTETS, 0) + octets
    return blocks


def _find(view: View, tenant: int, column: Column, blocks: int) -> ColumnBlocks:
    number, part, kind = column
    prefix = _COLUMN.pack(tenant, number, part)
    found: tuple[bytearray, list[bytes], int] | None = None
    try:
        if isinstance(view, Snapshot):  # in a write transaction values lie still until its next write: nothing is kept
            if view.kept is not None:
                found = kernel.column_rows(
                    view.record("blocks"), prefix, kind, blocks, view.page_octets, view.page_octets
                )
            if found is None:
                rows: Iterable[tuple[Any, Any]] = view.buffers("blocks", prefix)
                found = kernel.column_rows(rows, prefix, kind, blocks, view.page_octets)
        else:
            found = kernel.column_rows(view.range("blocks", prefix), prefix, kind, blocks, _COPY_ALL)
        assert found is not None
        return ColumnBlocks(*found)
    except ValueError as exc:
        block = int.from_bytes(exc.args[0][-4:], "big")
        raise StoreError(
            f"block {block} of tenant {tenant}, field {number}, part {part}: not a {kind.name} value"
        ) from exc
