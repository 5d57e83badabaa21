"""The text of a segment to tokens: which word stands where, in English, in Chinese, or in both.

Touches: nothing. One pass, linear in the text; what the grammar may take next comes from the parser's state.
Rests on: words.py TABLE. A word is the longest spelling that the grammar may take here, else a field's name.

A run of Chinese letters and digits without blanks is cut only when all of it is words, known names and numbers;
otherwise it is one name. Outside quotes full-width signs and digits count as the usual ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.records.states import Purpose
from dispatcher.segments.refusal import refused
from dispatcher.segments.rule import Value, number
from dispatcher.segments.words import PURPOSES, TABLE

DEPTH_MAX = 100  # brackets in brackets: issue 3
CONDITIONS_MAX = 2_000  # the same
WORDS_MAX = 20_000  # words and signs, and the next, of a text: below 0.1 s of parsing (PITFALLS 4, segment language)
VALUES_MAX = 10_000  # values in lists
DIGITS_MAX = 40
RUN_MAX = 400  # characters of a run that is looked through for words
PHRASE_MAX = 5  # words of the longest spelling: "held out of any campaign"

_DIGIT = "0-9０-９"
_STRING = "|".join(
    rf"{opening}(?:[^{closing}\\]++|\\.)*+{closing}"
    for opening, closing in (('"', '"'), ("[“”]", "“”"), ("「", "」"), ("『", "』"), ("＂", "＂"))
).replace("+“”", "+[“”]")
_NUMBER = rf"[-－]?[{_DIGIT}]++(?:[.．][{_DIGIT}]++)?(?![A-Za-z_]|[.．](?![.．]))"
_LITERAL = f"{_STRING}|{_NUMBER}"
_RAW = re.compile(
    rf"""(?P<list>[(（]\s*+(?:{_LITERAL})(?:\s*+[,，、]\s*+(?:{_LITERAL}))*+\s*+[)）])
    | (?P<string>{_STRING}) | (?P<number>{_NUMBER})
    | (?P<dotted>[^\W\d]\w*+\.[^\W\d]\w*+) | (?P<word>[^\W\d]\w*+)
    | (?P<sign>[<>!＜＞！][=＝]|[<>=≤≥≠＜＞＝()（）,，、%％]|\.\.|．．) | (?P<bad>\S)""",
    re.VERBOSE | re.DOTALL,
)
_VALUE = re.compile(f"(?P<string>{_STRING})|(?P<number>{_NUMBER})", re.DOTALL)
_FRACTION = re.compile(f"[.．][{_DIGIT}]++")
_PLAIN = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FULL = str.maketrans("０１２３４５６７８９－．＝＜＞！（），、％", "0123456789-.=<>!(),,%")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SIGNS = {"(": "_LPAR", ")": "_RPAR", "%": "_PERCENT", "..": "_DOTS"}


@dataclass(slots=True)
class Word:
    """A token, as lark's parser takes it."""

    type: str  # a terminal of the grammar, or BAD: what no grammar takes
    value: Any  # a word's meaning, a field's name, a Value, the values of a list
    start: int
    end: int


