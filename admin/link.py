"""Commands to the dispatcher over its Unix socket: few connections, many commands at once on each.

Touches: the control socket, on the loop. A frame each way; `id` pairs them:
    to the dispatcher    {"id", "command", envelope fields, "body"}              (control/commands.py)
    from the dispatcher  {"id", "reply": {...}} or {"id", "refused": {status, code, detail, errors, extra}},
                         with "replayed": True where an earlier answer to the same request_key is given again
Weak spot: when the connection is lost after a frame left, whether it was done is unknown here; the caller
is told so (`maybe_done`), and asks again with the same Idempotency-Key to be sure.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admin.problems import DispatcherDown
from dispatcher.control.commands import AskStatus, Envelope, to_wire
from dispatcher.control.frames import Frames, frame
from dispatcher.errors import CommandRefused, PeerBrokeProtocol

CONNECTIONS = 2
CONNECT_TIMEOUT_S = 2.0
WAITING_MAX = 256  # commands unanswered over all connections; as many as requests at once (limits.py)
READ_OCTETS = 1 << 18
SEEN_S = 0.25  # four looks a second are what a person can follow


@dataclass(frozen=True, slots=True)
class Statistics:
    """What /metrics says of the link."""

    connected: int
    waiting: int
    asked: int
    lost: int


class Link:
    """The admin's end of the control socket. Any task of one loop may ask; close() at the end."""

    def __init__(self, path: Path, connections: int = CONNECTIONS) -> None:
        self.path = path
        self._wires = [_Wire(path) for _ in range(connections)]
        self._turn = itertools.cycle(self._wires)
        self._asked = 0
        self._seen: tuple[float, dict[str, Any] | None] = (-SEEN_S, None)
        self._looking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Link({str(self.path)!r}, {self.statistics()})"

    def statistics(self) -> Statistics:
        return Statistics(
            connected=sum(wire.connected for wire in self._wires),
            waiting=sum(len(wire.waiting) for wire in self._wires),
            asked=self._asked,
            lost=sum(wire.lost for wire in self._wires),
        )

    async def ask(self, command: Any, envelope: Envelope, *, timeout_s: float = 30.0) -> tuple[dict[str, Any], bool]:
        """The reply and whether it is a replay. Raises CommandRefused, DispatcherDown; 504 after `timeout_s`."""
        if sum(len(wire.waiting) for wire in self._wires) >= WAITING_MAX:
            raise CommandRefused(503, "busy", f"{WAITING_MAX} commands wait already")
        self._asked += 1
        answer = await next(self._turn).ask(to_wire(command, envelope), timeout_s)
        refused = answer.get("refused")
        if refused is not None:
            extra, errors = refused.get("extra"), refused.get("errors")
            raise CommandRefused(refused["status"], refused["code"], refused["detail"], errors=errors, extra=extra)
        return answer["reply"], bool(answer.get("replayed", False))

    async def status(self, now_ms: int, *, timeout_s: float = 3.0) -> dict[str, Any]:
        """The dispatcher's live figures. Raises as ask does."""
        return (await self.ask(AskStatus(), Envelope(tenant=0, actor="admin", at_ms=now_ms), timeout_s=timeout_s))[0]

    async def seen_status(self, now_ms: int) -> dict[str, Any] | None:
        """The live figures, at most SEEN_S old however many ask; None while the dispatcher does not answer."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            if loop.time() - self._seen[0] > SEEN_S:
                try:
                    status = await self.status(now_ms)
                except (DispatcherDown, CommandRefused):
                    status = None
                self._seen = (loop.time(), status)
            return self._seen[1]

    async def close(self) -> None:
        for wire in self._wires:
            await wire.close()


class _Wire:
    """One connection, made when first needed and again after it was lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.lost = 0
        self._ids = itertools.count(1)
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        number = next(self._ids)
        try:
            octets = frame({"id": number, **message})
        except (ValueError, OverflowError) as exc:
            raise CommandRefused(422, "invalid", f"a value that no command can carry: {exc}") from exc
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                writer = await self._connected()
                self.waiting[number] = answer  # from here on _lose answers it
                writer.write(octets)
                return await answer
        except TimeoutError as exc:
            detail = f"the dispatcher did not answer within {timeout_s:.0f} s; it may still do it"
            raise CommandRefused(504, "dispatcher_slow", detail, extra={"maybe_done": True}) from exc
        finally:
            self.waiting.pop(number, None)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is None:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        reader, self._writer = await asyncio.open_unix_connection(str(self.path))
                except (OSError, TimeoutError) as exc:
                    raise DispatcherDown("the dispatcher is not running; reads go on, changes wait for it") from exc
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        try:
            while data := await reader.read(READ_OCTETS):
                for message in frames.receive(data):
                    answer = self.waiting.get(message.get("id", 0))
                    if answer is not None and not answer.done():
                        answer.set_result(message)
        except (OSError, PeerBrokeProtocol):
            pass  # the same end as a closed connection: below
        finally:
            self._lose(writer)

    def _lose(self, writer: asyncio.StreamWriter) -> None:
        if self._writer is writer:
            self._writer = None
            self.lost += 1
        writer.close()
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(DispatcherDown("the dispatcher went away before it answered", maybe_done=True))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
