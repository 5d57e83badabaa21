"""Who moves a campaign along: start, approval by somebody else, pause, resume, cancel.

Touches: rows of `campaigns` and what a preview froze, through a view; time is an argument.
Rests on: DESIGN 6, PRODUCT D (the author is not the approver above a tenant's limit); the table in states.py.

A start with a time is a promise: its row is `scheduled`, and due.py freezes the audience anew when the time has come.
The count that somebody started or approved is kept, and held against the one found then.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.campaign import (
    campaign_json,
    changed_since_preview,
    fingerprint,
    need_campaign,
    save,
)
from dispatcher.campaigns.coupon_pool import hold_pool, hold_previewed
from dispatcher.campaigns.freeze import start_of
from dispatcher.campaigns.money import hold_money
from dispatcher.campaigns.states import (
    APPROVED,
    AWAITING_APPROVAL,
    CANCELLED,
    DRAFT,
    HELD,
    PAUSED,
    RUNNING,
    SCHEDULED,
    can_be,
    conflict,
    enter,
    hold_version,
    next_state,
)
from dispatcher.campaigns.stops import refuse_while_stopped
from dispatcher.campaigns.wording import hold_wording
from dispatcher.campaigns.written import compile_of
from dispatcher.clock import rfc3339
from dispatcher.control.commands import (
    ApproveCampaign,
    CancelCampaign,
    Envelope,
    PauseCampaign,
    RejectCampaign,
    ResumeCampaign,
    StartCampaign,
    SubmitCampaign,
)
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.tenants.senders import note_sender
from dispatcher.tenants.tenant import Tenant, need_tenant

Row = dict[str, Any]
Done = tuple[Changes, dict[str, Any]]
_TARGET = {"pause": PAUSED, "resume": RUNNING, "cancel": CANCELLED}


def start_campaign(view: View, command: StartCampaign, envelope: Envelope) -> Done:
    """Adopt the audience frozen under the preview's token and run; with a time, keep it for then.

    Raises CommandRefused: 409 already_started for a second start (a repeated request is answered by its request_key
    before it comes here); state_conflict when it may not start, the token is not the latest preview's, is past its
    24 h (a start now), or what was previewed changed since (`changed` names it); approval_required; stopped;
    422 no_recipients when nobody would get a message, schedule_in_the_past, what compile_text says of the text; and
    what coupon_pool.py, money.py and wording.py refuse: coupon_pool_closed, insufficient_credit, price_changed ...
    """
    row = need_campaign(view, envelope.tenant, command.campaign)
    preview = row["preview"]
    holds = preview is not None and hmac.compare_digest(command.token.encode(), preview["token"].encode())
    if row["state"] in (RUNNING, SCHEDULED) and holds:
        raise _already(row)
    if row["state"] == AWAITING_APPROVAL:
        who = f"{row['submitted']['actor']} asked for it at {rfc3339(row['submitted']['at_ms'])}"
        detail = f"it waits for an approval ({who}): somebody else approves it (:approve), then start"
        raise conflict(detail, "approval_required", state=row["state"], can=can_be(row))
    schedule = row["schedule"]
    timed = schedule is not None and schedule["at"] is not None
    next_state(row, "schedule" if timed else "start")
    refuse_while_stopped(view, envelope.tenant)
    if preview is None:
        raise conflict("there is no preview yet: preview, then start with its token")
    if not holds:
        raise _not_latest(row, command.token)
    if envelope.at_ms > preview["expires_ms"] and not timed:
        raise conflict(f"the preview ended at {rfc3339(preview['expires_ms'])}: preview again", ended=True)
    _hold_preview(row)
    tenant = need_tenant(view, envelope.tenant)
    compile_of(view, tenant.number, row, row["text"])  # a field may have gone since
    hold_previewed(view, tenant.number, row, start_of(row, envelope.at_ms))
    _hold_approval(tenant, row)
    row["count"] = preview["will_send"] if row["approval"] is None else row["approval"]["count"]
    row["audience"] = preview["audience"]
    hold_wording(view, tenant, row)
    money = hold_money(view, tenant, command.campaign, row, envelope.at_ms)
    if not timed:
        row["started_ms"] = envelope.at_ms
        changes, shown = _moved(envelope, command.campaign, row, "start")
        changes.merge(money)
        note_sender(view, changes, tenant.number, row["sender"])
        return changes, shown
    row["quote"] = None  # nothing is reserved before its time
    compile_segment(view, tenant.number, row["expr"], as_of_ms=envelope.at_ms)
    schedules.checked(schedule, row["zone"], envelope.at_ms)
    begin_ms = schedules.first_ms(schedule, schedules.zone_of(schedule, row["zone"]))
    row["due_ms"] = max(begin_ms or 0, envelope.at_ms)  # some zone of the recipients may be past it
    changes, shown = _moved(envelope, command.campaign, row, "schedule")
    note_sender(view, changes, tenant.number, row["sender"])
    return changes, shown


def submit_campaign(view: View, command: SubmitCampaign, envelope: Envelope) -> Done:
    """Ask for an approval of what the latest preview shows. Repeating it changes nothing."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    if row["state"] == AWAITING_APPROVAL:
        return Changes(), campaign_json(command.campaign, row)
    next_state(row, "submit")
    if row["preview"] is None:
        raise conflict("there is no preview yet: preview, then submit what it shows")
    _hold_preview(row)
    row["authors"] = [*dict.fromkeys([*row["authors"], envelope.actor])]
    row["submitted"] = {"actor": envelope.actor, "at_ms": envelope.at_ms}
    return _moved(envelope, command.campaign, row, "submit")


