"""What the loops of bulk loading mean: store/_gather.pyx in plain Python."""

from __future__ import annotations

import struct


def sort_rows(numbers: list[int]) -> tuple[list[int], list[int]]:
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return [numbers[row] for row in order], order


def assign(
    ordered: list[int],
    order: list[int],
    start: int,
    end: int,
    found: dict[int, int],
    next_no: int,
    most_new: int,
    most_updates: int,
    creates: bool,
    updates: bool,
) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]], list[int]]:
    """(stopped at, new (row, number), changed (row, member_no), refused rows)"""
    found, new, changed, refused = dict(found), [], [], []
    made: set[int] = set()
    for i in range(start, end):
        number, row = ordered[i], order[i]
        if number not in found and creates:
            if len(new) == most_new:
                return i, new, changed, refused
            found[number] = next_no + len(new)
            made.add(number)
            new.append((row, number))
        elif number in found and updates:
            if len(changed) == most_updates:
                return i, new, changed, refused
            changed.append((row, found[number]))
        else:
            refused.append(row)
    return end, new, changed, refused


def fixed(column: list[int], rows: list[int], array: list[int], slot: int) -> list[int]:
    return array[:slot] + [column[row] for row in rows] + array[slot + len(rows) :]


def text(texts: list[bytes], rows: list[int], old: list[bytes], slot: int, slots: int) -> bytes:
    kept = (old + [b""] * slot)[:slot] + [texts[row] for row in rows]
    kept += [b""] * (slots - len(kept))
    ends = [sum(map(len, kept[:i])) for i in range(slots + 1)]
    return struct.pack(f"<{slots + 1}I", *ends) + b"".join(kept)


def planes(tags: list[list[int]], rows: list[int], part: int, slot: int, slots: int) -> bytes:
    bits = bytearray(slots)
    for i, row in enumerate(rows):
        for tag in tags[row]:
            if tag // 8 == part:
                bits[tag % 8 * (slots // 8) + (slot + i) // 8] |= 1 << (slot + i) % 8
    return bytes(bits)
