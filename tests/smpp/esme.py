"""An ESME of octets against the simulator, over TCP: what the tests of its options share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from dispatcher.clock import Clock
from dispatcher.smpp import codec
from dispatcher.smpp.consts import BINDS, CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Bind, Message
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_options import SmscOptions
from dispatcher.smpp.smsc_scenario import Scenario

COMMAND_OF = {mode: command_id for command_id, mode in BINDS.items()}
SUBMIT_SM_RESP, GENERIC_NACK = 0x80000004, 0x80000000
WITHIN_S = 20


def with_smsc(
    test: Callable[[Smsc], Awaitable[None]],
    *,
    clock: Clock | None = None,
    scenario: Scenario | None = None,
    **told: Any,
) -> None:
    """Run `test` beside a simulator of these options."""

    options = SmscOptions(**told)

    async def run() -> None:
        try:
            with trio.fail_after(WITHIN_S):
                async with trio.open_nursery() as nursery:

                    async def serve(task_status: trio.TaskStatus[Smsc]) -> None:
                        await serve_smsc(options, clock=clock, scenario=scenario, task_status=task_status)

                    smsc = await nursery.start(serve)
                    await test(smsc)
                    nursery.cancel_scope.cancel()
        finally:
            while opened:
                opened.pop().close()

    trio.run(run)


opened: list[trio.socket.SocketType] = []  # by the running test


class Esme:
    """What it got is in `pdus`, oldest first."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.framer = Framer()
        self.pdus: list[bytes] = []
        self.sequence = 1

    async def send(self, *pdus: bytes) -> None:
        await self.stream.send_all(b"".join(pdus))

    async def next(self) -> bytes:
        while not self.pdus:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self.pdus += self.framer.feed(data)
        return self.pdus.pop(0)

    async def ask(self, pdu: bytes) -> bytes:
        await self.send(pdu)
        return await self.next()

    async def submit(self, count: int = 1, **fields: Any) -> list[int]:
        """So many at once; their statuses in the order they were answered."""
        numbers = range(self.sequence + 1, self.sequence + 1 + count)
        self.sequence += count
        await self.send(*(submit(number, **fields) for number in numbers))
        return [status(await self.next_of(SUBMIT_SM_RESP)) for _ in numbers]

    async def next_of(self, command_id: int) -> bytes:
        """The next of this kind; others are passed over, a deliver_sm is answered."""
        while True:
            pdu = await self.next()
            if kind(pdu) == CommandId.DELIVER_SM:
                await self.send(codec.deliver_sm_resp(codec.decode_header(pdu).sequence_number))
            if kind(pdu) == command_id:
                return pdu

    async def ended(self) -> bool:
        try:
            await self.next()
        except (EOFError, trio.BrokenResourceError):
            return True
        return False


async def connect(smsc: Smsc) -> Esme:
    stream = await trio.open_tcp_stream("127.0.0.1", smsc.port)
    opened.append(stream.socket)
    return Esme(stream)


async def bind(smsc: Smsc, system_id: str = "volley", password: str = "x", mode: str = "trx") -> tuple[Esme, int]:
    """And the status of its bind."""
    esme = await connect(smsc)
    request = codec.encode_bind(COMMAND_OF[mode], 1, Bind(system_id=system_id, password=password))
    return esme, status(await esme.ask(request))


async def bound(smsc: Smsc, mode: str = "trx", system_id: str = "volley") -> Esme:
    esme, answer = await bind(smsc, system_id, mode=mode)
    assert answer == 0
    return esme


def status(pdu: bytes) -> int:
    return codec.decode_header(pdu).command_status


def kind(pdu: bytes) -> int:
    return codec.decode_header(pdu).command_id


def sequence(pdu: bytes) -> int:
    return codec.decode_header(pdu).sequence_number


def submit(number: int, text: bytes = b"hello", **fields: Any) -> bytes:
    values = {"source_addr": "777", "destination_addr": "4915112345678", "registered_delivery": 0} | fields
    return codec.encode_message(CommandId.SUBMIT_SM, number, Message(short_message=text, **values))


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await trio.sleep(0.002)
