"""What a rule means over a tenant's columns: every condition becomes a test of numbers, planes, text or given bitmaps.

Touches: the tenant's row, its fields, saved segments and titles of campaigns, through a View.
Rests on: PRODUCT E: a condition on an unknown is false, for = and != alike; `not` is the complement.

Numbers, dates, dictionaries and the phone all become ranges of the column's own numbers, cut to what
is known there, so that the unknown's number (store/blocks.py UNKNOWN) never matches by accident.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import Op
from dispatcher.members.fields import Field, fields_of
from dispatcher.records.changes import View
from dispatcher.segments import dated, engaged, rule
from dispatcher.segments.column_tests import (
    Always,
    Complement,
    Every,
    Given,
    InRanges,
    OnPlanes,
    OnText,
    Sampled,
    Some,
    Test,
    column_of,
    in_ranges,
    join,
    known_range,
    known_test,
    outside,
    plane_of,
    unknown_test,
)
from dispatcher.segments.dates import Moment
from dispatcher.segments.given import ConsentChanged, Engaged, FrozenMembers, Key, MessagesIn
from dispatcher.segments.literals import DIGITS, a_kind, digits_in, number_in, text_in, unfit
from dispatcher.segments.parse import CONDITIONS_MAX, parse
from dispatcher.segments.refusal import nearest, refused
from dispatcher.segments.rule import Node, Rule, Value
from dispatcher.store.columns import Column
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import get_tenant

__all__ = [
    "Always", "Complement", "ConsentChanged", "Engaged", "Every", "Given", "InRanges", "Key", "MessagesIn", "OnPlanes",
    "OnText", "Sampled", "Some", "Test", "Typing", "typing_of", "unknown_test",
]  # fmt: skip

WARNINGS_MAX = 10  # told; a nearest word costs milliseconds
NESTING_MAX = 250  # and/or/not inside one another, named segments included: what Python's stack bears with ease
T = TypeVar("T")
_TEXT_OPS = {"contains": Op.TEXT_CONTAINS, "starts with": Op.TEXT_STARTS, "ends with": Op.TEXT_ENDS}
_ORDERED = ("int", "date", "month_day", "money", "points")
_TIMED = (rule.IsDay, rule.Within, rule.Older, rule.DaysSince, rule.InMonth)


def typing_of(view: View, tenant: int, as_of_ms: int, within: tuple[str, ...] = ()) -> Typing:
    """A compilation for a tenant at an instant; saved segments and campaigns are read only when one is named."""
    row = get_tenant(view, tenant)
    moment = Moment(as_of_ms, row.zone, row.leap_rule) if row else Moment(as_of_ms)
    named = _Late(lambda: _saved_texts(view, tenant))
    campaigns, frozen = _Late(lambda: _campaigns(view, tenant)), _Late(lambda: _frozen(view, tenant))
    return Typing(fields_of(view, tenant), named, within, moment, campaigns, frozen)


class _Late(Mapping[str, T]):
    """A mapping that is read when it is first asked."""

    def __init__(self, read: Callable[[], dict[str, T]]) -> None:
        self._read = read

    @cached_property
    def _found(self) -> dict[str, T]:
        return self._read()

    def __getitem__(self, name: str) -> T:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _saved_texts(view: View, tenant: int) -> dict[str, str]:
    rows = map(unpack, (row for _, row in view.range("segments", TENANT.pack(tenant))))
    return {row["name"]: row["expr"] for row in rows}


def _frozen(view: View, tenant: int) -> dict[str, int]:
    """Title -> id of each snapshot (snapshot.py)."""
    rows = ((key, unpack(row)) for key, row in view.range("segments", TENANT.pack(tenant)))
    return {row["name"]: TENANT_U64.unpack(key)[1] for key, row in rows if row.get("frozen")}


def _campaigns(view: View, tenant: int) -> dict[str, tuple[int, ...]]:
    """Title -> the campaigns that carry it."""
    found: dict[str, tuple[int, ...]] = {}
    for key, row in view.range("campaigns", TENANT.pack(tenant)):
        title = unpack(row)["title"]
        found[title] = (*found.get(title, ()), TENANT_U64.unpack(key)[1])
    return found


@dataclass(slots=True)
class Typing:
    """One compilation: `test` turns a rule into a Test and gathers what it used and what seems amiss.

    `named` are the tenant's saved segments, `frozen` those that are snapshots; `within` the names being resolved, so
    that a cycle is refused.
    """

    fields: Mapping[str, Field]
    named: Mapping[str, str]
    within: tuple[str, ...] = ()
    moment: Moment = field(default_factory=lambda: Moment(0))
    campaigns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    used: dict[str, Field] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    conditions: int = 0
    timed: bool = False  # the answer depends on the moment
    codes: dict[str, dict[str, int]] = field(default_factory=dict)  # by dictionary field: value -> code
    regions: list[tuple[str, int]] = field(default_factory=list)  # values of the field called region with their codes

    def parse(self, text: str) -> Rule:
        """The rule that `text` says in the tenant's own words."""
        return parse(text, self.fields)

    def test(self, found: Rule, depth: int = 0) -> Test:
        """Without top and limit. Raises CommandRefused with the place of what does not fit."""
        parts = [self._node(found.who, depth)]
        if found.without is not None:
            parts.append(Complement(self._node(found.without, depth)))
        for share in found.shares:
            if isinstance(share, rule.Sample):
                parts.append(Sampled(share.salt.text.encode(), 0, share.share))
            else:
                parts.append(Sampled(b"", share.low, share.high + 1))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def top(self, found: Rule) -> tuple[int, Field] | None:
        """How many, by which field; None without. Raises CommandRefused for a field that has no order."""
        if found.top is None:
            return None
        of = self._field(found.top.name, found.top.at)
        if of.kind not in _ORDERED:
            raise unfit(of, "top", found.top.at)
        return found.top.count, of

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
            case rule.InRegion(path, at):
                return self._region(path, at)
            case rule.InSegment():
                return self._segment(node, depth + 1)
            case rule.Consent() | rule.Campaign() | rule.Messages() | rule.Answered():
                return self._happened(node)
        return self._on_field(node)

    def _on_field(self, node: rule.FieldCondition) -> Test:
        if node.name == dated.AGE and node.name not in self.fields and dated.BIRTHDAY in self.fields:
            return self._age(node)
        of = self._field(node.name, node.at)
        self.timed |= isinstance(node, _TIMED)
        match node:
            case rule.Compare(_, comparison, value, at):
                return self._compare(of, comparison, value, at)
            case rule.Is(_, what, at):
                return self._state(of, what, at)
            case rule.Text(_, how, value, at):
                return self._text(of, how, value, at)
            case rule.Between(_, low, high, at):
                return self._between(of, low, high, at)
            case rule.OneOf(_, values, negated, at):
                return self._equal(of, values, not negated, at)
            case rule.InMonth(_, month, at):
                return dated.in_month(of, month, at, self.moment)
        return dated.relative(of, node, self.moment)

    def _age(self, node: rule.FieldCondition) -> Test:
        """The derived age: a field of that name would go before it."""
        if not isinstance(node, rule.Compare | rule.Between | rule.OneOf | rule.Is):
            uses = ["=", "!=", "<", "<=", ">", ">=", "between", "in", "is known"]
            raise refused(f"age is a number, derived from birthday; use {', '.join(uses)}", node.at, uses)
        self.timed = True
        birthday = self._field(dated.BIRTHDAY, node.at)
        return dated.age_test(birthday, node, self.moment, self._warn)

    def _happened(self, node: rule.Consent | rule.Campaign | rule.Messages | rule.Answered) -> Test:
        match node:
            case rule.Answered(app, _, _, _, at):
                detail = f"`answered {app[:40]}`: there are no apps yet, so nobody can have answered one"
                raise refused(detail, at)
            case rule.Consent():
                self.timed |= node.span is not None
                return engaged.consent(node, self.moment)
        self.timed = True  # what happened is asked up to the moment
        if isinstance(node, rule.Messages):
            return engaged.messages(node, self.moment)
        return engaged.campaign(node, self.moment, self.campaigns)

    def _region(self, path: Value, at: int) -> Test:
        """The field called region is `path` or lies below it."""
        of = self._field("region", at)
        if path.number or not path.text.strip("/"):
            raise refused('a region is a path in quotes, such as "a/b"', path.at, ["text in quotes"])
        whole = path.text.rstrip("/")
        if of.kind == "text":
            below = OnText(column_of(of), Op.TEXT_STARTS, (f"{whole}/".encode(),))
            return Some((OnText(column_of(of), Op.TEXT_IN, (whole.encode(),)), below))
        if of.kind != "dict":
            raise unfit(of, "in region", at)
        if not self.regions:
            self.regions = sorted((value, code) for code, value in enumerate(of.values, 1))
        first, last = (bisect_left(self.regions, (f"{whole}{sign}", 0)) for sign in "/0")  # 0 comes right after /
        own = bisect_left(self.regions, (whole, 0))
        found = self.regions[own : own + 1] + self.regions[first:last]
        codes = [code for value, code in found if value == whole or value.startswith(f"{whole}/")]
        if not codes:
            self._no_such(f"region below {rule.quote(whole[:64])}", of.closed, path, whole, _paths(of.values))
        return in_ranges(of, [(code, code) for code in codes])

    def _no_such(self, what: str, closed: bool, value: Value, word: str, choices: Iterable[str]) -> None:
        """A word that no member has: refused where nobody ever can, else a warning. Of many only the first are told."""
        if not closed and len(self.warnings) >= WARNINGS_MAX:
            return
        guess = nearest(word, choices)
        hint = f"; the nearest is {rule.quote(guess)}" if guess else ""
        if closed:
            raise refused(f"there is no {what}{hint}", value.at, (), guess)
        self._warn(f"no member has {what}{hint}")

    def _warn(self, said: str) -> None:
        if len(self.warnings) < WARNINGS_MAX and said not in self.warnings:
            self.warnings.append(said)

    def _field(self, name: str, at: int) -> Field:
        found = self.fields.get(name)
        if found is None:
            guess = nearest(name, self.fields)
            hint = f"; the nearest is `{guess}`" if guess else ""
            if name == dated.AGE:
                hint = "; an age is derived from a date field called birthday, which is not there either"
            raise refused(f"no field is called `{name[:64]}`{hint}", at, (), guess, code="unknown_field")
        self.used[name] = found
        return found

    def _compare(self, of: Field, comparison: str, value: Value, at: int) -> Test:
        if comparison in ("=", "!="):
            return self._equal(of, (value,), comparison == "=", at)
        if of.kind not in _ORDERED:
            raise unfit(of, comparison, at)
        number = number_in(of, value)
        low, high = known_range(of)
        below, above = (low, number - (comparison == "<")), (number + (comparison == ">"), high)
        return in_ranges(of, [below if comparison[0] == "<" else above])

    def _between(self, of: Field, low: Value, high: Value, at: int) -> Test:
        if of.kind not in _ORDERED:
            raise unfit(of, "between", at)
        least, most = number_in(of, low), number_in(of, high)
        if least > most:
            self._warn(f"{of.name} between {low} and {high}: the first is above the second, so nobody matches")
        return in_ranges(of, [(least, most)])

    def _equal(self, of: Field, values: Iterable[Value], same: bool, at: int) -> Test:
        if of.kind in ("bool", "tags"):
            raise unfit(of, "=" if same else "!=", at)
        if of.kind == "text":
            needles = tuple([text_in(of, value).encode() for value in values])
            if b"" in needles:
                self._warn(f'{of.name} is never "": where it is empty it is unknown')
            found = OnText(column_of(of), Op.TEXT_IN, needles)
            return found if same else Every((known_test(of), Complement(found)))
        found_numbers = [self._code(of, value) if of.kind == "dict" else number_in(of, value) for value in values]
        ranges = [(number, number) for number in found_numbers if number is not None]
        return in_ranges(of, ranges) if same else outside(of, ranges)

    def _code(self, of: Field, value: Value) -> int | None:
        word = text_in(of, value)
        if of.name not in self.codes:  # a dictionary may have 65,535 values, and a set name thousands of them
            codes = {known: code for code, known in enumerate(of.values, 1)}
            self.codes[of.name] = codes | {word: codes[meaning] for word, meaning in of.merged}
        code = self.codes[of.name].get(word)
        if code is None:
            self._no_such(f"{of.name} = {rule.quote(word[:64])}", of.closed, value, word, of.values)
        return code

    def _state(self, of: Field, what: str, at: int) -> Test:
        if what == "known":
            return known_test(of)
        if what == "unknown":
            return Complement(known_test(of))
        if of.kind != "bool":
            raise refused(f"{of.name} is {a_kind(of)}, so it cannot be yes or no", at, ["known", "unknown"])
        return in_ranges(of, [(2, 2) if what == "yes" else (1, 1)])

    def _text(self, of: Field, how: str, value: Value, at: int) -> Test:
        if of.kind == "phone" and how == "starts with":
            digits = digits_in(of, value)
            spans = [10**more for more in range(max(0, DIGITS[0] - len(digits)), DIGITS[1] - len(digits) + 1)]
            return in_ranges(of, [(int(digits) * span, (int(digits) + 1) * span - 1) for span in spans])
        if of.kind != "text":
            raise unfit(of, how, at)
        if not value.text:
            raise refused(f"{how} needs at least one character", value.at, ["text in quotes"])
        return OnText(column_of(of), _TEXT_OPS[how], (value.text.encode(),))

    def _tags(self, node: rule.Tags) -> Test:
        fields = [found for found in self.fields.values() if found.kind == "tags"]
        if not fields:
            raise refused("no field of kind tags is defined", node.at)
        each: list[list[tuple[Column, int]]] = []  # by name: where its plane lies
        for name in node.names:
            places = [plane_of(of, code) for of in fields if (code := of.code_of(name.text)) is not None]
            if not places:
                choices = (value for of in fields for value in of.values)
                self._no_such(f"tag {name}", all(of.closed for of in fields), name, name.text, choices)
            each.append(places)
        if node.every and len(fields) == 1:
            found: Test = OnPlanes(join(p for places in each for p in places), True) if all(each) else Always(False)
        elif node.every:
            found = Every(tuple([OnPlanes(join(places)) for places in each]))
        else:
            found = OnPlanes(join(p for places in each for p in places))
        return Complement(found) if node.lacks else found

    def _segment(self, node: rule.InSegment, depth: int) -> Test:
        name = node.name.text
        if name in self.frozen:
            return Given(FrozenMembers(self.frozen[name]))
        if name in self.within:
            chain = " > ".join(map(rule.quote, [*self.within[self.within.index(name) :], name]))
            raise refused(f"segment {node.name} would contain itself: {chain}", node.name.at)
        if name not in self.named:
            raise refused(f"no segment is called {node.name}", node.name.at, (), nearest(name, self.named))
        self.within += (name,)
        try:
            inner = self.parse(self.named[name])
            found = self.test(inner, depth)
        except CommandRefused as exc:  # its place is in the other text
            detail, guess = f"in segment {node.name}: {exc.detail}", exc.extra["did_you_mean"]
            raise refused(detail[:300], node.name.at, exc.extra["expected"], guess, code=exc.code) from exc
        self.within = self.within[:-1]
        if inner.limit is not None or inner.top is not None:
            cut = "limit" if inner.top is None else "top"
            raise refused(f"segment {node.name} has a {cut}, so it cannot be part of another", node.name.at)
        return found


def _paths(values: Iterable[str]) -> list[str]:
    """Every region and every path above one."""
    parts = (value.split("/") for value in values)
    return list(dict.fromkeys("/".join(part[:n]) for part in parts for n in range(1, len(part) + 1)))
