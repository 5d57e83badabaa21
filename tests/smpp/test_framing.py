"""Framing: however the octets are cut the PDUs are the same; a bad command_length is final."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.smpp import codec
from dispatcher.smpp.consts import COMMAND_LENGTH_MAX, ESME_RINVCMDLEN
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Remedy

pdus_in = st.lists(st.binary(max_size=60).map(lambda body: codec.encode(5, 0, 1, body)), max_size=6)


@given(pdus=pdus_in)
def test_a_stream_cut_at_every_octet_gives_the_same_pdus(pdus):
    stream = b"".join(pdus)
    for cut in range(len(stream) + 1):
        framer = Framer()
        assert framer.feed(stream[:cut]) + framer.feed(stream[cut:]) == pdus
        assert framer.waiting_octets == 0


@pytest.mark.parametrize("length", [0, 15, COMMAND_LENGTH_MAX + 1, 0xFFFFFFFF])
def test_a_bad_length_is_final_and_gives_the_pdus_before_it(length):
    good = codec.encode(0x15, 0, 1)
    framer = Framer()
    assert framer.feed(good + length.to_bytes(4, "big")) == [good]
    assert framer.lost is not None and framer.lost.remedy is Remedy.CLOSE and str(length) in framer.lost.reason
    assert codec.answer_to(framer.lost) == codec.generic_nack(0, ESME_RINVCMDLEN)
    assert framer.feed(good) == [] and framer.waiting_octets == 0


@pytest.mark.parametrize(("octets", "guess"), [(b"HTTP/1.1 400", "HTTP"), (b"\x15\x03\x01\0\2", "TLS")])
def test_a_wrong_port_is_named(octets, guess):
    framer = Framer()
    assert framer.feed(octets) == [] and framer.lost is not None and guess in framer.lost.reason


@given(octets=st.binary(max_size=300), cut=st.integers(0, 300))
def test_any_octets_give_pdus_and_perhaps_a_lost_frame(octets, cut):
    framer = Framer()
    pdus = framer.feed(octets[:cut]) + framer.feed(octets[cut:])
    assert octets.startswith(b"".join(pdus))
    assert framer.lost is not None or len(b"".join(pdus)) + framer.waiting_octets == len(octets)


def test_a_promised_length_reserves_nothing_and_one_octet_at_a_time_is_no_more_work():
    framer = Framer()
    tracemalloc.start()
    framer.feed(COMMAND_LENGTH_MAX.to_bytes(4, "big"))
    promised = tracemalloc.get_traced_memory()[1]
    for _ in range(COMMAND_LENGTH_MAX - 5):
        framer.feed(b"x")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert promised < 4096 and most < 128 << 10
    assert len(framer.feed(b"x")) == 1
