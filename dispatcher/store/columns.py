"""Member attributes as readers see them now: column blocks in place, delta rows patched in; and the fold.

Touches: rows of `blocks`, `delta` and `phones`, through a View. A reader takes block and delta in one
transaction, and a fold replaces both in one, so each member is met once.

Weak spot: a text block at its greatest (16,320 x 1,000 characters) is more than one commit may dirty;
fold_some still writes it, alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dispatcher.errors import StoreError
from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import (
    FLAGS,
    NUMBER,
    UNKNOWN,
    WIDTH,
    Column,
    ColumnKind,
    Octets,
    Text,
    block_value,
    blocks_of,
    default_array,
    fit,
    next_member_no,
    slots_of,
    stored_array,
    stored_kind,
    text_array,
    text_views,
    write_block,
)
from dispatcher.store.delta import (
    block_prefix,
    delta_count,
    delta_rows,
    entry_of,
    pack_delta,
    plane_entry,
    put_delta,
    rows_from,
    unpack_delta,
)
from dispatcher.store.layout import BLOCK, DELTA_KEY, HEADER, MEMBER_NO, PLANE_LIVE, TENANT, TENANT_U64

try:
    from dispatcher.store import _columns as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_columns is not built: run `make build`") from exc

__all__ = [
    "FLAGS",
    "BlockView",
    "Column",
    "ColumnKind",
    "block_value",
    "blocks_of",
    "default_array",
    "delta_count",
    "delta_rows",
    "entry_of",
    "find_number",
    "fold_block",
    "fold_some",
    "folded_to",
    "next_member_no",
    "number_slot",
    "open_block",
    "pack_delta",
    "plane_entry",
    "put_delta",
    "read_member",
    "read_slot",
    "slots_of",
    "text_array",
    "unpack_delta",
    "write_block",
]

COMMIT_OCTETS = 4 << 20  # what one commit may dirty (DESIGN 2)
_OFFSETS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class BlockView:
    """Some columns of one block as a reader sees them now. Buffers die with the snapshot they came from."""

    slots: int
    arrays: dict[tuple[int, int], memoryview | Text]

    def array(self, field: int, part: int = 0) -> memoryview:
        """Exactly slots x width octets; planes: 8 bitmaps of slots / 8 octets."""
        found = self.arrays[field, part]
        assert isinstance(found, memoryview), "a text column: ask text()"
        return found

    def text(self, field: int) -> Text:
        """u32[slots] where each text begins in the heap, u32[slots] where it ends, and the heap."""
        found = self.arrays[field, 0]
        assert isinstance(found, tuple), "not a text column: ask array()"
        return found

    def plane(self, field: int, plane: int) -> memoryview:
        """One bitmap of slots / 8 octets: plane 8p + i lies in part p."""
        octets = self.slots // 8
        return self.array(field, plane // 8)[plane % 8 * octets : (plane % 8 + 1) * octets]


def open_block(
    view: View, tenant: int, block: int, columns: Sequence[Column], *, next_no: int | None = None
) -> BlockView:
    """The named columns of one block, delta rows patched in.

    Untouched arrays are zero-copy until the snapshot ends; an array that a delta row touches is a copy.
    Columns without a value are unknown throughout. `next_no` spares the look-up of next_member_no, for
    a scan over many blocks. Raises StoreError on a damaged value or row.
    """
    slots = slots_of(next_member_no(view, tenant) if next_no is None else next_no, block)
    columns = list(dict.fromkeys(columns))
    arrays: list[memoryview | Text] = []
    for column in columns:
        stored = stored_array(view, tenant, block, column)
        kind = column[2]
        if kind == ColumnKind.TEXT:
            arrays.append(text_views(stored, slots))
        elif stored is None:
            arrays.append(memoryview(default_array(kind, slots)))
        else:
            arrays.append(stored[1] if stored[0] == slots else fit(kind, stored[1], stored[0], slots))
    prefix = block_prefix(tenant, block)
    arrays = _patched(rows_from(view, prefix), prefix, columns, arrays, slots)
    return BlockView(slots, {column[:2]: array for column, array in zip(columns, arrays, strict=True)})


def _patched(
    rows: Iterable[tuple[Octets, Octets]],
    prefix: bytes,
    columns: list[Column],
    arrays: list[memoryview | Text],
    slots: int,
) -> list[memoryview | Text]:
    try:
        kernel.patch(rows, prefix, columns, arrays, slots)
    except ValueError as exc:
        raise StoreError(f"delta row {exc.args[0].hex()}: not one of a block of {slots} slots") from exc
    return [_views(array) for array in arrays]


def _views(array: memoryview | Text) -> memoryview | Text:
    """The kernel leaves bytearrays where it wrote."""
    if isinstance(array, tuple):
        return memoryview(array[0]), memoryview(array[1]), memoryview(array[2])
    return memoryview(array)


def fold_block(
    view: View,
    tenant: int,
    block: int,
    changes: Changes,
    extra: Iterable[tuple[int, bytes]] = (),
    *,
    next_no: int | None = None,
    max_octets: int | None = None,
) -> int:
    """Bring one block's delta rows, then `extra` (slot, packed delta row), into its blocks; drop the delta rows.

    Give `next_no` when `changes` moves it. With `max_octets` columns are taken until it is passed and
    the rest stays in the delta. Returns rows folded. `changes` may hold no delta row of this block.
    """
    slots = slots_of(next_member_no(view, tenant) if next_no is None else next_no, block)
    rows = delta_rows(view, tenant, block)
    stored = len(rows)
    rows += [(DELTA_KEY.pack(tenant, block, slot), row) for slot, row in extra]
    if not rows:
        return 0
    try:
        columns = [_widest(view, tenant, block, at, kind) for at, kind in sorted(kernel.touched(rows).items())]
    except ValueError as exc:
        raise StoreError(f"delta of tenant {tenant}, block {block}: a row that is no row") from exc
    folded, octets = set[tuple[int, int]](), 0
    for column in columns:
        if max_octets is not None and folded and octets + slots * 8 > max_octets:
            break
        octets += _fold_column(view, tenant, block, column, rows, slots, changes)
        folded.add(column[:2])
    for key, value in rows[:stored]:
        left = {} if len(folded) == len(columns) else unpack_delta(value)
        rest = {column: entry for column, entry in left.items() if column[:2] not in folded}
        if rest:
            changes.put("delta", key, pack_delta(rest))
        else:
            changes.delete("delta", key)
    return len(rows)


def _widest(view: View, tenant: int, block: int, at: tuple[int, int], kind: int) -> Column:
    """The column as it is folded: codes from before a dictionary was widened go into a wide block and stay so."""
    wide = kind == ColumnKind.U8 and stored_kind(view, tenant, block, *at) == ColumnKind.U16
    return (*at, ColumnKind.U16 if wide else ColumnKind(kind))


def _fold_column(
    view: View,
    tenant: int,
    block: int,
    column: Column,
    rows: list[tuple[bytes, bytes]],
    slots: int,
    changes: Changes,
) -> int:
    stored, kind = stored_array(view, tenant, block, column), column[2]
    array: memoryview | Text
    if kind == ColumnKind.TEXT:
        array = text_views(stored, slots)
    else:
        have, array = stored or (slots, memoryview(default_array(kind, slots)))
        array = fit(kind, array, have, slots) if have != slots else array
    (array,) = _patched(rows, b"", [column], [array], slots)
    octets = array if isinstance(array, memoryview) else kernel.dense_text(*array, slots)
    write_block(changes, tenant, column[0], column[1], block, kind, slots, octets)
    return HEADER + len(octets)


def fold_some(view: View, tenant: int, max_octets: int = COMMIT_OCTETS, *, after: int = -1) -> Changes:
    """The next slice of the background fold, at most about `max_octets` dirtied; empty when nothing is left.

    after: only blocks behind this one, see folded_to: where updates go on, the first blocks have rows again at once.
    A row that is dropped counts as a page of its neighbours at worst, so rows are counted too.
    """
    changes, no = Changes(), next_member_no(view, tenant)
    block, octets = after, 0
    while octets < max_octets:
        found = _next_delta_block(view, tenant, block)
        if found is None:
            break
        block, part = found, Changes()
        fold_block(view, tenant, block, part, next_no=no, max_octets=max_octets)
        size = part.octets + 64 * len(part.rows)
        if changes and octets + size > max_octets:
            break
        changes.merge(part)
        octets += size
    return changes


def folded_to(changes: Changes) -> int:
    """The last block that a slice of fold_some folded whole, or one before it: `after` of the next slice."""
    blocks = {DELTA_KEY.unpack(key)[1]: row is None for (table, key), row in changes.rows.items() if table == "delta"}
    last = max(blocks, default=-1)
    return last if blocks.get(last, True) else last - 1


def _next_delta_block(view: View, tenant: int, after: int) -> int | None:
    prefix = TENANT.pack(tenant)
    start = DELTA_KEY.pack(tenant, after, 0xFFFF) if after >= 0 else None
    for key, _ in view.range("delta", prefix, after=start):
        return int(DELTA_KEY.unpack(key)[1])
    return None


def read_slot(view: View, tenant: int, member_no: int, columns: Sequence[Column]) -> dict[Column, int | str | None]:
    """One slot's values, live or not: None is unknown, planes are an int of 8 bits."""
    block, slot = divmod(member_no, BLOCK)
    row = view.get("delta", DELTA_KEY.pack(tenant, block, slot))
    delta = unpack_delta(row) if row else {}
    return {column: _value(view, tenant, block, slot, column, entry_of(delta, column)) for column in columns}


