"""PITFALLS F8: each kind of broken PDU, what we make of it and what we answer. The frame holds unless it says close."""

import random

import pytest

from dispatcher.smpp import codec
from dispatcher.smpp.consts import RESPONSE, CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Pdu, Remedy, Unparsed

NACK, ERROR, NOTHING, CLOSE = Remedy.GENERIC_NACK, Remedy.RESPONSE, Remedy.NOTHING, Remedy.CLOSE
TAKEN = "taken"  # a PDU, with flaws
GOOD = codec.encode(CommandId.ENQUIRE_LINK, 0, 2)
SEQUENCE = 7


def pdu(command_id, body=b"", status=0, sequence=SEQUENCE):
    return codec.encode(command_id, status, sequence, body)


def length(octets, command_length):
    return command_length.to_bytes(4) + octets[4:]


HEAD = b"\0\1\x01555\0\1\x01777\0"  # service_type to destination_addr
MIDDLE = bytes(3) + b"\0\0" + bytes(4)  # esm_class to sm_default_msg_id
DELIVER = HEAD + MIDDLE + b"\2hi"
DATA = HEAD + bytes(3)
BIND = b"me\0pw\0\0\x34\0\0\0"
SM, RESP = CommandId.DELIVER_SM, RESPONSE | CommandId.SUBMIT_SM

