"""Which room answers which command, and what is common to all: repeats by request_key and the audit row.

Touches: a View, or a Store whose writer's lock the caller holds. Decides nothing itself.
Rests on: PRODUCT D (Idempotency-Key kept 72 h with a fingerprint of the body).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from dispatcher.control.commands import Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.store import Store, audit
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack

Handler = Callable[[View, Any, Envelope], tuple[Changes, dict[str, Any]]]

KEPT_MS = 72 * 3600 * 1000

HANDLERS: dict[str, str] = {  # command -> module:function
    "tenant.create": "dispatcher.tenants.tenant:create_tenant",
    "tenant.edit": "dispatcher.campaigns.tenant_uses:edit_tenant",
    "key.create": "dispatcher.tenants.keys:create_key",
    "key.revoke": "dispatcher.tenants.keys:revoke_key",
    "field.define": "dispatcher.members.fields:define_field",
    "field.edit": "dispatcher.campaigns.field_uses:edit_field",
    "field.merge_values": "dispatcher.apps.merge_values:merge_values",
    "field.retire": "dispatcher.campaigns.field_uses:retire_field",
    "field.restore": "dispatcher.members.field_edits:restore_field",
    "member.upsert": "dispatcher.members.member:upsert_member",
    "member.erase": "dispatcher.members.erase:erase_member",
    "member.merge": "dispatcher.apps.merge:merge_members",
    "member.unmerge": "dispatcher.apps.merge:unmerge_members",
    "member.bulk": "dispatcher.apps.bulk:edit_members",
    "export.note": "dispatcher.members.export:note_export",
    "suppression.add": "dispatcher.members.suppression:add_suppression",
    "suppression.remove": "dispatcher.members.suppression:remove_suppression",
    "suppression.import": "dispatcher.members.suppression:import_suppressions",
    "consent.record": "dispatcher.members.consents:record_consents",
    "signature.register": "dispatcher.campaigns.wording:register_signature",
    "prices.set": "dispatcher.campaigns.price:set_prices",
    "money.top_up": "dispatcher.campaigns.money:top_up",
    "import.open": "dispatcher.members.importer:open_import",
    "import.body_done": "dispatcher.members.importer:end_body",
    "import.cancel": "dispatcher.members.importer:cancel_import",
    "import.commit": "dispatcher.members.importer:commit_import",
    "import.undo": "dispatcher.members.importer:undo_import",
    "segment.save": "dispatcher.segments.segment:save_segment",
    "segment.edit": "dispatcher.segments.segment:edit_segment",
    "segment.snapshot": "dispatcher.segments.snapshot:snapshot_segment",
    "segment.delete": "dispatcher.segments.segment:delete_segment",
    "campaign.create": "dispatcher.campaigns.campaign:create_campaign",
    "campaign.edit": "dispatcher.campaigns.campaign:edit_campaign",
    "campaign.delete": "dispatcher.campaigns.campaign:delete_campaign",
    "campaign.preview": "dispatcher.campaigns.preview:preview_campaign",
    "campaign.start": "dispatcher.campaigns.life:start_campaign",
    "campaign.pause": "dispatcher.campaigns.life:pause_campaign",
    "campaign.resume": "dispatcher.campaigns.life:resume_campaign",
    "campaign.cancel": "dispatcher.campaigns.life:cancel_campaign",
    "message.send": "dispatcher.apps.messages:send_messages",
    "message.cancel": "dispatcher.apps.messages:cancel_message",
    "campaign.submit": "dispatcher.campaigns.life:submit_campaign",
    "campaign.approve": "dispatcher.campaigns.life:approve_campaign",
    "campaign.reject": "dispatcher.campaigns.life:reject_campaign",
    "campaign.clone": "dispatcher.campaigns.clone:clone_campaign",
    "campaign.rehearse": "dispatcher.campaigns.rehearsal:note_rehearsal",
    "campaign.resend": "dispatcher.campaigns.clone:resend_campaign",
    "campaign.test": "dispatcher.apps.proof:send_proof",
    "uncertain.decide": "dispatcher.apps.uncertain:decide_uncertain",
    "campaign.archive": "dispatcher.apps.archive:ask_archive",
    "campaign.winner": "dispatcher.campaigns.winner:choose_winner",
    "campaign.rate": "dispatcher.campaigns.pace:set_campaign_rate",
    "campaign.stop_all": "dispatcher.campaigns.stops:stop_all",
    "campaign.release": "dispatcher.campaigns.stops:release_all",
    "points.add": "dispatcher.apps.points.account:add_points",
    "coupon_pool.create": "dispatcher.coupons.pool:create_pool",
    "coupon_pool.edit": "dispatcher.coupons.pool:edit_pool",
    "coupon_pool.close": "dispatcher.coupons.pool:close_pool",
    "coupon_pool.open": "dispatcher.coupons.pool:open_pool",
    "coupon.issue": "dispatcher.coupons.redeem:issue",
    "coupon.redeem": "dispatcher.apps.coupons:redeem_coupon",
    "coupon.void": "dispatcher.apps.coupons:void_coupon",
    "coupon.undo": "dispatcher.apps.coupons:undo_coupon",
    "backup.note": "dispatcher.daemon.backup:note_backup",
    "bind.connect": "dispatcher.daemon.binds:note_command",
    "bind.pause": "dispatcher.daemon.binds:note_command",
    "bind.reconnect": "dispatcher.daemon.binds:note_command",
    "bind.drain": "dispatcher.daemon.binds:note_command",
    "bind.disconnect": "dispatcher.daemon.binds:note_command",
    "bind.reveal": "dispatcher.daemon.binds:note_command",
    "endpoint.rate": "dispatcher.daemon.binds:note_command",
    "endpoints.reload": "dispatcher.daemon.binds:note_command",
    "route.put": "dispatcher.routes.stored:put_route",
    "route.delete": "dispatcher.routes.stored:delete_route",
    "route.ported": "dispatcher.routes.stored:turn_ported",
    "route.ported_undo": "dispatcher.routes.stored:undo_ported",
}

# allowed while the disk is nearly full: they free room, only stop things, or are what a person has said
ON_FULL_DISK = frozenset(
    {
        "member.erase",
        "suppression.add",
        "suppression.import",
        "import.cancel",
        "campaign.pause",
        "campaign.stop_all",
        "campaign.cancel",
        "campaign.delete",
        "campaign.archive",
        "segment.delete",
        "consent.record",
        "export.note",
        "key.revoke",
        "message.cancel",
        "coupon_pool.close",
        "coupon.void",
        "backup.note",
        "bind.connect",
        "bind.pause",
        "bind.reconnect",
        "bind.drain",
        "bind.disconnect",
        "bind.reveal",
        "endpoint.rate",
    }
)


@cache
def handler_of(name: str) -> Handler:
    """The room's function. Raises CommandRefused 501 for a command that no room answers."""
    place = HANDLERS.get(name)
    if place is None:
        raise CommandRefused(501, "not_a_command", f"{name!r} is not answered by a room")
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def execute(view: View, command: Any, envelope: Envelope, now_ms: int) -> tuple[Changes, dict[str, Any], bool]:
    """One command over a View: its rows with the audit's and the repeat's, its reply, whether it was a repeat.

    Raises CommandRefused; nothing of it is written then.
    """
    earlier = replay(view, envelope, now_ms)
    if earlier is not None:
        return Changes(), earlier, True
    changes, reply = handler_of(command.name)(view, command, envelope)
    finish(view, changes, command.name, envelope, reply, now_ms)
    return changes, reply, False


