"""What the simulator never does: the test itself is the SMSC, PDU by PDU."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from dispatcher.daemon.health import anon_mb
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESM_RECEIPT, ESME_ROK, RESPONSE, CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Message
from tests.fakes.house import SENDER, House, in_house


class Hand:
    """One bound connection of the dispatcher's."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._framer = Framer()
        self._pdus: list[bytes] = []

    async def next(self, command_id: int) -> tuple[codec.Header, bytes]:
        """The next PDU of this command_id; others are dropped."""
        while True:
            while self._pdus:
                pdu = self._pdus.pop(0)
                header = codec.decode_header(pdu)
                if header.command_id == command_id:
                    return header, pdu
            octets = await self.stream.receive_some()
            if not octets:
                raise EOFError
            self._pdus += self._framer.feed(octets)

    async def send(self, *pdus: bytes) -> None:
        await self.stream.send_all(b"".join(pdus))


@asynccontextmanager
async def by_hand(house: House) -> AsyncIterator[Hand]:
    """A dispatcher whose first connection is ours to answer; it is bound already."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    house.port = listener.socket.getsockname()[1]
    async with listener:
        await house.start()
        async with await listener.accept() as stream:
            hand = Hand(stream)
            header, _ = await hand.next(CommandId.BIND_TRANSCEIVER)
            await hand.send(codec.encode_answer(header.command_id, ESME_ROK, header.sequence_number, "HAND"))
            yield hand


def delivered(command_id: int, sequence_number: int, text: bytes, esm_class: int = ESM_RECEIPT) -> bytes:
    message = Message(
        source_addr_ton=1, source_addr_npi=1, source_addr="4915100000000", dest_addr_ton=0, dest_addr_npi=1,
        destination_addr=SENDER, esm_class=esm_class, data_coding=0, short_message=text, tlvs={},
    )  # fmt: skip
    return codec.encode_message(command_id, sequence_number, message)


@in_house(3, started=False, endpoint={"binds": 1})
async def test_accepted_without_a_message_id_is_accepted_and_not_sent_again(house: House):
    async with by_hand(house) as hand:
        campaign = await house.send()
        for body in (b"", b"\0", b"no NUL at its end"):
            header, _ = await hand.next(CommandId.SUBMIT_SM)
            await hand.send(codec.encode(RESPONSE | CommandId.SUBMIT_SM, ESME_ROK, header.sequence_number, body))
        await house.until(lambda: house.counts(campaign)["accepted"] == 3)
        await house.until(lambda: house.state(campaign) == "done")


@in_house(2, started=False, endpoint={"binds": 1})
async def test_an_error_with_a_body_and_one_without_mean_the_same(house: House):
    async with by_hand(house) as hand:
        campaign = await house.send()
        for body in (b"", b"some words\0"):
            header, _ = await hand.next(CommandId.SUBMIT_SM)
            await hand.send(codec.encode(RESPONSE | CommandId.SUBMIT_SM, 0x0B, header.sequence_number, body))
        await house.until(lambda: house.counts(campaign)["states"]["failed"] == 2)


@in_house(2, started=False, endpoint={"binds": 1})
async def test_a_generic_nack_is_the_answer_to_its_request(house: House):
    async with by_hand(house) as hand:
        campaign = await house.send()
        for status in (0x0B, 0x42):
            header, _ = await hand.next(CommandId.SUBMIT_SM)
            await hand.send(codec.generic_nack(header.sequence_number, status))
        await house.until(lambda: house.counts(campaign)["states"]["failed"] == 2)
        assert {r["error"] for r in house.recipients(campaign)} == {0x0B, 0x42}


@in_house(1, started=False, endpoint={"binds": 1})
async def test_an_answer_given_twice_or_to_nothing_changes_nothing(house: House):
    async with by_hand(house) as hand:
        campaign = await house.send()
        header, _ = await hand.next(CommandId.SUBMIT_SM)
        answer = codec.encode_answer(CommandId.SUBMIT_SM, ESME_ROK, header.sequence_number, "first")
        refusal = codec.encode_answer(CommandId.SUBMIT_SM, 0x0B, header.sequence_number)
        stray = codec.encode_answer(CommandId.SUBMIT_SM, ESME_ROK, header.sequence_number + 7, "stray")
        await hand.send(stray, answer, answer, refusal)
        await house.until(lambda: house.counts(campaign)["accepted"] == 1)
        await house.until(lambda: house.dispatcher.book.strange_responses == 3)
        assert house.counts(campaign)["states"]["accepted"] == 1


@in_house(1, started=False, endpoint={"binds": 1})
async def test_a_data_sm_is_answered_as_one(house: House):
    async with by_hand(house) as hand:
        body = b"\0\1\0014915100000000\0\0\1" + SENDER.encode() + b"\0\4\0\0" + b"\x04\x24\x00\x14id:7777 stat:DELIVRD"
        await hand.send(codec.encode(CommandId.DATA_SM, 0, 41, body))
        header, _ = await hand.next(RESPONSE | CommandId.DATA_SM)
        assert (header.command_status, header.sequence_number) == (0, 41)


@in_house(1, started=False, endpoint={"binds": 1})
async def test_a_pdu_that_comes_octet_by_octet_is_read_as_one(house: House):
    async with by_hand(house) as hand:
        for octet in delivered(CommandId.DELIVER_SM, 9, b"hello", esm_class=0):
            await hand.send(bytes([octet]))
        header, _ = await hand.next(RESPONSE | CommandId.DELIVER_SM)
        assert (header.command_status, header.sequence_number) == (0, 9)
        assert [row["text"] for row in house.inbox()] == ["hello"]


@in_house(1, started=False, endpoint={"binds": 1})
async def test_a_peer_that_asks_and_asks_and_reads_nothing_costs_no_memory(house: House):
    async with by_hand(house) as hand:
        flood = b"".join(codec.encode(CommandId.ENQUIRE_LINK, 0, n) for n in range(1, 4_001))
        before = anon_mb()
        with trio.move_on_after(1.0):
            while True:
                await hand.send(flood)
        assert anon_mb() - before < 20
        with trio.fail_after(5):
            await hand.next(RESPONSE | CommandId.ENQUIRE_LINK)


@in_house(1, started=False, endpoint={"binds": 1})
async def test_a_stop_in_the_moment_the_connection_breaks_is_a_stop(house: House):
    for _ in range(5):
        async with by_hand(house) as hand, trio.open_nursery() as nursery:
            nursery.start_soon(house.stop)
            await hand.next(CommandId.UNBIND)
            await hand.stream.aclose()
