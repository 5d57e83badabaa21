"""[trio] One nursery: the order of starting and of stopping.

Start: lock, recovery (claims of the process before), index, control socket, binds. Stop on SIGTERM or SIGINT: no new
claims, windows answered or accounted, the rest of the journal on disk, all in 15 s (PITFALLS F18).
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from config import Settings
from dispatcher.campaigns.underway import note_all_under_way
from dispatcher.daemon import recovery
from dispatcher.daemon.archiving import keep_archive
from dispatcher.daemon.control_server import serve_control
from dispatcher.daemon.dispatcher import Dispatcher
from dispatcher.daemon.housekeeping import keep_house
from dispatcher.daemon.imports import Imports
from dispatcher.daemon.lines import give_numbers
from dispatcher.daemon.marks import open_marks
from dispatcher.daemon.orders import Orders
from dispatcher.daemon.reload import hear_reloads
from dispatcher.daemon.schedule import Schedule
from dispatcher.members.importer import note_open_imports
from dispatcher.segments.warmup import Warmup
from dispatcher.store import Store, open_store
from dispatcher.tenants.senders import note_own_senders

FLUSH_S = 1.5  # SIGTERM promises 15 s for all: drain_s, two of an unbind, and this

log = structlog.get_logger("dispatcher")


@dataclass(frozen=True, slots=True)
class Life:
    """What runs between start and stop."""

    dispatcher: Dispatcher
    orders: Orders
    schedule: Schedule
    imports: Imports


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises StoreError when the store cannot be had."""
    with open_store(settings.data, write=True, sync=settings.store.sync) as store:
        gc.freeze()
        return 0 if trio.run(_until_told, settings, store) else 1


async def _until_told(settings: Settings, store: Store) -> bool:
    """A life that SIGTERM or SIGINT ends. They are heard to the last, for a second one must not cut the drain short."""
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def listen() -> None:
            async for _ in signals:
                stop.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with Warmup(store):
                flushed = await live(settings, store, stop.wait)
            nursery.cancel_scope.cancel()
    return flushed


async def live(
    settings: Settings,
    store: Store,
    stop: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[Life] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """One life of a dispatcher over a store whose lock is held, from recovery to flush; it ends when `stop` does.
    Started once commands are heard. False when a full disk kept the last outcomes from it."""
    marks = open_marks(settings.data)
    give_numbers(store, settings.endpoints)
    note_own_senders(store)
    note_all_under_way(store)
    note_open_imports(store, time.time_ns() // 1_000_000)
    report = recovery.settle_claims(store, marks, time.time_ns() // 1_000_000)
    d = Dispatcher(settings, store, marks, report)
    async with trio.open_nursery() as outer:
        line_max = settings.limits.import_line_octets_max
        imports = Imports(d.store, d.works, d.committer, outer, d.fields_changed, row_octets_max=line_max)
        schedule = Schedule(d)
        orders = Orders(d, schedule, imports)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(d.committer.run)
            await nursery.start(serve_control, settings.control_socket, orders.execute)
            await nursery.start(d.lines.run)
            nursery.start_soon(hear_reloads, d)
            nursery.start_soon(_seconds, d)
            nursery.start_soon(_settle, d)
            nursery.start_soon(keep_house, d, imports)
            nursery.start_soon(keep_archive, d)
            nursery.start_soon(schedule.run)
            imports.resume()
            log.info("started", store=str(d.store.folder), endpoints=[c.name for c in d.channels if c.connects])
            task_status.started(Life(d, orders, schedule, imports))
            await stop()
            log.info("stopping")
            d.committer.feeding = False
            await d.lines.drain(settings.dispatcher.drain_s)
            d.committer.give_up_if_full()
            nursery.cancel_scope.cancel()
        outer.cancel_scope.cancel()
    flushed = await d.committer.flush(FLUSH_S)
    d.writer.stop()
    log.info("stopped")
    return flushed


async def _seconds(d: Dispatcher) -> None:
    while True:
        await trio.sleep(1.0)
        d.second()
        d.note_recovery()


async def _settle(d: Dispatcher) -> None:
    while True:
        await trio.sleep(1.0)
        await d.settle()
