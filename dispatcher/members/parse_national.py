"""A region's rules for plain national numbers as a table that the kernel walks digit by digit.

Touches: nothing. Rests on: parse_cells.national_rules(), whose meaning the table has: digits alone, of a possible
length, that match the region's general pattern and begin with neither a way out of the country nor a national
prefix. Built by derivatives of the three expressions (Brzozowski 1964).
Weak spot: it reads expressions with CPython's own, private parser of them. What that cannot give, or what holds
more than groups, choices, digits and repeats, has no table: parse_cells then decides each number.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from dispatcher.members.parse_cells import Rules, national_rules

STATES_MAX = 2_000
LONGEST = 15  # E.164
DEAD = 0xFFFF
Node = tuple[Any, ...]  # ("set", digits as bits) | ("cat", first, rest) | ("or", frozenset of nodes) | ("",)
_EMPTY: Node = ("",)
_NEVER: Node = ("or", frozenset[Node]())


class _Unknown(Exception):
    """The expression has something that is not understood here."""


@lru_cache(maxsize=16)
def national_table(region: str) -> array[int]:
    """u16: the country's code, a bit a possible length, then 11 a state: the next state by digit (DEAD: none), whether
    a number may end there. State 0 is the first. Empty when there is no table."""
    rules = national_rules(region) if region else None
    if rules is None or max(rules.lengths, default=99) > LONGEST:
        return array("H")
    try:
        return _table(rules)
    except (_Unknown, ImportError, AttributeError):
        return array("H")


def _table(rules: Rules) -> array[int]:
    first = (_tree(rules.whole.pattern), _tree(rules.prefix.pattern) if rules.prefix else _NEVER)
    start = (*first, _tree(rules.ways_out.pattern))
    states: dict[tuple[Node, ...], int] = {start: 0}
    rows: list[list[int]] = []
    waiting: list[tuple[Node, ...]] = [start]
    for state in waiting:
        row = []
        for digit in range(10):
            nodes = tuple(_after(node, digit) for node in state)
            if nodes[0] == _NEVER or _may_end(nodes[1]) or _may_end(nodes[2]) or (digit == 0 and state is start):
                row.append(DEAD)
                continue
            if nodes not in states:
                if len(states) == STATES_MAX:
                    raise _Unknown
                states[nodes] = len(states)
                waiting.append(nodes)
            row.append(states[nodes])
        rows.append([*row, int(_may_end(state[0]))])
    if _may_end(start[1]) or _may_end(start[2]):
        return array("H")  # every number begins with nothing
    return array("H", [rules.country, sum(1 << n for n in rules.lengths), *(cell for row in rows for cell in row)])


def _tree(pattern: str) -> Node:
    from re import _parser

    return _of(_parser.parse(pattern))


def _of(parsed: Iterable[Any]) -> Node:
    node = _EMPTY
    for kind, value in reversed(list(parsed)):
        node = _cat(_one(str(kind), value), node)
    return node


def _one(kind: str, value: Any) -> Node:
    match kind:
        case "LITERAL":
            return _digits(value, value)
        case "IN":
            return ("set", sum(1 << d for d in range(10) if any(_in(str(k), v, d) for k, v in value)))
        case "SUBPATTERN":
            return _of(value[3])
        case "BRANCH":
            return _or(_of(branch) for branch in value[1])
        case "MAX_REPEAT":
            least, most, of = value
            each, node = _of(of), _EMPTY
            for count in range(min(int(most), LONGEST + 1), 0, -1):
                node = _cat(each, node) if count <= least else _or((_EMPTY, _cat(each, node)))
            return node
    raise _Unknown


def _in(kind: str, value: Any, digit: int) -> bool:
    if kind == "CATEGORY" and str(value) == "CATEGORY_DIGIT":
        return True
    if kind == "RANGE":
        return bool(value[0] <= ord("0") + digit <= value[1])
    if kind == "LITERAL":
        return bool(value == ord("0") + digit)
    raise _Unknown


def _digits(first: int, last: int) -> Node:
    return ("set", sum(1 << d for d in range(10) if first <= ord("0") + d <= last))


def _cat(first: Node, rest: Node) -> Node:
    if _NEVER in (first, rest):
        return _NEVER
    if first == _EMPTY:
        return rest
    return _cat(first[1], _cat(first[2], rest)) if first[0] == "cat" else ("cat", first, rest)


def _or(nodes: Iterable[Node]) -> Node:
    flat: set[Node] = set()
    for node in nodes:
        flat |= node[1] if node[0] == "or" else {node}
    return next(iter(flat)) if len(flat) == 1 else ("or", frozenset(flat))


@lru_cache(maxsize=100_000)
def _may_end(node: Node) -> bool:
    match node[0]:
        case "cat":
            return _may_end(node[1]) and _may_end(node[2])
        case "or":
            return any(map(_may_end, node[1]))
    return node == _EMPTY


@lru_cache(maxsize=100_000)
def _after(node: Node, digit: int) -> Node:
    """What may follow once `digit` was read."""
    match node[0]:
        case "set":
            return _EMPTY if node[1] >> digit & 1 else _NEVER
        case "cat":
            after = _cat(_after(node[1], digit), node[2])
            return _or((after, _after(node[2], digit))) if _may_end(node[1]) else after
        case "or":
            return _or(_after(each, digit) for each in node[1])
    return _NEVER