def _value(view: View, tenant: int, block: int, slot: int, column: Column, entry: bytes | None) -> int | str | None:
    kind = column[2]
    stored = None if entry is not None and kind != ColumnKind.PLANES else stored_array(view, tenant, block, column)
    if stored is not None and slot >= stored[0]:
        stored = None
    if kind == ColumnKind.PLANES:
        bits = 0
        if stored is not None:
            octets = stored[0] // 8
            bits = sum((stored[1][i * octets + slot // 8] >> slot % 8 & 1) << i for i in range(8))
        return bits if entry is None else bits & ~entry[0] | entry[1] & entry[0]
    if kind == ColumnKind.TEXT:
        if entry is None and stored is not None:
            begin, end = _OFFSETS.unpack_from(stored[1], 4 * slot)
            base = 4 * (stored[0] + 1)
            entry = bytes(stored[1][base + begin : base + end])
        return entry.decode() if entry else None
    if entry is None and stored is None:
        return None
    if entry is not None:
        number = NUMBER[kind].unpack(entry)[0]
    else:
        assert stored is not None
        number = NUMBER[kind].unpack_from(stored[1], slot * WIDTH[kind])[0]
    return None if number == UNKNOWN[kind] else int(number)


def read_member(
    view: View, tenant: int, member_no: int, columns: Sequence[Column]
) -> dict[Column, int | str | None] | None:
    """One live member's values; None when the slot holds no member (erased, reserved, never given)."""
    found = read_slot(view, tenant, member_no, [FLAGS, *columns])
    flags = found[FLAGS]
    assert isinstance(flags, int)
    return found if flags >> PLANE_LIVE & 1 else None


def number_slot(view: View, tenant: int, number: int) -> int | None:
    """The member_no that holds `number`, also one that a running import has only reserved."""
    row = view.get("phones", TENANT_U64.pack(tenant, number))
    return int(MEMBER_NO.unpack(row)[0]) if row else None


def find_number(view: View, tenant: int, number: int) -> int | None:
    """The live member with this number."""
    member_no = number_slot(view, tenant, number)
    return member_no if member_no is not None and read_member(view, tenant, member_no, ()) is not None else None
