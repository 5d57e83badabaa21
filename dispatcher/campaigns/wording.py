"""What a market's texts must say: the signature before and the opt-out wording after, composed into the text itself.

Touches: rows of `signatures` and `tenants`, through a View. Composing what is composed changes nothing, so that a text
can be saved again and again; what is counted, sampled and sent is the composed text.
"""

from __future__ import annotations

from typing import Any

from dispatcher.control.commands import Envelope, RegisterSignature
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.edit import SIGNATURE_RULE, is_signature
from dispatcher.tenants.profile import TextRule
from dispatcher.tenants.rules import market_of
from dispatcher.tenants.tenant import Tenant, need_tenant

STATES = ("registered", "pending", "refused")


def compose(text: str, rule: TextRule, purpose: str, signature: str) -> str:
    """The text with what the market asks for. One that bears another signature gets this one."""
    if not text:
        return text
    if purpose in rule.signature_purposes and signature:
        text = rule.signature_form.replace("{signature}", signature) + _bare(text, rule)
    if purpose in rule.opt_out_purposes and not says_opt_out(text, rule):
        text += rule.opt_out_wording
    return text


def signature_in(text: str, rule: TextRule) -> str:
    """The signature that a text bears by itself; "" without one."""
    left, _, right = rule.signature_form.partition("{signature}")
    if not left or not right or not text.startswith(left) or right not in text:
        return ""
    return text[len(left) : text.index(right)]


def says_opt_out(text: str, rule: TextRule) -> bool:
    folded = text.casefold()
    return any(known in folded for known in (*rule.opt_out_known, rule.opt_out_wording.strip().casefold()))


def _bare(text: str, rule: TextRule) -> str:
    right = rule.signature_form.partition("{signature}")[2]
    return text[text.index(right) + len(right) :] if signature_in(text, rule) else text


def signed(tenant: Tenant, row: dict[str, Any], text: str) -> str:
    """Who a campaign says that it is from: its own signature, the one in its text, the tenant's."""
    rule = market_of(tenant).text
    return row["signature"] or signature_in(text, rule) or tenant.signature


def composed(tenant: Tenant, row: dict[str, Any], text: str) -> str:
    """A text of a campaign as its market has it."""
    rule = market_of(tenant).text
    return compose(text, rule, row["purpose"], signed(tenant, row, text))


def hold_signature(view: View, tenant: Tenant, row: dict[str, Any]) -> None:
    """Raises CommandRefused: 422 signature_missing, signature_length; 409 signature_unregistered."""
    rule = market_of(tenant).text
    if row["purpose"] not in rule.signature_purposes:
        return
    for text in [row["text"], *(arm["text"] for arm in row["arms"] if arm["text"])]:
        mine, (low, high) = signed(tenant, row, text), rule.signature_characters
        if not mine:
            detail = f"a text must say who it is from, as {rule.signature_form.replace('{signature}', 'name')}"
            raise _refused(422, "signature_missing", f"{detail}: set `signature` of the campaign or the tenant")
        if not low <= len(mine) <= high:
            raise _refused(422, "signature_length", f"signature {mine!r}: {low} to {high} characters")
        if rule.signature_registered and signature_state(view, tenant.number, mine) != "registered":
            detail = f"the signature {mine!r} is not registered: the operator registers it first"
            raise _refused(409, "signature_unregistered", f"{detail} (`volley tenant signature`)")


def hold_wording(view: View, tenant: Tenant, row: dict[str, Any]) -> None:
    """A start: its texts are still what the market asks for. Raises CommandRefused as hold_signature; 409 when the
    tenant's market is another since the preview, or asks for other words."""
    hold_signature(view, tenant, row)
    seen = row["preview"].get("market_profile", tenant.market_profile)
    texts = [row["text"], *(arm["text"] for arm in row["arms"] if arm["text"])]
    if seen != tenant.market_profile or any(composed(tenant, row, text) != text for text in texts):
        detail = "the tenant's market profile changed since the preview: preview again"
        raise CommandRefused(409, "state_conflict", detail, extra={"changed": ["market_profile"]})


def _refused(status: int, code: str, detail: str) -> CommandRefused:
    return CommandRefused(status, code, detail, errors=[{"pointer": "/signature", "code": code, "detail": detail}])


def register_signature(view: View, command: RegisterSignature, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The operator's word about who a tenant may call itself. Raises CommandRefused 404, 422."""
    need_tenant(view, envelope.tenant)
    errors = []
    if not is_signature(command.text) or not command.text:
        detail = f"text {command.text[:60]!r}: {SIGNATURE_RULE}"
        errors.append({"pointer": "/text", "code": "invalid_value", "detail": detail})
    if command.state not in STATES:
        detail = f"state {command.state[:40]!r}: one of {', '.join(STATES)}"
        errors.append({"pointer": "/state", "code": "invalid_value", "detail": detail})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    changes = Changes()
    row = {"state": command.state, "at_ms": envelope.at_ms, "reason": envelope.reason}
    changes.put("signatures", TENANT.pack(envelope.tenant) + command.text.encode(), pack(row))
    return changes, {"text": command.text, "state": command.state}


def signature_state(view: View, tenant: int, text: str) -> str | None:
    row = view.get("signatures", TENANT.pack(tenant) + text.encode())
    return None if row is None else str(unpack(row)["state"])


def signatures_json(view: View, tenant: int) -> list[dict[str, Any]]:
    return [
        {"text": key[TENANT.size :].decode(), "state": unpack(row)["state"]}
        for key, row in view.range("signatures", TENANT.pack(tenant))
    ]
