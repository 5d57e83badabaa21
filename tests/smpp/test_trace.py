"""A trace: found in the middle of a stream, masked, of one number; and as a capture that Wireshark reads."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId, Tag
from dispatcher.smpp.pcap import Capture, file_header
from dispatcher.smpp.pdu import Bind, Message
from dispatcher.smpp.trace import (
    LOOKERS_MAX,
    SHOWN_MAX,
    WAITING_MAX,
    Chunk,
    Crossed,
    Stream,
    TooManyLook,
    Trace,
    Traces,
    masked,
)
from dispatcher.text.coding import Coding, encoder
from tests.smpp.line import receipt, response
from tests.smpp.pools import Rig, with_pool

NUMBER, OTHER = "4915112345678", "4915187654321"


def submit(sequence: int, number: str = NUMBER, text: bytes = b"secret words", **more) -> bytes:
    message = Message(source_addr="SHOP", destination_addr=number, short_message=text, **more)
    return codec.encode_message(CommandId.SUBMIT_SM, sequence, message)


def fed(trace: Trace, chunks: list[Chunk], lost: int = 0) -> list[Crossed]:
    trace.offer(chunks, lost)
    return trace.take()


STREAM = [submit(1), response(1, 0, "id1"), codec.encode(CommandId.ENQUIRE_LINK, 0, 2), submit(3, OTHER), submit(4)]


@pytest.mark.parametrize("cut", [0, 1, 7, 15, 16, 40, len(STREAM[0]) - 1, len(STREAM[0])])
@pytest.mark.parametrize("step", [1, 5, 33, 1_000])
def test_a_stream_is_found_wherever_the_trace_begins(cut, step):
    octets, stream, found = b"".join(STREAM)[cut:], Stream(), []
    for at in range(0, len(octets), step):
        found += stream.feed(octets[at : at + step])
    assert found == STREAM[1 if cut else 0 :]


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_octets_are_no_error(chunks):
    trace = Trace("49")
    for chunk in chunks:
        for crossed in fed(trace, [(1, False, chunk)]):
            masked(crossed.octets)


@given(st.binary(min_size=16, max_size=120))
def test_masking_never_changes_a_length_or_a_header(octets):
    assert len(masked(octets)) == len(octets) and masked(octets)[:16] == octets[:16]


def test_numbers_texts_and_passwords_are_masked_and_the_rest_is_not():
    shown = masked(submit(7))
    assert b"secret" not in shown and NUMBER.encode() not in shown and b"**********678\0" in shown and b"SHOP" in shown
    assert codec.decode_message(shown).destination_addr == "**********678"
    payload = masked(submit(8, text=b"", tlvs={Tag.MESSAGE_PAYLOAD: b"long secret"}))
    assert b"secret" not in payload and codec.decode_message(payload).tlvs[Tag.MESSAGE_PAYLOAD] == b"*" * 11
    told = masked(receipt("abc123", number=int(NUMBER)))
    assert b"id:abc123" in told and b"stat:DELIVRD" in told and b"hello" not in told and NUMBER.encode() not in told
    bind = codec.encode_bind(CommandId.BIND_TRANSCEIVER, 1, Bind(system_id="me", password="hush"))
    assert b"hush" not in masked(bind) and b"me\0" not in masked(bind)[16:]
    unread = codec.encode(CommandId.SUBMIT_SM, 0, 9, b"\xff" * 30)
    assert masked(unread) == unread[:16] + b"*" * 30


@pytest.mark.parametrize(
    "octets",
    [
        b"id:7 stat:DELIVRD TEXT: secret",
        b"id:7 stat:DELIVRD Text:secret",
        "id:7 stat:DELIVRD text:secret".encode("utf-16-be"),
        encoder(Coding(default_alphabet="gsm_packed")).kernel.body(0, b"id:7 stat:DELIVRD text:secret"),
    ],
)
def test_the_text_of_a_receipt_is_masked_however_it_is_written(octets):
    told = codec.encode_message(CommandId.DELIVER_SM, 1, Message(esm_class=4, short_message=octets))
    shown = codec.decode_message(masked(told)).short_message
    assert b"secret" not in shown and b"s\0e\0c" not in shown and shown.endswith(b"******")
    assert shown.startswith(b"id:7 stat:DELIVRD") or set(shown) == set(b"*"), (
        "all of it, where its labels cannot be seen"
    )


def test_a_trace_of_one_number_has_its_requests_their_answers_and_nothing_else():
    trace = Trace("+" + NUMBER, reveal=True)
    sent = [submit(1), submit(2, OTHER), submit(3, text=NUMBER.encode()), submit(4, OTHER, NUMBER.encode())]
    came = [response(4), response(2), response(3, 0x14), response(1, 0, "x"), receipt("x", number=int(NUMBER))]
    crossed = fed(trace, [(5, True, b"".join(sent)), (6, False, b"".join(came))])
    assert [each.octets for each in crossed] == [sent[0], sent[2], came[2], came[3], came[4]]
    assert [each.at_ns for each in crossed] == [5, 5, 6, 6, 6]


def test_what_was_lost_is_told_and_the_stream_found_again():
    trace = Trace(reveal=True)
    first, last = submit(1), submit(9)
    assert [each.octets for each in fed(trace, [(1, True, first + last[:20])], 700)] == [first]
    assert trace.lost_octets == 700
    assert [each.octets for each in fed(trace, [(2, True, submit(5)[30:] + last)])] == [last]


def test_who_looks_seldom_keeps_the_newest_is_told_of_the_rest_and_finds_the_stream_again():
    trace, pdu = Trace(reveal=True), submit(1)
    many = WAITING_MAX // len(pdu)
    for sequence in range(many + 50):
        trace.offer([(sequence, True, submit(sequence))], 0)
    assert trace.lost_octets >= 50 * len(pdu)
    seen = []
    while crossed := trace.take():
        assert len(crossed) <= SHOWN_MAX
        seen += crossed
    assert [each.at_ns for each in seen] == list(range(many + 50 - len(seen), many + 50))
    assert sum(len(each.octets) for each in seen) + trace.lost_octets == (many + 50) * len(pdu)


def test_each_who_looks_is_shown_all_by_their_own_wishes():
    traces, now_ns = Traces(), 1_000_000_000
    ann, bob = traces.of("ann", "", True, now_ns), traces.of("bob", NUMBER, False, now_ns)
    for trace in traces:
        trace.offer([(1, True, submit(1) + submit(2, OTHER))], 0)
    assert traces.of("ann", "", True, now_ns) is ann and [each.octets for each in ann.take()] == [
        submit(1),
        submit(2, OTHER),
    ]
    assert [each.octets for each in bob.take()] == [masked(submit(1))]
    assert traces.of("bob", OTHER, False, now_ns) is not bob, "asked for otherwise it begins anew"
    traces.of("ann", "", True, now_ns + 4_000_000_000)
    traces.end_old(now_ns + 6_000_000_000)
    assert list(traces) == [ann]


def test_so_many_may_look_and_no_more_until_one_has_ended():
    traces = Traces()
    for who in range(LOOKERS_MAX):
        traces.of(str(who), "", False, 0)
    with pytest.raises(TooManyLook):
        traces.of("one more", "", False, 1)
    assert traces.of("0", "", False, 6_000_000_000) is not None
    traces.end_old(6_000_000_000)
    assert len(traces) == 1 and traces.of("one more", "", False, 6_000_000_000)


def test_a_capture_is_read_by_wireshark_or_at_least_adds_up(tmp_path):
    capture = Capture()
    records = [capture.packets(1_790_000_000_123_456, number % 2 == 0, pdu) for number, pdu in enumerate(STREAM)]
    octets = file_header() + b"".join(records)
    at = 24
    for pdu in STREAM:
        seconds, micros, kept, whole = struct.unpack_from("<IIII", octets, at)
        assert (seconds, micros, kept, whole) == (1_790_000_000, 123_456, 40 + len(pdu), 40 + len(pdu))
        words = struct.unpack_from(">10H", octets, at + 16)
        assert sum(words) % 0xFFFF == 0 and octets[at + 56 : at + 16 + kept] == pdu
        at += 16 + kept
    assert at == len(octets)
    if shutil.which("tshark"):
        file = tmp_path / "a.pcap"
        file.write_bytes(octets)
        shown = subprocess.run(["tshark", "-r", file], check=True, capture_output=True, text=True).stdout
        assert shown.count("SMPP") == len(STREAM)


def test_a_live_bind_is_traced_while_somebody_looks_and_not_after():
    async def test(rig: Rig) -> None:
        await rig.bound()
        bind = rig.bind()
        assert bind.look("ann") == bind.look("bob") == ([], 0)
        await rig.send(5)
        crossed, _ = bind.look("ann")
        assert bind.look("bob") == (crossed, 0), "each sees all of it"
        names = [codec.decode_header(each.octets).command_id for each in crossed if each.sent]
        assert names.count(CommandId.SUBMIT_SM) == 5
        assert len([each for each in crossed if not each.sent]) >= 5
        bind.end_traces(time.monotonic_ns() + 6_000_000_000)
        assert not bind.traces and bind.pump is not None
        await rig.send(5)
        assert bind.pump.take_trace() == ([], 0)
        bind.look("ann")
        await rig.send(2)
        rig.smsc.close_all()
        await rig.until(lambda: bind.binds == 2 and bind.pump is not None)
        await rig.send(3)
        crossed, _ = bind.look("ann")
        submits = [each for each in crossed if codec.decode_header(each.octets).command_id == CommandId.SUBMIT_SM]
        assert len(submits) == 5, "what crossed before the end, and over the new connection"

    with_pool(test, endpoint={"binds": 1})


def test_the_mirror_is_bounded_and_tells_what_it_could_not_keep():
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.bind().look("ann")
        for _ in range(4):
            await rig.send(3_000)
        crossed, lost_octets = rig.bind().look("ann")
        assert len(crossed) == SHOWN_MAX and lost_octets > 100_000
        assert len(rig.bind().look("ann")[0]) == SHOWN_MAX, "what is behind them is of the next look"

    with_pool(test, endpoint={"binds": 1, "window": 1_000})
