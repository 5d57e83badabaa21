"""[trio] What needs doing now and then: stale readers, point updates into their blocks, ends by time, old log values.

Touches: the store through steps of the committer, a slice a commit. A full disk only puts it off.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.apps.messages_meter import settle_messages, unsettled
from dispatcher.campaigns import money
from dispatcher.campaigns.underway import DROPPED_AT_ONCE, drop_over, over_now
from dispatcher.campaigns.usage import Used
from dispatcher.daemon.archiving import drop_archived
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.daily_counts import count_segments
from dispatcher.daemon.log_drop import drop_values, old_values
from dispatcher.daemon.sharing import rest_s
from dispatcher.daemon.sweeper import (
    drop_old_answers,
    note_swept,
    settle_answers_by_time,
    settle_by_time,
)
from dispatcher.errors import StoreFull
from dispatcher.members.edit_jobs import unfinished_edits
from dispatcher.members.widen import looked_at_all, widen_some, widening
from dispatcher.records.changes import Changes, View
from dispatcher.store import Snapshot, care, ids_kept, phones
from dispatcher.store.columns import fold_some, folded_to
from dispatcher.store.delta import tenants_of_delta
from dispatcher.store.singles import drop_old_singles

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher
    from dispatcher.daemon.imports import Imports
    from dispatcher.daemon.works import Works

STEP_S = 2.0
MINUTE_S = 60.0
DAY_MS = 86_400_000
SWEEP_S = 20.0  # of a minute, at most, for ids and again for the log: a store that was never swept has months of it
KEEP_AFTER_MS = 3_600_000  # until then the index has an id, and a look-up reads no more of the log than this
DELTA_ROWS = 2_000  # fewer wait up to a minute: a scan patches them in for half a millisecond

log = structlog.get_logger("housekeeping")


async def keep_house(d: Dispatcher, imports: Imports) -> None:
    """Until cancelled."""
    minute_at = delta_at = care_at = time.monotonic()
    singles_at: bytes | None = None  # how far old ones have been looked for
    await count_ids(d)
    while True:
        await trio.sleep(STEP_S)
        now = time.monotonic()
        if now - care_at >= MINUTE_S:
            care_at = now
            take_care(d)
        if d.committer.full:
            continue
        try:
            if now - minute_at >= MINUTE_S:
                minute_at = now
                await _minute(d, imports)
                now_ms = d.clock.epoch_ms()
                singles_at = await d.works.do(partial(drop_old_singles, now_ms=now_ms, after=singles_at))
            with d.store.snapshot() as view:
                rows = view.count("delta")
            if rows >= DELTA_ROWS or (rows and now - delta_at >= MINUTE_S):
                delta_at = now
                with d.store.snapshot() as view:
                    changed = tenants_of_delta(view)
                for tenant in changed:
                    await fold_delta(d.works, tenant)
            if not imports.running:  # the more wait, the fewer pages each moves
                await move_numbers(d)
        except StoreFull as exc:
            log.warning("put_off", reason=str(exc))


def take_care(d: Dispatcher) -> None:
    """Clear the slots of readers that died, for they hold back every page freed since; say that room runs out."""
    d.stale_readers += d.store.env.reader_check()
    found = care.look(d.store, d.settings.store)
    if found.said is not None:
        log.warning("store_is_filling", state=found.state, reason=found.said)


async def _minute(d: Dispatcher, imports: Imports) -> None:
    now_ms = d.clock.epoch_ms()
    with d.store.snapshot() as view:
        wait_s = d.settings.dispatcher.receipt_wait_s
        swept = settle_by_time(view, d.feeder, now_ms, wait_s)
        settled = sum(sum(parts.values()) for parts in swept.values())
        settled += settle_answers_by_time(view, d.feeder, now_ms, wait_s)
    for of, parts in swept.items():
        await d.works.do(partial(note_swept, of=of, parts=parts, now_ms=now_ms))
    if settled:
        log.info("settled_by_time", parts=settled)
        d.works.wake()
    await keep_ids(d, now_ms)
    await drop_log(d, now_ms)
    kept_ms = int(d.settings.store.log_kept_days * DAY_MS)
    at: tuple[int, int] | None = (0, 0)
    while at is not None:
        at = await d.works.do(partial(drop_old_answers, kept_ms=kept_ms, now_ms=now_ms, after=at))
    wide, edits = await trio.to_thread.run_sync(_unfinished, d)
    for tenant, job_id in edits:  # an erasure that waits for an answer to expire
        imports.open(tenant, job_id)
    for tenant in wide:
        await widen_fields(d.works, tenant)
    await d.works.do(looked_at_all)
    await settle_usage(d, now_ms)
    await settle_singles(d, now_ms)
    await drop_archived(d)
    await end_under_way(d)
    await count_segments(d, now_ms)


def _unfinished(d: Dispatcher) -> tuple[list[int], list[tuple[int, int]]]:
    """Tenants with a field that is being widened; (tenant, job id) of edits that are not over."""
    with d.store.snapshot() as view:
        return widening(view), unfinished_edits(view)


async def keep_ids(d: Dispatcher, now_ms: int) -> None:
    """message_ids of the log into segments, a slice a commit; those that nobody needs any longer are dropped. What is
    to be kept is sorted and packed in a thread, so that no commit waits for it. Raises StoreFull."""
    limits = d.settings.store
    log_ms, ids_ms = int(limits.log_kept_days * DAY_MS), int(limits.ids_kept_days * DAY_MS)
    both = {channel.number for channel in d.channels if channel.endpoint.receipt_ids != "same"}

    def look() -> ids_kept.Kept | None:
        with d.store.snapshot() as view:
            return ids_kept.keep(view, min(log_ms, KEEP_AFTER_MS), both, now_ms)

    def keep(view: View) -> tuple[Changes, None]:
        crash_point("in_ids_kept")
        assert kept is not None
        return kept.changes(), None

    def drop(view: Snapshot) -> tuple[Changes, bool]:
        changes = ids_kept.drop_old(view, log_ms + ids_ms, now_ms) if ids_ms else ids_kept.keep_no_more(view)
        return changes, bool(changes)

    until = trio.current_time() + SWEEP_S
    while (
        ids_ms and (began := trio.current_time()) < until and (kept := await trio.to_thread.run_sync(look)) is not None
    ):
        await d.works.do(keep)
        await trio.sleep(rest_s(d.committer.submits_per_s, trio.current_time() - began))
    while await d.works.do(drop):
        pass
    await count_ids(d)


async def count_ids(d: Dispatcher) -> None:
    """What `status` says of them, a minute old at most."""

    def look() -> ids_kept.Totals:
        with d.store.snapshot() as view:
            return ids_kept.totals(view)

    d.kept_ids = await trio.to_thread.run_sync(look)


async def drop_log(d: Dispatcher, now_ms: int) -> None:
    """Log values that nobody needs, a slice a commit. Raises StoreFull."""
    kept_ms, ids_kept_too = int(d.settings.store.log_kept_days * DAY_MS), d.settings.store.ids_kept_days > 0

    def look() -> list[int]:
        with d.store.snapshot() as view:
            return old_values(view, kept_ms, now_ms, ids_kept_too=ids_kept_too)

    values, until = 0, trio.current_time() + SWEEP_S
    while (began := trio.current_time()) < until and (old := await trio.to_thread.run_sync(look)):
        await d.works.do(lambda view: (drop_values(old), None))
        values += len(old)
        await trio.sleep(rest_s(d.committer.submits_per_s, trio.current_time() - began))
    if values:
        log.info("log_dropped", values=values)


async def settle_usage(d: Dispatcher, now_ms: int) -> None:
    """Usage and credit of campaigns that are over, measured on a snapshot off the loop's thread. Raises StoreFull."""

    def measure() -> tuple[money.Over, dict[int, Used]] | None:
        with d.store.snapshot() as view:
            over = money.next_over(view)
            return None if over is None else (over, money.measure_over(view, over, now_ms, d.lines.router))

    while (found := await trio.to_thread.run_sync(measure)) is not None:
        over, used = found
        changed = await d.works.do(partial(_settle, over=over, used=used, now_ms=now_ms))
        if not changed:
            break


