"""What is fuzzed, each a function of octets: nothing but its own answers may come of any of them.

pump      an SMSC's octets into a bind with answers due: read, scanned, journalled, indexed; the journal is a log value
smsc      an ESME's octets into the simulator's kernel
ledger    octets as a value of the outcome log: read, folded
codec     octets into the full codec: a value or Unparsed; what was decoded is encoded again as what it was
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

from dispatcher.outcomes.receipt_text import read_receipt
from dispatcher.records.events import Delivered
from dispatcher.smpp import _smsc, _smsc_shared, codec
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Message, Pdu, Unparsed
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, BULK, Book, Pump
from dispatcher.smpp.smsc_options import SmscOptions
from dispatcher.store._fold import Folder
from dispatcher.store.ledger import records
from tests.fuzz import corpus
from tests.smpp.line import HEAD, MID, Text, batch

FLYING = 6
BEGIN_EVERY = 500  # inputs: then with a fresh Book, or simulator
NS = 10**15


class Wire:
    """A connected pair; what was written is read to the last octet."""

    def __init__(self) -> None:
        self.theirs, self.ours = socket.socketpair()
        for end in (self.theirs, self.ours):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()


class PumpTarget:
    seeds = staticmethod(corpus.answers)

    def __init__(self) -> None:
        self.inputs = 0
        self.book = self._new_book()

    def _new_book(self) -> Book:
        book = Book(10_000, memoryview(bytearray(64)).cast("Q"), ACTIONS, ACTION_OTHER, ring=256, reply_ring=16)
        self.run = book.open_run(1, 1, 0, HEAD, MID, receipts=True, honours_stop=True)
        self.rank = 0
        return book

    def __call__(self, octets: bytes) -> None:
        self.inputs += 1
        if self.inputs % BEGIN_EVERY == 0:
            self.book = self._new_book()
        book, wire = self.book, Wire()
        try:
            pump = Pump(book, wire.ours.fileno(), FLYING)
            rows, count, text = batch([Text(self.rank + no) for no in range(FLYING)])
            self.rank += FLYING
            book.claim(BULK, self.run, rows, count, text)
            self._commit(pump)
            assert pump.in_flight <= FLYING
            for cut in (octets[: len(octets) // 2], octets[len(octets) // 2 :]):
                wire.theirs.send(cut)
                for _ in range(8):
                    pump.pull()
                    for pdu in pump.take_off():
                        assert 16 <= int.from_bytes(pdu[:4], "big") == len(pdu)
                        codec.decode(pdu)
                    if not pump.stalled:
                        break
            self._commit(pump)
            pump.close()
            book.release_queued()
            self._commit(None)
            book.take_returned()
            assert book.open_parts == 0
        finally:
            wire.close()

    def _commit(self, pump: Pump | None) -> None:
        value, count = self.book.cut()
        if pump is not None:
            pump.cut()
        if count:
            records(value)
        self.book.committed()
        if pump is not None:
            pump.committed()
            pump.push()


class SmscTarget:
    seeds = staticmethod(corpus.requests)

    def __init__(self) -> None:
        self.inputs = 0
        self._begin()

    def _begin(self) -> None:
        self.smsc, self.account = _smsc_shared.Smsc(-1, 1), _smsc_shared.Account()
        self.smsc.configure(SmscOptions(receipts=50), [(1, 2, "DELIVRD", "000")], [])

    def __call__(self, octets: bytes) -> None:
        self.inputs += 1
        if self.inputs % BEGIN_EVERY == 0:
            self._begin()
        wire = Wire()
        try:
            connection = _smsc.Connection(self.smsc, wire.ours.fileno())
            connection.bind(self.account, True, True, 10)
            wire.theirs.send(octets)
            for _ in range(20):
                what = connection.wake(1, NS + self.inputs)
                if what & _smsc.ODD:
                    codec.decode(connection.take_odd())
                elif not what & _smsc.LEFT:
                    break
                if what & (_smsc.CLOSE | _smsc.DROP):
                    break
            connection.close()
        finally:
            wire.close()


class LedgerTarget:
    seeds = staticmethod(corpus.values)

    def __call__(self, octets: bytes) -> None:
        try:
            records(octets)
        except ValueError:
            return
        folder = Folder()
        try:
            folder.scan(octets, 0)
        except ValueError:
            return
        keep = []
        for number, _, chunk, load, _, slots, width in folder.wanted():
            if chunk > 1 << 12 or width > 127:
                continue
            for array in range(9):
                if load >> array & 1:
                    keep.append(bytearray(slots * (4 if array in (2, 5, 6, 7, 8) else 1)))
                    folder.attach(number, array, keep[-1], slots, 1)
            if width > 1:
                keep.append(bytearray(slots * width))
                folder.attach(number, 9, keep[-1], slots, width)
        for campaign in folder.campaigns():
            keep.append(bytearray(512))
            folder.attach_counts(campaign, keep[-1], 0)
        folder.apply(octets, 0, 0)


class CodecTarget:
    @staticmethod
    def seeds() -> list[bytes]:
        return corpus.answers() + corpus.requests()

    def __call__(self, octets: bytes) -> None:
        framer = Framer()
        try:
            pdus = framer.feed(octets)
        except Exception as exc:
            if type(exc).__name__ != "PeerBrokeProtocol":
                raise
            return
        for pdu in pdus:
            found = codec.decode(pdu)
            assert isinstance(found, Pdu | Unparsed), found
            message = codec.decode_message(pdu) if pdu[4:8] in (b"\0\0\0\5", b"\0\0\1\3") else None
            if isinstance(message, Message):
                read_receipt(
                    Delivered(
                        source_addr=message.source_addr, destination_addr=message.destination_addr,
                        esm_class=message.esm_class, data_coding=message.data_coding, octets=message.short_message,
                        tlvs=message.tlvs,
                    )
                )  # fmt: skip


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "pump": PumpTarget, "smsc": SmscTarget, "ledger": LedgerTarget, "codec": CodecTarget,
}  # fmt: skip
COMPILED = ("pump", "smsc", "ledger")


def mutate(name: str, count: int, seed: int) -> int:
    """So many random mutations of the target's seeds, without looking at coverage; how many there were."""
    target, draw = TARGETS[name](), random.Random(seed)
    seeds: list[bytes] = target.seeds()  # type: ignore[attr-defined]
    for _ in range(count):
        target(corpus.mutation(draw, seeds))
    return count
