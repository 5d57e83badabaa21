"""Delta rows against what members hold now: what they would change, the values before, and seals to find later changes.

Touches: rows of `blocks` and `delta`, through a View. Meaning of the loops: tests/reference/compare.py.
A seal is 4 octets of a whole row's hash, then one octet an entry that says which of them differs: a change goes
unseen once in 2^32, its field unnamed once in 256. A dictionary's code seals alike in 8 and in 16 bits.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

from dispatcher.records.changes import View
from dispatcher.store.blocks import Column, ColumnKind, Text, stored_array, text_views
from dispatcher.store.columns import BlockView, delta_rows
from dispatcher.store.delta import pack_delta, unpack_delta
from dispatcher.store.layout import BLOCK, DELTA_KEY

try:
    from dispatcher.store._columns import patch, touched
    from dispatcher.store._compare import Columns, compare, seals_between, seals_of
except ImportError as exc:  # pragma: no cover
    raise ImportError("a kernel, store/_compare or _columns, is not built: run `make build`") from exc

__all__ = [
    "Columns",
    "Compared",
    "columns_named",
    "compare_rows",
    "laid_over",
    "merged_row",
    "named_by",
    "opened",
    "seals_between",
    "seals_of",
    "set_of",
]

SEAL = 4  # octets before the entries'
DELTA_AT_ONCE = 64  # from this many members of a block on its delta rows are read in one go
_SLOT_KEYS = [slot.to_bytes(2, "big") for slot in range(BLOCK)]
Held = tuple[int, memoryview | bytearray | Text]  # slots and array of one column


@dataclass(slots=True)
class Compared:
    """What rows of one block change. `rows`, `before`, `seals` go together; rows that change nothing are left out."""

    slots: list[int] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)  # to write: only what differs
    before: list[bytes] = field(default_factory=list)  # the same entries as they stood
    seals: list[bytes] = field(default_factory=list)
    same: int = 0  # rows that change nothing
    changed: dict[int, int] = field(default_factory=dict)  # field number -> rows that change it
    lost: dict[int, int] = field(default_factory=dict)  # field number -> rows that take a tag, or turn a yes into a no


def compare_rows(
    view: View,
    tenant: int,
    block: int,
    updates: Sequence[tuple[int, bytes]],
    columns: Sequence[Column],
    *,
    yes_no: Iterable[int] = (),
    fresh: Mapping[tuple[int, int], Held] | None = None,
) -> Compared:
    """What `updates` (slot, delta row), no slot twice, would change now.

    columns: at least those that the rows name. yes_no: numbers of bool fields, for `lost`. fresh: arrays
    of this block that are not in the store yet.
    """
    wanted, fresh = list(dict.fromkeys(columns)), fresh or {}
    arrays = [fresh.get(column[:2]) or _stored(view, tenant, block, column) for column in wanted]
    slots = array("H", [slot for slot, _ in updates])
    changed, lost = array("Q", bytes(8 * len(wanted))), array("Q", bytes(8 * len(wanted)))
    kept = set_of(wanted, arrays, yes_no)
    rows = [row for _, row in updates]
    after, before, seals = compare(rows, slots, _overlays(view, tenant, block, slots), kept, changed, lost)
    found = Compared()
    found.slots, found.rows = list(compress(slots, after)), list(filter(None, after))
    found.before, found.seals = list(compress(before, after)), list(compress(seals, after))
    found.same = len(rows) - len(found.rows)
    found.changed = {column[0]: count for column, count in zip(wanted, changed, strict=True) if count}
    found.lost = {column[0]: count for column, count in zip(wanted, lost, strict=True) if count}
    return found


def set_of(columns: Sequence[Column], arrays: Sequence[Held | None], yes_no: Iterable[int] = ()) -> Columns:
    """Columns with their arrays for the kernel; None: unknown throughout."""
    first: dict[int, int] = {}
    bools = frozenset(yes_no)
    named = [
        (number, part, int(kind), first.setdefault(number, at), number in bools)
        for at, (number, part, kind) in enumerate(columns)
    ]
    return Columns(named, list(arrays))


def opened(block: BlockView, columns: Sequence[Column]) -> list[Held | None]:
    """The arrays of an opened block, for set_of."""
    return [(block.slots, block.arrays[column[:2]]) for column in columns]


def laid_over(block: BlockView, columns: Sequence[Column], slots: Iterable[int], rows: Iterable[bytes]) -> BlockView:
    """The block as it reads with these delta rows over it; `columns`: all that the rows name and more may be."""
    arrays = [block.arrays[column[:2]] for column in columns]
    keys = map(_SLOT_KEYS.__getitem__, slots)
    patch(zip(keys, rows, strict=True), b"", list(columns), arrays, block.slots)
    views = [_views(array) for array in arrays]
    return BlockView(block.slots, {column[:2]: view for column, view in zip(columns, views, strict=True)})


def _views(array: memoryview | Text) -> memoryview | Text:
    """The kernel leaves bytearrays where it wrote."""
    if isinstance(array, tuple):
        return memoryview(array[0]), memoryview(array[1]), memoryview(array[2])
    return memoryview(array)


def columns_named(rows: Iterable[bytes]) -> list[Column]:
    """The columns that delta rows have entries of."""
    return [(*at, ColumnKind(kind)) for at, kind in touched([(b"", row) for row in rows]).items()]


def named_by(row: bytes, seal: bytes, now: bytes) -> list[int]:
    """Fields of a row's entries whose seal is another one now; all of them when no octet tells."""
    fields = [column[0] for column in unpack_delta(row)]
    differ = [number for at, number in enumerate(fields, SEAL) if seal[at : at + 1] != now[at : at + 1]]
    return list(dict.fromkeys(differ or fields))


def merged_row(first: bytes, second: bytes) -> bytes:
    """One delta row that does what the two do one after the other."""
    both = {column[:2]: (column, value) for column, value in unpack_delta(first).items()}
    for column, value in unpack_delta(second).items():
        if column[2] == ColumnKind.PLANES and column[:2] in both:
            (mask, bits), (more, more_bits) = both[column[:2]][1], value
            value = bytes((mask | more, bits & ~more | more_bits & more))
        both[column[:2]] = column, value
    return pack_delta(dict(both.values()))


def _stored(view: View, tenant: int, block: int, column: Column) -> Held | None:
    stored = stored_array(view, tenant, block, column)
    if stored is None or column[2] != ColumnKind.TEXT:
        return stored
    return stored[0], text_views(stored, stored[0])


def _overlays(view: View, tenant: int, block: int, slots: array[int]) -> list[bytes]:
    """The stored delta row of each slot, b"" for none."""
    if len(slots) < DELTA_AT_ONCE:
        return [view.get("delta", DELTA_KEY.pack(tenant, block, slot)) or b"" for slot in slots]
    rows = {DELTA_KEY.unpack(key)[2]: row for key, row in delta_rows(view, tenant, block)}
    return [rows.get(slot, b"") for slot in slots] if rows else [b""] * len(slots)
