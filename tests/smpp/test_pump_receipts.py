"""Receipts: read in bulk, matched by id in any spelling, before or after their response, once; the rest to Python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.outcomes.receipt_text import read_receipt
from dispatcher.records.events import Delivered
from dispatcher.records.states import State
from dispatcher.smpp import codec
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.pump import OFF_PATH, Kind
from tests.smpp.line import NUMBER, Line, Text, receipt

ID_TLV, STATE_TLV, PAYLOAD_TLV = 0x001E, 0x0427, 0x0424


def accepted(line, message_id: str, rank: int = 0) -> None:
    """One message sent and answered with this id."""
    (submit,) = line.send(rank)
    line.answer(submit, message_id=message_id)


def receipts(line) -> list[tuple[int, int, int, int]]:
    """(rank, part, state, status) in the log, after a commit."""
    line.commit()
    return line.kinds(Kind.RECEIPT)


# ---- answers


def test_a_receipt_is_answered_only_after_its_commit(new_line):
    line = new_line()
    accepted(line, "a1")
    line.give(receipt("a1", sequence=0x80000009))
    assert line.pdus() == [] and line.pump.waiting_answers == 1
    line.book.cut()
    line.pump.cut()
    line.give(receipt("a1", sequence=10))  # arrives while the commit runs: the next one's
    assert line.pdus() == []
    line.book.committed()
    line.pump.committed()
    line.pump.push()
    assert line.pdus() == [codec.encode(0x80000005, 0, 0x80000009, b"\0")]
    line.commit()
    assert line.pdus() == [codec.encode(0x80000005, 0, 10, b"\0")]
    assert line.pump.waiting_answers == 0 and line.pump.delivers == 2


def test_a_repeat_makes_no_record_and_still_asks_for_the_commit_that_answers_it(new_line):
    line = new_line()
    accepted(line, "a1")
    line.give(receipt("a1"))
    line.commit()
    line.pdus()
    assert line.book.journal_records_waiting == 0
    line.give(receipt("a1", sequence=7) + receipt("zz", "ENROUTE", sequence=8))
    assert line.book.journal_records_waiting == 2
    assert line.commit() == [] and line.book.journal_records_waiting == 0
    assert line.pdus() == [codec.encode(0x80000005, 0, no, b"\0") for no in (7, 8)]


def test_enquire_link_is_answered_at_once_with_its_own_number(new_line):
    line = new_line()
    line.give(codec.encode(0x15, 0, 0) + codec.encode(0x15, 0, 0xFFFFFFFF) + codec.encode(0x80000015, 0, 3))
    assert line.pdus() == [codec.encode(0x80000015, 0, 0), codec.encode(0x80000015, 0, 0xFFFFFFFF)]
    assert line.pump.enquire_links == 2


# ---- states


@pytest.mark.parametrize(
    ("stat", "state"),
    [("DELIVRD", 4), ("EXPIRED", 5), ("DELETED", 6), ("UNDELIV", 6), ("REJECTD", 6), ("FAILED", 6), ("UNKNOWN", 7)],
)
@pytest.mark.parametrize("err", ["012", "0", "4321"])
def test_a_final_state_settles(new_line, stat, state, err):
    line = new_line()
    accepted(line, "77")
    assert not line.give(receipt("77", stat, err=err)) & OFF_PATH
    assert receipts(line) == [(0, 0, state, int(err))]
    assert line.book.index_live == 0


@pytest.mark.parametrize("stat", ["ACCEPTD", "ENROUTE", "ACKED", "BUFFERD", "BUFFRED", "SCHEDLD"])
def test_a_state_that_is_not_final_changes_nothing_and_is_answered(new_line, stat):
    line = new_line()
    accepted(line, "77")
    line.commit()
    line.pdus()
    line.give(receipt("77", stat))
    line.give(receipt("never seen", stat))
    assert receipts(line) == [] and len(line.pdus()) == 2
    assert line.book.receipts_not_final == 2 and line.book.n_held == 0 and line.book.index_live == 1


@pytest.mark.parametrize(("value", "state"), [(2, 4), (3, 5), (4, 6), (5, 6), (7, 7), (8, 6), (9, 6)])
def test_the_message_state_tlv_beats_the_text_and_the_err_stays_the_texts(new_line, value, state):
    line = new_line()
    accepted(line, "77")
    line.give(receipt("77", "ACCEPTD", err="034", tlvs={STATE_TLV: bytes((value,))}))
    assert receipts(line) == [(0, 0, state, 34)]


def test_a_later_delivery_replaces_expired_and_unknown_and_nothing_else_does(new_line):
    line = new_line()
    for rank, (first, then) in enumerate(
        [
            ("EXPIRED", "DELIVRD"),
            ("UNKNOWN", "DELIVRD"),
            ("UNDELIV", "DELIVRD"),
            ("DELIVRD", "EXPIRED"),
            ("EXPIRED", "UNDELIV"),
        ]
    ):
        accepted(line, f"id{rank}", rank)
        for stat in (first, then, first):
            line.give(receipt(f"id{rank}", stat))
    assert [(rank, state) for rank, _, state, _ in receipts(line)] == [
        (0, 5), (0, 4), (1, 7), (1, 4), (2, 6), (3, 4), (4, 5),
    ]  # fmt: skip
    assert line.book.receipts_repeated == 8


# ---- ids


@pytest.mark.parametrize(
    ("ids", "in_response", "in_receipt"),
    [
        ("same", "0000123456", "123456"),
        ("same", "2FAF0800", "2faf0800"),
        ("same", "0", "000"),
        ("same", "9999999999999999999999", "9999999999999999999999"),
        ("same", "550e8400-E29B-41d4", "550E8400-e29b-41D4"),
        ("same", "x" * 64, "X" * 64),
        ("hex_decimal", "2faf0800", "800000000"),
        ("hex_decimal", "2FAF0800", "0800000000"),
        ("hex_decimal", "2faf0800", "2faf0800"),
        ("hex_decimal", "ffffffffffffffffffffffffffffffff", "340282366920938463463374607431768211455"),
        ("hex_decimal", "not-hex", "NOT-HEX"),
        ("decimal_hex", "800000000", "2FAF0800"),
        ("decimal_hex", "800000000", "800000000"),
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_ids_match_however_they_are_spelled(new_line, ids, in_response, in_receipt, early):
    line = new_line(ids=ids)
    (submit,) = line.send(0)
    if early:
        line.give(receipt(in_receipt))
        line.answer(submit, message_id=in_response)
    else:
        line.answer(submit, message_id=in_response)
        line.give(receipt(in_receipt))
    assert receipts(line) == [(0, 0, 4, 0)]
    assert line.book.n_held == 0 and line.book.held_matched == early


def test_ids_that_only_look_alike_do_not_match(new_line):
    line = new_line()
    for rank, message_id in enumerate(["12345", "a1", "0x10"]):
        accepted(line, message_id, rank)
    for message_id in ("1234", "123450", "12345.", "a", "a10", "b1", "10", "16"):
        line.give(receipt(message_id))
    assert receipts(line) == [] and line.book.n_held == 8


def test_the_id_of_the_tlv_is_tried_before_that_of_the_text(new_line):
    line = new_line()
    accepted(line, "aa", 0)
    accepted(line, "bb", 1)
    accepted(line, "cc", 2)
    line.give(receipt("bb", tlvs={ID_TLV: b"aa\0"}))
    line.give(receipt("cc", "EXPIRED", tlvs={ID_TLV: b"dd"}))  # a TLV that nobody knows: the text's then
    line.give(receipt("", text="", tlvs={ID_TLV: b"bb", STATE_TLV: b"\2"}))
    assert receipts(line) == [(0, 0, 4, 0), (2, 0, 5, 0), (1, 0, 4, 0)]


def test_parts_of_one_message_settle_each_by_its_own_id(new_line):
    line = new_line(binds=2)
    parts = line.send(Text(5, (b"a", b"b", b"c")))
    for submit, name in zip(reversed(parts), ("z", "y", "x"), strict=True):
        line.answer(submit, message_id=name)
    for name in ("y", "x", "z"):
        line.give(receipt(name), bind=1)  # on another bind of the account
    assert receipts(line) == [(5, 1, 4, 0), (5, 0, 4, 0), (5, 2, 4, 0)]


# ---- early, doubled, unknown


def test_a_receipt_before_its_response_is_kept_and_matched(new_line):
    line = new_line(binds=2)
    (submit,) = line.send(3)
    line.give(receipt("early", "UNDELIV", err="001", number=NUMBER + 3), bind=1)
    line.commit()
    held = line.log[-1]
    assert (held[0], held[1], held[2], held[4], held[5], held[6]) == (Kind.HELD, None, NUMBER + 3, 6, 1, b"early")
    line.answer(submit, message_id="early")
    assert receipts(line) == [(3, 0, 6, 1)]
    assert line.log[-2][0] == Kind.ACCEPTED  # in that order
    line.give(receipt("early", "UNDELIV"))
    assert receipts(line) == [(3, 0, 6, 1)] and line.book.receipts_repeated == 1


def test_a_better_receipt_replaces_a_held_one_and_a_worse_does_not(new_line):
    line = new_line()
    submits = line.send(0, 1)
    for name, first, then in (("a", "EXPIRED", "DELIVRD"), ("b", "DELIVRD", "EXPIRED")):
        line.give(receipt(name, first))
        line.give(receipt(name, then))
        line.give(receipt(name, then))
    assert line.book.n_held == 2
    for submit, name in zip(submits, ("a", "b"), strict=True):
        line.answer(submit, message_id=name)
    assert [(rank, state) for rank, _, state, _ in receipts(line)] == [(0, 4), (1, 4)]
    assert [r[4] for r in line.log if r[0] == Kind.HELD] == [5, 4, 4]


def test_a_held_receipt_is_taken_once_its_time_is_over(new_line):
    line = new_line()
    for no in range(500):
        line.give(receipt(f"{no * 7919:x}", number=NUMBER + no))
    assert line.book.take_held(1) == [] and line.book.n_held == 500
    taken = line.book.take_held(1 << 62)
    assert sorted(number for _, number, _, _, _ in taken) == [NUMBER + no for no in range(500)]
    assert {key for key, *_ in taken} == {line.book.key_of(b"%x" % (no * 7919), receipt=True) for no in range(500)}
    assert line.book.n_held == 0 and line.book.take_held(1 << 62) == []


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_held_table_loses_nobody_while_some_are_matched_and_some_taken(data):
    ids = [f"{no * 2654435761 % (1 << 32):x}" for no in range(60)]
    with Line(window=100) as line:
        submits = dict(zip(ids, line.send(*range(60)), strict=True))
        early = data.draw(st.lists(st.sampled_from(ids), unique=True))
        for message_id in early:
            line.give(receipt(message_id))
        answered = data.draw(st.lists(st.sampled_from(ids), unique=True))
        for message_id in answered:
            line.answer(submits[message_id], message_id=message_id)
        left = set(early) - set(answered)
        assert line.book.n_held == len(left)
        assert {key for key, *_ in line.book.take_held(1 << 62)} == {
            line.book.key_of(i.encode(), receipt=True) for i in left
        }
        assert {rank for rank, *_ in receipts(line)} == {ids.index(i) for i in set(early) & set(answered)}


def test_a_full_held_table_still_writes_the_receipt_down(new_line):
    line = new_line()
    like = receipt("0" * 16, number=NUMBER)
    for first in range(0, 50_000, 100):
        line.give(b"".join(like.replace(b"0" * 16, b"%016d" % (first + no)) for no in range(1, 101)))
        if first % 5_000 == 0:
            line.commit()
        line.pdus()
    line.commit()
    assert line.book.n_held == 49_152 and line.book.held_overflow == 848
    assert sum(1 for r in line.log if r[0] == Kind.HELD) == 50_000


def test_an_id_used_again_means_the_latest_message(new_line):
    line = new_line()
    accepted(line, "7", 0)
    accepted(line, "7", 1)
    line.give(receipt("7"))
    assert receipts(line) == [(1, 0, 4, 0)]
    assert line.book.index_live == 0
    accepted(line, "7", 2)
    line.give(receipt("7", "EXPIRED"))
    assert receipts(line)[-1] == (2, 0, 5, 0)


def test_a_run_without_receipts_remembers_no_ids(new_line):
    line = new_line(receipts=False)
    accepted(line, "7")
    assert line.book.index_live == 0
    line.give(receipt("7"))
    assert receipts(line) == [] and line.book.n_held == 1


# ---- what is left to Python


ODD = {
    "a message from a phone": receipt("7", esm_class=0),
    "an intermediate notification": receipt("7", esm_class=0x20),
    "a receipt with a UDH": receipt("7", esm_class=0x44),
    "in UCS-2": receipt("7", data_coding=8),
    "another case": receipt("", text="ID:7 STAT:DELIVRD"),
    "TLVs and a text without labels": receipt("", text="hello", tlvs={ID_TLV: b"7", STATE_TLV: b"\2"}),
    "small letters": receipt("", text="id:7 stat:delivrd"),
    "a word of a vendor": receipt("7", "DND_REJECTED"),
    "an err with letters": receipt("7", err="21b"),
    "a label between": receipt("", text="id:7 stat:DELIVRD sub:001 err:000"),
    "an unknown message_state": receipt("7", tlvs={STATE_TLV: b"\x40"}),
    "a payload": receipt("", text="", tlvs={PAYLOAD_TLV: b"id:7 stat:DELIVRD"}),
    "no stat": receipt("", text="id:7 sub:001"),
    "no id": receipt("", text="stat:DELIVRD err:000"),
    "an id of more than 64 octets": receipt("7" * 65),
    "a cut TLV": codec.encode(5, 0, 1, receipt("7")[16:] + b"\0\x1e\0\x09ab"),
    "trailing octets": codec.encode(5, 0, 1, receipt("7")[16:] + b"\0"),
    "a body cut short": codec.encode(5, 0, 1, receipt("7")[16:30]),
    "no body": codec.encode(5, 0, 1),
    "data_sm": codec.encode(0x103, 0, 9, b"\0" * 12),
    "unbind": codec.encode(6, 0, 9),
    "something unknown": codec.encode(0x12345, 0, 9, b"abc"),
    "an answer to nothing": codec.encode(0x80000006, 0, 9),
}


@pytest.mark.parametrize("pdu", ODD.values(), ids=ODD.keys())
def test_what_is_not_the_common_form_is_python_s_untouched(new_line, pdu):
    line = new_line()
    accepted(line, "7")
    assert line.give(pdu) & OFF_PATH
    assert line.pump.take_off() == [pdu] and line.pump.take_off() == []
    assert receipts(line) == [] and line.pump.waiting_answers == 0


def test_odd_ones_stay_in_order_among_the_common(new_line):
    line = new_line()
    stream = b""
    for no, pdu in enumerate(ODD.values()):
        stream += receipt(f"r{no}") + pdu
    line.give(stream)
    assert line.pump.take_off() == list(ODD.values())
    assert line.book.receipts == len(ODD)


def test_many_odd_ones_wait_in_the_socket_until_python_took_the_first(new_line):
    line = new_line()
    big = codec.encode(0x12345, 0, 9, bytes(60_000))
    line.smsc[0].setsockopt(1, 7, 1 << 22)
    stream = memoryview(big * 20 + codec.encode(0x15, 0, 77))
    got = []
    for _ in range(200):
        if stream:
            try:
                stream = stream[line.smsc[0].send(stream) :]
            except BlockingIOError:
                pass
        line.pump.pull()
        assert not line.pump.broken
        if line.pump.full or not stream:
            got += line.pump.take_off()
        if len(got) == 20 and not stream:
            break
    assert got == [big] * 20
    line.pump.pull()
    assert line.pdus() == [codec.encode(0x80000015, 0, 77)]


def test_a_receipt_that_python_read_settles_as_any_other(new_line):
    line = new_line()
    accepted(line, "7")
    line.book.receipt(b"7", 5, 3, NUMBER)
    line.book.receipt(b"7", 0, 3, NUMBER)
    line.book.receipt(b"8", 4, 0, NUMBER)
    assert receipts(line) == [(0, 0, 5, 3)]
    assert (line.book.n_held, line.book.receipts_not_final) == (1, 1)


def test_of_two_ids_that_python_read_the_one_that_is_known_counts(new_line):
    line = new_line()
    accepted(line, "2faf0800", 0)
    accepted(line, "9", 1)
    line.book.receipt(b"800000000", 4, 0, NUMBER, b"2FAF0800")
    line.book.receipt(b"9", 5, 0, NUMBER, b"2faf0800")
    assert receipts(line) == [(0, 0, 4, 0), (1, 0, 5, 0)]
    line.book.receipt(b"x", 4, 0, NUMBER, b"y")
    assert line.book.n_held == 1


words = st.sampled_from(
    ["DELIVRD", "EXPIRED", "UNDELIV", "REJECTD", "FAILED", "UNKNOWN", "ENROUTE", "delivrd", "Failed", "XYZ", ""]
)
lines = st.builds(
    "{}{}{} stat:{}{}{}".format,
    st.sampled_from(["id:", "id:", "id:", "ID:", " id:", ""]),
    st.text("0123456789abcDEF-", max_size=12),
    st.sampled_from([" sub:001 dlvrd:001", "", " submit date:2609211413 done date:2609211413", " text:stat:EXPIRED"]),
    words,
    st.sampled_from([" err:000", " err:012", " err:21b", " err:1234", "", " err:9"]),
    st.sampled_from(["", " text:hello", " text: stat:DELIVRD err:999", " Text:x\0\0"]),
)


@settings(deadline=None, max_examples=1_000)
@given(
    text=lines | st.text(st.characters(max_codepoint=255), max_size=60),
    tlvs=st.fixed_dictionaries(
        {}, optional={ID_TLV: st.binary(max_size=10), STATE_TLV: st.binary(max_size=2), 0x0423: st.binary(max_size=3)}
    ),
    source=st.sampled_from(["4915100000001", "+4915100000001", "SHOP", "", "999999999999999999"]),
    esm_class=st.sampled_from([0x04, 0x04, 0x05, 0x20, 0x00, 0x44]),
)
def test_the_fast_path_reads_a_receipt_as_the_parser_does(text, tlvs, source, esm_class):
    """What the kernel settles itself, it settles as outcomes/receipt_text.py would have."""
    message = Message(
        source_addr=source,
        destination_addr="SHOP",
        esm_class=esm_class,
        short_message=text.encode("latin-1"),
        tlvs=tlvs,
    )
    with Line(binds=1) as line:
        if line.give(codec.encode_message(5, 1, message)) & OFF_PATH:
            return
        said = read_receipt(
            Delivered(
                source_addr=source,
                destination_addr="SHOP",
                esm_class=esm_class,
                octets=message.short_message,
                tlvs=tlvs,
            )
        )
        assert said is not None and esm_class & 0x3C == 4
        line.commit()
        if said.state is None:
            assert line.log == []
        else:
            _, _, number, _, state, err, message_id, *_ = line.log[0]
            assert (message_id, State(state), err) == (said.message_id, said.state, said.err)
            assert number == (said.subscriber if source.lstrip("+").isdigit() else 0)
