"""What fuzzing begins from: real PDUs and log values; and how an input is made another.

Touches: nothing. A mutation is drawn from the Random it is given, so a run can be run again.
"""

from __future__ import annotations

import random

from dispatcher.records.states import State
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Bind, Message
from dispatcher.smpp.pump import Kind
from dispatcher.smpp.smsc_garbage import KINDS
from tests.smpp.line import receipt, response
from tests.store.logs import Claim, Record, value_of

LENGTHS = (0, 1, 8, 15, 16, 17, 20, 0xFF, 0x100, 0xFFFF, 0x10400, 0x10401, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
OCTETS = (0, 1, 4, 5, 0x1E, 0x20, 0x24, 0x27, 0x2B, 0x30, 0x39, 0x40, 0x7F, 0x80, 0xFE, 0xFF)
OCTETS_MAX = 1 << 14


def answers() -> list[bytes]:
    """What an SMSC sends."""
    made = [response(number, status, f"m{number}") for number in range(2, 8) for status in (0, 0x58, 0x0B, 0x04)]
    made += [receipt(f"m{number}", stat) for number in (2, 3, 99) for stat in ("DELIVRD", "EXPIRED", "ENROUTE", "??")]
    made += [
        receipt("m3", tlvs={0x1E: b"m3\0", 0x427: b"\2"}),
        receipt("m4", tlvs={0x423: b"\3\0\1", 0x1400: b"vendor"}),
        receipt(
            "m5", text="id:m5 sub:001 dlvrd:001 submit date:2609211413 done date:2609211413 stat:UNDELIV err:21b text:x"
        ),
        receipt("", text="", tlvs={0x1E: b"m6\0", 0x427: b"\5", 0x424: b"id:m6 stat:DELIVRD"}),
        receipt("m7", esm_class=0),
        receipt("m7", data_coding=8),
        codec.encode(CommandId.ENQUIRE_LINK, 0, 9),
        codec.encode(CommandId.UNBIND, 0, 10),
        codec.generic_nack(5, 3),
    ]
    return made + [garbage.octets for garbage in KINDS.values()]


def requests() -> list[bytes]:
    """What an ESME sends."""
    submit = Message(source_addr="777", destination_addr="4915112345678", short_message=b"hello", registered_delivery=1)
    udh = Message(source_addr="SHOP", destination_addr="49151", short_message=b"\5\0\3\1\2\1text", esm_class=0x40)
    long = Message(source_addr="SHOP", destination_addr="49151", tlvs={0x424: b"p" * 300})
    bind = Bind(system_id="volley", password="x")
    return [
        *(codec.encode_message(CommandId.SUBMIT_SM, number, submit) for number in (1, 2, 0x7FFFFFFF)),
        codec.encode_message(CommandId.SUBMIT_SM, 3, udh),
        codec.encode_message(CommandId.DATA_SM, 4, long),
        *(codec.encode_bind(command, 1, bind) for command in (1, 2, 9)),
        codec.encode(CommandId.QUERY_SM, 0, 5, b"12345\0\1\x01777\0"),
        codec.encode(CommandId.CANCEL_SM, 0, 6, b"\x0012345\0\1\x01777\0\1\x0149151\0"),
        codec.encode(CommandId.ENQUIRE_LINK, 0, 7),
        codec.encode(CommandId.UNBIND, 0, 8),
        codec.deliver_sm_resp(1),
        codec.deliver_sm_resp(2, 0x64),
    ]


def values() -> list[bytes]:
    """Log values."""
    events = [
        Record(1, kind, rank, part, state, status, b"id-%d" % rank)
        for kind in range(2, 11)
        for rank, part, state, status in ((0, 0, int(State.DELIVERED), 0), (1, 1, 1, 0x58))
        if kind != Kind.HELD
    ]
    return [
        value_of([Claim(1, 0, (1, 2, 3)), *events]),
        value_of(
            [Claim(1, 16_318, (1, 1, 140)), Claim(2, 5, (3,), again=2), Record(2, Kind.HELD, 0, message_id=b"x" * 20)]
        ),
    ]


def mutation(draw: random.Random, corpus: list[bytes]) -> bytes:
    """One input of the corpus, or several, changed in a few places."""
    octets = bytearray(draw.choice(corpus))
    for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
        what, at = draw.random(), draw.randrange(len(octets) + 1)
        if what < 0.2 and octets:
            octets[at % len(octets)] ^= 1 << draw.randrange(8)
        elif what < 0.4 and octets:
            octets[at % len(octets)] = draw.choice(OCTETS)
        elif what < 0.5:
            octets[at:at] = bytes(draw.choices(OCTETS, k=draw.choice([1, 1, 2, 4, 20])))
        elif what < 0.6:
            del octets[at : at + draw.choice([1, 2, 4, 16, 64])]
        elif what < 0.7:
            size = draw.choice([1, 2, 4])
            octets[at : at + size] = draw.choice(LENGTHS).to_bytes(4, "big")[-size:]
        elif what < 0.8:
            other = draw.choice(corpus)
            octets[at:] = other[draw.randrange(len(other) + 1) :]
        elif what < 0.9:
            octets += draw.choice(corpus)
        elif len(octets) >= 16:
            octets[:4] = len(octets).to_bytes(4, "big")
    return bytes(octets[:OCTETS_MAX])
