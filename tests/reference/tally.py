"""What the kernel members/_tally means."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

FORMAT = {1: "B", 2: "H", 3: "i", 4: "q", 5: "Q"}
UNKNOWN = {1: 0, 2: 0, 3: -(1 << 31), 4: -(1 << 63), 5: 0}


def chosen(slots: int, bitmap: bytes | None) -> Iterator[int]:
    return (slot for slot in range(slots) if bitmap is None or bitmap[slot // 8] >> slot % 8 & 1)


def values(octets: bytes, kind: int, slots: int, bitmap: bytes | None) -> list[int]:
    numbers = struct.unpack(f"<{slots}{FORMAT[kind]}", octets)
    return [numbers[slot] for slot in chosen(slots, bitmap)]


def known(octets: bytes, kind: int, slots: int, bitmap: bytes | None) -> list[int]:
    return [value for value in values(octets, kind, slots, bitmap) if value != UNKNOWN[kind]]


def tally_codes(octets: bytes, kind: int, slots: int, bitmap: bytes | None, out: array[int]) -> None:
    for code in values(octets, kind, slots, bitmap):
        out[code] += 1


def span(octets: bytes, kind: int, slots: int, bitmap: bytes | None) -> tuple[int, int, int]:
    there = known(octets, kind, slots, bitmap)
    return (len(there), min(there), max(there)) if there else (0, 0, 0)


def tally_bins(
    octets: bytes, kind: int, slots: int, bitmap: bytes | None, low: int, width: int, out: array[int]
) -> int:
    there = known(octets, kind, slots, bitmap)
    for value in there:
        out[max(0, min((value - low) // width, len(out) - 1))] += 1
    return len(there)


def tally_planes(
    octets: bytes, slots: int, bitmap: bytes | None, out: array[int], at: int, seen: bytearray | None
) -> None:
    for slot in chosen(slots, bitmap):
        for plane in range(8):
            if octets[plane * slots // 8 + slot // 8] >> slot % 8 & 1:
                out[at + plane] += 1
                if seen is not None:
                    seen[slot // 8] |= 1 << slot % 8


def ones(bitmap: bytes | None, slots: int) -> int:
    return sum(1 for _ in chosen(slots, bitmap))
