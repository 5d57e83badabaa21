"""The text of a segment: what it may say, its canonical print, and what a wrong one is told."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import CommandRefused
from dispatcher.segments import rule
from dispatcher.segments.parse import parse
from tests.segments.test_select import rules

FIELDS = ["age", "sex", "city", "joined", "birthday", "tags", "name"]


def refusal(text: str) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        parse(text, FIELDS)
    assert caught.value.status == 422 and caught.value.code == "segment_syntax"
    return caught.value


@given(rules())
def test_the_canonical_print_parses_to_the_same_tree(found: rule.Rule) -> None:
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('age between 25 and 40 and sex = "F"', 'age between 25 and 40 and sex = "F"'),
        ('AGE>=025.50 AND (Sex != "M" and city is known)', 'age >= 25.5 and sex != "M" and city is known'),
        ("a = 1 or b = 2 and c = -0", "a = 1 or b = 2 and c = 0"),
        ("(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3"),
        ("not not a = 1", "a = 1"),
        ("not (a = 1 and b = 2)", "not (a = 1 and b = 2)"),
        ("not a is known and not b is unknown", "a is unknown and b is known"),
        ("a is not yes", "a is no"),
        ('a not in ("z", "b", "z", 3, 20)', 'a not in ("b", "z", 3, 20)'),
        ('has any tags of ("b", "a", "b")', 'has any tag of ("a", "b")'),
        ('not has all tags of ("a") and lacks tag "c"', 'lacks tag "a" and lacks tag "c"'),
        ('name starts with "\\"x\\\\"', 'name starts with "\\"x\\\\"'),
        ('everyone except in segment "old" limit 007', 'everyone except in segment "old" limit 7'),
        ('region in ("a") and tag = "b" and birthday > "05-01" and known is known', None),
        ("年龄 >= 25", "年龄 >= 25"),
    ],
)
def test_equal_segments_have_equal_text(text: str, canonical: str | None) -> None:
    found = parse(text)
    assert str(found) == (canonical or text)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "position", "expected", "guess"),
    [
        ("", 0, "a field name", None),
        ("age", 3, "between", None),
        ("age = ", 5, "a number", None),
        ('age betwen 3 and 4 and sex = "F"', 4, "between", "between"),
        ("age = 1 orr sex is known", 8, "or", "or"),
        ("age is knwn", 7, "known", "known"),
        ('hass tag "x"', 0, "is", "has"),
        ("everone", 0, "is", "everyone"),
        ("age = 1 sex = 2", 8, "and", None),
        ("(age = 1", 8, ")", None),
        ("age = 1)", 7, "the end", None),
        ("age = 1 and and sex = 2", 12, "a field name", None),
        ("age in 5", 7, "(", None),
        ("age = 12x", 6, "a number", None),
        ('name contains "abc', 14, '"', None),
        ('name starts "abc"', 12, "with", None),
        ("age = 1 limit 0", 14, "a number", None),
        ("age = 1 limit 1.5", 14, "a number", None),
    ],
)
def test_a_wrong_text_is_told_where_and_what_was_expected(
    text: str, position: int, expected: str, guess: str | None
) -> None:
    found = refusal(text).extra
    assert found["position"] == position
    assert expected in found["expected"]
    assert found["did_you_mean"] == guess


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("age = 1 and birthday is today", 12),
        ("birthday in next 7 days", 0),
        ("days since joined > 60", 0),
        ("joined in last 30 days", 7),
        ("joined is not today", 7),
        ("joined more than 90 days ago", 7),
        ('in region "a/b"', 0),
        ('sex = "F" sample 10% by "x"', 10),
        ("everyone bucket 0..499", 9),
        ("everyone top 5000 by age", 9),
        ("consented to marketing", 0),
        ("not opted out of marketing in last 90 days", 4),
        ('received campaign "Spring"', 0),
        ("undelivered any campaign in last 30 days", 0),
        ('replied to campaign "Spring" with "1"', 0),
        ("messages in last 7 days < 2", 0),
        ("answered nps.q1 <= 6", 0),
    ],
)
def test_words_of_later_parts_are_said_to_be_not_supported_yet(text: str, position: int) -> None:
    found = refusal(text)
    assert found.detail.startswith("not supported yet")
    assert found.extra["position"] == position


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("age = 1" + " " * 100_000, "octets"),
        ("(" * 101 + "age = 1" + ")" * 101, "deep"),
        ("(" * 10_000 + "age = 1" + ")" * 10_000, "deep"),
        ("age in (" + "1," * 20_000 + "1)", "words"),
        ("not " * 24_000 + "age = 1", "words"),
        ("age = " + "9" * 5_000, "characters"),
        ("age = 1 limit " + "9" * 5_000, "characters"),
        ('age = "\ud800"', "surrogate"),
    ],
)
def test_a_huge_or_hostile_text_is_refused_in_little_time(text: str, told: str) -> None:
    parse("everyone")  # the grammar is read once
    began = time.process_time()
    assert told in refusal(text).detail
    assert time.process_time() - began < 0.5


def test_a_hundred_brackets_deep_is_parsed_and_printed() -> None:
    text = "".join(f"not (a = {n} and " for n in range(100)) + "b = 1" + ")" * 100
    assert str(parse(text)) == text
    text = "".join(f"(a = {n} and (b = {n} or " for n in range(50)) + "c = 1" + "))" * 50
    assert parse(str(parse(text))) == parse(text)


WORDS = [
    "age",
    "in",
    "(",
    ")",
    '"x"',
    "5",
    "and",
    "or",
    "not",
    "is",
    "known",
    "=",
    ",",
    "has",
    "tag",
    "limit",
    "except",
]


@given(st.text(max_size=80) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_parsed_or_refused_with_a_place_inside_it(text: str) -> None:
    place = 0
    try:
        parse(text, FIELDS)
    except CommandRefused as refused:
        place = refused.extra["position"]
    assert 0 <= place <= len(text)
