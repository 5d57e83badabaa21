"""A campaign's text on a real phone before anybody else gets it: to listed numbers, beside any audience.

Touches: rows of `outbox`, by way of the single messages; reads the campaign, members and consent.
A number that belongs to a member gets the member's own text; for another one, fields without a fallback stay visible
as {name}. `{coupon}` is twelve X. Each message carries `test cmp_...` as its ref. Neither the campaign's state nor its
counts change.
"""

from __future__ import annotations

from typing import Any

from dispatcher.apps.messages import send_messages
from dispatcher.campaigns.campaign import need_campaign
from dispatcher.campaigns.render import Renderer
from dispatcher.campaigns.written import compile_of
from dispatcher.control.commands import Envelope, SendMessages, TestCampaign
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import group_of, opted_out, suppressed
from dispatcher.members.msisdn import Unparsed, international, normalise
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.columns import open_block
from dispatcher.store.layout import BLOCK, MEMBER_NO, TENANT_U64
from dispatcher.tenants.tenant import need_tenant

PHONES_MAX = 10
VALID_S = 3_600  # a test that comes tomorrow tests nothing
LATER = ("deliver_at", "valid_until")


def send_proof(view: View, command: TestCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Send the text as it is now to at most PHONES_MAX numbers; reply: {id, messages: [{to, text, id, parts}]}.

    Raises CommandRefused 404; 422 for no text, or naming every number that is wrong, listed twice, suppressed or opted
    out of the campaign's purpose, and every text that is too long.
    """
    tenant = need_tenant(view, envelope.tenant)
    row = need_campaign(view, tenant.number, command.campaign)
    if not 1 <= len(command.to) <= PHONES_MAX:
        raise CommandRefused(422, "invalid_value", f"to: 1 to {PHONES_MAX} phones, not {len(command.to)}")
    if not row["text"]:
        raise CommandRefused(422, "text_missing", "the campaign has no text yet: write one, then test it")
    purpose = Purpose(row["purpose"])
    renderer = Renderer(compile_of(view, tenant.number, row, row["text"]), purpose, row["max_parts"])
    numbers, errors = _numbers(view, tenant.number, command.to, tenant.region, purpose)
    campaign = public_id("cmp", command.campaign)
    options = {name: value for name, value in row["options"].items() if name not in LATER}
    common = {"purpose": purpose.value, "sender": row["sender"], "validity_s": VALID_S, "ref": f"test {campaign}"}
    common["options"] = options
    wanted = [
        {"to": international(number), "text": _text(view, tenant.number, renderer, number), **common}
        for number in numbers
    ]
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    changes, reply = send_messages(view, SendMessages(messages=wanted), envelope, proof=True)
    for result in reply["results"]:
        if "error" in result:
            errors.append({**result["error"], "pointer": f"/to/{result['index']}"})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    shown = [
        {"to": one["to"], "text": one["text"], "id": result["id"], "parts": result["parts"]}
        for one, result in zip(wanted, reply["results"], strict=True)
    ]
    return changes, {"id": campaign, "messages": shown}


def _numbers(
    view: View, tenant: int, wanted: list[str], region: str, purpose: Purpose
) -> tuple[list[int], list[dict[str, str]]]:
    """The phones as numbers, and what is wrong with some."""
    numbers: list[int] = []
    errors = []
    group = group_of(purpose)
    for index, text in enumerate(wanted):
        number = normalise(text, region)
        if isinstance(number, Unparsed):
            wrong = "wrong_number", f"{text!r} is not a number: {number.reason.replace('_', ' ')}"
        elif number in numbers:
            wrong = "duplicate_number", f"{text!r} is listed twice"
        elif suppressed(view, tenant, number):
            wrong = "suppressed", f"{text!r} is suppressed: it gets nothing, not even a test"
        elif group is not None and opted_out(view, tenant, number, group):
            wrong = "opted_out", f"{text!r} has opted out of {group}"
        else:
            numbers.append(number)
            continue
        errors.append({"pointer": f"/to/{index}", "code": wrong[0], "detail": wrong[1]})
    return numbers, errors


def _text(view: View, tenant: int, renderer: Renderer, number: int) -> str:
    known = view.get("phones", TENANT_U64.pack(tenant, number))
    if known is not None:
        block, slot = divmod(MEMBER_NO.unpack(known)[0], BLOCK)
        sample = renderer.sample(open_block(view, tenant, block, renderer.columns), slot)
        if sample.decision == Decision.SENT and sample.text is not None:
            return sample.text
    return renderer.template.sample({})