def approve_campaign(view: View, command: ApproveCampaign, envelope: Envelope) -> Done:
    """Approve the text, the schedule and the count that the latest preview shows; of a held one the count found.

    Raises CommandRefused 403 own_approval when the limit asks for somebody else than those who wrote it.
    """
    tenant = need_tenant(view, envelope.tenant)
    row = need_campaign(view, envelope.tenant, command.campaign)
    if row["state"] == APPROVED:
        return Changes(), campaign_json(command.campaign, row)
    next_state(row, "approve")
    if row["state"] == HELD and not row["held"]:
        raise conflict("it is not held for its count: there is nothing to approve; resume it when its cause is over")
    if row["state"] != HELD:
        _hold_preview(row)
    count = row["held"]["found"] if row["state"] == HELD else row["preview"]["will_send"]
    if above_limit(tenant, count) and envelope.actor in row["authors"]:
        limit = f"above {tenant.approval_above:,} messages the author is not the approver"
        detail = f"{envelope.actor} wrote or submitted this campaign of {count:,} messages, and {limit}"
        extra = {"authors": list(row["authors"])}
        raise CommandRefused(403, "own_approval", f"{detail}: somebody else approves it", extra=extra)
    row["approval"] = {"actor": envelope.actor, "at_ms": envelope.at_ms, "count": count}
    return _moved(envelope, command.campaign, row, "approve")


