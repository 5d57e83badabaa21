"""What the matching kernel means, one slot at a time: it reads the same octets and asks each instruction plainly."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Any

WITHIN = 0x100  # only slots set on top are asked
MASK = (1 << 64) - 1
NUMBER = {1: "<B", 2: "<H", 3: "<i", 4: "<q", 5: "<Q"}


def mix64(x: int) -> int:
    """The finaliser of splitmix64."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def bucket_of(member_no: int, salt: bytes) -> int:
    return mix64(member_no + int.from_bytes(sha256(salt).digest()[:8], "little") & MASK) * 10_000 >> 64


def match_block(
    program: bytes, arrays: list[Any], slots: int, tallies: list[int] | None = None, first_no: int = 0
) -> list[bool]:
    """Whether each slot matches; adds to `tallies`."""
    magic, count, *_ = struct.unpack_from("<4sIIII", program)
    assert magic == b"VFM1"
    data = [bytes(array) for array in arrays]
    stack: list[list[bool]] = []
    passed_over = 0
    for n in range(count):
        if passed_over:
            passed_over -= 1
            continue
        op, kind, column, number, at, arg = struct.unpack_from("<BBHIII", program, 32 + 16 * n)
        if op < 16:
            test = _test(program, data, slots, op, kind, column, number, at, arg, first_no)
            within = stack[-1] if arg & WITHIN and op not in (0, 3, 4, 11) else [True] * slots
            stack.append([asked and test(slot) for slot, asked in enumerate(within)])
        elif op == 19:  # not
            stack[-1] = [not bit for bit in stack[-1]]
        elif op == 23:  # skip
            passed_over = 0 if any(stack[-1]) else number
        elif op == 21:  # tally
            assert tallies is not None
            tallies[number] += sum(stack[-1])
        else:
            top = stack.pop()
            if op == 20:  # drop
                continue
            below = stack[-1]
            if op == 22:  # tally_cut
                assert tallies is not None
                tallies[number] += sum(a and b for a, b in zip(below, top, strict=True))
            both = {16: lambda a, b: a and b, 17: lambda a, b: a or b}.get(op, lambda a, b: a and not b)
            stack[-1] = [both(a, b) for a, b in zip(below, top, strict=True)]
    (answer,) = stack
    return answer


def bitmap_of(bits: list[bool], octets: int) -> bytes:
    return sum(1 << i for i, bit in enumerate(bits) if bit).to_bytes(octets, "little")


def _test(
    program: bytes,
    data: list[bytes],
    slots: int,
    op: int,
    kind: int,
    column: int,
    number: int,
    at: int,
    arg: int,
    first_no: int,
):
    if op == 0:  # const
        return lambda slot: bool(arg)
    if op == 10:  # buckets
        seed, low, span = struct.unpack_from("<QQQ", program, at)
        return lambda slot: low <= mix64(first_no + slot + seed & MASK) <= low + span
    if op in (3, 4, 11):  # planes any, all; live
        planes = [0] if op == 11 else [p for p in range(8) if arg >> p & 1]
        how = all if op == 4 else any
        return lambda slot: how(data[column][p * slots // 8 + slot // 8] >> slot % 8 & 1 for p in planes)
    if kind == 7:
        return _text_test(program, data[column : column + 3], op, number, at)
    width = struct.calcsize(NUMBER[kind])

    def value(slot: int) -> int:
        return struct.unpack_from(NUMBER[kind], data[column], slot * width)[0]

    if op == 2:  # table
        return lambda slot: value(slot) < number and bool(program[at + value(slot) // 8] >> value(slot) % 8 & 1)
    form = "<qq" if kind in (3, 4) else "<QQ"
    ranges = [struct.unpack_from(form, program, at + 16 * i) for i in range(number)]
    return lambda slot: any(low <= value(slot) <= high for low, high in ranges)


def _text_test(program: bytes, text: list[bytes], op: int, number: int, at: int):
    def value(slot: int) -> bytes:
        start, end = (struct.unpack_from("<I", text[i], 4 * slot)[0] for i in (0, 1))
        return text[2][start:end]

    if op == 5:
        spans = [struct.unpack_from("<II", program, at + 8 * i) for i in range(number)]
        return lambda slot: value(slot) != b"" and value(slot) in [program[a : a + n] for a, n in spans]
    needle = program[at : at + number]
    how = {6: bytes.__contains__, 7: bytes.startswith, 8: bytes.endswith, 9: lambda text, _: True}[op]
    return lambda slot: value(slot) != b"" and how(value(slot), needle)
