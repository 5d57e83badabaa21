"""[trio] The binds of one endpoint: start, rebind, pace, flow, watch, drain, and what an operator asks of them.

Touches: its Binds and their Book. Rests on: SMPP_FACTS 3 and 7. As long as no bind of the endpoint has ever succeeded,
or since its password was refused, one at a time tries: a wrong password is tried once in five minutes, not once a bind.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import structlog
import trio

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, CannotConnect, PeerBrokeProtocol
from dispatcher.smpp.bind import Bind, Deliveries, hold_bind, unbind
from dispatcher.smpp.flow import Counts, Flow
from dispatcher.smpp.meter import quantiles
from dispatcher.smpp.outbind import listen_for_outbind
from dispatcher.smpp.pulse import keep_flow, keep_pace, keep_watch
from dispatcher.smpp.pump import Book, Pump
from dispatcher.smpp.rebind import Alarm, Backoff, alarm_of, locks, told

STAGGER_S = 0.02
DRAIN_S = 10.0
FOUND_SHOWN_MS = 15 * 60 * 1000  # how long what a watchdog found is an alarm
# what makes a connection another one; a reload of anything else leaves it as it is
CONNECTION = frozenset({
    "host", "port", "addresses", "tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "tls_pin", "system_id",
    "password", "system_type", "bind_as", "window",
})  # fmt: skip

NO_RATE = Alarm(
    "no_rate", "no rate: it is sent as fast as it answers",
    "set `rate` to the contract's parts a second, or to 10000000 where it has no limit",
)  # fmt: skip

log = structlog.get_logger("smpp")


class Pool:
    """All binds of an endpoint over one Book."""

    def __init__(self, endpoint: Endpoint, book: Book, deliveries: Deliveries, changed: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self.book = book
        self.deliveries = deliveries
        self.binds: list[Bind] = []
        self.flow = Flow(endpoint.rate, time.monotonic_ns(), hold_ns=book.retry_ns)
        self.findings: list[tuple[int, Alarm]] = []  # (ms, alarm) of the watchdogs, the latest last
        self._made_ms = time.time_ns() // 1_000_000
        self.draining = False  # the whole endpoint: nothing new is submitted
        self._changed = changed
        self._turn = 0
        self._proven = False  # a bind of these credentials has succeeded
        self._trying = trio.Lock()
        self._locked_until_ns = 0
        self._locked_why = ""
        self._wakes: dict[Bind, trio.Event] = {}
        self._scopes: dict[Bind, trio.CancelScope] = {}
        self._wanted: dict[Bind, str] = {}  # bound unless an operator said drained or disconnected
        self._nursery: trio.Nursery | None = None
        self._listening: trio.CancelScope | None = None
        self._make_binds()

    def __repr__(self) -> str:
        return f"<Pool {self.endpoint.name}: {self.bound} of {len(self.binds)} bound, {self.flow!r}>"

    def _make_binds(self) -> list[Bind]:
        """Those that are missing."""
        modes = ("tx", "rx") if self.endpoint.bind_as == "tx_rx" else ("trx",)
        wanted = self.endpoint.binds * len(modes)
        fresh = [
            Bind(self.endpoint, number, modes[number % len(modes)], throttled=self.look, siblings=self.binds)
            for number in range(len(self.binds), wanted)
        ]
        self.binds += fresh
        return fresh

    # ---- what there is

    def pumps(self) -> Iterator[Pump]:
        for bind in self.binds:
            if bind.pump is not None:
                yield bind.pump

    @property
    def bound(self) -> int:
        """Binds that may carry submit_sm."""
        return sum(bind.pump is not None and bind.mode != "rx" and not bind.paused for bind in self.binds)

    @property
    def in_flight(self) -> int:
        return sum(pump.in_flight for pump in self.pumps())

    def window_per_s(self) -> int:
        """Parts a second that the windows let out while the SMSC answers as it did; 0 before its first answer."""
        times = sum((bind.meter.times(bind.pump) for bind in self.binds), Counter[int]())
        (answer_ms,) = quantiles(times, (0.5,))
        return round(1000 * self.bound * self.endpoint.window / answer_ms) if answer_ms else 0

    def flying_to(self, number: int) -> int:
        """Submits to a number that are handed to a socket and unanswered, over all binds."""
        return sum(pump.flying_to(number) for pump in self.pumps())

    def find(self, name: str) -> list[Bind]:
        """The bind of this name (`main.0`), or all for the endpoint's own."""
        return [bind for bind in self.binds if name in (bind.name, self.endpoint.name)]

    def statistics(self) -> dict[str, Any]:
        """Of the endpoint as a whole; of its binds one by one: Bind.statistics."""
        return {
            "endpoint": self.endpoint.name,
            "binds": len(self.binds),
            "bound": self.bound,
            "draining": self.draining,
            "in_flight": self.in_flight,
            "rate": self.endpoint.rate,
            "rate_now": self.book.rate,
            "flow": {"limit": self.flow.parts_per_s, "events": self.flow.events, "why": self.flow.why},
            "alarms": self.alarms(),
        }

    def alarms(self) -> list[dict[str, Any]]:
        """What a person has to know, with the remedy."""
        known = [(bind.name, bind.alarm, bind.alarm_ms) for bind in self.binds if bind.alarm is not None]
        recent_ms = time.time_ns() // 1_000_000 - FOUND_SHOWN_MS
        known += [(self.endpoint.name, alarm, at_ms) for at_ms, alarm in self.findings if at_ms > recent_ms]
        if not (self.endpoint.rate or self.endpoint.bind_rate or self.endpoint.is_local):
            known.append((self.endpoint.name, NO_RATE, self._made_ms))
        return [
            {"object": name, "code": alarm.code, "text": alarm.text, "remedy": alarm.remedy, "since_ms": at_ms}
            for name, alarm, at_ms in known
        ]

    def found(self, alarm: Alarm) -> None:
        """What a watchdog saw; of a kind the latest."""
        kept = [(at_ms, known) for at_ms, known in self.findings if known.code != alarm.code]
        self.findings = [*kept, (time.time_ns() // 1_000_000, alarm)]

    # ---- sending

    def push(self) -> None:
        """Let every bind send; the first changes from call to call, so that a paced pool spreads."""
        self._turn = (self._turn + 1) % len(self.binds)
        for bind in self.binds[self._turn :] + self.binds[: self._turn]:
            bind.push()

    @property
    def next_send_ns(self) -> int:
        """The monotonic instant before which nothing may leave: pace or hold of the Book, or the pace of every bind."""
        own = min((pump.next_send_ns for pump in self.pumps() if not pump.draining), default=0)
        return max(self.book.next_send_ns, own)

    def look(self) -> None:
        """Take in what the SMSC answered: a limit where it found us too fast."""
        now, book = time.monotonic_ns(), self.book
        if not self.endpoint.adapt_rate:
            book.judge(0)  # each throttle holds for retry_s
            return
        answered = book.accepted + book.refused + book.retried + book.throttled
        counts = Counts(
            book.accepted, answered, book.throttled_new, book.first_answers, book.first_later, book.take_congestion()
        )
        event = self.flow.look(counts, now)
        if event:
            book.judge(now)
            if self.flow.why != "congested":
                book.hold_until(self.flow.hold_until_ns)
            log.info("flow", endpoint=self.endpoint.name, why=self.flow.why, parts_per_s=self.flow.parts_per_s)
        if self.flow.parts_per_s != book.pace.limit:
            book.pace.set_limit(self.flow.parts_per_s, now)

    def set_rate(self, rate: int) -> None:
        """Another contract of the account; holds at once."""
        now = time.monotonic_ns()
        self.flow.contract = rate
        self.book.pace.set_rate(rate, now)
        self.book.pace.set_limit(self.flow.parts_per_s, now)

    # ---- life

    async def run(self) -> None:
        """Hold every bind until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for bind in self.binds:
                nursery.start_soon(self._keep, bind)
            nursery.start_soon(keep_pace, self)
            nursery.start_soon(keep_flow, self)
            nursery.start_soon(keep_watch, self)
            self._listen()

    async def drain(self, seconds: float) -> bool:
        """Stop submitting, wait until every window is answered (bounded), unbind. True when all were."""
        self.draining = True
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
        backoff = Backoff()
        await trio.sleep(random.uniform(0, STAGGER_S) * bind.number)
        while not self.draining and bind in self.binds:
            if self._wanted.get(bind, "bound") != "bound":
                bind.enter(self._wanted[bind])
                await self._pause(bind, math.inf)
                continue
            end = await self._once(bind, backoff)
            self._changed()
            if self.draining:
                return
            if bind.parted or self._wanted.get(bind, "bound") != "bound":
                continue
            if isinstance(end, CannotConnect | BindLost) and bind.binds == 0 and bind.try_next_place():
                continue
            if isinstance(end, CannotConnect) and bind.try_next_place():
                continue
            wait_s = backoff.wait_s(bind.endpoint, end)
            self._tell(bind, end, backoff.failures)
            if locks(end):
                self._proven, self._locked_until_ns = False, time.monotonic_ns() + int(wait_s * 1e9)
                self._locked_why = f"waits, since of another bind: {bind.last_error}"
            await self._pause(bind, 0 if bind.called else wait_s)

    async def _once(self, bind: Bind, backoff: Backoff) -> Exception | None:
        """One connection, from the first octet to the last; how it ended."""
        end: Exception | None = None
        with trio.CancelScope() as self._scopes[bind]:
            gate = None if self._proven else self._trying
            if gate is not None:
                if gate.locked():
                    bind.enter("waiting")
                await gate.acquire()
            began = time.monotonic()

            def bound() -> None:
                nonlocal gate, began
                began, self._proven = time.monotonic(), True
                if gate is not None:
                    gate.release()
                    gate = None
                self._changed()

            try:
                while (wait_s := (self._locked_until_ns - time.monotonic_ns()) / 1e9) > 0:
                    bind.last_error = self._locked_why
                    bind.enter("waiting")
                    await self._pause(bind, wait_s)
                await hold_bind(bind, self.book, self.deliveries, bound=bound)
                backoff.lived(time.monotonic() - began)
            except (BindRefused, BindLost, PeerBrokeProtocol) as exc:
                if not isinstance(exc, BindRefused | CannotConnect):
                    backoff.lived(time.monotonic() - began)
                if not bind.parted:
                    end, bind.last_error = exc, told(exc)
            finally:
                if gate is not None:
                    gate.release()
        return end

    def _tell(self, bind: Bind, end: Exception | None, failures: int) -> None:
        if end is None:
            return
        alarm = alarm_of(end, failures)
        bind.raise_alarm(alarm)
        said: dict[str, Any] = {"endpoint": self.endpoint.name, "bind": bind.number, "reason": told(end)}
        if isinstance(end, BindRefused):
            said["status"] = f"0x{end.command_status:08X}"
        if alarm is not None:
            said |= {"alarm": alarm.code, "remedy": alarm.remedy}
        log.warning("bind_refused" if isinstance(end, BindRefused) else "bind_lost", **said)

    async def _pause(self, bind: Bind, seconds: float) -> None:
        """Until then, or until somebody wants it to try at once."""
        event = self._wakes[bind] = trio.Event()
        with trio.move_on_after(seconds):
            await event.wait()

    # ---- what an operator, a reload or the SMSC wants

    def connect(self, bind: Bind) -> None:
        """Bound and sending is wanted: try at once, whatever was refused or asked for before."""
        self._wanted.pop(bind, None)
        if bind.paused:
            bind.paused = False
            if bind.pump is not None and bind.state == "paused":
                bind.pump.draining = bind.mode == "rx"
                bind.enter("bound")
                bind.push()
        self._locked_until_ns = 0
        for event in self._wakes.values():
            event.set()

    def disconnect(self, bind: Bind, state: str = "disconnected") -> None:
        """End it now, what is in its window is uncertain; it stays so until `connect` or a restart."""
        self._wanted[bind] = state
        if (scope := self._scopes.get(bind)) is not None:
            scope.cancel()
        if bind in self._wakes:
            self._wakes[bind].set()

    def pause(self, bind: Bind) -> None:
        """Submit nothing more on it; it stays bound for receipts and texts, until `connect` or a restart."""
        bind.paused = True
        if bind.pump is not None and bind.state == "bound":
            bind.pump.draining = True
            bind.enter("paused")

    def drain_bind(self, bind: Bind) -> None:
        """Submit nothing more on it, unbind when its window is answered; it stays so until `connect` or a restart."""
        self._wanted[bind] = "drained"
        if bind.pump is None:
            self.disconnect(bind, "drained")
            return
        bind.pump.draining = True
        bind.enter("draining")
        if self._nursery is not None:
            self._nursery.start_soon(self._leave, bind, bind.pump)

    def rebind(self, bind: Bind) -> None:
        """Make its connection anew: its window is answered first, then it binds again at once."""
        self._wanted.pop(bind, None)
        if bind.pump is None:
            self.connect(bind)
        elif self._nursery is not None:
            bind.pump.draining = True
            self._nursery.start_soon(self._leave, bind, bind.pump)

    async def _leave(self, bind: Bind, pump: Pump) -> None:
        with trio.move_on_after(DRAIN_S):
            while bind.pump is pump and (pump.in_flight or pump.waiting_answers):
                await trio.sleep(0.005)
        if bind.pump is pump:
            await unbind(bind)
        if bind.pump is pump:
            self._scopes[bind].cancel()

    def replace(self, endpoint: Endpoint) -> None:
        """Another setting of the same endpoint. Binds whose connection it does not touch live on."""
        changed = {f.name for f in fields(endpoint) if getattr(endpoint, f.name) != getattr(self.endpoint, f.name)}
        self.endpoint = endpoint
        for bind in self.binds:
            bind.endpoint = endpoint
        if "rate" in changed:
            self.set_rate(endpoint.rate)
        if "bind_rate" in changed:
            for pump in self.pumps():
                pump.pace.set_rate(endpoint.bind_rate, time.monotonic_ns())
        if "outbind_listen" in changed and self._nursery is not None:
            self._listen()
        if "bind_as" in changed:
            self._drop(self.binds)
        self._drop(self.binds[endpoint.binds * (2 if endpoint.bind_as == "tx_rx" else 1) :])
        fresh = self._make_binds()
        if self._nursery is None:
            return
        for bind in fresh:
            self._nursery.start_soon(self._keep, bind)
        if changed & CONNECTION:
            self._proven, self._locked_until_ns = False, 0
            self._nursery.start_soon(self._anew, [bind for bind in self.binds if bind not in fresh])

    def _drop(self, binds: list[Bind]) -> None:
        for bind in list(binds):
            self.binds.remove(bind)
            if bind.pump is None:
                self.disconnect(bind)
            else:
                self.rebind(bind)  # and then nobody keeps it

    async def _anew(self, binds: list[Bind]) -> None:
        """One after the other, so that the rest carry on."""
        for bind in binds:
            before, pump = bind.binds, bind.pump
            if pump is None:
                self.connect(bind)
            else:
                pump.draining = True
                await self._leave(bind, pump)
            with trio.move_on_after(self.endpoint.bind_timeout_s):
                while bind.binds == before and bind in self.binds:
                    await trio.sleep(0.01)

    def _listen(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        if self.endpoint.outbind_listen and self._nursery is not None:
            self._listening = trio.CancelScope()
            self._nursery.start_soon(self._hear_outbind, self._listening)

    async def _hear_outbind(self, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await listen_for_outbind(self.endpoint, self._called)
            except OSError as exc:
                log.error("outbind_listen_failed", endpoint=self.endpoint.name, reason=str(exc))
                remedy = "choose a free address of this machine for `outbind_listen`"
                self.found(Alarm("outbind_listen", f"{self.endpoint.outbind_listen}: {exc}", remedy))

    def _called(self, stream: trio.SocketStream) -> bool:
        """The SMSC wants us to bind: over its connection, by the first bind that has none."""
        for bind in self.binds:
            if bind.pump is None and bind.called is None and self._wanted.get(bind, "bound") == "bound":
                if bind.state == "connecting":
                    continue
                bind.called = stream
                if bind in self._wakes:
                    self._wakes[bind].set()
                return True
        return False
