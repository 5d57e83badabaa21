"""The other side of a simulated run: an SMSC in the test's hands that misbehaves as its seed draws, and remembers.

It outlives every kill of ours. Its log is the judge: how often it took each part, and which receipts we answered.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dispatcher.smpp import codec
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.smsc_garbage import KINDS
from tests.smpp.line import NUMBER, read_submit, receipt, response

MS = 1_000_000
PART = tuple[int, int]  # rank, part
GARBAGE = sorted(kind for kind, garbage in KINDS.items() if not garbage.instead)
REFUSALS = (0x58, 0x14, 0x08, 0x45, 0x64, 0x55F, 0x0B, 0x0A, 0x33)
# what a submit_sm may meet, and how a temper weighs it
FATES = ("ok", "refused", "mute", "answer lost", "twice", "strange", "garbage", "drop", "close status")
TEMPERS: dict[str, tuple[int, ...]] = {
    "calm": (97, 1, 1, 1, 0, 0, 0, 0, 0),
    "moody": (60, 12, 5, 5, 6, 4, 6, 2, 0),
    "refusing": (45, 50, 1, 1, 0, 0, 1, 1, 1),
    "mute": (50, 2, 30, 15, 1, 1, 0, 1, 0),
    "broken": (60, 2, 3, 5, 5, 5, 12, 7, 1),
}


@dataclass(order=True)
class Due:
    """Octets that leave at an instant, over one wire or over any."""

    at_ns: int
    order: int
    octets: bytes = field(compare=False)
    wire: Wire | None = field(compare=False, default=None)
    receipt: Receipt | None = field(compare=False, default=None)


@dataclass(eq=False)
class Receipt:
    message_id: str
    part: PART
    stat: str
    final: bool
    answered: int = 0


class Wire:
    """One connection: the SMSC's end of a socket pair, octets that wait to be written, deliver_sm that wait for answers."""

    def __init__(self) -> None:
        self.theirs, self.ours = socket.socketpair()
        for end in (self.theirs, self.ours):
            end.setblocking(False)
        self.framer = Framer()
        self.out = bytearray()
        self.owed: dict[int, Receipt] = {}
        self.sequence = 0
        self.over = False  # no octet crosses any more

    def close(self, how: str = "fin") -> None:
        if not self.over and how == "rst":
            self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.over = True
        self.theirs.close()


