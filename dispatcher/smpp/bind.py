"""[trio] One bind: connect, then recv and send through the pump until it ends; one nursery.

Touches: one connection and the Book it is given. What arrives off the fast path goes to `Deliveries` as records.
Rests on: SMPP_FACTS 7 (timers), SMPP v3.4 2.2 and 2.7 (who may send what in which state).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, Protocol

import trio

from config import Endpoint
from dispatcher.errors import BindLost, PeerBrokeProtocol
from dispatcher.smpp import codec
from dispatcher.smpp.connect import Line, connect
from dispatcher.smpp.consts import ESME_RINVCMDLEN, ESME_ROK, RESPONSE, Action, CommandId, action_of, status_name
from dispatcher.smpp.framing import bad_length
from dispatcher.smpp.meter import Meter, quantiles
from dispatcher.smpp.pdu import Message, Unparsed
from dispatcher.smpp.pump import BLOCKED, BROKEN, CLOSED, OFF_PATH, Book, Pump
from dispatcher.smpp.rebind import Alarm
from dispatcher.smpp.states import Side, State, refuse
from dispatcher.smpp.timers import Timers
from dispatcher.smpp.trace import Crossed, Traces

UNBIND_WAIT_S = 2.0
FULL_WAIT_S = 0.002
STATES = {"trx": State.BOUND_TRX, "tx": State.BOUND_TX, "rx": State.BOUND_RX}

Answer = Callable[[int], None]


class Deliveries(Protocol):
    """Who takes what the pump does not settle itself."""

    def deliver(self, answer: Answer, message: Message | Unparsed) -> None:
        """A deliver_sm or data_sm off the fast path; to be answered with a command_status once it is durable."""

    def kick(self) -> None:
        """Something was journalled or a window has room."""

    def ended(self) -> None:
        """A bind has ended: answers on their way may not have arrived."""


@dataclass(eq=False)
class Bind:
    """One bind's state as people see it; `pump` is None unless it is bound."""

    endpoint: Endpoint
    number: int
    mode: str = "trx"  # trx, tx or rx
    state: str = "closed"  # closed, waiting, connecting, bound, paused, draining, drained, disconnected
    paused: bool = False  # by an operator: it stays bound and submits nothing
    parted: bool = False  # our unbind is out: its end is no fault
    since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    pump: Pump | None = None
    line: Line | None = None
    last_error: str = ""
    alarm: Alarm | None = None
    alarm_ms: int = 0
    binds: int = 0
    meter: Meter = field(default_factory=Meter)
    siblings: list[Bind] = field(default_factory=list)  # all of the endpoint's: whoever wakes up reads for all
    reading: trio.Nursery | None = None  # while it may be read
    called: trio.SocketStream | None = None  # by the SMSC, with an outbind: to bind over
    throttled: Callable[[], None] = lambda: None  # a submit_sm was answered that we are too fast
    traces: Traces = field(default_factory=Traces)  # while people look on
    _place: int = 0
    _wake_writer: trio.Event = field(default_factory=trio.Event)

    @property
    def name(self) -> str:
        """As commands name it: endpoint.number."""
        return f"{self.endpoint.name}.{self.number}"

    @property
    def place(self) -> tuple[str, int]:
        """The address that is tried next, or that answered last."""
        return self.endpoint.places[self._place % len(self.endpoint.places)]

    def try_next_place(self) -> bool:
        """After a failure at this one. True while there are others that were not tried in this round."""
        self._place = (self._place + 1) % len(self.endpoint.places)
        return self._place != 0

    @property
    def submits(self) -> bool:
        """It may carry submit_sm now."""
        return self.pump is not None and self.mode != "rx" and not self.pump.draining

    def enter(self, state: str) -> None:
        self.state, self.since_ms = state, time.time_ns() // 1_000_000

    def raise_alarm(self, alarm: Alarm | None) -> None:
        self.alarm, self.alarm_ms = alarm, time.time_ns() // 1_000_000

    def push(self) -> None:
        """Send what may leave now; a full socket wakes the writer task."""
        if self.pump is not None and self.pump.push() & BLOCKED:
            self._wake_writer.set()

    def pull(self, deliveries: Deliveries) -> None:
        """Take what waits at the socket, from another bind's task; its own hears of an end in its nursery."""
        pump, nursery = self.pump, self.reading
        if pump is None or nursery is None or pump.full or pump.stalled or pump.closed or pump.broken:
            return
        flags = pump.pull()
        if flags:
            self.pulled(flags, deliveries)
            if flags & (BROKEN | CLOSED):
                self.reading = None
                nursery.start_soon(_end_soon, self, flags)

    def pulled(self, flags: int, deliveries: Deliveries) -> None:
        """What a pull left to Python."""
        if flags & OFF_PATH and self.pump is not None and self.reading is not None:
            for pdu in self.pump.take_off():
                _take(self, pdu, deliveries, self.reading)
        if flags & BLOCKED:
            self._wake_writer.set()

    def answerer(self, command_id: int, sequence_number: int, wrong: Unparsed | None = None) -> Answer:
        """How to answer this request of the SMSC's, later. Once its connection is gone nothing is said: it comes again,
        and on the next one the same number is another request. What is `wrong` with it is said instead of ESME_ROK.
        """
        pump = self.pump
        assert pump is not None
        least = wrong.command_status if wrong is not None else ESME_ROK

        def answer(status: int) -> None:
            if self.pump is not None and self.pump is pump and not pump.broken:
                self.pump.queue(codec.encode(RESPONSE | command_id, status or least, sequence_number, b"\0"))
                self.push()

        return answer

    def look(self, looker: str, number: str = "", *, reveal: bool = False) -> tuple[list[Crossed], int]:
        """What crossed since this one's last look, and how many octets they have missed so far. It ends by itself a
        while after the last. Raises TooManyLook."""
        self.gather_traces()
        trace = self.traces.of(looker, number, reveal, time.monotonic_ns())
        if self.pump is not None:
            self.pump.trace(True)
        return trace.take(), trace.lost_octets

    def end_traces(self, now_ns: int) -> None:
        """Of those who have not looked for a while; with the last of them nothing is mirrored any more."""
        self.traces.end_old(now_ns)
        if not self.traces and self.pump is not None:
            self.pump.trace(False)

    def gather_traces(self) -> None:
        """What was mirrored since anybody looked, to everybody."""
        if self.traces and self.pump is not None:
            chunks, lost = self.pump.take_trace()
            for trace in self.traces:
                trace.offer(chunks, lost)

    def statistics(self) -> dict[str, Any]:
        """Everything about it that people see."""
        pump, counts = self.pump, self.meter.counts(self.pump)
        p50, p99 = quantiles(self.meter.times(pump), (0.5, 0.99))
        return {
            "endpoint": self.endpoint.name,
            "bind": self.number,
            "name": self.name,
            "mode": self.mode,
            "state": self.state,
            "since_ms": self.since_ms,
            "binds": self.binds,
            "address": "{}:{}".format(*self.place),
            "tls": self.endpoint.tls,
            "smsc": self.line.system_id if self.line is not None else "",
            "in_flight": pump.in_flight if pump is not None else 0,
            "window": 0 if self.mode == "rx" else self.endpoint.window,
            "submits": counts["submits"],
            "responses": counts["responses"],
            "receipts": counts["delivers"],
            "timeouts": counts["timeouts"],
            "octets_in": counts["octets_in"],
            "octets_out": counts["octets_out"],
            "submits_per_s": round(self.meter.rates["submits"], 1),
            "responses_per_s": round(self.meter.rates["responses"], 1),
            "receipts_per_s": round(self.meter.rates["delivers"], 1),
            "response_ms_p50": p50,
            "response_ms_p99": p99,
            "errors": self.meter.refusals(pump),
            "last_error": self.last_error,
            "alarm": None if self.alarm is None else asdict(self.alarm) | {"since_ms": self.alarm_ms},
        }


