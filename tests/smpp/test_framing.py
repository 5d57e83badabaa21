"""Framing: however the octets are cut the PDUs are the same; a bad command_length is final."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.smpp import codec
from dispatcher.smpp.consts import COMMAND_LENGTH_MAX
from dispatcher.smpp.framing import BadLength, Framer

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
    with pytest.raises(BadLength) as caught:
        Framer().feed(good + length.to_bytes(4, "big"))
    assert caught.value.pdus == [good] and caught.value.command_length == length


@pytest.mark.parametrize(("octets", "guess"), [(b"HTTP/1.1 400", "HTTP"), (b"\x15\x03\x01\0\2", "TLS")])
def test_a_wrong_port_is_named(octets, guess):
    with pytest.raises(BadLength, match=guess):
        Framer().feed(octets)


@given(octets=st.binary(max_size=300))
def test_any_octets_give_pdus_or_bad_length(octets):
    try:
        pdus = Framer().feed(octets)
    except BadLength as exc:
        pdus = exc.pdus
    assert octets.startswith(b"".join(pdus))
