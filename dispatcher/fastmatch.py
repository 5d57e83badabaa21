"""ROOM fastmatch: a matching program, how it is put together, and its run over one block of members.

Touches: standard library and the compiled kernel; only the buffers it is handed, never keeping them.
Rests on: fastmatch.h, which draws the program's octets; tests/reference/fastmatch.py says what it means.
The loops exist for each instruction set (`isas()`); the best that the machine has is used, or VOLLEY_ISA's.

A program works a stack of bitmaps, one bit a slot. Tests push; and, or, and_not combine the two on
top; tally counts the top. What is left at the end, exactly one bitmap, is the answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Any

try:
    from dispatcher import _fastmatch
except ImportError as exc:
    raise ImportError("dispatcher._fastmatch is not built: run `make build`") from exc

SLOTS_MAX = 16_320  # a block's slots, 255 words of 64 (store/layout.py BLOCK)
BITMAP_OCTETS = SLOTS_MAX // 8
DEPTH_MAX = 1024  # fastmatch.h FM_DEPTH_MAX
FEW = 8  # fastmatch.h FM_FEW: up to here one vectorised pass a range


class Kind(IntEnum):
    """How a column's array is laid out; the numbers are those of store/columns.py ColumnKind."""

    U8 = 1
    U16 = 2
    I32 = 3
    I64 = 4
    U64 = 5
    PLANES = 6
    TEXT = 7


class Op(IntEnum):
    CONST = 0
    RANGES = 1
    TABLE = 2
    PLANES_ANY = 3
    PLANES_ALL = 4
    TEXT_IN = 5
    TEXT_CONTAINS = 6
    TEXT_STARTS = 7
    TEXT_ENDS = 8
    TEXT_KNOWN = 9
    BUCKETS = 10
    LIVE = 11
    AND = 16
    OR = 17
    AND_NOT = 18
    NOT = 19
    DROP = 20
    TALLY = 21
    TALLY_CUT = 22
    SKIP = 23


LEAST = {Kind.U8: 0, Kind.U16: 0, Kind.I32: -(1 << 31), Kind.I64: -(1 << 63), Kind.U64: 0}
GREATEST = {Kind.U8: 0xFF, Kind.U16: 0xFFFF, Kind.I32: (1 << 31) - 1, Kind.I64: (1 << 63) - 1, Kind.U64: (1 << 64) - 1}

TABLE_MAX = 16_384  # numbers in a table; a set that reaches further is searched, so programs stay small
WITHIN = 0x100  # fastmatch.h FM_WITHIN
BUCKETS = 10_000
ISAS = ("avx512", "avx2", "plain")  # best first; "plain" is what the compiler makes of C: SSE2, NEON

HEADER = struct.Struct("<4sIIII12x")
INSTRUCTION = struct.Struct("<BBHIII")


@dataclass(frozen=True, slots=True)
class Program:
    """Octets for the kernel, and what a caller must bring: arrays up to `columns`, `tallies` counters."""

    octets: bytes
    columns: int
    tallies: int
    steps: int = 0  # instructions: so many counters `zoned` takes


def isas() -> list[str]:
    """The instruction sets that this machine can match with, best first."""
    before = _fastmatch.use_isa("plain")
    try:
        return [name for name in ISAS if _has(name)]
    finally:
        _fastmatch.use_isa(before)


def use_isa(name: str) -> str:
    """Match with `name` from now on, in the whole process (tests, benches); returns what was. Raises ValueError."""
    before: str = _fastmatch.use_isa(name)
    return before


def _has(name: str) -> bool:
    try:
        _fastmatch.use_isa(name)
    except ValueError:
        return False
    return True


def seed_of(salt: bytes) -> int:
    return int.from_bytes(sha256(salt).digest()[:8], "little")


def bucket_of(member_no: int, salt: bytes) -> int:
    """Which of BUCKETS a member falls into; another salt deals anew. Stable for ever: samples must not move."""
    return int(_fastmatch.mix64(member_no + seed_of(salt) & (1 << 64) - 1)) * BUCKETS >> 64


