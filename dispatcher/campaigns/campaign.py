"""One campaign: made, edited and deleted, how its row is kept and shown, what a preview of it stands for.

Touches: rows of `campaigns` (and on delete its bitmaps), through a view; time is an argument.
Rests on: DESIGN 6 (a preview freezes the audience, start adopts it, guards only remove), PRODUCT D; states.py for the
moves, life.py for who makes them, written.py for what may be written.

    campaigns: tenant:2 campaign:8 -> {title, purpose, expr, canonical, text, sender, max_parts, validity_s,
      receipts, schedule, state, version, created_ms, started_ms, finished_ms, log_base, ref_seed, audience,
      preview: {token, at_ms, expires_ms, fingerprint{}, audience, will_send, skipped{}, parts{}, alphabet{}} | None,
      history: [{state, at_ms, actor, reason}], and what LATER names}

`version` grows by one with each change of the row: it is the ETag, and what a preview's commit is held against.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import Any

from dispatcher.campaigns import arm_rules
from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.states import (
    ACTIVE,
    APPROVED,
    AWAITING_APPROVAL,
    CANCELLED,
    DONE,
    DRAFT,
    FINISHING,
    HELD,
    PAUSED,
    RUNNING,
    SCHEDULED,
    TRANSITIONS,
    can_be,
    enter,
    hold_version,
    next_state,
    remember,
)
from dispatcher.campaigns.underway import note_under_way, under_way
from dispatcher.campaigns.written import check, plan, problem_of
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CreateCampaign, DeleteCampaign, EditCampaign, Envelope
from dispatcher.coupons.pool import PREFIX as POOL_PREFIX
from dispatcher.coupons.pool import note_campaign
from dispatcher.errors import CommandRefused, WrongState
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState
from dispatcher.store import audit
from dispatcher.store.ids import next_id
from dispatcher.store.layout import LEDGER_KEY, TENANT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant, tenant_numbers

__all__ = [
    "ACTIVE",
    "APPROVED",
    "AWAITING_APPROVAL",
    "CANCELLED",
    "DONE",
    "DRAFT",
    "FINISHING",
    "HELD",
    "PAUSED",
    "RUNNING",
    "SCHEDULED",
    "TRANSITIONS",
    "next_state",
]

# what a preview stands for: start refuses when one of them is no longer what was previewed
_WORDS = ("purpose", "expr", "text", "sender", "max_parts", "validity_s", "receipts", "schedule")
DEALT = ("arms", "holdout", "winner", "stratify")
GUARDED = ("signature", "budget_micros", "caps", "rate")
TOLD = ("options", "coupon_pool")
PREVIEWED = (*_WORDS, "canonical", *DEALT, *GUARDED, *TOLD)
EDITABLE = ("title", *_WORDS, *DEALT, *GUARDED, *TOLD)

# what rows of earlier versions lack
LATER: dict[str, Any] = {
    "outdated": [],  # previews before the latest: [{token_sha256, will_send, fingerprint}] (preview.py)
    "schedule": None,
    "zone": "UTC",  # the tenant's when the schedule was written: `tenant` in a schedule means it
    "due_ms": None,  # while scheduled: when it starts, or when the next repetition does
    "authors": (),  # who wrote in it since it was made; none of them approves it
    "submitted": None,  # {actor, at_ms}
    "approval": None,  # {actor, at_ms, count}
    "count": None,  # of messages, as it was when somebody started or approved it: what is due is held against that
    "held": None,  # why: {expected, found, percent}
    "stopped": False,  # paused by a stop of everything
    "repeat_of": None,
    "clone_of": None,
    "resend_of": None,
    "arms": [],  # [{name, share, text}]; none: one text for all (arm_rules.py)
    "holdout": None,  # {percent | size, salt}
    "winner": None,  # {by, after_s, test_percent}
    "stratify": "",  # a dictionary field
    "deal": None,  # of the frozen audience (arms.py)
    "local_at": None,  # while it runs: what a recipient's own clock must show before (schedule.local_at)
    "archive": None,  # {asked_ms, actor, at_ms} (apps/archive.py)
    "won": None,  # {arm, at_ms, actor, reason, rates}: which text the rest gets
    "signature": "",  # who the text says that it is from; "": the tenant's (wording.py)
    "budget_micros": None,  # what it may cost (money.py)
    "caps": [],  # [{max, within_s}], beside those of market and tenant (caps.py)
    "rate": 0,  # parts a second, 0: no limit of its own
    "open_hours": False,  # in a rehearsal's scratch store alone: quiet hours are passed over (rehearsal.py)
    "options": {},  # what each submit_sm asks for beside its text (text/options.py)
    "coupon_pool": None,  # its number: `{coupon}` is a member's code there (coupon_pool.py)
    "quote": None,  # since its start: {micros, billed, month, reserved, prices} (money.py)
}
LINKS = ("repeat_of", "clone_of", "resend_of")
AUTHORS_MAX = 64
DAEMON = "dispatcher"


def create_campaign(view: View, command: CreateCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A draft. An empty sender takes the tenant's. Raises CommandRefused 422 naming every field that is wrong."""
    changes, campaign, row = made(view, envelope, {name: getattr(command, name) for name in EDITABLE})
    return changes, campaign_json(campaign, row)


