"""PDUs as a capture file that Wireshark opens: each in a TCP segment of a connection that is made up around them.

Touches: nothing; gives octets. Rests on: libpcap's file format (link type 101, raw IP); RFC 791, RFC 9293. Port 2775 is
what Wireshark takes for SMPP. Checksums of TCP are left 0, which it does not look at unless told to.
"""

from __future__ import annotations

import socket
import struct

SMPP_PORT = 2775
OUR_PORT = 40_000
SEGMENT_OCTETS = 60_000
SNAP_OCTETS = 65_535
OURS, THEIRS = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
_IP = struct.Struct(">BBHHHBBH4s4s")
_TCP = struct.Struct(">HHIIBBHHH")
_PACKET = struct.Struct("<IIII")


def file_header() -> bytes:
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP_OCTETS, 101)


class Capture:
    """One connection; numbers its octets as TCP would."""

    def __init__(self) -> None:
        self._next = {True: 1, False: 1}

    def packets(self, at_us: int, sent: bool, octets: bytes) -> bytes:
        """One PDU as records of the file; `at_us` since the epoch."""
        made = b""
        for at in range(0, len(octets), SEGMENT_OCTETS):
            segment = self._segment(sent, octets[at : at + SEGMENT_OCTETS])
            made += _PACKET.pack(at_us // 1_000_000, at_us % 1_000_000, len(segment), len(segment)) + segment
        return made

    def _segment(self, sent: bool, octets: bytes) -> bytes:
        ports = (OUR_PORT, SMPP_PORT) if sent else (SMPP_PORT, OUR_PORT)
        tcp = _TCP.pack(*ports, self._next[sent], self._next[not sent], 5 << 4, 0x18, 65_535, 0, 0)
        self._next[sent] = (self._next[sent] + len(octets)) & 0xFFFFFFFF
        length = _IP.size + _TCP.size + len(octets)
        ends = (OURS, THEIRS) if sent else (THEIRS, OURS)
        head = _IP.pack(0x45, 0, length, 0, 0, 64, 6, 0, *ends)
        return head[:10] + _checksum(head).to_bytes(2) + head[12:] + tcp + octets


def _checksum(head: bytes) -> int:
    whole: int = sum(struct.unpack(">10H", head))
    while whole >> 16:
        whole = (whole & 0xFFFF) + (whole >> 16)
    return ~whole & 0xFFFF
