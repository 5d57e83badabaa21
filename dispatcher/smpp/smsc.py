"""The SMSC simulator: the other side of the same tables, for rehearsals and tests, with faults by name.

Touches: sockets (trio waits, the kernel reads and writes), the log, the MO file.
Promise to a checker: a line is in the log, by write(2), before the octets of its ESME_ROK leave.
Rests on: SMPP v3.4 issue 1.2; appendix B for receipts. Weak spot: timers run in steps of TICK_S.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import trio

from dispatcher.clock import Clock, SystemClock
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_ROK, CommandId
from dispatcher.smpp.smsc_session import GARBAGE, NUMBER_OF_STATE, SmscOptions, answer_odd, mo_pdus

try:
    from dispatcher.smpp import _smsc as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel smpp/_smsc is not built: run `make build`") from exc

TICK_S = 0.002  # of delayed answers and receipts
IDLE_TICK_S = 0.1  # without delays: only deliver_sm that were answered "not now" wait for a time
MO_POLL_S = 0.05


async def serve_smsc(
    options: SmscOptions,
    *,
    clock: Clock | None = None,
    task_status: trio.TaskStatus[Smsc] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; starts with the Smsc, whose `port` is open. OSError when the log cannot be written."""
    log_fd = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if options.log else -1
    try:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(options.port, host=options.host)
            port = listeners[0].socket.getsockname()[1]
            smsc = Smsc(options, clock or SystemClock(), port, log_fd)
            nursery.start_soon(smsc.keep_time)
            if options.mo:
                nursery.start_soon(smsc.follow_mo, options.mo)
            task_status.started(smsc)
            await trio.serve_listeners(smsc.serve, listeners)
    finally:
        if log_fd >= 0:
            os.close(log_fd)


