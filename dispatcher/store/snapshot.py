"""One short transaction as a View. A read snapshot ends with its block; buffers die with it.

Touches: one lmdb transaction, on the thread that began it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lmdb

from dispatcher.records.changes import Changes

VERSIONED = {"blocks": 5, "delta": 2}  # octets of a key that make its key in block_versions: a column, a tenant


class Snapshot:
    """A View over a read or the write transaction; leaving the block commits a write, an exception aborts it."""

    __slots__ = ("kept", "page_octets", "tables", "txn")

    def __init__(
        self,
        txn: lmdb.Transaction,
        tables: dict[str, lmdb._Database],
        kept: dict[Any, Any] | None = None,
        page_octets: int = 4_096,
    ) -> None:
        """kept: what the store's read snapshots share (store/scan.py); None for the write transaction."""
        self.txn = txn
        self.tables = tables
        self.kept = kept
        self.page_octets = page_octets

    def get(self, table: str, key: bytes) -> bytes | None:
        value = self.txn.get(key, db=self.tables[table])
        return None if value is None else bytes(value)

    def buffer(self, table: str, key: bytes) -> memoryview | None:
        """Zero-copy; valid until this transaction's next write or its end."""
        value = self.txn.get(key, db=self.tables[table])
        return None if value is None else memoryview(value)

    def range(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.buffers(table, prefix, after=after, reverse=reverse):
            yield key, bytes(value)

    def buffers(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, memoryview]]:
        """Like range, with values as zero-copy views."""
        with self.txn.cursor(db=self.tables[table]) as cursor:
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
        return int(self.txn.stat(self.tables[table])["entries"])

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
        for (table, key), value in changes.rows.items():
            if value is None:
                self.txn.delete(key, db=tables[table])
            else:
                self.txn.put(key, value, db=tables[table])
        for table, rows, append in changes.bulk:
            with self.txn.cursor(db=tables[table]) as cursor:
                cursor.putmulti(rows, append=append)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self.txn.commit()
        else:
            self.txn.abort()


def _past(prefix: bytes) -> bytes | None:
    """The least key greater than every key that begins with `prefix`; None when there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
