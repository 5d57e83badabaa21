"""Why a number takes the route it takes: every route that was looked at, and what decided.

Touches: routes and ported numbers through a View; nothing else. The same plan decides here and when messages are
claimed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from config import Endpoint, Route
from dispatcher.records.changes import View
from dispatcher.routes.plan import NO_ROUTE, WAIT, Plan, Rule, by_network, by_prefix, targets
from dispatcher.routes.ported import get_ported, network_of, ported_values
from dispatcher.routes.router import Context, Router, is_open, names_tenant
from dispatcher.routes.stored import routes_in_force
from dispatcher.store.endpoints import endpoint_numbers

DOWN_S = math.inf  # of an endpoint that has no bind, where nobody knows for how long


def router_of(
    view: View, endpoints: Iterable[Endpoint], of_file: Iterable[Route], bound: Mapping[str, bool] | None = None
) -> tuple[Router, dict[int, str]]:
    """A router as the dispatcher has it, for looking at, and its endpoints' names; bound: which have a bind, None:
    all."""
    numbers = dict(endpoint_numbers(view))
    for endpoint in endpoints:
        numbers.setdefault(endpoint.name, len(numbers))
    ends = {endpoint.name: (numbers[endpoint.name], endpoint.weight) for endpoint in endpoints}
    ported = get_ported(view)
    router = Router(ends)
    router.set(
        ends, [(one.route, one.source) for one in routes_in_force(view, of_file)], ported.networks, ported.generation
    )
    if bound is not None:
        router.look({number: 0.0 if bound.get(name) else DOWN_S for name, (number, _) in ends.items()})
    return router, {number: name for name, (number, _) in ends.items()}


def explain(
    view: View, router: Router, names: Mapping[int, str], number: int, context: Context, now_ms: int
) -> dict[str, Any]:
    """For people and programs: `endpoint` is null where the message is not sent (`reason` no_route) or waits (wait)."""
    digits = str(number)
    network = network_of(view, router.generation, router.networks, number)
    fitting = router.fitting(context, now_ms)
    of_network = by_network(fitting).get(network or "", [])
    prefixes = by_prefix(fitting)
    prefix = max((p for p in prefixes if digits.startswith(p)), key=len, default=None)
    chain = of_network or (prefixes[prefix] if prefix is not None else [])
    rule, tier = targets(chain, router.standing)
    plan = Plan(fitting, router.standing, router.networks)
    end = plan.one(number, ported_values(view, router.generation) if plan.asks_networks else [])
    total = sum(weight for _, weight in tier)
    return {
        "number": digits,
        "purpose": context.purpose.value,
        "tenant": context.tenant,
        "sender": context.sender,
        "endpoint": names.get(end),
        "reason": "no_route" if end == NO_ROUTE else "wait" if end == WAIT else "",
        "route": rule.route.name if rule is not None else None,
        "source": rule.source if rule is not None else None,
        "network": network,
        "by": "network" if of_network else "prefix" if prefix else "default" if chain else None,
        "prefix": prefix if not of_network else None,
        "shares": [
            {"endpoint": names[e], "weight": w, "percent": round(100 * w / total, 2), "up": router.is_up(e)}
            for e, w in tier
        ],
        "cost": rule.route.cost if rule is not None else None,
        "why": _why(rule, chain, tier, names, network if of_network else None, prefix, router),
        "routes": [_looked_at(one, context, chain, digits, network, now_ms) for one in router.rules],
    }


def _why(
    rule: Rule | None, chain: list[Rule], tier: tuple[tuple[int, int], ...], names: Mapping[int, str],
    network: str | None, prefix: str | None, router: Router,
) -> str:  # fmt: skip
    if rule is None:
        return "no route fits this number, purpose, tenant, sender and time: it is skipped as no_route"
    by = f"network {network}" if network else f"prefix {prefix}" if prefix else "no prefix: every number"
    found = [f"route {rule.route.name}, by {by}"]
    if len(chain) > 1:
        found.append(f"the first of {len(chain)} by what they name, then cost")
    if not tier:
        found.append("none of its endpoints is configured: it waits")
        return "; ".join(found)
    if rule.tiers and not set(tier) <= set(rule.tiers[0]):
        found.append("its own endpoints are down: failover")
    if len(tier) > 1:
        found.append("a share by weight, over the number")
    if not any(router.is_up(end) for end, _ in tier):
        found.append(f"{', '.join(names[end] for end, _ in tier)} has no bind: it waits for it")
    return "; ".join(found)


def _looked_at(
    rule: Rule, context: Context, chain: list[Rule], digits: str, network: str | None, now_ms: int
) -> dict[str, Any]:
    route, why = rule.route, ""
    if route.purposes and context.purpose.value not in route.purposes:
        why = f"for {', '.join(route.purposes)} only"
    elif not names_tenant(route, context.tenant):
        why = f"for tenants {', '.join(route.tenants)} only"
    elif route.senders and context.sender not in route.senders:
        why = f"for senders {', '.join(route.senders)} only"
    elif not is_open(route, now_ms):
        why = f"not at this time: {' '.join([route.hours, *route.days])} {route.zone}"
    elif rule not in chain:
        named = (
            (network or "") in route.networks or any(digits.startswith(p) for p in route.prefixes) or not route.prefixes
        )
        why = "another has a longer prefix or names its network" if named else "another prefix"
    return {"route": route.name, "source": rule.source, "fits": not why, "why": why}
