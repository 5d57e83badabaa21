"""Octets that no SMSC should send, by kind: what `--garbage-every` puts before an answer, or in its place.

Touches: octets. Rests on: SMPP v3.4 issue 1.2, 3.2 (framing), 4 (bodies), 5.3 (TLVs); what real SMSCs did: SMPP_FACTS.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_ROK, RESPONSE, CommandId

SUBMIT_SM_RESP = RESPONSE | CommandId.SUBMIT_SM
_NO_NUL = b"\0\1\1" + b"5" * 40
_PLAIN = b"\0\1\x01555\0\1\x01666\0"  # service_type, source and destination of a deliver_sm


@dataclass(frozen=True, slots=True)
class Garbage:
    """One kind. `instead` of an answer: the answer's own sequence_number is put into it."""

    octets: bytes
    instead: bool = False
    ends: bool = False  # what follows cannot be framed any more


def _lost(octets: bytes) -> Garbage:
    return Garbage(octets, ends=True)


def _length(command_length: int, pdu: bytes) -> bytes:
    return command_length.to_bytes(4, "big") + pdu[4:]


def _answer(status: int = ESME_ROK, body: bytes = b"", command_id: int = SUBMIT_SM_RESP) -> Garbage:
    return Garbage(codec.encode(command_id, status, 0, body), instead=True)


def _deliver(
    text: bytes = b"", *, esm_class: int = 0, data_coding: int = 0, tlvs: bytes = b"", status: int = 0,
    sequence: int = 0x7ABCDE00, octets: int | None = None,
) -> bytes:  # fmt: skip
    flags = bytes((esm_class, 0, 0, 0, 0, 0, 0, data_coding, 0, len(text) if octets is None else octets))
    return codec.encode(CommandId.DELIVER_SM, status, sequence, _PLAIN + flags + text + tlvs)


_EMPTY_ANSWER = codec.encode(SUBMIT_SM_RESP, ESME_ROK, 1)
_ANSWER = codec.encode_answer(CommandId.SUBMIT_SM, ESME_ROK, 0x7ABCDEF0, "12345")

_LONG = bytes(7) + b"\4" + bytes(8) + b"\xff"  # a short_message of 255 octets that are not there

