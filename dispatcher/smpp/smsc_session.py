"""The simulator's answers to the PDUs that its kernel leaves alone, and its texts from phones as deliver_sm.

Touches: octets. Never a socket, a task or a file.
Rests on: SMPP v3.4 issue 1.2, 2.2 (session states), 4.1 and 4.2 (bind, unbind), 4.3 (generic_nack).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    BINDS,
    ESM_UDHI,
    ESME_RALYBND,
    ESME_RINVCMDID,
    ESME_RINVSYSID,
    ESME_ROK,
    INTERFACE_VERSION,
    RESPONSE,
    UNANSWERED,
    CommandId,
    Npi,
    Tag,
    Ton,
)
from dispatcher.smpp.pdu import Bind, Message, Unparsed
from dispatcher.smpp.smsc_garbage import GARBAGE, KINDS
from dispatcher.smpp.smsc_options import NUMBER_OF_STATE, AccountOptions, Delay, PartOctets, SmscOptions, plain_parts

__all__ = [
    "GARBAGE",
    "KINDS",
    "NUMBER_OF_STATE",
    "AccountOptions",
    "Delay",
    "PartOctets",
    "Reply",
    "SmscOptions",
    "answer_odd",
    "mo_pdus",
    "plain_parts",
]

SYSTEM_ID = "VOLLEY-SMSC"


@dataclass(frozen=True, slots=True)
class Reply:
    """What an odd PDU brings about: octets to send, the bind it makes, or the end of the connection."""

    octets: bytes = b""
    bind: Bind | None = None
    mode: str = ""  # rx, tx or trx
    refused: bool = False
    malformed: bool = False
    ends: bool = False
    unbound: bool = False  # the answer to our unbind


def answer_odd(pdu: bytes, *, bound: bool, status_of: Callable[[Bind], int]) -> Reply:
    """Answer any whole PDU but submit_sm, deliver_sm_resp, enquire_link and generic_nack.

    `status_of` a bind other than ESME_ROK refuses it.
    """
    header = codec.decode_header(pdu)
    if isinstance(header, Unparsed):
        return Reply(malformed=True, ends=True)
    command_id, sequence = header.command_id, header.sequence_number
    if command_id & RESPONSE or command_id in UNANSWERED:
        return Reply(unbound=command_id == RESPONSE | CommandId.UNBIND)
    if command_id == CommandId.UNBIND:
        return Reply(codec.encode(RESPONSE | command_id, ESME_ROK, sequence), ends=True)
    if command_id not in BINDS:
        return Reply(codec.generic_nack(sequence, ESME_RINVCMDID))
    if bound:
        return Reply(codec.encode_answer(command_id, ESME_RALYBND, sequence), refused=True)
    bind = codec.decode_bind(pdu)
    if isinstance(bind, Unparsed):
        return Reply(codec.encode_answer(command_id, ESME_RINVSYSID, sequence), malformed=True, refused=True)
    status = status_of(bind)
    if status != ESME_ROK:
        return Reply(codec.encode_answer(command_id, status, sequence), refused=True)
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
