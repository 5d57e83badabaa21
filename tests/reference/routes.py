"""What a choice of routes means, a number at a time in plain Python (dispatcher/routes/plan.py has the rules in words)."""

from __future__ import annotations

import math
import re
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


GOOD_NUMBER = re.compile(rb'["\r +]*([1-9](?:["\r ]*[0-9]){6,14})["\r ]*')


def ported_lines(text: bytes) -> tuple[dict[int, bytes], list[bytes], list[tuple[int, int, bytes, bytes]], int]:
    """(number -> network, the networks in the order met, (line, what is wrong, number, network), lines)"""
    of: dict[int, bytes] = {}
    networks: dict[bytes, None] = {}
    wrong: list[tuple[int, int, bytes, bytes]] = []
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    for no, line in enumerate(lines, 1):
        number, *rest = re.split(rb"[,;\t]", line)
        code = rest[0].lstrip(b'" ').rstrip(b'" \r') if rest else b""
        good = GOOD_NUMBER.fullmatch(number)
        if not rest and re.fullmatch(rb'["\r +]*', number):
            continue
        if good and code and len(code) <= 16:
            networks[code] = None
            of[int(re.sub(rb"\D", b"", number))] = code
        elif no > 1 or re.search(rb"\d", number):
            what = 2 if not good else 3 if not code else 4
            wrong.append((no, what, number[:80], code[:80]))
    return of, list(networks), wrong, len(lines)
