"""[trio] All endpoints of this process: their channels, how they stand, and the routes over them; a reload of both.

Touches: the store's numbers of endpoints and routes; the channels' binds. Rests on: DESIGN 9 (a reload drops no bind
that did not change). An endpoint that is down for longer than its routes wait gives what is claimed for it back, so
that the others send it.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog
import trio

from config import Endpoint, Settings
from dispatcher.daemon.channel import NO_ENDPOINT, Channel
from dispatcher.daemon.marks import Marks
from dispatcher.daemon.works import Works
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.outbox.entry import Entry
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.changes import Changes, View
from dispatcher.routes.plan import Plan
from dispatcher.routes.ported import drop_old, get_ported, ported_values, write_slice
from dispatcher.routes.router import Router
from dispatcher.routes.stored import routes_in_force
from dispatcher.store import Store
from dispatcher.store.endpoints import endpoint_numbers, number_endpoints

log = structlog.get_logger("lines")


def give_numbers(store: Store, endpoints: tuple[Endpoint, ...]) -> None:
    """At a start, before the claims of the process before are looked at: every endpoint has its number."""
    with store.begin_write() as view:
        view.apply(number_endpoints(view, [endpoint.name for endpoint in endpoints]))


class Lines:
    """`channels` is one list for all who read it; it is never empty."""

    def __init__(
        self, settings: Settings, store: Store, marks: Marks, works: Works, *,
        heard: Callable[[Channel, Heard, Entry | None], None], changed: Callable[[], None],
        make_room: Callable[[Channel], None],
    ) -> None:  # fmt: skip
        self.settings, self.store, self.marks, self._works = settings, store, marks, works
        self.channels: list[Channel] = []
        self.accepted_by_gone = self.receipts_by_gone = 0  # of channels that are no more
        self._heard, self._changed, self._make_room = heard, changed, make_room
        self._scopes: dict[int, trio.CancelScope] = {}
        with store.snapshot() as view:
            numbers = endpoint_numbers(view)
        for endpoint in settings.endpoints:
            self.channels.append(self.make(numbers[endpoint.name], endpoint))
        if not self.channels:
            self.channels.append(self.make(0, NO_ENDPOINT))
        self._loading = False  # a file of ported numbers
        self.router = Router({})
        self.read_routes()

    def __repr__(self) -> str:
        return f"<Lines {self.channels!r} {self.router!r}>"

    def make(self, number: int, endpoint: Endpoint) -> Channel:
        return Channel(
            number, endpoint, self.marks.of(number), self.settings.dispatcher, self._works,
            heard=self._heard, changed=self._changed, make_room=self._make_room,
        )  # fmt: skip

    def add(self, channel: Channel) -> None:
        """One more endpoint, from now on; in place of the one that stands for none."""
        if not self.channels[0].connects:
            self._gone(self.channels.pop())
        self.channels.append(channel)
        self._connect(channel)

    def remove(self, channel: Channel) -> None:
        """One that has left."""
        self.channels.remove(channel)
        self._gone(channel)
        if not self.channels:
            self.channels.append(self.make(channel.number, NO_ENDPOINT))

    def _gone(self, channel: Channel) -> None:
        self.accepted_by_gone += channel.book.accepted
        self.receipts_by_gone += channel.book.receipts

    def start(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """A task that lives as long as the binds."""
        self._nursery.start_soon(function, *args)

    def cut_off(self, channel: Channel) -> None:
        """End an endpoint's binds."""
        if channel.number in self._scopes:
            self._scopes.pop(channel.number).cancel()

    @property
    def connects(self) -> bool:
        """There is an endpoint."""
        return self.channels[0].connects

    # ---- routes

    def read_routes(self) -> None:
        """Routes, endpoints or ported numbers are others now."""
        there = [channel for channel in self.channels if channel.connects and not channel.leaving]
        endpoints = {channel.name: (channel.number, channel.endpoint.weight) for channel in there}
        settings = {channel.name: channel.endpoint for channel in there}
        with self.store.snapshot() as view:
            routes = [(one.route, one.source) for one in routes_in_force(view, self.settings.routes)]
            ported = get_ported(view)
        self.router.set(endpoints, routes, ported.networks, ported.generation, settings)
        self.look()

    async def load_ported(self, spool: str) -> None:
        """Write the entries of a spooled file beside the table in use, in slices; one file at a time. Raises
        CommandRefused, StoreFull."""
        if self._loading:
            raise CommandRefused(409, "ported_loading", "another file of ported numbers is being loaded: wait for it")
        self._loading = True
        try:
            await self._write_ported(spool)
        finally:
            self._loading = False

    async def _write_ported(self, spool: str) -> None:
        path = self.settings.data / Path(spool).name
        if not path.is_file() or not path.stat().st_size:
            raise CommandRefused(422, "no_such_file", f"spool {spool!r}: no such file in the data folder")
        while await self._drop_old():
            pass
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as entries:
            first = 0
            while first < len(entries) // 8:
                first = await self._works.do(partial(write_slice, entries=entries, first=first))

    async def tidy_ported(self) -> None:
        """What is older than the table that undo turns to leaves the store, unless a load has begun, which does it."""
        with suppress(StoreFull):
            while not self._loading and await self._drop_old():
                pass

    async def _drop_old(self) -> bool:
        def step(view: View) -> tuple[Changes, bool]:
            changes = drop_old(view)
            return changes, bool(changes.rows)

        more: bool = await self._works.do(step)
        return more

    def end_of(self, plan: Plan, number: int) -> int:
        """The endpoint of one number, WAIT or NO_ROUTE."""
        if not plan.asks_networks:
            return plan.one(number, [])
        with self.store.snapshot() as view:
            return plan.one(number, ported_values(view, self.router.generation))

    def look(self) -> None:
        """How the endpoints stand now."""
        now_ns = time.monotonic_ns()
        for channel in self.channels:
            channel.look(now_ns)
        turned = self.router.look({channel.number: channel.down_s(now_ns) for channel in self.channels})
        for channel in self.channels:
            if not channel.pool.bound and channel.connects and self.router.is_replaced(channel.number):
                channel.give_back()
        if turned:
            self._works.wake()

    # ---- their lives

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the binds of every endpoint until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for channel in self.channels:
                self._connect(channel)
            task_status.started()
            await trio.sleep_forever()

    def _connect(self, channel: Channel) -> None:
        if channel.connects:
            scope = self._scopes[channel.number] = trio.CancelScope()
            self._nursery.start_soon(_within, scope, channel)

    async def drain(self, seconds: float) -> None:
        """The end: nothing more is submitted, windows are answered, binds said goodbye to; what is left is given
        back."""
        async with trio.open_nursery() as nursery:
            for channel in self.channels:
                if channel.connects:
                    nursery.start_soon(self._drain, channel, seconds)
        for scope in self._scopes.values():
            scope.cancel()
        await trio.sleep(0.01)
        for channel in self.channels:
            log.info("given_back", endpoint=channel.name, parts=channel.book.release_queued())

    async def _drain(self, channel: Channel, seconds: float) -> None:
        log.info("drained", endpoint=channel.name, answered=await channel.pool.drain(seconds))


async def _within(scope: trio.CancelScope, channel: Channel) -> None:
    with scope:
        await channel.pool.run()
