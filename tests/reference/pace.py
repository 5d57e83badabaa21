"""What a Pace means: every instant kept, every question answered by looking at them."""

from __future__ import annotations

LOG_NS = 1_005_000_000
SLACK_NS = 50_000_000
SECOND_NS = 1_000_000_000


class ReferencePace:
    def __init__(self, rate: int, now_ns: int) -> None:
        self.rate = self.limit = 0
        self.queued = self.widest = 0
        self.set_rate(rate, now_ns)

    def set_rate(self, rate: int, now_ns: int) -> None:
        self.rate = rate
        self._limit(rate, now_ns)

    def set_limit(self, limit: int, now_ns: int) -> None:
        allowed = [each for each in (limit, self.rate) if each]
        self._limit(min(allowed, default=0), now_ns)

    def _limit(self, limit: int, now_ns: int) -> None:
        if limit and not self.limit:  # as if a second's worth had left evenly from here on
            self.at = [now_ns + i * SECOND_NS // limit for i in range(limit)]
            self.begun_ns = now_ns
            self.due_ns = 0.0
        self.limit = limit

    def left(self, now_ns: int) -> None:
        if self.limit:
            self.at.append(now_ns)
            self.due_ns = max(self.due_ns, now_ns) + 1e9 / self.limit

    def _log_ns(self, parts: int) -> int:
        before = len(self.at) + parts - 1 - self.limit
        return (self.at[before] if before >= 0 else self.begun_ns) + LOG_NS

    def free_ns(self, parts: int = 1) -> int:
        if not self.limit:
            return 0
        return max(self._log_ns(min(parts, self.limit)), int(self.due_ns - SLACK_NS))

    def room(self, now_ns: int, ahead_ns: int) -> int:
        """Counted one by one: how many more, behind those that are queued, are free by then."""
        due = max(self.due_ns, now_ns) + self.queued * (1e9 / self.limit)
        by = now_ns + ahead_ns
        if due > by + SLACK_NS:
            return 0
        most = max(int((by + SLACK_NS - due) / (1e9 / self.limit)) + 1, self.widest)
        room = 0
        while room < most and self.queued + room < self.limit and self._log_ns(self.queued + room + 1) <= by:
            room += 1
        return room if room >= min(self.widest, self.limit) else 0
