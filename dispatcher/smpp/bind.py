"""[trio] One connection to the SMSC: bind, then recv and send through the pump until it ends; one nursery.

Touches: one socket and the Book it is given. What arrives off the fast path goes to `Deliveries` as records.
Rests on: SMPP_FACTS 7 (timers, socket options), SMPP v3.4 4.1 (bind), 2.7 (who may send what in which state).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio
from smpplib.smpp import make_pdu

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, PeerBrokeProtocol
from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    COMMAND_LENGTH_MAX,
    ESME_RINVCMDLEN,
    ESME_ROK,
    RESPONSE,
    Action,
    CommandId,
    action_of,
    status_name,
)
from dispatcher.smpp.pdu import Message, Unparsed
from dispatcher.smpp.pump import BLOCKED, BROKEN, CLOSED, OFF_PATH, Book, Pump
from dispatcher.smpp.states import Side, State, refuse

CONNECT_TIMEOUT_S = 5.0
ENQUIRE_ANSWER_S = 10.0  # SMPP_FACTS 7
UNBIND_WAIT_S = 2.0
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it
SEND_BUFFER_OCTETS = 256 << 10
NOT_SENT_OCTETS = 64 << 10


Answer = Callable[[int], None]


class Deliveries(Protocol):
    """Who takes what the pump does not settle itself."""

    def deliver(self, answer: Answer, message: Message | Unparsed) -> None:
        """A deliver_sm or data_sm off the fast path; to be answered with a command_status once it is durable."""

    def kick(self) -> None:
        """Something was journalled or a window has room."""


@dataclass(eq=False)
class Bind:
    """One bind's state as people see it; `pump` is None unless it is bound."""

    endpoint: Endpoint
    number: int
    state: str = "closed"  # closed, connecting, bound, draining
    since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    pump: Pump | None = None
    last_error: str = ""
    binds: int = 0
    _wake_writer: trio.Event = field(default_factory=trio.Event)

    def enter(self, state: str) -> None:
        self.state, self.since_ms = state, time.time_ns() // 1_000_000

    def push(self) -> None:
        """Send what may leave now; a full socket wakes the writer task."""
        if self.pump is not None and self.pump.push() & BLOCKED:
            self._wake_writer.set()

    def answerer(self, command_id: int, sequence_number: int, wrong: Unparsed | None = None) -> Answer:
        """How to answer this request of the SMSC's, later. Once its connection is gone nothing is said: it comes again,
        and on the next one the same number is another request. What is `wrong` with it is said instead of ESME_ROK.
        """
        pump = self.pump
        assert pump is not None
        least = wrong.command_status if wrong is not None else ESME_ROK

        def answer(status: int) -> None:
            if self.pump is not None and self.pump is pump:
                self.pump.queue(codec.encode(RESPONSE | command_id, status or least, sequence_number, b"\0"))
                self.push()

        return answer


async def hold_bind(bind: Bind, book: Book, deliveries: Deliveries, *, bound: Callable[[], None] | None = None) -> None:
    """Keep one bind until it fails or is cancelled; raises BindRefused, BindLost or PeerBrokeProtocol.

    What the pump took from the book it accounts for: given back where the socket never had it, else uncertain.
    """
    endpoint = bind.endpoint
    bind.enter("connecting")
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except (trio.TooSlowError, OSError) as exc:
        raise BindLost(f"{endpoint.host}:{endpoint.port}: {_why(exc)}") from exc
    sock = stream.socket
    try:
        _set_options(sock)
        try:
            with trio.fail_after(endpoint.bind_timeout_s):
                await _bind(sock, endpoint)
        except trio.TooSlowError as exc:
            raise BindLost(f"no answer to bind_transceiver in {endpoint.bind_timeout_s:g} s") from exc
        except OSError as exc:
            raise BindLost(f"{exc}") from exc
        bind.pump = Pump(book, sock.fileno(), endpoint.window)
        bind.binds += 1
        bind.enter("bound")
        if bound is not None:
            bound()
        try:
            async with trio.open_nursery() as nursery:  # the three live and die together
                nursery.start_soon(_read, bind, sock, deliveries, nursery)
                nursery.start_soon(_write, bind, sock)
                nursery.start_soon(_watch_clock, bind, deliveries)
                bind.push()
        except BaseExceptionGroup as group:
            ends, rest = group.split((BindLost, PeerBrokeProtocol))
            if rest is not None or ends is None:
                raise rest or group from None  # without `ends`: a bind lost while we are cancelled is no crash
            raise ends.exceptions[0] from None
    finally:
        if bind.pump is not None:
            bind.pump.close()  # synchronous: cancellation-proof
            bind.pump = None
        bind.enter("closed")
        sock.close()
        deliveries.kick()


