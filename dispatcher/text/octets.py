"""Texts to short_message octets: the compiled encoder under typed names.

Rests on: octets.h, tests/reference/coding.py for the meaning.
"""

from __future__ import annotations

try:
    from dispatcher.text import _octets as kernel
    from dispatcher.text._octets import Coder
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel text/_octets is not built: run `make build`") from exc

__all__ = ["MAX_PARTS", "Coder", "Octets", "crc32"]

Octets = bytes | bytearray | memoryview
MAX_PARTS = 255  # total and number of a part are one octet each in the UDH


def crc32(octets: Octets) -> int:
    """zlib's crc32, as the kernels compute text_hash."""
    return kernel.crc32(octets)
