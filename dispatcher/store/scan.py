"""What a scan over all of a tenant's members reads: where each block of its columns lies, and who has a delta row.

Touches: rows of `blocks`, `delta`, `block_versions` and `tenants`, through a View; memory of the snapshot, read only.

Finding the blocks of a column takes a cursor step a block, more than matching them does. So a process keeps what it
found, a ColumnBlocks per column, and takes it again while the tenant's block version, read in the snapshot at hand, is
the same. Why that is safe:
- every transaction that puts or deletes a block of the tenant raises the version, in that transaction (Snapshot.apply):
  equal version, equal blocks, also after an abort, since only read snapshots keep anything.
- a value of a page or more lies in LMDB's overflow pages. Those are written once and freed when the row is put or
  deleted, never moved for a neighbour's sake; and pages are not used again while a snapshot that may see them is open.
  So within any snapshot of that version the address holds. Shorter values lie in leaf pages, which are copied when a
  neighbour changes: such a value is copied to memory of ours, which has no such neighbours.
- what is kept belongs to one open Store and ends with it; an older snapshot has an older version and finds its own.

In a write transaction nothing is kept, and what a scan was given holds until the transaction's next write.
Delta rows are read anew by every scan, in the same snapshot: a fold moves a row and bumps the version in one commit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from dispatcher.errors import StoreError
from dispatcher.records.changes import View
from dispatcher.store.blocks import Column, ColumnKind, blocks_of, next_member_no
from dispatcher.store.derived import KINDS, OCTETS_MAX, Derived
from dispatcher.store.layout import TENANT
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store import _scan as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_scan is not built: run `make build`") from exc

VERSIONS = 2  # of a column's blocks that are kept: the newest, and one that an older snapshot or a fold just left
RECORD = 48  # octets of a column_block
NO_ID = -1  # what no delta row changes
_PREFIX = Struct(">HHB")
_COPY_ALL = 1 << 62  # no value is as long


@dataclass(slots=True)
class ColumnBlocks:
    """One column's blocks, in block order, as records/column_blocks.h draws them. Keep it while `records` are read."""

    records: bytearray
    kept: list[bytes]  # what the records point at, where that is memory of ours
    octets: int
    derived: Derived | None = None
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
    ids: list[int]
    edges: list[bytes | None]  # by number, of the derived codes
    changes: bytearray
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
    version = block_version(view, tenant)
    records: list[bytearray | None] = []
    ids: list[int] = []
    edges: list[bytes | None] = []
    keep: list[Any] = [given]
    octets = 0
    for column in columns:
        if column in given:
            records.append(kernel.bitmap_rows(dict(given[column]), blocks))
            ids.append(NO_ID)
            edges.append(None)
            continue
        number, part, kind = column  # type: ignore[misc]
        found = column_blocks(view, tenant, (number, part, kind), blocks, version)
        keep.append(found)
        octets += found.octets
        if delta and found.derived is not None and isinstance(view, Snapshot):
            _derive(view, found)
        records.append(found.at_least(blocks))
        ids.append(number << 8 | part)
        edges.append(found.derived.edges if found.derived else None)
        if kind == ColumnKind.TEXT:
            records += [None, None]
            ids += [NO_ID, NO_ID]
            edges += [None, None]
    changes, rows = _changes(view, tenant) if delta else (bytearray(), [])
    keep.append(rows)
    return Scanned(blocks, records, ids, edges, changes, octets, keep)


def block_version(view: View, tenant: int) -> int:
    """How many times blocks of the tenant were written."""
    return int.from_bytes(view.get("block_versions", TENANT.pack(tenant)) or b"", "little")


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
            more, found.left = found.derived.place(found.records)
            found.kept += more
        by_version[version] = found
        for old in sorted(by_version)[:-VERSIONS]:
            if old != version:
                by_version.pop(old, None)
    return found


def _derive(view: Snapshot, found: ColumnBlocks) -> None:
    assert view.kept is not None and found.derived is not None
    have: int = view.kept.get("derived octets", 0)
    if have < OCTETS_MAX:
        view.kept["derived octets"] = have + found.derived.more(found.records, found.kept, found.left)


def _find(view: View, tenant: int, column: Column, blocks: int) -> ColumnBlocks:
    number, part, kind = column
    prefix = _PREFIX.pack(tenant, number, part)
    rows: Iterable[tuple[Any, Any]]
    if isinstance(view, Snapshot):
        cursor = view.txn.cursor(db=view.tables["blocks"])
        rows = cursor.iternext() if cursor.set_range(prefix) else ()
        in_place = view.page_octets  # in a write transaction this holds until its next write, and nothing is kept
    else:
        rows, in_place = view.range("blocks", prefix), _COPY_ALL
    try:
        return ColumnBlocks(*kernel.column_rows(rows, prefix, kind, blocks, in_place))
    except ValueError as exc:
        block = int.from_bytes(exc.args[0][-4:], "big")
        raise StoreError(
            f"block {block} of tenant {tenant}, field {number}, part {part}: not a {kind.name} value"
        ) from exc


def _changes(view: View, tenant: int) -> tuple[bytearray, list[Any]]:
    prefix = TENANT.pack(tenant)
    try:
        if isinstance(view, Snapshot):
            cursor = view.txn.cursor(db=view.tables["delta"])
            return kernel.change_rows(cursor, prefix, view.page_octets if view.kept is not None else 0), [cursor]
        kept = list(view.range("delta", prefix))
        return bytearray().join(kernel.change_of(key, value) for key, value in kept), kept
    except ValueError as exc:
        raise StoreError(f"delta row {exc.args[0].hex()} of tenant {tenant}: not a delta row's key") from exc
