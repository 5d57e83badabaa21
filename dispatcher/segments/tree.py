"""A rule as JSON and back: what a page edits as rows, one object a condition.

Touches: nothing. from_json(to_json(rule)) == rule; every fault of a JSON tree is told with a JSON pointer.

    {"who": node, "except": node, "samples": [{"percent": 10, "by": "s"}], "buckets": [{"from": 0, "to": 499}],
     "top": {"count": 5000, "by": "spend"}, "limit": 10}          all but "who" may be absent
    node       {"all": [node, ..]}   {"any": [node, ..]}   {"not": node}   or a condition:
    of a field {"field": "age", "op": "between", "value": [25, 40]}
      = != < <= > >=  value   between  [value, value]   in, not in  [value, ..]   contains, starts with, ends with  text
      is, is not  known unknown yes no today "last week" ..   days since  {"op": ">", "value": 60}   in month  1 to 12
      in last, in next, more than ago  {"count": 30, "unit": "day"}
    of a member {"everyone": true}   {"tags": ["a", "b"], "op": "any", "all" or "lacks any", "lacks all"}
      {"region": "a/b"}   {"segment": "Regulars"}
      {"consent": "consented to" or "opted out of", "purpose": "marketing", "last": {"count", "unit"}}
      {"campaign": "Spring" or null for any, "verb": "replied to", "text": "1", "last": {"count", "unit"}}
      {"messages": {"count", "unit"}, "op": "<", "value": 2}   {"answered": "nps.q1", "op": "<=", "value": 6}
    value      a text, a whole number, or {"number": "12.50"} for one that JSON's numbers would blur
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose
from dispatcher.segments import rule
from dispatcher.segments.lexer import DIGITS_MAX, RESERVED
from dispatcher.segments.parse import BUCKETS, CONDITIONS_MAX, LIMIT_MAX, SPAN_MAX, TEXT_OCTETS_MAX
from dispatcher.segments.refusal import nearest
from dispatcher.segments.rule import Node, Rule, Span, Value
from dispatcher.segments.words import TABLE

DEPTH_MAX = 250  # typed.py NESTING_MAX: a text of 100 brackets has about two levels a bracket
_EXACT = 1 << 53  # whole numbers that every JSON reader keeps
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NAME = re.compile(r"[^\W\d]\w{0,63}")
_MEANINGS: dict[str, list[str]] = {}
for _terminal, _english, _ in TABLE:
    _MEANINGS.setdefault(_terminal, []).append(_english.split("|")[0].lstrip("~"))
COMPARISONS, STATES, DAYS, UNITS = (_MEANINGS[name] for name in ("CMP", "STATE", "DAY", "UNIT"))
TEXT_OPS, CONSENTS = _MEANINGS["TEXT_HOW"], _MEANINGS["CONSENT"]
VERBS = [verb.removesuffix(" campaign") for verb in _MEANINGS["CAMPAIGN"]]
FIELD_OPS = [
    *COMPARISONS, "between", "in", "not in", *TEXT_OPS, "is", "is not", "in last", "in next", "more than ago",
    "days since", "in month",
]  # fmt: skip
TAG_OPS = {"any": (False, False), "all": (True, False), "lacks any": (False, True), "lacks all": (True, True)}


def to_json(found: Rule) -> dict[str, Any]:
    """The tree of a rule."""
    tree: dict[str, Any] = {"who": _node_json(found.who)}
    if found.without:
        tree["except"] = _node_json(found.without)
    samples = [share for share in found.shares if isinstance(share, rule.Sample)]
    buckets = [share for share in found.shares if isinstance(share, rule.Bucket)]
    if samples:
        tree["samples"] = [{"percent": _percent(share), "by": share.salt.text} for share in samples]
    if buckets:
        tree["buckets"] = [{"from": share.low, "to": share.high} for share in buckets]
    if found.top:
        tree["top"] = {"count": found.top.count, "by": found.top.name}
    if found.limit is not None:
        tree["limit"] = found.limit
    return tree


def _node_json(node: Node) -> dict[str, Any]:
    match node:
        case rule.And(parts):
            return {"all": [_node_json(part) for part in parts]}
        case rule.Or(parts):
            return {"any": [_node_json(part) for part in parts]}
        case rule.Not(part):
            return {"not": _node_json(part)}
        case rule.Everyone():
            return {"everyone": True}
        case rule.Tags(names, every, lacks):
            op = next(op for op, meaning in TAG_OPS.items() if meaning == (every, lacks))
            return {"tags": [name.text for name in names], "op": op}
        case rule.InRegion(path):
            return {"region": _value_json(path)}
        case rule.InSegment(name):
            return {"segment": name.text}
        case rule.Consent(what, purpose, span):
            return {"consent": what, "purpose": purpose, **_last(span)}
        case rule.Campaign(verb, name, text, span):
            said = {"text": text.text} if text else {}
            return {"campaign": name.text if name else None, "verb": verb, **said, **_last(span)}
        case rule.Messages(span, comparison, value):
            return {"messages": _span_json(span), "op": comparison, "value": _value_json(value)}
        case rule.Answered(app, question, comparison, value):
            compared = {"op": comparison, "value": _value_json(value)} if value else {}
            return {"answered": f"{app}.{question}", **compared}
    op, value = _asked(node)
    return {"field": node.name, "op": op, "value": value}


def _asked(node: rule.FieldCondition) -> tuple[str, Any]:
    """op and value of a condition on a field."""
    match node:
        case rule.Compare(_, comparison, value):
            return comparison, _value_json(value)
        case rule.Between(_, low, high):
            return "between", [_value_json(low), _value_json(high)]
        case rule.OneOf(_, values, negated):
            return "not in" if negated else "in", [_value_json(value) for value in values]
        case rule.Text(_, how, value):
            return how, value.text
        case rule.Is(_, what):
            return "is", what
        case rule.IsDay(_, what, negated):
            return "is not" if negated else "is", what
        case rule.Within(_, span, ahead):
            return "in next" if ahead else "in last", _span_json(span)
        case rule.Older(_, span):
            return "more than ago", _span_json(span)
        case rule.DaysSince(_, comparison, value):
            return "days since", {"op": comparison, "value": _value_json(value)}
        case rule.InMonth(_, month):
            return "in month", month


def _last(span: Span | None) -> dict[str, Any]:
    return {"last": _span_json(span)} if span else {}


def _span_json(span: Span) -> dict[str, Any]:
    return {"count": span.count, "unit": span.unit}


def _value_json(value: Value) -> Any:
    if not value.number:
        return value.text
    if "." not in value.text and abs(int(value.text)) <= _EXACT:
        return int(value.text)
    return {"number": value.text}


def _percent(share: rule.Sample) -> Any:
    return share.share // 100 if share.share % 100 == 0 else share.share / 100


def from_json(tree: Any) -> Rule:
    """The rule of a tree. Raises CommandRefused 422 segment_syntax, with the JSON pointer of what is wrong."""
    reader = _Reader()
    known = ("who", "except", "samples", "buckets", "top", "limit")
    parts = reader.object(tree, "", known, needed=("who",))
    without = reader.node(parts["except"], "/except", 0) if parts.get("except") is not None else None
    shares: list[rule.Sample | rule.Bucket] = []
    for each, at in reader.items(parts.get("samples", []), "/samples"):
        shares.append(reader.sample(each, at))
    for each, at in reader.items(parts.get("buckets", []), "/buckets"):
        shares.append(reader.bucket(each, at))
    top = limit = None
    if parts.get("top") is not None:
        said = reader.object(parts["top"], "/top", ("count", "by"), needed=("count", "by"))
        top = rule.Top(reader.whole(said["count"], "/top/count", 1, LIMIT_MAX), reader.name(said["by"], "/top/by"))
    if parts.get("limit") is not None:
        limit = reader.whole(parts["limit"], "/limit", 1, LIMIT_MAX)
    found = Rule(reader.node(parts["who"], "/who", 0), without, limit, top, rule.shares_of(shares))
    if len(str(found).encode()) > TEXT_OCTETS_MAX:
        raise _wrong("", f"as a text it has more than {TEXT_OCTETS_MAX:,} octets")
    return found


class _Reader:
    """One reading of a tree: checks each part and counts the conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def node(self, found: Any, at: str, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise _wrong(at, f"nested more than {DEPTH_MAX} deep")
        if not isinstance(found, dict):
            raise _wrong(at, "a condition is an object", NODES)
        for word, build in (("all", rule.all_of), ("any", rule.any_of)):
            if word in found:
                parts = self.object(found, at, (word,))[word]
                nodes = [self.node(part, place, depth + 1) for part, place in self.items(parts, f"{at}/{word}")]
                if not nodes:
                    raise _wrong(f"{at}/{word}", "at least one condition")
                return build(nodes)
        if "not" in found:
            return rule.negate(self.node(self.object(found, at, ("not",))["not"], f"{at}/not", depth + 1))
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            raise _wrong(at, f"more than {CONDITIONS_MAX:,} conditions")
        for word, read in _CONDITIONS.items():
            if word in found:
                return read(self, found, at)
        guess = next((near for key in found if (near := nearest(str(key), NODES))), None)
        raise _wrong(at, f"a condition has one of {', '.join(NODES)}", NODES, guess)

    def field(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("field", "op", "value"), needed=("field", "op", "value"))
        name, op = self.name(said["field"], f"{at}/field"), self.word(said["op"], f"{at}/op", FIELD_OPS)
        value, place = said["value"], f"{at}/value"
        if op in COMPARISONS:
            return rule.Compare(name, op, self.value(value, place))
        if op == "between":
            ends = [self.value(each, where) for each, where in self.items(value, place)]
            if len(ends) != 2:
                raise _wrong(place, "between has two values")
            return rule.Between(name, ends[0], ends[1])
        if op in ("in", "not in"):
            values = [self.value(each, where) for each, where in self.items(value, place)]
            if not values:
                raise _wrong(place, "at least one value")
            return rule.OneOf(name, rule.values_of(values), op == "not in")
        if op in TEXT_OPS:
            return rule.Text(name, op, Value(self.text(value, place)))
        if op in ("is", "is not"):
            return self._state(name, op == "is not", self.word(value, place, [*STATES, *DAYS]))
        if op == "days since":
            asked = self.object(value, place, ("op", "value"), needed=("op", "value"))
            comparison = self.word(asked["op"], f"{place}/op", COMPARISONS)
            return rule.DaysSince(name, comparison, self.number(asked["value"], f"{place}/value"))
        if op == "in month":
            return rule.InMonth(name, self.whole(value, place, 1, 12))
        span = self.span(value, place)
        return rule.Older(name, span) if op == "more than ago" else rule.Within(name, span, op == "in next")

    def _state(self, name: str, negated: bool, what: str) -> Node:
        if what in DAYS:
            return rule.IsDay(name, what, negated)
        opposite = {"known": "unknown", "unknown": "known", "yes": "no", "no": "yes"}
        return rule.Is(name, opposite[what] if negated else what)

    def everyone(self, found: Any, at: str) -> Node:
        if self.object(found, at, ("everyone",))["everyone"] is not True:
            raise _wrong(f"{at}/everyone", "true")
        return rule.Everyone()

    def tags(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("tags", "op"), needed=("tags",))
        names = [Value(self.text(each, place)) for each, place in self.items(said["tags"], f"{at}/tags")]
        if not names:
            raise _wrong(f"{at}/tags", "at least one tag")
        every, lacks = TAG_OPS[self.word(said.get("op", "any"), f"{at}/op", list(TAG_OPS))]
        return rule.tags(names, every=every, lacks=lacks)

    def region(self, found: Any, at: str) -> Node:
        path = self.object(found, at, ("region",))["region"]
        return rule.InRegion(Value(self.text(path, f"{at}/region")))

    def segment(self, found: Any, at: str) -> Node:
        title = self.object(found, at, ("segment",))["segment"]
        return rule.InSegment(Value(self.text(title, f"{at}/segment")))

    def consent(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("consent", "purpose", "last"), needed=("consent", "purpose"))
        what = self.word(said["consent"], f"{at}/consent", CONSENTS)
        purpose = self.word(said["purpose"], f"{at}/purpose", [each.value for each in Purpose])
        return rule.Consent(what, purpose, self.last(said, at))

    def campaign(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("campaign", "verb", "text", "last"), needed=("verb",))
        name = None if said["campaign"] is None else Value(self.text(said["campaign"], f"{at}/campaign"))
        text = None if said.get("text") is None else Value(self.text(said["text"], f"{at}/text"))
        return rule.Campaign(self.word(said["verb"], f"{at}/verb", VERBS), name, text, self.last(said, at))

    def messages(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("messages", "op", "value"), needed=("op", "value"))
        span = self.span(said["messages"], f"{at}/messages")
        comparison = self.word(said["op"], f"{at}/op", COMPARISONS)
        return rule.Messages(span, comparison, self.number(said["value"], f"{at}/value"))

    def answered(self, found: Any, at: str) -> Node:
        said = self.object(found, at, ("answered", "op", "value"))
        app, dot, question = self.text(said["answered"], f"{at}/answered").partition(".")
        if not (dot and _NAME.fullmatch(app) and _NAME.fullmatch(question)):
            raise _wrong(f"{at}/answered", "an app and its question, such as nps.q1")
        if ("op" in said) != ("value" in said):
            raise _wrong(at, "op and value go together")
        if "op" not in said:
            return rule.Answered(app, question)
        comparison = self.word(said["op"], f"{at}/op", COMPARISONS)
        return rule.Answered(app, question, comparison, self.value(said["value"], f"{at}/value"))

    def sample(self, found: Any, at: str) -> rule.Sample:
        said = self.object(found, at, ("percent", "by"), needed=("percent", "by"))
        percent = said["percent"]
        numeric = isinstance(percent, int | float) and not isinstance(percent, bool) and 0 < percent <= 100
        share = round(percent * 100) if numeric else 0
        if not 1 <= share <= BUCKETS or share / 100 != percent:
            raise _wrong(f"{at}/percent", "a number from 0.01 to 100, with at most two decimal places")
        return rule.Sample(share, Value(self.text(said["by"], f"{at}/by")))

    def bucket(self, found: Any, at: str) -> rule.Bucket:
        said = self.object(found, at, ("from", "to"), needed=("from", "to"))
        low = self.whole(said["from"], f"{at}/from", 0, BUCKETS - 1)
        return rule.Bucket(low, self.whole(said["to"], f"{at}/to", low, BUCKETS - 1))

    def object(self, found: Any, at: str, known: tuple[str, ...], *, needed: tuple[str, ...] = ()) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise _wrong(at, "an object", list(known))
        for key in found:
            if key not in known:
                guess = nearest(str(key), known)
                raise _wrong(f"{at}/{key}"[:200], f"not known here; there are {', '.join(known)}", list(known), guess)
        for key in needed:
            if key not in found:
                raise _wrong(f"{at}/{key}", "missing")
        return found

    def items(self, found: Any, at: str) -> list[tuple[Any, str]]:
        if not isinstance(found, list):
            raise _wrong(at, "a list")
        return [(each, f"{at}/{n}") for n, each in enumerate(found)]

    def last(self, said: dict[str, Any], at: str) -> Span | None:
        return None if said.get("last") is None else self.span(said["last"], f"{at}/last")

    def span(self, found: Any, at: str) -> Span:
        said = self.object(found, at, ("count", "unit"), needed=("count", "unit"))
        unit = self.word(said["unit"], f"{at}/unit", UNITS)
        return Span(self.whole(said["count"], f"{at}/count", 1, SPAN_MAX), unit)

    def name(self, found: Any, at: str) -> str:
        if not isinstance(found, str) or not _NAME.fullmatch(found) or found != found.lower() or found in RESERVED:
            raise _wrong(at, "a field's name: a letter, then letters, digits and _, in lower case")
        return found

    def word(self, found: Any, at: str, words: list[str]) -> str:
        if not isinstance(found, str) or found not in words:
            guess = nearest(found, words) if isinstance(found, str) else None
            raise _wrong(at, f"one of {', '.join(words)}", words, guess)
        return found

    def whole(self, found: Any, at: str, least: int, most: int) -> int:
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise _wrong(at, f"a whole number from {least} to {most}")
        return found

    def text(self, found: Any, at: str) -> str:
        if not isinstance(found, str) or any("\ud800" <= c <= "\udfff" for c in found):
            raise _wrong(at, "a text")
        return found

    def number(self, found: Any, at: str) -> Value:
        value = self.value(found, at)
        if not value.number:
            raise _wrong(at, "a number")
        return value

    def value(self, found: Any, at: str) -> Value:
        if isinstance(found, str):
            return Value(self.text(found, at))
        if isinstance(found, dict) and set(found) == {"number"} and isinstance(found["number"], str):
            digits = found["number"]
        elif isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < 10**DIGITS_MAX:
            digits = str(found)
        else:
            digits = ""
        if len(digits) > DIGITS_MAX or not _NUMBER.fullmatch(digits) or not digits.isascii():
            raise _wrong(at, 'a text, a number, or {"number": "12.50"}')
        return rule.number(digits)


_CONDITIONS: dict[str, Callable[[_Reader, Any, str], Node]] = {
    "field": _Reader.field, "everyone": _Reader.everyone, "tags": _Reader.tags, "region": _Reader.region,
    "segment": _Reader.segment, "consent": _Reader.consent, "campaign": _Reader.campaign,
    "messages": _Reader.messages, "answered": _Reader.answered,
}  # fmt: skip
NODES = ["all", "any", "not", *_CONDITIONS]


def _wrong(at: str, detail: str, expected: list[str] | None = None, guess: str | None = None) -> CommandRefused:
    said = f"{at[-100:] or 'the tree'}: {detail}"
    extra = {"position": 0, "pointer": at, "expected": expected or [], "did_you_mean": guess}
    errors = [{"pointer": at, "code": "segment_syntax", "detail": detail}]
    return CommandRefused(422, "segment_syntax", said[:400], errors=errors, extra=extra)
