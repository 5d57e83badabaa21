"""The SMSC simulator: the other side of the same tables, for rehearsals and tests, with faults by name.

Touches: sockets (trio waits, the kernel reads and writes), the log, the MO file.
Promise to a checker: a line is in the log, by write(2), before the octets of its ESME_ROK leave.
Rests on: SMPP v3.4 issue 1.2; appendix B for receipts. Weak spot: timers run in steps of TICK_S.
"""

from __future__ import annotations

import dataclasses
import os
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from dispatcher.clock import Clock, SystemClock
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_ROK, CommandId
from dispatcher.smpp.pdu import Bind, Pdu
from dispatcher.smpp.smsc_messages import COMMANDS, Messages
from dispatcher.smpp.smsc_mo import MoSource
from dispatcher.smpp.smsc_options import NUMBER_OF_STATE, SmscOptions
from dispatcher.smpp.smsc_scenario import Scenario
from dispatcher.smpp.smsc_session import KINDS, SYSTEM_ID, answer_odd

try:
    from dispatcher.smpp import _smsc as kernel
    from dispatcher.smpp import _smsc_shared as shared
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernels smpp/_smsc are not built: run `make build`") from exc
from dispatcher.smpp.smsc_peer import Peer, relay_tls, tls_context

TICK_S = 0.002  # of delayed answers and receipts
IDLE_TICK_S = 0.1  # without delays: only deliver_sm that were answered "not now" wait for a time
MO_POLL_S = 0.05
MO_WAITING_MAX = 100_000  # texts made up and not sent yet; above it they are skipped
CALL_S = 1.0  # between calls of an ESME that is to bind


