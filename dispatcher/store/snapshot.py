"""One short transaction as a View. A read snapshot ends with its block; buffers die with it.

Touches: one lmdb transaction, on the thread that began it. A table of LAYERS (layout.py) is read and changed row by row
as if it were one: a key stands in one of its two. `put_many`, `stat` and cursors mean the table that they name.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import lmdb

from dispatcher.records.changes import Changes
from dispatcher.store.layout import LAYERS, TENANT

VERSIONED = {"blocks": 5, "delta": 2}  # octets of a key that make its key in block_versions: a column, a tenant
NUMBERS = {"phones", "phones_new"}
SORTED = 16  # rows of one table that are put in key order by one cursor: a third of the time of as many puts (10,000)


class Snapshot:
    """A View over a read or the write transaction; leaving the block commits a write, an exception aborts it."""

    __slots__ = ("kept", "owners", "page_octets", "tables", "txn")

    def __init__(
        self,
        txn: lmdb.Transaction,
        tables: dict[str, lmdb._Database],
        kept: dict[Any, Any] | None = None,
        page_octets: int = 4_096,
        owners: dict[int, object] | None = None,
    ) -> None:
        """kept: what the store's read snapshots share (store/scan.py); None for the write transaction. owners: what its
        write transactions share: tenant -> who alone puts numbers there (store/phones.py Sole)."""
        self.txn = txn
        self.tables = tables
        self.kept = kept
        self.page_octets = page_octets
        self.owners = {} if owners is None else owners

    def get(self, table: str, key: bytes) -> bytes | None:
        value = self.txn.get(key, db=self.tables[table])
        if value is None and (newer := self._newer(table)) is not None:
            value = self.txn.get(key, db=newer)
        return None if value is None else bytes(value)

    def buffer(self, table: str, key: bytes) -> memoryview | None:
        """Zero-copy; valid until this transaction's next write or its end."""
        value = self.txn.get(key, db=self.tables[table])
        if value is None and (newer := self._newer(table)) is not None:
            value = self.txn.get(key, db=newer)
        return None if value is None else memoryview(value)

    def record(self, table: str) -> memoryview:
        """The table's own record where it lies in the map, for leaf_walk.h; of a read snapshot only."""
        value = self.txn.get(table.encode())
        assert value is not None, table
        return memoryview(value)

    def _newer(self, table: str) -> lmdb._Database | None:
        """The second table of one in two; a copy of an earlier schema has none."""
        return self.tables.get(LAYERS[table]) if table in LAYERS else None

    def range(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.buffers(table, prefix, after=after, reverse=reverse):
            yield key, bytes(value)

    def buffers(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, memoryview]]:
        """Like range, with values as zero-copy views."""
        rows, newer = self._rows(self.tables[table], prefix, after, reverse), self._newer(table)
        if newer is None or not self.txn.stat(newer)["entries"]:
            return rows
        return heapq.merge(rows, self._rows(newer, prefix, after, reverse), key=itemgetter(0), reverse=reverse)

    def _rows(
        self, table: lmdb._Database, prefix: bytes, after: bytes | None, reverse: bool
    ) -> Iterator[tuple[bytes, memoryview]]:
        with self.txn.cursor(db=table) as cursor:
            if reverse:
                end = after if after is not None else _past(prefix)
                found = cursor.set_range(end) if end is not None else False
                found = cursor.prev() if found else cursor.last()
                step = cursor.prev
            else:
                found = cursor.set_range(after if after is not None else prefix)
                step = cursor.next
            while found:
                key = bytes(cursor.key())
                if not key.startswith(prefix):
                    if reverse and key > prefix:
                        found = step()
                        continue
                    return
                if key != after:
                    yield key, memoryview(cursor.value())
                found = step()

    def count(self, table: str) -> int:
        newer = self._newer(table)
        more = 0 if newer is None else self.txn.stat(newer)["entries"]
        return int(self.txn.stat(self.tables[table])["entries"] + more)

    def apply(self, changes: Changes) -> None:
        """Write rows into this write transaction. One that changes blocks or delta rows raises their versions."""
        tables = self.tables
        versioned = {key[: VERSIONED[table]] for table, key in changes.rows if table in VERSIONED}
        versioned |= {
            key[: VERSIONED[table]] for table, rows, _ in changes.bulk if table in VERSIONED for key, _ in rows
        }
        for key in versioned:
            version = int.from_bytes(self.get("block_versions", key) or b"", "little") + 1
            self.txn.put(key, version.to_bytes(8, "little"), db=tables["block_versions"])
        puts: dict[str, list[tuple[bytes, Any]]] = {}
        for (table, key), value in changes.rows.items():
            if table in LAYERS:
                self._apply_to_both(table, key, value)
            elif value is None:
                self.txn.delete(key, db=tables[table])
            else:
                puts.setdefault(table, []).append((key, value))
        for table, found in puts.items():
            if len(found) < SORTED:
                for key, value in found:
                    self.txn.put(key, value, db=tables[table])
            else:
                found.sort(key=itemgetter(0))
                with self.txn.cursor(db=tables[table]) as cursor:
                    cursor.putmulti(found)
        for table, rows, append in changes.bulk:
            if table in NUMBERS and rows:
                self._owned(next(iter(rows))[0], getattr(rows, "owner", None))
            with self.txn.cursor(db=tables[table]) as cursor:
                cursor.putmulti(rows, append=append)

    def _apply_to_both(self, table: str, key: bytes, value: bytes | memoryview | bytearray | None) -> None:
        """A row that stands in the first table is changed there; a new one goes to the second."""
        if table in NUMBERS:
            self._owned(key, None)
        first, newer = self.tables[table], self.tables[LAYERS[table]]
        if value is None:
            self.txn.delete(key, db=first)
            self.txn.delete(key, db=newer)
        else:
            self.txn.put(key, value, db=newer if self.txn.get(key, db=first) is None else first)

    def _owned(self, key: bytes, owner: object) -> None:
        """Numbers of a key's tenant are written: one who does that and is not its owner ends the ownership."""
        tenant = TENANT.unpack_from(key)[0]
        if owner is None or self.owners.get(tenant) is not owner:
            self.owners.pop(tenant, None)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            try:
                self.txn.commit()
            except BaseException:
                self.owners.clear()  # what they rest on may have been seen in here alone
                raise
        else:
            self.owners.clear()
            self.txn.abort()


def _past(prefix: bytes) -> bytes | None:
    """The least key greater than every key that begins with `prefix`; None when there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