class Smsc:
    """A running simulator."""

    def __init__(self, options: SmscOptions, clock: Clock, port: int, log_fd: int) -> None:
        self.host = options.host
        self.port = port
        self.options = options
        self._clock = clock
        # Ids of a later start lie above: a millisecond has room for a million.
        self._kernel = kernel.Smsc(log_fd, clock.epoch_ms() * 1_000_000)
        self._accounts: dict[str, kernel.Account] = {}
        self._peers: list[Peer] = []
        self._binds_asked = 0
        self._binds = 0
        self._connections = 0
        self._malformed = 0
        self._mo_lines_refused = 0
        self._mo_reference = 0
        self.change()

    def __repr__(self) -> str:
        return f"<Smsc {self.host}:{self.port} {len(self._peers)} connections>"

    def change(self, **fields: Any) -> None:
        """Behave otherwise from now on, by fields of SmscOptions; host, port, log and mo stay as they are."""
        self.options = dataclasses.replace(self.options, **fields)
        states = [(weight, NUMBER_OF_STATE[word], word, error) for word, weight, error in self.options.states]
        self._kernel.configure(self.options, states, [GARBAGE[kind] for kind in self.options.garbage])

    def summary(self) -> dict[str, Any]:
        """What happened since the start. A receipt is pending from acceptance to its deliver_sm_resp."""
        count = self._kernel.count()
        span_ns = count.pop("accepted_ns")
        count["malformed"] += self._malformed
        owed = count.pop("receipts_owed")
        return {
            "connections": self._connections,
            "binds": self._binds,
            "binds_refused": self._binds_asked - self._binds,
            **count,
            "receipts_pending": owed - count["receipts_answered"] - count["receipts_refused"],
            "mo_lines_refused": self._mo_lines_refused,
            "accepted_per_s": round((count["accepted"] - 1) * 1e9 / span_ns) if span_ns > 0 else 0,
        }

    def inject_mo(self, source: str, destination: str, text: str) -> int:
        """Send a text from a phone over any bind that receives; how many deliver_sm it takes. ValueError when SMPP
        cannot carry it."""
        self._mo_reference = self._mo_reference + 1 & 0xFF
        pdus = mo_pdus(source, destination, self.options.mo_parts(text, self._mo_reference))
        for pdu in pdus:
            self.inject(pdu)
        return len(pdus)

    def inject(self, deliver_sm: bytes) -> None:
        """Send this deliver_sm, at most 512 octets, under a sequence_number of the bind that has room for it."""
        self._kernel.inject(deliver_sm)
        for peer in self._peers:
            peer.push()

    def close_all(self) -> None:
        """Close every connection, as a crash of the SMSC would."""
        for peer in self._peers:
            peer.end()

    def unbind_all(self) -> None:
        """Ask every connection to unbind."""
        for peer in self._peers:
            peer.connection.put(codec.encode(CommandId.UNBIND, 0, 1))
            peer.push()

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection from accept to close."""
        peer = Peer(self, stream)
        self._connections += 1
        self._peers.append(peer)
        try:
            await peer.run()
        finally:
            self._peers.remove(peer)
            peer.connection.close()
            stream.socket.close()
            self.offer(peer.connection.account)

    async def keep_time(self) -> None:
        """Let delayed answers and receipts go when they are due."""
        while True:
            await trio.sleep(TICK_S if self.options.delay_ms or self.options.receipt_delay_ms else IDLE_TICK_S)
            now_ns = self._clock.monotonic_ns()
            for peer in tuple(self._peers):
                account = peer.connection.account
                if peer.connection.due_ns() <= now_ns or (account is not None and account.due_ns() <= now_ns):
                    peer.turn()

    async def follow_mo(self, path: Path) -> None:
        """Inject each whole line that `path` has or gets: from, to, text."""
        read, rest = 0, b""
        while True:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(read)
                    data = file.read(1 << 20)
                read += len(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._inject_line(line)
                if data:
                    await trio.lowlevel.checkpoint()
                    continue
            await trio.sleep(MO_POLL_S)

    def _inject_line(self, line: bytes) -> None:
        try:
            source, destination, text = line.decode().rstrip("\r").split("\t", 2)
            self.inject_mo(source, destination, text)
        except ValueError:
            self._mo_lines_refused += 1

    def now(self) -> tuple[int, int]:
        return self._clock.epoch_ms(), self._clock.monotonic_ns()

    def offer(self, account: kernel.Account | None) -> None:
        """Deliver on the account's other binds what one had no room for."""
        for peer in self._peers:
            if peer.connection.account is account and peer.connection.has_room:
                peer.push()

    def answer_odd(self, peer: Peer, pdu: bytes) -> bool:
        """Answer what the kernel left; False when the connection ends with that."""
        refused = self.options.refuses(self._binds_asked)
        bound = peer.connection.account is not None
        status = self.options.refuse_status if refused else ESME_ROK
        reply = answer_odd(pdu, bound=bound, refuse_status=status)
        self._binds_asked += bool(reply.bind) or reply.refused
        self._malformed += reply.malformed
        if not peer.connection.put(reply.octets):
            return False  # a peer that asks and asks and never reads
        if reply.bind:
            self._binds += 1
            account = self._accounts.setdefault(reply.bind.system_id, kernel.Account())
            window = self.options.deliver_window
            peer.connection.bind(account, "t" in reply.mode, reply.mode != "tx", window)
        return not reply.ends

    def new_connection(self, fd: int) -> kernel.Connection:
        return kernel.Connection(self._kernel, fd)


class Peer:
    """One connection: its task, and what others may ask of it. All of it runs on one loop."""

    def __init__(self, smsc: Smsc, stream: trio.SocketStream) -> None:
        self._smsc = smsc
        self._socket = stream.socket
        self.connection = smsc.new_connection(stream.socket.fileno())
        self._blocked = False  # the socket takes no octets: nothing is read until it does
        self._ended = False
        self._waiting = trio.CancelScope()

    async def run(self) -> None:
        while self._step():
            with trio.CancelScope() as self._waiting:
                if self._blocked:
                    await trio.lowlevel.wait_writable(self._socket)
                else:
                    await trio.lowlevel.wait_readable(self._socket)
            self._blocked = False

    def push(self) -> None:
        """Deliver and send what has room, without reading."""
        if not self._blocked and not self._ended:
            self._told(self.connection.push(*self._smsc.now()))

    def turn(self) -> None:
        """All that can be done now."""
        if not self._blocked and not self._ended and not self._step():
            self.end()

    def end(self) -> None:
        """Let the task close the connection."""
        self._ended = True
        self._waiting.cancel()

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
        if what & kernel.CLOSE:
            self.end()
        elif what & kernel.WRITE:
            self._blocked = True
            self._waiting.cancel()
