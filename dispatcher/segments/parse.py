"""The text of a segment to its tree; what is wrong with a text, where, and what was meant.

Touches: the grammar file beside it, read once. Keeps the trees of the last short texts.
Rests on: PRODUCT E; lark's LALR parser with its contextual lexer, linear in the text.

Every refusal is CommandRefused(422, "segment_syntax") with extra {position, expected, did_you_mean};
position counts characters from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from dispatcher.errors import CommandRefused
from dispatcher.segments import rule
from dispatcher.segments.rule import Node, Rule, Value

TEXT_OCTETS_MAX = 100_000  # this and the next two: issue 3
DEPTH_MAX = 100
CONDITIONS_MAX = 2_000
WORDS_MAX = 20_000  # words, literals and signs: about 0.1 s of parsing (PITFALLS 4, segment language)
DIGITS_MAX = 40
LIMIT_MAX = (1 << 32) - 1  # member_no is a u32
REMEMBERED = 1_000  # characters of a text whose tree is kept
NEAREST_OF = 2_000  # names compared for did_you_mean: a guess is not worth more

# terminals -> what a person may type there; `_X` and `X` are the same word
WORDS = {
    "FIELD": "a field name", "CMP": "a comparison (= != < <= > >=)", "STRING": "text in quotes", "NUMBER": "a number",
    "LPAR": "(", "RPAR": ")", "COMMA": ",", "$END": "the end", "TAG": "tag",
    "STARTS": "starts with", "ENDS": "ends with",
}  # fmt: skip
START_WORDS = ("everyone", "not", "has", "lacks", "in")

NOT_YET = re.compile(
    r"""\b(?: (?P<samples>sample|bucket|top) \b
    | (?P<birthdays>birthday \s+ (?:is \s+ today | in \s+ (?:next|month))) \b
    | (?P<relative>is \s+ (?:not \s+)? (?:today|tomorrow|yesterday|this|last|next) | in \s+ (?:last|next)
                   | more \s+ than | days \s+ since) \b
    | (?P<regions>in \s+ region) \b
    | (?P<consents>consented \s+ to | opted \s+ out) \b
    | (?P<campaigns>(?:sent|received|undelivered|redeemed) \s+ (?:any|campaign) | replied \s+ to | held \s+ out) \b
    | (?P<messages>messages \s+ in \s+ last) \b
    | (?P<answers>answered \s+ \w+) )""",
    re.VERBOSE | re.IGNORECASE,
)
NOT_YET_NAMES = {
    "samples": "sample, bucket and top",
    "birthdays": "birthday conditions",
    "relative": "dates relative to today",
    "regions": "region paths (a field called region can be compared)",
    "consents": "consent conditions (opted-out members are left out of every send)",
    "campaigns": "conditions on campaigns",
    "messages": "counts of messages",
    "answers": "answers of an app",
}
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\w+|[^\w\s]', re.DOTALL)


def parse(text: str, fields: Iterable[str] = ()) -> Rule:
    """The rule that `text` says; `fields` are only for did_you_mean. Raises CommandRefused."""
    try:
        return _remembered(text) if len(text) <= REMEMBERED else _parse(text)
    except UnexpectedInput as exc:
        raise _explain(text, exc, list(fields)) from exc


def _parse(text: str) -> Rule:
    _check_size(text)
    found: Rule = _grammar().parse(text)  # type: ignore[assignment]
    return found


_remembered = lru_cache(maxsize=128)(_parse)  # a text is counted, previewed and started in a row; trees are frozen


def refused(
    detail: str,
    position: int,
    expected: Iterable[str] = (),
    did_you_mean: str | None = None,
    *,
    code: str = "segment_syntax",
) -> CommandRefused:
    extra = {"position": position, "expected": list(expected), "did_you_mean": did_you_mean}
    return CommandRefused(422, code, detail, extra=extra)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, letter case aside; None when none is like it."""
    if not word or len(word) > 64:
        return None
    by_folded = {choice.casefold(): choice for choice in islice(choices, NEAREST_OF)}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


