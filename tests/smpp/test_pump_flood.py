"""A flood of messages from phones: the pump refuses what is more than Python can be given, never what might opt out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.outcomes.flood import first_words, may_opt_out
from dispatcher.records.events import Delivered
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.pump import OFF_PATH, may_be_refused, set_opt_outs
from tests.smpp.line import Line, receipt


@pytest.fixture(autouse=True)
def words():
    set_opt_outs(first_words())


def said(text: str | bytes, *, data_coding: int = 0, esm_class: int = 0, sequence: int = 1) -> bytes:
    octets = text if isinstance(text, bytes) else text.encode("utf-16-be" if data_coding == 8 else "latin-1")
    message = Message(
        source_addr="4915100000001", destination_addr="SHOP", esm_class=esm_class, data_coding=data_coding,
        short_message=octets,
    )  # fmt: skip
    return codec.encode_message(CommandId.DELIVER_SM, sequence, message)


@pytest.mark.parametrize(
    ("text", "data_coding", "refused"),
    [
        ("hello", 0, True), ("HELLO, you", 0, True), ("what time is it?", 8, True), ("你好", 8, True), ("thanks", 0, True),
        ("non stop", 0, True), ("1234567890123456789012345", 0, True),
        ("STOP", 0, False), (" stop!", 0, False), ("Stop, thanks", 3, False), ("sToP", 8, False), ("退订", 8, False),
        ("stop 12345", 0, False), ("t", 0, False), ("ｓｔｏｐ", 8, False), ("ärger", 8, False), ("\x1be", 0, False),
        ("", 0, False), ("...", 0, False), ("hello", 4, False), ("\u00a0stop", 8, False), ("unsubscribe", 0, False),
    ],
)  # fmt: skip
def test_what_might_opt_out_is_never_refused_unseen(text, data_coding, refused):
    assert may_be_refused(said(text, data_coding=data_coding)) is refused


def test_receipts_parts_and_what_cannot_be_read_are_left_to_python():
    assert not may_be_refused(receipt("7"))
    assert not may_be_refused(receipt("7", esm_class=0x20))
    assert not may_be_refused(said(b"\5\0\3\1\2\1STOP", esm_class=0x40))
    assert may_be_refused(said(b"\5\0\3\1\2\1hello", esm_class=0x40))
    assert not may_be_refused(said(b"\xffSTOP", esm_class=0x40))
    for cut in range(len(said("hello"))):
        assert not may_be_refused(said("hello")[:cut])


def test_without_words_or_with_one_too_long_nothing_is_refused():
    set_opt_outs([])
    assert not may_be_refused(said("hello"))
    with pytest.raises(ValueError, match="1 to 15"):
        set_opt_outs(["stop", "x" * 16])
    assert not may_be_refused(said("hello"))


PIECES = st.sampled_from(
    [
        *"stoqSTOP \t\r\n.,;:!?'\"()[]",
        "stop",
        "退订",
        "td",
        "unsubscribe",
        "ＳＴＯＰ",
        "\u00a0",
        "ſ",
        "K",
        "\u3000",
        "，",
    ]
)


@settings(max_examples=500)
@given(
    text=st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=12),
    data_coding=st.sampled_from([0, 1, 3, 8, 0x18, 0xF0, 0xF5, 5]),
    udh=st.sampled_from([b"", b"\5\0\3\1\2\1", b"\0"]),
)
def test_whatever_outcomes_would_take_as_an_opt_out_the_pump_never_refuses(text, data_coding, udh):
    wide = data_coding in (8, 0x18)
    octets = udh + text.encode("utf-16-be" if wide else "latin-1", "surrogatepass" if wide else "replace")
    esm_class = 0x40 if udh else 0
    message = Delivered(
        source_addr="1", destination_addr="S", esm_class=esm_class, data_coding=data_coding, octets=octets[:254]
    )
    if may_opt_out(message):
        assert not may_be_refused(said(octets[:254], data_coding=data_coding, esm_class=esm_class))


@given(octets=st.binary(max_size=120))
def test_any_octets_are_looked_at_without_harm(octets):
    may_be_refused(octets)
    may_be_refused((16 + len(octets)).to_bytes(4) + b"\0\0\0\5" + bytes(8) + octets)


def test_past_its_rate_the_rest_is_answered_0x64_and_a_stop_reaches_python():
    with Line() as line:
        flags = line.give(b"".join(said(f"hello {n}", sequence=n) for n in range(3_000)))
        flags |= line.give(said("STOP", sequence=5_000))
        taken = []
        while flags & OFF_PATH:
            taken += line.pump.take_off()
            flags = line.pump.pull()
        taken += line.pump.take_off()
        refused = [pdu for pdu in line.pdus() if pdu[4:8] == b"\x80\0\0\5"]
        line.pump.push()
        refused += [pdu for pdu in line.pdus() if pdu[4:8] == b"\x80\0\0\5"]
    assert {pdu[8:12] for pdu in refused} == {b"\0\0\0\x64"} and {len(pdu) for pdu in refused} == {17}
    numbers = [int.from_bytes(pdu[12:16]) for pdu in taken]
    assert sorted(numbers + [int.from_bytes(pdu[12:16]) for pdu in refused]) == [*range(3_000), 5_000]
    assert 5_000 in numbers and 2_000 <= len(numbers) < 2_500
    assert line.book.mo_refused == len(refused)
