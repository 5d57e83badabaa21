"""Cut a stream of octets into PDUs. A bad command_length is final: where the next PDU begins is unknown.

Touches: octets. Rests on: SMPP v3.4 issue 1.2, 3.2; the limits and guesses of SMPP_FACTS 1.
"""

from __future__ import annotations

from dispatcher.smpp.consts import COMMAND_LENGTH_MAX, ESME_RINVCMDLEN, HEADER_OCTETS
from dispatcher.smpp.pdu import Remedy, Unparsed

SHOWN_OCTETS = 64  # of a stream that lost its frame


class Framer:
    """Collects what arrives, at most one unfinished PDU of COMMAND_LENGTH_MAX octets; reserves nothing by a promise.

    `lost` says why there are no more PDUs, once there are none: the connection is to be closed.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self.lost: Unparsed | None = None

    def __repr__(self) -> str:
        return f"<Framer {self.lost.reason if self.lost else f'{len(self._rest)} octets waiting'}>"

    @property
    def waiting_octets(self) -> int:
        """Octets of a PDU that has not all arrived."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The PDUs that `data` completes, oldest first; those before a bad length too. Never raises."""
        pdus: list[bytes] = []
        if self.lost is not None:
            return pdus
        octets = self._rest
        octets += data
        at = 0
        while len(octets) - at >= 4:
            length = int.from_bytes(octets[at : at + 4])
            if not HEADER_OCTETS <= length <= COMMAND_LENGTH_MAX:
                self.lost = bad_length(length, bytes(octets[at : at + SHOWN_OCTETS]))
                octets.clear()
                return pdus
            if len(octets) - at < length:
                break
            pdus.append(bytes(octets[at : at + length]))
            at += length
        del octets[:at]
        return pdus


def bad_length(command_length: int, octets: bytes = b"") -> Unparsed:
    """A command_length under 16 or above COMMAND_LENGTH_MAX."""
    reason = f"command_length {command_length}, allowed {HEADER_OCTETS} to {COMMAND_LENGTH_MAX}{_guess(command_length)}"
    return Unparsed(octets, reason, Remedy.CLOSE, ESME_RINVCMDLEN, wrong="command_length")


def _guess(word: int) -> str:
    if word == 0x48545450:  # "HTTP"
        return "; the peer speaks HTTP: wrong port?"
    if word >> 8 in (0x150301, 0x150303):
        return "; the peer sent a TLS alert: this port wants TLS"
    return ""
