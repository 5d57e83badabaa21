"""One campaign: what may be written in it, its states as one table, and who moves it along.

Touches: rows of `campaigns` (and on delete its bitmaps), through a view; time is an argument.
Rests on: DESIGN 6 (a preview freezes the audience, start adopts it, guards only remove), PRODUCT D.

    campaigns: tenant:2 campaign:8 -> {title, purpose, expr, canonical, text, sender, max_parts, validity_s,
      receipts, state, version, created_ms, started_ms, finished_ms, log_base, ref_seed, audience,
      preview: {token, at_ms, expires_ms, fingerprint{}, audience, will_send, skipped{}, parts{}, alphabet{}} | None,
      history: [{state, at_ms, actor, reason}]}

`version` grows by one with each change of the row: it is the ETag, and what a preview's commit is held against.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from dispatcher.campaigns.template import Template
from dispatcher.clock import rfc3339
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    DeleteCampaign,
    EditCampaign,
    Envelope,
    PauseCampaign,
    ResumeCampaign,
    StartCampaign,
)
from dispatcher.errors import CommandRefused, WrongState
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState, Purpose
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.store.ids import next_id
from dispatcher.store.layout import LEDGER_KEY, TENANT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import SENDER_OCTETS_MAX, need_tenant
from dispatcher.text.parts import TextTooLong, parts

DRAFT, AWAITING_APPROVAL, APPROVED, SCHEDULED, RUNNING, PAUSED, HELD, FINISHING, DONE, CANCELLED = CampaignState

# state -> what may be done -> the state after it; None: the row goes. Who: a person by command (edit, preview, delete,
# submit, approve, return, schedule, start, pause, resume, cancel) or the daemon (due, hold, expanded, reopen, done).
TRANSITIONS: dict[CampaignState, dict[str, CampaignState | None]] = {
    DRAFT: {
        "edit": DRAFT, "preview": DRAFT, "delete": None,
        "submit": AWAITING_APPROVAL, "schedule": SCHEDULED, "start": RUNNING,
    },
    AWAITING_APPROVAL: {"approve": APPROVED, "return": DRAFT, "cancel": CANCELLED},
    APPROVED: {"return": DRAFT, "schedule": SCHEDULED, "start": RUNNING, "cancel": CANCELLED},
    SCHEDULED: {"return": DRAFT, "due": RUNNING, "hold": HELD, "cancel": CANCELLED},
    RUNNING: {"pause": PAUSED, "hold": HELD, "expanded": FINISHING, "done": DONE, "cancel": CANCELLED},
    PAUSED: {"resume": RUNNING, "cancel": CANCELLED},
    HELD: {"resume": RUNNING, "pause": PAUSED, "cancel": CANCELLED},
    FINISHING: {"pause": PAUSED, "hold": HELD, "reopen": RUNNING, "done": DONE, "cancel": CANCELLED},
    DONE: {},
    CANCELLED: {},
}  # fmt: skip
ACTIVE = (RUNNING, FINISHING, PAUSED, HELD)  # the daemon may still have work for these

# what a preview stands for: start refuses when one of them is no longer what was previewed
PREVIEWED = ("text", "expr", "canonical", "sender", "purpose", "max_parts", "validity_s", "receipts")
EDITABLE = ("title", "purpose", "expr", "text", "sender", "max_parts", "validity_s", "receipts")

OFFERED = ("edit", "preview", "delete", "start", "pause", "resume", "cancel")  # words that have a command today

TITLE_CHARACTERS = 200
PARTS_MAX = 100  # what a template may hold (template.py); a claim record has 7 bits for it (outcome_log.h)
VALIDITY_S = (60, 30 * 86_400)  # a log segment lives as long as the validity (DESIGN 8)
HISTORY_MAX = 256  # moves kept in the row, newest; every command is in the audit table anyway


def create_campaign(view: View, command: CreateCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A draft. An empty sender takes the tenant's. Raises CommandRefused 422 naming every field that is wrong."""
    tenant = need_tenant(view, envelope.tenant)
    changes = Changes()
    campaign = next_id(changes, view, envelope.at_ms)
    row: dict[str, Any] = {name: getattr(command, name) for name in EDITABLE}
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
        "history": [],
    }
    _check(view, envelope.tenant, row)
    _remember(row, envelope.at_ms, envelope.actor, envelope.reason)
    changes.merge(save(envelope.tenant, campaign, row))
    return changes, campaign_json(campaign, row)


