"""What people see of one bind: counts over all its connections, rates of the last second, response times, refusals.

Touches: the counters of the Pump it is shown. tick() is called about once a second, ended() when a connection is over.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from dispatcher.smpp.consts import status_name

COUNTED = ("submits", "responses", "delivers", "enquire_links", "timeouts", "octets_in", "octets_out")
ERRORS_SHOWN = 8


class Counting(Protocol):
    """Of a Pump."""

    submits: int
    responses: int
    delivers: int
    enquire_links: int
    timeouts: int
    octets_in: int
    octets_out: int

    def response_times(self) -> list[tuple[int, int]]: ...

    def errors(self) -> list[tuple[int, int, int]]: ...


class Meter:
    """Of one bind, for as long as the process lives."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = dict.fromkeys(("submits", "responses", "delivers"), 0.0)
        self._before: Counter[str] = Counter()  # of connections that are over
        self._times: Counter[int] = Counter()
        self._errors: dict[int, tuple[int, int]] = {}  # status -> (count, ms since the epoch of the last)
        self._ticked_ns = 0
        self._at_tick: dict[str, int] = {}

    def tick(self, pump: Counting | None, now_ns: int) -> None:
        counts = self.counts(pump)
        dt_s = (now_ns - self._ticked_ns) / 1e9
        if self._at_tick and dt_s > 0:
            self.rates = {name: max(0.0, counts[name] - self._at_tick[name]) / dt_s for name in self.rates}
        self._ticked_ns, self._at_tick = now_ns, counts

    def ended(self, pump: Counting) -> None:
        """A connection is over: its counts stay."""
        for name in COUNTED:
            self._before[name] += getattr(pump, name)
        self._times.update(dict(pump.response_times()))
        self._errors = self._refusals(pump)

    def counts(self, pump: Counting | None) -> dict[str, int]:
        return {name: self._before[name] + (getattr(pump, name) if pump is not None else 0) for name in COUNTED}

    def times(self, pump: Counting | None) -> Counter[int]:
        """Response times as a histogram: nanoseconds at least -> submit_sm."""
        return self._times + Counter(dict(pump.response_times()) if pump is not None else {})

    def _refusals(self, pump: Counting | None) -> dict[int, tuple[int, int]]:
        found = dict(self._errors)
        ahead_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000
        for status, count, at_ns in pump.errors() if pump is not None else ():
            found[status] = (found.get(status, (0, 0))[0] + count, at_ns // 1_000_000 + ahead_ms)
        return found

    def refusals(self, pump: Counting | None) -> list[dict[str, Any]]:
        """The latest kinds of command_status that were not ESME_ROK, the newest first."""
        found = sorted(self._refusals(pump).items(), key=lambda item: -item[1][1])
        return [
            {"status": f"0x{status:08X}", "name": status_name(status), "count": count, "last_ms": last_ms}
            for status, (count, last_ms) in found[:ERRORS_SHOWN]
        ]


def quantiles(times: Counter[int], shares: Iterable[float]) -> list[float | None]:
    """Of a histogram of response times, in ms; None of an empty one. Within a fifth of the truth: four buckets to a
    doubling, told by their middles."""
    whole = sum(times.values())
    found: list[float | None] = []
    for share in shares:
        left = share * whole
        value: float | None = None
        for least_ns in sorted(times):
            value = _middle(least_ns) / 1e6
            left -= times[least_ns]
            if left <= 0:
                break
        found.append(None if value is None else round(value, 3))
    return found


def _middle(least_ns: int) -> float:
    units = least_ns >> 10
    width = 1 if units < 8 else 1 << (units.bit_length() - 3)
    return (units + width / 2) * 1024
