"""What a rule means over a tenant's columns: every condition becomes a test of numbers, planes or text.

Touches: the tenant's fields and named segments, through a View.
Rests on: PRODUCT E: a condition on an unknown is false, for = and != alike; `not` is the complement.

Numbers, dates, dictionaries and the phone all become ranges of the column's own numbers, cut to what
is known there, so that the unknown's number (store/blocks.py UNKNOWN) never matches by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import GREATEST, LEAST, Kind, Op, merge_ranges
from dispatcher.members.fields import Field
from dispatcher.segments import rule
from dispatcher.segments.parse import CONDITIONS_MAX, nearest, parse, refused
from dispatcher.segments.rule import Node, Rule, Value
from dispatcher.store.columns import Column, ColumnKind

NESTING_MAX = 250  # and/or/not inside one another, named segments included: what Python's stack bears with ease
_EPOCH = date(1970, 1, 1).toordinal()
_MICRO = 1_000_000
_DIGITS = (7, 15)  # of a number in E.164, as members/msisdn.py takes them
_TEXT_OPS = {"contains": Op.TEXT_CONTAINS, "starts with": Op.TEXT_STARTS, "ends with": Op.TEXT_ENDS}
_ORDERED = ("int", "date", "month_day", "money", "points")


@dataclass(frozen=True, slots=True)
class Always:
    value: bool


@dataclass(frozen=True, slots=True)
class InRanges:
    column: Column
    ranges: tuple[tuple[int, int], ...]  # sorted, disjoint; both ends inside


@dataclass(frozen=True, slots=True)
class OnPlanes:
    parts: tuple[tuple[Column, int], ...]  # (column, mask of its 8 planes)
    every: bool = False


@dataclass(frozen=True, slots=True)
class OnText:
    column: Column
    op: Op
    needles: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Complement:
    part: Test


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Test, ...]


Test = Always | InRanges | OnPlanes | OnText | Complement | Every | Some


@dataclass(slots=True)
class Typing:
    """One compilation: `test` turns a rule into a Test and gathers what it used and what seems amiss.

    `named` are the tenant's saved segments; `within` the names being resolved, so that a cycle is refused.
    """

    fields: dict[str, Field]
    named: dict[str, str]
    within: tuple[str, ...] = ()
    used: dict[str, Field] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    conditions: int = 0
    codes: dict[str, dict[str, int]] = field(default_factory=dict)  # by dictionary field: value -> code

    def test(self, found: Rule, depth: int = 0) -> Test:
        """Raises CommandRefused with the place of what does not fit."""
        who = self._node(found.who, depth)
        if found.without is None:
            return who
        return Every((who, Complement(self._node(found.without, depth))))

    def _node(self, node: Node, depth: int) -> Test:
        if depth > NESTING_MAX:
            raise refused(f"conditions nested more than {NESTING_MAX} deep", 0)
        match node:
            case rule.Not(part):
                return Complement(self._node(part, depth + 1))
            case rule.And(parts):
                return Every(tuple([self._node(part, depth + 1) for part in parts]))
            case rule.Or(parts):
                return Some(tuple([self._node(part, depth + 1) for part in parts]))
        self.conditions += 1
        if self.conditions > CONDITIONS_MAX:
            at = getattr(node, "at", 0)
            raise refused(f"more than {CONDITIONS_MAX:,} conditions, named segments included", at)
        match node:
            case rule.Everyone():
                return Always(True)
            case rule.Tags():
                return self._tags(node)
            case rule.InSegment():
                return self._segment(node, depth + 1)
            case rule.Is(name, what, at):
                return self._state(self._field(name, at), what, at)
            case rule.Text(name, how, value, at):
                return self._text(self._field(name, at), how, value, at)
            case rule.Between(name, low, high, at):
                return self._between(self._field(name, at), low, high, at)
            case rule.OneOf(name, values, negated, at):
                return self._equal(self._field(name, at), values, not negated, at)
            case rule.Compare(name, comparison, value, at):
                return self._compare(self._field(name, at), comparison, value, at)
        raise AssertionError(node)

    def _field(self, name: str, at: int) -> Field:
        found = self.fields.get(name)
        if found is None:
            guess = nearest(name, self.fields)
            hint = f"; the nearest is `{guess}`" if guess else ""
            raise refused(f"no field is called `{name[:64]}`{hint}", at, (), guess, code="unknown_field")
        self.used[name] = found
        return found

    def _compare(self, of: Field, comparison: str, value: Value, at: int) -> Test:
        if comparison in ("=", "!="):
            return self._equal(of, (value,), comparison == "=", at)
        if of.kind not in _ORDERED:
            raise _unfit(of, comparison, at)
        number = _number(of, value)
        low, high = _known(of)
        below, above = (low, number - (comparison == "<")), (number + (comparison == ">"), high)
        return _ranges(of, [below if comparison[0] == "<" else above])

    def _between(self, of: Field, low: Value, high: Value, at: int) -> Test:
        if of.kind not in _ORDERED:
            raise _unfit(of, "between", at)
        least, most = _number(of, low), _number(of, high)
        if least > most:
            self.warnings.append(
                f"{of.name} between {low} and {high}: the first is above the second, so nobody matches"
            )
        return _ranges(of, [(least, most)])

    def _equal(self, of: Field, values: Iterable[Value], same: bool, at: int) -> Test:
        if of.kind in ("bool", "tags"):
            raise _unfit(of, "=" if same else "!=", at)
        if of.kind == "text":
            needles = tuple([_string(of, value).encode() for value in values])
            if b"" in needles:
                self.warnings.append(f'{of.name} is never "": where it is empty it is unknown')
            found = OnText(_column(of), Op.TEXT_IN, needles)
            return found if same else Every((_known_test(of), Complement(found)))
        found_numbers = [self._code(of, value) if of.kind == "dict" else _number(of, value) for value in values]
        ranges = merge_ranges(_kind(of), [(number, number) for number in found_numbers if number is not None])
        return _ranges(of, ranges if same else _gaps(of, ranges))

    def _code(self, of: Field, value: Value) -> int | None:
        word = _string(of, value)
        if of.name not in self.codes:  # a dictionary may have 65,535 values, and a set name thousands of them
            self.codes[of.name] = {known: code for code, known in enumerate(of.values, 1)}
        code = self.codes[of.name].get(word)
        if code is None:
            guess = nearest(word, of.values)
            hint = f"; the nearest is {rule.quote(guess)}" if guess else ""
            if of.closed:
                raise refused(f"{of.name} has no value {rule.quote(word[:64])}{hint}", value.at, (), guess)
            self.warnings.append(f"no member has {of.name} = {rule.quote(word[:64])}{hint}")
        return code

    def _state(self, of: Field, what: str, at: int) -> Test:
        if what == "known":
            return _known_test(of)
        if what == "unknown":
            return Complement(_known_test(of))
        if of.kind != "bool":
            raise refused(f"{of.name} is {_an(of)}, so it cannot be yes or no", at, ["known", "unknown"])
        return _ranges(of, [(2, 2) if what == "yes" else (1, 1)])

    def _text(self, of: Field, how: str, value: Value, at: int) -> Test:
        if of.kind == "phone" and how == "starts with":
            digits = _digits(of, value)
            spans = [10**more for more in range(max(0, _DIGITS[0] - len(digits)), _DIGITS[1] - len(digits) + 1)]
            return _ranges(of, [(int(digits) * span, (int(digits) + 1) * span - 1) for span in spans])
        if of.kind != "text":
            raise _unfit(of, how, at)
        if not value.text:
            raise refused(f"{how} needs at least one character", value.at, ["text in quotes"])
        return OnText(_column(of), _TEXT_OPS[how], (value.text.encode(),))

    def _tags(self, node: rule.Tags) -> Test:
        fields = [found for found in self.fields.values() if found.kind == "tags"]
        if not fields:
            raise refused("no field of kind tags is defined", node.at)
        each: list[list[tuple[Column, int]]] = []  # by name: where its plane lies
        for name in node.names:
            places = [_plane(of, code) for of in fields if (code := of.code_of(name.text)) is not None]
            if not places:
                guess = nearest(name.text, (value for of in fields for value in of.values))
                if all(of.closed for of in fields):
                    raise refused(f"no tag is called {name}", name.at, (), guess)
                self.warnings.append(f"no member has the tag {name}")
            each.append(places)
        if node.every and len(fields) == 1:
            found: Test = OnPlanes(_join(p for places in each for p in places), True) if all(each) else Always(False)
        elif node.every:
            found = Every(tuple([OnPlanes(_join(places)) for places in each]))
        else:
            found = OnPlanes(_join(p for places in each for p in places))
        return Complement(found) if node.lacks else found

    def _segment(self, node: rule.InSegment, depth: int) -> Test:
        name = node.name.text
        if name in self.within:
            raise refused(f"segment {node.name} would contain itself", node.name.at)
        if name not in self.named:
            raise refused(f"no segment is called {node.name}", node.name.at, (), nearest(name, self.named))
        self.within += (name,)
        try:
            inner = parse(self.named[name], self.fields)
            found = self.test(inner, depth)
        except CommandRefused as exc:  # its place is in the other text
            detail, guess = f"in segment {node.name}: {exc.detail}", exc.extra["did_you_mean"]
            raise refused(detail[:300], node.name.at, exc.extra["expected"], guess, code=exc.code) from exc
        self.within = self.within[:-1]
        if inner.limit is not None:
            raise refused(f"segment {node.name} has a limit, so it cannot be part of another", node.name.at)
        return found


def unknown_test(fields: Iterable[Field]) -> Test:
    """Members of whom one of `fields` is unknown. A tag is had or not: nothing about it is unknown."""
    return Some(tuple([Complement(_known_test(of)) for of in fields if of.kind != "tags"]))


def _column(of: Field) -> Column:
    return of.number, 0, of.column


def _kind(of: Field) -> Kind:
    return Kind(int(of.column))


def _known(of: Field) -> tuple[int, int]:
    """The least and greatest number that a known value can have: the unknown's lies just below."""
    kind = _kind(of)
    return LEAST[kind] + 1, GREATEST[kind]