def edit_campaign(view: View, command: EditCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Change a draft. `changes` may carry `version`, the one its writer saw: 412 when it is no longer that."""
    wanted = dict(command.changes)
    row = need_campaign(view, envelope.tenant, command.campaign)
    seen = wanted.pop("version", None)
    if seen is not None and seen != row["version"]:
        raise CommandRefused(412, "version_changed", f"the campaign is at version {row['version']}, not {seen}")
    next_state(row, "edit")
    if unknown := [name for name in wanted if name not in EDITABLE]:
        raise CommandRefused(
            422,
            "invalid_campaign",
            f"no such part of a campaign: {', '.join(map(repr, unknown))}",
            errors=[_problem(name, "unknown", f"one of {', '.join(EDITABLE)}") for name in unknown],
            extra={"did_you_mean": difflib.get_close_matches(unknown[0], EDITABLE, 1)},
        )
    edited = row | wanted
    _check(view, envelope.tenant, edited)
    if edited == row:
        return Changes(), campaign_json(command.campaign, row)
    if any(edited[name] != row[name] for name in PREVIEWED):
        edited["audience"] = 0  # frozen again by the next preview; the old one stays to tell what changed since
    return save(envelope.tenant, command.campaign, edited), campaign_json(command.campaign, edited)


def delete_campaign(view: View, command: DeleteCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Remove a draft and what its previews froze."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    next_state(row, "delete")
    changes = Changes()
    changes.delete("campaigns", TENANT_U64.pack(envelope.tenant, command.campaign))
    drop_audience(view, changes, command.campaign)
    return changes, {"id": public_id("cmp", command.campaign), "deleted": True}


def start_campaign(view: View, command: StartCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Adopt the audience frozen under the preview's token and run. The same token again changes nothing.

    Raises CommandRefused: 409 state_conflict when it may not start, the token is not the latest preview's, is past its
    24 h, or what was previewed changed since (`changed` names it); 422 no_recipients when nobody would get a message.
    """
    row = need_campaign(view, envelope.tenant, command.campaign)
    preview = row["preview"]
    holds = preview is not None and hmac.compare_digest(command.token.encode(), preview["token"].encode())
    if row["state"] == RUNNING and holds:
        return Changes(), campaign_json(command.campaign, row)
    next_state(row, "start")
    if preview is None:
        raise _conflict("there is no preview yet: preview, then start with its token")
    if not holds:
        raise _conflict("the token is not that of the latest preview")
    if envelope.at_ms > preview["expires_ms"]:
        raise _conflict(f"the preview ended at {rfc3339(preview['expires_ms'])}: preview again", ended=True)
    if changed := changed_since_preview(row):
        raise _conflict(f"changed since the preview: {', '.join(changed)}; preview again", changed=changed)
    if preview["will_send"] == 0:
        matched = preview["audience"]
        why = f"all {matched} members are skipped" if matched else "the segment matches no member"
        raise CommandRefused(422, "no_recipients", f"nobody would get a message: {why}")
    row["audience"] = preview["audience"]
    row["started_ms"] = envelope.at_ms
    return _moved(envelope, command.campaign, row, "start")


def pause_campaign(view: View, command: PauseCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Claim nothing more until resumed; what is in flight settles."""
    return _moved(envelope, command.campaign, need_campaign(view, envelope.tenant, command.campaign), "pause")


def resume_campaign(view: View, command: ResumeCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Go on with audience minus done."""
    return _moved(envelope, command.campaign, need_campaign(view, envelope.tenant, command.campaign), "resume")


def cancel_campaign(view: View, command: CancelCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Final: the unsent stay undecided and are reported as skipped `cancelled`; what is in flight settles."""
    return _moved(envelope, command.campaign, need_campaign(view, envelope.tenant, command.campaign), "cancel")


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
        _enter(row, to_state, now_ms, actor, reason)
    elif all(row[name] == value for name, value in fields.items()):
        return Changes()
    return save(tenant, campaign, row | fields)


def mark_done(view: View, tenant: int, campaign: int, now_ms: int) -> Changes:
    """Nothing is unsent or in flight any more; uncertain and awaited receipts may remain (DESIGN 4)."""
    return mark(view, tenant, campaign, DONE, now_ms, "dispatcher", "nothing unsent or in flight")


def load(view: View, tenant: int, campaign: int) -> dict[str, Any] | None:
    """The row, or None when this tenant has no such campaign."""
    value = view.get("campaigns", TENANT_U64.pack(tenant, campaign))
    return None if value is None else unpack(value)


def list_campaigns(
    view: View, tenant: int, after: int | None = None, limit: int = 50
) -> list[tuple[int, dict[str, Any]]]:
    """Up to `limit` (id, row), newest first, strictly older than `after`."""
    key = None if after is None else TENANT_U64.pack(tenant, after)
    found: list[tuple[int, dict[str, Any]]] = []
    for name, value in view.range("campaigns", TENANT.pack(tenant), after=key, reverse=True):
        if len(found) == limit:
            break
        found.append((TENANT_U64.unpack(name)[1], unpack(value)))
    return found


def running_campaigns(view: View) -> list[tuple[int, int, dict[str, Any]]]:
    """(tenant, campaign, row) of every campaign in an ACTIVE state, oldest first in a tenant.

    Reads all rows, some 10 us each: for a start and after changes, not for every tick.
    """
    found = []
    for key, value in view.range("campaigns"):
        row = unpack(value)
        if row["state"] in ACTIVE:
            found.append((*TENANT_U64.unpack(key), row))
    return found


def fingerprint(row: dict[str, Any]) -> dict[str, str]:
    """sha256 of each part that decides who gets which octets; a preview's token holds as long as all of them."""
    return {name: hashlib.sha256(pack({name: row[name]})).hexdigest() for name in PREVIEWED}


def changed_since_preview(row: dict[str, Any]) -> list[str]:
    """Names of what no longer is as it was previewed; empty when the preview still holds."""
    previewed = row["preview"]["fingerprint"]
    return [name for name, digest in fingerprint(row).items() if digest != previewed[name]]


def campaign_json(campaign: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the API shows it: public id, RFC 3339 times, what may be done next; no preview and no inner fields."""
    shown = {name: row[name] for name in (*EDITABLE, "canonical", "state", "version", "audience")}
    preview = row["preview"]
    return {
        "id": public_id("cmp", campaign),
        **shown,
        "can": [word for word in TRANSITIONS[CampaignState(row["state"])] if word in OFFERED],
        "created_at": rfc3339(row["created_ms"]),
        "started_at": rfc3339(row["started_ms"]),
        "finished_at": rfc3339(row["finished_ms"]),
        "previewed_at": rfc3339(preview["at_ms"]) if preview else None,
        "history": [
            {"state": entry["state"], "at": rfc3339(entry["at_ms"]), "actor": entry["actor"], "reason": entry["reason"]}
            for entry in row["history"]
        ],
    }


def compile_text(view: View, tenant: int, text: str, max_parts: int) -> Template:
    """The template, fields checked. Raises CommandRefused 422: unknown_field; text_too_long by its literals alone."""
    template = Template.compile(text, fields_of(view, tenant))
    try:
        parts("".join(piece for piece in template.pieces if isinstance(piece, str)), 0, max_parts)
    except TextTooLong as exc:
        detail = f"without its fields the text already needs more than {max_parts} part{'s' * (max_parts > 1)}"
        problem = _problem("text", "text_too_long", detail)
        raise CommandRefused(422, "text_too_long", detail, errors=[problem], extra={"max_parts": max_parts}) from exc
    return template


def bitmap_key(campaign: int, which: int, block: int) -> bytes:
    """Key of table `bitmaps`, drawn in preview.py: campaign:8 which:1 block:4."""
    return LEDGER_KEY.pack(campaign, which, block)


def drop_audience(view: View, changes: Changes, campaign: int) -> None:
    """Remove what a preview froze."""
    for key, _ in view.range("bitmaps", U64.pack(campaign)):
        changes.delete("bitmaps", key)


def _check(view: View, tenant: int, row: dict[str, Any]) -> None:
    """Hold every part of a draft against its rule; set `canonical`. Raises CommandRefused 422."""
    wrong = [_problem(name, "invalid", rule) for name, rule, holds in _RULES if not holds(row[name])]
    if wrong:
        detail = "; ".join(f"{problem['pointer'][1:]}: {problem['detail']}" for problem in wrong)
        raise CommandRefused(422, "invalid_campaign", detail, errors=wrong)
    row["canonical"] = compile_segment(view, tenant, row["expr"]).text
    if row["text"]:  # a draft may still be without one; preview may not
        row["text"] = compile_text(view, tenant, row["text"], row["max_parts"]).text


def _is_text(value: Any, characters: int | None = None) -> bool:
    """Text that can be stored, so without lone surrogates."""
    if not isinstance(value, str) or (characters is not None and len(value) > characters):
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_sender(value: Any) -> bool:
    return _is_text(value, SENDER_OCTETS_MAX) and value.isascii() and value.isprintable() and value == value.strip()


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


# part of a draft, its rule in words, its test
_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("title", f"text of at most {TITLE_CHARACTERS} characters", lambda v: _is_text(v, TITLE_CHARACTERS)),
    ("purpose", f"one of {', '.join(Purpose)}", lambda v: v in list(Purpose)),
    ("expr", "text", _is_text),
    ("text", "text", _is_text),
    ("sender", f"at most {SENDER_OCTETS_MAX} printable ASCII characters, no blanks around", _is_sender),
    ("max_parts", f"a whole number from 1 to {PARTS_MAX}", lambda v: _is_whole(v, 1, PARTS_MAX)),
    ("validity_s", f"seconds, {VALIDITY_S[0]} to {VALIDITY_S[1]}", lambda v: _is_whole(v, *VALIDITY_S)),
    ("receipts", "true or false", lambda v: isinstance(v, bool)),
)


def need_campaign(view: View, tenant: int, campaign: int) -> dict[str, Any]:
    row = load(view, tenant, campaign)
    if row is None:
        raise CommandRefused(404, "not_found", f"no campaign {public_id('cmp', campaign)}")
    return row


def next_state(row: dict[str, Any], word: str) -> CampaignState | None:
    """The state after `word`. Raises CommandRefused 409 when the table has no such move."""
    words = TRANSITIONS[CampaignState(row["state"])]
    if word not in words:
        can = f"it can be: {', '.join(words)}" if words else "nothing more can be done with it"
        raise _conflict(f"cannot {word} a campaign that is {row['state']}; {can}", state=row["state"], can=list(words))
    return words[word]


def _moved(envelope: Envelope, campaign: int, row: dict[str, Any], word: str) -> tuple[Changes, dict[str, Any]]:
    """One step by a person; a step already taken changes nothing, so that commands are safe to repeat."""
    if row["state"] == _TARGET.get(word):
        return Changes(), campaign_json(campaign, row)
    to_state = next_state(row, word)
    assert to_state is not None
    _enter(row, to_state, envelope.at_ms, envelope.actor, envelope.reason)
    return save(envelope.tenant, campaign, row), campaign_json(campaign, row)


_TARGET = {"pause": PAUSED, "resume": RUNNING, "cancel": CANCELLED}


def _enter(row: dict[str, Any], state: CampaignState, at_ms: int, actor: str, reason: str) -> None:
    row["state"] = state.value
    if state in (DONE, CANCELLED):
        row["finished_ms"] = at_ms
    _remember(row, at_ms, actor, reason)


def _remember(row: dict[str, Any], at_ms: int, actor: str, reason: str) -> None:
    entry = {"state": row["state"], "at_ms": at_ms, "actor": actor, "reason": reason}
    row["history"] = [*row["history"], entry][-HISTORY_MAX:]


def save(tenant: int, campaign: int, row: dict[str, Any]) -> Changes:
    """The row under its next version."""
    changes = Changes()
    row["version"] += 1
    changes.put("campaigns", TENANT_U64.pack(tenant, campaign), pack(row))
    return changes


def _problem(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "code": code, "detail": detail}


def _conflict(detail: str, **extra: Any) -> CommandRefused:
    return CommandRefused(409, "state_conflict", detail, extra=extra)
