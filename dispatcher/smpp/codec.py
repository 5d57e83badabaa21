"""Octets <-> one PDU: clear before fast, for everything that no kernel handles.

Touches: octets and records. A decoder answers any octets with a record or Unparsed and never raises;
an encoder raises ValueError for what SMPP cannot carry, which is a bug of its caller.
Rests on: SMPP v3.4 issue 1.2, section 4; what real peers do against it: SMPP_FACTS 1, 3, 4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from dispatcher.smpp.consts import (
    ESME_ROK,
    HEADER_OCTETS,
    RESPONSE,
    CommandId,
    Tag,
)
from dispatcher.smpp.pdu import (
    BIND_FIELDS,
    C_OCTET_MAX,
    C_OCTET_READ_MAX,
    DATA_SM_FIELDS,
    SHORT_MESSAGE_MAX,
    SM_FIELDS,
    Answer,
    Bind,
    Header,
    Message,
    Unparsed,
)

_HEADER = struct.Struct(">IIII")
_TLV = struct.Struct(">HH")


def decode_header(pdu: bytes) -> Header | Unparsed:
    """The first 16 octets of a PDU."""
    return Header(*_HEADER.unpack_from(pdu)) if len(pdu) >= HEADER_OCTETS else Unparsed(pdu, "shorter than a header")


def decode_message(pdu: bytes) -> Message | Unparsed:
    """A whole submit_sm, deliver_sm or data_sm (told apart by its command_id)."""
    header = decode_header(pdu)
    if isinstance(header, Unparsed):
        return header
    if header.command_id not in (CommandId.SUBMIT_SM, CommandId.DELIVER_SM, CommandId.DATA_SM):
        return Unparsed(pdu, f"command_id 0x{header.command_id:08X} carries no message")
    read = _read_fields(pdu, DATA_SM_FIELDS if header.command_id == CommandId.DATA_SM else SM_FIELDS)
    if isinstance(read, Unparsed):
        return read
    values, at = read
    tlvs = _read_tlvs(pdu, at)
    if not values.get("short_message"):
        values["short_message"] = tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    return Message(**values, tlvs=tlvs)


def decode_bind(pdu: bytes) -> Bind | Unparsed:
    """A whole bind_receiver, bind_transmitter or bind_transceiver."""
    if len(pdu) < HEADER_OCTETS:
        return Unparsed(pdu, "shorter than a header")
    read = _read_fields(pdu, BIND_FIELDS)
    return read if isinstance(read, Unparsed) else Bind(**read[0])


def decode_answer(pdu: bytes) -> Answer | Unparsed:
    """Any response: without a body, with one NUL, with an id (cut or not), with TLVs behind."""
    if len(pdu) < HEADER_OCTETS:
        return Unparsed(pdu, "shorter than a header")
    if len(pdu) == HEADER_OCTETS:
        return Answer()
    read = _read_fields(pdu, (("message_id", "text"),))
    if isinstance(read, Unparsed):
        return read
    values, at = read
    return Answer(text=values["message_id"] or None, tlvs=_read_tlvs(pdu, at))


def _read_fields(pdu: bytes, fields: tuple[tuple[str, str], ...]) -> tuple[dict[str, Any], int] | Unparsed:
    """The mandatory fields from the header's end on, and where they end."""
    values: dict[str, Any] = {}
    at = HEADER_OCTETS
    for name, kind in fields:
        if at >= len(pdu):
            return Unparsed(pdu, f"ends before {name}")
        if kind == "text":
            end = pdu.find(b"\0", at)
            if end < 0:
                end = len(pdu)  # some peers leave out the last NUL
            if end - at > C_OCTET_READ_MAX:
                return Unparsed(pdu, f"{name} has {end - at} octets, more than {C_OCTET_READ_MAX}")
            values[name] = pdu[at:end].decode("latin-1")
            at = end + 1
        elif kind == "u8":
            values[name] = pdu[at]
            at += 1
        else:
            end = at + 1 + pdu[at]
            if end > len(pdu):
                return Unparsed(pdu, f"sm_length {pdu[at]}, but {len(pdu) - at - 1} octets follow")
            values[name] = pdu[at + 1 : end]
            at = end
    return values, at


def _read_tlvs(pdu: bytes, at: int) -> dict[int, bytes]:
    """TLVs up to the PDU's end: unknown ones kept, a cut one taken as far as it goes, the last of a tag wins."""
    tlvs: dict[int, bytes] = {}
    while at + _TLV.size <= len(pdu):
        tag, octets = _TLV.unpack_from(pdu, at)
        at += _TLV.size
        tlvs[tag] = pdu[at : at + octets]
        at += octets
    return tlvs


def encode_message(command_id: int, sequence_number: int, message: Message) -> bytes:
    """A submit_sm or deliver_sm (sm_length 0 when message_payload carries the text), or a data_sm."""
    fields = DATA_SM_FIELDS if command_id == CommandId.DATA_SM else SM_FIELDS
    by_tlv = command_id == CommandId.DATA_SM or Tag.MESSAGE_PAYLOAD in message.tlvs
    tlvs = dict(message.tlvs)
    if by_tlv and message.short_message:
        tlvs[Tag.MESSAGE_PAYLOAD] = message.short_message
    return encode(command_id, 0, sequence_number, _fields(message, fields, empty_short=by_tlv) + encode_tlvs(tlvs))


def encode_bind(command_id: int, sequence_number: int, bind: Bind) -> bytes:
    return encode(command_id, 0, sequence_number, _fields(bind, BIND_FIELDS))


def encode_answer(
    command_id: int, status: int, sequence_number: int, text: str = "", tlvs: Mapping[int, bytes] | None = None
) -> bytes:
    """The response to request `command_id`, with a system_id or message_id as its body."""
    body = _text("message_id", text) + encode_tlvs(tlvs or {})
    return encode(RESPONSE | command_id, status, sequence_number, body)


def deliver_sm_resp(sequence_number: int, status: int = ESME_ROK) -> bytes:
    return encode_answer(CommandId.DELIVER_SM, status, sequence_number)  # 4.6.2: its message_id is unused, one NUL


def generic_nack(sequence_number: int, status: int) -> bytes:
    return encode(CommandId.GENERIC_NACK, status, sequence_number)


def encode(command_id: int, status: int, sequence_number: int, body: bytes = b"") -> bytes:
    """Any PDU; without `body`: enquire_link, unbind, their responses."""
    return _HEADER.pack(HEADER_OCTETS + len(body), command_id, status, sequence_number) + body


def encode_tlvs(tlvs: Mapping[int, bytes]) -> bytes:
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in tlvs.items())


def _fields(record: Message | Bind, fields: tuple[tuple[str, str], ...], *, empty_short: bool = False) -> bytes:
    parts: list[bytes] = []
    for name, kind in fields:
        value = getattr(record, name)
        if kind == "text":
            parts.append(_text(name, value))
        elif kind == "u8":
            parts.append(bytes((value,)))
        else:
            octets = b"" if empty_short else value
            if len(octets) > SHORT_MESSAGE_MAX:
                raise ValueError(f"short_message has {len(octets)} octets, more than {SHORT_MESSAGE_MAX}")
            parts.append(bytes((len(octets),)) + octets)
    return b"".join(parts)


def _text(name: str, value: str) -> bytes:
    octets = value.encode("latin-1")
    if len(octets) >= C_OCTET_MAX[name] or 0 in octets:
        raise ValueError(f"{name} {value!r}: at most {C_OCTET_MAX[name] - 1} octets and no NUL")
    return octets + b"\0"
