"""A telephone number in one form: E.164 digits as an int; what is refused, and why.

Touches: nothing.
Rests on: E.164 (at most 15 digits, none begins with 0); phonenumbers for national forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import phonenumbers

LEAST, GREATEST = 10**6, 10**15 - 1  # 15 digits: E.164 6.1; 7: the shortest country code and subscriber number in use
_INTERNATIONAL = re.compile(r"(?:\+|00)([1-9][0-9]{6,14})")
_DRESSING = str.maketrans("", "", " -().\u00a0\u2011\u202f/")


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A number that is none: `reason` is empty, too_short, too_long, not_a_number, needs_region or extension."""

    text: str
    reason: str


def normalise(text: str, region: str) -> int | Unparsed:
    """E.164 digits of `text`; national forms are read by the rules of `region` (ISO 3166; "" = refused)."""
    bare = text.translate(_DRESSING)
    if found := _INTERNATIONAL.fullmatch(bare):
        return int(found[1])
    if not bare:
        return Unparsed(text, "empty")
    if len(text) > 40:
        return Unparsed(text, "too_long")
    if not region and not bare.startswith(("+", "\uff0b")):
        return Unparsed(text, "needs_region" if bare.isdecimal() else "not_a_number")
    try:
        parsed = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException as exc:
        too = {exc.TOO_SHORT_NSN: "too_short", exc.TOO_SHORT_AFTER_IDD: "too_short", exc.TOO_LONG: "too_long"}
        return Unparsed(text, too.get(exc.error_type, "not_a_number"))
    if parsed.extension:
        return Unparsed(text, "extension")
    verdict, result = phonenumbers.is_possible_number_with_reason(parsed), phonenumbers.ValidationResult
    if verdict != result.IS_POSSIBLE:
        short = (result.TOO_SHORT, result.IS_POSSIBLE_LOCAL_ONLY)
        reason = "too_short" if verdict in short else "too_long" if verdict == result.TOO_LONG else "not_a_number"
        return Unparsed(text, reason)
    number = int(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:])
    return number if is_valid(number) else Unparsed(text, "too_short")


def is_valid(number: int) -> bool:
    """Whether `number` has as many digits as E.164 allows."""
    return LEAST <= number <= GREATEST


def international(number: int) -> str | None:
    """How people see it; None for 0, which is no number."""
    return f"+{number}" if number else None
