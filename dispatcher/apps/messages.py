"""Single messages that a program asks for: what is wrong with each, what the gate says, and its place in the outbox.

Touches: table `outbox`, and to decide: tenants, opt-outs and suppressions by number (never a member's planes).
One bad message among a thousand is refused with its index and the rest goes: a caller that sends a queue's worth would
otherwise have to take it apart to find the one. Rests on: PRODUCT D (/messages), DESIGN 6 (guards, in their order).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dispatcher.campaigns.template import Template
from dispatcher.control.commands import CancelMessage, Envelope, SendMessages
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import consented_since, erased, group_of, opted_out, suppressed
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.batches import message_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.caps import capped_by
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.columns import find_number
from dispatcher.store.layout import U64, U64_U32
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.profile import get_profile
from dispatcher.tenants.rules import rules_of
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.alphabet import is_forbidden
from dispatcher.text.alphabet import normalise as nfc
from dispatcher.text.coding import Coding, Encoder, encoder
from dispatcher.text.options import Options, checked
from dispatcher.text.parts import TextTooLong, billed, parts_by

AT_ONCE = 1_000
PARTS_MAX = 16  # of one message
TEXT_CHARACTERS_MAX = PARTS_MAX * 153
REF_CHARACTERS_MAX = 100
SENDER_OCTETS_MAX = 20  # SMPP v3.4: source_addr
VALIDITY_S_MAX = 7 * 86_400
VALIDITY_S = {Purpose.OTP: 600}  # after that a code is of no use
VALIDITY_S_ELSE = 2 * 86_400
_WITH_FALLBACK = re.compile(r"\{\s*(\w+)\s*\|")  # what `vars` may leave out
PURPOSE_BITS = 3  # of a message's number, below its position


@dataclass(frozen=True, slots=True)
class _Var:
    """A name of `vars` as a template asks of a field."""

    name: str
    number: int = 0
    kind: str = "text"
    column: ColumnKind = ColumnKind.TEXT
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(slots=True)
class _Wanted:
    """One message as it was read."""

    to: int
    text: str
    parts: int
    billed: int
    purpose: Purpose
    validity_s: int
    sender: str
    ref: str
    options: dict[str, Any]


class _Bad(Exception):
    def __init__(self, name: str, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.said = {"pointer": f"/{name}", "code": code, "detail": detail, **extra}


def message_id(position: int, purpose: Purpose) -> str:
    """Public; sorts by creation within a tenant."""
    return public_id("msg", position << PURPOSE_BITS | purpose.number)


def parse_message_id(text: str) -> tuple[int, Purpose] | None:
    """(position, purpose), or None when it is not the id of a message."""
    number = parse_public_id("msg", text)
    if number is None or number >> PURPOSE_BITS > 0xFFFFFFFF or number & 7 >= len(Purpose):
        return None
    return number >> PURPOSE_BITS, list(Purpose)[number & 7]


def send_messages(view: View, command: SendMessages, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Command `message.send`: 1 to 1,000. Reply: {accepted, refused, results: one a message, in order: {index, id, ref,
    decision, parts, billed} or {index, ref, error: {pointer, code, detail}}}. Raises CommandRefused 422 when all are
    bad."""
    tenant = need_tenant(view, envelope.tenant)
    if not 1 <= len(command.messages) <= AT_ONCE:
        raise CommandRefused(422, "invalid_value", f"messages: 1 to {AT_ONCE:,} at once, got {len(command.messages):,}")
    changes, results = Changes(), list[dict[str, Any]]()
    position = next_position(view, envelope.tenant)
    templates: dict[tuple[str, tuple[str, ...]], Template] = {}
    for index, asked in enumerate(command.messages):
        ref = asked.get("ref") or ""
        try:
            wanted = _read(asked, tenant, templates, envelope.at_ms)
        except _Bad as bad:
            results.append({"index": index, "ref": ref or None, "error": bad.said})
            continue
        decision = _gate(view, tenant, wanted, envelope.at_ms)
        place = U64_U32.pack(message_batch(envelope.tenant, wanted.purpose), position)
        changes.put("outbox", place, _row(wanted, decision, envelope.at_ms))
        shown = {"id": message_id(position, wanted.purpose), "decision": decision.word, "parts": wanted.parts}
        shown["billed"] = wanted.billed
        results.append({"index": index, "ref": ref or None, **shown})
        position += 1
    refused = [result for result in results if "error" in result]
    if len(refused) == len(results):
        errors = [{**r["error"], "pointer": f"/messages/{r['index']}{r['error']['pointer']}"} for r in refused]
        raise CommandRefused(422, "invalid_value", f"messages: {errors[0]['detail']}", errors=errors)
    return changes, {"accepted": len(results) - len(refused), "refused": len(refused), "results": results}


