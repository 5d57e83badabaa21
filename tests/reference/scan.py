"""What the walks of store/_scan.pyx and store/_aside.pyx mean, in plain Python: blocks as values instead of addresses."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass

from dispatcher.store.blocks import UNKNOWN, WIDTH, ColumnKind
from dispatcher.store.layout import BLOCK, HEADER

K = ColumnKind
NUMBERS = {K.U8: "B", K.U16: "H", K.I32: "i", K.I64: "q", K.U64: "Q"}
MASK = (1 << 64) - 1
Entry = tuple[int, int, int, bytes]  # field, part, kind, value


@dataclass(frozen=True)
class Block:
    """What a column_block record says."""

    slots: int
    array: bytes
    ends: tuple[int, int] | None = None  # least and greatest, without sign


def column_rows(rows: list[tuple[bytes, bytes]], prefix: bytes, kind: ColumnKind, blocks: int) -> list[Block | None]:
    found: list[Block | None] = [None] * blocks
    for key, value in rows:
        if len(key) != len(prefix) + 4 or not key.startswith(prefix):
            break
        block = int.from_bytes(key[-4:], "big")
        if block > 0x40000 or len(value) < HEADER:
            raise ValueError(key)
        stored, version, slots = value[0], value[1], int.from_bytes(value[4:8], "little")
        array = value[HEADER:]
        if not 1 <= stored <= 7 or not 1 <= version <= 2 or not 0 < slots <= BLOCK or slots % 64:
            raise ValueError(key)
        if len(array) < 4 * (slots + 1) if stored == K.TEXT else len(array) != slots * WIDTH[K(stored)]:
            raise ValueError(key)
        if stored != kind and not (stored in (K.U8, K.U16) and kind in (K.U8, K.U16)):
            raise ValueError(key)
        zoned = version == 2 and stored == kind and stored < K.PLANES
        if stored != kind:
            numbers = struct.unpack(f"<{slots}{NUMBERS[K(stored)]}", array)
            array = struct.pack(f"<{slots}{NUMBERS[kind]}", *(n if kind == K.U16 or n < 256 else 0 for n in numbers))
        found += [None] * (block + 1 - len(found))
        found[block] = Block(slots, array, struct.unpack_from("<QQ", value, 8) if zoned else None)
    return found


def seal(array: bytes, kind: ColumnKind) -> tuple[int, int, int]:
    """Least, greatest and mark."""
    least = greatest = 0
    if kind in NUMBERS and len(array) >= 8:
        numbers = struct.unpack_from(f"<{len(array) // WIDTH[kind]}{NUMBERS[kind]}", array)
        least, greatest = min(numbers) & MASK, max(numbers) & MASK
    m, k = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
    lanes, whole = [1, 2, 3, len(array)], len(array) // 32 * 32
    for n, (x,) in enumerate(struct.iter_unpack("<Q", array[:whole])):
        x = lanes[n % 4] + x * m & MASK
        lanes[n % 4] = ((x << 31 | x >> 33) & MASK) * k & MASK
    for octet in array[whole:]:
        lanes[0] = (lanes[0] ^ octet) * k + 1 & MASK
    mark = 0
    for lane in lanes:
        mark = (mark ^ lane) * m & MASK
        mark ^= mark >> 29
    return least, greatest, mark or 1


def turned(array: bytes, kind: ColumnKind) -> list[int]:
    """Numbers so that they are ordered without sign."""
    numbers = struct.unpack(f"<{len(array) // WIDTH[kind]}{NUMBERS[kind]}", array)
    return [number if kind == K.U64 else number + (1 << 63) for number in numbers]


def codes(array: bytes, kind: ColumnKind, edges: list[int]) -> bytes:
    return bytes(bisect_right(edges, number) for number in turned(array, kind))


def value_planes(array: bytes, high: int) -> bytes:
    return b"".join(bits(number == value for number in array) for value in range(high + 1))


def postings(array: bytes, high: int) -> bytes:
    numbers = struct.unpack(f"<{len(array) // 2}H", array)
    ends = [sum(number <= value for number in numbers) for value in range(high + 1)]
    slots = sorted(range(len(numbers)), key=numbers.__getitem__)
    return struct.pack(f"<{len(ends) + len(slots)}H", *ends, *slots)


def bits(flags: object) -> bytes:
    """A bitmap; as many octets as the flags fill."""
    text = "".join("01"[bool(flag)] for flag in flags)  # type: ignore[attr-defined]
    return int(text[::-1] or "0", 2).to_bytes(len(text) // 8, "little")


def entries(row: bytes) -> list[Entry]:
    """Raises ValueError on what is no delta row."""
    found, at = [], 0
    while at < len(row):
        if len(row) - at < 6:
            raise ValueError(row)
        field, part, kind, octets = struct.unpack_from("<HBBH", row, at)
        value = row[at + 6 : at + 6 + octets]
        if len(value) < octets:
            raise ValueError(row)
        found.append((field, part, kind, value))
        at += 6 + octets
    return found


def gathered(
    blocks: list[Block | None], column: tuple[int, int, ColumnKind], rows: list[tuple[int, bytes]]
) -> list[int | bytes]:
    """The value of each changed member, as (member_no, row): the last entry of its row over what its block says."""
    field, part, kind = column
    found = []
    for member_no, row in rows:
        number, slot = divmod(member_no, BLOCK)
        block = blocks[number] if number < len(blocks) else None
        value = _stored(block if block and slot < block.slots else None, slot, kind)
        mine = [(stored, octets) for f, p, stored, octets in entries(row) if (f, p) == (field, part)]
        for stored, octets in mine[-1:]:
            value = _laid_over(value, kind, stored, octets)
        found.append(value)
    return found


def _stored(block: Block | None, slot: int, kind: ColumnKind) -> int | bytes:
    if kind == K.TEXT:
        if block is None:
            return b""
        start, end = struct.unpack_from("<II", block.array, 4 * slot)
        heap = block.array[4 * (block.slots + 1) :]
        if start > end or end > len(heap):
            raise ValueError(slot)
        return heap[start:end]
    if block is None:
        return 0 if kind == K.PLANES else UNKNOWN[kind]
    if kind == K.PLANES:
        octets = block.slots // 8
        return sum((block.array[p * octets + slot // 8] >> slot % 8 & 1) << p for p in range(8))
    return int(struct.unpack_from(f"<{NUMBERS[kind]}", block.array, slot * WIDTH[kind])[0])


def _laid_over(value: int | bytes, kind: ColumnKind, stored: int, octets: bytes) -> int | bytes:
    if kind == K.TEXT and stored == K.TEXT:
        return octets
    if kind == K.PLANES and stored == K.PLANES and len(octets) == 2:
        assert isinstance(value, int)
        return value & ~octets[0] | octets[1] & octets[0]
    either = {stored, kind} <= {K.U8, K.U16}
    if kind not in NUMBERS or (stored != kind and not either) or len(octets) != WIDTH[K(stored)]:
        raise ValueError(octets)
    number = int(struct.unpack(f"<{NUMBERS[K(stored)]}", octets)[0])
    return number if kind != K.U8 or number < 256 else 0
