"""A PDU as JSON, and JSON as a PDU: the specification's names, octet strings in hex, what is wrong and our answer.

Touches: nothing. Keys that only explain (EXPLAINED) are left out of the way back, so encode is decode's inverse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dispatcher.outcomes.receipt_text import BY_TLV, STATES, read_labels
from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    ESM_INTERMEDIATE,
    ESM_RECEIPT,
    ESM_TYPE,
    ESM_UDHI,
    ESME_ROK,
    MESSAGE_STATES,
    RESPONSE,
    STATUSES,
    UNANSWERED,
    Tag,
    status_name,
)
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import (
    BODIES,
    COMMANDS,
    Destination,
    Header,
    Kind,
    Pdu,
    Remedy,
    Unparsed,
    UnsuccessSme,
    Value,
    command_name,
)
from dispatcher.smpp.tags import TLVS, TlvKind, read_tlv, tag_name, tag_of, write_tlv
from dispatcher.text.coding import encode
from dispatcher.text.decode import decode, read_udh, unpacked

HEADER_KEYS = ("command", "command_id", "command_status", "command_length", "sequence_number")
EXPLAINED = frozenset(
    ("command_status_name", "sm_length", "number_of_dests", "no_unsuccess", "udh", "concat", "receipt", "problem")
)
_COUNTS = {"short_message": "sm_length", "dest_address": "number_of_dests", "unsuccess_sme": "no_unsuccess"}
_STATUS_OF = {name: status for status, (name, _) in STATUSES.items()}
RECEIPT_LABELS = ("id", "stat", "err", "sub", "dlvrd", "submit date", "done date", "text")


class NotAPdu(ValueError):
    """JSON that is no PDU: which key, and why."""


def stream_json(octets: bytes, default_alphabet: str = "gsm") -> list[dict[str, Any]]:
    """Each PDU of a stream; at its end what is cut or has no frame."""
    framer = Framer()
    found = [pdu_json(pdu, default_alphabet) for pdu in framer.feed(octets)]
    if framer.lost is not None:
        found.append(_broken(framer.lost, framer.lost.octets))
    elif framer.waiting_octets:
        rest = octets[len(octets) - framer.waiting_octets :]
        header = codec.decode_header(rest)
        stated = f"command_length {int.from_bytes(rest[:4])}, but " if len(rest) >= 4 else ""
        reason = f"{stated}{len(rest)} octets are all there is: we wait for the rest, 10 s, then close"
        lost = Unparsed(rest, reason, Remedy.CLOSE, ESME_ROK, header if isinstance(header, Header) else None)
        found.append(_broken(lost, rest))
    return found


def pdu_json(octets: bytes, default_alphabet: str = "gsm") -> dict[str, Any]:
    """One whole PDU. `default_alphabet`: what data_coding 0 means at its endpoint."""
    pdu = codec.decode(octets)
    if isinstance(pdu, Unparsed):
        return _broken(pdu, octets)
    shown = _header(Header(len(octets), pdu.command_id, pdu.command_status, pdu.sequence_number))
    shown |= _fields(pdu.fields)
    if "data_coding" in pdu.fields:
        shown |= _message(pdu, default_alphabet)
    shown["tlvs"] = _tlvs(pdu.tlvs)
    shown["problem"] = _flawed(pdu) if pdu.flaws else None
    return shown


def _header(header: Header) -> dict[str, Any]:
    return {
        "command": command_name(header.command_id),
        "command_id": header.command_id,
        "command_status": header.command_status,
        "command_status_name": status_name(header.command_status),
        "command_length": header.command_length,
        "sequence_number": header.sequence_number,
    }


def _broken(wrong: Unparsed, octets: bytes) -> dict[str, Any]:
    shown = _header(wrong.header) if wrong.header is not None else dict.fromkeys(HEADER_KEYS)
    answer = codec.answer_to(wrong) if wrong.command_status != ESME_ROK else b""
    header = codec.decode_header(answer)
    problem = _problem(wrong.reason, wrong.wrong, header if isinstance(header, Header) else None)
    problem |= {"answer_hex": answer.hex() or None, "closes": wrong.remedy is Remedy.CLOSE}
    return shown | _fields(wrong.fields) | {"octets": octets.hex(), "problem": problem}


def _flawed(pdu: Pdu) -> dict[str, Any]:
    silent = pdu.command_id & RESPONSE or pdu.command_id in UNANSWERED
    answer = None if silent else Header(0, RESPONSE | pdu.command_id, ESME_ROK, pdu.sequence_number)
    return _problem("; ".join(pdu.flaws), "", answer) | {"taken": True}


def _problem(reason: str, field: str, answer: Header | None) -> dict[str, Any]:
    return {
        "reason": reason,
        "field": field or None,
        "answer": command_name(answer.command_id) if answer else None,
        "answer_status": answer.command_status if answer else None,
        "answer_status_name": status_name(answer.command_status) if answer else None,
        "answer_sequence_number": answer.sequence_number if answer else None,
        "answer_hex": None,
        "closes": False,
        "taken": False,
    }


def _fields(fields: Mapping[str, Value]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _COUNTS and not isinstance(value, int):
            shown[_COUNTS[name]] = len(value)
        shown[name] = _field(value)
    return shown


def _field(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_member(one) for one in value]
    return value


def _member(one: Destination | UnsuccessSme) -> dict[str, Any]:
    if isinstance(one, Destination) and one.dl_name is not None:
        return {"dest_flag": 2, "dl_name": one.dl_name}
    address = {name: getattr(one, name) for name in ("dest_addr_ton", "dest_addr_npi", "destination_addr")}
    if isinstance(one, UnsuccessSme):
        return address | {"error_status_code": one.error_status_code}
    return {"dest_flag": 1} | address


def _tlvs(tlvs: tuple[tuple[int, bytes], ...]) -> dict[str, Any]:
    """By name; a list where a tag comes more than once."""
    found: dict[str, list[Any]] = {}
    for tag, octets in tlvs:
        value = read_tlv(tag, octets)
        plain = tag not in TLVS or TLVS[tag].kind is TlvKind.OCTETS
        shown = value if not isinstance(value, bytes) else value.hex() if plain else {"hex": value.hex()}
        found.setdefault(tag_name(tag), []).append(shown)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _message(pdu: Pdu, default_alphabet: str) -> dict[str, Any]:
    """What a message says: its text, its place in a long one, its receipt."""
    tlvs = dict(pdu.tlvs)
    octets = pdu.fields.get("short_message") or tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    esm_class, data_coding = pdu.fields["esm_class"], pdu.fields["data_coding"]
    assert isinstance(octets, bytes) and isinstance(esm_class, int) and isinstance(data_coding, int)
    udhi = bool(esm_class & ESM_UDHI)
    concat, length = read_udh(octets) if udhi else (None, 0)
    place = None
    if concat is not None:
        place = {"reference": concat.reference, "total": concat.total, "part": concat.part, "width": concat.width}
    elif all(tlvs.get(tag) for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)):
        place = {
            "reference": int.from_bytes(tlvs[Tag.SAR_MSG_REF_NUM]),
            "total": tlvs[Tag.SAR_TOTAL_SEGMENTS][0],
            "part": tlvs[Tag.SAR_SEGMENT_SEQNUM][0],
            "width": 16,
        }
    receipt = None
    if esm_class & ESM_TYPE in (ESM_RECEIPT, ESM_INTERMEDIATE):
        body = octets[length:]
        if not read_labels(body):
            body = unpacked(data_coding, body, length, default_alphabet)
        receipt = receipt_json(body, data_coding, tlvs)
        receipt["final"] = receipt["final"] and esm_class & ESM_TYPE == ESM_RECEIPT
    return {
        "text": decode(data_coding, octets, udhi, default_alphabet),
        "udh": octets[:length].hex() or None,
        "concat": place,
        "receipt": receipt,
    }


def receipt_json(octets: bytes, data_coding: int = 0, tlvs: Mapping[int, bytes] | None = None) -> dict[str, Any]:
    """A receipt's labels as they stand, null where absent; TLVs come before the text. `final`: no state comes after."""
    tlvs = tlvs or {}
    if data_coding == 8:
        octets = octets.decode("utf-16-be", "replace").encode("latin-1", "replace")
    labels = read_labels(octets)
    found: dict[str, Any] = {}
    for label in RECEIPT_LABELS:
        found[label.replace(" ", "_")] = labels[label].decode("latin-1") if label in labels else None
    state = STATES.get((found["stat"] or "").upper())
    if message_id := tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").split(b"\0")[0]:
        found["id"] = message_id.decode("latin-1")
    told = tlvs.get(Tag.MESSAGE_STATE, b"")
    if told and told[0] in BY_TLV:
        found["stat"], state = MESSAGE_STATES[told[0]], BY_TLV[told[0]]
    return found | {"final": state is not None}