def match_block(
    program: Program, arrays: list[Any], slots: int, out: Any, tallies: Any = None, first_no: int = 0
) -> int:
    """Runs `program` over one block; returns how many slots matched. Holds no GIL while it works.

    arrays: buffers by column number: slots x width octets; PLANES: 8 bitmaps of slots / 8 octets; TEXT
    takes three: starts and ends as u32[slots], then the heap. Zero-copy; any alignment.
    slots: a multiple of 64, at most SLOTS_MAX. out: writable, BITMAP_OCTETS; bits past `slots` are 0.
    tallies: array('Q') that the program's tallies are added to. first_no: the first slot's member_no, for buckets.
    Raises ValueError when any of it is short.
    """
    return _fastmatch.match_block(program.octets, arrays, slots, out, tallies, first_no)


def match_blocks(
    program: Program,
    columns: list[Any],
    edges: list[Any],
    aside: list[Any],
    numbers: Any,
    changed: int,
    first: int,
    end: int,
    bitmaps: Any = None,
    tallies: Any = None,
    zoned: Any = None,
) -> int:
    """Runs `program` over blocks first .. end - 1 in one call without the GIL; returns how many members matched.

    columns: by number, records of records/column_blocks.h, one a block from block 0 (None at a text's 2nd and 3rd
    number). They hold addresses: whoever made them keeps what they point at (store/scan.py).
    edges: by number, the edges that its derived codes were made with, or None.
    aside: by number, such records of the `changed` members, whose values in `columns` no longer hold; numbers: theirs,
    u32 each, ascending, filled up to whole blocks (store/aside.py).
    bitmaps: (end - first) x BITMAP_OCTETS or None. zoned: array('Q') by instruction: blocks that a zone map answered.
    Every bitmap that the program tallies or answers with must have been narrowed by `live`. Raises ValueError.
    """
    return _fastmatch.match_blocks(
        program.octets, columns, edges, aside, numbers, changed, first, end, bitmaps, tallies, zoned
    )


def members_of(bitmaps: Any, first_no: int, out: Any) -> int:
    """Writes the numbers (u32) of the set bits, ascending from first_no, into `out`, which has room for 16 more."""
    return _fastmatch.members_of(bitmaps, first_no, out)


def count_bits(bitmap: Any) -> int:
    """Bits set in a buffer of any length."""
    return _fastmatch.count_bits(bitmap)


