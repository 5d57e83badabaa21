"""Blocks of an audience that are begun and not ended, split into what each endpoint is to send.

Touches: nothing. Rests on: expand.py, which splits them. A few are open, as bitmaps by endpoint and arm; of the others
only the bits of who is left are kept, 2,040 octets a block: 2.5 MB for 20 M members when an endpoint is down for long.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dispatcher.records.states import Decision

OPEN_MAX = 4  # blocks split at a time: endpoints that keep step share them
FOREVER_MS = 1 << 62


@dataclass(slots=True)
class Share:
    """What one endpoint has to send of a block in one arm."""

    arm: int
    bits: bytearray
    left: int


@dataclass(slots=True)
class Split:
    """One open block. Skips are anybody's to write down; who waits has no decision yet."""

    index: int
    bitmap: bytes  # the block's audience
    shares: dict[int, list[Share]] = field(default_factory=dict)  # by endpoint
    skips: list[tuple[Decision, bytearray]] = field(default_factory=list)
    waits: int = 0  # a bitmap as a number
    until_ms: int = FOREVER_MS  # how long it holds

    @property
    def rest(self) -> int:
        """Who is left, as a number."""
        bits = self.waits
        for _, skipped in self.skips:
            bits |= int.from_bytes(skipped, "little")
        for shares in self.shares.values():
            for share in shares:
                if share.left:
                    bits |= int.from_bytes(share.bits, "little")
        return bits

    @property
    def ended(self) -> bool:
        return not (self.skips or self.waits or any(s.left for shares in self.shares.values() for s in shares))

    def has(self, endpoint: int) -> bool:
        return bool(self.skips) or any(share.left for share in self.shares.get(endpoint, ()))


@dataclass(frozen=True, slots=True)
class Rest:
    """One that is not open."""

    bits: bytes
    waiting: int
    ends: frozenset[int] | None  # whose share is in it, None: anybody's
    turn: int  # as of which that is so


class Begun:
    """The blocks between untouched and ended, by their index in the audience."""

    def __init__(self) -> None:
        self.turn = 0  # counts what made other shares of the blocks
        self.front = 0  # the first untouched one
        self._indices: list[int] = []
        self._open: OrderedDict[int, Split] = OrderedDict()
        self._rest: dict[int, Rest] = {}
        self._at: dict[int, int] = {}  # of an endpoint: below it nothing is its own

    def __repr__(self) -> str:
        return f"<Begun {len(self._indices)} of {self.front}, {len(self._open)} open>"

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def left(self) -> int:
        """Recipients without a decision in them."""
        return sum(s.rest.bit_count() for s in self._open.values()) + sum(
            int.from_bytes(rest.bits, "little").bit_count() for rest in self._rest.values()
        )

    @property
    def waiting(self) -> int:
        return sum(s.waits.bit_count() for s in self._open.values()) + sum(r.waiting for r in self._rest.values())

    def turned(self) -> None:
        """Routes, endpoints, arms or what waits are others now: every share is made anew."""
        for index in list(self._open):
            self.park(index)
        self.turn += 1
        self._at.clear()

    def next_of(self, endpoint: int, blocks: int) -> int | None:
        """The first block that may hold something for an endpoint; None: none of `blocks` does."""
        at = self._at.get(endpoint, 0)
        place = bisect_left(self._indices, at)
        while place < len(self._indices):
            index = self._indices[place]
            rest = self._rest.get(index)
            if rest is None or rest.turn != self.turn or rest.ends is None or endpoint in rest.ends:
                self._at[endpoint] = index
                return index
            place += 1
        self._at[endpoint] = max(at, self.front)
        return self._at[endpoint] if self._at[endpoint] < blocks else None

    def passed(self, endpoint: int, index: int) -> None:
        """An endpoint has taken all that is its own of a block."""
        self._at[endpoint] = index + 1

    def open_at(self, index: int) -> Split | None:
        split = self._open.get(index)
        if split is not None:
            self._open.move_to_end(index)
        return split

    def rest_of(self, index: int) -> bytearray:
        """Who is left in a block that is begun and not open."""
        return bytearray(self._rest[index].bits)

    def begin(self, split: Split) -> None:
        """A block was split, for the first time or anew."""
        if split.index >= self.front:
            self.front = split.index + 1
            if not split.ended:
                insort(self._indices, split.index)
        self._rest.pop(split.index, None)
        if split.ended:
            self.end(split)
            return
        self._open[split.index] = split
        while len(self._open) > OPEN_MAX:
            self.park(next(iter(self._open)))

    def park(self, index: int) -> None:
        """Keep only who is left."""
        split = self._open.pop(index)
        bits = split.rest
        if not bits:
            self._drop(index)
            return
        ends = None if split.skips else frozenset(e for e in split.shares if split.has(e))
        size = len(split.bitmap)
        self._rest[index] = Rest(bits.to_bytes(size, "little"), split.waits.bit_count(), ends, self.turn)

    def end(self, split: Split) -> None:
        """Let go of a block if nobody of it is left."""
        if split.ended:
            self._open.pop(split.index, None)
            self._drop(split.index)

    def forget(self) -> None:
        """All of it."""
        self._open.clear()
        self._rest.clear()
        self._indices.clear()

    def _drop(self, index: int) -> None:
        place = bisect_left(self._indices, index)
        if place < len(self._indices) and self._indices[place] == index:
            del self._indices[place]


def either(bitmaps: Iterable[bytes | bytearray | None]) -> int:
    bits = 0
    for one in bitmaps:
        if one is not None:
            bits |= int.from_bytes(one, "little")
    return bits