def made(view: View, envelope: Envelope, written: dict[str, Any], **links: int) -> tuple[Changes, int, dict[str, Any]]:
    """A draft of what is `written`, with its id and row; `links`: to the campaign it came from (LINKS)."""
    tenant = need_tenant(view, envelope.tenant)
    changes = Changes()
    campaign = next_id(changes, view, envelope.at_ms)
    row: dict[str, Any] = {**LATER, **written, **links}
    row["sender"] = row["sender"] or tenant.sender
    row |= {
        "state": DRAFT.value,
        "version": 0,
        "created_ms": envelope.at_ms,
        "started_ms": None,
        "finished_ms": None,
        "log_base": 0,
        "ref_seed": campaign * 97 & 0xFF,  # campaigns made one after the other begin far apart
        "audience": 0,
        "preview": None,
        "authors": [envelope.actor],
        "history": [],
        "outdated": [],
        "deal": None,
        "won": None,
    }
    check(view, tenant, row, envelope.at_ms)
    plan(tenant, row, envelope.at_ms)
    remember(row, envelope.at_ms, envelope.actor, envelope.reason)
    changes.merge(save(envelope.tenant, campaign, row))
    return changes, campaign, row


def edit_campaign(view: View, command: EditCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Change what has not started; from any state it becomes a draft again, and what was approved is so no more.

    `changes` may carry `version`, the one its writer saw: 412 when it is no longer that.
    """
    wanted = dict(command.changes)
    tenant = need_tenant(view, envelope.tenant)
    row = need_campaign(view, envelope.tenant, command.campaign)
    for seen in (wanted.pop("version", None), envelope.version):
        hold_version(row, seen)
    next_state(row, "edit")
    if unknown := [name for name in wanted if name not in EDITABLE]:
        raise CommandRefused(
            422,
            "invalid_campaign",
            f"no such part of a campaign: {', '.join(map(repr, unknown))}",
            errors=[problem_of(name, "unknown", f"one of {', '.join(EDITABLE)}") for name in unknown],
            extra={"did_you_mean": next(iter(difflib.get_close_matches(unknown[0], EDITABLE, 1)), None)},
        )
    edited = row | wanted
    check(view, tenant, edited, envelope.at_ms)
    if "schedule" in wanted and (wanted["schedule"] != row["schedule"] or tenant.zone != row["zone"]):
        plan(tenant, edited, envelope.at_ms)
    if edited == row:
        return Changes(), campaign_json(command.campaign, row)
    if any(edited[name] != row[name] for name in PREVIEWED):
        edited["audience"] = 0  # frozen again by the next preview; the old one stays to tell what changed since
    if edited["zone"] != row["zone"] and schedules.reads_tenant_zone(edited["schedule"]):
        edited |= {"audience": 0, "preview": None}  # the same words, and no longer the instants that it showed
    edited["authors"] = [*dict.fromkeys([*row["authors"], envelope.actor])][-AUTHORS_MAX:]
    edited |= {"due_ms": None, "submitted": None, "approval": None, "count": None}
    if row["state"] != DRAFT:
        enter(edited, DRAFT, envelope.at_ms, envelope.actor, envelope.reason or "edited")
    return save(envelope.tenant, command.campaign, edited), campaign_json(command.campaign, edited)


def delete_campaign(view: View, command: DeleteCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Remove a draft and what its previews froze."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    hold_version(row, envelope.version)
    next_state(row, "delete")
    changes = Changes()
    changes.delete("campaigns", TENANT_U64.pack(envelope.tenant, command.campaign))
    drop_audience(view, changes, command.campaign)
    return changes, {"id": public_id("cmp", command.campaign), "deleted": True}


def mark(
    view: View,
    tenant: int,
    campaign: int,
    to_state: CampaignState,
    now_ms: int,
    actor: str,
    reason: str = "",
    **fields: Any,
) -> Changes:
    """The daemon's way to move a campaign and set `fields` of its row (log_base, ...); the same state sets fields only.

    Raises WrongState when the table has no such move, which a command between two steps of the daemon may cause.
    """
    row = load(view, tenant, campaign)
    if row is None:
        raise WrongState(f"campaign {public_id('cmp', campaign)} of tenant {tenant} is gone")
    assert fields.keys() <= row.keys(), fields.keys() - row.keys()
    if row["state"] != to_state:
        if to_state not in TRANSITIONS[CampaignState(row["state"])].values():
            raise WrongState(f"campaign {public_id('cmp', campaign)}: {row['state']} does not lead to {to_state}")
        enter(row, to_state, now_ms, actor, reason)
    elif all(row[name] == value for name, value in fields.items()):
        return Changes()
    return save(tenant, campaign, row | fields)


def mark_done(view: View, tenant: int, campaign: int, now_ms: int) -> Changes:
    """Nothing is unsent or in flight any more; uncertain and awaited receipts may remain (DESIGN 4)."""
    changes = mark(view, tenant, campaign, DONE, now_ms, DAEMON, "nothing unsent or in flight")
    if changes:
        audit.note(view, changes, DAEMON, "campaign.done", tenant, now_ms, public_id("cmp", campaign))
    return changes


def load(view: View, tenant: int, campaign: int) -> dict[str, Any] | None:
    """The row, or None when this tenant has no such campaign."""
    value = view.get("campaigns", TENANT_U64.pack(tenant, campaign))
    return None if value is None else LATER | unpack(value)


def list_campaigns(
    view: View, tenant: int, after: int | None = None, limit: int = 50, state: str | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """Up to `limit` (id, row), newest first, strictly older than `after`; of one state where asked, which may read
    all rows, some 10 us each, of what is being written or over."""
    if state in (SCHEDULED, *ACTIVE):
        mine = [(campaign, LATER | row) for _, campaign, row in under_way(view, CampaignState(state), tenant=tenant)]
        return [one for one in reversed(mine) if after is None or one[0] < after][:limit]
    key = None if after is None else TENANT_U64.pack(tenant, after)
    found: list[tuple[int, dict[str, Any]]] = []
    for name, value in view.range("campaigns", TENANT.pack(tenant), after=key, reverse=True):
        if len(found) == limit:
            break
        row = LATER | unpack(value)
        if state in (None, row["state"]):
            found.append((TENANT_U64.unpack(name)[1], row))
    return found


def find_campaign(view: View, campaign: int) -> tuple[int, dict[str, Any]] | None:
    """(tenant, row) of the campaign with this id, which is all that ledger and log know of it. Asks each tenant, some
    2 us: for a receipt of one that was over long ago, not for every message."""
    for tenant in tenant_numbers(view):
        if (row := load(view, tenant, campaign)) is not None:
            return tenant, row
    return None


def fingerprint(row: dict[str, Any]) -> dict[str, str]:
    """sha256 of each part that decides who gets which octets; a preview's token holds as long as all of them."""
    return {name: hashlib.sha256(pack({name: row.get(name)})).hexdigest() for name in PREVIEWED}


def changed_since_preview(row: dict[str, Any]) -> list[str]:
    """Names of what no longer is as it was previewed; empty when the preview still holds."""
    lacking = {name: LATER[name] for name in PREVIEWED if name in LATER}  # what earlier ones do not say
    previewed = fingerprint({**row, **lacking}) | row["preview"]["fingerprint"]
    return [name for name, digest in fingerprint(row).items() if digest != previewed[name]]


def campaign_json(campaign: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the API shows it: public id, RFC 3339 times, what may be done next; no preview and no inner fields."""
    shown = {name: row[name] for name in (*EDITABLE, "canonical", "state", "version", "audience")}
    preview, pool = row["preview"], row["coupon_pool"]
    return {
        "id": public_id("cmp", campaign),
        **shown,
        "coupon_pool": None if pool is None else public_id(POOL_PREFIX, pool),
        "can": can_be(row),
        "created_at": rfc3339(row["created_ms"]),
        "due_at": rfc3339(row["due_ms"]),
        "started_at": rfc3339(row["started_ms"]),
        "finished_at": rfc3339(row["finished_ms"]),
        "authors": list(row["authors"]),
        "submitted": _signed(row["submitted"]),
        "approval": _signed(row["approval"]),
        "held": row["held"],
        **arm_rules.dealt_json(row),
        "archived_at": rfc3339(row["archive"]["at_ms"]) if row["archive"] else None,
        **{name: None if row[name] is None else public_id("cmp", row[name]) for name in LINKS},
        "previewed_at": rfc3339(preview["at_ms"]) if preview else None,
        "history": [
            {"state": entry["state"], "at": rfc3339(entry["at_ms"]), "actor": entry["actor"], "reason": entry["reason"]}
            for entry in row["history"]
        ],
    }


def _signed(entry: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if entry is None else {**entry, "at": rfc3339(entry["at_ms"])}


def bitmap_key(campaign: int, which: int, block: int) -> bytes:
    """Key of table `bitmaps`, drawn in preview.py: campaign:8 which:1 block:4."""
    return LEDGER_KEY.pack(campaign, which, block)


def drop_audience(view: View, changes: Changes, campaign: int) -> None:
    """Remove what a preview froze."""
    for key, _ in view.range("bitmaps", U64.pack(campaign)):
        changes.delete("bitmaps", key)


def need_campaign(view: View, tenant: int, campaign: int) -> dict[str, Any]:
    row = load(view, tenant, campaign)
    if row is None:
        raise CommandRefused(404, "not_found", f"no campaign {public_id('cmp', campaign)}")
    return row


def save(tenant: int, campaign: int, row: dict[str, Any]) -> Changes:
    """The row under its next version."""
    changes = Changes()
    row["version"] += 1
    changes.put("campaigns", TENANT_U64.pack(tenant, campaign), pack(row))
    note_under_way(changes, tenant, campaign, row)
    if row["coupon_pool"] is not None:
        note_campaign(changes, tenant, row["coupon_pool"], campaign)
    return changes
