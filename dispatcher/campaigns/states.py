"""The states of a campaign as one table, and how a row enters one: with who, when and why in its history.

Touches: a row in memory; time is an argument. Rests on: DESIGN 6.
"""

from __future__ import annotations

from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.states import CampaignState

DRAFT, AWAITING_APPROVAL, APPROVED, SCHEDULED, RUNNING, PAUSED, HELD, FINISHING, DONE, CANCELLED = CampaignState

# state -> what may be done -> the state after it; None: the row goes. Who: a person by command (edit, preview, delete,
# submit, approve, reject, start, pause, resume, cancel) or the daemon (due, hold, expanded, reopen, over, done). To
# start what has a time is the word schedule. An edit leads back to the draft: what was approved is gone.
TRANSITIONS: dict[CampaignState, dict[str, CampaignState | None]] = {
    DRAFT: {
        "edit": DRAFT, "preview": DRAFT, "delete": None,
        "submit": AWAITING_APPROVAL, "schedule": SCHEDULED, "start": RUNNING,
    },
    AWAITING_APPROVAL: {
        "edit": DRAFT, "preview": AWAITING_APPROVAL, "approve": APPROVED, "reject": DRAFT, "cancel": CANCELLED,
    },
    APPROVED: {
        "edit": DRAFT, "preview": APPROVED, "reject": DRAFT,
        "schedule": SCHEDULED, "start": RUNNING, "cancel": CANCELLED,
    },
    SCHEDULED: {"edit": DRAFT, "reject": DRAFT, "due": RUNNING, "hold": HELD, "over": DONE, "cancel": CANCELLED},
    RUNNING: {"pause": PAUSED, "hold": HELD, "expanded": FINISHING, "done": DONE, "cancel": CANCELLED},
    PAUSED: {"resume": RUNNING, "cancel": CANCELLED},
    HELD: {"approve": HELD, "resume": RUNNING, "pause": PAUSED, "cancel": CANCELLED},
    FINISHING: {"pause": PAUSED, "hold": HELD, "reopen": RUNNING, "done": DONE, "cancel": CANCELLED},
    DONE: {},
    CANCELLED: {},
}  # fmt: skip
ACTIVE = (RUNNING, FINISHING, PAUSED, HELD)  # the daemon may still have work for these
OVER = (DONE, CANCELLED)
PLANNED = (DRAFT, AWAITING_APPROVAL, APPROVED, SCHEDULED)  # its audience is what a preview froze: nobody's yet

OFFERED = ("edit", "preview", "delete", "submit", "approve", "reject", "start", "pause", "resume", "cancel")
HISTORY_MAX = 256  # moves kept in the row, newest; every command is in the audit table anyway


def next_state(row: dict[str, Any], word: str) -> CampaignState | None:
    """The state after `word`. Raises CommandRefused 409 when the table has no such move."""
    words = TRANSITIONS[CampaignState(row["state"])]
    if word not in words:
        can = can_be(row)
        rest = f"a person can {', '.join(can)} it" if can else "nothing more can be done with it"
        raise conflict(f"cannot {word} a campaign that is {row['state']}; {rest}", state=row["state"], can=can)
    return words[word]


def can_be(row: dict[str, Any]) -> list[str]:
    """What a person may do with it now; the daemon's own moves are not among them."""
    return [word for word in TRANSITIONS[CampaignState(row["state"])] if word in OFFERED]


def hold_version(row: dict[str, Any], seen: int | None) -> None:
    """Raises CommandRefused 412 when the row is not what somebody saw any more; None: they did not say."""
    if seen is not None and seen != row["version"]:
        raise CommandRefused(
            412, "version_changed", f"the campaign is at version {row['version']}, not {seen}: read it again",
            extra={"version": row["version"]},
        )  # fmt: skip


def enter(row: dict[str, Any], state: CampaignState, at_ms: int, actor: str, reason: str) -> None:
    """Move the row, with a line in its history."""
    row["state"] = state.value
    if state in OVER:
        row["finished_ms"] = at_ms
    remember(row, at_ms, actor, reason)


def remember(row: dict[str, Any], at_ms: int, actor: str, reason: str) -> None:
    """A line in the history under the state that the row has."""
    entry = {"state": row["state"], "at_ms": at_ms, "actor": actor, "reason": reason, "version": row["version"] + 1}
    row["history"] = [*row["history"], entry][-HISTORY_MAX:]


def conflict(detail: str, code: str = "state_conflict", **extra: Any) -> CommandRefused:
    return CommandRefused(409, code, detail, extra=extra)