def replay(view: View, envelope: Envelope, now_ms: int) -> dict[str, Any] | None:
    """The first answer of a repeated request_key, or None. Raises CommandRefused 422 when the body differs."""
    if not envelope.request_key:
        return None
    row = view.get("requests", _request_key(envelope))
    if row is None:
        return None
    kept = unpack(row)
    if now_ms - kept["at_ms"] > KEPT_MS:
        return None
    if kept["fingerprint"] != envelope.fingerprint:
        raise CommandRefused(422, "idempotency_conflict", "this Idempotency-Key was used with another body")
    return kept["reply"]  # type: ignore[no-any-return]


def finish(view: View, changes: Changes, name: str, envelope: Envelope, reply: dict[str, Any], now_ms: int) -> None:
    """Add what every command leaves: its answer under the request_key, its line in the audit."""
    if envelope.request_key:
        kept = {"fingerprint": envelope.fingerprint, "reply": reply, "at_ms": now_ms}
        changes.put("requests", _request_key(envelope), pack(kept))
    line: dict[str, Any] = {
        "actor": envelope.actor,
        "command": name,
        "reason": envelope.reason,
        "tenant": envelope.tenant,
        "at_ms": now_ms,
        **audit.answered(name, reply),
    }
    if isinstance(reply.get("id"), str):
        line["object"] = reply["id"]
    if told := audit.edits(view, changes, name):
        line["edits"] = told
    audit.append(view, changes, line)


def run_locally(store: Store, command: Any, envelope: Envelope, now_ms: int) -> dict[str, Any]:
    """One command by whoever holds the writer's lock while no daemon runs."""
    with store.begin_write() as view:
        changes, reply, _ = execute(view, command, envelope, now_ms)
        view.apply(changes)
    return reply


def _request_key(envelope: Envelope) -> bytes:
    return TENANT.pack(envelope.tenant) + hashlib.sha256(envelope.request_key.encode()).digest()
