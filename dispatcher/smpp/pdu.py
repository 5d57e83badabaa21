"""PDUs as frozen records, and every body of SMPP 3.4 as data: which fields, of what kind, how long.

Touches: nothing. Rests on: SMPP v3.4 issue 1.2, section 4 (bodies) and 5.2 (fields). Names and their order are the
specification's; C-octet strings are `str` of their octets as Latin-1, so nothing is lost or raises. The tables serve
both ways: what an encoder refuses is what a decoder calls a flaw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import TypeAlias

from dispatcher.smpp.consts import (
    ESME_RINVCMDLEN,
    ESME_RINVDLNAME,
    ESME_RINVDSTADR,
    ESME_RINVEXPIRY,
    ESME_RINVMSGID,
    ESME_RINVMSGLEN,
    ESME_RINVPASWD,
    ESME_RINVSCHED,
    ESME_RINVSERTYP,
    ESME_RINVSRCADR,
    ESME_RINVSYSID,
    ESME_RINVSYSTYP,
    RESPONSE,
    CommandId,
)

C_OCTET_READ_MAX = 256  # what we take from a peer in any of them: longer ones are met, endless ones are attacks
SHORT_MESSAGE_MAX = 254  # 5.2.22
DESTINATIONS_MAX = 254  # 5.2.24 number_of_dests


@dataclass(frozen=True, slots=True)
class Header:
    command_length: int
    command_id: int
    command_status: int
    sequence_number: int


class Remedy(Enum):
    """What we do about octets that are no PDU we can use."""

    NOTHING = auto()  # a response, or a request that has none: count it, drop it
    RESPONSE = auto()  # its own response with `command_status`
    GENERIC_NACK = auto()  # a request nobody knows
    CLOSE = auto()  # framing is lost: generic_nack if the socket takes it, then the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One of submit_multi's: a number, or the name of a distribution list (5.2.25)."""

    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    dl_name: str | None = None  # given: dest_flag 2


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsuccessSme:
    """One destination that a submit_multi did not reach (4.5.3)."""

    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    error_status_code: int = 0


Value: TypeAlias = int | str | bytes | tuple[Destination, ...] | tuple[UnsuccessSme, ...]


@dataclass(frozen=True, slots=True)
class Unparsed:
    """What a decoder answers when octets are no such PDU. Unless `remedy` is CLOSE the frame around them is whole and
    the session goes on. `codec.answer_to` makes the octets of the answer."""

    octets: bytes
    reason: str
    remedy: Remedy = Remedy.NOTHING
    command_status: int = ESME_RINVCMDLEN
    header: Header | None = None
    wrong: str = ""  # the field that is
    fields: Mapping[str, Value] = field(default_factory=dict)  # those before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdu:
    """Any PDU of SMPP 3.4. `flaws`: what broke the specification and was taken all the same."""

    command_id: int
    command_status: int = 0
    sequence_number: int = 1
    fields: Mapping[str, Value] = field(default_factory=dict)  # a response may lack those at its end
    tlvs: tuple[tuple[int, bytes], ...] = ()  # in wire order; a tag may come again
    flaws: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return command_name(self.command_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Body of a submit_sm, deliver_sm or data_sm; `short_message` is message_payload's when that carries it."""

    service_type: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Body of bind_receiver, bind_transmitter and bind_transceiver."""

    system_id: str
    password: str = field(default="", repr=False)
    system_type: str = ""
    interface_version: int = 0x34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Body of a bind's or a message's response: `text` is its system_id or message_id, None when left out."""

    text: str | None = None
    tlvs: Mapping[int, bytes] = field(default_factory=dict)


class Kind(IntEnum):
    C_OCTETS = auto()  # up to a NUL, which counts in the field's `most`
    TIME = auto()  # the same, empty or as 7.1.1 writes times: YYMMDDhhmmsstnnp
    U8 = auto()
    SHORT = auto()  # sm_length, then as many octets
    DESTINATIONS = auto()  # number_of_dests, then as many dest_address(es)
    UNSUCCESS = auto()  # no_unsuccess, then as many unsuccess_sme(s)


@dataclass(frozen=True, slots=True)
class Field:
    """One mandatory field. `status`: what a request is refused with when this field cannot be read."""

    name: str
    kind: Kind
    most: int = 1  # octets, of DESTINATIONS and UNSUCCESS how many
    status: int = ESME_RINVCMDLEN


def _text(name: str, most: int, status: int = ESME_RINVCMDLEN) -> Field:
    return Field(name, Kind.C_OCTETS, most, status)


def _number(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, Kind.U8) for name in names)


def _address(ton: str, npi: str, name: str, most: int = 21, status: int = ESME_RINVSRCADR) -> tuple[Field, ...]:
    return (*_number(ton, npi), _text(name, most, status))


ADDRESS_OCTETS, LONG_ADDRESS_OCTETS = 21, 65  # the long ones in data_sm and alert_notification (4.7.1, 4.12.1)

