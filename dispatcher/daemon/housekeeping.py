"""[trio] What needs doing now and then: stale readers, point updates into their blocks, ends by time, old log values.

Touches: the store through steps of the committer, a slice a commit. A full disk only puts it off.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.daemon.sweeper import drop_old_values, settle_by_time
from dispatcher.errors import StoreFull
from dispatcher.records.changes import Changes, View
from dispatcher.store.columns import fold_some
from dispatcher.tenants.tenant import list_tenants

if TYPE_CHECKING:
    from dispatcher.daemon.committer import Committer
    from dispatcher.daemon.dispatcher import Dispatcher

STEP_S = 2.0
MINUTE_S = 60.0
DELTA_ROWS = 2_000  # fewer wait up to a minute: a scan patches them in for half a millisecond

log = structlog.get_logger("housekeeping")


async def keep_house(d: Dispatcher) -> None:
    """Until cancelled."""
    minute_at = delta_at = time.monotonic()
    while True:
        await trio.sleep(STEP_S)
        if d.committer.full:
            continue
        now = time.monotonic()
        try:
            if now - minute_at >= MINUTE_S:
                minute_at = now
                await _minute(d)
            with d.store.snapshot() as view:
                rows = view.count("delta")
                tenants = [tenant.number for tenant in list_tenants(view)]
            if rows >= DELTA_ROWS or (rows and now - delta_at >= MINUTE_S):
                delta_at = now
                for tenant in tenants:
                    await fold_delta(d.committer, tenant)
        except StoreFull as exc:
            log.warning("put_off", reason=str(exc))


async def _minute(d: Dispatcher) -> None:
    d.store.env.reader_check()
    now_ms = d.clock.epoch_ms()
    with d.store.snapshot() as view:
        settled = settle_by_time(view, d.book, d.feeder, now_ms, d.settings.dispatcher.receipt_wait_s)
    if settled:
        log.info("settled_by_time", parts=settled)
        d.committer.wake()
    kept_ms = int(d.settings.store.log_kept_days * 86_400_000)
    while await d.committer.do(lambda view: drop_old_values(view, kept_ms, now_ms)):
        pass


async def fold_delta(committer: Committer, tenant: int) -> None:
    """A tenant's point updates into their blocks: a scan meets whole blocks again. Raises StoreFull."""

    def step(view: View) -> tuple[Changes, Any]:
        changes = fold_some(view, tenant)
        return changes, bool(changes)

    while await committer.do(step):
        pass