KINDS = {
    # framing: where the next PDU begins is unknown
    "length 0": (length(pdu(SM), 0), CLOSE, 0x02),
    "length 15": (length(pdu(SM), 15), CLOSE, 0x02),
    "length 65 KiB + 1": (length(pdu(SM), 65 * 1024 + 1), CLOSE, 0x02),
    "length 2^31": (length(pdu(SM), 1 << 31), CLOSE, 0x02),
    "length 2^32 - 1": (length(pdu(SM), (1 << 32) - 1), CLOSE, 0x02),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE, 0x02),
    "a TLS alert": (b"\x15\x03\x01\x00\x02\x02\x28", CLOSE, 0x02),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(8), CLOSE, 0x02),
    "text of a shell": (b"root\r\n", CLOSE, 0x02),
    # commands
    "unknown request": (pdu(0x999, b"what"), NACK, 0x03),
    "unknown request without a body": (pdu(0x7FFFFFFF), NACK, 0x03),
    "command_id 0": (pdu(0), NACK, 0x03),
    "broadcast_sm of 5.0": (pdu(0x111, DELIVER), NACK, 0x03),
    "unknown response": (pdu(0x80000999, b"what"), NOTHING, None),
    "response to alert_notification": (pdu(0x80000102), NOTHING, None),
    # mandatory fields of a request
    "no body": (pdu(SM), ERROR, 0x15),
    "ends in service_type": (pdu(SM, b"CMT"), ERROR, 0x02),
    "ends before source_addr": (pdu(SM, b"\0\1\1"), ERROR, 0x0A),
    "ends in source_addr": (pdu(SM, b"\0\1\x01555"), ERROR, 0x02),
    "ends before destination_addr": (pdu(SM, b"\0\1\x01555\0\1\1"), ERROR, 0x0B),
    "ends before validity_period": (pdu(SM, HEAD + bytes(4)), ERROR, 0x62),
    "ends before sm_length": (pdu(SM, HEAD + MIDDLE), ERROR, 0x01),
    "sm_length past the end": (pdu(SM, HEAD + MIDDLE + b"\xffhi"), ERROR, 0x01),
    "sm_length one too many": (pdu(SM, HEAD + MIDDLE + b"\x03hi"), ERROR, 0x01),
    "no NUL anywhere": (pdu(SM, b"x" * 300), ERROR, 0x15),
    "source_addr of 4,000 octets": (pdu(SM, b"\0\1\1" + b"5" * 4000 + b"\0" + DELIVER), ERROR, 0x0A),
    "destination_addr of 4,000 octets": (pdu(SM, b"\0\1\x01555\0\1\1" + b"7" * 4000 + b"\0"), ERROR, 0x0B),
    "data_sm cut": (pdu(CommandId.DATA_SM, HEAD), ERROR, 0x02),
    "bind without a password": (pdu(CommandId.BIND_TRANSCEIVER, b"me\0"), ERROR, 0x0E),
    "bind without system_type": (pdu(CommandId.BIND_RECEIVER, b"me\0pw\0"), ERROR, 0x53),
    "bind with an endless system_id": (pdu(CommandId.BIND_TRANSMITTER, b"m" * 5000), ERROR, 0x0F),
    "dest_flag 3": (pdu(CommandId.SUBMIT_MULTI, b"\0\1\x01555\0\x01\x03"), ERROR, 0x40),
    "dl_name without end": (pdu(CommandId.SUBMIT_MULTI, b"\0\1\x01555\0\x01\x02" + b"l" * 300), ERROR, 0x34),
    "fewer destinations than number_of_dests": (
        pdu(CommandId.SUBMIT_MULTI, b"\0\1\x01555\0\x09\x01\1\x01777\0"), ERROR, 0x0B),
    "query_sm without message_id": (pdu(CommandId.QUERY_SM), ERROR, 0x0C),
    "cancel_sm cut": (pdu(CommandId.CANCEL_SM, b"\0abc\0\1\x01555\0"), ERROR, 0x02),
    "replace_sm cut in its text": (pdu(CommandId.REPLACE_SM, b"1\0\1\x01555\0\0\0\0\0\x09hi"), ERROR, 0x01),
    "outbind cut": (pdu(CommandId.OUTBIND, b"me"), NOTHING, None),
    "alert_notification cut": (pdu(CommandId.ALERT_NOTIFICATION, b"\1\x01555\0"), NOTHING, None),
    "message_id without end in a response": (pdu(RESP, b"9" * 300), NOTHING, None),
    "submit_multi_resp with fewer than it says": (
        pdu(RESPONSE | CommandId.SUBMIT_MULTI, b"1\0\x03\1\x01777\0\0\0\0\x08"), NOTHING, None),
    # taken all the same
    "no last NUL": (pdu(RESP, b"12345"), TAKEN, "without a NUL"),
    "submit_sm_resp without a body": (pdu(RESP), TAKEN, "no message_id"),
    "error response with one NUL": (pdu(RESP, b"\0", 8), TAKEN, None),
    "error response with a whole body": (pdu(RESP, b"12345\0", 8), TAKEN, None),
    "message_id of 70 octets": (pdu(RESP, b"9" * 70 + b"\0"), TAKEN, "70 octets"),
    "source_addr of 30 octets": (pdu(SM, b"\0\1\1" + b"5" * 30 + b"\0" + DELIVER[7:]), TAKEN, "30 octets"),
    "sm_length 255": (pdu(SM, HEAD + MIDDLE + b"\xff" + b"x" * 255), TAKEN, "sm_length 255"),
    "validity_period of another calendar": (
        pdu(SM, HEAD + bytes(4) + b"2026-11-22\0" + bytes(4) + b"\2hi"), TAKEN, "YYMMDDhhmmsstnnp"),
    "unknown TLV": (pdu(SM, DELIVER + b"\x14\x00\x00\x02ab"), TAKEN, None),
    "TLV past the end": (pdu(SM, DELIVER + b"\x00\x1e\x00\x0942"), TAKEN, "states 9 octets"),
    "TLV of 65,535 octets that are not there": (pdu(SM, DELIVER + b"\x04\x24\xff\xff"), TAKEN, "states 65535"),
    "message_state of no octets": (pdu(SM, DELIVER + b"\x04\x27\x00\x00"), TAKEN, "message_state has 0"),
    "message_state of four octets": (pdu(SM, DELIVER + b"\x04\x27\x00\x04\0\0\0\2"), TAKEN, "message_state has 4"),
    "receipted_message_id without a NUL": (pdu(SM, DELIVER + b"\x00\x1e\x00\x0242"), TAKEN, "without a NUL"),
    "network_error_code of two octets": (pdu(SM, DELIVER + b"\x04\x23\x00\x02\3\1"), TAKEN, "allowed 3"),
    "a TLV twice": (pdu(SM, DELIVER + b"\x04\x27\x00\x01\x02" * 2), TAKEN, None),
    "one stray octet": (pdu(SM, DELIVER + b"\x04"), TAKEN, "1 octets behind"),
    "three stray octets": (pdu(SM, DELIVER + b"\x04\x27\x00"), TAKEN, "3 octets behind"),
    "text in both places": (pdu(SM, DELIVER + b"\x04\x24\x00\x02ho"), TAKEN, "short_message counts"),
    "enquire_link with a body": (pdu(CommandId.ENQUIRE_LINK, b"x"), TAKEN, "1 octets behind"),
    "sequence_number 0": (pdu(SM, DELIVER, sequence=0), TAKEN, "sequence_number 0"),
    "sequence_number with the top bit": (pdu(SM, DELIVER, sequence=0x80000001), TAKEN, "sequence_number 2147483649"),
    "command_status in a request": (pdu(SM, DELIVER, 8), TAKEN, "command_status"),
    "a status nobody knows": (pdu(RESP, b"", 0x55F), TAKEN, None),
    "no destinations": (
        pdu(CommandId.SUBMIT_MULTI, b"\0\1\x01555\0\x00" + MIDDLE + b"\0"), TAKEN, "number_of_dests 0"),
    "a message_state nobody knows": (pdu(SM, DELIVER + b"\x04\x27\x00\x01\xee"), TAKEN, None),
}  # fmt: skip


