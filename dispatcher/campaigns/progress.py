"""How far a campaign is, in counters that add up at any moment.

Touches: the campaign's row and its counters, through one View, so that they are of one instant: the last fold.

    audience = unsent + sum of skipped + sent
    sent     = pending + delivered + failed + expired + unknown + no_receipt + uncertain
    pending  = in_flight (claimed) + retry_wait + awaiting_receipt
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from dispatcher.campaigns.campaign import CANCELLED, FINISHING, RUNNING, load
from dispatcher.campaigns.due import waiting_until
from dispatcher.campaigns.states import OVER
from dispatcher.clock import rfc3339
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, State
from dispatcher.store.ledger import Counts, read_counts
from dispatcher.store.values import unpack


def progress(
    view: View, tenant: int, campaign: int, live: Mapping[str, Any] | None = None, now_ms: int | None = None
) -> dict[str, Any] | None:
    """Recipients by what became of them; None when the tenant has no such campaign.

    live: what the dispatcher's status says of this campaign ({per_s, waiting, opens_ms, limit, ...}), for per_s, limit
    and eta_s: null without it, and eta_s while nothing goes or nobody knows when those who wait may.
    now_ms: when this is asked, for as_of.
    """
    row = load(view, tenant, campaign)
    if row is None:
        return None
    counts = read_counts(view, campaign)
    per_s = (live or {}).get("per_s")
    answer = {
        "id": public_id("cmp", campaign),
        "state": row["state"],
        **recipients_of(row, counts),
        "accepted": counts.accepted,
        "parts_sent": counts.parts_sent,
        "parts_accepted": counts.parts_accepted,
        "retries": counts.retries,
        "settled_by_number": counts.by_number,
        "resent": counts.resent,
        "due_at": rfc3339(row["due_ms"]),
        "waiting_until": rfc3339(_waiting_until(row, live or {}, now_ms)),
        "started_at": rfc3339(row["started_ms"]),
        "finished_at": rfc3339(row["finished_ms"]),
        "per_s": per_s,
        "limit": (live or {}).get("limit"),
        "eta_s": None,
        "as_of": rfc3339(now_ms),
    }
    if live and row["state"] in (RUNNING, FINISHING):
        answer["eta_s"] = _eta_s(answer, live, now_ms or 0)
    return answer


def _waiting_until(row: dict[str, Any], live: Mapping[str, Any], now_ms: int | None) -> int | None:
    """When somebody may be sent to again: the window opens, or the first of those whose own hours all wait for."""
    window_ms = None if now_ms is None else waiting_until(row, now_ms)
    return live.get("opens_ms") if window_ms is None and live.get("limit") == "quiet" else window_ms


def _eta_s(answer: Mapping[str, Any], live: Mapping[str, Any], now_ms: int) -> int | None:
    """Seconds until the last of them is sent, at the pace of now; where all wait, until the first of them may go."""
    per_s, waiting, opens_ms = float(live.get("per_s") or 0), int(live.get("waiting", 0)), live.get("opens_ms")
    moving = int(answer["unsent"] + answer["in_flight"] + answer["retry_wait"])
    if opens_ms is not None and waiting >= moving > 0:
        return max(0, ceil((int(opens_ms) - now_ms) / 1000))
    if not per_s:
        return None
    moving_s = max(0, moving - waiting) / per_s
    if not waiting:
        return ceil(moving_s)
    return None if opens_ms is None else ceil(max(moving_s, (int(opens_ms) - now_ms) / 1000) + waiting / per_s)


_PLACE = re.compile(r"(-1|\d{1,19})\.(-1|\d{1,19})", re.ASCII)  # -1: nothing was told yet


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody who watches a campaign is: the log as far as it is folded, and the version of the row.

    Written as `position.version`: what has happened since can be told from it, days later and after a restart.
    """

    position: int = -1
    version: int = -1

    def __str__(self) -> str:
        return f"{self.position}.{self.version}"

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """None for what str() never gave."""
        found = _PLACE.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a campaign: cheap, two rows and the counters."""

    place: Place
    moves: list[dict[str, Any]]  # since the place that was given, oldest first: {state, at, actor, reason}
    counts: Counts
    over: bool  # nothing will happen any more but by a late receipt


def look(view: View, tenant: int, campaign: int, since: Place) -> Seen | None:
    """What there is to tell since a place; None when the tenant has no such campaign."""
    row = load(view, tenant, campaign)
    if row is None:
        return None
    folded = view.get("meta", b"folded")
    place = Place(int(unpack(folded)["key"]) if folded else 0, row["version"])
    moves = [
        {"state": move["state"], "at": rfc3339(move["at_ms"]), "actor": move["actor"], "reason": move["reason"]}
        for move in row["history"]
        if since.version < move.get("version", 0) <= row["version"]
    ]
    counts = read_counts(view, campaign)
    awaited = (State.CLAIMED, State.RETRY_WAIT, *((State.ACCEPTED,) if row["receipts"] else ()))
    over = row["state"] in OVER and not any(map(counts.state, awaited))
    return Seen(place, moves, counts, over)


def recipients_of(row: dict[str, Any], counts: Counts) -> dict[str, Any]:
    skipped = counts.skipped
    unsent = row["audience"] - counts.sent - sum(skipped.values())
    if row["state"] == CANCELLED and unsent:
        skipped[Decision.CANCELLED.word] = skipped.get(Decision.CANCELLED.word, 0) + unsent
        unsent = 0
    # where no receipt was asked for, accepted is the end
    awaiting = counts.state(State.ACCEPTED) if row["receipts"] else 0
    moving = counts.state(State.CLAIMED), counts.state(State.RETRY_WAIT)
    return {
        "audience": row["audience"],
        "unsent": unsent,
        "skipped": skipped,
        "sent": counts.sent,
        "in_flight": moving[0],
        "retry_wait": moving[1],
        "awaiting_receipt": awaiting,
        "pending": sum(moving) + awaiting,
        "delivered": counts.state(State.DELIVERED),
        "failed": counts.state(State.FAILED),
        "expired": counts.state(State.EXPIRED),
        "unknown": counts.state(State.UNKNOWN),
        "no_receipt": counts.state(State.NO_RECEIPT) + counts.state(State.ACCEPTED) - awaiting,
        "uncertain": counts.state(State.UNCERTAIN),
    }