def cancel_message(view: View, command: CancelMessage, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Command `message.cancel`. The dispatcher has seen to it that nobody claims it any more. 404, 409."""
    key, row = _place(view, envelope.tenant, command.message)
    if row["cancelled_ms"]:
        raise CommandRefused(409, "state_conflict", "the message is cancelled already")
    changes = Changes()
    changes.put("outbox", key, pack({**row, "cancelled_ms": envelope.at_ms}))
    return changes, {"id": command.message, "state": "cancelled"}


def batch_and_position(view: View, tenant: int, message: str) -> tuple[int, int]:
    """Where a message stands in the outbox. Raises CommandRefused 404."""
    batch, position = U64_U32.unpack(_place(view, tenant, message)[0])
    return int(batch), int(position)


def next_position(view: View, tenant: int) -> int:
    """One behind the last message of any purpose."""
    return 1 + max(
        next((U64_U32.unpack(key)[1] for key, _ in view.range("outbox", prefix, reverse=True)), -1)
        for prefix in (U64.pack(message_batch(tenant, purpose)) for purpose in Purpose)
    )


def _place(view: View, tenant: int, message: str) -> tuple[bytes, dict[str, Any]]:
    found = parse_message_id(message)
    key = b"" if found is None else U64_U32.pack(message_batch(tenant, found[1]), found[0])
    row = view.get("outbox", key) if key else None
    if row is None:
        raise CommandRefused(404, "not_found", f"there is no message {message[:40]!r}")
    return key, unpack(row)


def _row(wanted: _Wanted, decision: Decision, now_ms: int) -> bytes:
    return pack(
        {
            "to": wanted.to,
            "from": wanted.sender,
            "text": wanted.text,
            "purpose": wanted.purpose.value,
            "expiry_ms": now_ms + wanted.validity_s * 1000,
            "created_ms": now_ms,
            "validity_s": wanted.validity_s,
            "ref": wanted.ref,
            "decision": 0 if decision is Decision.SENT else int(decision),
            "parts": wanted.parts,
            "billed": wanted.billed,
            "cancelled_ms": 0,
        }
        | ({"options": wanted.options} if wanted.options else {})
    )


def _gate(view: View, of: Tenant, wanted: _Wanted, now_ms: int) -> Decision:
    """The guards that a number alone can be asked, in the order of DESIGN 6. Caps count what campaigns sent."""
    tenant, rules = of.number, rules_of(of, wanted.purpose.value)
    if suppressed(view, tenant, wanted.to):
        return Decision.SUPPRESSED
    group = group_of(wanted.purpose)
    if group is not None and opted_out(view, tenant, wanted.to, group):
        return Decision.OPTED_OUT
    if group is not None and rules.consent and consented_since(view, tenant, wanted.to, group) is None:
        return Decision.NO_CONSENT
    if rules.caps:
        member_no = find_number(view, tenant, wanted.to)
        if member_no is not None and capped_by(view, tenant, rules.caps, member_no, now_ms) is not None:
            return Decision.FREQUENCY_CAP
    return Decision.ERASED if erased(view, tenant, wanted.to) else Decision.SENT


def _read(
    asked: dict[str, Any], tenant: Tenant, templates: dict[tuple[str, tuple[str, ...]], Template], now_ms: int
) -> _Wanted:
    number = normalise(str(asked.get("to", "")), tenant.region)
    if isinstance(number, Unparsed):
        shown = str(asked.get("to", ""))[:40]
        raise _Bad("to", number.reason, f"to {shown!r}: {number.reason.replace('_', ' ')}")
    try:
        purpose = Purpose(asked.get("purpose") or "transactional")
    except ValueError:
        words = ", ".join(Purpose)
        raise _Bad("purpose", "invalid_value", f"purpose {asked['purpose']!r}: one of {words}") from None
    sender, ref = asked.get("sender") or "", asked.get("ref") or ""
    if len(sender) > SENDER_OCTETS_MAX or not sender.isascii() or not sender.isprintable():
        rule = f"at most {SENDER_OCTETS_MAX} printable ASCII characters"
        raise _Bad("sender", "invalid_value", f"sender {sender[:40]!r}: {rule}")
    if len(ref) > REF_CHARACTERS_MAX:
        raise _Bad("ref", "invalid_value", f"ref: at most {REF_CHARACTERS_MAX} characters, got {len(ref)}")
    validity_s = asked.get("validity_s") or VALIDITY_S.get(purpose, VALIDITY_S_ELSE)
    if not 1 <= validity_s <= VALIDITY_S_MAX:
        raise _Bad("validity_s", "invalid_value", f"validity_s {validity_s}: 1 to {VALIDITY_S_MAX:,}")
    try:
        options = checked(asked.get("options"), now_ms)
    except CommandRefused as exc:
        raise _Bad(exc.errors[0]["pointer"][1:], exc.code, exc.detail, **exc.extra) from None
    text = _text(asked, templates)
    told = Options.of(options)
    by = encoder(Coding(), told.message_class, told.transliterate)
    on_wire = _parts(text, by)
    paid = billed(by, text, get_profile(tenant.market_profile).billing)
    return _Wanted(number, text, on_wire, paid, purpose, validity_s, sender, ref, options)


def _text(asked: dict[str, Any], templates: dict[tuple[str, tuple[str, ...]], Template]) -> str:
    text, template = asked.get("text"), asked.get("template")
    if (text is None) == (template is None):
        raise _Bad("text", "invalid_value", "a message has either text, or template with vars")
    if template is None:
        if asked.get("vars"):
            raise _Bad("vars", "invalid_value", "vars belong to a template; this message has a text")
        assert text is not None
        return nfc(str(text))
    values = asked.get("vars") or {}
    known = (template, tuple(sorted(values)))
    try:
        if known not in templates:
            names = {*values, *_WITH_FALLBACK.findall(template)}
            templates[known] = Template.compile(template, {name: _Var(name) for name in names})
    except CommandRefused as exc:
        raise _Bad("template", exc.code, exc.detail, **exc.extra) from None
    rendered = templates[known].render_one(values)
    if rendered is None:
        raise _Bad("vars", "no_value", "a field of the template has neither a value nor a fallback")
    return nfc(rendered)


def _parts(text: str, by: Encoder) -> int:
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        raise _Bad(
            "text", "invalid_value", f"a text has 1 to {TEXT_CHARACTERS_MAX:,} characters, this one {len(text):,}"
        )
    bad = next((at for at, character in enumerate(text) if is_forbidden(character)), None)
    if bad is not None:
        raise _Bad("text", "invalid_value", f"the character U+{ord(text[bad]):04X} cannot be sent", position=bad)
    try:
        count = len(parts_by(by, text, 0))
    except TextTooLong:
        count = PARTS_MAX + 1
    if count > PARTS_MAX:
        raise _Bad("text", "text_grew", f"a message has at most {PARTS_MAX} parts, this text needs {count} or more")
    return count
