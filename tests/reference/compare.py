"""What the kernel store/_compare means."""

from __future__ import annotations

import struct
from typing import Any

from tests.reference.columns import PLANES, TEXT, WIDTHS, entries

ENTRY = struct.Struct("<HBBH")
UNKNOWN = {3: 1 << 31, 4: 1 << 63}
WORD = (1 << 64) - 1
Columns = list[tuple[int, int, int, int, bool]]  # field, part, kind, group, yes_no
Value = bytes | int  # text, or the number (planes: the bits) without a sign


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31


def entry_seal(field: int, part: int, kind: int, value: Value, mask: int) -> int:
    h = mix((field << 8 | part) + 0x9E3779B97F4A7C15 & WORD)
    if kind == PLANES:
        assert isinstance(value, int)
        return mix(h ^ (mask << 8 | value & mask))
    if isinstance(value, int):
        return mix(h ^ value)
    for at in range(0, len(value), 8):
        h = mix(h ^ int.from_bytes(value[at : at + 8], "little"))
    return mix(h ^ len(value))


def seal(parts: list[int]) -> bytes:
    return struct.pack("<I", mix(sum(parts) & WORD) >> 32) + bytes(h >> 56 for h in parts)


def stored(kind: int, array: Any, slot: int) -> Value:
    slots, values = array or (0, b"")
    if slot >= slots:
        return b"" if kind == TEXT else UNKNOWN.get(kind, 0)
    if kind == TEXT:
        starts, ends, heap = values
        a, b = (struct.unpack_from("<I", each, 4 * slot)[0] for each in (starts, ends))
        return bytes(heap[a:b])
    if kind == PLANES:
        return sum((values[bit * slots // 8 + slot // 8] >> slot % 8 & 1) << bit for bit in range(8))
    return int.from_bytes(values[slot * WIDTHS[kind] : (slot + 1) * WIDTHS[kind]], "little")


def held(column: tuple[Any, ...], array: Any, slot: int, overlay: bytes) -> Value:
    value = stored(column[2], array, slot)
    for field, part, _, octets in entries(b"", overlay):
        if (field, part) == column[:2]:
            if column[2] == PLANES:
                assert isinstance(value, int)
                value = value & ~octets[0] | octets[1] & octets[0]
            else:
                value = octets if column[2] == TEXT else int.from_bytes(octets, "little")
    return value


def compare(
    rows: list[bytes], slots: list[int], overlays: list[bytes], columns: Columns, arrays: list[Any]
) -> tuple[list[bytes], list[bytes], list[bytes], list[int], list[int]]:
    """(after, before, seals, changed, lost)"""
    at = {column[:2]: i for i, column in enumerate(columns)}
    changed, lost = [0] * len(columns), [0] * len(columns)
    afters, befores, seals = [], [], []
    for row, slot, overlay in zip(rows, slots, overlays, strict=True):
        after, before, parts = b"", b"", []
        groups, losing = set(), set()
        for field, part, kind, octets in entries(b"", row):
            column = columns[at[field, part]]
            old = held(column, arrays[at[field, part]], slot, overlay)
            mask = octets[0] if kind == PLANES else 0
            new: Value = octets if kind == TEXT else int.from_bytes(octets, "little")
            if kind == PLANES:
                assert isinstance(old, int)
                new = octets[1]
                same, loses = old & mask == new & mask, bool(old & mask & ~new)
                was = bytes((mask, old & mask))
            else:
                same, loses = old == new, column[4] and (old, new) == (2, 1)
                was = old if isinstance(old, bytes) else old.to_bytes(WIDTHS[column[2]], "little")
            if same:
                continue
            after += ENTRY.pack(field, part, kind, len(octets)) + octets
            before += ENTRY.pack(field, part, column[2], len(was)) + was
            parts.append(entry_seal(field, part, kind, new, mask))
            groups.add(column[3])
            if loses:
                losing.add(column[3])
        afters.append(after)
        befores.append(before)
        seals.append(seal(parts) if parts else b"")
        for group in groups:
            changed[group] += 1
        for group in losing:
            lost[group] += 1
    return afters, befores, seals, changed, lost


def seals_of(rows: list[bytes], slots: list[int], columns: Columns, arrays: list[Any]) -> list[bytes]:
    at = {column[:2]: i for i, column in enumerate(columns)}
    found = []
    for row, slot in zip(rows, slots, strict=True):
        parts = []
        for field, part, kind, octets in entries(b"", row):
            column = at[field, part]
            value = stored(columns[column][2], arrays[column], slot)
            parts.append(entry_seal(field, part, columns[column][2], value, octets[0] if kind == PLANES else 0))
        found.append(seal(parts) if parts else b"")
    return found


def seals_between(columns: Columns, arrays: list[Any], slot: int, count: int) -> bytes:
    return b"".join(
        seal(
            [
                entry_seal(*column[:3], stored(column[2], array, each), 0xFF)
                for column, array in zip(columns, arrays, strict=True)
            ]
        )
        for each in range(slot, slot + count)
    )
