"""The mandatory fields of a body, read and written by their kind. One function a kind and direction.

Touches: octets. Readers answer Wrong instead of raising; writers raise ValueError for what a field cannot carry.
Rests on: SMPP v3.4 issue 1.2, 3.1 (C-octet strings), 4.5 (submit_multi's lists); SMPP_FACTS 1 (what peers leave out).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.smpp.consts import ESME_RINVDESTFLAG, HEADER_OCTETS
from dispatcher.smpp.pdu import (
    C_OCTET_READ_MAX,
    DESTINATION_FIELDS,
    DL_NAME,
    Destination,
    Field,
    Kind,
    UnsuccessSme,
    Value,
)

DEST_FLAG_SME, DEST_FLAG_LIST = 1, 2  # 5.2.25
_U8 = Kind.U8
_TIME = re.compile(r"[0-9]{15}[-+R]")
_DEST_FLAG = Field("dest_flag", Kind.U8, 1, ESME_RINVDESTFLAG)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why no value could be read, and those of the fields before it."""

    row: Field
    reason: str
    before: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Read:
    """What was read so far, and where it ends; `flaws` were forgiven."""

    at: int = HEADER_OCTETS
    values: dict[str, Value] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)


def read_fields(pdu: bytes, fields: tuple[Field, ...], *, may_end: bool = False) -> Read | Wrong:
    """The mandatory fields from the header's end on. `may_end`: a response, which may stop before any of them."""
    read = Read()
    wrong = _read_into(read, pdu, fields, may_end)
    return read if wrong is None else replace(wrong, before=read.values)


def _read_into(read: Read, pdu: bytes, fields: tuple[Field, ...], may_end: bool) -> Wrong | None:
    values, end = read.values, len(pdu)
    for row in fields:
        at = read.at
        if at >= end:
            return None if may_end else Wrong(row, f"ends before {row.name}")
        if row.kind is _U8:  # most fields are; a call for each would take half as long again
            values[row.name] = pdu[at]
            read.at = at + 1
            continue
        value = _READERS[row.kind](read, pdu, row)
        if isinstance(value, Wrong):
            return value
        values[row.name] = value
    return None


def _read_text(read: Read, pdu: bytes, row: Field) -> Value | Wrong:
    begin, end = read.at, pdu.find(b"\0", read.at, read.at + C_OCTET_READ_MAX + 1)
    if end < 0:
        end = len(pdu)  # some peers leave out the last NUL
        if end - begin > C_OCTET_READ_MAX:
            return Wrong(row, f"{row.name} has no NUL within {C_OCTET_READ_MAX} octets")
        read.flaws.append(f"{row.name} ends without a NUL")
    read.at = end + 1
    if end - begin >= row.most:
        read.flaws.append(f"{row.name} has {end - begin} octets, allowed {row.most - 1}")
    return pdu[begin:end].decode("latin-1")


def _read_time(read: Read, pdu: bytes, row: Field) -> Value | Wrong:
    if pdu[read.at] == 0:  # nearly always
        read.at += 1
        return ""
    value = _read_text(read, pdu, row)
    if isinstance(value, str) and len(value) < row.most and not _TIME.fullmatch(value):
        read.flaws.append(f"{row.name} {value!r} is no YYMMDDhhmmsstnnp")
    return value


def _read_short(read: Read, pdu: bytes, row: Field) -> Value | Wrong:
    length, begin = pdu[read.at], read.at + 1
    if begin + length > len(pdu):
        return Wrong(row, f"sm_length {length}, but {len(pdu) - begin} octets follow")
    if length > row.most:
        read.flaws.append(f"sm_length {length}, allowed {row.most}")
    read.at = begin + length
    return pdu[begin : read.at]


def _read_destinations(read: Read, pdu: bytes, row: Field) -> Value | Wrong:
    count = pdu[read.at]
    read.at += 1
    found: list[Destination] = []
    for no in range(count):
        if read.at >= len(pdu):
            return Wrong(row, f"number_of_dests {count}, but {no} follow")
        flag = pdu[read.at]
        if flag not in (DEST_FLAG_SME, DEST_FLAG_LIST):
            return Wrong(_DEST_FLAG, f"dest_flag {flag}, allowed 1 or 2")
        inner = Read(read.at + 1)
        wrong = _read_into(inner, pdu, (DL_NAME,) if flag == DEST_FLAG_LIST else DESTINATION_FIELDS, False)
        if wrong is not None:
            return wrong
        given: dict[str, Any] = inner.values
        found.append(Destination(**given))
        read.at = inner.at
        read.flaws += inner.flaws
    if not 0 < count <= row.most:
        read.flaws.append(f"number_of_dests {count}, allowed 1 to {row.most}")
    return tuple(found)


