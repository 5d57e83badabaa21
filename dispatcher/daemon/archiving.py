"""[trio] Archives, one after the other: a child writes the file, then a commit takes over, then slices are dropped.

Touches: a child process, the store through steps of the committer. A child that is killed leaves a `.part` that the
next one replaces; until the commit nothing has changed.
"""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.apps.archive import drop_some, keep, next_to_archive
from dispatcher.errors import StoreFull
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.values import unpack

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

LOOK_S = 1.0
MINUTE_S = 60.0

log = structlog.get_logger("archiving")


async def keep_archive(d: Dispatcher) -> None:
    """Until cancelled."""
    looked_at = trio.current_time()
    while True:
        await trio.sleep(LOOK_S)
        if not d.archive_asked and trio.current_time() - looked_at < MINUTE_S:
            continue
        looked_at, d.archive_asked = trio.current_time(), False
        try:
            while not d.committer.full and await archive_next(d):
                pass
        except StoreFull as exc:
            log.warning("put_off", reason=str(exc))


async def archive_next(d: Dispatcher) -> bool:
    """Archive one campaign; whether there was one. Raises StoreFull."""
    now_ms = d.clock.epoch_ms()
    with d.store.snapshot() as view:
        found = next_to_archive(view, now_ms, d.settings.store.archive_after_days)
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
    at: bytes | None = b""

    def step(view: View) -> tuple[Changes, Any]:
        assert at is not None
        return drop_some(view, at)

    while at is not None:
        at = await d.works.do(step)
