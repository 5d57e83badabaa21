"""[trio] What a pool does by the clock: let out what its pace kept back, find the SMSC's cap, watch over all of it.

Touches: the pool it is given. Three tasks that end with the pool's own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
import trio

from dispatcher.smpp.pump import POOLS
from dispatcher.smpp.watchdogs import BindSeen, Cure, Finding, Seen, Watchdogs

if TYPE_CHECKING:
    from dispatcher.smpp.pool import Pool

PACE_STEP_S = 0.001
PACE_IDLE_S = 0.01
PACE_LONGEST_S = 0.05
FLOW_S = 0.1
WATCH_S = 1.0

log = structlog.get_logger("smpp")


async def keep_pace(pool: Pool) -> None:
    """Where a rate or a hold keeps parts back, push them when their time comes; a window wakes binds by itself."""
    kept_back = False
    while True:
        wait_s = PACE_IDLE_S
        if any(map(pool.book.queued, POOLS)):
            free_ns, now = pool.next_send_ns, time.monotonic_ns()
            if free_ns <= now and (free_ns or kept_back):
                pool.push()
                pool.deliveries.kick()
                free_ns = pool.next_send_ns
            kept_back = free_ns > now
            wait_s = (free_ns - now) / 1e9 if free_ns else PACE_IDLE_S
        await trio.sleep(max(PACE_STEP_S, min(wait_s, PACE_LONGEST_S)))


async def keep_flow(pool: Pool) -> None:
    while True:
        await trio.sleep(FLOW_S)
        pool.look()


async def keep_watch(pool: Pool) -> None:
    dogs = Watchdogs()
    while True:
        await trio.sleep(WATCH_S)
        now = time.monotonic_ns()
        for bind in pool.binds:
            bind.meter.tick(bind.pump, now)
            bind.end_traces(now)
        for finding in dogs.look(_seen(pool, now), now):
            _cure(pool, finding)


def _seen(pool: Pool, now_ns: int) -> Seen:
    book = pool.book
    return Seen(
        ready=book.ready_parts if now_ns >= pool.next_send_ns else 0,
        submits=book.submits,
        receipts=book.receipts + book.receipts_repeated + book.receipts_not_final + book.receipts_held,
        accepted=book.accepted,
        pending=book.index_live,
        binds=tuple(
            BindSeen(
                bind.number,
                pump.accepted,
                pump.responses,
                pump.in_flight < pump.window and not pump.blocked and now_ns >= pump.next_send_ns,
            )
            for bind in pool.binds
            if bind.submits and (pump := bind.pump) is not None
        ),
    )


def _cure(pool: Pool, finding: Finding) -> None:
    pool.found(finding.alarm)
    log.error("watchdog", endpoint=pool.endpoint.name, code=finding.alarm.code, reason=finding.alarm.text)
    if finding.cure is Cure.PUSH:
        pool.push()
        return
    bound = [bind for bind in pool.binds if bind.submits and finding.bind in (None, bind.number)]
    if bound:
        pool.rebind(min(bound, key=lambda bind: bind.since_ms))
