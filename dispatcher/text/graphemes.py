"""What people take for one character: a letter with its marks, a flag, an emoji joined of several. None is to be cut.

Touches: nothing. Rests on: Unicode annex 29 (extended grapheme clusters), by the general categories of Python's
unicodedata. The kernels cut by the same classes (octets.h); graphemes() says what they mean.
Weak spots: no Prepend characters, and a consonant behind a virama counts as one of its own.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import chain

# break classes, by the numbers of octets.h
OTHER, EXTEND, ZWJ, SYMBOL, FLAG, CR, LF, L, V, T, LV, LVT = range(12)
_MARKS = ("Mn", "Me", "Mc")
_EXTENDS = (
    *(0x200C, 0x0E33, 0x0EB3),  # ZWNJ; Thai and Lao sara am: spacing, yet part of the syllable before
    *range(0x1F3FB, 0x1F400),  # skin colours
)
_SYLLABLES = range(0xAC00, 0xD7A4)
_JAMO = (
    (L, range(0x1100, 0x1160)), (L, range(0xA960, 0xA97D)), (V, range(0x1160, 0x11A8)), (V, range(0xD7B0, 0xD7C7)),
    (T, range(0x11A8, 0x1200)), (T, range(0xD7CB, 0xD7FC)),
)  # fmt: skip
_FLAGS = range(0x1F1E6, 0x1F200)
_ABOVE = (*range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0))  # tags of sub-national flags, variation selectors
# where marks and symbols are: the rest below BREAKS is ideographs, syllables, surrogates and private
_LOOKED_AT = (
    range(0xA0, 0x3400),
    range(0x4DC0, 0x4E00),
    range(0xA48D, 0xAC00),
    range(0xF900, 0x17000),
    range(0x18D00, 0x20000),
)
BREAKS = 0x20000
_FOLLOWS = {L: (L, V, LV, LVT), V: (V, T), LV: (V, T), T: (T,), LVT: (T,)}


@lru_cache(1)
def break_classes() -> bytes:
    """The class of each character below BREAKS, a syllable of Hangul as OTHER: the kernels know those. 15 ms, once."""
    classes = bytearray(BREAKS)
    for code in chain.from_iterable(_LOOKED_AT):
        category = unicodedata.category(chr(code))
        if category in _MARKS:
            classes[code] = EXTEND
        elif category == "So":
            classes[code] = SYMBOL
    for class_, codes in (*_JAMO, (FLAG, _FLAGS), (EXTEND, _EXTENDS), (ZWJ, (0x200D,)), (CR, (13,)), (LF, (10,))):
        for code in codes:
            classes[code] = class_
    return bytes(classes)


def break_class(character: str) -> int:
    code = ord(character)
    if code in _SYLLABLES:
        return LVT if (code - 0xAC00) % 28 else LV
    if code >= BREAKS:
        return EXTEND if code in _ABOVE else OTHER
    return break_classes()[code]


def graphemes(text: str) -> list[str]:
    """`text` in order, in pieces that should stay in one part."""
    if text.isascii() and "\r\n" not in text:
        return list(text)
    found: list[str] = []
    before, flags = OTHER, 0  # flags: regional indicators in a row; two are a flag
    for character in text:
        after = break_class(character)
        if found and _joins(before, after, flags):
            found[-1] += character
        else:
            found.append(character)
        before, flags = after, flags + 1 if after == FLAG else 0
    return found


def _joins(before: int, after: int, flags: int) -> bool:
    """Whether a character belongs to the one before it, by their classes."""
    if before == CR:
        return after == LF
    if before == LF or after in (CR, LF):
        return False
    if after in (EXTEND, ZWJ):
        return True
    if before == ZWJ:
        return after in (SYMBOL, FLAG)
    if before == FLAG and after == FLAG:
        return flags % 2 == 1
    return after in _FOLLOWS.get(before, ())
