"""Frames of the control socket: 4-octet big-endian length, then one msgpack map. Both sides use it.

Touches: the octets it is given; no socket, no loop. Rests on: lengths being a promise of the peer, so
nothing is allocated by them; a frame over the limit is final, as where the next one begins is then unknown.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgpack

from dispatcher.errors import CommandRefused, PeerBrokeProtocol

FRAME_OCTETS_MAX = 64 << 20  # a slice of an import is the greatest thing that travels; the parser makes 4 MiB ones
_LENGTH = struct.Struct(">I")


def frame(message: Mapping[str, Any], octets_max: int = FRAME_OCTETS_MAX) -> bytes:
    """One frame. Raises CommandRefused (413) when it is greater than the other side would take."""
    body = bytes(msgpack.packb(message, use_bin_type=True))
    if len(body) > octets_max:
        raise CommandRefused(413, "frame_too_great", f"{len(body):,} octets; the control socket takes {octets_max:,}")
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream into messages, however its octets arrive. One for each connection and direction."""

    __slots__ = ("_buffer", "octets_max")

    def __init__(self, octets_max: int = FRAME_OCTETS_MAX) -> None:
        self.octets_max = octets_max
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<Frames {len(self._buffer)} octets of the next one>"

    def receive(self, data: bytes | bytearray | memoryview) -> list[dict[str, Any]]:
        """The messages that `data` completes, oldest first. Raises PeerBrokeProtocol (final)."""
        self._buffer += data
        messages = []
        at, end = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while end - at >= _LENGTH.size:
                (octets,) = _LENGTH.unpack_from(view, at)
                if octets > self.octets_max:
                    raise PeerBrokeProtocol(f"a control frame of {octets:,} octets; at most {self.octets_max:,}")
                if end - at - _LENGTH.size < octets:
                    break
                at += _LENGTH.size
                messages.append(_message(view[at : at + octets]))
                at += octets
        del self._buffer[:at]
        return messages

    @property
    def between(self) -> bool:
        """Whether the stream may end here: no frame is half received."""
        return not self._buffer


def _message(octets: memoryview) -> dict[str, Any]:
    try:
        with octets:
            message = msgpack.unpackb(octets, raw=False, strict_map_key=False)
    except (ValueError, TypeError) as exc:  # msgpack's own errors are ValueErrors; TypeError: a map as a key
        raise PeerBrokeProtocol(f"a control frame that is not msgpack: {exc}") from exc
    if not isinstance(message, dict):
        raise PeerBrokeProtocol(f"a control frame holds a map, not {type(message).__name__}")
    return message
