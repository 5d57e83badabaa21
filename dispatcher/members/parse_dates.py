"""A stated date format: what it accepts, and its form for the kernel.

Touches: nothing. Rests on: POSIX strptime's letters; a year of two digits is 1969 to 2068, as there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
# letter -> what it reads, as a group of an expression, and as the kernel's octets (members/_parse_numbers.pyx)
_GROUPS = {"Y": "(?P<Y>[0-9]{4})", "y": "(?P<y>[0-9]{2})", "m": "(?P<m>[0-9]{1,2})", "d": "(?P<d>[0-9]{1,2})"}
_GROUPS["b"] = "(?P<b>[A-Za-z]{3,9})"
_OCTETS = {"Y": b"\1\1\1\1", "y": b"\4\4", "m": b"\2\2", "d": b"\3\3"}
ISO = b"\1\1\1\1-\2\2-\3\3"


@dataclass(frozen=True, slots=True)
class DateForm:
    """`plain` is the form that the kernel reads, b"" when it cannot: letters of months, no year."""

    text: str
    pattern: re.Pattern[str]
    plain: bytes
    has_year: bool

    def read(self, text: str) -> tuple[int, int, int] | None:
        """(year, month, day), not yet known to be a day; None when the text has another form. No year: 2000."""
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        part = found.groupdict()
        year = int(part["Y"]) if part.get("Y") else 2000
        if part.get("y"):
            year = int(part["y"]) + (1900 if int(part["y"]) >= 69 else 2000)
        if not part.get("b"):
            return year, int(part["m"]), int(part["d"])
        word = part["b"].lower()
        month = next((i for i, name in enumerate(_MONTHS, start=1) if name.startswith(word)), 0)
        return (year, month, int(part["d"])) if month else None


def read_date_form(text: str) -> DateForm:
    """Raises ValueError("date_format", what is wrong)."""

    def wrong(why: str) -> ValueError:
        return ValueError("date_format", f"{text!r} {why}; write one such as %d.%m.%Y")

    if text.lower() == "auto":
        raise wrong("is not guessed, because 03.04.2020 has two meanings")
    pattern, plain, letters, at = "", b"", "", 0
    while at < len(text):
        letter = text[at + 1 : at + 2] if text[at] == "%" else ""
        if text[at] == "%" and letter != "%":
            if letter not in _GROUPS or not letter:
                raise wrong(f"has %{letter}, which is none of %Y %y %m %b %d")
            letters += letter
            pattern += _GROUPS[letter]
            plain += _OCTETS.get(letter, b"")
        else:
            if not text[at].isprintable():
                raise wrong("has a character that is not printable")
            pattern += re.escape(text[at])
            plain += text[at].encode()
        at += 2 if letter else 1
    if letters.count("d") != 1 or sum(map(letters.count, "mb")) != 1 or sum(map(letters.count, "Yy")) > 1:
        raise wrong("needs one day, one month and at most one year")
    has_year = "Y" in letters or "y" in letters
    return DateForm(text, re.compile(pattern), plain if has_year and "b" not in letters else b"", has_year)
