"""What the simulator heard: its log counted, and texts put together again from the octets that crossed the binds.

Touches: the simulator's log; PDUs it is given (`smpp trace`). A text is shown only when the log has, for its number,
the same octets of each part: so it is what was received, not what was meant.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dispatcher.cli.demo_judge import read_lines
from dispatcher.members.export_cells import masked_number
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESM_UDHI, CommandId, Tag
from dispatcher.smpp.pdu import Message, Unparsed
from dispatcher.text.decode import decode, read_udh

SAMPLES = 10
MESSAGES_MAX = 2_000  # put together; the samples are picked among them, evenly
LINES_READ = 1_000_000  # of the log, for the samples' octets: those that were traced left among the first
READ_OCTETS = 4 << 20


@dataclass(slots=True)
class _Heard:
    """One message, as far as its parts came by."""

    endpoint: str
    source: str
    data_coding: int
    total: int
    texts: dict[int, str | None] = field(default_factory=dict)
    hashes: dict[int, int] = field(default_factory=dict)


class Texts:
    """Of the first messages. `alphabets`: what data_coding 0 means, by endpoint."""

    def __init__(self, alphabets: Mapping[str, str]) -> None:
        self._alphabets = alphabets
        self._heard: dict[str, _Heard] = {}  # by number: a campaign has one message for each

    @property
    def enough(self) -> bool:
        return len(self._heard) >= MESSAGES_MAX

    def take(self, endpoint: str, pdu: bytes) -> None:
        """A PDU that we sent."""
        if int.from_bytes(pdu[4:8]) != CommandId.SUBMIT_SM:
            return
        message = codec.decode_message(pdu)
        if isinstance(message, Unparsed):
            return
        number = message.destination_addr.removeprefix("+")
        part, total = _place(message)
        heard = self._heard.setdefault(number, _Heard(endpoint, message.source_addr, message.data_coding, total))
        udhi = bool(message.esm_class & ESM_UDHI)
        heard.texts[part] = decode(message.data_coding, message.short_message, udhi, self._alphabets[endpoint])
        heard.hashes[part] = zlib.crc32(message.short_message)

    def samples(self, log: Path) -> list[dict[str, Any]]:
        """Up to SAMPLES that the log confirms."""
        whole = {number: heard for number, heard in self._heard.items() if len(heard.texts) == heard.total}
        found: dict[str, set[tuple[int, int]]] = {number: set() for number in whole}
        for line in islice(read_lines(log), LINES_READ):
            seen = found.get(line.destination.removeprefix("+"))
            if seen is not None:
                seen.add((line.part, line.octets_hash))
        received = [number for number, heard in whole.items() if found[number] >= set(heard.hashes.items())]
        spread = min(SAMPLES, len(received))
        return [
            _shown(number, whole[number]) for number in (received[len(received) * i // spread] for i in range(spread))
        ]


@dataclass(frozen=True, slots=True)
class Counted:
    """Parts that the simulator accepted, and when the first and the last came."""

    parts: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def took_s(self) -> float:
        return (self.last_ms - self.first_ms) / 1_000


def count_log(log: Path) -> Counted:
    """By its lines; 10 M of them take half a second."""
    parts, tail = 0, b""
    with log.open("rb") as file:
        first = file.readline()
        file.seek(0)
        while octets := file.read(READ_OCTETS):
            parts += octets.count(b"\n")
            tail = tail[-200:] + octets[-200:]
    if not parts:
        return Counted()
    last = tail.rstrip(b"\n").rpartition(b"\n")[2]
    return Counted(parts, int(first.split(b"\t", 1)[0]), int(last.split(b"\t", 1)[0]))


def _place(message: Message) -> tuple[int, int]:
    """(part, of how many), by UDH or SAR."""
    if message.esm_class & ESM_UDHI:
        concat, _ = read_udh(message.short_message)
        return (concat.part, concat.total) if concat is not None else (1, 1)
    part, total = (message.tlvs.get(tag, b"") for tag in (Tag.SAR_SEGMENT_SEQNUM, Tag.SAR_TOTAL_SEGMENTS))
    return (part[0], total[0]) if part and total else (1, 1)


def _shown(number: str, heard: _Heard) -> dict[str, Any]:
    return {
        "to": masked_number(int(number)),
        "from": heard.source,
        "endpoint": heard.endpoint,
        "data_coding": heard.data_coding,
        "parts": heard.total,
        "text": "".join(heard.texts[part] or "" for part in sorted(heard.texts)),
    }
