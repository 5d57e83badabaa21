"""An endpoint's Book and its binds over real sockets, with the SMSC's ends in the test's hands.

What a commit froze is kept as the records it was; submit_sm come back as smpplib and codec.py both read them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from smpplib import smpp as judge

from dispatcher.records.batch import ROW
from dispatcher.records.states import Decision
from dispatcher.smpp import codec
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, BULK, Book, Pump, submit_head, submit_mid
from dispatcher.store.ledger import records

CAMPAIGN = 0x0102030405060708
NUMBER = 4915100000000
HEAD = submit_head("SHOP", 1, 1, 1, 1)
MID = submit_mid()


class Text(NamedTuple):
    """One message to claim: its parts' octets; `skip` are parts that are out already."""

    rank: int
    parts: tuple[bytes, ...] = (b"hello",)
    number: int = 0  # 0: NUMBER + rank
    skip: tuple[int, ...] = ()
    decision: int = Decision.SENT
    tries: int = 0
    text_hash: int = 7


def batch(messages: Iterable[Text]) -> tuple[bytes, int, bytes]:
    """Rows, how many, and the octets they point into (records/batch.h)."""
    rows, octets, count = bytearray(), bytearray(), 0
    for m in messages:
        number = m.number or NUMBER + m.rank
        if m.decision != Decision.SENT:
            rows += ROW.pack(number, m.rank, 0, m.text_hash, 0, 0, 0, 0, 0, m.decision, 0, m.rank, 0)
            count += 1
            continue
        for no, part in enumerate(m.parts):
            rows += ROW.pack(
                number, m.rank, len(octets), m.text_hash, len(part), no, len(m.parts), 0x40 * (len(m.parts) > 1), 0,
                m.decision, m.tries, m.rank, no in m.skip,
            )  # fmt: skip
            octets += part
            count += 1
    return bytes(rows), count, bytes(octets)


class Submit(NamedTuple):
    """A submit_sm as it reached the SMSC."""

    sequence: int
    to: int
    octets: bytes
    pdu: bytes


class Sequence:
    sequence = 1

    def next_sequence(self) -> int:
        return self.sequence