async def hold_bind(bind: Bind, book: Book, deliveries: Deliveries, *, bound: Callable[[], None] | None = None) -> None:
    """Keep one bind until it fails or is cancelled; raises CannotConnect, BindRefused, BindLost or PeerBrokeProtocol.

    What the pump took from the book it accounts for: given back where the socket never had it, else uncertain.
    """
    endpoint = bind.endpoint
    bind.enter("connecting")
    bind.parted = False
    called, bind.called = bind.called, None
    try:
        bind.line = line = await connect(endpoint, bind.place, bind.mode, called)
        pump = Pump(
            book, line.socket.fileno(), endpoint.window if bind.mode != "rx" else 1,
            rate=0 if bind.mode == "rx" else endpoint.bind_rate, bind=bind.number,
        )  # fmt: skip
        pump.draining = bind.mode == "rx" or bind.paused  # answers leave, submit_sm never
        if bind.traces:
            for trace in bind.traces:
                trace.gap()
            pump.trace(True)
        bind.pump = pump
        bind.binds += 1
        bind.enter("paused" if bind.paused else "bound")
        bind.raise_alarm(None)
        if bound is not None:
            bound()
        await _run(bind, line, book, deliveries)
    finally:
        if bind.pump is not None:
            bind.gather_traces()  # its last words are those that somebody waits for
            bind.pump.close()  # synchronous: cancellation-proof
            bind.meter.ended(bind.pump)
            bind.pump = None
            deliveries.ended()
        bind.enter("closed")
        deliveries.kick()
        if bind.line is not None:
            line, bind.line = bind.line, None
            await line.aclose()