async def serve_smsc(
    options: SmscOptions,
    *,
    clock: Clock | None = None,
    scenario: Scenario | None = None,
    task_status: trio.TaskStatus[Smsc] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled or the scenario stops; starts with the Smsc, whose `port` is open. OSError when the log
    cannot be written."""
    log_fd = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if options.log else -1
    try:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(options.port, host=options.host)
            port = listeners[0].socket.getsockname()[1]
            smsc = Smsc(options, clock or SystemClock(), port, log_fd, scenario)
            nursery.start_soon(smsc.keep_time, nursery.cancel_scope)
            if options.mo:
                nursery.start_soon(smsc.follow_mo, options.mo)
            if options.outbind:
                nursery.start_soon(smsc.call_out, options.outbind)
            task_status.started(smsc)
            await trio.serve_listeners(smsc.serve, listeners)
    finally:
        if log_fd >= 0:
            os.close(log_fd)


class Smsc:
    """A running simulator."""

    def __init__(
        self, options: SmscOptions, clock: Clock, port: int, log_fd: int, scenario: Scenario | None = None
    ) -> None:
        self.host = options.host
        self.port = port
        self.options = options
        self.scenario = scenario
        self.stopped = False  # by the scenario
        self._tls = tls_context(options)
        self._clock = clock
        # Ids of a later start lie above: a millisecond has room for a million.
        self._kernel = shared.Smsc(log_fd, clock.epoch_ms() * 1_000_000)
        self._accounts: dict[str, shared.Account] = {}
        self._peers: list[Peer] = []
        self._by_number: dict[int, Peer] = {}  # of the kernel's number
        self._binds_asked = 0  # since the start, or the phase's
        self._binds = 0
        self._refused: Counter[int] = Counter()
        self._binds_muted = 0
        self._connections = 0
        self._handshakes_failed = 0
        self.fell_silent = 0
        self._malformed = 0
        self._mo_lines_refused = 0
        self._mo_skipped = 0
        self._mo = MoSource()
        self._changed_ns = 0
        self.change()

    def __repr__(self) -> str:
        return f"<Smsc {self.host}:{self.port} {len(self._peers)} connections>"

    def change(self, **fields: Any) -> None:
        """Behave otherwise from now on, by fields of SmscOptions; those of RUN_OPTIONS stay as they are."""
        self._take(dataclasses.replace(self.options, **fields))

    def _take(self, options: SmscOptions) -> None:
        self.options = options
        self._changed_ns = self._clock.monotonic_ns()
        states = [(weight, NUMBER_OF_STATE[word], word, error) for word, weight, error in options.states]
        garbage = [(KINDS[kind].octets, KINDS[kind].instead) for kind in options.garbage]
        self._kernel.configure(options, states, garbage)
        for system_id, account in self._accounts.items():
            self._limit(system_id, account)

    def _limit(self, system_id: str, account: shared.Account) -> None:
        told = self.options.account_of(system_id)
        if told is not None:
            account.limit(told.tps or self.options.account_tps, told.bind_tps or self.options.bind_tps)

    def summary(self) -> dict[str, Any]:
        """What happened since the start. A receipt is pending from acceptance to its deliver_sm_resp."""
        count = self._kernel.count()
        span_ns = count.pop("accepted_ns")
        count["malformed"] += self._malformed
        owed = count.pop("receipts_owed")
        repeats = count.pop("repeats")
        accounts = {system_id: self._account_summary(account) for system_id, account in sorted(self._accounts.items())}
        statuses: Counter[str] = Counter()
        for account in accounts.values():
            statuses.update(account["statuses"])
        found: dict[str, Any] = {
            "connections": self._connections,
            "binds": self._binds,
            "binds_refused": self._refused.total(),
            **count,
            "receipts_pending": owed - count["receipts_answered"] - count["receipts_refused"],
            "mo_lines_refused": self._mo_lines_refused,
            "mo_skipped": self._mo_skipped,
            "accepted_per_s": round((count["accepted"] - 1) * 1e9 / span_ns) if span_ns > 0 else 0,
            "duplicates": repeats if self.options.count_repeats else None,
            "binds_muted": self._binds_muted,
            "binds_refused_by": {f"0x{status:08X}": number for status, number in sorted(self._refused.items())},
            "handshakes_failed": self._handshakes_failed,
            "fell_silent": self.fell_silent,
            "statuses": dict(sorted(statuses.items())),
            "accounts": accounts,
        }
        if self.scenario is not None:
            found["phases"] = self.scenario.summary(self._clock.monotonic_ns(), self._phase_counts())
        return found

    @staticmethod
    def _account_summary(account: shared.Account) -> dict[str, Any]:
        submits, most, statuses = account.count()
        return {
            "submits": submits,
            "accepted": statuses.get(ESME_ROK, 0),
            "most_in_a_second": most,
            "receipts_waiting": account.pending,
            "statuses": {f"0x{status:08X}": number for status, number in statuses.items()},
        }

    def _phase_counts(self) -> dict[str, int]:
        count = self._kernel.count()
        kept = ("submits", "accepted", "throttled", "refused", "receipts_answered", "mo_answered")
        return {"binds": self._binds, **{name: count[name] for name in kept}}

    def inject_mo(self, source: str, destination: str, text: str) -> int:
        """Send a text from a phone over any bind that receives; how many deliver_sm it takes. ValueError when SMPP
        cannot carry it."""
        pdus = self._mo.pdus(self.options, source, destination, text)
        for pdu in pdus:
            self.inject(pdu)
        return len(pdus)

    def inject(self, deliver_sm: bytes) -> None:
        """Send this deliver_sm, at most 512 octets, under a sequence_number of the bind that has room for it."""
        self._kernel.inject(deliver_sm)
        self._push_all()

    def send_octets(self, octets: bytes) -> None:
        """Send them as they are, a PDU or not, over one bind that receives. ValueError while there is none."""
        peer = next((peer for peer in self._peers if peer.connection.has_room), None)
        if peer is None or not peer.connection.put(octets):
            raise ValueError("no bind has room")
        peer.push()

    def release_receipts(self) -> int:
        """Let the receipts go that `hold_receipts` kept; how many they were."""
        held = self._kernel.release()
        self._push_all()
        return held

    def close_all(self, how: str = "fin") -> None:
        """End every connection: fin, as a crash of the SMSC would, rst, unbind or half-open."""
        for peer in tuple(self._peers):
            peer.end(how)

    def unbind_all(self) -> None:
        """Ask every connection to unbind."""
        self.close_all("unbind")

    def _push_all(self) -> None:
        for peer in tuple(self._peers):
            peer.push()

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection from accept to close."""
        self._connections += 1
        try:
            if self._tls is None:
                await self._serve(stream.socket)
            else:
                await relay_tls(stream, self._tls, lambda inner: self._serve(stream.socket, inner))
        except (ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError):
            self._handshakes_failed += 1
        finally:
            stream.socket.close()

    async def _serve(self, wire: trio.socket.SocketType, inner: trio.socket.SocketType | None = None) -> None:
        peer = Peer(self, wire, inner)
        self._peers.append(peer)
        self._by_number[peer.connection.number] = peer
        try:
            await peer.run()
        finally:
            self._peers.remove(peer)
            del self._by_number[peer.connection.number]
            peer.connection.close()
            self.offer(peer.connection.account)

    async def call_out(self, address: str) -> None:
        """Call an ESME, tell it to bind, serve it; again when that has ended."""
        host, _, port = address.rpartition(":")
        while True:
            try:
                stream = await trio.open_tcp_stream(host, int(port))
                await stream.send_all(codec.encode(CommandId.OUTBIND, 0, 1, SYSTEM_ID.encode() + b"\0\0"))
                await self.serve(stream)
            except (OSError, trio.BrokenResourceError):
                pass
            await trio.sleep(CALL_S)

    async def keep_time(self, run: trio.CancelScope) -> None:
        """Let go what is due: phases, delayed answers and receipts, texts from phones."""
        while not self.tick():
            await trio.sleep(TICK_S if self.options.waits else IDLE_TICK_S if self.scenario is None else TICK_S * 5)
        run.cancel()

    def tick(self) -> bool:
        """What is due now; True when the scenario is over."""
        now_ns = self._clock.monotonic_ns()
        if self.scenario is not None and self._follow(self.scenario, now_ns):
            return True
        self._make_mo(now_ns)
        options, held = self.options, self._kernel.holding
        if held and options.hold_idle_s and now_ns - self._kernel.last_ns > options.hold_idle_s * 1e9:
            self.release_receipts()
        for peer in tuple(self._peers):
            peer.watch(now_ns)
            account = peer.connection.account
            if peer.connection.due_ns() <= now_ns or (account is not None and account.due_ns() <= now_ns):
                peer.turn()
        return False

    def _follow(self, scenario: Scenario, now_ns: int) -> bool:
        count = self._phase_counts()
        if scenario.ended(now_ns, count):
            self.stopped = True
            return True
        phase = scenario.step(now_ns, count)
        if phase is not None:
            if self._kernel.holding:
                self.release_receipts()
            self._binds_asked = 0
            self._take(phase.options)
            if phase.close:
                self.close_all(phase.close)
        return False

    def _make_mo(self, now_ns: int) -> None:
        room = max(0, MO_WAITING_MAX - self._kernel.count()["mo_waiting"]) if self.options.mo_rate else 0
        count, skipped = self._mo.due(self.options, now_ns, room)
        self._mo_skipped += skipped
        made = bool(count)
        while count:
            run = self._mo.run(self.options, count)
            if run is None:
                source, text = self._mo.next(self.options)
                for pdu in self._mo.pdus(self.options, source, self.options.mo_to, text):
                    self._kernel.inject(pdu)
                count -= 1
            else:
                self._kernel.flood(*run)
                count -= run[-1]
        if made:
            self._push_all()

    async def follow_mo(self, path: Path) -> None:
        """Inject each whole line that `path` has or gets: from, to, text; `wait SECONDS`; `pdu HEX` sends octets."""
        read, rest = 0, b""
        while True:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(read)
                    data = file.read(1 << 20)
                read += len(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await trio.sleep(self._inject_line(line))
                if data:
                    await trio.lowlevel.checkpoint()
                    continue
            await trio.sleep(MO_POLL_S)

    def _inject_line(self, line: bytes) -> float:
        """How long the next line waits, in seconds."""
        try:
            if line.startswith(b"wait "):
                return max(0.0, float(line.split()[1]))
            if line.startswith(b"pdu "):
                self.send_octets(bytes.fromhex(line[4:].decode()))
                return 0.0
            source, destination, text = line.decode().rstrip("\r").split("\t", 2)
            self.inject_mo(source, destination, text)
        except ValueError:
            self._mo_lines_refused += 1
        return 0.0

    def now(self) -> tuple[int, int]:
        return self._clock.epoch_ms(), self._clock.monotonic_ns()

    def sweep(self) -> None:
        """Serve every bind that has something to read, before anybody waits again."""
        number, what = self._kernel.sweep(*self.now())
        if number:
            self._by_number[number].swept(what)

    def offer(self, account: shared.Account | None) -> None:
        """Deliver on the account's other binds what one had no room for."""
        for peer in self._peers:
            if peer.connection.account is account and peer.connection.has_room:
                peer.push()

    def answer_odd(self, peer: Peer, pdu: bytes) -> bool:
        """Answer what the kernel left; False when the connection ends with that."""
        bound = peer.connection.account is not None
        asked_for = codec.decode(pdu)
        if isinstance(asked_for, Pdu) and asked_for.command_id in COMMANDS:
            return peer.connection.put(
                Messages(self._kernel, peer.connection, self.options.ids, self.now).answer(asked_for)
            )
        reply = answer_odd(pdu, bound=bound, status_of=self._bind_status)
        self._malformed += reply.malformed
        if reply.unbound and peer.connection.unbinding:
            return False
        asked = bool(reply.bind) or reply.refused
        if asked and self.options.mutes(self._binds_asked):
            self._binds_asked += 1
            self._binds_muted += 1
            return True
        self._binds_asked += asked
        if reply.refused:
            self._refused[int.from_bytes(reply.octets[8:12], "big")] += 1
        if not peer.connection.put(reply.octets):
            return False  # a peer that asks and asks and never reads
        if reply.bind:
            self._binds += 1
            peer.system_id = reply.bind.system_id
            if reply.bind.system_id not in self._accounts:
                self._accounts[reply.bind.system_id] = shared.Account()
                self._limit(reply.bind.system_id, self._accounts[reply.bind.system_id])
            account, window = self._accounts[reply.bind.system_id], self.options.deliver_window
            peer.connection.bind(account, "t" in reply.mode, reply.mode != "tx", window)
        return not reply.ends

    def _bind_status(self, bind: Bind) -> int:
        options = self.options
        refused_until_ns = self._changed_ns + options.refuse_for_s * 1e9
        if options.refuses(self._binds_asked) or self._clock.monotonic_ns() < refused_until_ns:
            return options.refuse_status
        return options.bind_status(bind, sum(peer.system_id == bind.system_id for peer in self._peers))

    def new_connection(self, fd: int) -> kernel.Connection:
        return kernel.Connection(self._kernel, fd)
