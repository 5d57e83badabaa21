"""The routes as they are now: which rules there are, how the endpoints stand, and the plan that comes of both.

Touches: nothing; whoever owns it tells it what changed. Plain calls, `now_ms` and standing are arguments.
`turn` counts changes after which a number may go elsewhere: who keeps a share of a block looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from config import Endpoint, Route
from config.route import DAYS
from dispatcher.records.keys import public_id
from dispatcher.records.states import Purpose
from dispatcher.routes.plan import Plan, Rule, Tier

MINUTE_MS = 60_000
CONTEXTS_MAX = 1_024  # senders come from outside


@dataclass(frozen=True, slots=True)
class Context:
    """What of a message decides on its route, beside its number."""

    purpose: Purpose
    tenant: int
    sender: str


def rules_of(routes: Iterable[tuple[Route, str]], endpoints: Mapping[str, tuple[int, int]]) -> list[Rule]:
    """Routes (with where each is written) as rules; endpoints: name -> (number, weight). A name that is no endpoint's
    is left out: the route goes by the others. No route at all: one of every endpoint by its weight."""
    made = []
    for route, source in routes:
        first = tuple((endpoints[n][0], w or endpoints[n][1]) for n, w in route.shares if n in endpoints)
        rest = tuple(((endpoints[name][0], 1),) for name in route.failover if name in endpoints)
        made.append(Rule(route, ((first,) if first else ()) + rest, source))
    if made:
        return made
    everywhere = Route(name="all", endpoints=tuple(endpoints) or ("none",))
    tier: Tier = tuple(endpoints.values())
    return [Rule(everywhere, (tier,) if tier else (), "default")]


def is_open(route: Route, now_ms: int) -> bool:
    """Whether its window of the day holds now. Days are those on which the window begins."""
    if not (route.hours or route.days):
        return True
    local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(route.zone))
    minute, day = local.hour * 60 + local.minute, local.weekday()
    window = route.window
    if window is not None:
        start, end = window
        if start < end and not start <= minute < end:
            return False
        if start >= end:
            if end <= minute < start:
                return False
            day = (day - 1) % 7 if minute < end else day
    return not route.days or DAYS[day] in route.days


def names_tenant(route: Route, tenant: int) -> bool:
    return not route.tenants or str(tenant) in route.tenants or public_id("ten", tenant) in route.tenants


class Router:
    """Owned by one thread. Endpoints and routes are replaced whole, by a reload or a command."""

    def __init__(
        self, endpoints: Mapping[str, tuple[int, int]], routes: Iterable[tuple[Route, str]] = (),
        networks: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.turn = 0
        self.rules: list[Rule] = []
        self.networks: Sequence[str] = ()
        self.endpoints: dict[str, int] = {}  # name -> number
        self.settings: Mapping[str, Endpoint] = {}  # of those whose own are known
        self.generation = 0  # of the table of ported numbers; 0: there is none
        self._standing: dict[int, float] = {}
        self._usable: tuple[list[Tier], ...] = ()
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._seen: dict[Context, tuple[int, Plan]] = {}
        self.set(endpoints, routes, networks)

    def __repr__(self) -> str:
        return f"<Router {len(self.rules)} rules, turn {self.turn}>"

    def set(
        self, endpoints: Mapping[str, tuple[int, int]], routes: Iterable[tuple[Route, str]],
        networks: Sequence[str] = (), generation: int = 0, settings: Mapping[str, Endpoint] | None = None,
    ) -> None:  # fmt: skip
        """Other endpoints, routes or ported numbers: name -> (number, weight), routes with where each is written.
        settings: the endpoints' own, for how they take texts."""
        self.settings = settings or {}
        self.rules = rules_of(((route, source) for route, source in routes if route.enabled), endpoints)
        self.networks, self.generation = networks, generation
        self.endpoints = {name: number for name, (number, _) in endpoints.items()}
        there = {number for number, _ in endpoints.values()}
        self._standing = {number: self._standing.get(number, 0.0) for number in there}
        self._turned()

    def look(self, down_s: Mapping[int, float]) -> bool:
        """How the endpoints stand: seconds without a bind, infinite where none is wanted. True when that changes
        routes."""
        self._standing = {number: down_s.get(number, math.inf) for number in self._standing}
        if self._usable == self._tiers():
            return False
        self._turned()
        return True

    def is_up(self, endpoint: int) -> bool:
        """Something may leave by it, or soon again."""
        return self._standing.get(endpoint, math.inf) < math.inf and self._standing[endpoint] == 0.0

    def is_replaced(self, endpoint: int) -> bool:
        """It is left out somewhere, down for too long, and another takes its place."""
        for rule in self.rules:
            if any(end == endpoint for tier in rule.tiers for end, _ in tier):
                usable = [end for tier in rule.usable(self._standing) for end, _ in tier]
                if endpoint in usable:
                    return False
                if usable or len(self.rules) > 1:
                    return True
        return False

    def plan(self, context: Context, now_ms: int) -> Plan:
        """The plan of one kind of message. It is the same object until something about it changes."""
        until, plan = self._seen.get(context, (0, None))
        if plan is not None and now_ms < until:
            return plan
        mine = self.fitting(context, now_ms)
        ids = {id(rule) for rule in mine}
        key = tuple(at for at, rule in enumerate(self.rules) if id(rule) in ids)
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = Plan(mine, self._standing, self.networks)
        if len(self._seen) >= CONTEXTS_MAX:
            self._seen.clear()
        self._seen[context] = (now_ms // MINUTE_MS + 1) * MINUTE_MS, found
        return found

    def fitting(self, context: Context, now_ms: int) -> list[Rule]:
        """The rules that speak of such a message at this time."""
        return [
            rule
            for rule in self.rules
            if (not rule.route.purposes or context.purpose.value in rule.route.purposes)
            and names_tenant(rule.route, context.tenant)
            and (not rule.route.senders or context.sender in rule.route.senders)
            and is_open(rule.route, now_ms)
        ]

    @property
    def standing(self) -> Mapping[int, float]:
        return self._standing

    def _tiers(self) -> tuple[list[Tier], ...]:
        return tuple(rule.usable(self._standing) for rule in self.rules)

    def _turned(self) -> None:
        self._usable = self._tiers()
        self._plans.clear()
        self._seen.clear()
        self.turn += 1
