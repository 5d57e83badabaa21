"""What a choice of routes means, a number at a time in plain Python (dispatcher/routes/plan.py has the rules in words)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dispatcher.routes.plan import NO_ROUTE, WAIT, Rule

MASK = (1 << 64) - 1


def mix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def endpoint_of(
    number: int, rules: Sequence[Rule], standing: Mapping[int, float], ported: Mapping[int, str] | None = None
) -> int:
    """The endpoint's number, WAIT or NO_ROUTE."""
    fitting = [rule for rule in rules if (ported or {}).get(number) in rule.route.networks]
    if not fitting:
        digits = str(number)
        best = -1
        for rule in rules:
            prefixes = rule.route.prefixes or (() if rule.route.networks else ("",))
            for prefix in prefixes:
                if not digits.startswith(prefix) or len(prefix) < best:
                    continue
                if len(prefix) > best:
                    best, fitting = len(prefix), []
                fitting.append(rule)
    if not fitting:
        return NO_ROUTE
    fitting.sort(key=lambda rule: rule.rank)
    for rule in fitting:
        for tier in rule.tiers:
            up = [(e, w) for e, w in tier if standing.get(e, math.inf) <= rule.route.failover_after_s]
            if up:
                return share(number, up)
    for rule in fitting:
        for tier in rule.tiers:
            there = [(e, w) for e, w in tier if e in standing]
            if there:
                return share(number, there)
    return WAIT


def share(number: int, tier: Sequence[tuple[int, int]]) -> int:
    point, sum_, total = mix(number) >> 32, 0, sum(weight for _, weight in tier)
    for endpoint, weight in tier:
        sum_ += weight
        if point < sum_ * (1 << 32) // total:
            return endpoint
    raise AssertionError("the last one's share ends at the end")
