"""A body that is gzip or zstd to the octets inside, in bounded memory.

Touches: the reader below it. Members (RFC 1952) and frames (RFC 8878) may follow each other; zero octets
after the last gzip member are padding, as gzip has it. A stream that is cut short, damaged, or followed
by anything else ends the import: what such a file would have said is unknown.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from dispatcher.members.parse_body import BodyBroken, Reader

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
COMPRESSIONS = ("none", "gzip", "zstd")
# A list of members packs 3 to 20 times, one row repeated some 200 times by gzip; its own limit is 1,032. Beyond
# BOMB_OCTETS a body may be at most BOMB_RATIO times as large as it came. Memory is bounded either way.
BOMB_OCTETS, BOMB_RATIO = 1 << 30, 200
_READ, _PIECE = 1 << 16, 1 << 20
_ZSTD_STEP = 512  # at most 128 blocks of 4 octets, 128 KiB each: the library has no bound of its own
_ZSTD_WINDOW = 1 << 27  # what `zstd --long` makes, and its default limit for reading


class Unpacked:
    """The octets inside. `packed` counts what was read below, `unpacked` what was given."""

    def __init__(self, reader: Reader, compression: str) -> None:
        self.compression = compression
        self.packed = self.unpacked = 0
        self._reader = reader
        self._pieces = _gunzip(self) if compression == "gzip" else _unzstd(self)
        self._piece = memoryview(b"")
        self._room = memoryview(bytearray(_READ))

    def readinto(self, into: memoryview) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
            self.unpacked += len(piece)
            if self.unpacked > BOMB_OCTETS and self.unpacked > BOMB_RATIO * self.packed:
                limit = f"{BOMB_RATIO} times beyond {BOMB_OCTETS >> 20} MiB"
                raise BodyBroken(f"{self.compression}: unpacks to more than {limit}", "unpacks_too_much")
        count = min(len(into), len(self._piece))
        into[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def more(self) -> bytes:
        """Some packed octets; b"" at the end."""
        count = self._reader.readinto(self._room)
        self.packed += count
        return bytes(self._room[:count])

    def broken(self, why: str) -> BodyBroken:
        where = f"near octet {self.packed} of the body, {self.unpacked} unpacked"
        return BodyBroken(f"{self.compression}: {why} {where}", "broken_compression")


def _gunzip(of: Unpacked) -> Iterator[bytes]:
    packed = of.more()
    while packed:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not packed:
                packed = of.more()
                if not packed:
                    raise of.broken("the stream is cut short")
            try:
                piece = member.decompress(packed, _PIECE)
            except zlib.error:
                raise of.broken("the stream is damaged") from None
            packed = member.unconsumed_tail
            if piece:
                yield piece
        packed = member.unused_data or of.more()
        while packed and not (packed := packed.lstrip(b"\0")):
            packed = of.more()


def _unzstd(of: Unpacked) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    packed, at, pieces, octets = of.more(), 0, list[bytes](), 0
    while packed:
        frame = unpacker.decompressobj(write_size=1 << 15)
        while not frame.eof:
            if at >= len(packed):
                packed, at = of.more(), 0
                if not packed:
                    raise of.broken("the stream is cut short")
            try:
                pieces.append(frame.decompress(packed[at : at + _ZSTD_STEP]))
            except zstandard.ZstdError:
                raise of.broken("the stream is damaged, or needs a window over 128 MiB") from None
            at += _ZSTD_STEP
            octets += len(pieces[-1])
            if octets >= _PIECE or at >= len(packed):
                yield b"".join(pieces)
                pieces, octets = [], 0
        packed, at = packed[min(at, len(packed)) - len(frame.unused_data) :], 0
        if not packed:
            yield b"".join(pieces)
            packed, pieces, octets = of.more(), [], 0
    yield b"".join(pieces)