async def _run(bind: Bind, line: Line, book: Book, deliveries: Deliveries) -> None:
    try:
        async with trio.open_nursery() as nursery:  # they live and die together
            nursery.start_soon(_read, bind, line, book, deliveries, nursery)
            nursery.start_soon(_write, bind, line.socket)
            nursery.start_soon(_watch_clock, bind, deliveries)
            if line.relay is not None:
                nursery.start_soon(line.relay.run)
            bind.push()
    except BaseExceptionGroup as group:
        ends, rest = group.split((BindLost, PeerBrokeProtocol))
        if rest is not None or ends is None:
            raise rest or group from None  # without `ends`: a bind lost while we are cancelled is no crash
        raise ends.exceptions[0] from None


async def unbind(bind: Bind) -> None:
    """Our goodbye on a drained bind: unbind, a short wait for its answer."""
    if bind.pump is None:
        return
    bind.pump.draining = bind.parted = True
    bind.enter("draining")
    bind.pump.queue(codec.encode(CommandId.UNBIND, 0, bind.pump.next_sequence_number()))
    bind.push()
    with trio.move_on_after(UNBIND_WAIT_S):
        while bind.pump is not None and not bind.pump.closed:
            await trio.sleep(0.01)


async def _read(bind: Bind, line: Line, book: Book, deliveries: Deliveries, nursery: trio.Nursery) -> None:
    """Reads when there is something to read; most of what is sent leaves from here too, in the same call."""
    pump = bind.pump
    assert pump is not None
    bind.reading = nursery
    try:
        while True:
            if not pump.stalled:
                await trio.lowlevel.wait_readable(line.socket)
            while pump.full and not pump.closed:
                await trio.sleep(FULL_WAIT_S)
            flags = pump.pull()
            for other in bind.siblings:  # what waits there is taken now: one wake-up of this loop instead of one each
                if other is not bind and other.reading is not None:
                    other.pull(deliveries)
            if book.throttled_new:
                bind.throttled()
            deliveries.kick()
            if bind.reading is None:  # another one's task found the end first, and it is told already
                await trio.sleep_forever()
            bind.pulled(flags, deliveries)
            if flags & (BROKEN | CLOSED):
                _end(bind, line, flags)
    finally:
        bind.reading = None


