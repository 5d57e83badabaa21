"""What a room wants written: puts and deletes of whole rows. Rooms compute them, one writer commits.

A handler reads through a View (which sees everything already applied in the same transaction) and
returns its Changes with a reply; when it raises CommandRefused nothing of it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


class View(Protocol):
    """A consistent read of the store. `buffer` is valid until the next write or the view's end."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def buffer(self, table: str, key: bytes) -> memoryview | None: ...

    def range(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, in key order, strictly after `after` (a whole key)."""
        ...

    def count(self, table: str) -> int: ...


class Rows(Protocol):
    """A list of keys and values, or what makes them as it is walked (store/gather.py PhoneItems)."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...


@dataclass(slots=True)
class Changes:
    """Rows to write; a later put or delete of the same key wins.

    `bulk` is for thousands of new rows of one table in key order (imports): (table, rows, append). It is
    written after `rows`; append says that every key is greater than the table's last.
    """

    rows: dict[tuple[str, bytes], bytes | memoryview | bytearray | None] = field(default_factory=dict)
    bulk: list[tuple[str, Rows, bool]] = field(default_factory=list)

    def put(self, table: str, key: bytes, value: bytes | memoryview | bytearray) -> None:
        self.rows[table, key] = value

    def delete(self, table: str, key: bytes) -> None:
        self.rows[table, key] = None

    def put_many(self, table: str, rows: Rows, *, append: bool = False) -> None:
        self.bulk.append((table, rows, append))

    def merge(self, other: Changes) -> None:
        self.rows.update(other.rows)
        self.bulk += other.bulk

    @property
    def octets(self) -> int:
        bulk = sum(len(key) + len(value) for _, rows, _ in self.bulk for key, value in rows)
        return bulk + sum(len(value) for value in self.rows.values() if value is not None)

    def __bool__(self) -> bool:
        return bool(self.rows or self.bulk)
