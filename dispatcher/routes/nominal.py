"""By which endpoint each number is priced: where its route leads while every endpoint stands.

Touches: nothing but the ported numbers it is handed. A failover changes who carries a message and not what the tenant
pays for it: the price that a preview showed is the one that is reserved and settled.
Weak spot: routes that a reload changes between a start and its settlement count as they are at the settlement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
from dispatcher.routes.plan import Plan
from dispatcher.routes.ported import ported_values
from dispatcher.routes.router import Context, Router

NOWHERE = None  # instead of an endpoint's name: no rule fits the number


@dataclass(slots=True)
class Nominal:
    """Of one kind of message. look() before split() wherever the View is another."""

    plan: Plan
    names: dict[int, str]
    generation: int
    _ported: list[memoryview] = field(default_factory=list)

    @classmethod
    def of(cls, router: Router, purpose: Purpose, tenant: int, sender: str, at_ms: int) -> Nominal:
        """As the routes are at an instant."""
        rules = router.fitting(Context(purpose, tenant, sender), at_ms)
        names = {number: name for name, number in router.endpoints.items()}
        plan = Plan(rules, dict.fromkeys(names, 0.0), router.networks)
        return cls(plan, names, router.generation)

    def look(self, view: View) -> None:
        """Read the ported numbers of this View, for as long as it is open."""
        self._ported = ported_values(view, self.generation) if self.plan.asks_networks else []

    @property
    def only(self) -> str | None:
        """The endpoint that everything goes by, if there is but one."""
        return None if self.plan.only is None else self.names.get(self.plan.only, "")

    def split(self, numbers: bytes | memoryview, bits: bytearray) -> Iterator[tuple[str | None, int]]:
        """(endpoint's name, those of `bits` that go by it); "" where none is configured, NOWHERE without a route.
        numbers: u64 a slot."""
        shares = self.plan.split(numbers, bits, self._ported)
        for endpoint, mine in shares.of.items():
            yield self.names.get(endpoint, ""), int.from_bytes(mine, "little")
        for name, rest in (("", shares.waits), (NOWHERE, shares.no_route)):
            if rest is not None:
                yield name, int.from_bytes(rest, "little")
