"""The codec: smpplib reads what we write and we read what it writes; any octets give a value or Unparsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import smpp as judge

from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    BINDS,
    ESME_RINVCMDID,
    ESME_RTHROTTLED,
    RESPONSE,
    STATUSES,
    Action,
    BindAction,
    CommandId,
    Tag,
    action_of,
    bind_action_of,
    status_name,
)
from dispatcher.smpp.pdu import Answer, Bind, Header, Message, Unparsed
from tests.smpp.pdus import TIMES, Sequence, read_by_judge

u8 = st.integers(0, 255)


def ascii_text(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=most)


FIELDS = {
    "service_type": ascii_text(5),
    "source_addr_ton": u8,
    "source_addr_npi": u8,
    "source_addr": ascii_text(20),
    "dest_addr_ton": u8,
    "dest_addr_npi": u8,
    "destination_addr": ascii_text(20),
    "esm_class": u8,
    "registered_delivery": u8,
    "data_coding": u8,
}
SHORT_FIELDS = FIELDS | {
    "protocol_id": u8,
    "priority_flag": u8,
    "schedule_delivery_time": TIMES,
    "validity_period": TIMES,
    "replace_if_present_flag": u8,
    "sm_default_msg_id": u8,
    "short_message": st.binary(max_size=254),
}
messages = st.builds(Message, **SHORT_FIELDS)
data_messages = st.builds(Message, **FIELDS, short_message=st.binary(min_size=1, max_size=260))
binds = st.builds(
    Bind,
    system_id=ascii_text(15),
    password=ascii_text(8),
    system_type=ascii_text(12),
    addr_ton=u8,
    addr_npi=u8,
    address_range=ascii_text(40),
)


def as_judge_gives(value):
    return value.encode() if isinstance(value, str) else value


@given(message=messages, kind=st.sampled_from(["submit_sm", "deliver_sm"]))
def test_smpplib_reads_the_messages_we_write(message, kind):
    pdu = codec.encode_message(CommandId[kind.upper()], 77, message)
    read = read_by_judge(pdu)
    assert (read.command, read.sequence, read.length) == (kind, 77, len(pdu))
    for name in SHORT_FIELDS:
        if name != "short_message" or message.short_message:
            assert getattr(read, name) == as_judge_gives(getattr(message, name)), name


@given(message=messages, kind=st.sampled_from(["submit_sm", "deliver_sm"]))
def test_we_read_the_messages_smpplib_writes(message, kind):
    values = {name: getattr(message, name) for name in SHORT_FIELDS}
    pdu = judge.make_pdu(kind, client=Sequence(), **values).generate()
    assert codec.decode_message(pdu) == message
    assert codec.decode_header(pdu) == Header(len(pdu), CommandId[kind.upper()], 0, 9)


@given(message=data_messages)
def test_a_data_sm_carries_its_text_in_message_payload_both_ways(message):
    pdu = codec.encode_message(CommandId.DATA_SM, 5, message)
    assert read_by_judge(pdu).message_payload == message.short_message
    read = codec.decode_message(pdu)
    assert read.short_message == message.short_message and read.tlvs == {Tag.MESSAGE_PAYLOAD: message.short_message}
    values = {name: getattr(message, name) for name in FIELDS}
    by_judge = judge.make_pdu("data_sm", client=Sequence(), message_payload=message.short_message, **values)
    assert codec.decode_message(by_judge.generate()) == read


@given(bind=binds, command_id=st.sampled_from(sorted(BINDS)))
def test_binds_read_alike_on_both_sides(bind, command_id):
    pdu = codec.encode_bind(command_id, 3, bind)
    read = read_by_judge(pdu)
    assert read.command == CommandId(command_id).name.lower()
    assert read.system_id == bind.system_id.encode() and read.address_range == bind.address_range.encode()
    assert codec.decode_bind(pdu) == bind
    values = {name: getattr(bind, name) for name in ("system_id", "password", "system_type", "address_range")}
    pdu = judge.make_pdu(read.command, client=Sequence(), addr_ton=bind.addr_ton, addr_npi=bind.addr_npi, **values)
    assert codec.decode_bind(pdu.generate()) == bind


def test_a_password_is_not_in_a_repr():
    assert "geheim" not in repr(Bind(system_id="a", password="geheim"))


def test_smpplib_reads_our_answers():
    answer = read_by_judge(codec.encode_answer(CommandId.SUBMIT_SM, 0, 4, "1790000000000000001"))
    assert (answer.command, answer.sequence, answer.message_id) == ("submit_sm_resp", 4, b"1790000000000000001")
    bound = codec.encode_answer(CommandId.BIND_TRANSCEIVER, 0, 1, "SMSC", {Tag.SC_INTERFACE_VERSION: b"\x34"})
    assert read_by_judge(bound).sc_interface_version == 0x34
    assert codec.decode_answer(bound) == Answer(text="SMSC", tlvs={Tag.SC_INTERFACE_VERSION: b"\x34"})
    assert read_by_judge(codec.deliver_sm_resp(6, 0x64)).status == 0x64
    nack = read_by_judge(codec.generic_nack(8, ESME_RINVCMDID))
    assert (nack.command, nack.status, nack.sequence) == ("generic_nack", ESME_RINVCMDID, 8)
    for kind in ("unbind", "enquire_link", "unbind_resp", "enquire_link_resp"):
        command_id = CommandId[kind.removesuffix("_resp").upper()] | (RESPONSE if kind.endswith("_resp") else 0)
        assert read_by_judge(codec.encode(command_id, 0, 2)).command == kind


@pytest.mark.parametrize(
    ("body", "text"), [(b"", None), (b"\0", None), (b"42\0", "42"), (b"42", "42"), (b"42\0\x04", "42")]
)
def test_an_answer_may_lack_its_body_its_id_or_its_nul(body, text):
    assert codec.decode_answer(codec.encode(0x80000004, 0, 1, body)) == Answer(text=text)


def receipt(tail: bytes, text: bytes = b"id:7 stat:DELIVRD") -> bytes:
    body = b"\0\1\x01555\0\0\x01777\0\4" + bytes(8) + bytes((len(text),)) + text + tail
    return codec.encode(CommandId.DELIVER_SM, 0, 1, body)


@pytest.mark.parametrize(
    ("tail", "tlvs"),
    [
        (b"\x14\x00\x00\x02ab", {0x1400: b"ab"}),  # a vendor's
        (b"\x00\x1e\x00\x0942", {0x1E: b"42"}),  # cut short
        (b"\x04\x27\x00\x00", {0x427: b""}),  # message_state of no octets
        (b"\x04", {}),  # one stray octet
        (b"\x04\x27\x00\x01\x02\x04\x27\x00\x01\x03", {0x427: b"\x03"}),  # twice: the last
    ],
)
def test_odd_tlvs_never_spoil_a_receipt(tail, tlvs):
    read = codec.decode_message(receipt(tail))
    assert read.short_message == b"id:7 stat:DELIVRD" and read.tlvs == tlvs
    assert (read.source_addr, read.destination_addr, read.esm_class) == ("555", "777", 4)


def test_message_payload_stands_in_for_an_empty_short_message():
    payload = b"\x04\x24\x00\x03abc"
    assert codec.decode_message(receipt(payload, b"")).short_message == b"abc"
    assert codec.decode_message(receipt(payload, b"own")).short_message == b"own"


def test_a_pdu_cut_anywhere_before_its_tlvs_is_unparsed_with_a_reason():
    pdu = receipt(b"")
    for at in range(len(pdu)):
        cut = codec.decode_message(pdu[:at])
        assert isinstance(cut, Unparsed) and cut.reason and cut.octets == pdu[:at]


@given(body=st.binary(max_size=400), command_id=st.sampled_from([4, 5, 0x103, 9, 0x999]))
def test_any_octets_give_a_value_or_unparsed(body, command_id):
    pdu = codec.encode(command_id, 0, 1, body)
    assert isinstance(codec.decode_message(pdu), Message | Unparsed)
    assert isinstance(codec.decode_bind(pdu), Bind | Unparsed)
    assert isinstance(codec.decode_answer(pdu), Answer | Unparsed)
    for cut in range(17):
        assert isinstance(codec.decode_header(pdu[:cut]), Header | Unparsed)
        assert isinstance(codec.decode_message(pdu[:cut]), Message | Unparsed)


@given(message=messages, cuts=st.lists(st.tuples(st.integers(16, 120), u8), min_size=1, max_size=4))
def test_a_damaged_message_gives_a_value_or_unparsed(message, cuts):
    pdu = bytearray(codec.encode_message(CommandId.DELIVER_SM, 1, message))
    for at, octet in cuts:
        if at < len(pdu):
            pdu[at] = octet
    assert isinstance(codec.decode_message(bytes(pdu)), Message | Unparsed)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"source_addr": "1" * 21}, "source_addr"),
        ({"destination_addr": "a\0b"}, "destination_addr"),
        ({"short_message": bytes(255)}, "short_message has 255"),
        ({"esm_class": 256}, "256"),
        ({"validity_period": "tomorrow"}, "validity_period 'tomorrow'"),
    ],
)
def test_what_smpp_cannot_carry_is_our_bug(wrong, named):
    with pytest.raises(ValueError, match=named):
        codec.encode_message(CommandId.SUBMIT_SM, 1, Message(**wrong))


def test_every_status_has_an_action_and_the_unlisted_are_bounded():
    assert {action_of(status) for status in STATUSES} == set(Action) - {Action.HOLD}  # that one is of settings
    assert action_of(ESME_RTHROTTLED) is Action.THROTTLED and action_of(0) is Action.DONE
    assert all(action_of(status) is Action.BOUNDED for status in (0x55F, 0x400, 2**31, 2**32 - 1, 0x09))
    assert status_name(0x58) == "ESME_RTHROTTLED" and status_name(0x55F) == "0x0000055F"
    assert bind_action_of(0x0E) is BindAction.STOP and bind_action_of(0x05) is BindAction.RETRY
