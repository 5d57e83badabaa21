"""What the simulator is told (SmscOptions), and its answers to the PDUs that its kernel leaves alone.

Touches: octets. Never a socket, a task or a file.
Rests on: SMPP v3.4 issue 1.2, 2.2 (session states), 4.1 and 4.2 (bind, unbind), 4.3 (generic_nack).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    BINDS,
    DATA_CODING_DEFAULT,
    DATA_CODING_UCS2,
    ESM_UDHI,
    ESME_RALYBND,
    ESME_RBINDFAIL,
    ESME_RINVCMDID,
    ESME_RINVSYSID,
    ESME_ROK,
    INTERFACE_VERSION,
    MESSAGE_STATES,
    RESPONSE,
    UNANSWERED,
    CommandId,
    Npi,
    Tag,
    Ton,
)
from dispatcher.smpp.pdu import Bind, Message, Unparsed

SYSTEM_ID = "VOLLEY-SMSC"
LISTED_MAX = 16  # states, refusals and kinds of garbage: smsc_state.h has room for as many
NUMBER_OF_STATE = {word: number for number, word in MESSAGE_STATES.items()}

# short_message octets by (esm_class, data_coding): what an encoder of texts answers, a tuple a part.
PartOctets = tuple[int, int, bytes]


def plain_parts(text: str, reference: int) -> Sequence[PartOctets]:
    """Without the text room: what GSM 7-bit and ASCII share goes out as it is, the rest as UCS-2, all in one part."""
    if re.fullmatch(r"[A-Za-z0-9 \r\n!\"#%&'()*+,\-./:;<=>?]*", text):
        return [(0, DATA_CODING_DEFAULT, text.encode("ascii"))]
    return [(0, DATA_CODING_UCS2, text.encode("utf-16-be", "replace"))]


def _lost(command_length: int) -> bytes:
    return command_length.to_bytes(4, "big") + codec.encode(RESPONSE | CommandId.SUBMIT_SM, 0, 1)[4:]


# What --garbage-every puts before an answer, by name. The first four end the framing, the rest leave it whole.
GARBAGE: dict[str, bytes] = {
    "huge-length": _lost(0xFFFFFFFF),
    "short-length": _lost(8),
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "random": bytes((i * 167 + 91) % 256 for i in range(64)),
    "unknown-request": codec.encode(0x0999, 0, 7, b"what"),
    "unknown-response": codec.encode(RESPONSE | 0x0999, 0, 7, b"what"),
    "unknown-sequence": codec.encode_answer(CommandId.SUBMIT_SM, ESME_ROK, 0x7ABCDEF0, "12345"),
    "answer-without-body": codec.encode(RESPONSE | CommandId.SUBMIT_SM, ESME_ROK, 0x7ABCDEF1),
    "deliver-cut": codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDEF2, b"\0\1\1555"),
    "deliver-sm-length": codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDEF3, bytes(7) + b"\4" + bytes(8) + b"\xff"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmscOptions:
    """How the simulator behaves. `every` is counted over all submit_sm of all connections; 0 is never."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: the system picks one
    tps: int = 0  # accepted submit_sm in any sliding second, all connections together; 0: no limit
    delay_ms: int = 0  # from a submit_sm to its answer, in steps of 2 ms
    receipts: float = 100.0  # per cent of those accepted that asked for one
    receipt_delay_ms: int = 0  # from acceptance to the receipt, in steps of 2 ms
    receipt_tlvs: bool = False  # receipted_message_id and message_state beside the text
    receipt_twice_every: int = 0  # every Nth receipt is sent twice
    receipt_unknown_every: int = 0  # every Nth receipt is followed by one for an id that never was
    deliver_window: int = 10_000  # deliver_sm unanswered on one bind
    drop_every: int = 0  # close instead of answering; every second one is accepted and logged before
    mute_every: int = 0  # not accepted, not logged, never answered
    status_every: tuple[tuple[int, int], ...] = ()  # (every, command_status)
    garbage_every: int = 0
    garbage: tuple[str, ...] = tuple(GARBAGE)  # one after the other
    refuse_binds: int = 0  # the first N binds; -1: all of them
    refuse_status: int = ESME_RBINDFAIL
    ids: str = "decimal"  # form of message_id in answers, TLVs and the log: decimal or hex
    receipt_ids: str = "decimal"  # form in the receipt's text
    states: tuple[tuple[str, int, str], ...] = (("DELIVRD", 1, "000"),)  # (word, weight, err)
    log: Path | None = None
    mo: Path | None = None  # followed: lines of from, to, text, separated by tabs
    mo_parts: Callable[[str, int], Sequence[PartOctets]] = plain_parts

    def __post_init__(self) -> None:
        for name in ("ids", "receipt_ids"):
            if getattr(self, name) not in ("decimal", "hex"):
                raise ValueError(f"{name} {getattr(self, name)!r}: decimal or hex")
        most_of = {"port": 65535, "receipts": 100, "delay_ms": 10**8, "receipt_delay_ms": 10**8, "tps": 10**8}
        for name, most in (most_of | {name: 1 << 63 for name in self.__slots__ if name.endswith("_every")}).items():
            if name != "status_every" and not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)}: 0 to {most}")
        for name in ("states", "status_every", "garbage"):
            if len(getattr(self, name)) > LISTED_MAX:
                raise ValueError(f"{name}: {len(getattr(self, name))} of them, at most {LISTED_MAX}")
        for count, status in self.status_every:
            if not (0 <= count < 1 << 63 and 0 < status < 1 << 32):
                raise ValueError(
                    f"status_every {count}:0x{status:X}: a count, and a command_status other than ESME_ROK"
                )
        if not 1 <= self.deliver_window <= 1 << 20:
            raise ValueError(f"deliver_window {self.deliver_window}: 1 to {1 << 20}")
        for word, weight, _ in self.states:
            if word not in NUMBER_OF_STATE or weight < 1:
                raise ValueError(f"state {word}:{weight}: one of {', '.join(NUMBER_OF_STATE)}, weight from 1")
        for kind in self.garbage:
            if kind not in GARBAGE:
                raise ValueError(f"garbage {kind!r}: one of {', '.join(GARBAGE)}")

    def refuses(self, binds_before: int) -> bool:
        """Whether a bind is refused after so many were asked for."""
        return self.refuse_binds < 0 or binds_before < self.refuse_binds


