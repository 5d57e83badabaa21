"""Characters that look like GSM 7-bit ones, made into them where the writer wishes it; one sees what becomes what.

Touches: nothing. Rests on: the table of SMPP_FACTS 11; Unicode decompositions for Latin letters with marks. Digits
are in the alphabet and stay; web addresses stay as they are, whatever is in them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from dispatcher.text.alphabet import GSM7, normalise

_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_OPEN = re.compile(r"(?:https?://|www\.)\Z", re.IGNORECASE)
_BEGUN = "https://x"
_BELOW = 0x2300  # nothing above it but U+FEFF has a stand-in

TABLE: dict[str, str] = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`´", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033«»", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\t", " "),
    **dict.fromkeys("\u200b\u2060\ufeff\u00ad", ""),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True)),
    **dict(zip("ıłŁđĐħĦŧŦŋŊ", "ilLdDhHtTnN", strict=True)),
    "\u2026": "...",
    "\u2022": "*",
    "œ": "oe",
    "Œ": "OE",
    "ĳ": "ij",
    "Ĳ": "IJ",
    "þ": "th",
    "Þ": "Th",
    "ð": "d",
    "Ð": "D",
    "ẞ": "SS",
    "\u2039": "<",
    "\u203a": ">",
    "×": "x",
    "™": "TM",
    "©": "(c)",
    "®": "(R)",
}


@dataclass(frozen=True, slots=True)
class Change:
    character: str
    becomes: str
    count: int


def replacement(character: str) -> str:
    """What stands in for one character; itself when it is in the alphabet or nothing does."""
    if character in GSM7:
        return character
    if character in TABLE:
        return TABLE[character]
    plain = unicodedata.normalize("NFD", character)[0]
    return plain if plain != character and plain.isascii() and plain.isalpha() else character


@lru_cache(1)
def look_alikes() -> dict[str, str]:
    """Every character that something stands in for, and what: the table of the kernels."""
    codes = (*range(0x80, _BELOW), 0xFEFF)
    table = {chr(code): replacement(chr(code)) for code in (ord("\t"), ord("`"), *codes)}
    return {character: text for character, text in table.items() if text != character}


def transliterate(text: str, in_address: bool = False) -> str:
    """`text` in NFC with stand-ins, but for its web addresses; `in_address`: it goes on with one."""
    begun = _BEGUN if in_address else ""
    return "".join(map(_shown, _pieces(begun + normalise(text))))[len(begun) :]


def has_address(value: str) -> bool:
    """Whether a member's value holds a web address; it then stays as it is, all of it."""
    return "://" in value or "www." in value.lower()


def ends_in_address(text: str, in_address: bool = False) -> bool:
    """Whether what follows `text` would go on with a web address."""
    last = (_BEGUN if in_address else "") + text
    return any(address.end() == len(last) for address in _ADDRESS.finditer(last)) or _OPEN.search(last) is not None


def changes(text: str) -> list[Change]:
    """Which characters `transliterate` would replace, in the order they come."""
    counts: dict[str, int] = {}
    for piece, is_address in _pieces(normalise(text)):
        for character in () if is_address else piece:
            if replacement(character) != character:
                counts[character] = counts.get(character, 0) + 1
    return [Change(character, replacement(character), count) for character, count in counts.items()]


def _shown(piece: tuple[str, bool]) -> str:
    return piece[0] if piece[1] else "".join(map(replacement, piece[0]))


def _pieces(text: str) -> list[tuple[str, bool]]:
    """(piece, whether it is a web address), in order."""
    found: list[tuple[str, bool]] = []
    at = 0
    for address in _ADDRESS.finditer(text):
        found += [(text[at : address.start()], False), (address[0], True)]
        at = address.end()
    return [*found, (text[at:], False)]
