"""The delta: one small row a changed member, laid over the blocks by every reader until a fold.

Touches: rows of `delta`, through a View.

A row is a run of entries: field u16, part u8, kind u8, octets u16, value. The value is the raw
little-endian number, UTF-8, or for planes (mask u8, bits u8): bits count only where mask is set.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import CODES, Column, ColumnKind, Octets, recoded
from dispatcher.store.layout import BLOCK, DELTA_KEY
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store import _columns as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_columns is not built: run `make build`") from exc

_ENTRY = struct.Struct("<HBBH")
_BLOCK_PREFIX = struct.Struct(">HI")
_OTHER = {ColumnKind.U8: ColumnKind.U16, ColumnKind.U16: ColumnKind.U8}


def block_prefix(tenant: int, block: int) -> bytes:
    """What the keys of one block's delta rows begin with."""
    return _BLOCK_PREFIX.pack(tenant, block)


def rows_from(view: View, prefix: bytes) -> Iterator[tuple[Octets, Octets]]:
    """Rows from `prefix` on, past its end too: the kernel stops there. No Python runs for a row."""
    if not isinstance(view, Snapshot):
        return iter(view.range("delta", prefix))
    cursor = view.txn.cursor(db=view.tables["delta"])
    return cursor.iternext() if cursor.set_range(prefix) else iter(())


def tenants_of_delta(view: View) -> list[int]:
    """Tenants with delta rows, by skipping from one to the next."""
    found: list[int] = []
    after = b""
    while (key := next((key for key, _ in view.range("delta", after=after)), None)) is not None:
        found.append(DELTA_KEY.unpack(key)[0])
        after = DELTA_KEY.pack(found[-1], 0xFFFFFFFF, 0xFFFF)
    return found


def delta_rows(view: View, tenant: int, block: int) -> list[tuple[bytes, bytes]]:
    """One block's delta rows, in slot order."""
    return list(view.range("delta", block_prefix(tenant, block)))


def pack_delta(entries: Mapping[Column, bytes]) -> bytes:
    """The value of a delta row."""
    return b"".join(_ENTRY.pack(*column, len(value)) + value for column, value in entries.items())


def unpack_delta(row: Octets) -> dict[Column, bytes]:
    entries: dict[Column, bytes] = {}
    at, whole = 0, bytes(row)
    while at < len(whole):
        field, part, kind, octets = _ENTRY.unpack_from(whole, at)
        at += _ENTRY.size + octets
        entries[field, part, ColumnKind(kind)] = whole[at - octets : at]
    return entries


def put_delta(changes: Changes, view: View, tenant: int, member_no: int, entries: Mapping[Column, bytes]) -> None:
    """Lay `entries` over what the blocks, the stored delta row and `changes` say of one member.

    A value is the raw little-endian number, UTF-8, or for planes (mask u8, bits u8).
    """
    block, slot = divmod(member_no, BLOCK)
    key = DELTA_KEY.pack(tenant, block, slot)
    row = changes.rows["delta", key] if ("delta", key) in changes.rows else view.get("delta", key)
    changes.put("delta", key, kernel.laid(row, entries))


def entry_of(entries: Mapping[Column, bytes], column: Column) -> bytes | None:
    """A column's entry in a delta row, also one from before its dictionary was widened; None: the block has it."""
    entry = entries.get(column)
    if entry is None and column[2] in CODES:
        other = entries.get((*column[:2], _OTHER[column[2]]))
        return None if other is None else bytes(recoded(other, column[2]))
    return entry


def plane_entry(planes: Mapping[int, bool]) -> bytes:
    """The delta value that sets or clears planes 0..7 of one part."""
    mask = sum(1 << plane for plane in planes)
    return bytes((mask, sum(1 << plane for plane, on in planes.items() if on)))


def delta_count(view: View) -> int:
    """Delta rows of all tenants: the fold's backlog."""
    return view.count("delta")
