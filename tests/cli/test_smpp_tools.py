"""`volley smpp` and `volley text`: JSON that is stable, the way back, what is wrong and what ours would answer."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.cli.smpp_json import NotAPdu, encode_json, pdu_json, receipt_json, stream_json
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId, Tag
from dispatcher.smpp.pdu import Message
from dispatcher.text.coding import Coding
from dispatcher.text.parts import parts_as
from tests.smpp.pdus import pdus

LONG_MO = codec.encode_message(
    CommandId.DELIVER_SM,
    9,
    Message(source_addr="491701234567", esm_class=0x40, short_message=b"\x05\x00\x03\x07\x02\x01STOP"),
)
RECEIPT = codec.encode_message(
    CommandId.DELIVER_SM,
    10,
    Message(
        esm_class=4,
        short_message=b"id:42 sub:001 dlvrd:001 submit date:2601010930 done date:2601010931 stat:DELIVRD err:000 text:Hi",
        tlvs={Tag.RECEIPTED_MESSAGE_ID: b"2A\0", Tag.MESSAGE_STATE: b"\x02"},
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw may meet a machine that is busy
@given(pdu=pdus())
def test_encode_is_the_inverse_of_decode(pdu):
    octets = codec.encode_pdu(pdu)
    shown = json.loads(json.dumps(pdu_json(octets)))
    assert shown["problem"] is None and shown["command"] == pdu.name
    again = codec.decode(encode_json(shown))
    assert again.fields == pdu.fields and sorted(again.tlvs) == sorted(pdu.tlvs)
    assert (again.command_id, again.command_status, again.sequence_number) == (
        pdu.command_id, pdu.command_status, pdu.sequence_number,
    )  # fmt: skip


@given(octets=st.binary(max_size=200))
def test_any_stream_of_octets_is_shown(octets):
    json.dumps(stream_json(octets))


@given(
    given_=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["command", "command_id", "tlvs", "dest_address", "text", "short_message", "message_state"]
                ),
                inner | st.sampled_from(["submit_multi", "deliver_sm", "0x21", "submit_multi_resp"]),
                max_size=5,
            )
        ),
    )
)
def test_any_json_is_a_pdu_or_is_refused_by_its_key(given_):
    try:
        assert isinstance(encode_json(given_), bytes)
    except NotAPdu as refused:
        assert str(refused)


def test_decode_tells_fields_text_and_place(volley):
    said = volley("smpp", "decode", "--json", LONG_MO.hex())
    assert said.status == 0
    assert {key: said.json[key] for key in ("command", "command_id", "command_status", "command_length", "sequence_number")} == {
        "command": "deliver_sm", "command_id": 5, "command_status": 0, "command_length": len(LONG_MO), "sequence_number": 9,
    }  # fmt: skip
    assert said.json["short_message"] == "05000307020153544f50" and said.json["source_addr"] == "491701234567"
    assert said.json["text"] == "STOP" and said.json["udh"] == "050003070201"
    assert said.json["concat"] == {"reference": 7, "total": 2, "part": 1, "width": 8}
    assert said.json["receipt"] is None and said.json["tlvs"] == {} and said.json["problem"] is None


def test_decode_reads_receipts_tlvs_first(volley):
    said = volley("smpp", "decode", "--json", RECEIPT.hex())
    assert said.json["receipt"] == {
        "id": "2A", "stat": "DELIVRD", "err": "000", "sub": "001", "dlvrd": "001", "submit_date": "2601010930",
        "done_date": "2601010931", "text": "Hi", "final": True,
    }  # fmt: skip
    assert said.json["tlvs"] == {"receipted_message_id": "2A", "message_state": 2}


def test_decode_reads_a_stream_from_stdin_in_hex_or_as_it_is(volley, monkeypatch):
    for octets in (LONG_MO + RECEIPT, (LONG_MO + RECEIPT).hex(" ").encode()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))
        said = volley("smpp", "decode", "-", "--json")
        assert said.status == 0 and [row["sequence_number"] for row in said.rows] == [9, 10]


@pytest.mark.parametrize(
    ("octets", "answer", "status", "closes", "taken"),
    [
        (codec.encode(0x999, 0, 7, b"what"), "generic_nack", 3, False, False),
        (codec.encode(0x80000999, 0, 7), None, None, False, False),
        (codec.encode(CommandId.DELIVER_SM, 0, 7, b"\0\1\1"), "deliver_sm_resp", 0x0A, False, False),
        (b"HTTP/1.1 400", "generic_nack", 2, True, False),
        (LONG_MO + b"\0\0", None, None, True, False),
        (LONG_MO[:-2], None, None, True, False),
        (codec.encode(CommandId.ENQUIRE_LINK, 0, 7, b"x"), "enquire_link_resp", 0, False, True),
    ],
)
def test_decode_says_what_is_wrong_and_what_ours_answers(volley, octets, answer, status, closes, taken):
    said = volley("smpp", "decode", "--json", octets.hex())
    problem = said.rows[-1]["problem"]
    assert said.status == 1 and problem["reason"]
    assert (problem["answer"], problem["answer_status"], problem["closes"], problem["taken"]) == (
        answer,
        status,
        closes,
        taken,
    )
    people = volley("smpp", "decode", octets.hex())
    assert people.status == 1 and "problem:" in people.out


def test_decode_for_people_shows_no_control_characters(volley):
    pdu = codec.encode_message(CommandId.DELIVER_SM, 1, Message(data_coding=3, short_message=b"\x1b[31mred"))
    said = volley("smpp", "decode", pdu.hex())
    assert said.status == 0 and "\x1b" not in said.out and "\\x1b[31mred" in said.out


@pytest.mark.parametrize("octets", ["0", "zz", ""])
def test_decode_refuses_what_is_no_hex(volley, octets):
    assert volley("smpp", "decode", octets).status == 2


def test_encode_takes_a_text_a_status_by_name_and_an_object_a_line(volley, monkeypatch):
    given_ = (
        '{"command": "submit_sm", "text": "Hi"}\n{"command": "submit_sm_resp", "command_status": "ESME_RTHROTTLED"}'
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO(given_))
    said = volley("smpp", "encode")
    first, second = (codec.decode(bytes.fromhex(line)) for line in said.out.split())
    assert first.fields["short_message"] == b"Hi" and second.command_status == 0x58
    long = encode_json({"command": "submit_sm", "text": "日" * 200})
    assert codec.decode_message(long).short_message == ("日" * 200).encode("utf-16-be")


@pytest.mark.parametrize(
    ("pdu", "named"),
    [
        ('{"command": "submit"}', "submit_sm_resp"),
        ('{"command": "submit_sm", "message_id": "1"}', "message_id"),
        ('{"command": "submit_sm", "source_addr": 5}', "source_addr 5"),
        ('{"command": "submit_sm", "source_addr": "123456789012345678901"}', "at most 20"),
        ('{"command": "submit_sm", "short_message": "hello"}', "hex"),
        ('{"command": "submit_sm", "tlvs": {"nobody": 1}}', "tlvs/nobody"),
        ('{"command": "submit_sm", "tlvs": {"message_state": 256}}', "message_state"),
        ('{"command": "submit_sm", "command_id": 5}', "command_id 4"),
        ('{"command": "submit_sm", "sequence_number": -1}', "sequence_number"),
    ],
)
def test_encode_names_the_field_that_is_wrong(volley, pdu, named):
    said = volley("smpp", "encode", pdu)
    assert said.status == 1 and named in said.err
    assert volley("smpp", "encode", "{").status == 2


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("id:7 stat:DELIVRD", {"id": "7", "stat": "DELIVRD", "final": True, "err": None}),
        (
            "STAT:UNDELIV ERR:21b ID:00ff Text:id:9 stat:X",
            {"id": "00ff", "err": "21b", "text": "id:9 stat:X", "final": True},
        ),
        ("id:7 stat:ENROUTE", {"final": False}),
        ("id:7  sub:001  done date:000000 stat:EXPIRED", {"done_date": "000000", "sub": "001", "final": True}),
    ],
)
def test_receipt_reads_labels_in_any_order_and_case(volley, text, want):
    for argv in (
        [text],
        ["--hex", text.encode().hex()],
        ["--hex", text.encode("utf-16-be").hex(), "--data-coding", "8"],
    ):
        said = volley("smpp", "receipt", "--json", *argv)
        assert said.status == 0 and {key: said.json[key] for key in want} == want


def test_receipt_without_an_id_or_a_state_is_a_problem(volley):
    said = volley("smpp", "receipt", "--json", "hello")
    assert said.status == 1 and "no id and no stat" in said.json["problem"]
    assert volley("smpp", "receipt").status == 2
    unknown = volley("smpp", "receipt", "--json", "id:7 stat:FOO")
    assert (unknown.status, unknown.json["stat"], unknown.json["final"]) == (1, "FOO", False)
    assert "stat 'FOO' is none that anybody knows" in unknown.json["problem"]
    assert receipt_json(b"", 0, {Tag.RECEIPTED_MESSAGE_ID: b"7", Tag.MESSAGE_STATE: b"\x09"})["stat"] == "SKIPPED"


def test_text_tells_alphabet_parts_and_what_forces_ucs2(volley):
    said = volley("text", "--json", "a" * 161).json
    assert (said["encoding"], said["data_coding"], said["parts"], said["part_octets"]) == ("GSM7", 0, 2, [153, 8])
    assert said["udh_hex"] == ["050003000201", "050003000202"] and said["offending"] == []
    assert [len(part) // 2 for part in said["part_hex"]] == said["part_octets"]
    said = volley("text", "--json", "Grüße “é日").json
    assert (said["encoding"], said["data_coding"], said["offending"]) == ("UCS2", 8, ["“", "日"])
    assert bytes.fromhex(said["part_hex"][0]).decode("utf-16-be") == "Grüße “é日"


def test_text_tells_what_may_never_be_sent_and_leaves_a_space(volley):
    said = volley("text", "--json", "a\x1bb\udc80\udc80").json
    assert said["changes"] == [
        {"character": "U+001B", "becomes": " ", "count": 1},
        {"character": "U+DC80", "becomes": " ", "count": 2},
    ]
    assert bytes.fromhex(said["part_hex"][0]) == b"a b  "
    assert "U+001B into a space, 1 times" in volley("text", "a\x1bb").out


def test_text_takes_the_choices_of_an_endpoint(volley, data):
    assert volley("text", "--json", "--latin1", "ça va").json["encoding"] == "LATIN1"
    assert volley("text", "--json", "--class", "0", "ça va").json["data_coding"] == 0x18
    assert volley("text", "--json", "--long-as", "payload", "a" * 400).json["part_octets"] == [400]
    turkish = volley("text", "--json", "--single-shift", "1", "şimdi").json
    assert (turkish["encoding"], turkish["udh_hex"], turkish["part_octets"]) == ("GSM7", ["03240101"], [6])
    said = volley("text", "--json", "--transliterate", "It’s").json
    assert said["encoding"] == "GSM7" and said["changes"] == [{"character": "’", "becomes": "'", "count": 1}]
    assert volley("text", "--single-shift", "99", "a").status == 2
    nobody = volley("text", "--endpoint", "nobody", "a", "--data", data)
    assert nobody.status == 2 and "nobody" in nobody.err


def test_text_is_as_the_endpoint_of_the_settings_takes_it(volley, data, tmp_path):
    file = tmp_path / "volley.toml"
    file.write_text(
        '[[endpoint]]\nname = "old"\nhost = "h"\nsystem_id = "s"\ndefault_alphabet = "latin1"\nlong_messages = "sar"\n'
        '[[endpoint]]\nname = "tr"\nhost = "h"\nsystem_id = "s"\nsingle_shift = "turkish"\nlong_messages = "udh16"\n'
        '[[endpoint]]\nname = "packs"\nhost = "h"\nsystem_id = "s"\ndefault_alphabet = "gsm_packed"\n'
        '[[endpoint]]\nname = "bare"\nhost = "h"\nsystem_id = "s"\nucs2 = false\ntransliterate = true\n'
    )

    def said(*argv):
        return volley("text", "--json", "--config", str(file), "--data", data, *argv).json

    old = said("--endpoint", "old", "ça " * 60)
    assert (old["encoding"], old["data_coding"], old["long_as"]) == ("LATIN1", 0, "sar")
    assert (old["part_octets"], old["udh_hex"]) == ([134, 46], ["", ""])
    assert said("--endpoint", "tr", "ş" * 90)["udh_hex"][0] == "09080400000201240101"
    assert said("--endpoint", "old", "--long-as", "udh8", "ça " * 60)["udh_hex"][0] == "050003000201"
    packed = said("--endpoint", "packs", "hellohello")
    assert (packed["packed"], packed["part_hex"], packed["units"]) == (True, ["e8329bfd4697d9ec37"], 10)
    assert said("--endpoint", "packs", "x" * 161)["part_octets"] == [134, 8]
    assert said("--endpoint", "bare", "It’s")["changes"] == [{"character": "’", "becomes": "'", "count": 1}]
    refused = volley("text", "--json", "--config", str(file), "--data", data, "--endpoint", "bare", "It’s 日")
    assert (refused.status, refused.json["encoding"], refused.json["offending"]) == (1, None, ["日"])
    assert "no UCS-2 and has no 日 U+65E5" in refused.json["problem"]
    assert "日" in volley("text", "--config", str(file), "--data", data, "--endpoint", "bare", "日").out


def test_text_counts_what_a_market_bills(volley, data):
    said = volley("text", "--json", "--profile", "cn", "a" * 135).json
    assert (said["parts"], said["billed"], said["units"]) == (1, 3, 135)
    assert volley("text", "--json", "a" * 135).json["billed"] == 1
    nobody = volley("text", "--profile", "nowhere", "a")
    assert nobody.status == 2 and "nowhere" in nobody.err


@pytest.mark.parametrize("language", ["turkish", "Turkish", "1"])
def test_text_takes_a_language_by_name_or_number(volley, language):
    assert volley("text", "--json", "--locking-shift", language, "ş").json["udh_hex"] == ["03250101"]
    wrong = volley("text", "--locking-shift", "klingon", "a")
    assert wrong.status == 2 and "turkish" in wrong.err


def test_text_over_255_parts_is_a_problem(volley):
    said = volley("text", "--json", "a" * (255 * 153 + 1))
    assert said.status == 1 and said.json["parts"] == 0 and "255" in said.json["problem"]


def test_decode_reads_texts_and_receipts_in_the_alphabet_of_their_endpoint(volley):
    packed = Coding(default_alphabet="gsm_packed")
    _, last = parts_as("£@ " * 60, packed, 3)
    message = Message(esm_class=0x40, short_message=last.octets)
    pdu = codec.encode_message(CommandId.SUBMIT_SM, 1, message).hex()
    said = volley("smpp", "decode", "--json", "--alphabet", "gsm_packed", pdu).json
    assert (said["text"], said["concat"]["part"]) == (("£@ " * 60)[153:], 2)
    text = "id:0123456789 stat:DELIVRD err:000"
    for octets in (text.encode(), parts_as(text, packed, 0)[0].octets):
        pdu = codec.encode_message(CommandId.DELIVER_SM, 1, Message(esm_class=4, short_message=octets)).hex()
        receipt = volley("smpp", "decode", "--json", "--alphabet", "gsm_packed", pdu).json["receipt"]
        assert (receipt["id"], receipt["stat"], receipt["final"]) == ("0123456789", "DELIVRD", True)
    assert volley("smpp", "decode", "--alphabet", "klingon", pdu).status == 2
