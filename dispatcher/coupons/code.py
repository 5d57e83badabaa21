"""A member's code in a coupon pool and back. The names others import.

Touches: nothing. Rests on: code.h for the kernel, tests/reference/coupons.py for the meaning; SipHash (Aumasson and
Bernstein, 2012); Crockford's base 32, which has no I, L, O or U.

A code is derived from the member's number under the pool's secret key, so ten million codes take no row, and whoever
has one cannot make another. Of 2**60 texts 2**32 at most are anybody's: a guess hits one of ten million members once in
10**11.
Weak spot: whoever reads the key can make every code of the pool; it lies in the store and is never shown.
"""

from __future__ import annotations

import unicodedata

try:
    from dispatcher.coupons import _code as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel coupons/_code is not built: run `make build`") from exc

CODE_CHARACTERS: int = kernel.CHARACTERS
KEY_OCTETS: int = kernel.KEY_OCTETS
ALPHABET: str = kernel.ALPHABET

_MISREAD = str.maketrans("OIL", "011", "- ")
_VALUES = str.maketrans({character: value for value, character in enumerate(ALPHABET)})


def code_of(key: bytes, member_no: int) -> str:
    """The code of a member under a pool's key. Raises ValueError unless the key has KEY_OCTETS, OverflowError for what
    is no member_no."""
    return kernel.code_of(key, member_no)


def member_of(key: bytes, code: str) -> int | None:
    """member_no of a code as somebody typed it; None: no member's under this key. That the member lives is not said."""
    read = normal(code)
    return None if read is None else kernel.member_of(key, read.translate(_VALUES).encode("latin-1"))


def normal(code: str) -> str | None:
    """What was typed, as codes are written: upper case, no hyphens and spaces, O read as 0, I and L as 1, full-width
    forms as their plain ones. None: not a code."""
    read = unicodedata.normalize("NFKC", code).upper().translate(_MISREAD)
    return read if len(read) == CODE_CHARACTERS and not set(read) - set(ALPHABET) else None
