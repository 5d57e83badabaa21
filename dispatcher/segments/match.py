"""A program over a tenant's members: its columns found, the given bitmaps asked for, blocks matched in one call.

Touches: column blocks and deltas, read through one View; bitmaps of engagement.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from threading import Thread
from typing import Any

from dispatcher.errors import StoreError
from dispatcher.fastmatch import BITMAP_OCTETS, Program, match_blocks
from dispatcher.records.changes import View
from dispatcher.store.columns import Column
from dispatcher.store.scan import Scanned, scan

STOP_BLOCKS = 64  # after so many a caller is asked whether the answer is still wanted
Bitmaps = Mapping[Any, Mapping[int, Any]]


def open_scan(
    view: View, tenant: int, columns: Sequence[Column | Hashable], as_of_ms: int, known: Bitmaps | None = None
) -> Scanned:
    """What a program over `columns` reads. Keys among them that `known` has not are evaluated as of the instant."""
    known = known or {}
    keys = [column for column in columns if not isinstance(column, tuple) and column not in known]
    if keys:
        from dispatcher.segments.engagement import evaluate  # most segments ask nothing of campaigns

        known = {**known, **evaluate(view, tenant, keys, as_of_ms)}  # type: ignore[arg-type]
    return scan(view, tenant, columns, known)


def run(
    program: Program,
    over: Scanned,
    first: int,
    end: int,
    *,
    bitmaps: Any = None,
    tallies: Any = None,
    zoned: Any = None,
    threads: int = 1,
    stop: Callable[[], None] | None = None,
) -> int:
    """Match blocks first .. end - 1; returns how many members did. The arguments are those of match_blocks.

    threads: by halves of the blocks, which the kernel works without the GIL. stop is called every STOP_BLOCKS
    and ends the work by what it raises. Raises StoreError on a damaged text or delta row.
    """
    if stop is not None:
        total = 0
        for at in range(first, end, STOP_BLOCKS):
            stop()
            last = min(end, at + STOP_BLOCKS)
            part = bitmaps and memoryview(bitmaps)[(at - first) * BITMAP_OCTETS :]
            total += run(program, over, at, last, bitmaps=part, tallies=tallies, zoned=zoned, threads=threads)
        return total
    if threads > 1 and end - first >= 2 * threads:
        return _side_by_side(program, over, first, end, bitmaps, tallies, zoned, threads)
    try:
        return match_blocks(
            program,
            over.columns,
            over.edges,
            over.aside,
            over.numbers,
            over.changed,
            first,
            end,
            bitmaps,
            tallies,
            zoned,
        )
    except ValueError as exc:
        raise StoreError(f"blocks {first} to {end - 1}: {exc}") from exc


def _side_by_side(
    program: Program, over: Scanned, first: int, end: int, bitmaps: Any, tallies: Any, zoned: Any, threads: int
) -> int:
    edges = [first + (end - first) * n // threads for n in range(threads + 1)]
    parts: list[tuple[int, Any, Any]] = []
    raised: list[BaseException] = []

    def work(low: int, high: int) -> None:
        mine, seen = (
            None if counters is None else array("Q", bytes(8 * len(counters))) for counters in (tallies, zoned)
        )
        part = bitmaps and memoryview(bitmaps)[(low - first) * BITMAP_OCTETS :]
        try:
            parts.append((run(program, over, low, high, bitmaps=part, tallies=mine, zoned=seen), mine, seen))
        except BaseException as exc:  # told to the caller below
            raised.append(exc)

    others = [Thread(target=work, args=edge) for edge in pairwise(edges[1:])]
    for other in others:
        other.start()
    work(edges[0], edges[1])
    for other in others:
        other.join()
    if raised:
        raise raised[0]
    for _, mine, seen in parts:
        for total, more in ((tallies, mine), (zoned, seen)):
            for n, value in enumerate(more or ()):
                total[n] += value
    return sum(count for count, _, _ in parts)
