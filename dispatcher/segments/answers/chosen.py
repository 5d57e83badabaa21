"""Who a segment matches at one instant, held as bitmaps: what outlives a snapshot to be counted, drawn from or listed.

Touches: column blocks and deltas, read through one View.
Bounds: 2,040 octets for each block of 16,320 members that has a match, so 12.5 MB for a hundred million members.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.records.changes import View
from dispatcher.segments.plan import Compiled, compile_text
from dispatcher.segments.select import select
from dispatcher.store.layout import BLOCK
from dispatcher.store.ledger import slots_of_ranks
from dispatcher.tenants.tenant import need_tenant


@dataclass(frozen=True, slots=True)
class Chosen:
    """The matched members of one tenant, in member order."""

    compiled: Compiled
    as_of: str  # in the tenant's zone
    blocks: tuple[tuple[int, bytearray, int], ...]  # block, bitmap, how many: only blocks with a match
    matched: int
    began: float  # perf_counter() when it was asked for

    def numbers(self, after: int = -1) -> Iterator[int]:
        """member_no of each, ascending, above `after`."""
        for block, bitmap, count in self.blocks:
            base = block * BLOCK
            if base + BLOCK > after + 1:
                for slot in slots_of_ranks(bitmap, list(range(count))):
                    if base + slot > after:
                        yield base + slot

    def at(self, ranks: list[int]) -> list[int]:
        """member_no of the given ranks, both ascending; rank 0 is the lowest member number."""
        found: list[int] = []
        first = at = 0
        for block, bitmap, count in self.blocks:
            end = at
            while end < len(ranks) and ranks[end] < first + count:
                end += 1
            if end > at:
                wanted = [rank - first for rank in ranks[at:end]]
                found += [block * BLOCK + slot for slot in slots_of_ranks(bitmap, wanted)]
            first, at = first + count, end
        return found

    def told(self) -> dict[str, Any]:
        """What every answer says of what it was asked: text, as_of, warnings, ms."""
        return {
            "text": self.compiled.text,
            "as_of": self.as_of,
            "warnings": list(self.compiled.warnings),
            "ms": round((perf_counter() - self.began) * 1000, 3),
        }


def choose(view: View, tenant: int, text: str, as_of_ms: int) -> Chosen:
    """Raises CommandRefused as compile_text does."""
    began = perf_counter()
    zone = ZoneInfo(need_tenant(view, tenant).zone)
    compiled = compile_text(view, tenant, text, as_of_ms=as_of_ms)
    blocks = tuple(select(view, tenant, compiled))
    as_of = datetime.fromtimestamp(as_of_ms / 1000, zone).isoformat(timespec="milliseconds")
    return Chosen(compiled, as_of, blocks, sum(count for _, _, count in blocks), began)