def _read_unsuccess(read: Read, pdu: bytes, row: Field) -> Value | Wrong:
    count = pdu[read.at]
    read.at += 1
    found: list[UnsuccessSme] = []
    for no in range(count):
        inner = Read(read.at)
        wrong = _read_into(inner, pdu, DESTINATION_FIELDS, False)
        if wrong is not None or inner.at + 4 > len(pdu):
            return Wrong(row, f"no_unsuccess {count}, but {no} follow")
        given: dict[str, Any] = inner.values
        found.append(UnsuccessSme(**given, error_status_code=int.from_bytes(pdu[inner.at : inner.at + 4])))
        read.at = inner.at + 4
        read.flaws += inner.flaws
    return tuple(found)


_READERS: dict[Kind, Callable[[Read, bytes, Field], Value | Wrong]] = {
    Kind.C_OCTETS: _read_text,
    Kind.TIME: _read_time,
    Kind.SHORT: _read_short,
    Kind.DESTINATIONS: _read_destinations,
    Kind.UNSUCCESS: _read_unsuccess,
}


def write_field(row: Field, value: Any) -> bytes:
    """One field's octets. Raises ValueError, with the field's name, for what it cannot carry."""
    return _WRITERS[row.kind](row, value)


def _write_u8(row: Field, value: Any) -> bytes:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError(f"{row.name} {value!r}: 0 to 255")
    return bytes((value,))


def _write_text(row: Field, value: Any) -> bytes:
    if not isinstance(value, str) or len(value) >= row.most or any(not 0 < ord(character) < 256 for character in value):
        raise ValueError(f"{row.name} {value!r}: at most {row.most - 1} octets and no NUL")
    return value.encode("latin-1") + b"\0"


def _write_time(row: Field, value: Any) -> bytes:
    if value and not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise ValueError(f"{row.name} {value!r}: empty, or YYMMDDhhmmsstnnp with + or - or R at its end")
    return _write_text(row, value)


def _write_short(row: Field, value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) > row.most:
        raise ValueError(f"{row.name} has {len(value)} octets, more than {row.most}")
    return bytes((len(value),)) + value


def _write_destinations(row: Field, value: Any) -> bytes:
    octets = [bytes((_count(row, value, 1),))]
    for one in value:
        if one.dl_name is not None:
            octets.append(bytes((DEST_FLAG_LIST,)) + write_field(DL_NAME, one.dl_name))
        else:
            octets.append(bytes((DEST_FLAG_SME,)))
            octets += [write_field(inner, getattr(one, inner.name)) for inner in DESTINATION_FIELDS]
    return b"".join(octets)


def _write_unsuccess(row: Field, value: Any) -> bytes:
    octets = [bytes((_count(row, value, 0),))]
    for one in value:
        octets += [write_field(inner, getattr(one, inner.name)) for inner in DESTINATION_FIELDS]
        if not isinstance(one.error_status_code, int) or not 0 <= one.error_status_code < 1 << 32:
            raise ValueError(f"error_status_code {one.error_status_code!r}: 32 bits")
        octets.append(one.error_status_code.to_bytes(4))
    return b"".join(octets)


def _count(row: Field, value: Any, least: int) -> int:
    if not least <= len(value) <= row.most:
        raise ValueError(f"{row.name}: {len(value)} of them, allowed {least} to {row.most}")
    return len(value)


_WRITERS: dict[Kind, Callable[[Field, Any], bytes]] = {
    Kind.U8: _write_u8,
    Kind.C_OCTETS: _write_text,
    Kind.TIME: _write_time,
    Kind.SHORT: _write_short,
    Kind.DESTINATIONS: _write_destinations,
    Kind.UNSUCCESS: _write_unsuccess,
}
