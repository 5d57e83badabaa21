"""What the pump means: claims in; submit_sm, journal records and what is given back out. No socket, clock or rate.

A throttle holds nothing here (the Book's retry_ns is 0). Records are as store.ledger.records() tells them, times left out.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.records.batch import Row
from dispatcher.smpp.consts import Action, action_of
from dispatcher.smpp.pump import Kind

PARTS_MAX = 127
FLOOR = 20


def submit_sm(head: bytes, mid: bytes, row: Row, octets: bytes, sequence: int = 0) -> bytes:
    """One row as the PDU it becomes."""
    text = octets[row.octets_at : row.octets_at + row.octets]
    body = head[16:] + b"%d\0" % row.destination + bytes((row.esm_class,)) + mid
    body += bytes((row.data_coding, 0, len(text))) + text
    return struct.pack(">IIII", 16 + len(body), 4, 0, sequence) + body


def read_responses(octets: bytes) -> list[tuple[int, int, bytes]]:
    """(sequence_number, command_status, message_id) of each submit_sm_resp in whole PDUs."""
    found, at = [], 0
    while at < len(octets):
        length, command_id, status, sequence = struct.unpack_from(">IIII", octets, at)
        if command_id == 0x80000004:
            found.append((sequence, status, octets[at + 16 : at + length].split(b"\0")[0][:64]))
        at += length
    return found


def normal(message_id: bytes) -> bytes:
    """The one form that ids are compared in, where both sides write them alike."""
    return message_id[:64].lower().lstrip(b"0") or message_id[-1:]


@dataclass
class Part:
    run: int
    row: Row
    pdu: bytes
    group: int  # parts of its message that leave together with it, itself included
    late: bool = False  # timed out: an answer may still come


@dataclass
class Run:
    id: int
    head: bytes
    mid: bytes
    receipts: bool
    honours_stop: bool
    stopped: bool = False


@dataclass
class ReferenceBook:
    runs: list[Run]
    tries_max: int = 3
    records: list[tuple[Any, ...]] = field(default_factory=list)
    returned: list[tuple[int, ...]] = field(default_factory=list)
    taken: int = 0  # of them, by whoever decides
    rings: tuple[deque[Part], ...] = field(default_factory=lambda: (deque(), deque(), deque()))
    committed: list[int] = field(default_factory=lambda: [0, 0, 0])  # of each ring, how many may leave
    starved: list[int] = field(default_factory=lambda: [0, 0, 0])  # parts of those above since each waits
    giving_back: list[bool] = field(default_factory=lambda: [False] * 3)  # of a stopped run, and not on disk
    made: list[int] = field(default_factory=lambda: [0, 0, 0])
    known: dict[bytes, list[int]] = field(default_factory=dict)  # id -> [run, rank, part, state]
    held: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # id -> (state, error)
    revoked: set[int] = field(default_factory=set)

    def claim(self, pool: int, run: int, rows: Sequence[Row], octets: bytes) -> None:
        r = self.runs[run]
        messages: list[list[Row]] = []
        for row in rows:
            if messages and messages[-1][0].rank == row.rank:
                messages[-1].append(row)
            else:
                messages.append([row])
        open_: list[Any] | None = None  # the record that consecutive ranks share; a repeat of some parts is its last
        for message in messages:
            wanted = [row for row in message if row.decision < 16 and not row.skip]
            if not wanted and message[0].decision < 16:
                open_ = None
                continue
            octet = message[0].parts if message[0].decision < 16 else 128 + message[0].decision
            for no, row in enumerate(wanted):
                self.rings[pool].append(Part(run, row, submit_sm(r.head, r.mid, row, octets), len(wanted) - no))
            partial = any(row.skip and row.decision < 16 for row in message)
            again = sum({1 << min(row.part, 15) for row in wanted}) if partial else 0
            if open_ is None or open_[3] + len(open_[5]) != message[0].rank:
                open_ = ["claim", r.id, pool, message[0].rank, self.made[pool], b"", 0]
                self.records.append(())
            open_[5] += bytes((octet,))
            open_[6] = again
            self.records[-1] = tuple(open_)
            if again:
                open_ = None
            self.made[pool] += len(wanted)

    def log(self, kind: int, part: Part, state: int = 0, status: int = 0, message_id: bytes = b"") -> None:
        self.records.append((kind, self.runs[part.run].id, part.row.rank, part.row.part, state, status, message_id))

    def give_back(self, kind: int, part: Part, status: int) -> None:
        row = part.row
        self.returned.append(
            (kind, part.run, row.rank, row.part, row.parts, row.slot, row.destination, status, row.tries, 0)
        )

    def commit(self) -> None:
        self.committed = [len(ring) for ring in self.rings]
        self.giving_back = [False] * 3

    def close_run(self, run: int, flying: Sequence[Part]) -> bool:
        """flying: what is in a window or carried by a bind, late ones too. Afterwards its ids are nobody's."""
        alive = [part.run for part in flying] + [part.run for ring in self.rings for part in ring]
        if run in alive or any(item[1] == run for item in self.returned[self.taken :]):
            return False
        self.known = {id_: known for id_, known in self.known.items() if known[0] != run}
        return True

    def lane(self) -> tuple[int, int]:
        """Which pool leaves next and how many parts of it at most; -1: none."""
        top, most = -1, 1 << 32
        for pool in (2, 1, 0):
            if not self.committed[pool]:
                self.starved[pool] = 0
            elif top < 0:
                top = pool
            elif self.starved[pool] >= FLOOR:
                return pool, 1
            else:
                most = min(most, FLOOR - self.starved[pool])
        return top, most

    def lane_took(self, pool: int, parts: int) -> None:
        for below in range(pool):
            self.starved[below] += parts * bool(self.committed[below])
        self.starved[pool] = 0

    def receipt(self, message_id: bytes, state: int, error: int, number: int) -> None:
        if state == 0:
            return
        known = self.known.get(normal(message_id))
        if known is not None:
            if known[3] < 4 or (state == 4 and known[3] in (5, 7)):
                known[3] = state
                self.records.append((Kind.RECEIPT, self.runs[known[0]].id, known[1], known[2], state, error, b""))
            return
        before = self.held.get(normal(message_id))
        if before is None or (state == 4 and before[0] in (5, 7)):
            self.held[normal(message_id)] = state, error
            self.records.append((Kind.HELD, None, number, 0, state, error, message_id))


