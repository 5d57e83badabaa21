"""What people take for one character: a letter with its marks, a flag, an emoji joined of several. None is to be cut.

Touches: nothing. Rests on: Unicode annex 29 (extended grapheme clusters), by the general categories of Python's
unicodedata. Weak spots: no Prepend characters, and a consonant behind a virama counts as one of its own.
"""

from __future__ import annotations

import unicodedata

ZWNJ, ZWJ = "\u200c", "\u200d"
_MARKS = ("Mn", "Me", "Mc")
_SARA_AM = "\u0e33\u0eb3"  # Thai and Lao: spacing, yet part of the syllable before
_L, _V, _T = (
    ((0x1100, 0x115F), (0xA960, 0xA97C)),
    ((0x1160, 0x11A7), (0xD7B0, 0xD7C6)),
    ((0x11A8, 0x11FF), (0xD7CB, 0xD7FB)),
)


def graphemes(text: str) -> list[str]:
    """`text` in order, in pieces that should stay in one part."""
    if text.isascii() and "\r\n" not in text:
        return list(text)
    found: list[str] = []
    flags = 0  # regional indicators in the piece: two are a flag
    for character in text:
        is_flag = "\U0001f1e6" <= character <= "\U0001f1ff"
        if found and (_joins(found[-1], character) or (is_flag and flags == 1)):
            found[-1] += character
            flags = 2 if is_flag else flags
        else:
            found.append(character)
            flags = 1 if is_flag else 0
    return found


def _joins(before: str, character: str) -> bool:
    """Whether `character` belongs to the piece `before` it, flags apart."""
    if character == "\n":
        return before == "\r"
    if before in ("\r", "\n"):
        return False
    if character in _SARA_AM or character in (ZWJ, ZWNJ) or unicodedata.category(character) in _MARKS:
        return True
    if "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f":
        return True  # skin colours, tags of sub-national flags
    if before[-1] == ZWJ:
        return unicodedata.category(character) == "So"
    return _hangul(before[-1], character)


def _hangul(before: str, character: str) -> bool:
    """Jamo that are written as one syllable."""
    syllable = 0xAC00 <= ord(before) <= 0xD7A3
    if _within(before, _L):
        return _within(character, _L) or _within(character, _V) or 0xAC00 <= ord(character) <= 0xD7A3
    if _within(before, _V) or (syllable and (ord(before) - 0xAC00) % 28 == 0):
        return _within(character, _V) or _within(character, _T)
    return (syllable or _within(before, _T)) and _within(character, _T)


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)
