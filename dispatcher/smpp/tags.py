"""The optional parameters (TLVs) of SMPP 3.4, and congestion_state of 5.0: name, kind and length of each, as data.

Touches: nothing. Rests on: SMPP v3.4 issue 1.2, 5.3.2; 5.0, 4.8.4.18 (congestion_state). A tag in no table, a
vendor's most often, is octets; so is a value whose length is not its kind's: what arrived is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

TlvValue: TypeAlias = int | str | bytes


class TlvKind(Enum):
    NUMBER = auto()  # unsigned, big-endian, `most` octets
    C_OCTETS = auto()  # with its NUL, which peers forget
    OCTETS = auto()


@dataclass(frozen=True, slots=True)
class Tlv:
    tag: int
    name: str
    kind: TlvKind
    least: int  # octets of the value
    most: int


def _number(tag: int, name: str, octets: int = 1) -> Tlv:
    return Tlv(tag, name, TlvKind.NUMBER, octets, octets)


def _octets(tag: int, name: str, least: int, most: int) -> Tlv:
    return Tlv(tag, name, TlvKind.OCTETS, least, most)


TLVS: dict[int, Tlv] = {
    tlv.tag: tlv
    for tlv in (
        _number(0x0005, "dest_addr_subunit"),
        _number(0x0006, "dest_network_type"),
        _number(0x0007, "dest_bearer_type"),
        _number(0x0008, "dest_telematics_id", 2),
        _number(0x000D, "source_addr_subunit"),
        _number(0x000E, "source_network_type"),
        _number(0x000F, "source_bearer_type"),
        _number(0x0010, "source_telematics_id"),
        _number(0x0017, "qos_time_to_live", 4),
        _number(0x0019, "payload_type"),
        Tlv(0x001D, "additional_status_info_text", TlvKind.C_OCTETS, 1, 256),
        Tlv(0x001E, "receipted_message_id", TlvKind.C_OCTETS, 1, 65),
        _number(0x0030, "ms_msg_wait_facilities"),
        _number(0x0201, "privacy_indicator"),
        _octets(0x0202, "source_subaddress", 2, 23),
        _octets(0x0203, "dest_subaddress", 2, 23),
        _number(0x0204, "user_message_reference", 2),
        _number(0x0205, "user_response_code"),
        _number(0x020A, "source_port", 2),
        _number(0x020B, "destination_port", 2),
        _number(0x020C, "sar_msg_ref_num", 2),
        _number(0x020D, "language_indicator"),
        _number(0x020E, "sar_total_segments"),
        _number(0x020F, "sar_segment_seqnum"),
        _number(0x0210, "SC_interface_version"),
        _number(0x0302, "callback_num_pres_ind"),
        _octets(0x0303, "callback_num_atag", 0, 65),
        _number(0x0304, "number_of_messages"),
        _octets(0x0381, "callback_num", 4, 19),
        _number(0x0420, "dpf_result"),
        _number(0x0421, "set_dpf"),
        _number(0x0422, "ms_availability_status"),
        _octets(0x0423, "network_error_code", 3, 3),
        _octets(0x0424, "message_payload", 0, 0xFFFF),
        _number(0x0425, "delivery_failure_reason"),
        _number(0x0426, "more_messages_to_send"),
        _number(0x0427, "message_state"),
        _number(0x0428, "congestion_state"),
        _octets(0x0501, "ussd_service_op", 1, 1),
        _number(0x1201, "display_time"),
        _number(0x1203, "sms_signal", 2),
        _number(0x1204, "ms_validity"),
        _octets(0x130C, "alert_on_message_delivery", 0, 1),  # 3.4: no octets; 5.0: one
        _number(0x1380, "its_reply_type"),
        _octets(0x1383, "its_session_info", 2, 2),
    )
}
TAGS: dict[str, int] = {tlv.name: tag for tag, tlv in TLVS.items()}


def tag_name(tag: int) -> str:
    """`message_state`, or `0x1400` for a tag that no table lists."""
    return TLVS[tag].name if tag in TLVS else f"0x{tag:04X}"


def tag_of(name: str) -> int | None:
    """The tag of a name as `tag_name` gives it; None when it is neither."""
    if name in TAGS:
        return TAGS[name]
    try:
        tag = int(name, 0)
    except ValueError:
        return None
    return tag if 0 <= tag <= 0xFFFF else None


def flaw_of(tag: int, octets: bytes) -> str:
    """How a value breaks its tag's row; empty when it does not."""
    tlv = TLVS.get(tag)
    if tlv is None or tlv.least <= len(octets) <= tlv.most:
        return _nul_flaw(tlv, octets) if tlv is not None else ""
    allowed = f"{tlv.least}" if tlv.least == tlv.most else f"{tlv.least} to {tlv.most}"
    return f"{tlv.name} has {len(octets)} octets, allowed {allowed}"


def _nul_flaw(tlv: Tlv, octets: bytes) -> str:
    if tlv.kind is not TlvKind.C_OCTETS or octets.find(b"\0") == len(octets) - 1:
        return ""
    return f"{tlv.name} has octets behind its NUL" if b"\0" in octets else f"{tlv.name} ends without a NUL"


def read_tlv(tag: int, octets: bytes) -> TlvValue:
    """A value as its kind: int, str, or the octets themselves where the row does not fit them. Never raises."""
    tlv = TLVS.get(tag)
    if tlv is None or tlv.kind is TlvKind.OCTETS or flaw_of(tag, octets):
        return octets
    return int.from_bytes(octets) if tlv.kind is TlvKind.NUMBER else octets[:-1].decode("latin-1")


def write_tlv(tag: int, value: TlvValue) -> bytes:
    """The octets of a value; octets are taken as they are. Raises ValueError for what the tag cannot carry."""
    tlv = TLVS.get(tag)
    kind = TlvKind.OCTETS if tlv is None else tlv.kind
    if isinstance(value, bytes):
        octets = value
    elif tlv is not None and kind is TlvKind.NUMBER and isinstance(value, int) and 0 <= value < 256**tlv.most:
        octets = value.to_bytes(tlv.most)
    elif tlv is not None and kind is TlvKind.C_OCTETS and isinstance(value, str) and len(value) < tlv.most:
        octets = value.encode("latin-1") + b"\0"
    else:
        limit = f" of at most {tlv.most} octets" if tlv else ""
        raise ValueError(f"{tag_name(tag)}: {value!r} is no {kind.name.lower()}{limit}")
    if len(octets) > 0xFFFF:
        raise ValueError(f"{tag_name(tag)}: {len(octets)} octets, at most 65535")
    return octets
