"""Cut a stream of octets into PDUs. A bad command_length is final: where the next PDU begins is unknown.

Touches: octets. Rests on: SMPP v3.4 issue 1.2, 3.2; the limits and guesses of SMPP_FACTS 1.
"""

from __future__ import annotations

from dispatcher.errors import PeerBrokeProtocol
from dispatcher.smpp.consts import COMMAND_LENGTH_MAX, HEADER_OCTETS


class Framer:
    """Collects what arrives; holds at most one unfinished PDU of COMMAND_LENGTH_MAX octets."""

    def __init__(self) -> None:
        self._rest = b""

    def __repr__(self) -> str:
        return f"<Framer {len(self._rest)} octets waiting>"

    @property
    def waiting_octets(self) -> int:
        """Octets of a PDU that has not all arrived."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The PDUs that `data` completes, oldest first. Raises PeerBrokeProtocol; PDUs before the bad one are in
        the exception's `pdus`."""
        octets = self._rest + data
        pdus: list[bytes] = []
        at = 0
        while len(octets) - at >= 4:
            length = int.from_bytes(octets[at : at + 4], "big")
            if not HEADER_OCTETS <= length <= COMMAND_LENGTH_MAX:
                self._rest = b""
                raise BadLength(length, pdus)
            if len(octets) - at < length:
                break
            pdus.append(octets[at : at + length])
            at += length
        self._rest = octets[at:]
        return pdus


class BadLength(PeerBrokeProtocol):
    """A command_length under 16 or above COMMAND_LENGTH_MAX."""

    def __init__(self, command_length: int, pdus: list[bytes]) -> None:
        super().__init__(
            f"command_length {command_length}, allowed {HEADER_OCTETS} to {COMMAND_LENGTH_MAX}{_guess(command_length)}"
        )
        self.command_length = command_length
        self.pdus = pdus


def _guess(word: int) -> str:
    if word == 0x48545450:  # "HTTP"
        return "; the peer speaks HTTP: wrong port?"
    if word >> 8 == 0x150301 or word >> 8 == 0x150303:
        return "; the peer sent a TLS alert: this port wants TLS"
    return ""
