"""The pump: submit_sm encoding and answer scanning, compiled against plain Python and against smpplib."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Sequence

from smpplib import smpp as judge

from bench.harness import report
from dispatcher.records.batch import ROW, Row
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, BULK, Book, Pump, submit_head, submit_mid
from dispatcher.store.ledger import records
from tests.reference import pump as reference

PARTS = 4_096  # a claim of the feeder
ROUNDS = 5
HEAD, MID = submit_head("SHOP", 1, 1, 1, 1), submit_mid(validity_s=86_400)
TEXT = b"Hi Anna, you have 1280 points. Show this message at the till and pay less until Sunday."


def sample() -> tuple[bytes, bytes]:
    """Rows of one part each, and their octets."""
    rows, octets = bytearray(), bytearray()
    for rank in range(PARTS):
        text = TEXT[: 60 + rank % 28]
        rows += ROW.pack(4915100000000 + rank, rank, len(octets), rank, len(text), 0, 1, 0, 0, 1, 0, rank, 0)
        octets += text
    return bytes(rows), bytes(octets)


def by_smpplib(rows: Sequence[Row], octets: bytes) -> list[bytes]:
    """The same PDUs as smpplib's client makes them."""
    return [
        judge.make_pdu(
            "submit_sm",
            client=None,
            sequence=2 + no,
            source_addr_ton=5,
            source_addr="SHOP",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=str(row.destination),
            validity_period="000001000000000R",
            registered_delivery=1,
            short_message=octets[row.octets_at : row.octets_at + row.octets],
        ).generate()
        for no, row in enumerate(rows)
    ]


class Rig:
    """A bind over a socketpair whose other end is this bench."""

    def __init__(self) -> None:
        self.theirs, self.ours = socket.socketpair()
        for end in (self.theirs, self.ours):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.book = Book(1 << 17, memoryview(bytearray(64)).cast("Q"), ACTIONS, ACTION_OTHER, ring=1 << 14)
        self.run = self.book.open_run(1, 1, 0, HEAD, MID, receipts=True, honours_stop=True)
        self.pump = Pump(self.book, self.ours.fileno(), PARTS)

    def claim(self, rows: bytes, octets: bytes) -> None:
        self.book.claim(BULK, self.run, rows, PARTS, octets)

    def commit(self) -> list[tuple[object, ...]]:
        value, count = self.book.cut()
        made = records(value) if count else []
        self.book.committed()
        return made

    def send(self) -> bytes:
        """Everything claimed, as it reaches the other end."""
        got = bytearray()
        while True:
            flags = self.pump.push()
            try:
                while True:
                    got += self.theirs.recv(1 << 20)
            except BlockingIOError:
                if not flags & 8:
                    return bytes(got)

    def close(self) -> None:
        self.theirs.close()
        self.ours.close()


def responses(submits: bytes) -> bytes:
    """An ESME_ROK with its id for each submit_sm."""
    made, at = bytearray(), 0
    while at < len(submits):
        length = int.from_bytes(submits[at : at + 4], "big")
        body = b"%010d\0" % (at + 1)
        made += (16 + len(body)).to_bytes(4, "big") + b"\x80\0\0\4" + bytes(4) + submits[at + 12 : at + 16] + body
        at += length
    return bytes(made)


def in_flight(rows: Sequence[Row], pdus: Sequence[bytes]) -> reference.ReferencePump:
    """The reference with the same parts handed over."""
    book = reference.ReferenceBook([reference.Run(1, HEAD, MID, True, True)])
    pump = reference.ReferencePump(book, PARTS)
    for row, pdu in zip(rows, pdus, strict=True):
        place = int.from_bytes(pdu[12:16], "big") % pump.places
        pump.flying[place] = reference.Part(0, row, pdu, 1)
    return pump


def settle(pump: reference.ReferencePump, answers: bytes) -> None:
    """What the kernel's pull does with answers, recv apart: a record and an index entry each."""
    places = pump.places
    for sequence, status, message_id in reference.read_responses(answers):
        pump.response(sequence, status, message_id, places)


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main(argv: Sequence[str]) -> int:
    rows, octets = sample()
    parsed = [Row(*fields) for fields in ROW.iter_unpack(rows)]
    rig = Rig()
    best = dict.fromkeys((f"{what}{by}" for what in ("encode", "scan") for by in ("", "_reference", "_smpplib")), 1e9)

    def least(name: str, function: Callable[[], object]) -> None:
        best[name] = min(best[name], timed(function))

    for turn in range(ROUNDS):  # alternating
        least("encode", lambda: rig.claim(rows, octets))
        rig.commit()
        sent = rig.send()
        first = 2 + turn * PARTS
        plain: list[bytes] = []
        smpplib: list[bytes] = []
        least(
            "encode_reference",
            lambda plain=plain, first=first: plain.extend(
                reference.submit_sm(HEAD, MID, row, octets, first + no) for no, row in enumerate(parsed)
            ),
        )
        least("encode_smpplib", lambda smpplib=smpplib: smpplib.extend(by_smpplib(parsed, octets)))
        assert b"".join(plain) == sent, "the kernel's PDUs are not the reference's"
        assert [pdu[16:] for pdu in smpplib] == [pdu[16:] for pdu in plain], "smpplib's PDUs are others"

        answers = responses(sent)
        rig.theirs.sendall(answers)
        least("scan", rig.pump.pull)
        assert rig.pump.in_flight == 0, "one pull did not take all answers"
        made = rig.commit()
        model = in_flight(parsed, plain)
        least("scan_reference", lambda model=model, answers=answers: settle(model, answers))
        read: list[bytes] = []
        least("scan_smpplib", lambda read=read, answers=answers: read.extend(ids_by_smpplib(answers)))
        assert [record[:7] for record in made] == model.book.records, "the kernel's records are not the reference's"
        assert [record[6] for record in made] == read
    rig.close()
    report(
        "pump",
        {
            "parts": PARTS,
            "submit_sm_encoded_a_second": round(PARTS / best["encode"]),
            "encode_times_reference": round(best["encode_reference"] / best["encode"], 1),
            "encode_times_smpplib": round(best["encode_smpplib"] / best["encode"], 1),
            "answers_scanned_a_second": round(PARTS / best["scan"]),
            "scan_times_reference": round(best["scan_reference"] / best["scan"], 1),
            "scan_times_smpplib": round(best["scan_smpplib"] / best["scan"], 1),
        },
        "--json" in argv,
    )
    return 0


def ids_by_smpplib(octets: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 4], "big")
        found.append(judge.parse_pdu(octets[at : at + length], client=None).message_id)
        at += length
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