class _Build(Transformer[Token, Any]):
    """Called by the parser as each rule ends; children are trees, values, tokens or None."""

    def start(self, parts: list[Any]) -> Rule:
        who, without, limit = parts
        if limit is None:
            return Rule(who, without)
        if not limit.isdecimal() or not 1 <= _whole(limit) <= LIMIT_MAX:
            raise refused(f"limit {limit[:20]}: a whole number from 1 to {LIMIT_MAX}", limit.start_pos, ["a number"])
        return Rule(who, without, int(limit))

    any_of = staticmethod(rule.any_of)
    all_of = staticmethod(rule.all_of)

    def negate(self, parts: list[Node]) -> Node:
        return rule.negate(parts[0])

    def everyone(self, _: list[Any]) -> Node:
        return rule.Everyone()

    def compare(self, parts: list[Any]) -> Node:
        field, comparison, value = parts
        return rule.Compare(str(field).lower(), str(comparison), value, field.start_pos)

    def between(self, parts: list[Any]) -> Node:
        field, low, high = parts
        return rule.Between(str(field).lower(), low, high, field.start_pos)

    def one_of(self, parts: list[Any]) -> Node:
        field, negated, *values = parts
        return rule.OneOf(str(field).lower(), rule.values_of(values), negated is not None, field.start_pos)

    def text(self, parts: list[Any]) -> Node:
        field, how, value = parts
        word = how.lower()
        how = word if word == "contains" else f"{word} with"
        return rule.Text(str(field).lower(), how, _string(value), field.start_pos)

    def is_state(self, parts: list[Any]) -> Node:
        field, negated, what = parts
        word = what.lower()
        if negated is not None:  # an unknown is neither yes nor no
            word = {"known": "unknown", "unknown": "known", "yes": "no", "no": "yes"}[word]
        return rule.Is(str(field).lower(), word, field.start_pos)

    def tags(self, parts: list[Token]) -> Node:
        names = [_string(part) for part in parts if part.type == "STRING"]
        every = any(part.type == "ALL" for part in parts)
        return rule.tags(names, every=every, lacks=parts[0].type == "LACKS", at=parts[0].start_pos or 0)

    def in_segment(self, parts: list[Token]) -> Node:
        return rule.InSegment(_string(parts[0]))

    def value(self, parts: list[Token]) -> Value:
        (token,) = parts
        if token.type == "STRING":
            return _string(token)
        _whole(token)
        return rule.number(str(token), token.start_pos or 0)


def _string(token: Token) -> Value:
    return Value(re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL), at=token.start_pos or 0)


def _whole(token: Token) -> int:
    if len(token) > DIGITS_MAX:
        raise refused(f"a number of {len(token)} characters; {DIGITS_MAX} are the most", token.start_pos or 0)
    return int(token.partition(".")[0])


@cache
def _grammar() -> Lark:
    grammar = files("dispatcher.segments").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Build(), maybe_placeholders=True)


def _check_size(text: str) -> None:
    """Before the parser: octets and open brackets, so that neither can cost more than a look."""
    try:
        octets = len(text.encode())
    except UnicodeEncodeError as exc:
        raise refused("half a surrogate pair is no character", exc.start) from exc
    if octets > TEXT_OCTETS_MAX:
        raise refused(f"the text has {octets:,} octets; {TEXT_OCTETS_MAX:,} are the most", 0)
    depth = 0
    for n, found in enumerate(_WORD.finditer(text)):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth > DEPTH_MAX:
            raise refused(f"brackets more than {DEPTH_MAX} deep", found.start())
        if n == WORDS_MAX:
            raise refused(f"more than {WORDS_MAX:,} words, values and signs", found.start())


def _explain(text: str, exc: UnexpectedInput, fields: list[str]) -> CommandRefused:
    position, met, terminals = len(text.rstrip()), "", set[str]()
    if isinstance(exc, UnexpectedToken):
        terminals = exc.accepts or exc.expected
        if exc.token.type != "$END":
            position, met = exc.token.start_pos or 0, str(exc.token)
    elif isinstance(exc, UnexpectedCharacters):
        position, terminals = exc.pos_in_stream or 0, exc.allowed
        met = text[position : position + 1]
    for later in NOT_YET.finditer(text, max(0, position - 80), position + 80):
        if later.start() <= position <= later.end():
            return refused(f"not supported yet: {NOT_YET_NAMES[later.lastgroup or '']}", later.start())
    if met == '"':
        return refused("the text that begins here has no closing quote", position, ['"'])
    words = {WORDS.get(name.lstrip("_"), name.lstrip("_").lower()) for name in terminals}
    expected = sorted(words, key=lambda word: (not word[0].isalpha(), word))
    position, guess = _guess(text, position, met, words, fields)
    said = f"`{met[:40]}` cannot stand here" if met else "the text ends too soon"
    return refused(f"{said}; expected {_or(expected)}", position, expected, guess)


def _guess(text: str, position: int, met: str, words: set[str], fields: list[str]) -> tuple[int, str | None]:
    """What was meant, and where: the word met, or the one before it, taken for a field: `hass tag "x"`."""
    choices = [word for word in words if " " not in word and word.isalpha()]
    choices += ["starts", "ends"] if "starts with" in words else []
    choices += fields if "a field name" in words else []
    guess = nearest(met, choices) if met[:1].isalpha() else None
    before = re.search(r"[^\W\d]\w*$", text[max(0, position - 80) : position].rstrip())
    if guess is None and before and before[0] not in fields and "is" in words:
        guess = nearest(before[0], START_WORDS)
        position = text.rindex(before[0], 0, position) if guess else position
    return position, guess


def _or(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
