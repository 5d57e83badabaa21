"""Whatever octets a peer sends: the same events however they are cut, BROKEN where the frame is lost, never a crash."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.smpp import codec
from dispatcher.smpp.pump import BROKEN, CLOSED, OFF_PATH
from tests.smpp.line import Line, Text, receipt, response


def conversation() -> bytes:
    """What an SMSC may send to ten submits with sequence numbers 2 to 11."""
    return b"".join(
        (
            response(3, 0, "m3"), receipt("m3"), receipt("m2"), response(2, 0, "m2"), codec.encode(0x15, 0, 9), response(4, 0x58),
            receipt("m3", "EXPIRED"), codec.generic_nack(5, 0x0B), receipt("zz", esm_class=0), response(6, 0x08),
            receipt("m7", "UNDELIV", tlvs={0x1E: b"m7\0", 0x0427: b"\5"}), codec.encode(0x80000004, 0, 7, b"m7"),
            codec.encode(0x80000004, 0, 8), codec.encode(0x103, 0, 5, b"data"), response(99, 0, "nobody"), codec.encode(6, 0, 12),
        )
    )  # fmt: skip


def heard(line: Line) -> tuple[object, ...]:
    """Everything that the octets made of a line."""
    off = line.pump.take_off()
    line.commit()
    log = [r if r[0] == "claim" else r[:7] for r in line.log if r[0] != "claim"]
    book, pump = line.book, line.pump
    return (
        log, off, line.pdus(), book.take_returned(), book.receipts, book.receipts_repeated, book.strange_responses, book.n_held,
        book.open_parts, pump.in_flight, pump.delivers, pump.responses, pump.enquire_links, pump.broken, pump.octets_in,
    )  # fmt: skip


def told(pieces: list[bytes]) -> tuple[object, ...]:
    with Line(window=20) as line:
        line.book.retry_ns = 0
        assert len(line.send(*range(10))) == 10
        for piece in pieces:
            line.give(piece)
        return heard(line)


def test_a_pdu_cut_at_every_octet_gives_the_same_events():
    stream = conversation()
    whole = told([stream])
    assert len(whole[0]) == 12 and len(whole[1]) == 4
    assert told([bytes((octet,)) for octet in stream]) == whole
    for at in range(1, len(stream)):
        assert told([stream[:at], stream[at:]]) == whole


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=1))
def test_pieces_of_any_size_give_the_same_events(sizes):
    stream, pieces, at = conversation(), [], 0
    while at < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[at : at + size])
        at += size
    assert told(pieces) == told([stream])


@pytest.mark.parametrize(
    "length", [0, 1, 15, 65 * 1024 + 1, 0x48545450, 0x15030100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
)
def test_a_wrong_command_length_breaks_the_bind_after_what_came_before(new_line, length):
    line = new_line()
    submits = line.send(0, 1)
    flags = line.give(response(submits[0].sequence, 0, "a") + length.to_bytes(4, "big") + bytes(200))
    assert flags & BROKEN and line.pump.broken
    assert line.pump.in_flight == 1
    for _ in range(5):
        assert line.give(bytes(50_000)) & BROKEN
    line.pump.close()
    line.commit()
    assert line.book.open_parts == 0


def test_the_longest_pdu_is_taken_and_waits_whole(new_line):
    line = new_line()
    pdu = codec.encode(0x12345, 0, 9, bytes(65 * 1024 - 16))
    for at in range(0, len(pdu), 10_000):
        line.give(pdu[at : at + 10_000])
    assert line.pump.take_off() == [pdu]


def test_a_peer_that_closes_in_the_middle_of_a_pdu_is_closed(new_line):
    line = new_line()
    (submit,) = line.send(0)
    line.give(response(submit.sequence, 0, "a")[:-3])
    line.smsc[0].close()
    assert line.pump.pull() & CLOSED
    line.pump.close()
    line.commit()
    assert [r[0] for r in line.log][-1] == 6


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=2_000))
def test_random_octets_break_the_bind_or_wait(octets):
    with Line(window=20) as line:
        line.send(*range(10))
        flags = line.give(octets)
        line.pump.take_off()
        assert flags & BROKEN or len(octets) < 66_560
        line.pump.close()
        line.commit()
        assert line.book.open_parts == 0


edit = st.tuples(st.integers(0, 4_000), st.integers(0, 255), st.sampled_from(["set", "cut", "put", "length"]))


@settings(deadline=None, max_examples=300)
@given(edits=st.lists(edit, min_size=1, max_size=12), seed=st.integers(0, 1 << 20))
def test_mutations_of_a_good_conversation_keep_every_account(edits, seed):
    stream = bytearray(conversation() * 3)
    for at, octet, what in edits:
        at %= len(stream)
        if what == "set":
            stream[at] = octet
        elif what == "cut":
            del stream[at : at + octet % 9]
        elif what == "put":
            stream[at:at] = bytes((octet,)) * (octet % 5)
        else:
            stream[at : at + 4] = (octet * 3).to_bytes(4, "big")
        if not stream:
            return
    draw = random.Random(seed)
    with Line(window=20) as line:
        line.book.retry_ns = 0
        line.send(*(Text(rank, (b"a", b"b")) for rank in range(10)))
        at, flags = 0, 0
        while at < len(stream) and not flags & BROKEN:
            size = draw.randint(1, 400)
            flags = line.give(bytes(stream[at : at + size]))
            at += size
            if flags & OFF_PATH:
                assert all(int.from_bytes(pdu[:4], "big") == len(pdu) for pdu in line.pump.take_off())
            if draw.random() < 0.1:
                line.commit()
                line.submits()
        assert 0 <= line.pump.in_flight <= 20
        line.pump.close()
        line.commit()
        returned = line.book.take_returned()
        assert line.book.open_parts == line.book.queued(0) and len(returned) <= 20
        assert line.book.made_total == 20