def encode_json(given: Any) -> bytes:
    """The octets of a PDU told as `pdu_json` tells it. Raises NotAPdu, naming the key."""
    if not isinstance(given, dict):
        raise NotAPdu(f"{json.dumps(given)[:60]}: a JSON object is wanted")
    command_id = _command_id(given)
    layout = {row.name: row for row in BODIES[command_id]}
    fields: dict[str, Value] = {}
    tlvs = _read_tlvs(given.get("tlvs", {}))
    for key, value in given.items():
        if key in layout:
            fields[key] = _read_field(key, layout[key].kind, value)
        elif key not in EXPLAINED and key not in HEADER_KEYS and key not in ("tlvs", "text"):
            raise NotAPdu(f"{key}: {command_name(command_id)} has {', '.join(layout) or 'no mandatory fields'}")
    carried = "short_message" in fields or any(tag == Tag.MESSAGE_PAYLOAD for tag, _ in tlvs)
    if isinstance(given.get("text"), str) and given["text"] and not carried and "data_coding" in layout:
        data_coding, octets = encode(given["text"])
        fields.setdefault("data_coding", data_coding)
        if fields["data_coding"] != data_coding:
            encoding = "UCS2" if data_coding else "GSM7"
            raise NotAPdu(f"text: is {encoding}, data_coding {data_coding}; leave data_coding out")
        if "short_message" in layout and len(octets) <= layout["short_message"].most:
            fields["short_message"] = octets
        else:
            tlvs = (*tlvs, (Tag.MESSAGE_PAYLOAD, octets))
    pdu = Pdu(
        command_id=command_id,
        command_status=_word(
            "command_status", _STATUS_OF.get(str(given.get("command_status")), given.get("command_status", 0))
        ),
        sequence_number=_word("sequence_number", given.get("sequence_number", 1)),
        fields=fields,
        tlvs=tlvs,
    )
    try:
        return codec.encode_pdu(pdu)
    except ValueError as exc:
        raise NotAPdu(str(exc)) from exc