def reject_campaign(view: View, command: RejectCampaign, envelope: Envelope) -> Done:
    """Back to its author as a draft, with the envelope's reason; also of what is approved or scheduled."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    next_state(row, "reject")
    row |= {"submitted": None, "approval": None, "count": None, "due_ms": None}
    return _moved(envelope, command.campaign, row, "reject")


def pause_campaign(view: View, command: PauseCampaign, envelope: Envelope) -> Done:
    """Claim nothing more until resumed; what is in flight settles."""
    return _moved(envelope, command.campaign, need_campaign(view, envelope.tenant, command.campaign), "pause")


def resume_campaign(view: View, command: ResumeCampaign, envelope: Envelope) -> Done:
    """Go on with audience minus done; of one held before it began, begin with the count that was found.

    Raises CommandRefused 409: stopped; approval_required when the count held for is above the limit and not approved.
    """
    row, money = need_campaign(view, envelope.tenant, command.campaign), Changes()
    if row["state"] != RUNNING:
        next_state(row, "resume")
        refuse_while_stopped(view, envelope.tenant)
        if row["held"]:
            found, approval = row["held"]["found"], row["approval"]
            if above_limit(need_tenant(view, envelope.tenant), found) and (not approval or approval["count"] != found):
                detail = f"it was held because {found:,} messages were found instead of {row['held']['expected']:,}"
                raise conflict(f"{detail}: somebody else approves that first (:approve)", "approval_required")
        if row["started_ms"] is None and row["preview"] is not None:
            tenant = need_tenant(view, envelope.tenant)
            hold_pool(view, tenant.number, row, envelope.at_ms)
            money = hold_money(view, tenant, command.campaign, row, envelope.at_ms, bound=False)
        row |= {"held": None, "stopped": False, "started_ms": row["started_ms"] or envelope.at_ms}
    changes, shown = _moved(envelope, command.campaign, row, "resume")
    changes.merge(money)
    return changes, shown


def cancel_campaign(view: View, command: CancelCampaign, envelope: Envelope) -> Done:
    """Final: the unsent stay undecided and are reported as skipped `cancelled`; what is in flight settles."""
    return _moved(envelope, command.campaign, need_campaign(view, envelope.tenant, command.campaign), "cancel")


def above_limit(tenant: Tenant, count: int) -> bool:
    """Whether so many messages need an approval."""
    return bool(tenant.approval_above) and count > tenant.approval_above


def drifted(tenant: Tenant, row: Row, expected: int, found: int) -> int | None:
    """The percentage that the count may differ by, when it differs by more; else None."""
    schedule = row["schedule"]
    own = schedule["count_change_percent"] if schedule else None
    percent = int(tenant.count_change_percent if own is None else own)
    return percent if abs(found - expected) * 100 > percent * expected else None


def _already(row: Row) -> CommandRefused:
    """A second start, told who made the first and what can be done now."""
    begun = next(entry for entry in reversed(row["history"]) if entry["state"] == row["state"])
    until = f" and is due at {rfc3339(row['due_ms'])}" if row["state"] == SCHEDULED else ""
    detail = f"{begun['actor']} started it at {rfc3339(begun['at_ms'])}; it is {row['state']}{until}"
    can = can_be(row)
    return conflict(
        f"{detail}: once is enough; a person can {', '.join(can)} it", "already_started", state=row["state"], can=can
    )


def _not_latest(row: Row, token: str) -> CommandRefused:
    """The refusal of a token that is not the latest preview's: what of that one is no longer as this one showed it."""
    digest, latest = hashlib.sha256(token.encode()).hexdigest(), row["preview"]
    older = next((one for one in row["outdated"] if hmac.compare_digest(one["token_sha256"], digest)), None)
    if older is None:
        return conflict("the token is not that of the latest preview: preview again, then start with its token")
    now = fingerprint(row)
    changed = [name for name in now if not now[name].startswith(older["fingerprint"].get(name, ""))]
    changed += ["count"] * (latest["will_send"] != older["will_send"])
    told = f"{', '.join(changed)} changed" if changed else "nothing changed"
    since = f"{told} since the preview of this token"
    detail = f"{since}; the latest is of {rfc3339(latest['at_ms'])}: start with its token"
    return conflict(detail, changed=changed)


def _hold_preview(row: Row) -> None:
    """Raises CommandRefused when the latest preview no longer says what would go out, or says nobody."""
    preview = row["preview"]
    if changed := changed_since_preview(row):
        raise conflict(f"changed since the preview: {', '.join(changed)}; preview again", changed=changed)
    if preview["will_send"] == 0:
        matched = preview["audience"]
        why = f"all {matched} members are skipped" if matched else "the segment matches no member"
        if preview["skipped"].get("no_consent") == matched and matched:
            what = "record who said yes (POST /v1/consents, `volley consent add`)"
            raise CommandRefused(
                422, "consent_missing", f"nobody matched said yes to {row['purpose']} messages: {what}"
            )
        raise CommandRefused(422, "no_recipients", f"nobody would get a message: {why}")


def _hold_approval(tenant: Tenant, row: Row) -> None:
    """Raises CommandRefused 409 approval_required; a later preview's count may differ by what the tenant allows."""
    count, approval = row["preview"]["will_send"], row["approval"]
    if not above_limit(tenant, count):
        return
    extra = {"count": count, "approval_above": tenant.approval_above}
    if row["state"] == DRAFT or approval is None:
        limit = f"{count:,} messages are above the limit of {tenant.approval_above:,}"
        raise conflict(f"{limit}: submit it (:submit), then somebody else approves", "approval_required", **extra)
    if (percent := drifted(tenant, row, approval["count"], count)) is not None:
        detail = f"{count:,} messages instead of the {approval['count']:,} approved, more than {percent} % apart"
        what = "reject it (:reject), submit and have it approved again"
        raise conflict(f"{detail}: {what}", "approval_required", changed=["count"], **extra)


def _moved(envelope: Envelope, campaign: int, row: Row, word: str) -> Done:
    """One step by a person; a step already taken changes nothing, so that commands are safe to repeat."""
    hold_version(row, envelope.version)
    if row["state"] == _TARGET.get(word):
        return Changes(), campaign_json(campaign, row)
    to_state = next_state(row, word)
    assert to_state is not None
    enter(row, to_state, envelope.at_ms, envelope.actor, envelope.reason)
    return save(envelope.tenant, campaign, row), campaign_json(campaign, row)
