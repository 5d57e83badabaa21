"""A column block: how some members' values of one field lie in one LMDB value, and where a member lies.

Touches: rows of `blocks` and the tenant's next_member_no, through a View.
Rests on: LMDB overflow pages begin 16 octets before our header, so the array of a value of a page or
more is 64-byte aligned in the map; smaller values are copied out, which aligns them to 16.

A value is a header of 48 octets (kind u8, version u8, zero u16, slots u32, least, greatest and mark of 64 bits each,
zeros) and an array. least and greatest are of all slots, the unknown among them, with the kind's sign: a scan need
not read an array that they answer for; they are 0 for PLANES and TEXT. mark is a hash of the array: what was derived
from an array of the same mark holds for this one. Version 1 has zeros for all three.
    U8 .. U64   slots x width, little-endian
    PLANES      8 bitmaps of slots / 8 octets, one after the other; part p holds planes 8p .. 8p + 7
    TEXT        offsets u32[slots + 1], then a heap of UTF-8
A dictionary that outgrew 255 values is U16 from one commit on, while its older blocks and delta entries stay U8
until a fold or members/widen.py rewrites them: whoever asks for U16 reads them zero-extended (`recoded`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

from dispatcher.errors import StoreError
from dispatcher.records.changes import Changes, View
from dispatcher.store.layout import BLOCK, BLOCK_KEY, FIELD_FLAGS, HEADER, TENANT
from dispatcher.store.values import unpack

try:
    from dispatcher.store import _scan as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_scan is not built: run `make build`") from exc


class ColumnKind(IntEnum):
    """How a column lies on disk. 0 is unknown in U8, U16 and U64; the type's minimum in I32 and I64; "" in TEXT."""

    U8 = 1
    U16 = 2
    I32 = 3
    I64 = 4
    U64 = 5
    PLANES = 6
    TEXT = 7


Column = tuple[int, int, ColumnKind]  # field, part, kind
FLAGS: Column = (FIELD_FLAGS, 0, ColumnKind.PLANES)

WIDTH = {
    ColumnKind.U8: 1,
    ColumnKind.U16: 2,
    ColumnKind.I32: 4,
    ColumnKind.I64: 8,
    ColumnKind.U64: 8,
    ColumnKind.PLANES: 1,
}
UNKNOWN = {
    ColumnKind.U8: 0,
    ColumnKind.U16: 0,
    ColumnKind.I32: -(1 << 31),
    ColumnKind.I64: -(1 << 63),
    ColumnKind.U64: 0,
}
NUMBER = {
    ColumnKind.U8: struct.Struct("<B"),
    ColumnKind.U16: struct.Struct("<H"),
    ColumnKind.I32: struct.Struct("<i"),
    ColumnKind.I64: struct.Struct("<q"),
    ColumnKind.U64: struct.Struct("<Q"),
}
CODES = frozenset({ColumnKind.U8, ColumnKind.U16})  # a dictionary's columns, of which either reads as the other
VERSION = 2
ROUND = 1_024  # slots of a tenant's last block are rounded up to this
_HEAD = struct.Struct("<BBHIQQQ16x")
_PAGE = 4_096
assert _HEAD.size == HEADER

Text = tuple[memoryview, memoryview, memoryview]
Octets = bytes | memoryview | bytearray


