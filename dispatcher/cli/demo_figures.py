"""The demo's figures and whether they are right: the JSON's keys, and one sentence for each rule that does not hold.

Touches: nothing. Rests on: the issue's "Sums" and DESIGN 6 (what a kill may make uncertain).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.people import Expected
from dispatcher.cli.demo_judge import Verdict
from dispatcher.records.states import State
from dispatcher.store.ledger import Counts

ROWS = ("rows_read", "members_imported", "rows_updated", "rows_rejected")


@dataclass(slots=True)
class Kill:
    """One kill -9, and what the next start said of it."""

    at_ms: int
    log_begins: int | None = None  # octet of the simulator's log from which lines are those of the process after
    restart_s: float | None = None  # to its first submit
    found_unsent: bool = True
    recovery: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """What the demo gathers on its way. None: not known, or not asked."""

    imported: dict[str, Any] = field(default_factory=dict)  # the import, as the API answers
    expected: Expected = field(default_factory=Expected)
    audience: int = 0
    counts: Counts = field(default_factory=lambda: Counts((0,) * 64))
    verdict: Verdict | None = None  # None: no log to judge by
    unlisted: int = 0
    kills: list[Kill] = field(default_factory=list)
    kills_wanted: int = 0
    claim_credit: int = 0
    receipts_come: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    sending_s: float = 0.0  # of seconds["send"], without the restarts
    dispatcher_anon_mb_idle: float = 0.0
    dispatcher_anon_mb_max: float = 0.0
    ledger_bytes: int = 0
    fdatasync_ms_p50: float = 0.0
    troubles: list[str] = field(default_factory=list)  # what a step found wrong

    def result(self, cut_short: bool = False) -> dict[str, Any]:
        """The JSON line. cut_short: a step failed, so what else does not hold only follows from it."""
        counts, verdict = self.counts, self.verdict
        reasons = self.troubles if cut_short else [*self.troubles, *wrong(self)]
        sending_s = self.sending_s or self.seconds.get("send", 0.0)
        return {
            "ok": not reasons,
            **{name: self.imported.get(name, 0) for name in ROWS},
            "audience": self.audience,
            "skipped": counts.skipped,
            "sent": counts.sent,
            "accepted": counts.accepted,
            **states(counts),
            "duplicates_on_wire": verdict.duplicates_on_wire if verdict else None,
            "lost": verdict.lost + self.unlisted if verdict else None,
            "resent_after_crash": counts.resent,
            "kills": len(self.kills),
            "judge": "log" if verdict else "ledger",
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "msgs_per_s": round(counts.accepted / sending_s) if sending_s else 0,
            "parts_per_s": round(counts.parts_accepted / sending_s) if sending_s else 0,
            "dispatcher_anon_mb_max": round(self.dispatcher_anon_mb_max, 1),
            "dispatcher_anon_mb_idle": round(self.dispatcher_anon_mb_idle, 1),
            "ledger_bytes": self.ledger_bytes,
            "claim_credit": self.claim_credit,
            "uncertain_at_restart": sum(kill.recovery.get("uncertain", 0) for kill in self.kills),
            "settled_by_number": counts.by_number,
            "restart_s": [kill.restart_s for kill in self.kills],
            "fdatasync_ms_p50": round(self.fdatasync_ms_p50, 3),
            "reasons": reasons,
        }


def states(counts: Counts) -> dict[str, int]:
    """Each sent recipient in exactly one. UNKNOWN is uncertain by an SMSC's word or by time, NO_RECEIPT pending."""
    return {
        "delivered": counts.state(State.DELIVERED),
        "failed": counts.state(State.FAILED),
        "expired": counts.state(State.EXPIRED),
        "uncertain": counts.state(State.UNCERTAIN) + counts.state(State.UNKNOWN),
        "pending": sum(map(counts.state, (State.CLAIMED, State.RETRY_WAIT, State.ACCEPTED, State.NO_RECEIPT))),
    }


def wrong(figures: Figures) -> Iterator[str]:
    """Every rule that does not hold, a sentence each."""
    yield from _import(figures.imported, figures.expected)
    yield from _sums(figures)
    for number, kill in enumerate(figures.kills, 1):
        yield from _kill(f"kill {number}", kill)
    if len(figures.kills) != figures.kills_wanted:
        yield f"{figures.kills_wanted} kills were wanted, {len(figures.kills)} came about"
    verdict = figures.verdict
    if verdict is None:
        if figures.unlisted:
            yield f"{figures.unlisted} recipients are neither settled nor listed"
        return
    lost = verdict.lost + figures.unlisted
    if lost:
        yield f"{lost} lost: accepted here and absent in the log, or unsettled and unlisted"
    if verdict.duplicates_on_wire:
        yield f"{verdict.duplicates_on_wire} lines of the log above what may be there"
    if verdict.lost or verdict.duplicates_on_wire:
        yield f"such as: {'; '.join(verdict.examples)}"
    for what in verdict.replies_missing:
        yield f"{what} never came"


def _import(imported: dict[str, Any], expected: Expected) -> Iterator[str]:
    got = [imported.get(name, 0) for name in ROWS]
    if got[0] != sum(got[1:]):
        yield f"the import's counts do not add up: {dict(zip(ROWS, got, strict=True))}"
    wanted = [expected.rows, expected.members, expected.updated, expected.rejected]
    for name, is_, should in zip(ROWS, got, wanted, strict=True):
        if is_ != should:
            yield f"import: {name} is {is_}, the file has {should}"


def _sums(figures: Figures) -> Iterator[str]:
    counts = figures.counts
    skipped = sum(counts.skipped.values())
    if figures.audience != skipped + counts.sent:
        yield f"audience {figures.audience} is not skipped {skipped} + sent {counts.sent}"
    if counts.sent == 0:
        yield "nothing was sent"
    ends = states(counts)
    if counts.sent != sum(ends.values()):
        yield f"sent {counts.sent} is not the sum of {ends}"
    if ends["pending"] and figures.receipts_come:
        yield f"{ends['pending']} pending at the end"


def _kill(name: str, kill: Kill) -> Iterator[str]:
    if not kill.found_unsent:
        yield f"{name} found nothing unsent"
    if not kill.recovery:
        yield f"{name}: the dispatcher's next start left no report"
        return
    uncertain, credit = kill.recovery["uncertain"], kill.recovery["claim_credit"]
    if uncertain > credit:
        yield f"{name} made {uncertain} members uncertain, above the claim credit of {credit}"
    if kill.recovery["at_or_above_mark"]:
        yield f"{name}: {kill.recovery['at_or_above_mark']} of the uncertain were at or above the mark"
