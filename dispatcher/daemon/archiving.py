"""[trio] Archives, one after the other: a child writes the file, then a commit takes over, then slices are dropped.

Touches: a child process, the store through steps of the committer. A child that is killed leaves a `.part` that the
next one replaces; until the commit nothing has changed.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from dispatcher.apps.archive import DAY_MS, drop_some, keep, next_asked, next_old, undropped
from dispatcher.errors import StoreFull
from dispatcher.records.keys import public_id
from dispatcher.store.values import unpack

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

LOOK_S = 1.0
MINUTE_S = 60.0
HOUR_S = 3_600.0
REST_S = 0.2  # between looks of some 15 ms

log = structlog.get_logger("archiving")


async def keep_archive(d: Dispatcher) -> None:
    """Until cancelled."""
    looked_at, old = trio.current_time(), Old()
    while True:
        await trio.sleep(LOOK_S)
        if not d.archive_asked and trio.current_time() - looked_at < MINUTE_S:
            continue
        looked_at, d.archive_asked = trio.current_time(), False
        try:
            while not d.committer.full and await archive_next(d, old):
                pass
        except StoreFull as exc:
            log.warning("put_off", reason=str(exc))


@dataclass(slots=True)
class Old:
    """How far campaigns were looked through for old ones: all of them once an hour, some milliseconds at a time."""

    after: bytes | None = None
    at_s: float = 0.0  # of trio's clock: when they are looked through next

    async def find(self, d: Dispatcher, now_ms: int) -> tuple[int, int] | None:
        """(tenant, campaign) to archive; None until the next hour."""
        days = d.settings.store.archive_after_days
        while days and trio.current_time() >= self.at_s and not d.archive_asked:
            with d.store.snapshot() as view:
                found, self.after = next_old(view, now_ms - int(days * DAY_MS), self.after)
            if self.after is None:
                self.at_s = trio.current_time() + HOUR_S
            if found is not None:
                return found
            await trio.sleep(REST_S)
        return None


async def archive_next(d: Dispatcher, old: Old) -> bool:
    """Archive one campaign; whether there was one. Raises StoreFull."""
    now_ms = d.clock.epoch_ms()
    with d.store.snapshot() as view:
        found = next_asked(view)
    found = found or await old.find(d, now_ms)
    if found is None:
        return False
    tenant, campaign = found
    words = [str(d.store.folder), str(tenant), str(campaign), str(now_ms)]
    argv = [sys.executable, "-m", "dispatcher.daemon.archive_child", *words]
    done = await trio.run_process(argv, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode:
        log.error("archive_failed", campaign=public_id("cmp", campaign), reason=done.stderr.decode()[-500:])
        return False
    written = unpack(base64.b64decode(done.stdout))
    await d.works.do(lambda view: (keep(view, tenant, campaign, written, now_ms), None))
    log.info("archived", campaign=public_id("cmp", campaign), octets=written["octets"], file=written["file"])
    await drop_archived(d)
    return True


async def drop_archived(d: Dispatcher) -> None:
    """What archived campaigns leave in the store. Raises StoreFull."""
    with d.store.snapshot() as view:
        left = undropped(view)
    for tenant, campaign in left:
        while await d.works.do(partial(drop_some, tenant=tenant, campaign=campaign)):
            pass