# The ten that there were first, and are sent by default; the first four end the framing.
COMMON: dict[str, Garbage] = {
    "huge-length": _lost(_length(0xFFFFFFFF, _EMPTY_ANSWER)),
    "short-length": _lost(_length(8, _EMPTY_ANSWER)),
    "http": _lost(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "random": _lost(bytes((i * 167 + 91) % 256 for i in range(64))),
    "unknown-request": Garbage(codec.encode(0x0999, 0, 7, b"what")),
    "unknown-response": Garbage(codec.encode(RESPONSE | 0x0999, 0, 7, b"what")),
    "unknown-sequence": Garbage(_ANSWER),
    "answer-without-body": Garbage(codec.encode(SUBMIT_SM_RESP, ESME_ROK, 0x7ABCDEF1)),
    "deliver-cut": Garbage(codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDEF2, b"\0\1\1555")),
    "deliver-sm-length": Garbage(codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDEF3, _LONG)),
}  # fmt: skip
_FRAMING: dict[str, Garbage] = {
    "zero-length": _lost(_length(0, _EMPTY_ANSWER)),
    "length-15": _lost(_length(15, _EMPTY_ANSWER)),
    "length-over-cap": _lost(_length(0x00010401, _EMPTY_ANSWER)),
    "length-top-bit": _lost(_length(0x80000010, _EMPTY_ANSWER)),
    "tls-alert": _lost(b"\x15\x03\x01\x00\x02\x02\x28"),
    "zeros": _lost(bytes(64)),
    "length-too-short": _lost(_length(20, _deliver(b"the rest of this text is no PDU"))),
    "length-too-long": _lost(_length(len(_deliver()) + 10, _deliver())),
}
_REQUESTS: dict[str, Garbage] = {
    "deliver-header-only": Garbage(codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDE01)),
    "deliver-no-nul": Garbage(codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDE02, _NO_NUL)),
    "deliver-long-address": Garbage(codec.encode(CommandId.DELIVER_SM, 0, 0x7ABCDE03, _NO_NUL + bytes(12))),
    "deliver-text-past-end": Garbage(_deliver(b"short", octets=200)),
    "deliver-text-and-payload": Garbage(_deliver(b"one", tlvs=b"\x04\x24\0\3two")),
    "deliver-tlv-cut": Garbage(_deliver(b"hello", tlvs=b"\x00\x1e\0\x40abc")),
    "deliver-tlv-stray": Garbage(_deliver(b"hello", tlvs=b"\x00\x1e\0")),
    "deliver-tlv-unknown": Garbage(_deliver(b"hello", tlvs=b"\x3f\xff\0\4\xde\xad\xbe\xef")),
    "deliver-tlv-twice": Garbage(_deliver(b"hello", tlvs=b"\x02\x04\0\2\0\1\x02\x04\0\2\0\2")),
    "deliver-state-empty": Garbage(_deliver(b"id:1 stat:DELIVRD", esm_class=4, tlvs=b"\x04\x27\0\0")),
    "deliver-state-unknown": Garbage(_deliver(b"id:1 stat:NOSUCH", esm_class=4, tlvs=b"\x04\x27\0\1\xc8")),
    "deliver-error-code-long": Garbage(_deliver(b"id:1 stat:UNDELIV", esm_class=4, tlvs=b"\x04\x23\0\x08abcdefgh")),
    "deliver-receipt-empty": Garbage(_deliver(b"", esm_class=4)),
    "deliver-receipt-no-id": Garbage(_deliver(b"sub:001 dlvrd:001 stat:DELIVRD err:000", esm_class=4)),
    "deliver-receipt-long-id": Garbage(_deliver(b"id:" + b"9" * 200 + b" stat:DELIVRD", esm_class=4)),
    "deliver-receipt-binary": Garbage(_deliver(bytes(range(128, 256)), esm_class=4)),
    "deliver-udh-past-end": Garbage(_deliver(b"\x40\0\3\1\2\1text", esm_class=0x40)),
    "deliver-udh-empty": Garbage(_deliver(b"", esm_class=0x40)),
    "deliver-udh-part-0": Garbage(_deliver(b"\5\0\3\1\2\0text", esm_class=0x40)),
    "deliver-udh-part-above": Garbage(_deliver(b"\5\0\3\1\2\3text", esm_class=0x40)),
    "deliver-data-coding": Garbage(_deliver(b"text", data_coding=0xFF)),
    "deliver-ucs2-odd": Garbage(_deliver(b"\0a\0", data_coding=8)),
    "deliver-ucs2-surrogate": Garbage(_deliver(b"\xd8\x3d\0a", data_coding=8)),
    "deliver-esm-class": Garbage(_deliver(b"text", esm_class=0xBF)),
    "deliver-status": Garbage(_deliver(b"text", status=0x58)),
    "deliver-sequence-0": Garbage(_deliver(b"text", sequence=0)),
    "deliver-sequence-high": Garbage(_deliver(b"text", sequence=0xFFFFFFFF)),
    "data-sm-cut": Garbage(codec.encode(CommandId.DATA_SM, 0, 0x7ABCDE04, b"\0\1\1555")),
    "alert-cut": Garbage(codec.encode(CommandId.ALERT_NOTIFICATION, 0, 0x7ABCDE05, b"\1")),
    "enquire-link-body": Garbage(codec.encode(CommandId.ENQUIRE_LINK, 0, 0x7ABCDE06, b"body")),
    "submit-request": Garbage(codec.encode(CommandId.SUBMIT_SM, 0, 0x7ABCDE07, _PLAIN + bytes(10))),
    "query-request": Garbage(codec.encode(CommandId.QUERY_SM, 0, 0x7ABCDE08, b"1\0\1\x01555\0")),
    "bind-request": Garbage(codec.encode(CommandId.BIND_TRANSCEIVER, 0, 0x7ABCDE09, b"a\0b\0\0\x34\0\0\0")),
    "outbind-bound": Garbage(codec.encode(CommandId.OUTBIND, 0, 0x7ABCDE0A, b"a\0b\0")),
}  # fmt: skip
_RESPONSES: dict[str, Garbage] = {
    "nack-of-nothing": Garbage(codec.encode(CommandId.GENERIC_NACK, 0x03, 0)),
    "nack-unknown-sequence": Garbage(codec.encode(CommandId.GENERIC_NACK, 0x08, 0x7ABCDE10)),
    "bind-answer": Garbage(codec.encode_answer(CommandId.BIND_TRANSCEIVER, ESME_ROK, 0x7ABCDE11, "SMSC")),
    "unbind-answer": Garbage(codec.encode(RESPONSE | CommandId.UNBIND, 0, 0x7ABCDE12)),
    "enquire-link-answer": Garbage(codec.encode(RESPONSE | CommandId.ENQUIRE_LINK, 0, 0x7ABCDE13)),
    "answer-sequence-high": Garbage(codec.encode_answer(CommandId.SUBMIT_SM, ESME_ROK, 0xFFFFFFFE, "12345")),
    "id-missing": _answer(),
    "id-empty": _answer(body=b"\0"),
    "id-without-nul": _answer(body=b"12345"),
    "id-too-long": _answer(body=b"7" * 200 + b"\0"),
    "id-binary": _answer(body=b"\xff\xfe\x80\0"),
    "answer-tlv-cut": _answer(body=b"12345\0\x04\x28\0\x09"),
    "answer-stray": _answer(body=b"12345\0\x01"),
    "answer-error-with-id": _answer(0x08, b"12345\0"),
    "answer-status-wild": _answer(0x055F, b"\0"),
    "answer-status-top": _answer(0xFFFFFFFF),
    "answer-nack": _answer(0x08, command_id=CommandId.GENERIC_NACK),
    "answer-of-query": _answer(body=b"1\0\0\2\0", command_id=RESPONSE | CommandId.QUERY_SM),
    "answer-of-deliver": _answer(body=b"\0", command_id=RESPONSE | CommandId.DELIVER_SM),
    "answer-of-nobody": _answer(body=b"what", command_id=RESPONSE | 0x0998),
}

KINDS: dict[str, Garbage] = COMMON | _FRAMING | _REQUESTS | _RESPONSES
GARBAGE: dict[str, bytes] = {kind: garbage.octets for kind, garbage in COMMON.items()}
