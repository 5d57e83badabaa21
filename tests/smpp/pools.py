"""An endpoint's Pool and Book in the test's own loop against the simulator: claims, commits, and nothing stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from config import Endpoint
from dispatcher.smpp.bind import Bind
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, BULK, Book
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_options import SmscOptions
from tests.smpp.line import CAMPAIGN, HEAD, MID, Text, batch

WITHIN_S = 20.0
USUAL: dict[str, Any] = {
    "name": "e", "host": "127.0.0.1", "system_id": "volley", "binds": 2, "window": 10,
    "reconnect_min_s": 0.02, "reconnect_max_s": 0.05, "bind_timeout_s": 2.0,
}  # fmt: skip


class Rig:
    """`claim` puts messages into the Book, a task commits every few milliseconds."""

    def __init__(self, endpoint: Endpoint, smsc: Smsc | None) -> None:
        self.smsc = smsc
        self.book = Book(100_000, memoryview(bytearray(64)).cast("Q"), ACTIONS, ACTION_OTHER, ring=1 << 14)
        self.book.retry_ns = 10_000_000
        self.book.set_rate(endpoint.rate, 0)
        self.run = self.book.open_run(CAMPAIGN, 1, 0, HEAD, MID, receipts=True, honours_stop=True)
        self.pool = Pool(endpoint, self.book, self, lambda: None)
        self.rank = 0
        self.messages: list[Any] = []

    def deliver(self, answer, message) -> None:
        self.messages.append(message)
        answer(0)

    def kick(self) -> None: ...

    def ended(self) -> None: ...

    def claim(self, count: int) -> None:
        rows, n, octets = batch(Text(self.rank + i) for i in range(count))
        self.book.claim(BULK, self.run, rows, n, octets)
        self.rank += count

    async def commit(self) -> None:
        while True:
            self.book.cut()
            pumps = list(self.pool.pumps())
            for pump in pumps:
                pump.cut()
            await trio.sleep(0.002)
            self.book.committed()
            for pump in pumps:
                pump.committed()
            self.pool.push()
            for item in self.book.take_returned():
                if item[0] in (4, 5):  # retry, released: again
                    rows, n, octets = batch([Text(item[2])])
                    self.book.claim(BULK, self.run, rows, n, octets)

    async def until(self, true: Callable[[], Any], seconds: float = WITHIN_S) -> None:
        with trio.fail_after(seconds):
            while not true():
                await trio.sleep(0.002)

    async def bound(self, count: int | None = None) -> None:
        await self.until(lambda: self.pool.bound == (len(self.pool.binds) if count is None else count))

    def bind(self, number: int = 0) -> Bind:
        return self.pool.binds[number]

    async def send(self, count: int) -> None:
        """So many more, accepted."""
        wanted = self.book.accepted + count
        self.claim(count)
        await self.until(lambda: self.book.accepted >= wanted)


def with_pool(
    test: Callable[[Rig], Awaitable[None]],
    *,
    endpoint: dict[str, Any] | None = None,
    started: bool = True,
    options: SmscOptions | None = None,
    **told: Any,
) -> None:
    """Run `test` with a pool that keeps its binds to a simulator of these options."""

    async def run() -> None:
        with trio.fail_after(2 * WITHIN_S):
            async with trio.open_nursery() as nursery:
                smsc = await nursery.start(
                    lambda task_status: serve_smsc(options or SmscOptions(**told), task_status=task_status)
                )
                keys = USUAL | {"port": smsc.port} | (endpoint or {})
                rig = Rig(Endpoint(**keys), smsc)
                nursery.start_soon(rig.commit)
                if started:
                    nursery.start_soon(rig.pool.run)
                await test(rig)
                nursery.cancel_scope.cancel()

    trio.run(run)
