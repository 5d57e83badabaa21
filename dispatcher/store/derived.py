"""What a process keeps beside columns so that a scan reads less of them: codes of numbers, postings, planes of codes.

Touches: memory of a snapshot, read only. Never the truth and never on disk: a block's derived octets hold for any array
of the same mark (store/blocks.py), so a fold or an import makes only the blocks anew that it wrote.

Codes say between which of a column's edges a number lies; a range then reads numbers only of the slots that share a
code with one of its ends, one in 255 where edges are well spread. Postings list the slots of each number of a 16-bit
column; planes say for each of the few codes of an 8-bit column who has it. All are made a few blocks a scan, from a
column's second scan on, so no count waits for them; scan.warm makes the rest when there is time.

Weak spot: edges are chosen once, when a column is first coded; where its numbers move far from them, codes say less.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from dispatcher.store import _scan as kernel
from dispatcher.store.blocks import WIDTH, ColumnKind

KINDS = frozenset({ColumnKind.U8, ColumnKind.U16, ColumnKind.I32, ColumnKind.I64, ColumnKind.U64})
OCTETS_MAX = 2 << 30  # of one store in one process; past it columns are read as they lie
EDGES_MAX = 255
VALUES_MAX = (
    7  # a block of 8-bit codes up to here is kept as a plane a code: an octet a member, of which a test reads a bit
)
_SAMPLE = 4_096


@dataclass(frozen=True, slots=True)
class Placed:
    """One version's records, the marks they had when they were found (their memory may be another's by now), and what
    they point at."""

    records: bytearray
    marks: list[int]
    kept: list[bytes]


@dataclass(slots=True)
class Derived:
    """Of one column: its edges and, by block, the mark of the array and what was derived from it."""

    kind: ColumnKind
    scans: int = 0
    edges: bytes | None = None  # of codes
    blocks: dict[int, tuple[int, bytes | None]] = field(default_factory=dict)
    placed: Placed | None = None  # the last

    def place(self, records: bytearray, marks: list[int]) -> tuple[list[bytes], list[tuple[int, int]]]:
        """Give `records` what is known of arrays of their marks: (what they point at now, (block, mark) of others)."""
        before, kept = self.placed, list[bytes]()
        others: Iterable[int] = range(len(marks))
        if before is not None:
            others = kernel.carry(records, marks, before.records, before.marks)
            kept = before.kept[:]  # after they are pointed at: whoever derives keeps first
            if len(kept) > 2 * len(marks):  # mostly of arrays that are gone: all anew
                kept, others = [], range(len(marks))
        left = []
        for block in others:
            if not (mark := marks[block]):
                continue
            known = self.blocks.get(block)
            if known is None or known[0] != mark:
                left.append((block, mark))
            elif known[1] is not None:
                kernel.set_derived(records, block, known[1])
                kept.append(known[1])
        self.placed = Placed(records, marks, kept)
        return kept, left

    def more(self, records: bytearray, kept: list[bytes], left: list[tuple[int, int]], most: int) -> tuple[int, int]:
        """Derive up to `most` of the blocks that are `left`; returns (blocks, octets) derived."""
        if not left:
            return 0, 0
        if self.edges is None:
            numbers = (
                () if self.kind in (ColumnKind.U8, ColumnKind.U16) else kernel.some_numbers(records, self.kind, _SAMPLE)
            )
            self.edges = edges_of(numbers, self.kind)
        octets = blocks = 0
        while left and blocks < most:
            try:
                block, mark = left.pop()
            except IndexError:  # another thread derives too
                break
            blocks += 1
            if self.kind == ColumnKind.U8:
                found = kernel.value_planes(records, block, VALUES_MAX)
            elif self.kind == ColumnKind.U16:
                found = kernel.postings(records, block)
            else:
                found = kernel.codes(records, block, self.kind, self.edges)
            before = self.blocks.get(block, (0, None))[1]
            octets -= len(before) if before else 0
            self.blocks[block] = mark, found
            if found is not None:
                kept.append(found)  # before the kernel may see it
                kernel.set_derived(records, block, found)
                octets += len(found)
        return blocks, octets


def edges_of(numbers: Iterable[int], kind: ColumnKind) -> bytes:
    """At most EDGES_MAX edges for numbers like these, as unsigned 64 bits (numbers with sign turned by 2^63), packed.

    The unknown has a code of its own, and so has every number that is met often; else edges lie at the roundest numbers
    that part the members evenly, since those are what people write in conditions. The heaviest part is halved until
    there are edges enough.
    """
    turn = 0 if kind == ColumnKind.U64 else 1 << 63
    known = (turn - (1 << 8 * WIDTH[kind] - 1) if turn else 0) + 1
    found = sorted(number for number in numbers if number >= known)
    edges = {known}
    parts = [(-len(found), 0, len(found))]  # (weight, from, to) of what lies between two edges, heaviest first
    while parts and len(edges) < EDGES_MAX:
        _, low, high = heappop(parts)
        if low == high or found[low] == found[high - 1]:
            if low < high and len(edges) + 2 <= EDGES_MAX:  # a number of its own, cut off from what may lie around it
                edges |= {found[low], found[low] + 1}
            continue
        middle = (low + high) // 2
        near = (high - low) // 16
        edge = (
            _roundest(max(found[middle - near - 1], found[low]) - turn, found[min(middle + near, high - 1)] - turn)
            + turn
        )
        at = bisect_left(found, edge, low, high)
        if at == low:  # more than half are one number: cut behind it
            at = bisect_right(found, found[low], low, high)
            edge = found[at]
        edges.add(edge)
        heappush(parts, (low - at, low, at))
        heappush(parts, (at - high, at, high))
    kept = sorted(edge for edge in edges if edge < 1 << 64)
    return struct.pack(f"<{len(kept)}Q", *kept)


def _roundest(low: int, high: int) -> int:
    """The number in (low, high] that has most zeros at its end."""
    step: int = 10 ** len(str(max(abs(low), abs(high))))
    while step > 1:
        if (found := high // step * step) > low:
            return found
        step //= 10
    return high