@dataclass(frozen=True, slots=True)
class Reply:
    """What an odd PDU brings about: octets to send, the bind it makes, or the end of the connection."""

    octets: bytes = b""
    bind: Bind | None = None
    mode: str = ""  # rx, tx or trx
    refused: bool = False
    malformed: bool = False
    ends: bool = False


def answer_odd(pdu: bytes, *, bound: bool, refuse_status: int) -> Reply:
    """Answer any whole PDU but submit_sm, deliver_sm_resp, enquire_link and generic_nack.

    `refuse_status` other than ESME_ROK refuses a bind with it.
    """
    header = codec.decode_header(pdu)
    if isinstance(header, Unparsed):
        return Reply(malformed=True, ends=True)
    command_id, sequence = header.command_id, header.sequence_number
    if command_id & RESPONSE or command_id in UNANSWERED:
        return Reply()
    if command_id == CommandId.UNBIND:
        return Reply(codec.encode(RESPONSE | command_id, ESME_ROK, sequence), ends=True)
    if command_id not in BINDS:
        return Reply(codec.generic_nack(sequence, ESME_RINVCMDID))
    if bound:
        return Reply(codec.encode_answer(command_id, ESME_RALYBND, sequence), refused=True)
    bind = codec.decode_bind(pdu)
    if isinstance(bind, Unparsed):
        return Reply(codec.encode_answer(command_id, ESME_RINVSYSID, sequence), malformed=True, refused=True)
    if refuse_status != ESME_ROK:
        return Reply(codec.encode_answer(command_id, refuse_status, sequence), refused=True)
    tlvs: dict[int, bytes] = {Tag.SC_INTERFACE_VERSION: bytes((INTERFACE_VERSION,))}
    answer = codec.encode_answer(command_id, ESME_ROK, sequence, SYSTEM_ID, tlvs)
    return Reply(answer, bind, BINDS[CommandId(command_id)])


def mo_pdus(source: str, destination: str, parts: Sequence[PartOctets]) -> list[bytes]:
    """deliver_sm of a text from a phone, sequence_number 0; ValueError for addresses that SMPP cannot carry."""
    return [
        codec.encode_message(
            CommandId.DELIVER_SM,
            0,
            Message(
                source_addr_ton=Ton.INTERNATIONAL,
                source_addr_npi=Npi.ISDN,
                source_addr=source,
                dest_addr_ton=Ton.UNKNOWN,
                dest_addr_npi=Npi.ISDN,
                destination_addr=destination,
                esm_class=esm_class & ESM_UDHI,
                data_coding=data_coding,
                short_message=octets,
            ),
        )
        for esm_class, data_coding, octets in parts
    ]
