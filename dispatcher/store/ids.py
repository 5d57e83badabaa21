"""Ids that sort by creation: epoch milliseconds and a counter kept in meta row `ids`."""

from __future__ import annotations

from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import new_id
from dispatcher.store.values import pack, unpack

_KEY = b"ids"


def next_id(changes: Changes, view: View, at_ms: int) -> int:
    """A u64 id not given before, also not earlier in `changes`: 65,536 of them in one millisecond."""
    row = changes.rows.get(("meta", _KEY)) or view.get("meta", _KEY)
    counter = (unpack(bytes(row))["counter"] + 1) & 0xFFFF if row else 0
    changes.put("meta", _KEY, pack({"counter": counter}))
    return new_id(at_ms, counter)
