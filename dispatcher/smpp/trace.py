"""Live PDUs of one bind for a person: framed out of what the pump mirrored, one number's alone, masked unless revealed.

Touches: octets it is given. Rests on: PRODUCT's rule that numbers and texts are shown only with a reason.
Several may look at one bind: what the mirror held is offered to each (Traces), waits for each by itself, and is framed
and masked at that one's look. The octets that wait are shared between them.
Weak spot: the mirror holds 1 MiB between two looks of anybody, and WAITING_MAX waits for one who looks seldom; what is
more is lost to the trace (and told), and the stream is found again where two plausible headers follow each other.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dispatcher.smpp import codec
from dispatcher.smpp.consts import COMMAND_LENGTH_MAX, ESM_INTERMEDIATE, ESM_RECEIPT, ESM_TYPE, RESPONSE, CommandId, Tag
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import COMMANDS, Pdu, Unparsed

SHOWN_MAX = 2_000  # PDUs of one look; those behind them are of the next
WAITING_MAX = 2 << 20  # octets that wait for one who looks: two mirrors
LOOKERS_MAX = 8  # of one bind at a time
LOOK_ENDS_S = 5.0  # without a look, so that nobody costs anything who went away
AWAITED_MAX = 10_000  # requests to the number, whose answers are shown too
_HEADER = struct.Struct(">IIII")
_BINDS = (CommandId.BIND_RECEIVER, CommandId.BIND_TRANSMITTER, CommandId.BIND_TRANSCEIVER, CommandId.OUTBIND)
_ADDRESSES = ("source_addr", "destination_addr", "esme_addr")
_DIGITS = re.compile(rb"[0-9](?=[0-9]{3})")  # all but the last three
_KNOWN = frozenset(COMMANDS.values())
_TEXT = re.compile(rb"(?i)\btext\s*:.*", re.DOTALL)  # of a receipt

Chunk = tuple[int, bool, bytes]  # monotonic ns, whether we sent it, octets as the socket took or gave them


@dataclass(frozen=True, slots=True)
class Crossed:
    """A PDU that crossed the connection; `at_ns` is monotonic."""

    at_ns: int
    sent: bool
    octets: bytes


class Trace:
    """Of one bind, for one who looks. `number`: only what is from or to it, and the answers to that."""

    def __init__(self, number: str = "", *, reveal: bool = False) -> None:
        self.number = number.lstrip("+")
        self.reveal = reveal
        self.lost_octets = 0
        self._waiting: deque[Chunk | None] = deque()  # None: a gap, behind which another stream begins
        self._waiting_octets = 0
        self._ready: deque[Crossed] = deque()
        self._streams = {True: Stream(), False: Stream()}
        self._awaited: dict[bool, deque[int]] = {side: deque(maxlen=AWAITED_MAX) for side in (True, False)}

    def gap(self) -> None:
        """Another connection, or octets are missing: nothing of what was before goes on."""
        self._waiting.append(None)

    def offer(self, chunks: Sequence[Chunk], lost: int) -> None:
        """What crossed, for the next look; behind it `lost` octets are missing. The oldest go where it is too much."""
        self._waiting.extend(chunks)
        self._waiting_octets += sum(len(octets) for _, _, octets in chunks)
        if self._waiting_octets > WAITING_MAX:
            while self._waiting_octets > WAITING_MAX:
                if (first := self._waiting.popleft()) is not None:
                    self._waiting_octets -= len(first[2])
                    self.lost_octets += len(first[2])
            self._waiting.appendleft(None)
        if lost:
            self.lost_octets += lost
            self.gap()

    def take(self) -> list[Crossed]:
        """The PDUs that what waits completes, the oldest first, at most SHOWN_MAX."""
        while self._waiting and len(self._ready) < SHOWN_MAX:
            chunk = self._waiting.popleft()
            if chunk is None:
                self._restart()
                continue
            at_ns, sent, octets = chunk
            self._waiting_octets -= len(octets)
            wanted = (pdu for pdu in self._streams[sent].feed(octets) if self._wanted(pdu, sent))
            self._ready.extend(Crossed(at_ns, sent, pdu if self.reveal else masked(pdu)) for pdu in wanted)
        return [self._ready.popleft() for _ in range(min(SHOWN_MAX, len(self._ready)))]

    def _restart(self) -> None:
        self._streams = {True: Stream(), False: Stream()}
        for awaited in self._awaited.values():
            awaited.clear()

    def _wanted(self, pdu: bytes, sent: bool) -> bool:
        if not self.number:
            return True
        _, command_id, _, sequence = _HEADER.unpack_from(pdu)
        if command_id & RESPONSE:
            awaited = self._awaited[not sent]
            if sequence not in awaited:
                return False
            awaited.remove(sequence)
            return True
        if self.number.encode() not in pdu:
            return False
        read = codec.decode(pdu)
        if isinstance(read, Unparsed) or self.number not in [read.fields.get(name) for name in _ADDRESSES]:
            return False
        self._awaited[sent].append(sequence)
        return True


class Traces:
    """Everybody who looks at one bind, each by a name of their own."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Trace, int]] = {}  # and when they looked last, monotonic ns

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Trace]:
        return (trace for trace, _ in self._of.values())

    def of(self, looker: str, number: str, reveal: bool, now_ns: int) -> Trace:
        """Whose look this is; from now on what crosses waits for them. Asked for otherwise than before, it begins anew.
        Raises TooManyLook."""
        trace = self._of[looker][0] if looker in self._of else None
        if trace is None and len(self._of) == LOOKERS_MAX:
            raise TooManyLook(LOOKERS_MAX)
        if trace is None or (trace.number, trace.reveal) != (number.lstrip("+"), reveal):
            trace = Trace(number, reveal=reveal)
        self._of[looker] = trace, now_ns
        return trace

    def end_old(self, now_ns: int) -> None:
        """Of those who have not looked for LOOK_ENDS_S."""
        self._of = {who: one for who, one in self._of.items() if now_ns - one[1] <= LOOK_ENDS_S * 1e9}


