"""A rule as JSON: there and back, and where a wrong tree is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import CommandRefused
from dispatcher.segments import rule
from dispatcher.segments.parse import parse
from dispatcher.segments.tree import NODES, from_json, to_json
from tests.segments.trees import rules


@given(rules())
def test_a_rule_goes_to_json_and_text_and_back(found: rule.Rule) -> None:
    tree = json.loads(json.dumps(to_json(found)))
    assert from_json(tree) == found
    assert parse(str(from_json(tree))) == found


def test_a_tree_has_a_row_a_condition() -> None:
    found = parse(
        'age between 25 and 40 and (tier = "gold" or not joined in last 30 days) except has tag "staff" '
        'sample 12.5% by "s" bucket 0..499 top 5 by spend limit 3'
    )
    assert to_json(found) == {
        "who": {
            "all": [
                {"field": "age", "op": "between", "value": [25, 40]},
                {
                    "any": [
                        {"field": "tier", "op": "=", "value": "gold"},
                        {"not": {"field": "joined", "op": "in last", "value": {"count": 30, "unit": "day"}}},
                    ]
                },
            ]
        },
        "except": {"tags": ["staff"], "op": "any"},
        "samples": [{"percent": 12.5, "by": "s"}],
        "buckets": [{"from": 0, "to": 499}],
        "top": {"count": 5, "by": "spend"},
        "limit": 3,
    }


def row(**changes: Any) -> dict[str, Any]:
    return {"who": {"all": [{"everyone": True}, {"field": "age", "op": ">", "value": 5} | changes]}}


@pytest.mark.parametrize(
    ("tree", "pointer", "guess"),
    [
        ([], "", None),
        ({}, "/who", None),
        ({"who": {"everyone": False}}, "/who/everyone", None),
        ({"who": []}, "/who", None),
        ({"who": {"al": []}}, "/who", "all"),
        ({"who": {"all": []}}, "/who/all", None),
        ({"who": {"all": {}}}, "/who/all", None),
        ({"who": {"not": {"everyone": True}, "all": []}}, "/who/not", None),
        ({"who": {"everyone": True}, "limits": 3}, "/limits", "limit"),
        ({"who": {"everyone": True}, "limit": 0}, "/limit", None),
        ({"who": {"everyone": True}, "limit": True}, "/limit", None),
        ({"who": {"everyone": True}, "top": {"count": 3}}, "/top/by", None),
        ({"who": {"everyone": True}, "samples": [{"percent": 0.001, "by": "s"}]}, "/samples/0/percent", None),
        ({"who": {"everyone": True}, "samples": [{"percent": float("nan"), "by": "s"}]}, "/samples/0/percent", None),
        ({"who": {"everyone": True}, "buckets": [{"from": 5, "to": 4}]}, "/buckets/0/to", None),
        (row(field="Age"), "/who/all/1/field", None),
        (row(field="and"), "/who/all/1/field", None),
        (row(op="=>"), "/who/all/1/op", ">"),
        (row(op="betwen"), "/who/all/1/op", "between"),
        (row(op="between"), "/who/all/1/value", None),
        (row(op="between", value=[1, 2, 3]), "/who/all/1/value", None),
        (row(op="in", value=[]), "/who/all/1/value", None),
        (row(op="in", value=[1, None]), "/who/all/1/value/1", None),
        (row(op="is", value="knwn"), "/who/all/1/value", "known"),
        (row(op="in last", value={"count": 3, "unit": "hour"}), "/who/all/1/value/unit", None),
        (row(op="in month", value=13), "/who/all/1/value", None),
        (row(op="days since", value={"op": ">", "value": "5"}), "/who/all/1/value/value", None),
        (row(value=float("inf")), "/who/all/1/value", None),
        (row(value={"number": "1e5"}), "/who/all/1/value", None),
        (row(value={"number": "9" * 41}), "/who/all/1/value", None),
        (row(value="\ud800"), "/who/all/1/value", None),
        (row(extra=1), "/who/all/1/extra", None),
        ({"who": {"campaign": "x", "verb": "replied"}}, "/who/verb", "replied to"),
        ({"who": {"answered": "nps"}}, "/who/answered", None),
        ({"who": {"answered": "nps.q", "op": ">"}}, "/who", None),
    ],
)
def test_a_wrong_tree_is_told_where(tree: Any, pointer: str, guess: str | None) -> None:
    with pytest.raises(CommandRefused) as caught:
        from_json(tree)
    found = caught.value
    assert (found.status, found.code, found.extra["pointer"]) == (422, "segment_syntax", pointer)
    assert found.errors[0]["pointer"] == pointer and found.extra["did_you_mean"] == guess


def test_a_tree_past_a_limit_is_refused() -> None:
    deep: Any = {"everyone": True}
    for _ in range(900):
        deep = {"not": deep}
    wide = {"any": [{"field": "a", "op": "=", "value": n} for n in range(2_001)]}
    long = {"field": "a", "op": "=", "value": "x" * 100_000}
    for who, told in ((deep, "deep"), (wide, "2,000 conditions"), (long, "octets")):
        with pytest.raises(CommandRefused, match=told):
            from_json({"who": who})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NODES, "op", "value", "who"]), inner),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"who": values}, optional={"except": values, "samples": values, "top": values}))
def test_any_json_is_a_rule_or_refused_with_a_pointer(tree: dict[str, Any]) -> None:
    try:
        assert parse(str(from_json(tree)))
    except CommandRefused as refused:
        assert isinstance(refused.extra["pointer"], str)
