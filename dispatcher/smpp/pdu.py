"""PDUs as frozen records, and what a field may hold as data.

Touches: nothing. Rests on: SMPP v3.4 issue 1.2, section 4. Field names and their order are the
specification's; C-octet strings are `str` of their octets as Latin-1, so nothing is lost or raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Octets with the closing NUL (5.2): what we send keeps to it.
C_OCTET_MAX = {
    "service_type": 6,
    "source_addr": 21,
    "destination_addr": 21,
    "schedule_delivery_time": 17,
    "validity_period": 17,
    "system_id": 16,
    "password": 9,
    "system_type": 13,
    "address_range": 41,
    "message_id": 65,
}
C_OCTET_READ_MAX = 256  # what we take from a peer in any of them: longer ones are met, endless ones are attacks
SHORT_MESSAGE_MAX = 254  # 5.2.22


@dataclass(frozen=True, slots=True)
class Header:
    command_length: int
    command_id: int
    command_status: int
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Unparsed:
    """What a decoder answers when octets are no such PDU; the frame around them is whole, the session goes on."""

    octets: bytes
    reason: str


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


# The mandatory fields in wire order: (name, kind): "text" a C-octet string, "u8" one octet, "short" sm_length + octets.
_ADDRESSES = (
    ("service_type", "text"),
    ("source_addr_ton", "u8"),
    ("source_addr_npi", "u8"),
    ("source_addr", "text"),
    ("dest_addr_ton", "u8"),
    ("dest_addr_npi", "u8"),
    ("destination_addr", "text"),
    ("esm_class", "u8"),
)
SM_FIELDS = (
    *_ADDRESSES,
    ("protocol_id", "u8"),
    ("priority_flag", "u8"),
    ("schedule_delivery_time", "text"),
    ("validity_period", "text"),
    ("registered_delivery", "u8"),
    ("replace_if_present_flag", "u8"),
    ("data_coding", "u8"),
    ("sm_default_msg_id", "u8"),
    ("short_message", "short"),
)
DATA_SM_FIELDS = (*_ADDRESSES, ("registered_delivery", "u8"), ("data_coding", "u8"))
BIND_FIELDS = (
    ("system_id", "text"),
    ("password", "text"),
    ("system_type", "text"),
    ("interface_version", "u8"),
    ("addr_ton", "u8"),
    ("addr_npi", "u8"),
    ("address_range", "text"),
)
