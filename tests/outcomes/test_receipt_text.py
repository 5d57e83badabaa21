"""Receipts as vendors write them: labels in any order and case, odd lengths, TLVs, UCS-2; never an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.outcomes.receipt_text import STATES, Receipt, read_receipt
from dispatcher.records.events import Delivered
from dispatcher.records.states import State
from dispatcher.text.coding import Coding
from dispatcher.text.parts import parts_as

ID, STATE = 0x001E, 0x0427
UDH = b"\5\0\3\7\1\1"


def read(
    text: str | bytes = b"", *, tlvs=None, esm_class: int = 4, data_coding: int = 0, source: str = "+4915100000001"
):
    octets = text if isinstance(text, bytes) else text.encode("latin-1")
    return read_receipt(
        Delivered(
            source_addr=source,
            destination_addr="S",
            esm_class=esm_class,
            data_coding=data_coding,
            octets=octets,
            tlvs=tlvs or {},
        )
    )


@pytest.mark.parametrize(
    ("text", "message_id", "state", "err"),
    [
        (
            "id:0123 sub:001 dlvrd:001 submit date:2609211413 done date:2609211413 stat:DELIVRD err:000 text:hi",
            b"0123",
            State.DELIVERED,
            0,
        ),
        ("ID:ab12 STAT:undeliv ERR:21b TEXT:x", b"ab12", State.FAILED, 0),
        ("stat:EXPIRED err:0045  id:9", b"9", State.EXPIRED, 45),
        ("id: 77  stat: REJECTD", b"77", State.FAILED, 0),
        ("id:1,stat:DND_REJECTED,err:1", b"1", State.FAILED, 1),
        ("id:1 stat:UNKNOWN id:2 stat:DELIVRD", b"1", State.UNKNOWN, 0),
        ("id:1 stat:DELIVRD text:id:2 stat:EXPIRED err:9", b"1", State.DELIVERED, 0),
        ("id:1 stat:BUFFRED", b"1", None, 0),
        ("id:1 stat:DELIVRD err:99999999", b"1", State.DELIVERED, 0),
        ("id:1 stat:DELIVRD\0\0", b"1", State.DELIVERED, 0),
        ("id:1\tstat:DELIVRD\r\n", b"1", State.DELIVERED, 0),
        ("id:" + "9" * 80 + " stat:DELIVRD", b"9" * 64, State.DELIVERED, 0),
        ("id:1 stat:DELIVRD text:\xff\x01 caf\xe9", b"1", State.DELIVERED, 0),
    ],
)
def test_labels_are_found_wherever_they_stand(text, message_id, state, err):
    assert read(text) == Receipt(message_id, state, err, 4915100000001)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id:1",
        "stat:DELIVRD",
        "id: stat:DELIVRD",
        "id:1 stat:HELLO",
        "hello",
        "id:1 stat:",
        "valid:1 mystat:DELIVRD",
    ],
)
def test_what_names_no_id_or_no_known_state_is_nothing(text):
    assert read(text) is None


@pytest.mark.parametrize(
    ("value", "state"),
    [(0, None), (1, None), (2, State.DELIVERED), (3, State.EXPIRED), (6, None), (7, State.UNKNOWN), (9, State.FAILED)],
)
def test_the_tlvs_beat_the_text(value, state):
    both = read("id:1 stat:UNDELIV err:3", tlvs={ID: b"2\0", STATE: bytes((value,))})
    assert both == Receipt(b"2", state, 3, 4915100000001, b"1")
    assert read("", tlvs={ID: b"2", STATE: bytes((value,))}) == Receipt(b"2", state, 0, 4915100000001)


def test_a_tlv_that_says_nothing_leaves_it_to_the_text():
    assert read("id:1 stat:DELIVRD", tlvs={ID: b"\0", STATE: b""}).message_id == b"1"
    assert read("id:1 stat:DELIVRD", tlvs={STATE: b"\x63"}).state == State.DELIVERED


def test_an_intermediate_notification_is_never_final():
    assert read("id:1 stat:DELIVRD", esm_class=0x20).state is None


@pytest.mark.parametrize("udh", [b"", UDH])
@pytest.mark.parametrize("data_coding", [0, 3, 8])
def test_a_udh_stands_before_the_text_in_any_alphabet(udh, data_coding):
    text = "id:77 stat:UNDELIV err:005"
    octets = udh + text.encode("utf-16-be" if data_coding == 8 else "latin-1")
    assert read(octets, esm_class=0x44 if udh else 4, data_coding=data_coding) == Receipt(
        b"77", State.FAILED, 5, 4915100000001
    )


@pytest.mark.parametrize(
    "dates",
    [
        "submit date:2609211413 done date:2609211413", "submit date:260921141301 done date:260921141302",
        "submit date:20260921141301 done date:20260921141302", "submit date:0000000000 done date:junk",
        "submit_date:2609211413 done_date:", "submitdate:2609211413", "",
    ],
)  # fmt: skip
def test_a_date_of_any_form_or_none_loses_no_receipt(dates):
    said = read(f"id:5 sub:001 dlvrd:001 {dates} stat:DELIVRD err:21b text:x")
    assert said == Receipt(b"5", State.DELIVERED, 0, 4915100000001)


@pytest.mark.parametrize(
    "text", ["id:5 stat:DELIVRD", "stat:FAILED id:5", "id:5  stat:REJECT", "Id:5 Stat:Failed Text:"]
)
def test_fields_may_be_missing_and_states_have_any_length(text):
    assert read(text).message_id == b"5" and read(text).state.final


def test_every_word_of_the_table_is_known_in_any_case():
    for word, state in STATES.items():
        assert read(f"id:1 stat:{word}").state == read(f"id:1 stat:{word.lower()}").state == state


def test_ids_are_text_of_any_radix_and_length():
    for message_id in ("0007", "2FAF0800", "9" * 22, "550e8400-e29b-41d4-a716-446655440000", "18446744073709551616"):
        assert read(f"id:{message_id} stat:DELIVRD").message_id == message_id.encode()


@pytest.mark.parametrize(
    ("source", "number"),
    [("4915", 4915), ("+4915", 4915), ("SHOP", 0), ("", 0), ("9" * 20, 99999999999999999999 & (1 << 64) - 1)],
)
def test_the_subscriber_is_its_digits(source, number):
    assert read("id:1 stat:DELIVRD", source=source).subscriber == number


@given(
    octets=st.binary(max_size=200) | st.text("idstaterx:DELIVRD 019\0", max_size=60).map(str.encode),
    tlvs=st.dictionaries(st.sampled_from([ID, STATE, 0x0424]), st.binary(max_size=70)),
    esm_class=st.integers(0, 255), data_coding=st.sampled_from([0, 1, 3, 8]), source=st.text(max_size=21),
)  # fmt: skip
def test_any_octets_give_a_receipt_or_nothing(octets, tlvs, esm_class, data_coding, source):
    said = read(octets, tlvs=tlvs, esm_class=esm_class, data_coding=data_coding, source=source)
    if said is not None:
        assert 1 <= len(said.message_id) <= 64 and 0 <= said.err < 10_000_000 and 0 <= said.subscriber < 1 << 64
        assert said.state is None or said.state.final


def test_a_receipt_in_packed_septets_is_read_where_the_endpoint_packs():
    text = "id:0123456789 stat:DELIVRD err:000"
    packed = parts_as(text, Coding(default_alphabet="gsm_packed"), 0)[0].octets
    told = Delivered(source_addr="4915100000001", destination_addr="S", esm_class=4, data_coding=0, octets=packed)
    receipt = read_receipt(told, "gsm_packed")
    assert receipt is not None and (receipt.message_id, receipt.state) == (b"0123456789", State.DELIVERED)
    assert read_receipt(told) is None
    plain = Delivered(
        source_addr="4915100000001", destination_addr="S", esm_class=4, data_coding=0, octets=text.encode()
    )
    assert read_receipt(plain, "gsm_packed") == receipt, "many write their receipts unpacked all the same"