def _command_id(given: Mapping[str, Any]) -> int:
    name, number = given.get("command"), given.get("command_id")
    if isinstance(number, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", number):
        number = int(number, 16 if number[:2] in ("0x", "0X") else 10)
    if name is None and isinstance(number, int) and number in BODIES:
        return number
    if isinstance(name, str) and name in COMMANDS:
        if number is None or number == COMMANDS[name]:
            return COMMANDS[name]
        raise NotAPdu(f"command {name} is command_id {COMMANDS[name]}, not {number!r}")
    raise NotAPdu(f"command {name if name is not None else number!r}: one of {', '.join(COMMANDS)}")


def _word(key: str, value: Any) -> int:
    if isinstance(value, int) and 0 <= value < 1 << 32:
        return value
    raise NotAPdu(f"{key} {value!r}: a number of 32 bits")


def _read_field(key: str, kind: Kind, value: Any) -> Value:
    if kind is Kind.SHORT:
        return _hex(key, value)
    if kind not in (Kind.DESTINATIONS, Kind.UNSUCCESS):
        if isinstance(value, int if kind is Kind.U8 else str):
            return value
        raise NotAPdu(f"{key} {value!r}: {'a number' if kind is Kind.U8 else 'a string'} is wanted")
    try:
        members = [{name: one[name] for name in one if name != "dest_flag"} for one in value]
        if kind is Kind.DESTINATIONS:
            return tuple(Destination(**member) for member in members)
        return tuple(UnsuccessSme(**member) for member in members)
    except TypeError as exc:
        raise NotAPdu(f"{key}: {exc}") from exc


def _read_tlvs(given: Any) -> tuple[tuple[int, bytes], ...]:
    if not isinstance(given, dict):
        raise NotAPdu("tlvs: an object of names and values is wanted")
    found: list[tuple[int, bytes]] = []
    for name, values in given.items():
        tag = tag_of(name)
        if tag is None:
            raise NotAPdu(f"tlvs/{name}: no optional parameter, nor a number such as 0x1400")
        for value in values if isinstance(values, list) else [values]:
            octets: Any = value
            if isinstance(value, dict):
                octets = _hex(f"tlvs/{name}", value.get("hex"))
            elif isinstance(value, str) and (tag not in TLVS or TLVS[tag].kind is not TlvKind.C_OCTETS):
                octets = _hex(f"tlvs/{name}", value)
            try:
                found.append((tag, write_tlv(tag, octets)))
            except ValueError as exc:
                raise NotAPdu(f"tlvs/{exc}") from exc
    return tuple(found)


def _hex(key: str, value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError) as exc:
        raise NotAPdu(f"{key} {value!r}: octets in hex are wanted") from exc
