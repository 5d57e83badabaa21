"""One connection of the simulator: when the kernel is woken, how it ends, and TLS before it.

Touches: sockets, by trio's waiting and the kernel's reading and writing; with TLS a pair of sockets lies between.
Rests on: tcp(7) for what half-open and RST are here. Weak spot: TLS is relayed by this loop, far from the plain speed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

import trio

from dispatcher.smpp import _smsc as kernel
from dispatcher.smpp import _smsc_shared as shared
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.smsc_options import SmscOptions

UNBIND_S = 5.0  # an unbind that is not answered ends so long after
HANDSHAKE_S = 10.0
ENQUIRE_ANSWER_S = 10.0
ENQUIRE_SEQUENCE = 0x7FFFFFFD  # of ours; the kernel's deliver_sm come by far smaller ones
HALF_OPEN_STEP_S = 0.1
SLOW_STEP_S = 0.05
RELAY_OCTETS = 1 << 16
TCP_CLOSED_BY_PEER = 7, 8  # TCP_CLOSE, TCP_CLOSE_WAIT: what TCP_INFO begins with


class Owner(Protocol):
    """What a connection asks of its simulator."""

    options: SmscOptions
    fell_silent: int  # connections that a timer of ours ended

    def now(self) -> tuple[int, int]: ...

    def offer(self, account: shared.Account | None) -> None: ...

    def answer_odd(self, peer: Peer, pdu: bytes) -> bool: ...

    def new_connection(self, fd: int) -> kernel.Connection: ...

    def sweep(self) -> None: ...


class Peer:
    """One connection: its task, and what others may ask of it. All of it runs on one loop."""

    def __init__(self, smsc: Owner, wire: trio.socket.SocketType, inner: trio.socket.SocketType | None = None) -> None:
        self._smsc = smsc
        self._wire = wire  # of the ESME; the kernel has `inner` when TLS lies between
        self._socket = inner or wire
        self.connection = smsc.new_connection(self._socket.fileno())
        self.system_id: str | None = None  # once bound
        self._blocked = False  # the socket takes no octets: nothing is read until it does
        self._ended = False
        self._silent = False  # half-open: nothing is read or written any more
        self._waiting = trio.CancelScope()
        self._unbind_until = float("inf")
        self._since_ns = smsc.now()[1]
        self._asked_ns = 0  # our enquire_link, until anything is heard

    def watch(self, now_ns: int) -> None:
        """Timers of this side (SMPP 3.4, 7.2): enquire_link after silence, the end after more of it."""
        if self._ended:
            return
        options = self._smsc.options
        quiet_s = (now_ns - max(self._since_ns, self.connection.heard_ns)) / 1e9
        if options.inactivity_s and quiet_s > options.inactivity_s:
            self._smsc.fell_silent += 1
            self.end()
        elif self._asked_ns > self.connection.heard_ns:
            if now_ns - self._asked_ns > ENQUIRE_ANSWER_S * 1e9:
                self._smsc.fell_silent += 1
                self.end()
        elif options.enquire_link_s and quiet_s > options.enquire_link_s and self.connection.account is not None:
            self._asked_ns = now_ns
            self.connection.put(codec.encode(CommandId.ENQUIRE_LINK, 0, ENQUIRE_SEQUENCE))
            self.push()

    async def run(self) -> None:
        """Until the connection is over. The caller closes the sockets."""
        while self._step():
            self._smsc.sweep()
            with trio.CancelScope(deadline=self._unbind_until) as self._waiting:
                if self._blocked:
                    await trio.lowlevel.wait_writable(self._socket)
                else:
                    await trio.lowlevel.wait_readable(self._socket)
            self._blocked = False
            if trio.current_time() >= self._unbind_until:
                break
            await self._pause()
        if self._silent:
            await self._wait_for_the_peer()

    def push(self) -> None:
        """Deliver and send what has room, without reading."""
        if not self._blocked and not self._ended:
            self._told(self.connection.push(*self._smsc.now()))

    def turn(self) -> None:
        """All that can be done now."""
        if not self._blocked and not self._ended and not self._step():
            self.end()

    def swept(self, what: int) -> None:
        """Go on where the kernel stopped at this connection."""
        if not self._ended:
            self._told(what)
            if what & kernel.ODD or what & kernel.LEFT:
                self.turn()

    def end(self, how: str = "fin") -> None:
        """Let the connection end: fin, rst, unbind or half-open."""
        if how == "unbind" and not self._ended:
            self.connection.put(codec.encode(CommandId.UNBIND, 0, 1))
            self.unbinding()
            self.push()
            return
        if how == "rst":
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.leave()
        self._silent = how == "half-open"
        self._ended = True
        self._waiting.cancel()

    def unbinding(self) -> None:
        """Our unbind is on its way."""
        self._unbind_until = min(self._unbind_until, trio.current_time() + UNBIND_S)

    def _step(self) -> bool:
        """One wake-up; False when the connection is over."""
        while not self._ended:
            what = self.connection.wake(*self._smsc.now())
            self._told(what)
            if what & kernel.ODD and not self._ended:
                if not self._smsc.answer_odd(self, self.connection.take_odd()):
                    self.connection.push(*self._smsc.now())
                    break
                continue
            if what & kernel.LEFT:
                self._smsc.offer(self.connection.account)
            return not self._ended
        return False

    def _told(self, what: int) -> None:
        if what & kernel.DROP:
            self.end(self._smsc.options.drop_how)
        elif what & kernel.CLOSE:
            self.end()
        elif what & kernel.WRITE:
            self._blocked = True
            self._waiting.cancel()
        if self.connection.unbinding and self._unbind_until == float("inf"):
            self.unbinding()

    async def _pause(self) -> None:
        """Read and write no faster than told."""
        rate, write_rate = self._smsc.options.read_rate, self._smsc.options.write_rate
        if not rate and not write_rate:
            self.connection.slow(0, 0)
            return
        step_s = max(SLOW_STEP_S, *(1 / octets for octets in (rate, write_rate) if octets))
        self.connection.slow(*(max(1, round(octets * step_s)) if octets else 0 for octets in (rate, write_rate)))
        with trio.CancelScope() as self._waiting:
            await trio.sleep(step_s)

    async def _wait_for_the_peer(self) -> None:
        """Say nothing until the other side has closed."""
        while self._wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO) not in TCP_CLOSED_BY_PEER:
            await trio.sleep(HALF_OPEN_STEP_S)


def tls_context(options: SmscOptions) -> ssl.SSLContext | None:
    """What connections are served with; None for plain ones. OSError and ssl.SSLError for files that do not fit."""
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.tls_client_ca is not None:
        context.load_verify_locations(options.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def relay_tls(
    stream: trio.SocketStream, context: ssl.SSLContext, serve: Callable[[trio.socket.SocketType], object]
) -> None:
    """Shake hands, then `serve` a socket whose octets go through TLS. Returns when either side has ended."""
    theirs, ours = trio.socket.socketpair()
    with theirs, ours:
        secure: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
            stream, context, server_side=True, https_compatible=True
        )
        with trio.fail_after(HANDSHAKE_S):
            await secure.do_handshake()
        plain = trio.SocketStream(theirs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy, secure, plain)
            nursery.start_soon(_copy, plain, secure)
            await serve(ours)  # type: ignore[misc]
            ours.close()
            with trio.move_on_after(1):
                while nursery.child_tasks:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def _copy(come: trio.abc.ReceiveStream, go: trio.abc.SendStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await come.receive_some(RELAY_OCTETS):
            await go.send_all(data)
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
        await go.aclose()
