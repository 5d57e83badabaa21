"""A member's values between JSON and columns: which octets a value becomes, and what makes it wrong.

Touches: nothing. A dictionary that may grow answers with the grown field; the caller writes it.

    dict "gold"   int 5   date "2026-02-28"   month_day "02-29"   bool true   text "..."   tags ["a", "b"]
    money 12500000 (micro-units) or "12.50" (units)      null: unknown
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

from dispatcher.members.fields import TAGS_MAX, Field, with_value, word_fits
from dispatcher.store.blocks import NUMBER, UNKNOWN
from dispatcher.store.columns import Column, ColumnKind

EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
MICRO = 1_000_000
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH_DAY = re.compile(r"([0-9]{2})-([0-9]{2})")
_MONEY = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,6}))?")
_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value is none of its field: a code, and a sentence with field, value and rule."""

    code: str
    detail: str


Encoded = tuple[Field, dict[Column, bytes]]


def encode(field: Field, value: Any) -> Encoded | Wrong:
    """Entries for put_delta, and the field, grown where the value is a new one of an open dictionary."""
    if value is None or value == "" or value == []:
        return field, unknown_entries(field)
    if field.kind == "tags":
        return _encode_tags(field, value)
    if field.kind == "text":
        if not isinstance(value, str) or not _clean(value):
            return _wrong(field, value, "wrong_value", "text without control characters")
        if len(value) > field.max_length:
            return _wrong(field, value, "too_long", f"at most {field.max_length} characters")
        return field, {field.columns[0]: value.encode()}
    if field.kind == "dict":
        if not isinstance(value, str) or not word_fits(value):
            return _wrong(field, value, "wrong_value", "a word of at most 100 printable characters")
        if field.code_of(value) is None:
            grown = with_value(field, value)
            if grown is None:
                return _outside(field, value)
            field = grown
        number: int | None = field.code_of(value)
        rule = ""
    else:
        number, rule = _READ[field.kind](value)
        if number is not None and not _fits(field.column, number):
            number, rule = None, f"a number of {8 * NUMBER[field.column].size} bits"
    if number is None:
        return _wrong(field, value, "wrong_value", rule)
    return field, {field.columns[0]: NUMBER[field.column].pack(number)}


def decode(field: Field, raw: dict[Column, int | str | None]) -> Any:
    """The JSON value of what read_member answered; None for unknown."""
    if field.kind == "tags":
        set_parts = [raw.get(column) for column in field.columns]
        return [tag for i, tag in enumerate(field.values) if int(set_parts[i // 8] or 0) >> i % 8 & 1]
    value = raw.get(field.columns[0])
    if value is None or isinstance(value, str):
        return value
    if field.kind == "dict":
        return field.value_of(value)
    if field.kind == "date":
        return datetime.date.fromordinal(value + EPOCH_DAY).isoformat()
    if field.kind == "month_day":
        return f"{value >> 5:02}-{value & 31:02}"
    if field.kind == "bool":
        return value == 2
    return value


def unknown_entries(field: Field) -> dict[Column, bytes]:
    """What puts a field back to unknown."""
    return {column: unknown_octets(column[2]) for column in field.columns}


def unknown_octets(kind: ColumnKind) -> bytes:
    if kind == ColumnKind.TEXT:
        return b""
    if kind == ColumnKind.PLANES:
        return b"\xff\x00"  # all eight bits count, none is set
    return NUMBER[kind].pack(UNKNOWN[kind])


def _encode_tags(field: Field, value: Any) -> Encoded | Wrong:
    if not isinstance(value, list) or not all(isinstance(tag, str) and word_fits(tag) for tag in value):
        return _wrong(field, value, "wrong_value", "a list of tags, each of at most 100 printable characters")
    for tag in value:
        if field.code_of(tag) is None:
            grown = with_value(field, tag)
            if grown is None:
                return _outside(field, tag)
            field = grown
    entries = unknown_entries(field)
    for tag in value:
        part, bit = divmod(field.values.index(tag), 8)
        column = field.columns[part]
        entries[column] = bytes((0xFF, entries[column][1] | 1 << bit))
    return field, entries


def _outside(field: Field, value: str) -> Wrong:
    if field.closed:
        return _wrong(field, value, "not_in_dictionary", "a closed dictionary: " + ", ".join(field.values[:20]))
    if field.kind == "tags" and field.most < field.max_values:
        return _wrong(field, value, "dictionary_full", f"the tenant has {TAGS_MAX} tags, the most there may be")
    return _wrong(field, value, "dictionary_full", f"has {field.max_values} values, the most it may have")


def _wrong(field: Field, value: Any, code: str, rule: str) -> Wrong:
    shown = repr(value)
    return Wrong(code, f"{field.name} {shown[:60] + '...' if len(shown) > 60 else shown}: {rule}")


def _fits(kind: ColumnKind, number: int) -> bool:
    least = UNKNOWN[kind] + 1  # the least itself means unknown
    most = (1 << 8 * NUMBER[kind].size - (least < 0)) - 1
    return least <= number <= most


def _clean(text: str) -> bool:
    """No control character but line feed, no half of a surrogate pair."""
    return not any((c < " " and c != "\n") or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text)


def _read_int(value: Any) -> tuple[int | None, str]:
    return (value, "") if isinstance(value, int) and not isinstance(value, bool) else (None, "a whole number")


def _read_date(value: Any) -> tuple[int | None, str]:
    rule = "a date as YYYY-MM-DD"
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None, rule
    try:
        return datetime.date.fromisoformat(value).toordinal() - EPOCH_DAY, ""
    except ValueError:
        return None, rule


def _read_month_day(value: Any) -> tuple[int | None, str]:
    found = _MONTH_DAY.fullmatch(value) if isinstance(value, str) else None
    if found:
        month, day = int(found[1]), int(found[2])
        if 1 <= month <= 12 and 1 <= day <= _DAYS[month]:
            return month * 32 + day, ""
    return None, "a month and day as MM-DD"


def _read_bool(value: Any) -> tuple[int | None, str]:
    return (1 + value, "") if isinstance(value, bool) else (None, "true or false")


def _read_money(value: Any) -> tuple[int | None, str]:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, ""
    found = _MONEY.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None, "whole micro-units, or units in quotes such as 12.50"
    micro = int(found[2]) * MICRO + int((found[3] or "").ljust(6, "0"))
    return -micro if found[1] else micro, ""


_READ = {
    "int": _read_int,
    "date": _read_date,
    "month_day": _read_month_day,
    "bool": _read_bool,
    "money": _read_money,
}