class Line:
    """`binds` pumps over one Book. Use as a context manager: it owns sockets."""

    def __init__(
        self, *, binds: int = 1, window: int = 10, credit: int = 100_000, ring: int = 4096, first_seq: int = 2,
        marks: memoryview | None = None, receipts: bool = True, **of_book: Any,
    ) -> None:  # fmt: skip
        self.marks = memoryview(bytearray(64)).cast("Q") if marks is None else marks
        self.book = Book(credit, self.marks, ACTIONS, ACTION_OTHER, ring=ring, reply_ring=256, **of_book)
        self.run = self.book.open_run(CAMPAIGN, 1, 0, HEAD, MID, receipts=receipts, honours_stop=True)
        self.log: list[tuple[Any, ...]] = []  # every record committed so far
        self.values: list[bytes] = []
        self.smsc: list[socket.socket] = []
        self.pumps: list[Pump] = []
        self._ours: list[socket.socket] = []
        self._framers: list[Framer] = []
        for _ in range(binds):
            self.bind(window, first_seq)

    def bind(self, window: int = 10, first_seq: int = 2) -> Pump:
        theirs, ours = socket.socketpair()
        for end in (theirs, ours):
            end.setblocking(False)
        self.smsc.append(theirs)
        self._ours.append(ours)
        self._framers.append(Framer())
        self.pumps.append(Pump(self.book, ours.fileno(), window, first_seq=first_seq))
        return self.pumps[-1]

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self.smsc, *self._ours):
            end.close()

    @property
    def pump(self) -> Pump:
        return self.pumps[0]

    def claim(self, *messages: Text | int, pool: int = BULK, run: int | None = None) -> None:
        """A number is a rank with a message of one part."""
        texts = [Text(m) if isinstance(m, int) else m for m in messages]
        rows, count, octets = batch(texts)
        self.book.claim(pool, self.run if run is None else run, rows, count, octets)

    def commit(self) -> list[tuple[Any, ...]]:
        """One commit's records; then everything may leave that it made durable."""
        value, count = self.book.cut()
        for pump in self.pumps:
            pump.cut()
        made = records(value) if count else []
        assert len(made) == count
        if count:
            self.values.append(bytes(value))
        self.log += made
        self.book.committed()
        for pump in self.pumps:
            pump.committed()
            pump.push()
        return made

    def send(self, *messages: Text | int, pool: int = BULK, run: int | None = None) -> list[Submit]:
        """Claim, commit, and what of it reached the SMSC over the first bind."""
        self.claim(*messages, pool=pool, run=run)
        self.commit()
        return self.submits()

    def pdus(self, bind: int = 0) -> list[bytes]:
        """Every PDU that waits at the SMSC's end of a bind."""
        pdus: list[bytes] = []
        while True:
            try:
                data = self.smsc[bind].recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return pdus
            if not data:
                return pdus
            pdus += self._framers[bind].feed(data)

    def submits(self, bind: int = 0) -> list[Submit]:
        return [read_submit(pdu) for pdu in self.pdus(bind) if pdu[4:8] == b"\0\0\0\4"]

    def give(self, octets: bytes, bind: int = 0) -> int:
        """The SMSC writes; we read until nothing is left. Returns the flags of the last pull."""
        view, flags = memoryview(octets), 0
        while view:
            try:
                view = view[self.smsc[bind].send(view) :]
            except BlockingIOError:
                flags |= self.pumps[bind].pull()
        return flags | self.pumps[bind].pull()

    def answer(self, submit: Submit | int, status: int = 0, message_id: str = "", bind: int = 0) -> int:
        sequence = submit if isinstance(submit, int) else submit.sequence
        return self.give(response(sequence, status, message_id), bind)

    def kinds(self, *kinds: int) -> list[tuple[int, int, int, int]]:
        """(rank, part, state, status) of the committed records of some kinds."""
        return [record[2:6] for record in self.log if record[0] in kinds]


def response(sequence: int, status: int = 0, message_id: str = "") -> bytes:
    return (
        codec.encode_answer(4, status, sequence, message_id)
        if not status
        else codec.encode(0x80000004, status, sequence)
    )


def read_submit(pdu: bytes) -> Submit:
    """By smpplib, the judge, and by our own codec: the two must agree."""
    theirs = judge.parse_pdu(pdu, client=Sequence(), allow_unknown_opt_params=True)
    ours = codec.decode_message(pdu)
    assert isinstance(ours, Message) and theirs.command == "submit_sm"
    assert (
        theirs.destination_addr == ours.destination_addr.encode()
        and (theirs.short_message or theirs.message_payload or b"") == ours.short_message
    )
    assert theirs.esm_class == ours.esm_class and theirs.data_coding == ours.data_coding
    return Submit(theirs.sequence, int(theirs.destination_addr), ours.short_message, pdu)


def receipt(
    message_id: str, stat: str = "DELIVRD", *, err: str = "000", number: int = NUMBER, sequence: int = 1, text: str | None = None,
    tlvs: dict[int, bytes] | None = None, esm_class: int = 4, data_coding: int = 0,
) -> bytes:  # fmt: skip
    """A deliver_sm as SMSCs write it; `text` replaces the common form."""
    common = f"id:{message_id} sub:001 dlvrd:001 submit date:2609211413 done date:2609211413 stat:{stat} err:{err} text:hello"
    message = Message(
        source_addr=str(number), destination_addr="SHOP", esm_class=esm_class, data_coding=data_coding,
        short_message=(common if text is None else text).encode("latin-1"), tlvs=tlvs or {},
    )  # fmt: skip
    return codec.encode_message(5, sequence, message)


def now_ns() -> int:
    return time.monotonic_ns()
