"""Which arm won: by rule when the time has come, or by a person; from then on the rest of the audience gets its text.

Touches: rows of `campaigns`, and what effect.py reads, through a view; time is an argument. The daemon's schedule.py
asks leading() on a snapshot in a worker thread, then decide() within one commit.

The rule counts seconds from the campaign's start. It takes the greatest rate among those the test was sent to by then,
the earlier arm of two alike; while nothing is sent yet, or nothing runs, it waits. Where guards skipped all of the test
the first arm wins. Whether the lead is clear, by the
interval of effect.py, is said and decides nothing: the rest must get one of the texts.
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns.campaign import campaign_json, load, need_campaign, save
from dispatcher.campaigns.effect import CONFIDENCE, Group, counted, newcombe, wilson
from dispatcher.campaigns.states import FINISHING, HELD, PAUSED, RUNNING, conflict, hold_version, remember
from dispatcher.control.commands import ChooseWinner, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, State
from dispatcher.store import audit

ACTOR = "schedule"
Z = 1.959964  # of CONFIDENCE

Row = dict[str, Any]
assert CONFIDENCE == 0.95


def due_ms(row: Row) -> int | None:
    """When the rule decides; None where there is none, or nothing runs, or it is decided."""
    if not row["winner"] or row["won"] or row["state"] not in (RUNNING, FINISHING) or not row["started_ms"]:
        return None
    return int(row["started_ms"]) + 1_000 * int(row["winner"]["after_s"])


def leading(view: View, tenant: int, campaign: int, row: Row, now_ms: int) -> Row | None:
    """{arm, by, rates, clear} as the ledger has it now; None while nothing of the test is sent, and some of it will."""
    by = row["winner"]["by"]
    groups = counted(view, tenant, campaign, row, now_ms, measures=(by,))[1:-1]
    if not any(group.base for group in groups) and any(group.counts[Decision.UNDECIDED] for group in groups):
        return None
    hits = [_hits(group, by) for group in groups]
    rates = [many / group.base if group.base else 0.0 for many, group in zip(hits, groups, strict=True)]
    best = max(range(len(groups)), key=lambda arm: (rates[arm], -arm))
    clear = all(
        newcombe(hits[best], groups[best].base, hits[arm], groups[arm].base, Z)[0] > 0
        for arm in range(len(groups))
        if arm != best
    )
    return {"arm": best, "by": by, "rates": [_rate(*one) for one in zip(groups, hits, strict=True)], "clear": clear}


def decide(view: View, tenant: int, campaign: int, won: Row, now_ms: int) -> Changes:
    """The rule's word. Nothing when somebody was faster, or the campaign does not run any more."""
    row = load(view, tenant, campaign)
    if row is None or due_ms(row) is None:
        return Changes()
    changes = _won(tenant, campaign, row, {**won, "at_ms": now_ms, "actor": ACTOR, "reason": ""})
    audit.note(view, changes, ACTOR, "campaign.won", tenant, now_ms, public_id("cmp", campaign))
    return changes


def choose_winner(view: View, command: ChooseWinner, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A person's word, by the arm's name, before the rule has decided. Repeating it changes nothing.

    Raises CommandRefused 409 where nothing waits for a winner, 422 unknown_arm.
    """
    row = need_campaign(view, envelope.tenant, command.campaign)
    hold_version(row, envelope.version)
    names = [arm["name"] for arm in row["arms"]]
    if command.arm not in names:
        detail = f"there is no arm {command.arm!r}: one of {', '.join(names) or 'none, the campaign has one text'}"
        errors = [{"pointer": "/arm", "code": "unknown_arm", "detail": detail}]
        raise CommandRefused(422, "unknown_arm", detail, errors=errors)
    arm = names.index(command.arm)
    if row["won"]:
        if row["won"]["arm"] == arm:
            return Changes(), campaign_json(command.campaign, row)
        raise conflict(f"{names[row['won']['arm']]!r} has won already, and the rest is being sent its text")
    if not row["winner"]:
        raise conflict("the campaign has no test: nothing waits for a winner (give it `winner` before it starts)")
    if row["state"] not in (RUNNING, FINISHING, PAUSED, HELD):
        raise conflict(f"a campaign that is {row['state']} waits for no winner")
    won = {"arm": arm, "by": "hand", "rates": [], "clear": None, "at_ms": envelope.at_ms}
    won |= {"actor": envelope.actor, "reason": envelope.reason}
    return _won(envelope.tenant, command.campaign, row, won), campaign_json(command.campaign, row)


def _won(tenant: int, campaign: int, row: Row, won: Row) -> Changes:
    row["won"] = won
    name = row["arms"][won["arm"]]["name"]
    said = ", ".join(f"{one['arm']} {one['rate']:.2%}" for one in won["rates"])
    how = f" by {won['by']}: {said}; the lead is {'clear' if won['clear'] else 'not clear'}" if said else ""
    remember(row, won["at_ms"], won["actor"], won["reason"] or f"arm {name} has won{how}")
    return save(tenant, campaign, row)


def _hits(group: Group, by: str) -> int:
    return group.state(State.DELIVERED) if by == "delivered" else group.of.get(by, 0)


def _rate(group: Group, many: int) -> Row:
    low, high = wilson(many, group.base, Z)
    rate = round(many / group.base, 6) if group.base else 0.0
    return {"arm": group.name, "count": many, "of": group.base, "rate": rate, "low": low, "high": high}
