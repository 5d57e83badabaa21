"""Time as a value: monotonic nanoseconds for timers, epoch milliseconds for records.

Rooms take `now` as an argument; only the rim (daemon, cli, admin) holds a Clock.
"""

from __future__ import annotations

import time
from typing import Protocol

YEARS = 1970, 2105  # that may be asked about: the ledger keeps whole seconds in 32 bits, and they end in 2106


class Clock(Protocol):
    """What the rim asks for the time."""

    def monotonic_ns(self) -> int: ...

    def epoch_ms(self) -> int: ...


class SystemClock:
    """The machine's clocks. A step of the wall clock never moves monotonic_ns."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000


class FakeClock:
    """A clock that a test moves."""

    def __init__(self, epoch_ms: int = 1_790_000_000_000) -> None:
        self._monotonic_ns = 1_000_000_000
        self._epoch_ms = epoch_ms

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def epoch_ms(self) -> int:
        return self._epoch_ms

    def advance(self, seconds: float) -> None:
        self._monotonic_ns += int(seconds * 1e9)
        self._epoch_ms += int(seconds * 1e3)


def rfc3339(epoch_ms: int | None) -> str | None:
    """An instant as the API shows it, in UTC to the millisecond; None stays None."""
    if epoch_ms is None:
        return None
    seconds, ms = divmod(epoch_ms, 1_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03}Z"
