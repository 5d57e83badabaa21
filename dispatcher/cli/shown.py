"""A record as a person reads it. What programs get is the same record as JSON, untouched.

Touches: values; the zone and the currency are the tenant's, given by the caller.
What a value means is in its name, as the API spells it: `..._micros` is money, `..._ms` an instant, `..._s` a span,
`percent` and an arm's `share` are percentages; a text in RFC 3339 with Z is an instant whatever its name. `values` are
a member's own, named by the tenant, and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from dispatcher.tenants.tenant import Tenant  # 50 ms that only some verbs cost

NAME_WIDTH = 20
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SUFFIXES = ("_micros", "_ms", "_s")  # a value that names its unit needs none in its name


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose clock and money a record is shown by."""

    zone: tzinfo = UTC
    currency: str = ""

    @staticmethod
    def of(tenant: Tenant | None) -> Reader:
        return Reader() if tenant is None else Reader(ZoneInfo(tenant.zone), tenant.currency)

    def lines(self, record: Mapping[str, Any], indent: str = "") -> Iterator[str]:
        """A line a field; of a record inside it, and of each record in a list, an indented one."""
        for name, value in record.items():
            head = f"{indent}{label(name) + ':':{NAME_WIDTH}}"
            if name == "values" and isinstance(value, Mapping):
                yield head.rstrip()
                yield from (f"{indent}  {own + ':':{NAME_WIDTH}} {_as_is(one)}" for own, one in value.items())
            elif isinstance(value, Mapping) and value:
                yield head.rstrip()
                yield from self.lines(value, f"{indent}  ")
            elif _are_records(value):
                yield head.rstrip()
                yield from (f"{indent}  {self.pairs(one)}" for one in value)
            else:
                yield f"{head} {self.value(name, value)}"

    def pairs(self, record: Mapping[str, Any]) -> str:
        """A small record on one line, without what is empty in it."""
        said = ((label(name).replace("_", " "), self.value(name, value)) for name, value in record.items())
        return ", ".join(f"{name} {text}" for name, text in said if text)

    def value(self, name: str, value: Any) -> str:
        if value is None or value in ("", [], {}):
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return self.instant(value) if _INSTANT.fullmatch(value) else plain(value)
        if isinstance(value, Mapping):
            return f"({self.pairs(value)})"
        if isinstance(value, Sequence):
            return ", ".join(self.value(name, one) for one in value)
        if isinstance(value, int | float):
            return self._number(name, value)
        return plain(str(value))

    def instant(self, text: str) -> str:
        """An instant of the API's, as the tenant's clock shows it."""
        return datetime.fromisoformat(text).astimezone(self.zone).isoformat(timespec="seconds")

    def _number(self, name: str, value: int | float) -> str:
        if name == "micros" or name.endswith("_micros"):
            return money(int(value), self.currency)
        if name.endswith("_ms") and value > 1 << 40:  # below it, of 2004, it is no instant of ours
            return datetime.fromtimestamp(value / 1000, self.zone).isoformat(timespec="seconds")
        if name.endswith("_s") and isinstance(value, int) and not name.endswith("per_s"):
            return span(value)
        if name in ("percent", "share") or name.endswith("_percent"):
            return f"{value:,} %"
        return f"{value:,}"


def money(micros: int, currency: str) -> str:
    """Micro-units as an amount with every decimal that it has, two at least."""
    units, rest = divmod(abs(micros), 1_000_000)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{units:,}.{decimals} {currency}".rstrip()


def span(seconds: int) -> str:
    """Seconds in the units that a person would use: 1 h 30 min."""
    said, left = [], abs(seconds)
    for unit, size in _UNITS:
        many, left = divmod(left, size)
        if many:
            said.append(f"{many:,} {unit}{'s' * (unit == 'day' and many > 1)}")
    return f"{'-' if seconds < 0 else ''}{' '.join(said) or '0 s'}"


def plain(text: str) -> str:
    """On one line, and without what a terminal would obey: names and texts come from strangers."""
    return "".join(character if character.isprintable() else " " for character in text)


def _as_is(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_is, value))
    return "" if value is None else plain(str(value))


def label(name: str) -> str:
    """What a value is called where it shows its unit."""
    found = next((suffix for suffix in _SUFFIXES if name.endswith(suffix) and not name.endswith("per_s")), "")
    return name.removesuffix(found)


def _are_records(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)