class SeededSmsc:
    """Takes what arrives, in pieces; answers late, out of order, twice, wrongly or never."""

    def __init__(self, draw: random.Random, temper: str) -> None:
        self.draw, self.temper = draw, temper
        self.taken: Counter[PART] = Counter()  # ESME_ROK was decided for it
        self.ids: dict[str, PART] = {}
        self.receipts: list[Receipt] = []
        self.wires: list[Wire] = []
        self.now_ns = 0
        self._due: list[Due] = []
        self._order = 0
        self._id = draw.randrange(1 << 40)

    def connect(self) -> Wire:
        wire = Wire()
        self.wires.append(wire)
        return wire

    def lost(self, wire: Wire) -> None:
        """A connection is over: what was not answered on it is owed again."""
        if wire in self.wires:
            self.wires.remove(wire)
        wire.close()
        for receipt_ in wire.owed.values():
            self._owe(receipt_, self.draw.randrange(50) * MS)
        wire.owed.clear()

    # ---- octets

    def read(self, wire: Wire, most: int = 1 << 16) -> None:
        """Up to `most` octets, wherever they are cut."""
        if wire.over:
            return
        try:
            data = wire.theirs.recv(most)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.lost(wire)
            return
        for pdu in wire.framer.feed(data):
            if wire.over:
                return
            self._take(wire, pdu)

    def write(self, wire: Wire, most: int = 1 << 16) -> None:
        """Up to `most` octets of what is due."""
        if wire.over or not wire.out:
            return
        with contextlib.suppress(BlockingIOError):
            try:
                sent = wire.theirs.send(wire.out[:most])
            except (BrokenPipeError, ConnectionResetError):
                self.lost(wire)
                return
            del wire.out[:sent]

    def advance(self, now_ns: int) -> None:
        """Everything due by now goes into its wire; receipts into any."""
        self.now_ns = now_ns
        while self._due and self._due[0].at_ns <= now_ns:
            due = heapq.heappop(self._due)
            if due.receipt is not None:
                self._deliver(due.receipt)
            elif due.wire is not None and not due.wire.over:
                due.wire.out += due.octets

    @property
    def owes(self) -> bool:
        return any(due.receipt is not None for due in self._due) or any(wire.owed for wire in self.wires)

    # ---- what a submit_sm meets

    def _take(self, wire: Wire, pdu: bytes) -> None:
        header = codec.decode_header(pdu)
        if pdu[4:8] == b"\x80\0\0\5":
            owed = wire.owed.pop(header.sequence_number, None)
            if owed is not None and header.command_status == 0:
                owed.answered += 1
            elif owed is not None:
                self._owe(owed, 20 * MS)
            return
        if pdu[4:8] != b"\0\0\0\4":
            return
        submit = read_submit(pdu)
        rank, part = map(int, submit.octets.split(b"."))
        assert submit.to == NUMBER + rank
        (fate,) = self.draw.choices(FATES, TEMPERS[self.temper])
        delay = self.draw.choice([0, 0, 1, 5, 20, 80, 300]) * MS
        sequence = submit.sequence
        if fate == "mute":
            return
        if fate in ("refused", "close status"):
            status = 0x04 if fate == "close status" else self.draw.choice(REFUSALS)
            self._later(delay, response(sequence, status), wire)
            return
        message_id = self._accept((rank, part), delay)
        if fate == "drop":
            if self.draw.random() < 0.5:
                self.write(wire)
            wire.close(self.draw.choice(["fin", "rst"]))
            self.lost(wire)
        if fate in ("drop", "answer lost"):
            return
        if fate == "strange":
            self._later(delay, response(sequence + 0x40000000, self.draw.choice([0, 8]), "nobody"), wire)
        elif fate == "garbage":
            kind = self.draw.choice(GARBAGE)
            self._later(delay, KINDS[kind].octets, wire)
        self._later(delay, response(sequence, 0, message_id) * (2 if fate == "twice" else 1), wire)

    def _accept(self, part: PART, delay: int) -> str:
        self.taken[part] += 1
        self._id += self.draw.randint(1, 3)
        message_id = f"{self._id:x}"
        self.ids[message_id] = part
        what = self.draw.random()
        after = 0 if what < 0.1 else delay + self.draw.choice([1, 10, 100, 2_000]) * MS  # 0: overtakes its answer
        if what < 0.9:
            stat = self.draw.choice(["DELIVRD", "DELIVRD", "DELIVRD", "EXPIRED", "UNDELIV"])
            if self.draw.random() < 0.2:
                self._owe(Receipt(message_id, part, "ENROUTE", False), after)
            for _ in range(self.draw.choice([1, 1, 1, 2])):
                self._owe(Receipt(message_id, part, stat, True), after + self.draw.randrange(50) * MS)
        if what > 0.97:
            self._owe(Receipt(f"f{self._id:x}", (-1, 0), "DELIVRD", True), after)  # of an id that nobody was told
        return message_id

    # ---- receipts

    def _owe(self, receipt_: Receipt, delay: int) -> None:
        self._push(Due(self.now_ns + delay, 0, b"", None, receipt_))

    def _deliver(self, receipt_: Receipt) -> None:
        if not self.wires:
            self._owe(receipt_, 50 * MS)
            return
        wire = self.draw.choice(self.wires)
        wire.sequence += 1
        wire.owed[wire.sequence] = receipt_
        if receipt_ not in self.receipts:
            self.receipts.append(receipt_)
        number = NUMBER + receipt_.part[0]
        tlvs = {0x1E: receipt_.message_id.encode() + b"\0"} if self.draw.random() < 0.2 else {}
        wire.out += receipt(receipt_.message_id, receipt_.stat, number=number, sequence=wire.sequence, tlvs=tlvs)

    # ---- time

    def _later(self, delay: int, octets: bytes, wire: Wire) -> None:
        self._push(Due(self.now_ns + delay, 0, octets, wire))

    def _push(self, due: Due) -> None:
        self._order += 1
        due.order = self._order
        heapq.heappush(self._due, due)

    def known(self) -> Iterable[tuple[str, PART]]:
        return self.ids.items()
