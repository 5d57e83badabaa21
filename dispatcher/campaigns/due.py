"""What happens to a campaign by the clock: it comes due, it repeats, it waits for its window or its turn.

Touches: rows of `campaigns` and frozen audiences, through a view; time is an argument. The daemon's schedule.py freezes
on a snapshot in a worker thread, then start_due() decides within one commit.
Rests on: DESIGN 6 (what is scheduled freezes when due, and is held when its count is not the approved one).

What repeats is one row that stays `scheduled` under its next time; each time makes a campaign of its own, `repeat_of`
it, with its own audience, ledger and counts. Of several times missed while the server was down only the last one runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns import winner
from dispatcher.campaigns.campaign import LATER, drop_audience, load, save
from dispatcher.campaigns.coupon_pool import hold_previewed
from dispatcher.campaigns.life import drifted
from dispatcher.campaigns.money import hold_money
from dispatcher.campaigns.preview import Frozen, counted, put_audience
from dispatcher.campaigns.schedule import FOREVER_MS, Window
from dispatcher.campaigns.states import CANCELLED, DONE, DRAFT, FINISHING, HELD, RUNNING, SCHEDULED, enter, remember
from dispatcher.campaigns.stops import stop_of
from dispatcher.campaigns.underway import under_way
from dispatcher.clock import rfc3339
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store import audit
from dispatcher.store.ids import next_id
from dispatcher.tenants.tenant import need_tenant

LATE_MS = 5 * 60_000  # below it a start is on time, whatever if_late says: a restart takes less
SLICE_MS = 1_000  # what is spread is given out once a second: a claim of a few would be a commit of its own
ACTOR = "schedule"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """A campaign whose time has come: to start, or to find the winner of its test."""

    tenant: int
    campaign: int
    due_ms: int
    version: int
    winner: bool = False


def due_before(view: View, now_ms: int) -> tuple[list[Due], int]:
    """(what is due by now, first first; when the next one is). What a stop holds is neither.

    Reads the rows of all that wait or are sent, some 10 us each: after a change, not on every tick.
    """
    found, following = [], FOREVER_MS
    for tenant, campaign, kept in under_way(view, SCHEDULED, RUNNING, FINISHING):
        row = LATER | kept
        winner_ms = winner.due_ms(row)
        due_ms = row["due_ms"] if row["state"] == SCHEDULED else winner_ms
        if due_ms is None or stop_of(view, tenant) is not None:
            continue
        if due_ms <= now_ms:
            found.append(Due(tenant, campaign, due_ms, row["version"], due_ms == winner_ms))
        else:
            following = min(following, due_ms)
    return sorted(found, key=lambda due: due.due_ms), following


def start_due(view: View, due: Due, frozen: Frozen, now_ms: int) -> tuple[Changes, int | None]:
    """Start what is due with the audience frozen just now: its changes, and the campaign that runs or is held by them.

    Nothing when it was changed, stopped or cancelled meanwhile. Held when the count is not the approved one, or when
    nobody would get a message; a repetition for nobody is passed over.
    """
    changes, run = _start(view, due, frozen, now_ms)
    if changes:
        audit.note(view, changes, ACTOR, "campaign.due", due.tenant, now_ms, public_id("cmp", run or due.campaign))
    return changes, run


def _start(view: View, due: Due, frozen: Frozen, now_ms: int) -> tuple[Changes, int | None]:
    row = load(view, due.tenant, due.campaign)
    if row is None or row["state"] != SCHEDULED or row["version"] != due.version or stop_of(view, due.tenant):
        return Changes(), None
    schedule = row["schedule"]
    late = now_ms - due.due_ms > LATE_MS
    drop = late and schedule["if_late"] == "drop"
    if schedule["repeat"]:
        return _repetition(view, due, row, frozen, now_ms, drop)
    if drop:
        why = f"was due at {rfc3339(due.due_ms)}, is {_minutes(now_ms - due.due_ms)} late, and if_late is drop"
        enter(row, CANCELLED, now_ms, ACTOR, why)
        return save(due.tenant, due.campaign, row), None
    changes = _begin(view, due.tenant, due.campaign, row, frozen, now_ms, "its time has come")
    return changes, due.campaign


def cannot_start(view: View, due: Due, detail: str, now_ms: int) -> Changes:
    """Its segment or text holds no more: back to its author, with what is wrong in its history."""
    row = load(view, due.tenant, due.campaign)
    if row is None or row["state"] != SCHEDULED or row["version"] != due.version:
        return Changes()
    row |= {"due_ms": None, "submitted": None, "approval": None, "count": None}
    reason = f"could not start: {detail}"[:500]
    enter(row, DRAFT, now_ms, ACTOR, reason)
    changes = save(due.tenant, due.campaign, row)
    audit.note(view, changes, ACTOR, "campaign.due", due.tenant, now_ms, public_id("cmp", due.campaign), reason)
    return changes


def _repetition(view: View, due: Due, row: Row, frozen: Frozen, now_ms: int, drop: bool) -> tuple[Changes, int | None]:
    """The run of this time, and the series under its next one."""
    changes, run = Changes(), None
    zone = schedules.zone_of(row["schedule"], row["zone"])
    row["due_ms"] = schedules.following_ms(row["schedule"], zone, now_ms)
    if drop or not frozen.will_send:
        why = "late, and if_late is drop" if drop else "nobody would get a message"
        remember(row, now_ms, ACTOR, f"passed over the time of {rfc3339(due.due_ms)}: {why}")
    else:
        run = next_id(changes, view, now_ms)
        mine: Row = {
            **row,
            "version": 0,
            "created_ms": now_ms,
            "due_ms": due.due_ms,
            "local_at": schedules.local_at(row["schedule"], due.due_ms),
            "ref_seed": run * 97 & 0xFF,
            "schedule": {**row["schedule"], "at": None, "repeat": ""},
            "repeat_of": due.campaign,
            "history": [],
        }
        changes.merge(_begin(view, due.tenant, run, mine, frozen, now_ms, f"by {public_id('cmp', due.campaign)}"))
        remember(row, now_ms, ACTOR, f"ran as {public_id('cmp', run)}")
    if row["due_ms"] is None:  # what its runs did is theirs; nobody was sent to by the series itself
        row |= {"audience": 0, "preview": None}
        drop_audience(view, changes, due.campaign)
        enter(row, DONE, now_ms, ACTOR, "no repetition is left")
    changes.merge(save(due.tenant, due.campaign, row))
    return changes, run


def _begin(view: View, tenant: int, campaign: int, row: Row, frozen: Frozen, now_ms: int, why: str) -> Changes:
    """The row with its audience, running or held."""
    found = frozen.will_send
    row["preview"] = {**row["preview"], "at_ms": now_ms, "audience": frozen.matched, **counted(frozen)}
    row["audience"] = frozen.matched
    row["deal"] = frozen.deal.row if frozen.deal else None
    row["local_at"] = row["local_at"] or schedules.local_at(row["schedule"])
    row["quote"], money = None, Changes()
    percent = drifted(need_tenant(view, tenant), row, row["count"], found)
    if percent is not None or not found:
        row["held"] = {"expected": row["count"], "found": found, "percent": percent}
        apart = f"more than {percent} % apart" if percent is not None else "nobody to send to"
        detail = f"{found:,} messages were found instead of {row['count']:,}, {apart}: resume or cancel it"
        enter(row, HELD, now_ms, ACTOR, detail)
    elif (refusal := _refusal(view, tenant, campaign, row, now_ms, money)) is not None:
        row["held"] = {"expected": row["count"], "found": found, "percent": None, "code": refusal.code}
        enter(row, HELD, now_ms, ACTOR, f"{refusal.detail}; then resume it")
    else:
        row["started_ms"] = now_ms
        enter(row, RUNNING, now_ms, ACTOR, why)
    changes = save(tenant, campaign, row)
    changes.merge(money)
    put_audience(view, changes, campaign, frozen)
    return changes


def _refusal(view: View, tenant: int, campaign: int, row: Row, now_ms: int, money: Changes) -> CommandRefused | None:
    """Why its coupons, credit, plan or budget do not let it begin; else None, and `money` has what it reserves."""
    try:
        hold_previewed(view, tenant, row, now_ms, "see that this is meant")
        money.merge(hold_money(view, need_tenant(view, tenant), campaign, row, now_ms))
    except CommandRefused as exc:
        return exc
    return None


# ---- while it runs


@dataclass(slots=True)
class Gate:
    """How many recipients of a running campaign may be taken now: none outside its window, and no more than its spread
    has come to. Made when it starts or goes on, so a pause makes it end later and nothing is made up for in a burst."""

    window: Window | None
    zone: ZoneInfo
    per_s: float  # recipients, 0: no limit
    taken: int = 0
    _open: bool = False
    _until_ms: int = 0  # the window's next change; 0: look
    _looked_ms: int = 0
    _open_ms: int = 0  # how long the window was open before _looked_ms

    def room(self, now_ms: int) -> int:
        """Recipients that may be taken now."""
        self._look(now_ms)
        if not self._open:
            return 0
        if not self.per_s:
            return FOREVER_MS
        slices = self._gone_ms(now_ms) // SLICE_MS + 1
        return max(0, int(slices * SLICE_MS / 1000 * self.per_s) - self.taken)

    def holds(self, now_ms: int) -> str:
        """What sets the pace now, as an ETA names it: `window`, `spread`, or nothing. A spread does unless more than
        the last slice of it waits to be taken: then something else is slower."""
        room = self.room(now_ms)
        if not self._open:
            return "window"
        return "spread" if self.per_s and room <= SLICE_MS / 1000 * self.per_s else ""

    def took(self, recipients: int) -> None:
        self.taken += recipients

    def opens_ms(self, now_ms: int) -> int:
        """When room() may be above 0: now_ms when it is."""
        if self.room(now_ms):
            return now_ms
        return now_ms + SLICE_MS - self._gone_ms(now_ms) % SLICE_MS if self._open else self._until_ms

    def _gone_ms(self, now_ms: int) -> int:
        """How long the window has been open since the gate was made."""
        return self._open_ms + now_ms - self._looked_ms

    def _look(self, now_ms: int) -> None:
        if self._looked_ms <= now_ms < self._until_ms:
            return
        if self._open:
            self._open_ms += max(0, min(now_ms, self._until_ms) - self._looked_ms)
        self._open, self._until_ms = schedules.opening(self.window, self.zone, now_ms)
        self._looked_ms = now_ms


def gate_of(row: Row) -> Gate | None:
    """What holds a running campaign back; None: nothing does."""
    schedule = row.get("schedule")
    if not schedule or not (schedule["window"] or schedule["spread_over_s"]):
        return None
    spread = schedule["spread_over_s"]
    zone = schedules.zone_of(schedule, row["zone"])
    return Gate(schedules.window_of(schedule), zone, row["audience"] / spread if spread else 0.0)


def may_send(row: Row, now_ms: int) -> bool | int:
    """True while the campaign's window of the day is open, else the instant at which it opens."""
    until = waiting_until({**row, "state": RUNNING.value}, now_ms)
    return True if until is None else until


def waiting_until(row: Row, now_ms: int) -> int | None:
    """When a running campaign goes on that waits for its window of the day; None when it does not wait."""
    window = schedules.window_of(row["schedule"])
    if window is None or row["state"] not in (RUNNING, FINISHING):
        return None
    open_, until_ms = schedules.opening(window, schedules.zone_of(row["schedule"], row["zone"]), now_ms)
    return None if open_ else until_ms


def _minutes(ms: int) -> str:
    return f"{ms / 60_000:,.0f} min"
