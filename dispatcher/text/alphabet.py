"""The two alphabets of a short message, drawn out, and which characters a text may hold at all.

Touches: nothing.
Rests on: 3GPP TS 23.038 6.2.1 (default alphabet) and 6.2.1.1 (extension table); SMPP 3.4 5.2.19 (data_coding).
Carried unpacked, one septet an octet, as data_coding 0 asks; 0x1B comes only as the first half of a pair.
"""

from __future__ import annotations

import unicodedata

DATA_CODING_GSM7 = 0x00
DATA_CODING_UCS2 = 0x08
ESC = 0x1B

# row = high nibble, column = low nibble; \x1b holds the place of the escape
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
EXTENSION = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F,
    "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65,
}  # fmt: skip

# character -> its octets: the one table from which the kernels' tables are made
GSM7: dict[str, bytes] = {c: bytes([i]) for i, c in enumerate(BASIC) if i != ESC} | {
    c: bytes([ESC, i]) for c, i in EXTENSION.items()
}


def is_forbidden(character: str) -> bool:
    """NUL, ESC and lone surrogates: never sent (SMPP_FACTS 11)."""
    return character in "\0\x1b" or "\ud800" <= character <= "\udfff"


def clean(text: str) -> str:
    """`text` with a space for each character that may not be sent."""
    return "".join(" " if is_forbidden(c) else c for c in text)


def normalise(text: str) -> str:
    """NFC, so that e + U+0301 is the é of the default alphabet. For save and import; encoding does none."""
    return unicodedata.normalize("NFC", text)


def outside_gsm7(text: str) -> list[str]:
    """The characters that force `text` into UCS-2, each once, in order."""
    return [c for c in dict.fromkeys(clean(text)) if c not in GSM7]
