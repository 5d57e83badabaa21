"""A literal of a segment as its field takes it: the column's number or text, and what does not fit which kind.

Touches: nothing.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from dispatcher.errors import CommandRefused
from dispatcher.members.fields import Field
from dispatcher.segments.dates import number_of
from dispatcher.segments.refusal import refused
from dispatcher.segments.rule import Value

DIGITS = (7, 15)  # of a number in E.164, as members/msisdn.py takes them
_MICRO = 1_000_000


def number_in(of: Field, value: Value) -> int:
    """A literal as the column's number; raises CommandRefused when it is not one of that kind."""
    if of.kind == "phone":
        return int(digits_in(of, value))
    if of.kind == "date":
        try:
            assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text_in(of, value))
            return number_of(date.fromisoformat(value.text))
        except (AssertionError, ValueError):
            raise refused(f'{of.name} is a date: write it as "2024-05-01"', value.at, ["a date"]) from None
    if of.kind == "month_day":
        try:
            assert re.fullmatch(r"[0-9]{2}-[0-9]{2}", text_in(of, value))
            day = date.fromisoformat(f"2024-{value.text}")  # a leap year, so that 02-29 is one
            return day.month * 32 + day.day
        except (AssertionError, ValueError):
            detail = f'{of.name} is a month and day: write it as "05-01"'
            raise refused(detail, value.at, ["a month and day"]) from None
    if not value.number:
        guess = value.text if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value.text) else None
        raise refused(
            f"{of.name} is {a_kind(of)}: compare it with a number, without quotes", value.at, ["a number"], guess
        )
    exact = Decimal(value.text) * (_MICRO if of.kind == "money" else 1)
    if exact != exact.to_integral_value():
        places = "at most 6 decimal places" if of.kind == "money" else "a whole number"
        raise refused(f"{of.name} takes {places}, not {value}", value.at, ["a number"])
    return int(exact)


def text_in(of: Field, value: Value) -> str:
    if value.number:
        raise refused(f"{of.name} is {a_kind(of)}: put the value in quotes", value.at, ["text in quotes"], f'"{value}"')
    return value.text


def digits_in(of: Field, value: Value) -> str:
    found = re.fullmatch(r"\+?([1-9][0-9]{0,14})", text_in(of, value))
    if found is None:
        detail = f'{of.name} is a number in international form: write it as "+491701234567"'
        raise refused(detail, value.at, ["a number in quotes"])
    return found[1]


_USES = {
    "dict": ["=", "!=", "in", "is known"],
    "bool": ["is yes", "is no", "is known"],
    "tags": ["has tag", "has any tag of", "has all tags of", "lacks tag", "is known"],
    "text": ["=", "!=", "in", "contains", "starts with", "ends with", "is known"],
    "phone": ["=", "!=", "in", "starts with", "is known"],
}
_NAMES = {
    "dict": "a dictionary", "int": "a whole number", "date": "a date", "month_day": "a month and day",
    "bool": "yes or no", "money": "an amount", "phone": "a phone number",
}  # fmt: skip


def a_kind(of: Field) -> str:
    return _NAMES.get(of.kind, of.kind)


def unfit(of: Field, what: str, at: int) -> CommandRefused:
    uses = _USES.get(of.kind, ["=", "!=", "<", "<=", ">", ">=", "between", "in", "is known"])
    return refused(f"`{what}` does not fit {of.name}, which is {a_kind(of)}; use {', '.join(uses)}", at, uses)
