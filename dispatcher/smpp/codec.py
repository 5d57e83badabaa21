"""Octets <-> one PDU: clear before fast, for everything that no kernel handles.

Touches: octets and records. A decoder answers any octets with a record or Unparsed and never raises, and reserves
nothing by a length that a peer stated; an encoder raises ValueError for what SMPP cannot carry, a bug of its caller.
Rests on: SMPP v3.4 issue 1.2, section 4, by the tables of pdu.py; what real peers do against it: SMPP_FACTS 1, 3, 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from dispatcher.smpp.consts import (
    COMMAND_LENGTH_MAX,
    ESME_RINVCMDID,
    ESME_RINVCMDLEN,
    ESME_ROK,
    HEADER_OCTETS,
    RESPONSE,
    UNANSWERED,
    CommandId,
    Tag,
)
from dispatcher.smpp.fields import Wrong, read_fields, write_field
from dispatcher.smpp.pdu import (
    ANSWER_FIELDS,
    BIND_FIELDS,
    BODIES,
    DATA_SM_FIELDS,
    SM_FIELDS,
    Answer,
    Bind,
    Field,
    Header,
    Kind,
    Message,
    Pdu,
    Remedy,
    Unparsed,
    Value,
)
from dispatcher.smpp.tags import flaw_of

_HEADER = struct.Struct(">IIII")
_TLV = struct.Struct(">HH")
_EMPTY: dict[Kind, Value] = {
    Kind.C_OCTETS: "", Kind.TIME: "", Kind.U8: 0, Kind.SHORT: b"", Kind.DESTINATIONS: (), Kind.UNSUCCESS: (),
}  # fmt: skip


def decode(pdu: bytes) -> Pdu | Unparsed:
    """Any whole PDU, as the framer cut it. Each of its TLVs is kept; what may be forgiven is in `flaws`."""
    header = decode_header(pdu)
    if isinstance(header, Unparsed):
        return header
    if header.command_length != len(pdu):
        return Unparsed(
            pdu, f"command_length {header.command_length}, but {len(pdu)} octets", Remedy.CLOSE, ESME_RINVCMDLEN, header
        )
    layout = BODIES.get(header.command_id)
    if layout is None:
        remedy = Remedy.NOTHING if header.command_id & RESPONSE else Remedy.GENERIC_NACK
        reason = f"unknown command_id 0x{header.command_id:08X}"
        return Unparsed(pdu, reason, remedy, ESME_RINVCMDID, header, "command_id")
    read = read_fields(pdu, layout, may_end=bool(header.command_id & RESPONSE))
    if isinstance(read, Wrong):
        return _unparsed(pdu, header, read)
    tlvs, flaws = _read_tlv_list(pdu, read.at)
    return Pdu(
        command_id=header.command_id,
        command_status=header.command_status,
        sequence_number=header.sequence_number,
        fields=read.values,
        tlvs=tlvs,
        flaws=(*read.flaws, *flaws, *_flaws_of(header, read.values, tlvs)),
    )


def decode_header(pdu: bytes) -> Header | Unparsed:
    """The first 16 octets of a PDU."""
    if len(pdu) >= HEADER_OCTETS:
        return Header(*_HEADER.unpack_from(pdu))
    return Unparsed(pdu, f"{len(pdu)} octets are shorter than a header", Remedy.CLOSE, ESME_RINVCMDLEN)


def decode_message(pdu: bytes) -> Message | Unparsed:
    """A whole submit_sm, deliver_sm or data_sm (told apart by its command_id)."""
    header = decode_header(pdu)
    if isinstance(header, Unparsed):
        return header
    if header.command_id not in (CommandId.SUBMIT_SM, CommandId.DELIVER_SM, CommandId.DATA_SM):
        reason = f"command_id 0x{header.command_id:08X} carries no message"
        return Unparsed(pdu, reason, Remedy.NOTHING, ESME_RINVCMDID, header)
    read = read_fields(pdu, DATA_SM_FIELDS if header.command_id == CommandId.DATA_SM else SM_FIELDS)
    if isinstance(read, Wrong):
        return _unparsed(pdu, header, read)
    values: dict[str, Any] = read.values
    tlvs = _read_tlvs(pdu, read.at)
    if not values.get("short_message"):
        values["short_message"] = tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    return Message(**values, tlvs=tlvs)


def decode_bind(pdu: bytes) -> Bind | Unparsed:
    """A whole bind_receiver, bind_transmitter or bind_transceiver."""
    header = decode_header(pdu)
    if isinstance(header, Unparsed):
        return header
    read = read_fields(pdu, BIND_FIELDS)
    if isinstance(read, Wrong):
        return _unparsed(pdu, header, read)
    values: dict[str, Any] = read.values
    return Bind(**values)


def decode_answer(pdu: bytes) -> Answer | Unparsed:
    """Any response: without a body, with one NUL, with an id (cut or not), with TLVs behind."""
    header = decode_header(pdu)
    if isinstance(header, Unparsed):
        return header
    if len(pdu) == HEADER_OCTETS:
        return Answer()
    read = read_fields(pdu, ANSWER_FIELDS)
    if isinstance(read, Wrong):
        return _unparsed(pdu, header, read)
    return Answer(text=str(read.values["message_id"]) or None, tlvs=_read_tlvs(pdu, read.at))


def answer_to(wrong: Unparsed) -> bytes:
    """What we send back for octets that are no PDU; nothing for a response, and for requests that have none."""
    if wrong.remedy is Remedy.CLOSE:
        return generic_nack(0, wrong.command_status)
    if wrong.header is None or wrong.remedy is Remedy.NOTHING:
        return b""
    if wrong.remedy is Remedy.GENERIC_NACK:
        return generic_nack(wrong.header.sequence_number, wrong.command_status)
    return error_response(wrong.header.command_id, wrong.command_status, wrong.header.sequence_number)


def error_response(command_id: int, status: int, sequence_number: int) -> bytes:
    """The response to request `command_id` that refuses it: one NUL where an id would stand."""
    layout = BODIES.get(RESPONSE | command_id, ())
    return encode(RESPONSE | command_id, status, sequence_number, b"\0" if layout else b"")


def _unparsed(pdu: bytes, header: Header, wrong: Wrong) -> Unparsed:
    silent = header.command_id & RESPONSE or header.command_id in UNANSWERED
    remedy = Remedy.NOTHING if silent else Remedy.RESPONSE
    return Unparsed(pdu, wrong.reason, remedy, wrong.row.status, header, wrong.row.name, wrong.before)


def _flaws_of(header: Header, values: Mapping[str, Value], tlvs: Iterable[tuple[int, bytes]]) -> list[str]:
    flaws: list[str] = []
    is_response = bool(header.command_id & RESPONSE)
    if header.command_status and not is_response:
        flaws.append(f"command_status 0x{header.command_status:08X} in a request")
    if not 0 < header.sequence_number < RESPONSE and header.command_id != CommandId.GENERIC_NACK:
        flaws.append(f"sequence_number {header.sequence_number}, allowed 1 to 2147483647")
    if is_response and not header.command_status and "message_id" not in values and _has_id(header.command_id):
        flaws.append("no message_id: it cannot be matched")
    if values.get("short_message") and any(tag == Tag.MESSAGE_PAYLOAD for tag, _ in tlvs):
        flaws.append("short_message and message_payload; short_message counts")
    return flaws


def _has_id(command_id: int) -> bool:
    unused = command_id == RESPONSE | CommandId.DELIVER_SM  # 4.6.2
    return not unused and any(field.name == "message_id" for field in BODIES[command_id])


def _read_tlv_list(pdu: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], list[str]]:
    """TLVs up to the PDU's end, and what is wrong with them: a cut one is taken as far as it goes."""
    found: list[tuple[int, bytes]] = []
    flaws: list[str] = []
    while at + _TLV.size <= len(pdu):
        tag, octets = _TLV.unpack_from(pdu, at)
        at += _TLV.size
        value = pdu[at : at + octets]
        at += octets
        found.append((tag, value))
        if at > len(pdu):
            flaws.append(f"TLV 0x{tag:04X} states {octets} octets, {len(value)} are left")
        elif flaw := flaw_of(tag, value):
            flaws.append(flaw)
    if at < len(pdu):
        flaws.append(f"{len(pdu) - at} octets behind the last field")
    return tuple(found), flaws