def _ranges(of: Field, ranges: Iterable[tuple[int, int]]) -> Test:
    least, most = _known(of)
    merged = merge_ranges(_kind(of), [(max(low, least), min(high, most)) for low, high in ranges])
    return InRanges(_column(of), tuple(merged)) if merged else Always(False)


def _gaps(of: Field, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The known numbers outside sorted disjoint `ranges`."""
    least, most = _known(of)
    lows = [least, *(high + 1 for _, high in ranges)]
    highs = [*(low - 1 for low, _ in ranges), most]
    return list(zip(lows, highs, strict=True))


def _known_test(of: Field) -> Test:
    if of.kind == "tags":
        return OnPlanes(_join(_plane(of, number) for number in range(len(of.values))))
    if of.column == ColumnKind.TEXT:
        return OnText(_column(of), Op.TEXT_KNOWN)
    return _ranges(of, [_known(of)])


def _plane(of: Field, number: int) -> tuple[Column, int]:
    return (of.number, number // 8, ColumnKind.PLANES), 1 << number % 8


def _join(places: Iterable[tuple[Column, int]]) -> tuple[tuple[Column, int], ...]:
    masks: dict[Column, int] = {}
    for column, mask in places:
        masks[column] = masks.get(column, 0) | mask
    return tuple(masks.items())


def _number(of: Field, value: Value) -> int:
    """A literal as the column's number; raises CommandRefused when it is not one of that kind."""
    if of.kind == "phone":
        return int(_digits(of, value))
    if of.kind == "date":
        try:
            assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", _string(of, value))
            return date.fromisoformat(value.text).toordinal() - _EPOCH
        except (AssertionError, ValueError):
            raise refused(f'{of.name} is a date: write it as "2024-05-01"', value.at, ["a date"]) from None
    if of.kind == "month_day":
        try:
            assert re.fullmatch(r"[0-9]{2}-[0-9]{2}", _string(of, value))
            day = date.fromisoformat(f"2024-{value.text}")  # a leap year, so that 02-29 is one
            return day.month * 32 + day.day
        except (AssertionError, ValueError):
            detail = f'{of.name} is a month and day: write it as "05-01"'
            raise refused(detail, value.at, ["a month and day"]) from None
    if not value.number:
        guess = value.text if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value.text) else None
        raise refused(
            f"{of.name} is {_an(of)}: compare it with a number, without quotes", value.at, ["a number"], guess
        )
    exact = Decimal(value.text) * (_MICRO if of.kind == "money" else 1)
    if exact != exact.to_integral_value():
        places = "at most 6 decimal places" if of.kind == "money" else "a whole number"
        raise refused(f"{of.name} takes {places}, not {value}", value.at, ["a number"])
    return int(exact)


def _string(of: Field, value: Value) -> str:
    if value.number:
        raise refused(f"{of.name} is {_an(of)}: put the value in quotes", value.at, ["text in quotes"], f'"{value}"')
    return value.text


def _digits(of: Field, value: Value) -> str:
    found = re.fullmatch(r"\+?([1-9][0-9]{0,14})", _string(of, value))
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


def _an(of: Field) -> str:
    return _NAMES.get(of.kind, of.kind)


def _unfit(of: Field, what: str, at: int) -> Exception:
    uses = _USES.get(of.kind, ["=", "!=", "<", "<=", ">", ">=", "between", "in", "is known"])
    return refused(f"`{what}` does not fit {of.name}, which is {_an(of)}; use {', '.join(uses)}", at, uses)
