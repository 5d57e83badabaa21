"""Some rules made ready for whole blocks of numbers: which endpoint each number goes to.

Touches: nothing but the ported numbers it is handed. Rests on: _choose.pyx for the loop, tests/reference/routes.py for
the meaning:

1. A number in the table of ported numbers follows the rules that name its network, if any does.
2. Else the longest prefix decides; a rule without prefixes and networks has the empty one.
3. Of several rules with that prefix (or network): the one that names more (sender, tenant, purpose, window), then the
   cheaper, then the first by name. Its endpoints share by weight, over a hash of the number: always the same one.
4. Endpoints that are down for longer than the rule's failover_after_s count no more. Of none is left: its failover, one
   after the other, then the next rule of 3. If all are down the first's own endpoints keep the message waiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from config import Route

try:
    from dispatcher.routes._choose import Chooser
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel routes/_choose is not built: run `make build`") from exc

WAIT, NO_ROUTE = -1, -2  # instead of an endpoint's number: none of its endpoints is configured; no rule fits
DIGITS = 15
_HASHES = 1 << 32

Tier = tuple[tuple[int, int], ...]  # (endpoint's number, weight)
Octets = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Rule:
    """A route whose endpoints are numbers. The first tier shares by weight; the others are failovers, in order."""

    route: Route
    tiers: tuple[Tier, ...]
    source: str  # file, store or default

    @property
    def specific(self) -> int:
        """How much it names, beside numbers."""
        r = self.route
        return bool(r.senders) + bool(r.tenants) + bool(r.purposes) + bool(r.hours or r.days)

    @property
    def rank(self) -> tuple[int, int, str]:
        """Which of several goes first."""
        return -self.specific, self.route.cost, self.route.name

    def usable(self, standing: Mapping[int, float]) -> list[Tier]:
        """Its tiers without what is down for too long. standing: seconds down by endpoint; what is not there is
        gone."""
        after = self.route.failover_after_s
        return [tuple((e, w) for e, w in tier if standing.get(e, math.inf) <= after) for tier in self.tiers]


def targets(rules: Sequence[Rule], standing: Mapping[int, float]) -> tuple[Rule | None, Tier]:
    """The rule that decides and the endpoints that share; () when none of its endpoints is configured."""
    for rule in rules:
        for tier in rule.usable(standing):
            if tier:
                return rule, tier
    for rule in rules:
        for tier in rule.tiers:
            there = tuple((e, w) for e, w in tier if e in standing)
            if there:
                return rule, there
    return (rules[0] if rules else None), ()


def chain(rules: Iterable[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: rule.rank)


def by_prefix(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        route = rule.route
        for prefix in route.prefixes or (() if route.networks else ("",)):
            found.setdefault(prefix, []).append(rule)
    return {prefix: chain(mine) for prefix, mine in found.items()}


def by_network(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for network in rule.route.networks:
            found.setdefault(network, []).append(rule)
    return {network: chain(mine) for network, mine in found.items()}


@dataclass(slots=True)
class Shares:
    """A bitmap for each endpoint that got any of a block; the subsets are disjoint and make up what was asked for."""

    of: dict[int, bytearray]
    waits: bytearray | None
    no_route: bytearray | None


class Plan:
    """What the rules of one purpose, tenant, sender and hour make of numbers while the endpoints stand as they do."""

    def __init__(self, rules: Sequence[Rule], standing: Mapping[int, float], networks: Sequence[str] = ()) -> None:
        self.rules = tuple(rules)
        self._ends: list[int] = []  # output -> endpoint, WAIT or NO_ROUTE
        self._groups: list[list[tuple[int, int]]] = []
        prefixes, ported = by_prefix(rules), by_network(rules)
        group_of = {prefix: self._group(mine, standing) for prefix, mine in prefixes.items()}
        default = group_of[""] if "" in group_of else self._group([], standing)
        of_network = {network: self._group(mine, standing) for network, mine in ported.items()}
        self.asks_networks = any(network in of_network for network in networks)
        ends = {self._ends[out] for group in self._groups for _, out in group}
        self.only: int | None = next(iter(ends)) if len(ends) == 1 and min(ends) >= 0 else None
        nobody = next((out for out, end in enumerate(self._ends) if end >= 0), 0)
        starts, of, nodes = _intervals(group_of, default)
        self._chooser = Chooser(
            starts, of, nodes, self._groups, [of_network.get(network, -1) for network in networks],
            len(self._ends), nobody,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Plan {len(self.rules)} rules, endpoints {sorted(e for e in self._ends if e >= 0)}>"

    def split(self, numbers: Octets, todo: bytearray, ported: list[memoryview]) -> Shares:
        """The slots of `todo` by endpoint. numbers: u64 a slot. ported: values of the table, where asks_networks."""
        if self.only is not None:
            return Shares({self.only: todo}, None, None)
        size = len(todo)
        out = bytearray(size * len(self._ends))
        self._chooser.choose(numbers, todo, ported, out)
        found = {end: out[i * size : (i + 1) * size] for i, end in enumerate(self._ends)}
        found = {end: bits for end, bits in found.items() if any(bits)}
        waits, no_route = found.pop(WAIT, None), found.pop(NO_ROUTE, None)
        return Shares(found, waits, no_route)

    def one(self, number: int, ported: list[memoryview]) -> int:
        """The endpoint of one number, WAIT or NO_ROUTE."""
        if self.only is not None:
            return self.only
        out = bytearray(8 * len(self._ends))
        self._chooser.choose(number.to_bytes(8, "little"), b"\1" + bytes(7), ported, out)
        return self._ends[out.index(1) // 8]

    def _group(self, rules: Sequence[Rule], standing: Mapping[int, float]) -> int:
        """The number of a group of targets: of each the greatest hash that is still its own, and its output."""
        rule, tier = targets(rules, standing)
        if rule is None:
            shares: Tier = ((NO_ROUTE, 1),)
        else:
            shares = tier or ((WAIT, 1),)
        total, sum_ = sum(weight for _, weight in shares), 0
        group = []
        for end, weight in shares:
            if end not in self._ends:
                self._ends.append(end)
            sum_ += weight
            group.append((sum_ * _HASHES // total, self._ends.index(end)))
        self._groups.append(group)
        return len(self._groups) - 1


def _intervals(group_of: Mapping[str, int], default: int) -> tuple[list[int], list[int], list[tuple[int, int, int]]]:
    """Prefixes as disjoint intervals of numbers left-aligned to 15 digits: (first of each, its node, nodes as (digits,
    group, parent))."""
    prefixes = sorted({"", *group_of})  # one before those that begin with it
    node_of = {prefix: at for at, prefix in enumerate(prefixes)}
    nodes, edges = [], [(0, "")]
    for prefix in prefixes:
        above = next((prefix[:n] for n in range(len(prefix) - 1, -1, -1) if prefix[:n] in node_of), None)
        nodes.append((len(prefix), group_of.get(prefix, default), -1 if above is None else node_of[above]))
        if prefix:
            width = 10 ** (DIGITS - len(prefix))
            edges += [(int(prefix) * width, prefix), ((int(prefix) + 1) * width, "")]
    starts: list[int] = []
    of: list[int] = []
    for start in sorted({start for start, _ in edges}):
        digits = str(start).rjust(DIGITS, "0")[:DIGITS] if start < 10**DIGITS else ""
        mine = max((p for p in _heads(digits) if p in node_of), key=len, default="")
        starts.append(start)
        of.append(node_of[mine])
    return starts, of, nodes


def _heads(digits: str) -> Iterable[str]:
    return (digits[:n] for n in range(1, len(digits) + 1)) if digits and digits[0] != "0" else ()
