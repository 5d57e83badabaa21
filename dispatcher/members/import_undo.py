"""What an import or a bulk edit replaced, kept so that it can be taken back (import_restore.py does that).

Touches: rows of `import_undo`, written in the transaction of the slice they speak of.

    key   import:8 block:4 slice:4      slices count up, so a block's rows are in the order they were written
    value zstd of msgpack [created, slots u16, seals, before, other]
          created  [slot, count, [[field, part, kind] ...], seals] for each stretch of new members
          slots, seals, before: the changed members; before is a delta row (delta.py) of what was replaced
          other    [table, key, old value or nil] of rows beside the columns; keys begin with tenant:2 member_no:4

What was written is kept as seals only (compare.py). Measured: 22 octets a new member of 11 columns.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgpack
import zstandard

from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import Column, ColumnKind
from dispatcher.store.compare import Compared
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64, U64

UNDO_KEY = struct.Struct(">QII")  # import, block, slice
KEPT_MS = 7 * 86_400_000
SWEPT_AT_ONCE = 256  # rows deleted a commit
_pack = zstandard.ZstdCompressor(level=1)


@dataclass(slots=True)
class Created:
    slot: int
    count: int
    columns: list[Column]
    seals: bytes


@dataclass(slots=True)
class Record:
    """What one slice did to one block."""

    created: list[Created] = field(default_factory=list)
    slots: array[int] = field(default_factory=lambda: array("H"))
    seals: list[bytes] = field(default_factory=list)
    before: list[bytes] = field(default_factory=list)
    other: list[tuple[str, bytes, bytes | None]] = field(default_factory=list)

    def pack(self) -> bytes:
        created = [[c.slot, c.count, c.columns, c.seals] for c in self.created]
        value = [created, self.slots.tobytes(), self.seals, self.before, self.other]
        return _pack.compress(msgpack.packb(value))


def unpack_record(value: bytes) -> Record:
    created, slots, seals, before, other = msgpack.unpackb(zstandard.decompress(value))
    made = [Created(slot, count, [_column(c) for c in columns], sealed) for slot, count, columns, sealed in created]
    return Record(made, array("H", slots), seals, before, [tuple(row) for row in other])


def _column(value: Sequence[int]) -> Column:
    return value[0], value[1], ColumnKind(value[2])


class Recorder:
    """Collects what one slice replaces: a row for each block it touches."""

    def __init__(self, import_id: int, number: int) -> None:
        self._import_id, self._number = import_id, number
        self._records: dict[int, Record] = {}

    def _of(self, block: int) -> Record:
        return self._records.setdefault(block, Record())

    def add_created(self, block: int, slot: int, count: int, columns: list[Column], seals: bytes) -> None:
        self._of(block).created.append(Created(slot, count, columns, seals))

    def add_changed(self, block: int, compared: Compared) -> None:
        if compared.slots:
            record = self._of(block)
            record.slots.extend(compared.slots)
            record.seals += compared.seals
            record.before += compared.before

    def add_other(self, member_no: int, table: str, key: bytes, old: bytes | None) -> None:
        """A row beside the columns that the slice writes about a member."""
        self._of(member_no // BLOCK).other.append((table, key, old))

    def put(self, changes: Changes) -> int:
        """The rows into the slice's Changes; how many."""
        for block, record in self._records.items():
            changes.put("import_undo", UNDO_KEY.pack(self._import_id, block, self._number), record.pack())
        return len(self._records)


def blocks_between(view: View, import_id: int, after: int = -1) -> Iterator[int]:
    """Blocks above `after` that an import touched, in order."""
    while True:
        last = UNDO_KEY.pack(import_id, after, 0xFFFFFFFF) if after >= 0 else None
        key = next((key for key, _ in view.range("import_undo", U64.pack(import_id), after=last)), None)
        if key is None:
            return
        after = UNDO_KEY.unpack(key)[1]
        yield after


def records_of(view: View, import_id: int, block: int) -> Iterator[tuple[bytes, Record]]:
    """(key, record) of one block, in the order they were written."""
    for key, value in view.range("import_undo", UNDO_KEY.pack(import_id, block, 0)[:12]):
        yield key, unpack_record(value)


def expired_rows(view: View, import_id: int) -> Changes:
    """The next rows to delete of an undo that is kept no longer; empty when there are none."""
    changes = Changes()
    for at, (key, _) in enumerate(view.range("import_undo", U64.pack(import_id))):
        if at == SWEPT_AT_ONCE:
            break
        changes.delete("import_undo", key)
    return changes


def forget(view: View, changes: Changes, tenant: int, member_no: int) -> None:
    """Drop what is kept about one member, for an erase: its values must not outlive it here."""
    block, slot = divmod(member_no, BLOCK)
    for key, _ in view.range("imports", TENANT.pack(tenant)):
        for undo_key, record in records_of(view, TENANT_U64.unpack(key)[1], block):
            kept = [at for at, held in enumerate(record.slots) if held != slot]
            if len(kept) == len(record.slots):
                continue  # of a member that was created only seals are kept
            record.slots = array("H", [record.slots[at] for at in kept])
            record.seals = [record.seals[at] for at in kept]
            record.before = [record.before[at] for at in kept]
            changes.put("import_undo", undo_key, record.pack())