def merge_ranges(kind: Kind, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers as sorted, disjoint, non-touching ranges within the type; (low, high) are both inside."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((max(low, LEAST[kind]), min(high, GREATEST[kind])) for low, high in ranges):
        if low > high:
            continue
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


class Assembler:
    """Puts a program together; `column` is a position in the list of arrays given to match_block."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, int, int, int, int]] = []  # `at` is relative to the constants until program()
        self._constants = bytearray()
        self._needles: list[int] = []  # places in the constants that hold such an `at` too
        self._top = self._depth = self._columns = self._tallies = 0

    def __repr__(self) -> str:
        return f"Assembler({len(self._steps)} instructions, stack {self._top} of {self._depth})"

    def const(self, value: bool) -> None:
        """Every slot, or none."""
        self._push(Op.CONST, arg=int(value))

    def ranges(self, column: int, kind: Kind, ranges: Iterable[tuple[int, int]]) -> None:
        """Slots whose number lies in one of `ranges` (both ends inside); the unknown is a number like any other."""
        merged = merge_ranges(kind, ranges)
        if not merged:
            self.const(False)
        elif len(merged) > FEW and kind in (Kind.U8, Kind.U16) and merged[-1][1] < TABLE_MAX:
            count = merged[-1][1] + 1
            bits = sum((1 << high + 1) - (1 << low) for low, high in merged)
            self._push(Op.TABLE, kind, column, count=count, constants=bits.to_bytes(-(-count // 512) * 64, "little"))
        else:
            mask = (1 << 64) - 1
            packed = b"".join(struct.pack("<QQ", low & mask, high & mask) for low, high in merged)
            self._push(Op.RANGES, kind, column, count=len(merged), constants=packed)

    def planes(self, column: int, mask: int, *, every: bool = False) -> None:
        """Slots with a bit in any (or every) plane of `mask`, planes 0 to 7 of one part."""
        self._push(Op.PLANES_ALL if every else Op.PLANES_ANY, Kind.PLANES, column, arg=mask & 0xFF)

    def live(self, column: int) -> None:
        """Slots of plane 0, but for those that a scan answers from their delta rows."""
        self._push(Op.LIVE, Kind.PLANES, column)

    def buckets(self, salt: bytes, low: int, high: int) -> None:
        """Members whose bucket_of lies in low .. high - 1."""
        first, end = (-(-(max(0, min(n, BUCKETS)) << 64) // BUCKETS) for n in (low, high))
        if first >= end:
            return self.const(False)
        self._push(Op.BUCKETS, constants=struct.pack("<QQQ", seed_of(salt), first, end - 1 - first))

    def text_in(self, column: int, texts: Iterable[bytes]) -> None:
        """Slots whose text is one of `texts`; an empty one matches nobody."""
        needles = sorted(set(texts) - {b""}, key=lambda needle: (len(needle), needle))
        if not needles:
            return self.const(False)
        at = len(self._constants) + 8 * len(needles)
        table = bytearray()
        for i, needle in enumerate(needles):
            self._needles.append(len(self._constants) + 8 * i)
            table += struct.pack("<II", at, len(needle))
            at += len(needle)
        self._push(Op.TEXT_IN, Kind.TEXT, column, count=len(needles), constants=bytes(table) + b"".join(needles))

    def text(self, op: Op, column: int, needle: bytes = b"") -> None:
        """TEXT_CONTAINS, TEXT_STARTS or TEXT_ENDS with `needle` (empty: every known text), or TEXT_KNOWN."""
        if not needle:
            op = Op.TEXT_KNOWN
        self._push(op, Kind.TEXT, column, count=len(needle), constants=needle)

    def combine(self, op: Op) -> None:
        """AND, OR, AND_NOT of the two on top (below and_not top); NOT and DROP of the top."""
        if op in (Op.AND, Op.AND_NOT):
            self._narrow()
        self._steps.append((op, 0, 0, 0, 0, 0))
        if op is not Op.NOT:
            self._top -= 1

    def skip(self) -> int:
        """Where the top is empty, pass over what comes until land(): it must leave the stack as high as it is."""
        self._steps.append((Op.SKIP, 0, 0, 0, 0, 0))
        return len(self._steps)

    def land(self, skip: int) -> None:
        step = self._steps[skip - 1]
        self._steps[skip - 1] = (*step[:3], len(self._steps) - skip, *step[4:])

    def tally(self, number: int) -> None:
        """Add the top's count to tallies[number]; it stays."""
        self._steps.append((Op.TALLY, 0, 0, number, 0, 0))
        self._tallies = max(self._tallies, number + 1)

    def tally_cut(self, number: int) -> None:
        """Take the top away from what lies below, and add how many that were to tallies[number]."""
        self._narrow()
        self._steps.append((Op.TALLY_CUT, 0, 0, number, 0, 0))
        self._tallies = max(self._tallies, number + 1)
        self._top -= 1

    def program(self) -> Program:
        assert self._top == 1, self
        assert self._depth <= DEPTH_MAX, self
        base = HEADER.size + INSTRUCTION.size * len(self._steps)
        constants = bytearray(self._constants)
        for place in self._needles:
            struct.pack_into("<I", constants, place, struct.unpack_from("<I", constants, place)[0] + base)
        head = HEADER.pack(b"VFM1", len(self._steps), self._depth, self._columns, self._tallies)
        body = b"".join(INSTRUCTION.pack(*step[:4], step[4] + base, step[5]) for step in self._steps)
        return Program(head + body + bytes(constants), self._columns, self._tallies, len(self._steps))

    def _narrow(self) -> None:
        """The last test matters only where the bitmap below it is set: let the kernel ask no others."""
        op, kind, column, count, at, arg = self._steps[-1]
        if Op.RANGES <= op <= Op.BUCKETS and kind != Kind.PLANES:
            self._steps[-1] = (op, kind, column, count, at, arg | WITHIN)

    def _push(
        self, op: Op, kind: Kind | int = 0, column: int = 0, *, count: int = 0, constants: bytes = b"", arg: int = 0
    ) -> None:
        self._steps.append((op, kind, column, count, len(self._constants), arg))
        self._constants += constants
        self._top += 1
        self._depth = max(self._depth, self._top)
        if kind:
            self._columns = max(self._columns, column + (3 if kind == Kind.TEXT else 1))


def slots_of(bitmap: Sequence[int] | bytes | memoryview) -> list[int]:
    """Positions of the set bits, lowest first. For a few, not for hot paths."""
    word = int.from_bytes(bytes(bitmap), "little")
    found = []
    while word:
        low = word & -word
        found.append(low.bit_length() - 1)
        word ^= low
    return found