def _read_tlvs(pdu: bytes, at: int) -> dict[int, bytes]:
    """The same as a mapping: unknown ones kept, the last of a tag wins."""
    tlvs: dict[int, bytes] = {}
    while at + _TLV.size <= len(pdu):
        tag, octets = _TLV.unpack_from(pdu, at)
        at += _TLV.size
        tlvs[tag] = pdu[at : at + octets]
        at += octets
    return tlvs


def encode_pdu(pdu: Pdu) -> bytes:
    """Any PDU of the tables. A field that `fields` lacks is empty; in a response nothing is written from there on.

    Raises ValueError for a command_id or a field that no table has, and for values over their limits.
    """
    layout = BODIES.get(pdu.command_id)
    if layout is None:
        raise ValueError(f"command_id 0x{pdu.command_id:08X} is unknown")
    unknown = pdu.fields.keys() - {field.name for field in layout}
    if unknown:
        raise ValueError(f"{pdu.name} has no {', '.join(sorted(unknown))}")
    body = b""
    for field in layout:
        if field.name not in pdu.fields and pdu.command_id & RESPONSE:
            break
        body += write_field(field, pdu.fields.get(field.name, _EMPTY[field.kind]))
    octets = encode(pdu.command_id, pdu.command_status, pdu.sequence_number, body + _tlv_octets(pdu.tlvs))
    if len(octets) > COMMAND_LENGTH_MAX:
        raise ValueError(f"{len(octets)} octets, a PDU has at most {COMMAND_LENGTH_MAX}")
    return octets


