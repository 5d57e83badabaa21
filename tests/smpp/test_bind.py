"""A bind whose SMSC sends what it should not: each is answered as the codec and the states say, and the bind lives."""

from __future__ import annotations

import pytest
import trio

from config import Endpoint
from dispatcher.errors import PeerBrokeProtocol
from dispatcher.smpp import codec
from dispatcher.smpp.bind import Bind, hold_bind
from dispatcher.smpp.consts import RESPONSE, CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Message, Unparsed
from tests.smpp.line import Line
from tests.smpp.test_malformed import CLOSE, ERROR, KINDS, NACK, NOTHING, TAKEN

WITHIN_S = 10.0
MESSAGES = (CommandId.DELIVER_SM, CommandId.DATA_SM)
TAKEN_AS_MESSAGES = [
    (kind, octets) for kind, (octets, remedy, _) in KINDS.items()
    if remedy is TAKEN and int.from_bytes(octets[4:8]) in MESSAGES
]  # fmt: skip


class Taken:
    """Whoever takes messages: all are answered ESME_ROK at once, as after a commit."""

    def __init__(self) -> None:
        self.messages: list[Message | Unparsed] = []

    def deliver(self, answer, message) -> None:
        self.messages.append(message)
        answer(0)

    def kick(self) -> None: ...

    def ended(self) -> None: ...


class Smsc:
    """The other end: answers the bind, then says what the test wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream, self.framer = stream, Framer()
        self.pdus: list[bytes] = []

    async def next(self) -> bytes:
        while not self.pdus:
            self.pdus += self.framer.feed(await self.stream.receive_some())
        return self.pdus.pop(0)

    async def heard_until(self, sequence: int) -> list[bytes]:
        """All but the answers to two enquire_link: the first is answered with what came before, in one wake-up."""
        found: list[bytes] = []
        for _ in range(2):
            await self.stream.send_all(codec.encode(CommandId.ENQUIRE_LINK, 0, sequence))
            while True:
                pdu = await self.next()
                if pdu == codec.encode(RESPONSE | CommandId.ENQUIRE_LINK, 0, sequence):
                    break
                found.append(pdu)
        return found


def with_bind(test, ends: type[Exception] | None = None, words: str = "") -> Taken:
    """Run `test` against a bind; `ends`: the bind ends by itself, so, and says these words."""
    taken = Taken()

    async def run() -> None:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        endpoint = Endpoint(
            name="e", host="127.0.0.1", port=listener.socket.getsockname()[1], system_id="me", binds=1, window=10
        )
        with Line(binds=0) as line, trio.fail_after(WITHIN_S):
            async with listener, trio.open_nursery() as nursery:

                async def hold() -> None:
                    if ends is None:
                        await hold_bind(Bind(endpoint, 0), line.book, taken)
                    else:
                        with pytest.raises(ends, match=words or None):
                            await hold_bind(Bind(endpoint, 0), line.book, taken)

                nursery.start_soon(hold)
                smsc = Smsc(await listener.accept())
                async with smsc.stream:
                    asked = codec.decode_header(await smsc.next())
                    await smsc.stream.send_all(codec.encode_answer(asked.command_id, 0, asked.sequence_number, "SMSC"))
                    await test(smsc)
                    if ends is None:
                        nursery.cancel_scope.cancel()

    trio.run(run)
    return taken


def kinds_of(*remedies) -> dict[str, tuple[bytes, int | None]]:
    """Those an SMSC may send an ESME: of the error responses only those to messages."""
    return {
        kind: (octets, told)
        for kind, (octets, remedy, told) in KINDS.items()
        if remedy in remedies and (remedy is not ERROR or int.from_bytes(octets[4:8]) in MESSAGES)
    }


def test_every_malformed_pdu_that_keeps_the_frame_is_answered_and_the_bind_lives():
    async def test(smsc: Smsc) -> None:
        for no, (kind, (octets, told)) in enumerate(kinds_of(NACK, NOTHING, ERROR).items(), 1000):
            await smsc.stream.send_all(octets)
            heard = await smsc.heard_until(no)
            wrong = codec.decode(octets)
            assert isinstance(wrong, Unparsed)
            assert heard == ([codec.answer_to(wrong)] if told is not None else []), kind

    taken = with_bind(test)
    assert taken.messages and all(isinstance(message, Unparsed) for message in taken.messages)


@pytest.mark.parametrize("kind", kinds_of(CLOSE))
def test_a_lost_frame_is_nacked_and_ends_the_bind(kind):
    async def test(smsc: Smsc) -> None:
        await smsc.stream.send_all(KINDS[kind][0].ljust(16, b"\0"))  # the pump judges a whole header
        assert await smsc.next() == codec.generic_nack(0, 2)

    with_bind(test, ends=PeerBrokeProtocol)


def test_odd_messages_are_taken_and_answered_rok():
    async def test(smsc: Smsc) -> None:
        for no, (kind, octets) in enumerate(TAKEN_AS_MESSAGES, 1000):
            await smsc.stream.send_all(octets)
            heard = [codec.decode_header(pdu) for pdu in await smsc.heard_until(no)]
            assert [(h.command_id, h.command_status, h.sequence_number) for h in heard] == [
                (RESPONSE | int.from_bytes(octets[4:8]), 0, int.from_bytes(octets[12:16]))
            ], kind

    assert all(isinstance(message, Message) for message in with_bind(test).messages)


def test_requests_that_no_smsc_may_send_are_nacked_and_alerts_pass():
    async def test(smsc: Smsc) -> None:
        for no, command_id in enumerate(
            (CommandId.SUBMIT_SM, CommandId.BIND_TRANSCEIVER, CommandId.QUERY_SM, 0x999), 1000
        ):
            await smsc.stream.send_all(codec.encode(command_id, 0, 7))
            assert await smsc.heard_until(no) == [codec.generic_nack(7, 3)]
        for no, command_id in enumerate((CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION, 0x80000999), 2000):
            await smsc.stream.send_all(codec.encode(command_id, 0, 7))
            assert await smsc.heard_until(no) == []

    assert with_bind(test).messages == []


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "this port wants TLS"),
        (b"HTTP/1.1 4", "HTTP"),
        (b"\0\0\0\x05", "command_length 5"),
        (b"\xff\xff\xff\xff\0", "command_length 4294967295"),
    ],
)
def test_four_octets_tell_that_the_peer_speaks_something_else(octets, words):
    """Not after a whole header, which may never come."""

    async def test(smsc: Smsc) -> None:
        await smsc.stream.send_all(octets)
        assert await smsc.next() == codec.generic_nack(0, 2)

    with_bind(test, ends=PeerBrokeProtocol, words=words)
