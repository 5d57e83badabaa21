"""Which fields and segments a rule names, and the same rule with one of them renamed.

Touches: nothing. Purely of the tree: whether a field exists is typing's business.
`in region` and a derived age stand on the fields called region and birthday without naming them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import get_args

from dispatcher.errors import CommandRefused
from dispatcher.segments import rule
from dispatcher.segments.dated import AGE, BIRTHDAY
from dispatcher.segments.parse import parse
from dispatcher.segments.rule import Node, Rule

_ON_FIELD = get_args(rule.FieldCondition)


def names_in(text: str, fields: Collection[str] = ()) -> set[str]:
    """The fields that a text needs. Raises CommandRefused for a text that does not parse."""
    return fields_of_rule(parse(text, fields), fields)


def rename_in(text: str, old: str, new: str, fields: Collection[str] = ()) -> str | None:
    """The canonical text with a field renamed; None when it does not need that field.

    Raises CommandRefused: 422 for a text that does not parse, 409 for one that only works under the old name.
    """
    found = parse(text, fields)
    if old not in fields_of_rule(found, fields):
        return None
    for condition in conditions_of(found):
        if (isinstance(condition, rule.InRegion) and old == "region") or (
            old == BIRTHDAY and AGE not in fields and getattr(condition, "name", "") == AGE
        ):
            detail = f"`{condition}` stands on the field called {old}, so {old} cannot be renamed while it is used"
            raise CommandRefused(409, "state_conflict", detail)
    return str(renamed(found, old, new))


def fields_of_rule(found: Rule, fields: Collection[str] = ()) -> set[str]:
    names = {found.top.name} if found.top else set()
    for condition in conditions_of(found):
        if isinstance(condition, _ON_FIELD):
            names.add(BIRTHDAY if condition.name == AGE and AGE not in fields else condition.name)
            names.add(condition.name)
        elif isinstance(condition, rule.InRegion):
            names.add("region")
    return names


def segments_in(found: Rule) -> set[str]:
    """Titles of the segments that a rule names."""
    return {each.name.text for each in conditions_of(found) if isinstance(each, rule.InSegment)}


def renamed(found: Rule, old: str, new: str) -> Rule:
    """The same rule over a field that is called otherwise now."""

    def change(node: Node) -> Node:
        return replace(node, name=new) if isinstance(node, _ON_FIELD) and node.name == old else node

    top = replace(found.top, name=new) if found.top and found.top.name == old else found.top
    return replace(_changed(found, change), top=top)


def with_segment_renamed(found: Rule, old: str, new: str) -> Rule:
    """The same rule over a segment that is called otherwise now."""

    def change(node: Node) -> Node:
        return rule.InSegment(rule.Value(new)) if isinstance(node, rule.InSegment) and node.name.text == old else node

    return _changed(found, change)


def conditions_of(found: Rule) -> Iterator[rule.Condition]:
    """Every condition of a rule, in the order of its text."""
    waiting: list[Node] = [found.without, found.who] if found.without else [found.who]
    while waiting:
        match waiting.pop():
            case rule.Not(part):
                waiting.append(part)
            case rule.And(parts) | rule.Or(parts):
                waiting += reversed(parts)
            case condition:
                yield condition


def _changed(found: Rule, change: Callable[[Node], Node]) -> Rule:
    without = _mapped(found.without, change) if found.without else None
    return replace(found, who=_mapped(found.who, change), without=without)


def _mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    match node:
        case rule.Not(part):
            return rule.negate(_mapped(part, change))
        case rule.And(parts):
            return rule.all_of([_mapped(part, change) for part in parts])
        case rule.Or(parts):
            return rule.any_of([_mapped(part, change) for part in parts])
    return change(node)