def _why(exc: Exception) -> str:
    """Of a failed connect; trio's own words are only that every address was tried."""
    cause = exc.__cause__ or exc
    causes = cause.exceptions if isinstance(cause, ExceptionGroup) else (cause,)
    return "; ".join(str(each) for each in causes if str(each)) or "no answer to connect"


async def unbind(bind: Bind) -> None:
    """Our goodbye on a drained bind: unbind, a short wait for its answer."""
    if bind.pump is None:
        return
    bind.pump.draining = True
    bind.enter("draining")
    bind.pump.queue(codec.encode(CommandId.UNBIND, 0, bind.pump.next_sequence_number()))
    bind.push()
    with trio.move_on_after(UNBIND_WAIT_S):
        while bind.pump is not None and not bind.pump.closed:
            await trio.sleep(0.01)


def _set_options(sock: trio.socket.SocketType) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_OCTETS)
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOT_SENT_OCTETS)


async def _bind(sock: trio.socket.SocketType, endpoint: Endpoint) -> None:
    pdu = make_pdu(
        "bind_transceiver",
        client=None,
        system_id=endpoint.system_id,
        password=endpoint.password,
        system_type=endpoint.system_type,
        interface_version=0x34,
        addr_ton=0,
        addr_npi=0,
        sequence=1,
    )
    octets = pdu.generate()
    while octets:
        octets = octets[await sock.send(octets) :]
    head = await _exactly(sock, 16)
    length, command_id, status, _ = struct.unpack(">IIII", head)
    if not 16 <= length <= COMMAND_LENGTH_MAX:
        raise PeerBrokeProtocol(f"answer to bind_transceiver begins with command_length {length}: no SMSC there?")
    await _exactly(sock, length - 16)
    if status != 0 or command_id not in (RESPONSE | CommandId.BIND_TRANSCEIVER, CommandId.GENERIC_NACK):
        raise BindRefused(status)
    if command_id == CommandId.GENERIC_NACK:
        raise BindRefused(status or 0xFF)


async def _exactly(sock: trio.socket.SocketType, octets: int) -> bytes:
    got = b""
    while len(got) < octets:
        more = await sock.recv(octets - len(got))
        if not more:
            raise BindLost("closed before it was bound")
        got += more
    return got


async def _read(bind: Bind, sock: trio.socket.SocketType, deliveries: Deliveries, nursery: trio.Nursery) -> None:
    """The only one that reads; most of what is sent leaves from here too, in the same call."""
    pump = bind.pump
    assert pump is not None
    while True:
        if not pump.stalled:
            await trio.lowlevel.wait_readable(sock)
        while pump.full and not pump.closed:
            await trio.sleep(0.002)
        flags = pump.pull()
        if flags & OFF_PATH:
            for pdu in pump.take_off():
                _take(bind, pdu, deliveries, nursery)
        if flags & BLOCKED:
            bind._wake_writer.set()
        deliveries.kick()
        if flags & BROKEN:
            if action_of(pump.last_status) is Action.CLOSE:
                raise BindLost(f"a submit_sm was refused with {status_name(pump.last_status)}, which ends the bind")
            pump.queue(codec.generic_nack(0, ESME_RINVCMDLEN))
            pump.draining = True
            pump.push()
            raise PeerBrokeProtocol("the stream has no frame any more (command_length)")
        if flags & CLOSED:
            reason = f": {os.strerror(pump.last_errno)}" if pump.last_errno else ""
            raise BindLost(f"closed by the SMSC{reason}")


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
    elif refused := refuse(State.BOUND_TRX, Side.SMSC, header):
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
    """Response timer, enquire_link, a peer that has gone mute."""
    endpoint, pump = bind.endpoint, bind.pump
    assert pump is not None
    asked_ns = 0
    step = min(1.0, endpoint.response_timeout_s / 4, endpoint.enquire_link_s / 4)
    mute_after = max(10, endpoint.window)
    while True:
        await trio.sleep(step)
        now = time.monotonic_ns()
        if pump.tick(now, int(endpoint.response_timeout_s * 1e9)):
            if pump.timeouts_in_row >= mute_after:
                seconds = f"{endpoint.response_timeout_s:g} s"
                raise BindLost(f"{pump.timeouts_in_row} submit_sm in a row unanswered for {seconds}")
            bind.push()  # the window has room again
            deliveries.kick()
        idle_s = (now - pump.last_received_ns) / 1e9
        if asked_ns > pump.last_received_ns:
            if (now - asked_ns) / 1e9 > ENQUIRE_ANSWER_S:
                raise BindLost(f"enquire_link unanswered for {ENQUIRE_ANSWER_S:g} s")
        elif idle_s >= endpoint.enquire_link_s:
            asked_ns = now
            pump.queue(codec.encode(CommandId.ENQUIRE_LINK, 0, pump.next_sequence_number()))
            bind.push()
