"""How fast one campaign goes just now.

Touches: nothing; what was claimed and instants are arguments. Claims run ahead of the sockets by the credit, so what is
claimed over some seconds is what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

SECONDS = 3.0  # what was claimed so long ago counts a third
SURE_S = 0.5  # a campaign just begun is not told from less


@dataclass(slots=True)
class Going:
    """Parts claimed, the last seconds counting most."""

    begun_ns: int = 0
    _level: float = 0.0
    _at_ns: int = 0

    def begin(self, now_ns: int) -> None:
        self.begun_ns = self._at_ns = now_ns
        self._level = 0.0

    def took(self, parts: int, now_ns: int) -> None:
        self._level = self._left(now_ns) + parts
        self._at_ns = now_ns

    def per_s(self, now_ns: int) -> float:
        seen_s = max(SURE_S, (now_ns - self.begun_ns) / 1e9)
        return self._left(now_ns) / (SECONDS * (1 - exp(-seen_s / SECONDS)))

    def _left(self, now_ns: int) -> float:
        return self._level * exp(-(now_ns - self._at_ns) / 1e9 / SECONDS)
