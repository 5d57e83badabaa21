"""[trio] Saved segments counted once a day, at a quiet moment: one at a time, off the loop's thread.

Touches: the store by read snapshots in a worker thread, and through steps of the committer.
Weak spot: where something is sent without a pause all night, the counts are taken in mid-send from LATE_HOUR on.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.records.changes import Changes, View
from dispatcher.segments.answers.daily import HOUR, Due, counted, due, record

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

LATE_HOUR = HOUR + 6  # by then a day's figure is wanted, quiet or not
TURN_S = 10.0  # counting at one go, so that other housekeeping has its minute
AT_ONCE = 10_000  # segments found at one go: a count takes a millisecond and more
REST_MS = 15 * 60_000  # after nothing was due: to see that of 200,000 segments takes a second

log = structlog.get_logger("daily_counts")


async def count_segments(d: Dispatcher, now_ms: int) -> int:
    """Count what is due now, at most for about TURN_S; returns how many. Raises StoreFull."""
    if now_ms < d.segments_counted_until_ms:
        return 0

    def look(hour: int) -> list[Due]:
        with d.store.snapshot() as view:
            return list(islice(due(view, now_ms, hour), AT_ONCE))

    until, done, quiet = time.monotonic() + TURN_S, 0, not d.rates.accepted_per_s
    wanted = await trio.to_thread.run_sync(look, HOUR if quiet else LATE_HOUR)
    if not wanted:
        d.segments_counted_until_ms = now_ms + REST_MS
    for one in wanted:
        if time.monotonic() >= until or (quiet and d.rates.accepted_per_s):
            break
        await _count(d, one, now_ms)
        done += 1
    if done:
        log.info("counted", segments=done)
    return done


async def _count(d: Dispatcher, one: Due, now_ms: int) -> None:
    def read() -> dict[str, Any] | None:
        with d.store.snapshot() as view:
            return counted(view, one, now_ms)

    kept = await trio.to_thread.run_sync(read)
    if kept is None:
        return  # deleted meanwhile

    def step(view: View) -> tuple[Changes, bool]:
        changes = record(view, one, kept)
        return changes, bool(changes)

    await d.works.do(step)
