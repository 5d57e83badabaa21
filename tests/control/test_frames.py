import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.control.frames import Frames, frame
from dispatcher.errors import CommandRefused, PeerBrokeProtocol

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
messages = st.lists(st.dictionaries(st.text(max_size=8), values, max_size=4), max_size=5)


@given(sent=messages, data=st.data())
def test_a_stream_cut_anywhere_gives_the_same_messages(sent, data):
    stream = b"".join(frame(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames, received = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += frames.receive(stream[begin:end])
    assert received == sent
    assert frames.between


def test_a_stream_cut_at_every_octet_gives_the_same_messages():
    stream = frame({"id": 1, "command": "status"}) + frame({"id": 2, "ok": True, "reply": {}})
    frames = Frames()
    assert [m["id"] for octet in stream for m in frames.receive(bytes([octet]))] == [1, 2]


@given(garbage=st.binary(max_size=200))
def test_garbage_raises_only_PeerBrokeProtocol(garbage):
    frames = Frames(octets_max=100)
    try:
        frames.receive(garbage)
    except PeerBrokeProtocol:
        return
    assert len(garbage) < 4 or struct.unpack(">I", garbage[:4])[0] <= 100


@pytest.mark.parametrize("body", [b"\xc1", b"\x81\x80\x01", msgpack.packb([1]), b"\x81", b"\x80\x80", b"\xa1\xff", b""])
def test_a_frame_that_is_not_one_map_is_refused(body):
    with pytest.raises(PeerBrokeProtocol):
        Frames().receive(struct.pack(">I", len(body)) + body)


def test_nothing_is_allocated_for_a_length_over_the_limit():
    with pytest.raises(PeerBrokeProtocol, match="4,294,967,295"):
        Frames().receive(b"\xff\xff\xff\xff")


def test_a_frame_greater_than_the_limit_is_not_sent():
    with pytest.raises(CommandRefused) as refused:
        frame({"text": "x" * 200}, octets_max=100)
    assert (refused.value.status, refused.value.code) == (413, "frame_too_great")


def test_the_representation_tells_what_is_waited_for():
    frames = Frames()
    frames.receive(frame({"id": 1})[:-1])
    assert not frames.between
    assert "octets of the next one" in repr(frames)
