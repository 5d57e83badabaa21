"""Codes that were nobody's, counted by the key that asked: a till that guesses is told to stop before it may go on.

Touches: nothing; lives in the application's state, so a restart begins at 0. A guess hits one in 10^11
(coupons/code.py): this is for whoever reads the figures, and keeps guesses from costing the dispatcher anything.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.errors import CommandRefused

WITHIN_MS = 600_000
MISSES_MAX = 100  # of one key within that time: a till that mistypes every third code of a busy hour has half as many
KEYS_MAX = 10_000  # the one that missed longest ago is forgotten


class Misses:
    """Call from the loop's thread only."""

    def __init__(self) -> None:
        self.total = 0
        self._at: OrderedDict[int, deque[int]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Misses(total={self.total}, keys={len(self._at)})"

    @contextmanager
    def counted(self, key: int, now_ms: int) -> Iterator[None]:
        """Around whatever looks for a code. Raises CommandRefused 429 too_many_misses instead of looking."""
        seen = self._at.get(key, deque())
        while seen and seen[0] <= now_ms - WITHIN_MS:
            seen.popleft()
        if len(seen) >= MISSES_MAX:
            detail = f"{MISSES_MAX} codes that this key asked for in {WITHIN_MS // 60_000} minutes were nobody's: wait"
            raise CommandRefused(429, "too_many_misses", detail)
        try:
            yield
        except CommandRefused as exc:
            if exc.code == "coupon_unknown":
                self.total += 1
                seen.append(now_ms)
                self._at[key] = seen
                self._at.move_to_end(key)
                if len(self._at) > KEYS_MAX:
                    self._at.popitem(last=False)
            raise
