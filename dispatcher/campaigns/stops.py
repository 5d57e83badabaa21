"""A stop of everything: of one tenant's campaigns, or of all tenants' by the operator, until it is released.

Touches: meta rows `stopped`, rows of `campaigns`.

    meta: "stopped" tenant:2 (0 = the operator's, over every tenant) -> {at_ms, actor, reason}

What runs is paused, in the same commit; a start, a resume or something due is refused or waits while a stop stands.
Answers and confirmations of an opt-out still go out: they are owed to whoever wrote.
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns.campaign import LATER, save
from dispatcher.campaigns.states import FINISHING, PAUSED, RUNNING, conflict, enter
from dispatcher.campaigns.underway import under_way
from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, ReleaseAll, StopAll
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

OPERATOR = 0
SHOWN_MAX = 100  # campaigns that an answer lists
_PREFIX = b"stopped"


def stop_all(view: View, command: StopAll, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Pause whatever runs and refuse every start. Repeating it pauses what has come to run and changes nothing else."""
    if envelope.tenant:
        need_tenant(view, envelope.tenant)
    changes = Changes()
    key = _PREFIX + TENANT.pack(envelope.tenant)
    if view.get("meta", key) is None:
        stop = {"at_ms": envelope.at_ms, "actor": envelope.actor, "reason": envelope.reason}
        changes.put("meta", key, pack(stop))
    paused = []
    for tenant, campaign, row in _rows(view, envelope.tenant):
        if row["state"] in (RUNNING, FINISHING):
            row["stopped"] = True
            enter(row, PAUSED, envelope.at_ms, envelope.actor, envelope.reason or "everything is stopped")
            changes.merge(save(tenant, campaign, row))
            paused.append(campaign)
    return changes, _reply(envelope, True, "paused", paused)


def release_all(view: View, command: ReleaseAll, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Lift the stop. What it paused stays so unless `resume` is asked, and where another stop stands in any case: a
    tenant's release answers `stopped` while the operator's stop holds it."""
    if envelope.tenant:
        need_tenant(view, envelope.tenant)
    changes = Changes()
    changes.delete("meta", _PREFIX + TENANT.pack(envelope.tenant))
    resumed = []
    for tenant, campaign, row in _rows(view, envelope.tenant):
        held = view.get("meta", _PREFIX + TENANT.pack(OPERATOR if envelope.tenant else tenant)) is not None
        if command.resume and not held and row["stopped"] and row["state"] == PAUSED:
            row["stopped"] = False
            enter(row, RUNNING, envelope.at_ms, envelope.actor, envelope.reason or "the stop is released")
            changes.merge(save(tenant, campaign, row))
            resumed.append(campaign)
    still = bool(envelope.tenant) and view.get("meta", _PREFIX + TENANT.pack(OPERATOR)) is not None
    return changes, _reply(envelope, still, "resumed", resumed) | {"everywhere": still or not envelope.tenant}


def stop_of(view: View, tenant: int) -> dict[str, Any] | None:
    """The stop that holds a tenant's campaigns: {at_ms, actor, reason, everywhere}; None when nothing does."""
    for by in (OPERATOR, tenant):
        octets = view.get("meta", _PREFIX + TENANT.pack(by))
        if octets is not None:
            return {**unpack(octets), "everywhere": by == OPERATOR}
    return None


def refuse_while_stopped(view: View, tenant: int) -> None:
    """Raises CommandRefused 409 `stopped` that says by whom, since when, and what lifts it."""
    stop = stop_of(view, tenant)
    if stop is None:
        return
    what = "everything" if stop["everywhere"] else "all campaigns of the tenant"
    why = f" ({stop['reason']})" if stop["reason"] else ""
    since = rfc3339(stop["at_ms"])
    who = "the operator releases it" if stop["everywhere"] else "release it (:release), then start"
    detail = f"{stop['actor']} stopped {what} at {since}{why}: {who}"
    raise conflict(detail, "stopped", since=since, actor=stop["actor"], everywhere=stop["everywhere"])


def stopped_json(view: View, tenant: int) -> dict[str, Any]:
    stop = stop_of(view, tenant)
    return {"stopped": stop is not None} | ({} if stop is None else {**stop, "at": rfc3339(stop["at_ms"])})


def _rows(view: View, tenant: int) -> list[tuple[int, int, dict[str, Any]]]:
    return [(owner, campaign, LATER | row) for owner, campaign, row in under_way(view, tenant=tenant)]


def _reply(envelope: Envelope, stopped: bool, word: str, campaigns: list[int]) -> dict[str, Any]:
    return {
        "stopped": stopped,
        "everywhere": not envelope.tenant,
        word: len(campaigns),
        "campaigns": [public_id("cmp", campaign) for campaign in campaigns[:SHOWN_MAX]],
    }
