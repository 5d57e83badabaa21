"""When a campaign would be through, and what limits it.

Touches: nothing; rates and instants are arguments. Rests on: DESIGN 6 (pace, windows of the day, spread), quiet.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.freeze import Frozen
from dispatcher.clock import rfc3339
from dispatcher.tenants.tenant import Tenant

STEPS_MAX = 400  # windows of the day that are looked at; what lasts longer has no end here


@dataclass(frozen=True, slots=True)
class Eta:
    """`limit`: what makes it last; `winner`: the rest waits for the winning text longer than the sending takes."""

    asked_ms: int  # when it would be started
    start_ms: int
    end_ms: int | None  # None: nothing says how fast it goes
    limit: str | None
    parts_per_s: int | None

    @property
    def ms(self) -> int:
        """From its start to its end, 0 where that is not known."""
        return 0 if self.end_ms is None else self.end_ms - self.asked_ms

    def shown(self) -> dict[str, Any]:
        times = {"start": rfc3339(self.start_ms), "end": rfc3339(self.end_ms)}
        return {**times, "limit": self.limit, "parts_per_s": self.parts_per_s}


def eta(row: dict[str, Any], tenant: Tenant, frozen: Frozen, endpoint_rate: int, window_rate: int = 0) -> Eta:
    """endpoint_rate: parts/s of the contracts, window_rate: that the windows let out; 0 unknown."""
    rates = {"endpoint_rate": endpoint_rate, "tenant_rate": tenant.rate, "campaign_rate": row["rate"]}
    rates["bind_window"] = window_rate
    known = {name: rate for name, rate in rates.items() if rate}
    limit = slowest(known)
    parts = sum(parts * n for parts, n in frozen.total.parts.items())
    lasts_ms = 0 if limit is None else -(-1000 * parts // known[limit])
    schedule = row["schedule"] or {}
    if (spread_ms := 1000 * schedule.get("spread_over_s", 0)) > lasts_ms:
        limit, lasts_ms = "spread", spread_ms
    start_ms, end_ms = frozen.starts_ms, None
    window = schedules.window_of(row["schedule"])
    if limit is not None:
        if window is None:
            end_ms = start_ms + lasts_ms
        else:
            zone = schedules.zone_of(row["schedule"], row["zone"])
            start_ms, end_ms = _through(window, zone, start_ms, lasts_ms)
            if end_ms is None or end_ms - start_ms > lasts_ms:
                limit = "window"
    if frozen.undealt and row["winner"] and end_ms is not None:
        found_ms = start_ms + 1000 * int(row["winner"]["after_s"])
        rest_ms = lasts_ms * frozen.undealt // max(1, frozen.will_send)
        if found_ms + rest_ms > end_ms:
            limit, end_ms = "winner", found_ms + rest_ms
    if frozen.waiting:
        last = max(frozen.waiting)
        rest_ms = lasts_ms * frozen.waiting[last] // frozen.will_send if limit in known else 0
        if end_ms is None or last + rest_ms > end_ms:
            limit, end_ms = "quiet", last + rest_ms
        if frozen.waiting.total() >= frozen.will_send:
            start_ms = max(start_ms, min(frozen.waiting))
    return Eta(frozen.starts_ms, start_ms, end_ms, limit, known.get(limit or ""))


def slowest(rates: dict[str, int]) -> str | None:
    """The name of the least of these rates, of which 0 is none; None where there is none."""
    return min((name for name, rate in rates.items() if rate), key=lambda name: rates[name], default=None)


def _through(window: schedules.Window, zone: Any, at_ms: int, lasts_ms: int) -> tuple[int, int | None]:
    """(when it begins, when work of so long is done) if it goes on only while the window is open."""
    begin: int | None = None
    for _ in range(STEPS_MAX):
        open_, until_ms = schedules.opening(window, zone, at_ms)
        if open_:
            begin = at_ms if begin is None else begin
            if at_ms + lasts_ms <= until_ms:
                return begin, at_ms + lasts_ms
            lasts_ms -= until_ms - at_ms
        at_ms = until_ms
    return at_ms if begin is None else begin, None
