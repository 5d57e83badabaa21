"""The text of a segment to its tree; what is wrong with a text, where, and what was meant.

Touches: the grammar file beside it, read once. Keeps the trees of the last short texts.
Rests on: PRODUCT E; lark's LALR tables, fed word by word from lexer.py, linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from lark import Lark, Transformer
from lark.exceptions import UnexpectedToken

from dispatcher.errors import CommandRefused
from dispatcher.records.states import Purpose
from dispatcher.segments import rule
from dispatcher.segments.lexer import CONDITIONS_MAX, PURPOSE_WORDS, SPELLINGS, Word, tokens
from dispatcher.segments.refusal import nearest, refused
from dispatcher.segments.rule import Node, Rule, Span
from dispatcher.segments.words import LANGUAGES, PURPOSES, TABLE, Language, aliases

__all__ = ["CONDITIONS_MAX", "TEXT_OCTETS_MAX", "parse", "print_rule"]

TEXT_OCTETS_MAX = 100_000  # issue 3
LIMIT_MAX = (1 << 32) - 1  # member_no is a u32
SPAN_MAX = 36_525  # days, or whatever the unit: a hundred years
BUCKETS = 10_000
REMEMBERED = 1_000  # characters of a text whose tree is kept
SAID_MAX = 12  # words that a sentence offers; `expected` has all

# terminals -> what a person may type there, where the words of the table are not it
SHOWN = {
    "NAME": ["a field name"], "CMP": ["a comparison (= != < <= > >=)"], "STRING": ["text in quotes"],
    "NUMBER": ["a number"], "LIST": ["(values, in brackets)"], "DOTTED": ["app.question"],
    "_LPAR": ["("], "_RPAR": [")"], "_PERCENT": ["%"], "_DOTS": [".."], "$END": ["the end"],
}  # fmt: skip


def parse(text: str, fields: Collection[str] = ()) -> Rule:
    """The rule that `text` says. Raises CommandRefused.

    fields: the tenant's, by name; with a mapping to Field their labels are names too. They serve to find what a
    word stands for and what a wrong one was meant to be; whether a field exists is typing's business.
    """
    known = fields if isinstance(fields, Mapping) else dict.fromkeys(fields)
    names = {**aliases(known), **{name: name for name in known}}
    if len(text) <= REMEMBERED:
        return _remembered(text, tuple(names.items()))
    return _parse(text, names)


def print_rule(found: Rule, language: str = "en", fields: Collection[str] = ()) -> str:
    """The canonical text in a language; field names as everybody says them there unless `fields` has them otherwise."""
    word = LANGUAGES[language]
    clashing = [name for name, alias in word.names.items() if alias in fields]
    names = {name: alias for name, alias in word.names.items() if name not in clashing}
    return found.say(Language(word.code, word.words, names, word.purposes))


def _parse(text: str, names: Mapping[str, str]) -> Rule:
    try:
        octets = len(text.encode())
    except UnicodeEncodeError as exc:
        raise refused("half a surrogate pair is no character", exc.start) from exc
    if octets > TEXT_OCTETS_MAX:
        raise refused(f"the text has {octets:,} octets; {TEXT_OCTETS_MAX:,} are the most", 0)
    parser = _grammar().parse_interactive()
    state = parser.parser_state
    table = state.parse_conf.states
    try:
        for word in tokens(text, names, lambda: table[state.position]):
            state.feed_token(word)  # type: ignore[arg-type]
        end = len(text.rstrip())
        found: Rule = state.feed_token(Word("$END", "", end, end), True)  # type: ignore[arg-type]
    except UnexpectedToken as exc:
        raise _explain(text, exc.token, _accepted(parser), names) from None
    return found


@lru_cache(maxsize=128)  # a text is counted, previewed and started in a row; trees are frozen
def _remembered(text: str, names: tuple[tuple[str, str], ...]) -> Rule:
    return _parse(text, dict(names))


@cache
def _grammar() -> Lark:
    grammar = files("dispatcher.segments").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Build(), maybe_placeholders=True)


class _Build(Transformer[Any, Any]):
    """Called by the parser as each rule ends; children are trees, words or None."""

    def start(self, parts: list[Any]) -> Rule:
        who, without, *modifiers = parts
        shares, once = [], dict[str, Any]()
        for word, made in modifiers:
            if word == "share":
                shares.append(made)
            elif word in once:
                raise refused(f"{word} is said twice", made[1])
            else:
                once[word] = made
        limit, top = (once.get(word, (None, 0))[0] for word in ("limit", "top"))
        return Rule(who, without, limit, top, rule.shares_of(shares))

    def sample(self, parts: list[Word]) -> Any:
        percent, salt = parts
        digits = percent.value.text
        share = int(float(digits) * 100 + 0.5) if len(digits) <= 6 else 0
        if not 1 <= share <= BUCKETS or rule.number(f"{share / 100:.2f}") != percent.value:
            detail = f"sample {digits[:20]}%: from 0.01 to 100, with at most two decimal places"
            raise refused(detail, percent.start, ["a percentage"])
        return "share", rule.Sample(share, salt.value, percent.start)

    def bucket(self, parts: list[Word]) -> Any:
        low, high = (_whole(part, 0, BUCKETS - 1, "bucket") for part in parts)
        if low > high:
            raise refused(f"bucket {low}..{high}: the first is above the second", parts[0].start, ["a number"])
        return "share", rule.Bucket(low, high, parts[0].start)

    def top(self, parts: list[Word]) -> Any:
        count, name = parts
        return "top", (rule.Top(_whole(count, 1, LIMIT_MAX, "top"), name.value, name.start), count.start)

    def limit(self, parts: list[Word]) -> Any:
        return "limit", (_whole(parts[0], 1, LIMIT_MAX, "limit"), parts[0].start)

    any_of = staticmethod(rule.any_of)
    all_of = staticmethod(rule.all_of)

    def negate(self, parts: list[Any]) -> Node:
        return rule.negate(parts[1])

    def everyone(self, _: list[Any]) -> Node:
        return rule.Everyone()

    def compare(self, parts: list[Word]) -> Node:
        name, comparison, value = parts
        return rule.Compare(name.value, comparison.value, value.value, name.start)

    def between(self, parts: list[Word]) -> Node:
        name, low, high = parts
        return rule.Between(name.value, low.value, high.value, name.start)

    def one_of(self, parts: list[Word]) -> Node:
        name, how, values = parts
        return rule.OneOf(name.value, rule.values_of(values.value), how.type == "NOT_IN", name.start)

    def text(self, parts: list[Word]) -> Node:
        name, how, value = parts
        return rule.Text(name.value, how.value, value.value, name.start)

    def is_state(self, parts: list[Any]) -> Node:
        name, *negated, state = parts
        what = state.value
        if any(negated):  # an unknown is neither yes nor no
            what = {"known": "unknown", "unknown": "known", "yes": "no", "no": "yes"}[what]
        return rule.Is(name.value, what, name.start)

    def is_day(self, parts: list[Any]) -> Node:
        name, negated, day = parts
        return rule.IsDay(name.value, day.value, negated is not None, name.start)

    def is_not_day(self, parts: list[Any]) -> Node:
        name, day = parts
        return rule.IsDay(name.value, day.value, True, name.start)

    def within(self, parts: list[Any]) -> Node:
        name, direction, span = parts
        return rule.Within(name.value, span, direction.type == "NEXT", name.start)

    def older(self, parts: list[Word]) -> Node:
        name, *span = parts
        return rule.Older(name.value, _span(*span), name.start)

    def days_since(self, parts: list[Word]) -> Node:
        name, comparison, days = parts
        return rule.DaysSince(name.value, comparison.value, days.value, name.start)

    def in_month(self, parts: list[Word]) -> Node:
        name, month = parts
        return rule.InMonth(name.value, _whole(month, 1, 12, "month"), name.start)

    def tags(self, parts: list[Word]) -> Node:
        has, which, names = parts
        return _tags(names, every=which.type == "ALL_TAGS", lacks=has.type == "LACKS", at=has.start)

    def has_tag(self, parts: list[Word]) -> Node:
        return _tags(parts[0], every=False, lacks=False, at=parts[0].start)

    def in_region(self, parts: list[Word]) -> Node:
        return rule.InRegion(parts[0].value, parts[0].start)

    def in_path(self, parts: list[Word]) -> Node:
        name, _, path = parts
        if name.value != "region":
            raise refused(f"only region has paths: `{name.value[:40]} in` needs values in brackets", path.start, ["("])
        return rule.InRegion(path.value, name.start)

    def in_segment(self, parts: list[Word]) -> Node:
        return rule.InSegment(parts[0].value)

    def consent(self, parts: list[Any]) -> Node:
        what, said, span = parts
        purpose = PURPOSES.get(said.value, said.value)
        if purpose not in PURPOSE_WORDS:
            guess = nearest(purpose, PURPOSE_WORDS)
            raise refused(f"`{purpose[:40]}` is no purpose of a message", said.start, sorted(Purpose), guess)
        return rule.Consent(what.value, purpose, span, what.start)

    def campaign(self, parts: list[Any]) -> Node:
        what, name, text, span = parts
        verb = what.value.removesuffix(" campaign")
        return rule.Campaign(verb, name.value, text and text.value, span, what.start)

    def any_campaign(self, parts: list[Any]) -> Node:
        what, text, span = parts
        return rule.Campaign(what.value.removesuffix(" any campaign"), None, text and text.value, span, what.start)

    def messages(self, parts: list[Any]) -> Node:
        span, comparison, count = parts
        if comparison is None:  # of a date field that somebody called messages
            return rule.Within("messages", span)
        return rule.Messages(span, comparison.value, count.value, comparison.start)

    def answered(self, parts: list[Any]) -> Node:
        question, comparison, value = parts
        app, _, name = question.value.partition(".")
        return rule.Answered(app, name, comparison and comparison.value, value and value.value, question.start)

    def span(self, parts: list[Word]) -> Span:
        return _span(*parts)

    def since(self, parts: list[Any]) -> Span:
        return parts[1]  # type: ignore[no-any-return]


def _tags(names: Word, *, every: bool, lacks: bool, at: int) -> Node:
    values = names.value if names.type == "LIST" else (names.value,)
    for value in values:
        if value.number:
            raise refused("tags are texts: put them in quotes", value.at, ["text in quotes"], f'"{value}"')
    return rule.tags(values, every=every, lacks=lacks, at=at)


def _span(count: Word, unit: Word) -> Span:
    return Span(_whole(count, 1, SPAN_MAX, f"a number of {unit.value}s"), unit.value)


def _whole(found: Word, least: int, most: int, what: str) -> int:
    digits = found.value.text
    if not digits.isdecimal() or not least <= int(digits) <= most:
        raise refused(f"{what} {digits[:20]}: a whole number from {least} to {most}", found.start, ["a number"])
    return int(digits)


def _accepted(parser: Any) -> set[str]:
    """Terminals that may come next; costs a try each, so it is for errors only."""
    return set(parser.accepts())


def _explain(text: str, word: Word, terminals: set[str], names: Mapping[str, str]) -> CommandRefused:
    position, met = word.start, text[word.start : word.end]
    if met[:1] in ('"', "“", "”", "「", "『", "＂") and word.type == "BAD":
        return refused("the text that begins here has no closing quote", position, [met])
    expected = [shown for terminal in sorted(terminals) for shown in _shown(terminal)]
    expected.sort(key=lambda shown: (not shown[0].isalpha(), shown))
    position, guess = _guess(text, position, met, terminals, names)
    said = f"`{met[:40]}` cannot stand here" if met else "the text ends too soon"
    return refused(f"{said}; expected {_or(expected)}", position, expected, guess)


def _guess(text: str, position: int, met: str, terminals: set[str], names: Mapping[str, str]) -> tuple[int, str | None]:
    """What was meant, and where: words of one spelling, the word met, or the one before it, taken for a field."""
    if met and not met[0].isalpha():
        return position, None
    before = re.search(r"[^\W\d]\w*$", text[max(0, position - 80) : position].rstrip())
    at = text.rindex(before[0], 0, position) if before else position
    if before and met and (guess := nearest(f"{before[0]} {met}", _phrases(), cutoff=0.85)):
        return at, guess
    if met and (guess := nearest(met, _choices(terminals, names))):
        return position, guess
    if before and before[0] not in names and "_IS" in terminals:
        guess = nearest(before[0], [choice for choice in _starts() if choice != before[0]])
        return (at, guess) if guess else (position, None)
    return position, None


@cache
def _phrases() -> list[str]:
    return [spelling for spelling in SPELLINGS if " " in spelling]


def _shown(terminal: str) -> list[str]:
    """What a person may type for a terminal."""
    if terminal in SHOWN:
        return SHOWN[terminal]
    meanings = (english.split("|")[0] for name, english, _ in TABLE if name == terminal)
    return [meaning for meaning in meanings if not meaning.startswith("~")]


def _choices(terminals: set[str], names: Mapping[str, str]) -> list[str]:
    """Words that could stand, in every spelling, and the fields if one could."""
    spelled = [word for word, readings in SPELLINGS.items() if any(terminal in terminals for terminal, _ in readings)]
    return [word for word in spelled if word[0].isalpha()] + (list(names) if "NAME" in terminals else [])


@cache
def _starts() -> list[str]:
    """Words that a condition begins with."""
    return _choices(_accepted(_grammar().parse_interactive()) - {"NAME"}, {})


def _or(words: list[str]) -> str:
    if len(words) > SAID_MAX:
        return f"{', '.join(words[:SAID_MAX])} or more"
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