async def _end_soon(bind: Bind, flags: int) -> None:
    """In the nursery of a bind that another one's task found ended."""
    if bind.line is not None:
        _end(bind, bind.line, flags)


def _end(bind: Bind, line: Line, flags: int) -> NoReturn:
    """Why it is over. Raises BindLost or PeerBrokeProtocol."""
    pump = bind.pump
    assert pump is not None
    if flags & BROKEN:
        if action_of(pump.last_status) is Action.CLOSE:
            raise BindLost(f"a submit_sm was refused with {status_name(pump.last_status)}, which ends the bind")
        pump.queue(codec.generic_nack(0, ESME_RINVCMDLEN))
        pump.draining = True
        pump.push()
        reason = bad_length(int.from_bytes(pump.head[:4])).reason
        raise PeerBrokeProtocol(f"the stream has no frame any more: {reason}")
    raise BindLost(f"closed by the SMSC{_why_closed(pump, line)}")


def _why_closed(pump: Pump, line: Line) -> str:
    reason = os.strerror(pump.last_errno) if pump.last_errno else ""
    return f": {told}" if (told := line.relay.why if line.relay is not None and line.relay.why else reason) else ""


def _take(bind: Bind, pdu: bytes, deliveries: Deliveries, nursery: trio.Nursery) -> None:
    """One PDU off the fast path."""
    header = codec.decode_header(pdu)
    assert not isinstance(header, Unparsed) and bind.pump is not None
    if header.command_id in (CommandId.DELIVER_SM, CommandId.DATA_SM):
        message = codec.decode_message(pdu)
        wrong = message if isinstance(message, Unparsed) else None
        deliveries.deliver(bind.answerer(header.command_id, header.sequence_number, wrong), message)
    elif header.command_id == CommandId.UNBIND:
        nursery.start_soon(_let_go, bind, header.sequence_number, nursery.cancel_scope)
    elif refused := refuse(STATES[bind.mode], Side.SMSC, header):
        bind.pump.queue(refused)
        bind.push()


async def _let_go(bind: Bind, sequence_number: int, whole: trio.CancelScope) -> None:
    """Their unbind: nothing more is submitted, what is in flight may still be answered (SMPP_FACTS 7), then goodbye."""
    pump = bind.pump
    assert pump is not None
    pump.draining = True
    bind.last_error = "unbind from the SMSC"
    with trio.move_on_after(UNBIND_WAIT_S):
        while pump.in_flight or pump.waiting_answers:
            await trio.sleep(0.005)
    pump.queue(codec.encode(RESPONSE | CommandId.UNBIND, 0, sequence_number))
    bind.push()
    whole.cancel()


async def _write(bind: Bind, sock: trio.socket.SocketType) -> None:
    """Only where a socket's buffer was full."""
    pump = bind.pump
    assert pump is not None
    while True:
        await bind._wake_writer.wait()
        bind._wake_writer = trio.Event()
        while pump.blocked:
            await trio.lowlevel.wait_writable(sock)
            pump.push()


async def _watch_clock(bind: Bind, deliveries: Deliveries) -> None:
    """Every timer of the bind."""
    pump = bind.pump
    assert pump is not None
    timers = Timers(bind.endpoint, time.monotonic_ns())
    while True:
        timers.endpoint = bind.endpoint  # a reload may have brought others
        await trio.sleep(timers.step_s)
        now = time.monotonic_ns()
        room = pump.tick(now, int(timers.endpoint.response_timeout_s * 1e9))
        try:
            ask = timers.look(pump, now)
        except BindLost:
            pump.draining = True  # nothing more for a peer that is gone, whoever pushes until it is closed
            raise
        if ask:
            pump.queue(codec.encode(CommandId.ENQUIRE_LINK, 0, pump.next_sequence_number()))
        elif not room:
            continue
        bind.push()
        deliveries.kick()
