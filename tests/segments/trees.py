"""Random rules with every kind of condition, for what must hold of all of them: print, parse, JSON."""

from __future__ import annotations

from hypothesis import strategies as st

from dispatcher.segments import rule
from dispatcher.segments.lexer import RESERVED
from dispatcher.segments.rule import Node, Rule, Span, Value
from dispatcher.segments.tree import COMPARISONS, CONSENTS, DAYS, TEXT_OPS, UNITS, VERBS

# fields that are called as the language's own words, and plain ones
ODD = [
    "messages",
    "sent",
    "today",
    "known",
    "tag",
    "sample",
    "days",
    "answered",
    "region",
    "top",
    "birthday",
    "in_last",
]
ODD += ["标签", "同意", "有效期", "最近消费", "回答", "年", "消费12月", "é", "x1"]
NAMES = st.sampled_from(["age", "tier", "visits", *ODD]) | st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
names = NAMES.filter(lambda name: name not in RESERVED)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(Value)
numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=3).map(
    lambda found: rule.number(f"{found:f}")
) | st.integers(-(10**30), 10**30).map(lambda found: rule.number(str(found)))
values = texts | numbers
spans = st.builds(Span, st.integers(1, 36_525), st.sampled_from(UNITS))
comparisons = st.sampled_from(COMPARISONS)


def conditions() -> st.SearchStrategy[Node]:
    sets = st.lists(values, min_size=1, max_size=5).map(rule.values_of)
    purposes = st.sampled_from(["marketing", "care", "service", "otp"])
    tagged = st.lists(texts, min_size=1, max_size=4)
    question = st.sampled_from(["nps", "q", "sent"])
    return st.one_of(
        st.just(rule.Everyone()),
        st.builds(rule.Compare, names, comparisons, values),
        st.builds(rule.Between, names, values, values),
        st.builds(rule.OneOf, names, sets, st.booleans()),
        st.builds(rule.Text, names, st.sampled_from(TEXT_OPS), texts),
        st.builds(rule.Is, names, st.sampled_from(["known", "unknown", "yes", "no"])),
        st.builds(rule.IsDay, names, st.sampled_from(DAYS), st.booleans()),
        st.builds(rule.Within, names, spans, st.booleans()),
        st.builds(rule.Older, names, spans),
        st.builds(rule.DaysSince, names, comparisons, numbers),
        st.builds(rule.InMonth, names, st.integers(1, 12)),
        st.builds(rule.InRegion, texts),
        st.builds(lambda n, every, lacks: rule.tags(n, every=every, lacks=lacks), tagged, st.booleans(), st.booleans()),
        st.builds(rule.InSegment, texts),
        st.builds(rule.Consent, st.sampled_from(CONSENTS), purposes, st.none() | spans),
        st.builds(rule.Campaign, st.sampled_from(VERBS), st.none() | texts, st.none() | texts, st.none() | spans),
        st.builds(rule.Messages, spans, comparisons, numbers),
        st.builds(rule.Answered, question, question),
        st.builds(rule.Answered, question, question, comparisons, values),
    )


def trees() -> st.SearchStrategy[Node]:
    def deeper(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, min_size=2, max_size=4)
        return st.one_of(inner.map(rule.negate), some.map(rule.all_of), some.map(rule.any_of))

    return st.recursive(conditions(), deeper, max_leaves=8)


def rules() -> st.SearchStrategy[Rule]:
    counts = st.integers(1, (1 << 32) - 1)
    ends = st.tuples(st.integers(0, 9_999), st.integers(0, 9_999)).map(sorted)
    shares = st.builds(rule.Sample, st.integers(1, 10_000), texts) | ends.map(lambda pair: rule.Bucket(*pair))
    return st.builds(
        Rule,
        trees(),
        st.none() | trees(),
        st.none() | counts,
        st.none() | st.builds(rule.Top, counts, names),
        st.lists(shares, max_size=3).map(rule.shares_of),
    )
