"""[trio] The binds of one endpoint: start, rebind with back-off and jitter, push, drain.

Touches: its Binds and their Book. Rests on: SMPP_FACTS 3 (answers to a bind) and 7 (back-off 1 s to 60 s, full
jitter, never the whole pool in one instant); a wrong password waits five minutes, for retries lock accounts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import structlog
import trio

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, PeerBrokeProtocol
from dispatcher.smpp.bind import Bind, Deliveries, hold_bind, unbind
from dispatcher.smpp.consts import BIND_STOPS
from dispatcher.smpp.pump import Book, Pump

LIVED_S = 60.0  # a bind that lived this long rebinds from the shortest delay again
LOCKOUT_S = 300.0

log = structlog.get_logger("smpp")


class Pool:
    """All binds of an endpoint over one Book."""

    def __init__(self, endpoint: Endpoint, book: Book, deliveries: Deliveries, changed: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.book = book
        self.binds = [Bind(endpoint, number) for number in range(endpoint.binds)]
        self._deliveries = deliveries
        self._changed = changed
        self._draining = False
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Pool {self.endpoint.name}: {sum(1 for _ in self.pumps())} of {len(self.binds)} bound>"

    def pumps(self) -> Iterator[Pump]:
        for bind in self.binds:
            if bind.pump is not None:
                yield bind.pump

    @property
    def bound(self) -> int:
        return sum(1 for _ in self.pumps())

    @property
    def in_flight(self) -> int:
        return sum(pump.in_flight for pump in self.pumps())

    def flying_to(self, number: int) -> int:
        """Submits to a number that are handed to a socket and unanswered, over all binds."""
        return sum(pump.flying_to(number) for pump in self.pumps())

    def push(self) -> None:
        """Let every bind send; the first changes from call to call, so that a paced pool spreads."""
        self._turn = (self._turn + 1) % len(self.binds)
        for bind in self.binds[self._turn :] + self.binds[: self._turn]:
            bind.push()

    async def run(self) -> None:
        """Hold every bind until cancelled."""
        async with trio.open_nursery() as nursery:
            for bind in self.binds:
                nursery.start_soon(self._keep, bind)

    async def drain(self, seconds: float) -> bool:
        """Stop submitting, wait until every window is answered (bounded), unbind. True when all were."""
        self._draining = True
        for pump in self.pumps():
            pump.draining = True
        with trio.move_on_after(seconds):
            while self.in_flight or any(pump.waiting_answers for pump in self.pumps()):
                await trio.sleep(0.005)
        answered = self.in_flight == 0
        async with trio.open_nursery() as nursery:
            for bind in self.binds:
                nursery.start_soon(unbind, bind)
        return answered

    async def _keep(self, bind: Bind) -> None:
        delay_s = self.endpoint.reconnect_min_s
        await trio.sleep(random.uniform(0, 0.02) * bind.number)
        while not self._draining:
            began = time.monotonic()
            wait_s: float | None = None
            try:
                await hold_bind(bind, self.book, self._deliveries, bound=self._changed)
            except BindRefused as exc:
                bind.last_error = str(exc)
                if exc.command_status in BIND_STOPS:
                    wait_s = LOCKOUT_S
                log.warning(
                    "bind_refused", endpoint=self.endpoint.name, bind=bind.number, status=f"0x{exc.command_status:08X}"
                )
            except (BindLost, PeerBrokeProtocol) as exc:
                bind.last_error = str(exc)
                log.warning("bind_lost", endpoint=self.endpoint.name, bind=bind.number, reason=str(exc))
            self._changed()
            if time.monotonic() - began >= LIVED_S:
                delay_s = self.endpoint.reconnect_min_s
            await trio.sleep(wait_s if wait_s is not None else random.uniform(delay_s / 2, delay_s))
            delay_s = min(delay_s * 2, self.endpoint.reconnect_max_s)