def test_there_are_more_kinds_than_asked_for():
    assert len(KINDS) >= 35


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_malformed_pdu_is_answered_as_listed(kind):
    octets, remedy, told = KINDS[kind]
    framer = Framer()
    pdus = framer.feed(GOOD) + framer.feed(octets) + framer.feed(GOOD)
    if remedy is CLOSE:
        assert pdus == [GOOD]
        assert framer.lost is not None and framer.lost.remedy is CLOSE
        assert codec.answer_to(framer.lost) == codec.generic_nack(0, told)
        return
    assert pdus == [GOOD, octets, GOOD] and framer.lost is None, "a bad field moved the frame"
    found = codec.decode(octets)
    if remedy is TAKEN:
        assert isinstance(found, Pdu)
        assert told is None or any(told in flaw for flaw in found.flaws), found.flaws
        assert bool(told) == bool(found.flaws)
        return
    assert isinstance(found, Unparsed)
    answer = codec.decode_header(codec.answer_to(found)) if remedy is not NOTHING else None
    assert found.remedy is remedy
    if answer is None:
        assert codec.answer_to(found) == b""
    else:
        command_id = CommandId.GENERIC_NACK if remedy is NACK else RESPONSE | int.from_bytes(octets[4:8])
        assert (answer.command_id, answer.command_status, answer.sequence_number) == (command_id, told, SEQUENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_malformed_message_breaks_the_readers_of_the_bind(kind):
    for read in (codec.decode_message, codec.decode_bind, codec.decode_answer):
        read(KINDS[kind][0])


def test_a_hundred_thousand_mutations_each_give_a_value():
    rng = random.Random(4)
    seeds = [octets for octets, _, _ in KINDS.values()]
    for _ in range(100_000):
        octets = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at, what = rng.randrange(len(octets) + 1), rng.random()
            if what < 0.6:
                octets[at : at + 1] = rng.randbytes(1)
            elif what < 0.8:
                del octets[at:]
            else:
                octets[at:at] = rng.randbytes(rng.randint(1, 9))
        octets[:4] = len(octets).to_bytes(4)
        found = codec.decode(bytes(octets))
        assert isinstance(found, Pdu) or isinstance(codec.answer_to(found), bytes)