async def settle_singles(d: Dispatcher, now_ms: int) -> None:
    """Usage and credit of messages of the API that never went. Raises StoreFull."""

    def look() -> list[int]:
        with d.store.snapshot() as view:
            return unsettled(view, now_ms)

    left = await trio.to_thread.run_sync(look)
    while left:
        left = await d.works.do(partial(settle_messages, of=left, now_ms=now_ms))


def _settle(view: View, over: money.Over, used: dict[int, Used], now_ms: int) -> tuple[Changes, bool]:
    changes = money.settle(view, over, used, now_ms)
    return changes, bool(changes)


async def end_under_way(d: Dispatcher) -> None:
    """Campaigns of which nothing is awaited any more are looked at no longer. Raises StoreFull."""

    def look() -> list[tuple[int, int]]:
        with d.store.snapshot() as view:
            return over_now(view)

    over = await trio.to_thread.run_sync(look)
    for first in range(0, len(over), DROPPED_AT_ONCE):
        await d.works.do(partial(drop_over, over=over[first : first + DROPPED_AT_ONCE]))


async def widen_fields(works: Works, tenant: int) -> None:
    """Blocks of dictionaries that outgrew 8-bit codes. Raises StoreFull."""

    def step(view: View) -> tuple[Changes, Any]:
        changes = widen_some(view, tenant)
        return changes, bool(changes)

    while await works.do(step):
        pass


async def move_numbers(d: Dispatcher) -> None:
    """Numbers that wait in the small table to the large one, all of them, when they are many. Raises StoreFull."""
    with d.store.snapshot() as view:
        if phones.waiting(view) < phones.MERGE_FROM:
            return

    def step(view: Snapshot) -> tuple[Changes, Any]:
        changes = phones.merge_some(view)
        crash_point("in_move", lambda: bool(changes))
        return changes, bool(changes)

    began = trio.current_time()
    while not d.committer.full and await d.works.do(step):
        await trio.sleep(rest_s(d.committer.submits_per_s, trio.current_time() - began))
        began = trio.current_time()


async def fold_delta(works: Works, tenant: int) -> None:
    """A tenant's point updates into their blocks: a scan meets whole blocks again. Raises StoreFull."""

    after = -1

    def step(view: View) -> tuple[Changes, Any]:
        nonlocal after
        changes = fold_some(view, tenant, after=after)
        after = max(after, folded_to(changes))
        return changes, bool(changes)

    while await works.do(step):
        pass
