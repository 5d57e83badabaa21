"""What a campaign did to its members, from its own ledger: a block at a time, whatever its audience.

Touches: rows of `campaigns`, frozen audiences in `bitmaps`, ledger arrays, through one View.
Rests on: ranks are the order of member_no in a campaign's frozen audience (campaigns/preview.py); the ledger is as of
its last fold, as everywhere (store/ledger.py).
Weak spot: a receipt that comes more than LATE_MS after its campaign's end and validity is not looked for in a window
that begins after that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dispatcher.records.changes import View
from dispatcher.records.states import Decision, State
from dispatcher.store.layout import BLOCK, ENDED, ENDED_KEY, LEDGER_KEY, TENANT, TENANT_U64, U64, UNDER_WAY
from dispatcher.store.ledger import read_array, read_counts
from dispatcher.store.values import unpack

try:
    from dispatcher.segments import _deeds as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel segments/_deeds is not built: run `make build`") from exc

__all__ = ["BITMAP_OCTETS", "DEEDS", "LATE_MS", "NO_TIME", "VALIDITY_S_MAX", "Deed", "Run", "kernel", "runs", "seconds"]

LATE_MS = 30 * 86_400_000  # a receipt may come this long after the validity; then the log that knows its id is gone
VALIDITY_S_MAX = 30 * 86_400  # of a campaign: a log segment lives as long (DESIGN 8)
BITMAP_OCTETS = BLOCK // 8
NO_TIME = 0xFFFFFFFF
_NONE = b""
_AUDIENCE, _RANKS = 0, 2  # which of table `bitmaps`
_PAIR = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Deed:
    """What of the ledger a word means: the array looked at, which of its octets, and the array that says when."""

    array: str
    octets: tuple[int, ...]  # which of its values
    times: str | None
    wanted: bytes  # 256 octets, 1 where it counts

    @property
    def follows(self) -> bool:
        """It may happen after the campaign's end."""
        return self.times == "final_s"


def _deed(array: str, octets: tuple[int, ...], times: str | None) -> Deed:
    return Deed(array, octets, times, bytes(octet in octets for octet in range(256)))


DEEDS = {
    "sent": _deed("decision", (Decision.SENT,), "submit_s"),
    "received": _deed("state", (State.DELIVERED,), "final_s"),
    "undelivered": _deed("state", (State.EXPIRED, State.FAILED), "final_s"),
    "held_out": _deed("decision", (Decision.HOLDOUT,), None),
}


@dataclass(slots=True)
class Run:
    """One campaign that ran, read a block at a time, ascending, for one deed and window."""

    view: View
    campaign: int
    row: dict[str, Any]
    _blocks: dict[int, tuple[int, int]] | None = None
    _bits: dict[int, bytearray] = field(default_factory=dict)  # chunk -> its ranks' bits: this one and the next

    @property
    def blocks(self) -> dict[int, tuple[int, int]]:
        """Block -> (rank of its first recipient, rank after its last)."""
        if self._blocks is None:
            table = self.view.get("bitmaps", LEDGER_KEY.pack(self.campaign, _RANKS, 0)) or b""
            pairs = [*_PAIR.iter_unpack(table), (0, self.row["audience"])]
            self._blocks = {block: (first, after) for (block, first), (_, after) in pairwise(pairs)}
        return self._blocks

    def has(self, deed: Deed) -> bool:
        """Whether anybody at all is counted under it: the counters are of the same fold as the arrays."""
        counts = read_counts(self.view, self.campaign)
        if deed.array == "state":
            return any(counts.state(State(octet)) for octet in deed.octets)
        return any(counts.values[octet] for octet in deed.octets)

    def audience(self, block: int) -> memoryview | bytes:
        return self.view.buffer("bitmaps", LEDGER_KEY.pack(self.campaign, _AUDIENCE, block)) or _NONE

    def bits(self, deed: Deed, block: int, low_s: int, high_s: int) -> tuple[bytes | bytearray, int]:
        """(bits by rank, which of them is the block's first recipient)."""
        first, after = self.blocks[block]
        chunk, last = first // BLOCK, (after - 1) // BLOCK
        for old in [number for number in self._bits if number < chunk]:
            del self._bits[old]
        found = [self._chunk(deed, number, low_s, high_s) for number in range(chunk, last + 1)]
        return found[0] if len(found) == 1 else b"".join(found), first - chunk * BLOCK

    def _chunk(self, deed: Deed, chunk: int, low_s: int, high_s: int) -> bytearray:
        if chunk not in self._bits:
            bits = bytearray(BITMAP_OCTETS)
            octets = read_array(self.view, self.campaign, deed.array, chunk)
            if octets is not None:
                times = read_array(self.view, self.campaign, deed.times, chunk) if deed.times else None
                # a part given up at the socket leaves a failed message without a final time
                instead = read_array(self.view, self.campaign, "submit_s", chunk) if deed.follows else None
                kernel.hits(octets, deed.wanted, times or _NONE, instead or _NONE, low_s, high_s, bits)
            self._bits[chunk] = bits
        return self._bits[chunk]

    def ranks(self, name: str, octets: int, block: int) -> bytes:
        """An array of the block's recipients alone, in order; unfolded ranks are 0."""
        first, after = self.blocks[block]
        found = bytearray(octets * (after - first))
        for chunk in range(first // BLOCK, (after - 1) // BLOCK + 1):
            stored = read_array(self.view, self.campaign, name, chunk)
            if stored is None:
                continue
            begin, end = max(first - chunk * BLOCK, 0), min(after - chunk * BLOCK, len(stored) // octets)
            at = octets * (chunk * BLOCK + begin - first)
            if begin < end:
                found[at : at + octets * (end - begin)] = stored[octets * begin : octets * end]
        return bytes(found)


def runs(view: View, tenant: int, campaign: int | None, since_ms: int, until_ms: int, *, late: bool) -> Iterator[Run]:
    """Campaigns, oldest first, of which something may have happened between the two instants.

    late: what comes after a campaign's end counts too.
    """
    first_ms = since_ms - late * (LATE_MS + 1_000 * VALIDITY_S_MAX)
    for number in _numbers(view, tenant, first_ms) if campaign is None else [campaign]:
        octets = view.get("campaigns", TENANT_U64.pack(tenant, number))
        if octets is None:
            continue
        found = unpack(octets)
        if found["started_ms"] is None or found["started_ms"] > until_ms:
            continue
        ended = found["finished_ms"]
        if ended is not None and ended + late * (1_000 * found["validity_s"] + LATE_MS) < since_ms:
            continue
        yield Run(view, number, found)


def _numbers(view: View, tenant: int, since_ms: int) -> list[int]:
    """Campaigns under way, and those that have ended since: the only ones whose rows are read."""
    of = TENANT.pack(tenant)
    if view.get("meta", UNDER_WAY) is None:  # no start has looked at them yet
        return [TENANT_U64.unpack(key)[1] for key, _ in view.range("campaigns", of)]
    begin = ENDED + ENDED_KEY.pack(tenant, max(0, since_ms), 0)
    keys = [key for key, _ in view.range("meta", UNDER_WAY + of)]
    keys += [key for key, _ in view.range("meta", ENDED + of, after=begin)]
    return sorted({U64.unpack(key[-U64.size :])[0] for key in keys})


def seconds(since_ms: int, until_ms: int) -> tuple[int, int]:
    """A window of the ledger's whole seconds; without a beginning also what has no time."""
    return max(0, -(-since_ms // 1_000)), min(NO_TIME, max(0, until_ms // 1_000))
