"""A segment's rule as a small tree, and its canonical print: equal segments have equal text.

Touches: nothing. Built by parse.py (or the builders below), given a meaning by typed.py.
Rests on: PRODUCT E. parse(str(rule)) == rule for every tree that the builders make: and/or are flat,
a double `not` is gone, values of a set are sorted and met once.

`at` is where in the text a thing began, for errors; it takes no part in equality.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Value:
    """A literal as written: text, or a decimal number in its shortest form."""

    text: str
    number: bool = False
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text if self.number else quote(self.text)


@dataclass(frozen=True, slots=True)
class Everyone:
    def __str__(self) -> str:
        return "everyone"


@dataclass(frozen=True, slots=True)
class Compare:
    name: str
    comparison: str  # = != < <= > >=
    value: Value
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.value}"


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends belong to it."""

    name: str
    low: Value
    high: Value
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.name} between {self.low} and {self.high}"


@dataclass(frozen=True, slots=True)
class OneOf:
    name: str
    values: tuple[Value, ...]
    negated: bool = False  # `not in` is a condition too: false on an unknown
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.name}{' not' * self.negated} in ({_list(self.values)})"


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    how: str  # contains, starts with, ends with
    value: Value
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.how} {self.value}"


@dataclass(frozen=True, slots=True)
class Is:
    name: str
    what: str  # known, unknown, yes, no
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.name} is {self.what}"


@dataclass(frozen=True, slots=True)
class Tags:
    names: tuple[Value, ...]
    every: bool = False
    lacks: bool = False
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        verb = "lacks" if self.lacks else "has"
        if len(self.names) == 1:
            return f"{verb} tag {self.names[0]}"
        return f"{verb} {'all tags' if self.every else 'any tag'} of ({_list(self.names)})"


@dataclass(frozen=True, slots=True)
class InSegment:
    name: Value

    def __str__(self) -> str:
        return f"in segment {self.name}"


@dataclass(frozen=True, slots=True)
class Not:
    part: Node

    def __str__(self) -> str:
        return f"not {_inner(self.part, And | Or)}"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " and ".join(_inner(part, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


Condition = Everyone | Compare | Between | OneOf | Text | Is | Tags | InSegment
Node = Condition | Not | And | Or


@dataclass(frozen=True, slots=True)
class Rule:
    """A whole segment: who, without whom, and at most how many (the lowest member numbers)."""

    who: Node
    without: Node | None = None
    limit: int | None = None

    def __str__(self) -> str:
        without = f" except {self.without}" if self.without else ""
        return f"{self.who}{without}" + (f" limit {self.limit}" if self.limit is not None else "")


def all_of(parts: Iterable[Node]) -> Node:
    flat = tuple(p for part in parts for p in (part.parts if isinstance(part, And) else (part,)))
    return flat[0] if len(flat) == 1 else And(flat)


def any_of(parts: Iterable[Node]) -> Node:
    flat = tuple(p for part in parts for p in (part.parts if isinstance(part, Or) else (part,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def negate(part: Node) -> Node:
    """The complement, said shorter where an opposite word exists."""
    match part:
        case Not():
            return part.part
        case Tags():
            return replace(part, lacks=not part.lacks)
        case Is(what="known"):
            return replace(part, what="unknown")
        case Is(what="unknown"):
            return replace(part, what="known")
    return Not(part)


def values_of(values: Iterable[Value]) -> tuple[Value, ...]:
    """A set of values in its canonical order: text by code point, then numbers by size."""
    return tuple(sorted(dict.fromkeys(values), key=lambda v: (v.number, Decimal(v.text) if v.number else 0, v.text)))


def tags(names: Iterable[Value], *, every: bool = False, lacks: bool = False, at: int = 0) -> Tags:
    names = values_of(names)
    return Tags(names, every and len(names) > 1, lacks, at)


def number(text: str, at: int = 0) -> Value:
    """A decimal literal: no needless zeros, no minus zero."""
    minus, digits = text.startswith("-"), text.lstrip("-")
    whole, _, fraction = digits.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    shortest = f"{whole}.{fraction}" if fraction else whole
    return Value(f"-{shortest}" if minus and shortest != "0" else shortest, True, at)


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _list(values: Iterable[Value]) -> str:
    return ", ".join(map(str, values))


def _inner(part: Node, bracketed: object) -> str:
    return f"({part})" if isinstance(part, bracketed) else str(part)  # type: ignore[arg-type]
