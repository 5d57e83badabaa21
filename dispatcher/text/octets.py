"""Texts to short_message octets: the compiled encoder under typed names. Others import only these.

Rests on: text/alphabet.py for the tables, tests/reference/octets.py for the meaning.
"""

from __future__ import annotations

try:
    from dispatcher.text import _octets as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel text/_octets is not built: run `make build`") from exc

Octets = bytes | bytearray | memoryview
MAX_PARTS = 255  # total and number of a part are one octet each in the UDH


def encode(text: str) -> tuple[int, bytes]:
    """(data_coding, octets): GSM 7-bit unpacked when every character is in it, else UCS-2 big-endian.

    NUL, ESC and lone surrogates are sent as spaces. Beyond the BMP a character is a surrogate pair.
    """
    return kernel.encode(text)


def cuts(octets: Octets, ucs2: bool, max_parts: int = MAX_PARTS) -> list[int]:
    """Where each part of an encoded text ends, in octets of the text; [] when that is over `max_parts` parts.

    160 septets or 70 units alone, else 153 or 67 a part, one fewer where a pair would be cut.
    """
    return kernel.cuts(octets, ucs2, max_parts)


def crc32(octets: Octets) -> int:
    """zlib's crc32, as the kernels compute text_hash."""
    return kernel.crc32(octets)
