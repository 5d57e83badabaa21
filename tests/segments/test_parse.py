"""The text of a segment: what it may say, its canonical print, and what a wrong one is told."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import CommandRefused
from dispatcher.segments import rule
from dispatcher.segments.parse import parse
from tests.segments.trees import rules

FIELDS = ["age", "sex", "city", "joined", "birthday", "tags", "name"]


def refusal(text: str) -> CommandRefused:
    with pytest.raises(CommandRefused) as caught:
        parse(text, FIELDS)
    assert caught.value.status == 422 and caught.value.code == "segment_syntax"
    return caught.value


def least_s(work: Callable[[], object]) -> float:
    """Seconds of this processor that the quickest of three runs took."""
    found = []
    for _ in range(3):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)


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
        ("积分档 >= 25", "积分档 >= 25"),
        (
            'everyone limit 5 top 3 by a sample 1% by "z" bucket 0..9 sample 12.50% by "b"',
            'everyone sample 1% by "z" sample 12.5% by "b" bucket 0..9 top 3 by a limit 5',
        ),
        ("joined in last 1 days or a in last 2 month", "joined in last 1 day or a in last 2 months"),
        ("a is not  next   week", "a is not next week"),
        (
            "messages in last 7 days and messages in last 1 week > 2",
            "messages in last 7 days and messages in last 1 week > 2",
        ),
        ("today is today and sent is known and days = 1 and consented = 2 and answered in (1)", None),
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
        ("age in 5", 7, "(values, in brackets)", None),
        ("age = 12x", 6, "a number", None),
        ('name contains "abc', 14, '"', None),
        ('name starts "abc"', 5, "starts with", "starts with"),
        ("age between 1", 13, "and", None),
        ("joined in lst 3 days", 7, "(values, in brackets)", "in last"),
        ("joined in last 3 dys", 17, "day", "days"),
        ("joined in last 0 days", 15, "a number", None),
        ("birthday in month 13", 18, "a number", None),
        ("joined is tody", 10, "today", "today"),
        ('recieved campaign "x"', 0, "is", "received campaign"),
        ('everyone sample 0% by "x"', 16, "a percentage", None),
        ('everyone sample 1.234% by "x"', 16, "a percentage", None),
        ("everyone bucket 5..4", 16, "a number", None),
        ("everyone bucket 0..10000", 19, "a number", None),
        ("everyone limit 1 limit 2", 23, None, None),
        ("年龄 大于等 5", 3, "between", "大于等于"),
        ("age in (1, )", 7, "(values, in brackets)", None),
        ("age = 1 limit 0", 14, "a number", None),
        ("age = 1 limit 1.5", 14, "a number", None),
    ],
)
def test_a_wrong_text_is_told_where_and_what_was_expected(
    text: str, position: int, expected: str | None, guess: str | None
) -> None:
    found = refusal(text).extra
    assert found["position"] == position
    assert expected is None or expected in found["expected"]
    assert found["did_you_mean"] == guess


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("age = 1" + " " * 100_000, "octets"),
        ("(" * 101 + "age = 1" + ")" * 101, "deep"),
        ("(" * 10_000 + "age = 1" + ")" * 10_000, "deep"),
        ("age in (" + "1," * 20_000 + "1)", "values in lists"),
        ("not " * 24_000 + "age = 1", "words"),
        (" or ".join(["age = 1"] * 2_001), "conditions"),
        (" or ".join(["age between 1 and 2"] * 2_001), "conditions"),
        ("age = " + "9" * 5_000, "characters"),
        ("age = 1 limit " + "9" * 5_000, "characters"),
        ('age = "\ud800"', "surrogate"),
        ("age = 1\0", "cannot stand"),
        ('"' * 100_000, "cannot stand"),
        ('age = "' + '\\"' * 49_000, "closing quote"),
        ("age in (" + '"a\\"",' * 10_000, "cannot stand"),
        ("age in (" + '"a" ' * 20_000, "cannot stand"),
        ("(1," * 30_000, "cannot stand"),
        ("且" * 33_000, "too soon"),
        ("且积分" * 11_000, "too soon"),
        (("且积分" * 100 + " ") * 110, "cannot stand"),
        ("held out of any " * 6_000, "cannot stand"),
        ("a." * 50_000, "cannot stand"),
        ("1." * 50_000, "cannot stand"),
        ("-" * 100_000, "cannot stand"),
        (" " * 99_000 + "a", "too soon"),
    ],
)
def test_a_huge_or_hostile_text_is_refused_in_little_time(text: str, told: str) -> None:
    assert told in refusal(text).detail
    assert least_s(lambda: refusal(text)) < 0.3  # 0.1 s on a quiet machine


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(f'received campaign "s{n}" in last {n + 1} days' for n in range(1_900)),
        " and ".join(f"age between {n} and {n + 1}" for n in range(2_000)),
        "age in (" + ", ".join(f'"{n}"' for n in range(10_000)) + ")",
        "not " * 19_000 + "age = 1",
        " 或 ".join(f"积分等于{n}" for n in range(2_000)),
    ],
)
def test_what_the_limits_allow_is_parsed_in_little_time(text: str) -> None:
    found = parse(text)
    assert least_s(lambda: parse(text)) < 0.3  # 0.1 s on a quiet machine
    assert parse(str(found)) == found


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
    "last",
    "days",
    "campaign",
    "received",
    "any",
    "生日",
    "且年龄介于",
    "“",
    "(1,",
    "sample",
    "%",
    "nps.q1",
    "answered",
    "..",
]


@given(st.text(max_size=80) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_parsed_or_refused_with_a_place_inside_it(text: str) -> None:
    place = 0
    try:
        parse(text, FIELDS)
    except CommandRefused as refused:
        place = refused.extra["position"]
    assert 0 <= place <= len(text)
