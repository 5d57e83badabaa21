"""[trio] Saved segments counted once a day, at a quiet moment: one at a time, off the loop's thread.

Touches: the store by read snapshots in a worker thread, and through steps of the committer.
Weak spot: where something is sent without a pause all night, the counts are taken in mid-send from LATE_HOUR on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.records.changes import Changes, View
from dispatcher.segments.answers.daily import HOUR, Due, counted, due, record

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

LATE_HOUR = HOUR + 6  # by then a day's figure is wanted, quiet or not
TURN_S = 10.0  # counting at one go, so that other housekeeping has its minute

log = structlog.get_logger("daily_counts")


async def count_segments(d: Dispatcher, now_ms: int) -> int:
    """Count what is due now, at most for about TURN_S; returns how many. Raises StoreFull."""
    until, done = time.monotonic() + TURN_S, 0
    while time.monotonic() < until:
        quiet = d.rates.accepted_per_s == 0
        with d.store.snapshot() as view:
            one = due(view, now_ms, HOUR if quiet else LATE_HOUR)
        if one is None:
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
