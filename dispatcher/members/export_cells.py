"""One column of some members of a block as cells: text for CSV, fragments of JSON, Python values for Parquet.

Touches: the buffers of an opened block. Cells are written as an import reads them:

    phone +4915100000001   dict, text as they are   int 5   money 12.50   date 2026-02-28   month_day 02-29
    bool yes/no   tags a;b (NDJSON and Parquet: a list)   unknown: an empty cell, null

In CSV a text cell that a spreadsheet would take for a formula begins with one ' more (an import takes it off again).
Weak spot: a tag that holds ; is two tags in a CSV.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Literal

from dispatcher.members.attributes import EPOCH_DAY, MICRO
from dispatcher.members.fields import Field
from dispatcher.store.blocks import UNKNOWN
from dispatcher.store.columns import BlockView, ColumnKind

TYPES: dict[ColumnKind, Literal["B", "H", "i", "q", "Q"]] = {
    ColumnKind.U8: "B",
    ColumnKind.U16: "H",
    ColumnKind.I32: "i",
    ColumnKind.I64: "q",
    ColumnKind.U64: "Q",
}
HIDDEN = "***"  # what stands for a value that may not be shown
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")  # a spreadsheet may take it for what it is
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_FIRST = frozenset("'=+-@\t\r")
_QUOTED = ',"\r\n\x00'


def values_of(opened: BlockView, field: Field, slots: Sequence[int]) -> list[Any]:
    """Values of the slots: str, int, bool, datetime.date, list of tags; None is unknown. Money is micro-units."""
    kind = field.column
    if kind == ColumnKind.TEXT:
        return _texts(opened, field, slots)
    if kind == ColumnKind.PLANES:
        return _tags(opened, field, slots)
    picked: list[int] = opened.array(field.number).cast(TYPES[kind]).tolist()
    if len(slots) < len(picked):
        picked = [picked[slot] for slot in slots]
    known = {code: _value(field, code) for code in set(picked)} if _few(field) else None
    if known is not None:
        return [known[number] for number in picked]
    unknown = UNKNOWN[kind]
    return [None if number == unknown else number for number in picked]


def csv_cells(field: Field, values: list[Any]) -> list[str]:
    """Quoted and escaped where it must be."""
    if field.kind == "tags":
        return _careful([";".join(tags) for tags in values])
    if field.kind == "dict":
        return _by_value(values, lambda value: _cell(value or ""))
    if field.kind == "text":
        return _careful([value or "" for value in values])
    if field.kind == "phone":
        texts = ["" if value is None else str(value) for value in values]
        return ["+" + text if text[:1].isdigit() else text for text in texts]
    if field.kind in ("int", "points"):
        return ["" if value is None else str(value) for value in values]
    if field.kind == "date":
        return ["" if value is None else _iso(value) for value in values]
    return _by_value(values, lambda value: _plain(field, value))


def json_cells(field: Field, values: list[Any]) -> list[str]:
    """`"name":value`"""
    key = json.dumps(field.name, ensure_ascii=False) + ":"
    if field.kind == "tags":
        return [f"{key}[{','.join(map(encode_basestring, tags))}]" for tags in values]
    if field.kind in ("dict", "text"):
        return [key + "null" if value is None else key + encode_basestring(value) for value in values]
    if field.kind == "phone":
        return [f'{key}"{cell}"' if cell else key + "null" for cell in csv_cells(field, values)]
    if field.kind in ("int", "points"):
        return [key + "null" if value is None else f"{key}{value}" for value in values]
    return _by_value(values, lambda value: key + _json(field, value))


def hide(field: Field, values: list[Any]) -> list[Any]:
    """Values that tell who somebody is, made to tell less: a number's ends, of all else only that it is known."""
    if field.kind == "phone":
        return [None if value is None else masked_number(value) for value in values]
    if field.kind in ("text", "dict"):
        return [None if value is None else HIDDEN for value in values]
    return [[HIDDEN] if value else [] for value in values] if field.kind == "tags" else [None] * len(values)


def masked_number(number: int) -> str:
    text = str(number)
    return f"+{text[:4]}{'*' * max(3, len(text) - 6)}{text[-2:]}"


def money_text(micro: int) -> str:
    """Units with as many decimals as it takes, two at least: 12.50, -0.000001."""
    units, rest = divmod(abs(micro), MICRO)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro < 0 else ''}{units}.{decimals}"


def _few(field: Field) -> bool:
    """Whether a column has so few different values that each is made once a block."""
    return field.kind in ("dict", "bool", "date", "month_day")


def _value(field: Field, code: int) -> Any:
    if code == UNKNOWN[field.column]:
        return None
    if field.kind == "dict":
        return field.value_of(code)
    if field.kind == "bool":
        return code == 2
    if field.kind == "date":
        return _day(code)
    return f"{code >> 5:02}-{code & 31:02}"


@lru_cache(maxsize=1 << 16)
def _day(code: int) -> datetime.date:
    return datetime.date.fromordinal(code + EPOCH_DAY)


@lru_cache(maxsize=1 << 16)
def _iso(day: datetime.date) -> str:
    return day.isoformat()


def _texts(opened: BlockView, field: Field, slots: Sequence[int]) -> list[str | None]:
    begins, ends, heap = opened.text(field.number)
    first, last = begins.cast("I").tolist(), ends.cast("I").tolist()
    octets = bytes(heap)
    if octets.isascii():
        text = octets.decode("ascii")
        return [text[first[slot] : last[slot]] or None for slot in slots]
    return [octets[first[slot] : last[slot]].decode() or None for slot in slots]


def _tags(opened: BlockView, field: Field, slots: Sequence[int]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in slots]
    place = {slot: at for at, slot in enumerate(slots)}
    for code, tag in enumerate(field.values):
        plane = opened.plane(field.number, code)
        for at, octet in enumerate(bytes(plane)):
            while octet:
                low = octet & -octet
                octet ^= low
                where = place.get(8 * at + low.bit_length() - 1)
                if where is not None:
                    found[where].append(tag)
    return found


def _careful(cells: list[str]) -> list[str]:
    """Cells as CSV wants them. Most columns need no care at all, which a look or two tells."""
    joined = "".join(cells)
    if not any(mark in joined for mark in _QUOTED) and _FIRST.isdisjoint({cell[:1] for cell in cells}):
        return cells
    return _by_value(cells, _cell)


def _cell(text: str) -> str:
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        text = "'" + text
    if any(mark in text for mark in _QUOTED):
        return '"' + text.replace('"', '""') + '"'
    return text


def _plain(field: Field, value: Any) -> str:
    if value is None:
        return ""
    if field.kind == "money":
        return money_text(value)
    if field.kind == "bool":
        return "yes" if value else "no"
    return str(value)  # an ISO date, a month and day, a number


def _json(field: Field, value: Any) -> str:
    if value is None:
        return "null"
    return ("true" if value else "false") if field.kind == "bool" else f'"{_plain(field, value)}"'


def _by_value(values: list[Any], make: Callable[[Any], str]) -> list[str]:
    """`make` once for each different value."""
    made = {value: make(value) for value in set(values)}
    return [made[value] for value in values]