_SYSTEM_ID = _text("system_id", 16, ESME_RINVSYSID)
_PASSWORD = _text("password", 9, ESME_RINVPASWD)
_MESSAGE_ID = _text("message_id", 65, ESME_RINVMSGID)
_SERVICE_TYPE = _text("service_type", 6, ESME_RINVSERTYP)
_SOURCE = _address("source_addr_ton", "source_addr_npi", "source_addr")
_TIMES = (
    Field("schedule_delivery_time", Kind.TIME, 17, ESME_RINVSCHED),
    Field("validity_period", Kind.TIME, 17, ESME_RINVEXPIRY),
)
_SHORT = Field("short_message", Kind.SHORT, SHORT_MESSAGE_MAX, ESME_RINVMSGLEN)
_SUBMITTED = (
    *_number("esm_class", "protocol_id", "priority_flag"),
    *_TIMES,
    *_number("registered_delivery", "replace_if_present_flag", "data_coding", "sm_default_msg_id"),
    _SHORT,
)


def _destination(most: int = ADDRESS_OCTETS) -> tuple[Field, ...]:
    return _address("dest_addr_ton", "dest_addr_npi", "destination_addr", most, ESME_RINVDSTADR)


SM_FIELDS = (_SERVICE_TYPE, *_SOURCE, *_destination(), *_SUBMITTED)
DATA_SM_FIELDS = (
    _SERVICE_TYPE,
    *_address("source_addr_ton", "source_addr_npi", "source_addr", LONG_ADDRESS_OCTETS),
    *_destination(LONG_ADDRESS_OCTETS),
    *_number("esm_class", "registered_delivery", "data_coding"),
)
BIND_FIELDS = (
    _SYSTEM_ID,
    _PASSWORD,
    _text("system_type", 13, ESME_RINVSYSTYP),
    *_number("interface_version", "addr_ton", "addr_npi"),
    _text("address_range", 41),
)
DESTINATION_FIELDS = _destination()  # of one dest_address with dest_flag 1, and of one unsuccess_sme
DL_NAME = _text("dl_name", 21, ESME_RINVDLNAME)
ANSWER_FIELDS = (_MESSAGE_ID,)  # of whichever response: a system_id may be as long as it likes there

_BOUND = (_SYSTEM_ID,)
BODIES: dict[int, tuple[Field, ...]] = {
    CommandId.GENERIC_NACK: (),
    CommandId.BIND_RECEIVER: BIND_FIELDS,
    CommandId.BIND_TRANSMITTER: BIND_FIELDS,
    CommandId.BIND_TRANSCEIVER: BIND_FIELDS,
    RESPONSE | CommandId.BIND_RECEIVER: _BOUND,
    RESPONSE | CommandId.BIND_TRANSMITTER: _BOUND,
    RESPONSE | CommandId.BIND_TRANSCEIVER: _BOUND,
    CommandId.OUTBIND: (_SYSTEM_ID, _PASSWORD),
    CommandId.UNBIND: (),
    RESPONSE | CommandId.UNBIND: (),
    CommandId.ENQUIRE_LINK: (),
    RESPONSE | CommandId.ENQUIRE_LINK: (),
    CommandId.SUBMIT_SM: SM_FIELDS,
    RESPONSE | CommandId.SUBMIT_SM: (_MESSAGE_ID,),
    CommandId.DELIVER_SM: SM_FIELDS,
    RESPONSE | CommandId.DELIVER_SM: (_MESSAGE_ID,),
    CommandId.DATA_SM: DATA_SM_FIELDS,
    RESPONSE | CommandId.DATA_SM: (_MESSAGE_ID,),
    CommandId.SUBMIT_MULTI: (
        _SERVICE_TYPE,
        *_SOURCE,
        Field("dest_address", Kind.DESTINATIONS, DESTINATIONS_MAX, ESME_RINVDSTADR),
        *_SUBMITTED,
    ),
    RESPONSE | CommandId.SUBMIT_MULTI: (_MESSAGE_ID, Field("unsuccess_sme", Kind.UNSUCCESS, 255)),
    CommandId.QUERY_SM: (_MESSAGE_ID, *_SOURCE),
    RESPONSE | CommandId.QUERY_SM: (
        _MESSAGE_ID,
        Field("final_date", Kind.TIME, 17),
        *_number("message_state", "error_code"),
    ),
    CommandId.CANCEL_SM: (_SERVICE_TYPE, _MESSAGE_ID, *_SOURCE, *_destination()),
    RESPONSE | CommandId.CANCEL_SM: (),
    CommandId.REPLACE_SM: (
        _MESSAGE_ID,
        *_SOURCE,
        *_TIMES,
        *_number("registered_delivery", "sm_default_msg_id"),
        _SHORT,
    ),
    RESPONSE | CommandId.REPLACE_SM: (),
    CommandId.ALERT_NOTIFICATION: (
        *_address("source_addr_ton", "source_addr_npi", "source_addr", LONG_ADDRESS_OCTETS),
        *_address("esme_addr_ton", "esme_addr_npi", "esme_addr", LONG_ADDRESS_OCTETS),
    ),
}


def command_name(command_id: int) -> str:
    """`submit_sm_resp`, or `0x80000999` for one that no table lists."""
    if command_id == CommandId.GENERIC_NACK:
        return "generic_nack"
    if command_id not in BODIES:
        return f"0x{command_id:08X}"
    name = CommandId(command_id & ~RESPONSE).name.lower()
    return f"{name}_resp" if command_id & RESPONSE else name


COMMANDS: dict[str, int] = {command_name(command_id): command_id for command_id in BODIES}
