"""How fast tenants and campaigns may go, beside their endpoints: one Pace each, shared by every Book.

Touches: rows of tenants. The socket keeps them (smpp/_pace.pyx); here is asked how much may be claimed, so that what
must wait for its own pace does not stand in others' way. No limit is no Pace. Rests on: DESIGN 6 (the sliding log).
One-time codes have no pace but their endpoint's: no plan of a tenant holds them, and they use nothing of it up.
Weak spot: a message of more parts than its tenant's or campaign's rate leaves whole, above it in that second, and those
behind wait until its parts are paid for. Of an endpoint's contract no second sees more: there its parts are spread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dispatcher.records.batches import purpose_of_batch, tenant_of_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
from dispatcher.smpp.pump import Pace
from dispatcher.tenants.tenant import get_tenant

UNLIMITED = 1 << 31
NEVER_NS = 1 << 63


class Paces:
    """Owned by the feeder; a change of rate holds from the next part on."""

    def __init__(self) -> None:
        self._tenants: dict[int, Pace] = {}
        self._campaigns: dict[int, Pace] = {}

    def __repr__(self) -> str:
        return f"<Paces of {len(self._tenants)} tenants, {len(self._campaigns)} campaigns>"

    def of(self, tenant: int, campaign: int = 0) -> tuple[Pace, ...]:
        return tuple(pace for pace in (self._tenants.get(tenant), self._campaigns.get(campaign)) if pace is not None)

    def of_batch(self, batch: int) -> tuple[Pace, ...]:
        """Of messages born alone."""
        return () if purpose_of_batch(batch) is Purpose.OTP else self.of(tenant_of_batch(batch))

    def room_of_batch(self, batch: int, now_ns: int) -> int:
        """Parts of it that may be claimed now."""
        return UNLIMITED if purpose_of_batch(batch) is Purpose.OTP else self.room(tenant_of_batch(batch), 0, now_ns)

    def read(self, view: View, tenant: int) -> None:
        """A tenant is met, or its plan changed."""
        found = get_tenant(view, tenant)
        _set(self._tenants, tenant, found.rate if found is not None else 0)

    def set_campaign(self, campaign: int, row: dict[str, Any]) -> None:
        _set(self._campaigns, campaign, int(row.get("rate") or 0))

    def forget(self, campaign: int) -> None:
        self._campaigns.pop(campaign, None)

    def room(self, tenant: int, campaign: int, now_ns: int) -> int:
        """Parts that may be claimed now."""
        return min((pace.room(now_ns) for pace in self.of(tenant, campaign)), default=UNLIMITED)

    def rates(self, tenant: int, campaign: int) -> dict[str, int]:
        """Parts a second by whose limit it is; 0: none."""
        of = {"tenant_rate": self._tenants.get(tenant), "campaign_rate": self._campaigns.get(campaign)}
        return {name: 0 if pace is None else pace.rate for name, pace in of.items()}

    def next_ns(self, of: Iterable[tuple[int, int]]) -> int:
        """When one of these may claim again that may not now; NEVER_NS when none waits for its pace."""
        if not self._tenants and not self._campaigns:
            return NEVER_NS
        now = time.monotonic_ns()
        waits = [pace.room_ns() for one in of for pace in self.of(*one) if not pace.room(now)]
        return min(waits, default=NEVER_NS)


def _set(paces: dict[int, Pace], key: int, rate: int) -> None:
    known = paces.get(key)
    now = time.monotonic_ns()
    if known is None and rate:
        paces[key] = Pace(rate, now)
    elif known is not None and known.rate != rate:
        known.set_rate(rate, now)