@dataclass
class ReferencePump:
    book: ReferenceBook
    window: int
    sequence: int = 2
    flying: dict[int, Part] = field(default_factory=dict)  # by place in the kernel's table
    carry: deque[Part] = field(default_factory=deque)
    broken: bool = False
    closed: bool = False

    @property
    def in_flight(self) -> int:
        return sum(not part.late for part in self.flying.values())

    @property
    def places(self) -> int:
        size = 16
        while size < 4 * self.window:
            size *= 2
        return size

    def push(self) -> list[bytes]:
        """The submit_sm that leave now."""
        sent: list[bytes] = []
        if self.closed:
            return sent
        while True:
            before = len(sent)
            self._carried(sent)
            while not self.carry and (lane := self.book.lane())[0] >= 0:
                left, parts = self.book.committed[lane[0]], len(sent)
                self._fill(*lane, sent)
                if self.book.committed[lane[0]] == left:
                    break
                self.book.lane_took(lane[0], len(sent) - parts)
            if len(sent) == before and not (self.carry and self.in_flight < self.window):
                return sent

    def _carried(self, sent: list[bytes]) -> None:
        while self.carry and self.in_flight < self.window:
            self._fly(self.carry.popleft(), sent)

    def _fill(self, pool: int, most: int, sent: list[bytes]) -> None:
        book, ring, before = self.book, self.book.rings[pool], len(sent)
        while book.committed[pool] and len(sent) - before < most:
            n = ring[0].group
            run = book.runs[ring[0].run]
            stop = run.stopped or (run.honours_stop and ring[0].row.destination in book.revoked)
            if not stop and book.giving_back[pool]:
                return
            if not stop and self.in_flight + n > self.window and (self.in_flight or n <= self.window):
                return
            message = [ring.popleft() for _ in range(n)]
            book.giving_back[pool] |= run.stopped
            book.committed[pool] -= n
            if stop:
                for part in message:
                    kind, state, status = (Kind.RELEASED, 0, 0) if run.stopped else (Kind.SKIPPED, 20, n)
                    book.log(kind, part, state, status)
                    book.give_back(kind, part, state)
            elif self.in_flight + n > self.window:
                self.carry.extend(message)
                return
            else:
                for part in message:
                    self._fly(part, sent)

    def _fly(self, part: Part, sent: list[bytes]) -> None:
        while (other := self.flying.get(self.sequence % self.places)) and not other.late:
            self.sequence = self.sequence % 0x7FFFFFFF + 1
        pdu = part.pdu[:12] + self.sequence.to_bytes(4, "big") + part.pdu[16:]
        self.flying[self.sequence % self.places] = replace(part, pdu=pdu)
        sent.append(pdu)
        self.sequence = self.sequence % 0x7FFFFFFF + 1

    def response(self, sequence: int, status: int, message_id: bytes, places: int = 0) -> None:
        book = self.book
        place = sequence % (places or self.places)
        part = self.flying.get(place)
        if part is None or part.pdu[12:16] != sequence.to_bytes(4, "big"):
            return
        del self.flying[place]
        if status == 0:
            message_id = message_id.split(b"\0")[0][:64]
            book.log(Kind.ACCEPTED, part, message_id=message_id)
            if message_id and book.runs[part.run].receipts:
                state, error = book.held.pop(normal(message_id), (0, 0))
                if state:
                    book.log(Kind.RECEIPT, part, state, error)
                book.known[normal(message_id)] = [part.run, part.row.rank, part.row.part, state or 3]
            return
        action = action_of(status)
        free = action in (Action.THROTTLED, Action.LATER)
        again = free or (action in (Action.BOUNDED, Action.CLOSE) and part.row.tries + 1 < book.tries_max)
        if not again:
            book.log(Kind.REFUSED, part, int(part.late), status)
        elif not part.late:
            book.log(Kind.RETRY, part, int(free), status)
            book.give_back(Kind.RETRY, part, status)
        self.broken |= action is Action.CLOSE

    def time_out(self) -> None:
        for place in sorted(self.flying):
            if not self.flying[place].late:
                self._lose(self.flying[place], 1)
                self.flying[place].late = True

    def _lose(self, part: Part, reason: int) -> None:
        self.book.log(Kind.UNCERTAIN, part, reason)
        self.book.give_back(Kind.UNCERTAIN, part, reason)

    def close(self) -> None:
        """As if the socket had taken all octets."""
        while self.carry:
            part = self.carry.popleft()
            self.book.log(Kind.RELEASED, part)
            self.book.give_back(Kind.RELEASED, part, 0)
        for place in sorted(self.flying):
            if not self.flying[place].late:
                self._lose(self.flying[place], 2)
        self.flying.clear()
        self.closed = True