def slots_of(next_member_no: int, block: int) -> int:
    """How many slots the arrays of `block` have: used ones rounded up to 1,024, at most BLOCK."""
    used = next_member_no - block * BLOCK
    return min(BLOCK, -(-used // ROUND) * ROUND) if used > 0 else 0


def blocks_of(next_member_no: int) -> int:
    return -(-next_member_no // BLOCK)


def next_member_no(view: View, tenant: int) -> int:
    """The tenant's first member_no not yet given; 0 for a tenant that does not exist."""
    row = view.get("tenants", TENANT.pack(tenant))
    return int(unpack(row)["next_member_no"]) if row else 0


@lru_cache(maxsize=256)
def default_array(kind: ColumnKind, slots: int) -> bytes:
    """`slots` unknown values; shared, so never write to it."""
    if kind == ColumnKind.TEXT:
        return bytes(4 * (slots + 1))
    if kind == ColumnKind.PLANES:
        return bytes(slots)
    return NUMBER[kind].pack(UNKNOWN[kind]) * slots


def text_array(texts: Sequence[bytes], slots: int) -> bytes:
    """UTF-8 of the first len(texts) slots as the array of a text block; the others are unknown."""
    ends, offset = [0], 0
    for text in texts:
        offset += len(text)
        ends.append(offset)
    ends += [offset] * (slots - len(texts))
    return struct.pack(f"<{slots + 1}I", *ends) + b"".join(texts)


def block_value(kind: ColumnKind, slots: int, array: Octets) -> bytes:
    """The value of table `blocks`. `array` has exactly slots x width octets; text: offsets and heap."""
    if slots % 64 or not 0 < slots <= BLOCK:
        raise ValueError(f"{slots} slots: a multiple of 64, at most {BLOCK}")
    if len(array) != slots * WIDTH[kind] if kind in WIDTH else len(array) < 4 * (slots + 1):
        raise ValueError(f"{len(array)} octets are no {kind.name} array of {slots} slots")
    return b"".join((_HEAD.pack(kind, VERSION, 0, slots, *kernel.seal(array, kind)), array))


def write_block(
    changes: Changes,
    tenant: int,
    field: int,
    part: int,
    block: int,
    kind: ColumnKind,
    slots: int,
    array_octets: Octets,
) -> None:
    """Replace one column of one block. Delta rows of these slots still lie over it: see fold_block."""
    changes.put("blocks", BLOCK_KEY.pack(tenant, field, part, block), block_value(kind, slots, array_octets))


def stored_array(view: View, tenant: int, block: int, column: Column) -> tuple[int, memoryview] | None:
    """(slots, array) of a stored value, aligned; None when there is none. Raises StoreError on a damaged one."""
    field, part, kind = column
    value = view.buffer("blocks", BLOCK_KEY.pack(tenant, field, part, block))
    if value is None:
        return None
    if len(value) < _PAGE:
        value = memoryview(bytes(value))
    found, version, _, slots, *_ = _HEAD.unpack_from(value) if len(value) >= HEADER else (0, 0, 0, 0)
    octets = len(value) - HEADER
    whole = octets == slots * WIDTH[found] if found in WIDTH else octets >= 4 * (slots + 1)
    if (
        (found != kind and not {found, kind} <= CODES)
        or not 1 <= version <= VERSION
        or not whole
        or not 0 < slots <= BLOCK
    ):
        raise StoreError(f"block {block} of tenant {tenant}, field {field}, part {part}: not a {kind.name} value")
    return slots, value[HEADER:] if found == kind else recoded(value[HEADER:], kind)


def stored_kind(view: View, tenant: int, block: int, field: int, part: int) -> ColumnKind | None:
    """What a stored value says it is; None when there is none."""
    value = view.buffer("blocks", BLOCK_KEY.pack(tenant, field, part, block))
    return ColumnKind(value[0]) if value else None


def recoded(array: Octets, kind: ColumnKind) -> memoryview:
    """Codes of the other width as `kind`, U8 or U16. To U8, codes above 255 become unknown: only a reader that
    still holds the field from before it was widened asks for that, and it has no word for them."""
    if kind == ColumnKind.U16:
        wide = bytearray(2 * len(array))
        wide[::2] = array
        return memoryview(wide)
    whole = bytes(array)
    low, high = bytearray(whole[::2]), whole[1::2]
    if any(high):
        for slot, octet in enumerate(high):
            if octet:
                low[slot] = 0
    return memoryview(low)


def fit(kind: ColumnKind, array: memoryview, stored: int, slots: int) -> memoryview:
    """An array of `stored` slots as one of `slots`: cut, or lengthened by unknowns."""
    if kind == ColumnKind.PLANES:
        old, new, keep = stored // 8, slots // 8, min(stored, slots) // 8
        fitted = bytearray(slots)
        for plane in range(8):
            fitted[plane * new : plane * new + keep] = array[plane * old : plane * old + keep]
        return memoryview(fitted)
    if slots <= stored:
        return array[: slots * WIDTH[kind]]
    return memoryview(b"".join((array, default_array(kind, slots)[stored * WIDTH[kind] :])))


def text_views(stored: tuple[int, memoryview] | None, slots: int) -> Text:
    if stored is None:
        zero = memoryview(default_array(ColumnKind.TEXT, slots))
        return zero[: 4 * slots], zero[: 4 * slots], memoryview(b"")
    have, array = stored
    keep = 4 * min(have, slots)
    starts, ends, heap = array[:keep], array[4 : keep + 4], array[4 * (have + 1) :]
    if have < slots:
        more = bytes(4 * (slots - have))
        starts, ends = memoryview(b"".join((starts, more))), memoryview(b"".join((ends, more)))
    return starts, ends, heap
