"""A segment's rule as a small tree, and its canonical print: equal segments have equal text.

Touches: nothing. Built by parse.py and tree.py (or the builders below), given a meaning by typed.py.
Rests on: PRODUCT E. parse(str(rule)) == rule for every tree that the builders make: and/or are flat,
a double `not` is gone, values of a set are sorted and met once. Stored is the English print.

`at` is where in the text a thing began, for errors; it takes no part in equality.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from dispatcher.segments.words import ENGLISH, Language


class _Said:
    """Something a rule is made of: it can be said in a language, and its text is the English."""

    __slots__ = ()

    def say(self, word: Language) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.say(ENGLISH)


@dataclass(frozen=True, slots=True)
class Value:
    """A literal as written: text, or a decimal number in its shortest form."""

    text: str
    number: bool = False
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text if self.number else quote(self.text)


@dataclass(frozen=True, slots=True)
class Span:
    count: int
    unit: str  # day, week, month, year


@dataclass(frozen=True, slots=True)
class Everyone(_Said):
    def say(self, word: Language) -> str:
        return word("everyone")


@dataclass(frozen=True, slots=True)
class Compare(_Said):
    name: str
    comparison: str  # = != < <= > >=
    value: Value
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {self.comparison} {self.value}"


@dataclass(frozen=True, slots=True)
class Between(_Said):
    """Both ends belong to it."""

    name: str
    low: Value
    high: Value
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        together = "和" if word.code == "zh" else "and"
        return f"{word.name(self.name)} {word('between')} {self.low} {together} {self.high}"


@dataclass(frozen=True, slots=True)
class OneOf(_Said):
    name: str
    values: tuple[Value, ...]
    negated: bool = False  # `not in` is a condition too: false on an unknown
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {word('not in' if self.negated else 'in')} ({_list(self.values)})"


@dataclass(frozen=True, slots=True)
class Text(_Said):
    name: str
    how: str  # contains, starts with, ends with
    value: Value
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {word(self.how)} {self.value}"


@dataclass(frozen=True, slots=True)
class Is(_Said):
    name: str
    what: str  # known, unknown, yes, no
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {word('is')} {word(self.what)}"


@dataclass(frozen=True, slots=True)
class IsDay(_Said):
    name: str
    what: str  # today, tomorrow, yesterday, or this, last, next with week, month, year
    negated: bool = False  # a condition too: false on an unknown
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {word('is not' if self.negated else 'is')} {word(self.what)}"


@dataclass(frozen=True, slots=True)
class Within(_Said):
    """In the last or next days, today included."""

    name: str
    span: Span
    ahead: bool = False
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {_since(self.span, word, 'in next' if self.ahead else 'in last')}"


@dataclass(frozen=True, slots=True)
class Older(_Said):
    name: str
    span: Span
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        span = word.span(self.span.count, self.span.unit)
        return f"{word.name(self.name)} {word('more than')} {span} {word('ago')}"


@dataclass(frozen=True, slots=True)
class DaysSince(_Said):
    name: str
    comparison: str
    value: Value  # a number
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        name = word.name(self.name)
        subject = f"{name} {word('days past')}" if word.code == "zh" else f"days since {name}"
        return f"{subject} {self.comparison} {self.value}"


@dataclass(frozen=True, slots=True)
class InMonth(_Said):
    name: str
    month: int
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name(self.name)} {word('in month')} {self.month}"


@dataclass(frozen=True, slots=True)
class InRegion(_Said):
    """The field called region is this path or lies below it; parts are parted by /."""

    path: Value
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word.name('region')} {word('in')} {self.path}" if word.code == "zh" else f"in region {self.path}"


@dataclass(frozen=True, slots=True)
class Tags(_Said):
    names: tuple[Value, ...]
    every: bool = False
    lacks: bool = False
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        verb = word("lacks" if self.lacks else "has")
        if len(self.names) == 1:
            return f"{verb} {word('tag')} {self.names[0]}"
        return f"{verb} {word('all tags of' if self.every else 'any tag of')} ({_list(self.names)})"


@dataclass(frozen=True, slots=True)
class InSegment(_Said):
    name: Value

    def say(self, word: Language) -> str:
        return f"{word('in segment')} {self.name}"


@dataclass(frozen=True, slots=True)
class Consent(_Said):
    what: str  # consented to, opted out of
    purpose: str
    span: Span | None = None
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word(self.what)} {word.purpose(self.purpose)}{_ending(self.span, word)}"


@dataclass(frozen=True, slots=True)
class Campaign(_Said):
    verb: str  # sent, received, undelivered, replied to, redeemed, held out of
    name: Value | None  # None: any campaign
    text: Value | None = None
    span: Span | None = None
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        subject = word(f"{self.verb} {'campaign' if self.name else 'any campaign'}")
        subject += f" {self.name}" if self.name else ""
        text = f" {word('with')} {self.text}" if self.text else ""
        return subject + text + _ending(self.span, word)


@dataclass(frozen=True, slots=True)
class Messages(_Said):
    """How many messages the last days brought."""

    span: Span
    comparison: str
    value: Value  # a number
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{_since(self.span, word, 'messages in last')} {self.comparison} {self.value}"


@dataclass(frozen=True, slots=True)
class Answered(_Said):
    app: str
    question: str
    comparison: str | None = None
    value: Value | None = None
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        compared = f" {self.comparison} {self.value}" if self.comparison else ""
        return f"{word('answered')} {self.app}.{self.question}{compared}"


@dataclass(frozen=True, slots=True)
class Not(_Said):
    part: Node

    def say(self, word: Language) -> str:
        return f"{word('not')} {_inner(self.part, And | Or, word)}"


@dataclass(frozen=True, slots=True)
class And(_Said):
    parts: tuple[Node, ...]

    def say(self, word: Language) -> str:
        return f" {word('and')} ".join([_inner(part, Or, word) for part in self.parts])


@dataclass(frozen=True, slots=True)
class Or(_Said):
    parts: tuple[Node, ...]

    def say(self, word: Language) -> str:
        return f" {word('or')} ".join([part.say(word) for part in self.parts])


FieldCondition = Compare | Between | OneOf | Text | Is | IsDay | Within | Older | DaysSince | InMonth
Condition = FieldCondition | Everyone | InRegion | Tags | InSegment | Consent | Campaign | Messages | Answered
Node = Condition | Not | And | Or


@dataclass(frozen=True, slots=True)
class Sample(_Said):
    """A share of everybody, drawn by a salt: the same people for the same salt."""

    share: int  # of 10,000: 10% is 1,000
    salt: Value
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        percent = number(f"{self.share // 100}.{self.share % 100:02}")
        return f"{word('sample')} {percent}% {word('by')} {self.salt}"


@dataclass(frozen=True, slots=True)
class Bucket(_Said):
    """Buckets of 10,000; both ends belong to it."""

    low: int
    high: int
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word('bucket')} {self.low}..{self.high}"


@dataclass(frozen=True, slots=True)
class Top(_Said):
    """The members with the highest values of a field; an unknown has none."""

    count: int
    name: str
    at: int = field(default=0, compare=False)

    def say(self, word: Language) -> str:
        return f"{word('top')} {self.count} {word('by')} {word.name(self.name)}"


@dataclass(frozen=True, slots=True)
class Rule(_Said):
    """A whole segment: who, without whom, which share of them, and at most how many (the lowest member numbers)."""

    who: Node
    without: Node | None = None
    limit: int | None = None
    top: Top | None = None  # taken before limit
    shares: tuple[Sample | Bucket, ...] = ()  # each narrows; in the order of `shares_of`

    def say(self, word: Language) -> str:
        without = [f"{word('except')} {self.without.say(word)}"] if self.without else []
        cuts = [cut.say(word) for cut in (*self.shares, *([self.top] if self.top else []))]
        limit = [f"{word('limit')} {self.limit}"] if self.limit is not None else []
        return " ".join([self.who.say(word), *without, *cuts, *limit])


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
    met = {(value.text, value.number): value for value in values}
    texts = sorted([key[0] for key in met if not key[1]])
    numbers = sorted([key[0] for key in met if key[1]], key=_size)
    return tuple([met[text, False] for text in texts] + [met[text, True] for text in numbers])


def shares_of(shares: Iterable[Sample | Bucket]) -> tuple[Sample | Bucket, ...]:
    """Samples and buckets in their canonical order."""
    return tuple(sorted(dict.fromkeys(shares), key=lambda share: (isinstance(share, Bucket), str(share))))


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


def _size(text: str) -> int | Decimal:
    return Decimal(text) if "." in text else int(text)


def _list(values: Iterable[Value]) -> str:
    return ", ".join(map(str, values))


def _since(span: Span, word: Language, before: str) -> str:
    within = f" {word('within')}" if word.code == "zh" else ""
    return f"{word(before)} {word.span(span.count, span.unit)}{within}"


def _ending(span: Span | None, word: Language) -> str:
    return f" {_since(span, word, 'in last')}" if span else ""


def _inner(part: Node, bracketed: object, word: Language) -> str:
    return f"({part.say(word)})" if isinstance(part, bracketed) else part.say(word)  # type: ignore[arg-type]
