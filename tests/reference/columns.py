"""What the kernel store/_columns means."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

U8, U16, PLANES, TEXT = 1, 2, 6, 7
WIDTHS = {1: 1, 2: 2, 3: 4, 4: 8, 5: 8}
ENTRY = struct.Struct("<HBBH")


def entries(key: bytes, row: bytes) -> Iterable[tuple[int, int, int, bytes]]:
    """(field, part, kind, value) of a delta row, in order; ValueError(key) at what is none."""
    at = 0
    while at < len(row):
        if len(row) - at < ENTRY.size:
            raise ValueError(key)
        field, part, kind, octets = ENTRY.unpack_from(row, at)
        at += ENTRY.size + octets
        if at > len(row):
            raise ValueError(key)
        yield field, part, kind, row[at - octets : at]


def patch(
    rows: Iterable[tuple[bytes, bytes]], prefix: bytes, columns: list[Any], arrays: list[Any], slots: int
) -> None:
    """Every entry of a row into the array of its column, copied first; text at the end of its heap."""
    wanted = {column[:2]: (i, column[2]) for i, column in enumerate(columns)}
    copied: set[int] = set()
    for key, row in rows:
        if len(key) < len(prefix) + 2 or not key.startswith(prefix):
            return
        slot = int.from_bytes(key[-2:], "big")
        if slot >= slots:
            raise ValueError(key)
        for field, part, kind, value in entries(key, row):
            if (field, part) not in wanted:
                continue
            i, known = wanted[field, part]
            if {kind, known} == {U8, U16} and len(value) == kind:  # a dictionary was widened between the two
                code = int.from_bytes(value, "little")
                kind, value = known, (code if code >> 8 * known == 0 else 0).to_bytes(known, "little")
            if kind != known:
                raise ValueError(key)
            if i not in copied:
                arrays[i] = tuple(map(bytearray, arrays[i])) if kind == TEXT else bytearray(arrays[i])
                copied.add(i)
            if kind == TEXT:
                starts, ends, heap = arrays[i]
                starts[4 * slot : 4 * slot + 4] = struct.pack("<I", len(heap))
                heap += value
                ends[4 * slot : 4 * slot + 4] = struct.pack("<I", len(heap))
            elif kind == PLANES:
                if len(value) != 2:
                    raise ValueError(key)
                for bit in range(8):
                    at = bit * slots // 8 + slot // 8
                    if value[0] >> bit & 1:
                        on = value[1] >> bit & 1
                        arrays[i][at] = arrays[i][at] & ~(1 << slot % 8) | on << slot % 8
            else:
                if len(value) != WIDTHS.get(kind):
                    raise ValueError(key)
                arrays[i][slot * len(value) : (slot + 1) * len(value)] = value


def touched(rows: list[tuple[bytes, bytes]]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for key, row in rows:
        for field, part, kind, _ in entries(key, row):
            wide = kind == U8 and found.get((field, part)) == U16
            found[field, part] = U16 if wide else kind
    return found


def dense_text(starts: bytes, ends: bytes, heap: bytes, slots: int) -> bytes:
    begin, end = struct.unpack(f"<{slots}I", starts), struct.unpack(f"<{slots}I", ends)
    texts = [bytes(heap[a:b]) for a, b in zip(begin, end, strict=True)]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return struct.pack(f"<{slots + 1}I", *offsets) + b"".join(texts)


def laid(row: bytes | None, new: dict[tuple[int, int, int], bytes]) -> bytes:
    """A delta row with entries laid over it: a column has one entry, and of planes only the bits of the mask count."""
    fresh, out = {column[:2]: (column[2], value) for column, value in new.items()}, b""
    for field, part, kind, value in entries(b"", row or b""):
        if (field, part) not in fresh:
            out += ENTRY.pack(field, part, kind, len(value)) + value
        elif kind == PLANES == fresh[field, part][0]:
            (mask, bits), (more, set_bits) = value, fresh[field, part][1]
            fresh[field, part] = kind, bytes((mask | more, bits & ~more | set_bits & more))
    return out + b"".join(ENTRY.pack(*at, kind, len(value)) + value for at, (kind, value) in fresh.items())
