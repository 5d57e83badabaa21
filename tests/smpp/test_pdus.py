"""Every PDU of 3.4 both ways: what we write we read; smpplib reads what we write; any octets give a value."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import command as judge_command
from smpplib import consts as judge_consts
from smpplib.ptypes import ostr as judge_ostr

from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
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
from dispatcher.smpp.pdu import BODIES, COMMANDS, Destination, Pdu, Remedy, Unparsed, command_name
from dispatcher.smpp.tags import TAGS, TLVS, TlvKind, flaw_of, read_tlv, tag_name, tag_of, write_tlv
from tests.smpp.pdus import Sequence, pdus, read_by_judge

JUDGED = sorted(  # what smpplib can decode at all
    {COMMANDS[name] for name in COMMANDS}
    - {
        CommandId.OUTBIND,
        CommandId.SUBMIT_MULTI,
        RESPONSE | CommandId.SUBMIT_MULTI,
        CommandId.CANCEL_SM,
        RESPONSE | CommandId.CANCEL_SM,
        CommandId.REPLACE_SM,
        RESPONSE | CommandId.REPLACE_SM,
    }
)
EVERY_STATUS = [*range(0x121), *range(0x400, 0x500), 2**31, 2**32 - 1]


def test_the_tables_have_every_command_of_3_4_in_both_directions():
    assert len(BODIES) == 27
    assert set(COMMANDS) >= {"generic_nack", "outbind", "alert_notification", "submit_multi_resp", "cancel_sm_resp"}
    assert all(command_name(command_id) == name for name, command_id in COMMANDS.items())


@given(pdu=pdus())
def test_decoding_what_was_encoded_gives_the_same_pdu(pdu):
    octets = codec.encode_pdu(pdu)
    assert codec.decode(octets) == pdu
    assert int.from_bytes(octets[:4]) == len(octets)


@pytest.mark.parametrize("command_id", sorted(BODIES), ids=command_name)
@given(data=st.data())
def test_each_pdu_makes_the_round_trip(command_id, data):
    pdu = data.draw(pdus(command_id))
    assert codec.decode(codec.encode_pdu(pdu)) == pdu


@given(data=st.data())
def test_smpplib_reads_the_same_fields_and_tlvs(data):
    pdu = data.draw(st.sampled_from(JUDGED).flatmap(pdus))
    if pdu.command_id & RESPONSE and pdu.command_status:
        return  # smpplib reads no body then
    params = judge_command.factory(pdu.name, client=Sequence()).params
    pdu = replace(pdu, tlvs=tuple(each for each in pdu.tlvs if judge_reads(each[0], params)))
    read = read_by_judge(codec.encode_pdu(pdu))
    assert (read.command, read.sequence, read.status) == (pdu.name, pdu.sequence_number, 0)
    if pdu.command_id == CommandId.GENERIC_NACK:
        return
    for name, value in pdu.fields.items():
        if value != b"" and hasattr(read, name):
            assert getattr(read, name) == as_judge_gives(value), name
    for tag, octets in dict(pdu.tlvs).items():
        assert getattr(read, tag_name(tag).lower()) == as_judge_gives(read_tlv(tag, octets)), tag_name(tag)


def judge_reads(tag, params) -> bool:
    """Whether smpplib knows the TLV in this PDU, and as 5.3.2 has it: in ten places it takes octets for a string or a
    number, or one octet for two."""
    row = TLVS.get(tag)
    param = params.get(row.name.lower()) if row else None
    theirs = {TlvKind.NUMBER: int, TlvKind.C_OCTETS: str, TlvKind.OCTETS: judge_ostr}
    if row is None or param is None or param.type is not theirs[row.kind]:
        return False
    return row.kind is not TlvKind.NUMBER or param.size == row.most


def as_judge_gives(value):
    return value.encode("latin-1") if isinstance(value, str) else value


@given(octets=st.binary(max_size=300))
def test_any_octets_give_a_pdu_or_what_is_wrong(octets):
    assert_answered(octets)


@given(
    body=st.binary(max_size=300),
    command_id=st.sampled_from([*BODIES, 0x999, 0x80000999]),
    status=st.sampled_from([0, 8, 2**32 - 1]),
    sequence=st.sampled_from([0, 1, 0x7FFFFFFF, 2**32 - 1]),
)
def test_any_body_behind_any_header_gives_a_pdu_or_what_is_wrong(body, command_id, status, sequence):
    assert_answered(codec.encode(command_id, status, sequence, body))


@given(
    pdu=pdus(),
    changes=st.lists(st.tuples(st.integers(4, 200), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 40),
)
def test_a_damaged_pdu_gives_a_pdu_or_what_is_wrong(pdu, changes, cut):
    octets = bytearray(codec.encode_pdu(pdu))
    for at, octet in changes:
        if at < len(octets):
            octets[at] = octet
    del octets[max(16, len(octets) - cut) :]
    octets[:4] = len(octets).to_bytes(4)
    assert_answered(bytes(octets))


def assert_answered(octets):
    found = codec.decode(octets)
    if isinstance(found, Pdu):
        assert found.fields.keys() <= {row.name for row in BODIES[found.command_id]}
        return
    assert isinstance(found, Unparsed) and found.reason and found.octets == octets
    answer = codec.answer_to(found)
    if found.remedy is Remedy.NOTHING:
        assert answer == b""
    else:
        assert isinstance(codec.decode(answer), Pdu)
        assert found.header is None or not found.header.command_id & RESPONSE or found.remedy is Remedy.CLOSE


@pytest.mark.parametrize("status", EVERY_STATUS)
def test_every_command_status_comes_back_as_it_is(status):
    for command_id in (CommandId.SUBMIT_SM, CommandId.BIND_TRANSCEIVER):
        read = codec.decode(codec.encode_answer(command_id, status, 5, "7"))
        assert isinstance(read, Pdu) and read.command_status == status
        assert isinstance(codec.decode(codec.error_response(command_id, status, 5)), Pdu)
    assert isinstance(action_of(status), Action) and isinstance(bind_action_of(status), BindAction)
    assert status in STATUSES or (action_of(status) is Action.BOUNDED and status_name(status) == f"0x{status:08X}")


@given(status=st.integers(0, 2**32 - 1))
def test_any_status_has_an_action(status):
    assert isinstance(action_of(status), Action)


def test_smpplib_names_the_same_statuses():
    theirs = {
        name.removeprefix("SMPP_"): value for name, value in vars(judge_consts).items() if name.startswith("SMPP_ESME_")
    }
    ours = {name: status for status, (name, _) in STATUSES.items()}
    assert {name: ours.get(name) for name in theirs} == theirs


def test_the_tags_are_smpplibs_and_congestion_state():
    theirs = {name.lower(): tag for name, tag in judge_consts.OPTIONAL_PARAMS.items()}
    ours = {name.lower(): tag for name, tag in TAGS.items()}
    assert ours.pop("congestion_state") == 0x428
    assert ours == theirs
    assert all(tag in TLVS for tag in Tag)


@pytest.mark.parametrize("tag", sorted(TLVS), ids=tag_name)
def test_each_tlv_makes_the_round_trip_as_its_kind(tag):
    row = TLVS[tag]
    values = {
        TlvKind.NUMBER: [0, 1, 256**row.most - 1],
        TlvKind.C_OCTETS: ["", "a" * (row.most - 1)],
        TlvKind.OCTETS: [bytes(row.least), bytes(min(row.most, 300))],
    }[row.kind]
    for value in values:
        octets = write_tlv(tag, value)
        assert read_tlv(tag, octets) == value and not flaw_of(tag, octets)
    assert tag_of(tag_name(tag)) == tag
    wrong = {TlvKind.NUMBER: 256**row.most, TlvKind.C_OCTETS: "a" * row.most, TlvKind.OCTETS: "text"}[row.kind]
    with pytest.raises(ValueError, match=row.name):
        write_tlv(tag, wrong)


@given(tag=st.integers(0, 0xFFFF), octets=st.binary(max_size=300))
def test_any_tlv_is_read_and_written_back(tag, octets):
    assert write_tlv(tag, read_tlv(tag, octets)) == octets


def test_what_was_read_before_the_wrong_field_is_kept():
    found = codec.decode(codec.encode(CommandId.DELIVER_SM, 0, 1, b"\0\1\x01555\0\1"))
    assert isinstance(found, Unparsed) and found.wrong == "dest_addr_npi"
    assert found.fields == {
        "service_type": "", "source_addr_ton": 1, "source_addr_npi": 1, "source_addr": "555", "dest_addr_ton": 1,
    }  # fmt: skip


def test_a_vendors_tag_is_named_by_its_number():
    assert tag_name(0x1400) == "0x1400" and tag_of("0x1400") == 0x1400
    assert tag_of("nobody") is None and tag_of("0x10000") is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (Pdu(command_id=0x999), "0x00000999"),
        (Pdu(command_id=CommandId.SUBMIT_SM, fields={"message_id": "1"}), "message_id"),
        (Pdu(command_id=CommandId.QUERY_SM, fields={"message_id": "1" * 65}), "message_id"),
        (Pdu(command_id=CommandId.SUBMIT_SM, fields={"source_addr": "日"}), "source_addr"),
        (Pdu(command_id=CommandId.SUBMIT_SM, fields={"esm_class": "4"}), "esm_class"),
        (Pdu(command_id=CommandId.SUBMIT_MULTI), "dest_address"),
        (Pdu(command_id=CommandId.SUBMIT_MULTI, fields={"dest_address": (Destination(),) * 255}), "255"),
        (Pdu(command_id=CommandId.SUBMIT_SM, tlvs=((0x424, bytes(65_535)), (0x424, bytes(65_535)))), "at most 66560"),
    ],
)
def test_what_smpp_cannot_carry_is_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=named):
        codec.encode_pdu(wrong)
