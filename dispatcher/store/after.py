"""A View as it will be with some changes in it: for a command of several parts that must see each other.

Touches: nothing; reads through to the View below. `bulk` of the changes is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.records.changes import Changes, View


class After:
    """Of few changed rows: each range looks at all of them."""

    def __init__(self, view: View, changes: Changes) -> None:
        self._view, self._changes = view, changes

    def __repr__(self) -> str:
        return f"After({len(self._changes.rows)} rows)"

    def get(self, table: str, key: bytes) -> bytes | None:
        if (table, key) in self._changes.rows:
            row = self._changes.rows[table, key]
            return None if row is None else bytes(row)
        return self._view.get(table, key)

    def buffer(self, table: str, key: bytes) -> memoryview | None:
        if (table, key) in self._changes.rows:
            row = self._changes.rows[table, key]
            return None if row is None else memoryview(row)
        return self._view.buffer(table, key)

    def range(
        self, table: str, prefix: bytes = b"", *, after: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        mine = {key: row for (of, key), row in self._changes.rows.items() if of == table and key.startswith(prefix)}
        if not mine:
            yield from self._view.range(table, prefix, after=after, reverse=reverse)
            return
        found = dict(self._view.range(table, prefix, after=after, reverse=reverse))
        found |= {key: bytes(row or b"") for key, row in mine.items()}
        for key in sorted(found, reverse=reverse):
            past = after is None or (key < after if reverse else key > after)
            if past and not (key in mine and mine[key] is None):
                yield key, found[key]

    def count(self, table: str) -> int:
        rows = [(key, row) for (of, key), row in self._changes.rows.items() if of == table]
        more = sum((row is not None) - (self._view.get(table, key) is not None) for key, row in rows)
        return self._view.count(table) + more
