"""A campaign followed to its end: the live line, the kills as they come, and when nothing more is to come.

Touches: the admin API and the Watch. Over is: done, nothing pending, and what is uncertain was held long enough for
its receipts to have been tried by number (DESIGN 8).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from dispatcher.cli.demo_customer import Customer
from dispatcher.cli.demo_figures import Figures
from dispatcher.cli.demo_kills import Killer, Watch
from dispatcher.cli.demo_report import Report, progress_line

HOLDING_S = 8.0  # instead of response timeout + 60 s, so that the demo can wait for it
SETTLE_S = HOLDING_S + 5.0  # held receipts are tried once a second after the holding time, then folded
STALL_S = 60.0
RECEIPTS_S = 30.0  # of another SMSC: one that a kill kept from being answered does not come again from each
LOOK_S = 0.2
FINAL = ("done", "cancelled")
MOVING = ("state", "unsent", "accepted", "delivered", "pending", "uncertain")


class Follower:
    def __init__(
        self, customer: Customer, campaign: str, parts: int, *, watch: Watch, killer: Killer, report: Report,
        figures: Figures, foreign: bool,
    ) -> None:  # fmt: skip
        self._foreign = foreign  # an SMSC that may send no receipts, or each only once
        self.done_ms = 0  # when the campaign was first seen done
        self._customer, self._campaign, self._watch, self._killer = customer, campaign, watch, killer
        self._report, self._figures, self._parts = report, figures, parts
        self._seen: deque[tuple[float, int]] = deque(maxlen=round(1.0 / LOOK_S))
        self._moving: tuple[Any, ...] = ()
        self._moved_at = time.monotonic()
        self._told_kills = 0
        self._told_holding = False

    def until_over(self, check: Callable[[], None]) -> None:
        """Look until it is over. What never moves again is given up and noted as a trouble."""
        while True:
            check()
            accepted = self._watch.accepted()
            progress = self._customer.try_ask(f"/v1/campaigns/{self._campaign}/progress")
            status = self._customer.status()
            self._tell_kills(accepted)
            if status is not None:
                self._figures.claim_credit = max(self._figures.claim_credit, status["claim_credit_max"])
            if progress is None or status is None:
                self._report.line("the dispatcher is down")
            else:
                self._show(progress, status, accepted)
                if self._over(progress):
                    return
            if self._quiet_s() > STALL_S:
                self._figures.troubles.append(f"nothing moved for {STALL_S:.0f} s: {progress}")
                return
            time.sleep(LOOK_S)

    def recovered(self) -> None:
        """What each start after a kill reported."""
        status = self._customer.status()
        recoveries = status["recoveries"] if status else []
        for number, kill in enumerate(self._figures.kills, 1):
            kill.recovery = next((found for found in recoveries if found["at_ms"] >= kill.at_ms), {})
            if kill.recovery:
                credit = kill.recovery["claim_credit"]
                self._figures.claim_credit = max(self._figures.claim_credit, credit)
                self._report.note(
                    f"after kill {number}: {kill.recovery['released']:,} messages were claimed and had not left: sent"
                    f" later; {kill.recovery['uncertain']:,} may have left unanswered: uncertain, {credit:,} at most"
                )

    def _show(self, progress: dict[str, Any], status: dict[str, Any], accepted: int) -> None:
        now = time.monotonic()
        self._seen.append((now, accepted))
        moving = tuple(progress[name] for name in MOVING)
        if moving != self._moving:
            self._moving, self._moved_at = moving, now
        if progress["state"] not in FINAL:
            began, before = self._seen[0]
            per_s = (accepted - before) / max(now - began, LOOK_S)
            self._report.line(progress_line(progress, self._parts, accepted, per_s, status["in_flight"]))
            return
        self.done_ms = self.done_ms or time.time_ns() // 1_000_000
        if progress["uncertain"] and not self._told_holding:
            self._told_holding = True
            self._report.note(
                f"{progress['uncertain']:,} uncertain: after {HOLDING_S:.0f} s held receipts are tried by number"
                " (the default is response timeout + 60 s)"
            )
        self._report.line(f"done; {progress['pending']:,} await their receipt, {progress['uncertain']:,} uncertain")

    def _over(self, progress: dict[str, Any]) -> bool:
        if progress["state"] not in FINAL or self._killer.under_way:
            return False
        if progress["pending"]:
            settled = progress["delivered"] + progress["failed"] + progress["expired"]
            if not self._foreign or self._quiet_s() <= (RECEIPTS_S if settled else SETTLE_S):
                return False
            self._figures.receipts_come = False
            self._report.note(f"{progress['pending']:,} messages are accepted; no receipt of theirs comes")
            return True
        return not progress["uncertain"] or self._quiet_s() > SETTLE_S

    def _quiet_s(self) -> float:
        return time.monotonic() - max(self._moved_at, self._killer.last_change)

    def _tell_kills(self, accepted: int) -> None:
        while self._told_kills < len(self._killer.kills):
            self._told_kills += 1
            self._report.note(
                f"kill {self._told_kills}: kill -9 of the dispatcher when {accepted:,} of {self._parts:,} parts are"
                " accepted; volley serve starts it again"
            )
