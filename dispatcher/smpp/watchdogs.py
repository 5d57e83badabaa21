"""What no single timer sees: work that does not move, receipts that stop, a bind on which nothing succeeds any more.

Touches: nothing; look() is called about once a second with what was counted, the clock is handed in.
Rests on: PITFALLS L6 (thousands sit until someone restarts), R11 (receipts stop for good until a rebind), S3 (after a
day no submit works while link checks are fine).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from dispatcher.smpp.rebind import Alarm

STUCK_S = 5.0  # L6
STUCK_REBIND_S = 10.0
SILENT_S = 600.0  # R11
SILENT_LEAST = 1_000
SILENT_MAX_S = 4 * 3_600.0
FRUITLESS_S = 60.0  # S3
FRUITLESS_LEAST = 50


class Cure(StrEnum):
    """What the pool does about it."""

    PUSH = "push"
    REBIND = "rebind"


@dataclass(frozen=True, slots=True)
class Finding:
    alarm: Alarm
    cure: Cure
    bind: int | None = None  # which; None: any


@dataclass(frozen=True, slots=True)
class BindSeen:
    """Of a bound bind that submits."""

    number: int
    accepted: int  # answered with ESME_ROK, this connection
    answered: int
    room: bool  # in its window


@dataclass(frozen=True, slots=True)
class Seen:
    """Of an endpoint."""

    ready: int  # parts that are committed and that neither pace nor hold keeps
    submits: int
    receipts: int
    accepted: int
    pending: int  # ids that await a receipt
    binds: tuple[BindSeen, ...]


@dataclass(slots=True)
class Watchdogs:
    """Of one endpoint. What it said once it says again only after things moved, or much later."""

    _submits: int = -1
    _moved_ns: int = 0
    _pushed: bool = False
    _receipts: int = -1
    _receipts_ns: int = 0
    _accepted_then: int = 0
    _silent_s: float = SILENT_S
    _progress: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # bind -> (accepted, answered, since ns)

    def look(self, seen: Seen, now_ns: int) -> list[Finding]:
        found = [self._stuck(seen, now_ns), self._silent(seen, now_ns), *self._fruitless(seen.binds, now_ns)]
        return [finding for finding in found if finding is not None]

    def _stuck(self, seen: Seen, now_ns: int) -> Finding | None:
        """L6: work waits, a bind has room, and nothing leaves."""
        may = seen.ready > 0 and any(bind.room for bind in seen.binds)
        if not may or seen.submits != self._submits:
            self._submits, self._moved_ns, self._pushed = seen.submits, now_ns, False
            return None
        still_s = (now_ns - self._moved_ns) / 1e9
        text = f"{seen.ready} parts wait, a bind has room, and nothing left for {still_s:.0f} s"
        alarm = Alarm("stuck", text, "it heals itself; if it comes back, send the log of this hour to support")
        if still_s >= STUCK_REBIND_S:
            self._moved_ns, self._pushed = now_ns, False
            return Finding(alarm, Cure.REBIND)
        if still_s >= STUCK_S and not self._pushed:
            self._pushed = True
            return Finding(alarm, Cure.PUSH)
        return None

    def _silent(self, seen: Seen, now_ns: int) -> Finding | None:
        """R11: receipts are owed and none comes. Each time that a rebind did not help the next comes twice as late."""
        if seen.receipts != self._receipts:
            self._receipts, self._silent_s = seen.receipts, SILENT_S
            self._receipts_ns, self._accepted_then = now_ns, seen.accepted
            return None
        owed = min(seen.pending, seen.accepted - self._accepted_then)
        if owed <= SILENT_LEAST:
            if seen.pending <= SILENT_LEAST:
                self._receipts_ns = now_ns
            return None
        quiet_s = (now_ns - self._receipts_ns) / 1e9
        if quiet_s < self._silent_s or not seen.binds:
            return None
        self._receipts_ns, self._silent_s = now_ns, min(SILENT_MAX_S, self._silent_s * 2)
        text = f"no receipt for {quiet_s / 60:.0f} minutes, {seen.pending} are awaited"
        return Finding(Alarm("no_receipts", text, "one bind is made anew; ask the carrier if none comes"), Cure.REBIND)

    def _fruitless(self, binds: Iterable[BindSeen], now_ns: int) -> Iterable[Finding]:
        """S3: on this bind every submit_sm is refused, on another one of the endpoint they are accepted."""
        binds = list(binds)
        known, self._progress = self._progress, {}
        for bind in binds:
            accepted, answered, since = known.get(bind.number, (bind.accepted, bind.answered, now_ns))
            if bind.accepted != accepted or bind.answered < answered:
                accepted, answered, since = bind.accepted, bind.answered, now_ns
            self._progress[bind.number] = accepted, answered, since
        recent_ns = now_ns - FRUITLESS_S * 1e9 / 2
        moving = [number for number, (accepted, _, since) in self._progress.items() if accepted and since > recent_ns]
        for bind in binds:
            _, answered, since = self._progress[bind.number]
            refused = bind.answered - answered
            if refused >= FRUITLESS_LEAST and now_ns - since >= FRUITLESS_S * 1e9 and set(moving) - {bind.number}:
                del self._progress[bind.number]
                text = f"bind {bind.number}: {refused} submit_sm refused in {FRUITLESS_S:g} s, others are accepted"
                alarm = Alarm("fruitless", text, "the bind is made anew; ask the carrier if it comes back")
                yield Finding(alarm, Cure.REBIND, bind.number)