def _spellings() -> dict[str, list[tuple[str, str]]]:
    """Each spelling -> what it may be, as (terminal, meaning)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for terminal, english, chinese in TABLE:
        meaning, *others = english.split("|")
        written = [*others, *chinese.split("|")] + [meaning] * (not meaning.startswith("~"))
        for spelling in filter(None, written):
            found.setdefault(spelling, []).append((terminal, meaning.lstrip("~")))
    return found


SPELLINGS = _spellings()
_CHINESE = {spelling for spelling in SPELLINGS if not spelling.isascii()} | PURPOSES.keys()
_WORD_LONGEST = max(map(len, _CHINESE))
# what a spelling of several words begins with, joined as they would be
_BEGINNINGS = {
    *(spelling[:n] for spelling in _CHINESE for n in range(1, len(spelling))),
    *(" ".join(words[:n]) for spelling in SPELLINGS if " " in spelling and (words := spelling.split(" "))
      for n in range(1, len(words))),
}  # fmt: skip
RESERVED = {
    spelling
    for spelling, readings in SPELLINGS.items()
    if {terminal for terminal, _ in readings}
    & {"_AND", "_OR", "NOT", "_EXCEPT", "_EVERYONE", "_BETWEEN", "IN", "_IS", "HAS", "LACKS", "_LIMIT"}
}
_MORE = {"_AND": 1, "_OR": 1, "_EXCEPT": 1, "_BETWEEN": -1}
_FOLLOWED_BY = {
    "_HAS_TAG": ("string", "list"), "_ANSWERED": ("dotted",), "CONSENT": ("word",), "CAMPAIGN": ("string",),
}  # fmt: skip
PURPOSE_WORDS = {*PURPOSES, *(purpose.value for purpose in Purpose)}
Piece = tuple[str, str, int, int]  # kind, text, start, end


def tokens(text: str, names: Mapping[str, str], accepts: Callable[[], Collection[str]]) -> Iterator[Word]:
    """Words of `text` in turn; `accepts` says before each what the grammar may take. Raises CommandRefused.

    names: what a field may be called, in lower case -> the field's name.
    """
    pieces = _pieces(text, names)
    depth = at = 0
    conditions = 1  # each and, or, except brings one more, but for the and of a between
    while at < len(pieces):
        kind, said, start, end = pieces[at]
        at += 1
        if kind == "word":
            allowed = accepts()
            count, terminal, meaning = _word(pieces, at - 1, allowed)
            at += count - 1
            if terminal == "NAME":
                meaning = names.get(meaning, meaning)
            conditions += _MORE.get(terminal, 0)
            if conditions > CONDITIONS_MAX:
                raise refused(f"more than {CONDITIONS_MAX:,} conditions", start)
            yield Word(terminal, meaning, start, pieces[at - 1][3])
        elif kind == "string":
            yield Word("STRING", _string(said, start), start, end)
        elif kind == "number":
            yield Word("NUMBER", _number(said, start), start, end)
        elif kind == "list":
            yield Word("LIST", _values(text, start, end), start, end)
        elif kind == "sign":
            sign = said.translate(_FULL)
            depth += {"(": 1, ")": -1}.get(sign, 0)
            if depth > DEPTH_MAX:
                raise refused(f"brackets more than {DEPTH_MAX} deep", start)
            terminal = _SIGNS.get(sign, "BAD" if sign == "," else "CMP")
            yield Word(terminal, SPELLINGS[sign][0][1] if terminal == "CMP" else sign, start, end)
        elif kind == "much":
            raise refused(said, start)
        else:
            yield Word("DOTTED" if kind == "dotted" else "BAD", said, start, end)


def _pieces(text: str, names: Mapping[str, str]) -> list[Piece]:
    """The text cut without knowing the grammar."""
    pieces: list[Piece] = []
    count = values = end = 0
    for found in _RAW.finditer(text):
        kind, start = str(found.lastgroup), found.start()
        if start < end:  # taken already, as the rest of a number
            continue
        said, end = found[0], found.end()
        count += 1
        if kind == "list":
            values += 1 + said.count(",") + said.count("，") + said.count("、")
        if count > WORDS_MAX or values > VALUES_MAX:
            most = f"{WORDS_MAX:,} words and signs" if count > WORDS_MAX else f"{VALUES_MAX:,} values in lists"
            pieces.append(("much", f"more than {most}", start, start))
            break
        if kind == "word" and not said.isascii() and (cut := _cut(_lower(said), names)):
            count += len(cut)
            for part in cut:
                pieces.append(("number" if part[0].isdecimal() else "word", part, start, start + len(part)))
                start += len(part)
            kind, said, start, _ = pieces[-1]
            if kind == "number" and (more := _FRACTION.match(text, end)):
                end = more.end()
                pieces[-1] = (kind, said + more[0], start, end)
        else:
            pieces.append((kind, _lower(said) if kind == "word" else said, start, end))
        if (
            kind == "bad"
        ):  # nothing after it will be read; a quote that is not closed would be looked for again and again
            break
    return pieces


def _cut(run: str, names: Mapping[str, str]) -> list[str]:
    """The words, names and numbers that `run` is made of, the longest first; [] when it is one word or name."""
    if run in names or run in SPELLINGS or len(run) > RUN_MAX:
        return []
    longest = max(_WORD_LONGEST, max(map(len, names), default=0))
    after: list[int] = [0] * len(run) + [len(run)]  # where the piece that begins here ends; 0: none does
    for start in range(len(run) - 1, -1, -1):
        if run[start].isdecimal():
            end = start + 1
            while end < len(run) and run[end].isdecimal():
                end += 1
            after[start] = end if after[end] else 0
            continue
        for end in range(min(len(run), start + longest), start, -1):
            if after[end] and (run[start:end] in _CHINESE or run[start:end] in names):
                after[start] = end
                break
    cut, at = [], 0
    while after[0] and at < len(run):
        cut.append(run[at : after[at]])
        at = after[at]
    return cut


def _word(pieces: list[Piece], at: int, allowed: Collection[str]) -> tuple[int, str, str]:
    """(pieces it takes, terminal, meaning) of the word that begins at `at`."""
    said = pieces[at][1]
    joined, best, count = said, None, 1
    for further in range(at, min(at + PHRASE_MAX, len(pieces))):
        if further > at:
            kind, next_word, _, _ = pieces[further]
            if kind != "word" or joined not in _BEGINNINGS:
                break
            joined += (" " if joined.isascii() else "") + next_word
        for terminal, meaning in SPELLINGS.get(joined, ()):
            if terminal in allowed and _goes_on(terminal, pieces, further + 1):
                best, count = (terminal, meaning), further - at + 1
                break
    if best:
        return count, *best
    if said in SPELLINGS and ("NAME" not in allowed or said in RESERVED):
        return 1, SPELLINGS[said][0][0], said
    return 1, "NAME", said


def _goes_on(terminal: str, pieces: list[Piece], at: int) -> bool:
    """Whether what follows lets a word that begins a condition be that word; else it is a field's name."""
    needed = _FOLLOWED_BY.get(terminal)
    if needed is None:
        return True
    if terminal == "CONSENT" and pieces[at - 1][1].isascii():  # no field is called opted out of
        return True
    if at >= len(pieces) or pieces[at][0] not in needed:
        return False
    return terminal != "CONSENT" or pieces[at][1] in PURPOSE_WORDS


def _lower(word: str) -> str:
    lower = word.lower()
    return lower if len(lower) == len(word) else word  # places must stay


def _string(said: str, at: int) -> Value:
    inner = said[1:-1]
    return Value(_ESCAPED.sub(r"\1", inner) if "\\" in inner else inner, at=at)


def _number(said: str, at: int) -> Value:
    if _PLAIN.fullmatch(said):
        return Value(said, True, at)
    if len(said) > DIGITS_MAX:
        raise refused(f"a number of {len(said)} characters; {DIGITS_MAX} are the most", at)
    return number(said.translate(_FULL), at)


def _values(text: str, start: int, end: int) -> tuple[Value, ...]:
    return tuple(
        [
            _string(found[0], found.start()) if found.lastgroup == "string" else _number(found[0], found.start())
            for found in _VALUE.finditer(text, start, end)
        ]
    )
