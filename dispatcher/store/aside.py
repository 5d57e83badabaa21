"""Members with a delta row, gathered aside: their values as columns of blocks of their own, matched after the others.

Touches: rows of `delta` and `block_versions`, through a View; memory of the snapshot, read only.

A scan leaves changed members out of their blocks and asks the same program of these few blocks instead. A process keeps
what it gathered while the delta and the column are the same (their versions, which Snapshot.apply raises); when the
delta has changed, values of rows that have not are taken from what was gathered before, so a commit of a hundred rows
costs a walk along the delta and a hundred look-ups, not a look-up a row and column.
Rows are copied: they lie in leaf pages, which a neighbour's change moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.errors import StoreError
from dispatcher.records.changes import View
from dispatcher.store.blocks import Column, ColumnKind
from dispatcher.store.layout import TENANT
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store import _aside as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_aside is not built: run `make build`") from exc

VERSIONS = 2  # of a tenant's delta that are kept: the newest, and one that an older snapshot reads


@dataclass(frozen=True, slots=True)
class Gathered:
    """One column of the changed members: records of blocks, and what they were made of."""

    version: int  # the column's
    records: bytearray
    values: bytes
    memory: bytes


@dataclass(slots=True)
class Aside:
    """The changed members of one tenant at one version of its delta, in member order."""

    rows: kernel.Rows
    numbers: bytearray  # u32 each, filled up to whole blocks
    came: bytearray | None  # by member: where it stood in the version before, if its row is the same
    before: dict[Column, Gathered]  # of that version
    columns: dict[Column, Gathered] = field(default_factory=dict)

    def column(self, column: Column, blocks: bytearray, version: int | None) -> Gathered:
        """One column's values; `blocks` are its records. version None: keep nothing."""
        found = self.columns.get(column)
        if found is not None and found.version == version:
            return found
        number, part, kind = column
        old = self.before.get(column) if version is not None else None
        same = old is not None and old.version == version
        try:
            made = kernel.gathered(
                blocks, kind, number << 8 | part, False, self.rows, self.came, old.values if old and same else None
            )
        except ValueError as exc:
            raise StoreError(f"changed members, field {number}, part {part}: {exc}") from exc
        found = Gathered(-1 if version is None else version, *made)
        if version is not None:
            self.columns[column] = found
        return found

    def given(self, blocks: bytearray) -> Gathered:
        """The changed members' bits of a bitmap a block."""
        return Gathered(-1, *kernel.gathered(blocks, ColumnKind.PLANES, -1, True, self.rows, None, None))


def delta_version(view: View, tenant: int) -> int:
    """How many commits changed the tenant's delta."""
    return int.from_bytes(view.get("block_versions", TENANT.pack(tenant)) or b"", "little")


def changed(view: View, tenant: int) -> Aside | None:
    """The changed members of a tenant; None when there are none. Raises StoreError on a damaged row."""
    kept = view.kept if isinstance(view, Snapshot) else None
    if kept is None:
        return _walk(view, tenant, None)
    version = delta_version(view, tenant)
    by_version: dict[int, Aside | None] = kept.setdefault(("aside", tenant), {})
    if version not in by_version:
        older = [each for each in sorted(by_version) if each < version]
        by_version[version] = _walk(view, tenant, by_version.get(older[-1]) if older else None)
        for old in sorted(by_version)[:-VERSIONS]:
            if old != version:
                by_version.pop(old, None)
    return by_version.get(version) if version in by_version else _walk(view, tenant, None)


def _walk(view: View, tenant: int, before: Aside | None) -> Aside | None:
    prefix = TENANT.pack(tenant)
    old = before.rows if before else None
    made: tuple[kernel.Rows, bytearray, bytearray | None] | None = None
    try:
        if isinstance(view, Snapshot) and view.kept is not None:
            made = kernel.changed_rows(view.record("delta"), prefix, view.page_octets, old)
        if made is None:
            made = kernel.changed_rows(list(view.range("delta", prefix)), prefix, 0, old)
        assert made is not None
    except ValueError as exc:
        raise StoreError(f"delta row {exc.args[0].hex()} of tenant {tenant}: not a delta row") from exc
    if before is not None:
        before.before = {}  # a version back is enough
    return Aside(*made, dict(before.columns) if before else {}) if made[0].count else None
