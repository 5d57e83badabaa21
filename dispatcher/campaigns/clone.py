"""A campaign made of another one: the same words again, or the same message to whom it did not reach.

Touches: rows of `campaigns`, through a view. Rests on: PRODUCT E (`undelivered`), which the segment answers from the
first campaign's ledger when the new one is previewed: who got it meanwhile is not in it.
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns.campaign import EDITABLE, campaign_json, made, need_campaign
from dispatcher.campaigns.schedule import RECIPIENT
from dispatcher.campaigns.states import OVER, conflict
from dispatcher.campaigns.written import TITLE_CHARACTERS
from dispatcher.control.commands import CloneCampaign, Envelope, ResendCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import State
from dispatcher.store.ledger import read_counts


def clone_campaign(view: View, command: CloneCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A draft with the same words, audience and windows, and without its time."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    title = command.title or _suffixed(row["title"], " (copy)")
    changes, campaign, draft = made(view, envelope, _written(row, title=title), clone_of=command.campaign)
    return changes, campaign_json(campaign, draft)


def resend_campaign(view: View, command: ResendCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A draft to those whose message failed or expired; what may have arrived, or is uncertain, is not sent again.

    Raises CommandRefused 409 while the campaign is not over, 422 no_recipients when every message arrived or may have.
    """
    row = need_campaign(view, envelope.tenant, command.campaign)
    if row["state"] not in OVER:
        raise conflict(f"a campaign that is {row['state']} may still reach them: resend when it is done or cancelled")
    counts = read_counts(view, command.campaign)
    found = counts.state(State.FAILED) + counts.state(State.EXPIRED)
    if not found:
        detail = "no message of this campaign has failed or expired: there is nobody to resend to"
        raise CommandRefused(422, "no_recipients", detail)
    expr = f'undelivered campaign "{public_id("cmp", command.campaign)}"'
    title = command.title or _suffixed(row["title"], " (again)")
    written = _written(row, title=title, expr=expr, holdout=None, winner=None, **_texts(row))
    changes, campaign, draft = made(view, envelope, written, resend_of=command.campaign)
    return changes, {**campaign_json(campaign, draft), "undelivered": found}


def _written(row: dict[str, Any], **other: Any) -> dict[str, Any]:
    schedule = row["schedule"]
    if schedule is not None:  # everybody's own clock is about the time, and goes with it
        zone = "tenant" if schedule["zone"] == RECIPIENT else schedule["zone"]
        schedule = {**schedule, "at": None, "repeat": "", "zone": zone}
    return {**{name: row[name] for name in EDITABLE}, "schedule": schedule, **other}


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    """Once an arm has won its text alone; else the arms are dealt anew."""
    if not row["won"]:
        return {"stratify": row["stratify"] if row["arms"] else ""}
    won = row["arms"][row["won"]["arm"]]
    return {"text": won["text"] or row["text"], "arms": [], "stratify": ""}


def _suffixed(title: str, suffix: str) -> str:
    return title if title.endswith(suffix) else title[: TITLE_CHARACTERS - len(suffix)] + suffix