class TooManyLook(Exception):
    """So many look at this bind already."""


class Stream:
    """One direction. A trace begins, and goes on after a loss, anywhere in a PDU: it finds the next one."""

    def __init__(self) -> None:
        self._framer: Framer | None = None
        self._rest = b""

    def feed(self, octets: bytes) -> list[bytes]:
        if self._framer is None:
            self._rest = (self._rest + octets)[-2 * COMMAND_LENGTH_MAX :]
            at = find_frame(self._rest)
            if at is None:
                return []
            self._framer, octets, self._rest = Framer(), self._rest[at:], b""
        pdus = self._framer.feed(octets)
        if self._framer.lost is not None:
            self._framer = None
        return pdus


def find_frame(octets: bytes) -> int | None:
    """Where a PDU begins: a plausible header, and another, or nothing yet, behind it. None: nowhere."""
    for at in range(len(octets) - 15):
        end = _plausible(octets, at)
        if end and (end >= len(octets) or len(octets) - end < 16 or _plausible(octets, end)):
            return at
    return None


def _plausible(octets: bytes, at: int) -> int:
    """Where the PDU at `at` would end; 0 when there is none."""
    length, command_id, _, sequence = _HEADER.unpack_from(octets, at)
    known = command_id in _KNOWN
    return at + length if known and 16 <= length <= COMMAND_LENGTH_MAX and sequence <= 0x7FFFFFFF else 0


def masked(pdu: bytes) -> bytes:
    """The same PDU, of the same length, with `*` for passwords, texts and all but three digits of numbers. What cannot
    be read is shown as its header alone, the rest as `*`."""
    read = codec.decode(pdu)
    if isinstance(read, Unparsed) or read.command_id in _BINDS:
        return pdu[:16] + b"*" * (len(pdu) - 16)
    whole = bytearray(pdu)
    for name, value in read.fields.items():
        if isinstance(value, str) and name in _ADDRESSES:
            _replace(whole, value.encode("latin-1", "replace") + b"\0", _DIGITS)
        elif isinstance(value, bytes) and value:
            _replace(whole, value, _text_of(read, value))
        elif isinstance(value, tuple):  # lists of destinations and of those refused
            return pdu[:16] + b"*" * (len(pdu) - 16)
    for tag, value in read.tlvs:
        if tag == Tag.MESSAGE_PAYLOAD and value:
            _replace(whole, value, _text_of(read, value))
    return bytes(whole)


def _text_of(read: Pdu, octets: bytes) -> re.Pattern[bytes]:
    """What of a message is hidden: all, and of a receipt its text; of one in UCS-2 or packed septets all."""
    esm_class = read.fields.get("esm_class", 0)
    receipt = isinstance(esm_class, int) and esm_class & ESM_TYPE in (ESM_RECEIPT, ESM_INTERMEDIATE)
    return _TEXT if receipt and _LABEL.search(octets) else _ALL


_ALL = re.compile(rb".+", re.DOTALL)
_LABEL = re.compile(rb"(?i)\b(?:id|stat)\s*:")


def _replace(whole: bytearray, value: bytes, hidden: re.Pattern[bytes]) -> None:
    """Every place of `value` behind the header, with what is hidden of it as `*`."""
    shown = hidden.sub(lambda found: b"*" * len(found[0]), value)
    at = 16
    while (at := whole.find(value, at)) >= 0:
        whole[at : at + len(value)] = shown
        at += len(value)