def encode_message(command_id: int, sequence_number: int, message: Message) -> bytes:
    """A submit_sm or deliver_sm (sm_length 0 when message_payload carries the text), or a data_sm."""
    fields = DATA_SM_FIELDS if command_id == CommandId.DATA_SM else SM_FIELDS
    by_tlv = command_id == CommandId.DATA_SM or Tag.MESSAGE_PAYLOAD in message.tlvs
    tlvs = dict(message.tlvs)
    if by_tlv and message.short_message:
        tlvs[Tag.MESSAGE_PAYLOAD] = message.short_message
    body = _body(message, fields, empty_short=by_tlv)
    return encode(command_id, 0, sequence_number, body + encode_tlvs(tlvs))


def encode_bind(command_id: int, sequence_number: int, bind: Bind) -> bytes:
    return encode(command_id, 0, sequence_number, _body(bind, BIND_FIELDS))


def encode_answer(
    command_id: int, status: int, sequence_number: int, text: str = "", tlvs: Mapping[int, bytes] | None = None
) -> bytes:
    """The response to request `command_id`, with a system_id or message_id as its body."""
    body = write_field(ANSWER_FIELDS[0], text) + encode_tlvs(tlvs or {})
    return encode(RESPONSE | command_id, status, sequence_number, body)


def deliver_sm_resp(sequence_number: int, status: int = ESME_ROK) -> bytes:
    return encode_answer(CommandId.DELIVER_SM, status, sequence_number)  # 4.6.2: its message_id is unused, one NUL


def generic_nack(sequence_number: int, status: int) -> bytes:
    return encode(CommandId.GENERIC_NACK, status, sequence_number)


def encode(command_id: int, status: int, sequence_number: int, body: bytes = b"") -> bytes:
    """Any PDU; without `body`: enquire_link, unbind, their responses."""
    return _HEADER.pack(HEADER_OCTETS + len(body), command_id, status, sequence_number) + body


def encode_tlvs(tlvs: Mapping[int, bytes]) -> bytes:
    return _tlv_octets(tlvs.items())


def _tlv_octets(tlvs: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in tlvs)


def _body(record: Message | Bind, fields: tuple[Field, ...], *, empty_short: bool = False) -> bytes:
    return b"".join(
        write_field(field, b"" if empty_short and field.kind is Kind.SHORT else getattr(record, field.name))
        for field in fields
    )
