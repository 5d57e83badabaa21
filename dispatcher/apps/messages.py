"""Single messages that a program asks for: what is wrong with each, what the gate says, what it costs, its place in the
outbox.

Touches: tables `outbox` and `singles`; the gate's (messages_gate.py) and the meter's (messages_meter.py).
One bad message among a thousand is refused with its index and the rest goes: a caller that sends a queue's worth would
otherwise have to take it apart to find the one. So is one for which there is no credit, plan or price.
Rests on: PRODUCT D (/messages), DESIGN 6 (guards, in their order).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dispatcher.apps.messages_gate import Gate, Said
from dispatcher.apps.messages_meter import MessageMeter, Refusal, give_back
from dispatcher.campaigns.template import Template
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CancelMessage, Envelope, SendMessages
from dispatcher.errors import CommandRefused
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.batches import PURPOSE_BITS, message_batch, message_id
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.layout import U64, U64_U32
from dispatcher.store.singles import drop_single, put_single, who_of
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.profile import CAP_GROUPS
from dispatcher.tenants.rules import Rules, rules_of
from dispatcher.tenants.senders import note_sender
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.alphabet import is_forbidden
from dispatcher.text.alphabet import normalise as nfc
from dispatcher.text.coding import Coding, Encoder, encoder
from dispatcher.text.options import Options, checked
from dispatcher.text.parts import TextTooLong, billed, parts_by

AT_ONCE = 1_000
PARTS_MAX = 16  # of one message
LACKING = {"insufficient_credit", "quota_exceeded"}  # what is wrong with a tenant, not with its message
TEXT_CHARACTERS_MAX = PARTS_MAX * 153
REF_CHARACTERS_MAX = 100
SENDER_OCTETS_MAX = 20  # SMPP v3.4: source_addr
VALIDITY_S_MAX = 7 * 86_400
SEND_AT_DAYS_MAX = 31
WAITING = "waiting"  # a decision that is none yet
VALIDITY_S = {Purpose.OTP: 600}  # after that a code is of no use
VALIDITY_S_ELSE = 2 * 86_400
_WITH_FALLBACK = re.compile(r"\{\s*(\w+)\s*\|")  # what `vars` may leave out


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
    send_at_ms: int  # 0: at once
    options: dict[str, Any]


class _Bad(Exception):
    def __init__(self, name: str, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.said = {"pointer": f"/{name}", "code": code, "detail": detail, **extra}


def parse_message_id(text: str) -> tuple[int, Purpose] | None:
    """(position, purpose), or None when it is not the id of a message."""
    number = parse_public_id("msg", text)
    if number is None or number >> PURPOSE_BITS > 0xFFFFFFFF or number & 7 >= len(Purpose):
        return None
    return number >> PURPOSE_BITS, list(Purpose)[number & 7]


@dataclass(slots=True)
class _Request:
    """What the messages of one call share."""

    view: View
    tenant: Tenant
    now_ms: int
    changes: Changes = field(default_factory=Changes)
    gate: Gate = field(default_factory=Gate)
    capped: dict[tuple[Purpose, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    templates: dict[tuple[str, tuple[str, ...]], Template] = field(default_factory=dict)
    _rules: dict[Purpose, Rules] = field(default_factory=dict)

    def rules(self, purpose: Purpose) -> Rules:
        """Read once: all are of one market. Raises CommandRefused 409 where its file is wrong by now."""
        if purpose not in self._rules:
            self._rules[purpose] = rules_of(self.tenant, purpose.value)
        return self._rules[purpose]


def send_messages(
    view: View, command: SendMessages, envelope: Envelope, *, proof: bool = False
) -> tuple[Changes, dict[str, Any]]:
    """Command `message.send`: 1 to 1,000. Reply: {accepted, refused, results: one a message, in order: {index, id, ref,
    decision, due_at, parts, billed} or {index, ref, error: {pointer, code, detail}}}. decision: sent, waiting (until
    due_at), or why it will not go. proof: to listed phones, which no cap, hour or missing consent concerns.

    Raises CommandRefused when all are bad: 422, or 409 where only credit or plan is lacking."""
    tenant = need_tenant(view, envelope.tenant)
    if not 1 <= len(command.messages) <= AT_ONCE:
        raise CommandRefused(422, "invalid_value", f"messages: 1 to {AT_ONCE:,} at once, got {len(command.messages):,}")
    of, meter = _Request(view, tenant, envelope.at_ms), MessageMeter(view, tenant, envelope.at_ms)
    results, position = list[dict[str, Any]](), next_position(view, envelope.tenant)
    for index, asked in enumerate(command.messages):
        ref = asked.get("ref") or None
        try:
            shown = _accept(of, meter, asked, position, proof=proof)
        except _Bad as bad:
            results.append({"index": index, "ref": ref, "error": bad.said})
            continue
        results.append({"index": index, "ref": ref, **shown})
        position += 1
    meter.put(of.changes)
    refused = [result for result in results if "error" in result]
    if len(refused) == len(results):
        errors = [{**r["error"], "pointer": f"/messages/{r['index']}{r['error']['pointer']}"} for r in refused]
        codes = {one["code"] for one in errors}
        status, code = (409, codes.pop()) if len(codes) == 1 and codes <= LACKING else (422, "invalid_value")
        raise CommandRefused(status, code, f"messages: {errors[0]['detail']}", errors=errors)
    return of.changes, {"accepted": len(results) - len(refused), "refused": len(refused), "results": results}


def _accept(of: _Request, meter: MessageMeter, asked: dict[str, Any], position: int, *, proof: bool) -> dict[str, Any]:
    """Read one, ask the gate, take what it costs, write it down. Raises _Bad."""
    view, tenant, now_ms = of.view, of.tenant, of.now_ms
    wanted = _read(asked, of)
    rules = of.rules(wanted.purpose)
    begins_ms = wanted.send_at_ms or now_ms
    expiry_ms = begins_ms + wanted.validity_s * 1000
    others = of.capped[wanted.purpose, wanted.to]
    said = of.gate.judge(
        view, tenant, rules, wanted.to, begins_ms, expiry_ms, more=tuple(others), proof=proof
    )  # fmt: skip
    batch, micros = message_batch(tenant.number, wanted.purpose), None
    if said.decision is Decision.SENT:
        found = meter.take(batch, wanted.to, wanted.parts, wanted.billed)
        if isinstance(found, Refusal):
            raise _Bad("to", found.code, found.detail)
        micros = found
        if wanted.purpose.value in CAP_GROUPS and not proof:
            who = who_of(view, tenant.number, wanted.to)
            put_single(of.changes, view, tenant.number, wanted.purpose, who, said.due_ms, batch, position)
            others.append(said.due_ms)
    of.changes.put("outbox", U64_U32.pack(batch, position), _row(wanted, said, now_ms, expiry_ms, micros, proof=proof))
    note_sender(view, of.changes, tenant.number, wanted.sender)
    waits = said.decision is Decision.SENT and said.due_ms > now_ms
    return {
        "id": message_id(position, wanted.purpose),
        "decision": WAITING if waits else said.decision.word,
        "due_at": rfc3339(said.due_ms) if said.due_ms > now_ms else None,
        "parts": wanted.parts,
        "billed": wanted.billed,
    }


def cancel_message(view: View, command: CancelMessage, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Command `message.cancel`. The dispatcher has seen to it that nobody claims it any more. What it used of credit
    and plan is given back. 404, 409."""
    key, row = _place(view, envelope.tenant, command.message)
    if row["cancelled_ms"]:
        raise CommandRefused(409, "state_conflict", "the message is cancelled already")
    changes, tenant, purpose = Changes(), need_tenant(view, envelope.tenant), Purpose(row["purpose"])
    batch, position = U64_U32.unpack(key)
    changes.put("outbox", key, pack({**row, "cancelled_ms": envelope.at_ms}))
    if not row["decision"]:
        drop_single(changes, view, tenant.number, purpose, who_of(view, tenant.number, row["to"]), batch, position)
        give_back(changes, view, tenant, batch, [row], envelope.at_ms)
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


def _row(wanted: _Wanted, said: Said, now_ms: int, expiry_ms: int, micros: int | None, *, proof: bool) -> bytes:
    row = {
        "to": wanted.to,
        "from": wanted.sender,
        "text": wanted.text,
        "purpose": wanted.purpose.value,
        "expiry_ms": expiry_ms,
        "created_ms": now_ms,
        "validity_s": wanted.validity_s,
        "ref": wanted.ref,
        "decision": 0 if said.decision is Decision.SENT else int(said.decision),
        "parts": wanted.parts,
        "billed": wanted.billed,
        "cancelled_ms": 0,
    }
    if said.due_ms > now_ms:
        row["due_ms"] = said.due_ms
    if micros is not None:
        row["micros"] = micros
    if wanted.options:
        row["options"] = wanted.options
    return pack(row | ({"proof": True} if proof else {}))


def _read(asked: dict[str, Any], of: _Request) -> _Wanted:
    tenant, now_ms = of.tenant, of.now_ms
    number = normalise(str(asked.get("to", "")), tenant.region)
    if isinstance(number, Unparsed):
        shown = str(asked.get("to", ""))[:40]
        raise _Bad("to", number.reason, f"to {shown!r}: {number.reason.replace('_', ' ')}")
    try:
        purpose = Purpose(asked.get("purpose") or "transactional")
    except ValueError:
        words = ", ".join(Purpose)
        raise _Bad("purpose", "invalid_value", f"purpose {asked['purpose']!r}: one of {words}") from None
    sender, ref = asked.get("sender") or tenant.sender, asked.get("ref") or ""
    if len(sender) > SENDER_OCTETS_MAX or not sender.isascii() or not sender.isprintable():
        rule = f"at most {SENDER_OCTETS_MAX} printable ASCII characters"
        raise _Bad("sender", "invalid_value", f"sender {sender[:40]!r}: {rule}")
    if len(ref) > REF_CHARACTERS_MAX:
        raise _Bad("ref", "invalid_value", f"ref: at most {REF_CHARACTERS_MAX} characters, got {len(ref)}")
    validity_s = asked.get("validity_s") or VALIDITY_S.get(purpose, VALIDITY_S_ELSE)
    if not 1 <= validity_s <= VALIDITY_S_MAX:
        raise _Bad("validity_s", "invalid_value", f"validity_s {validity_s}: 1 to {VALIDITY_S_MAX:,}")
    send_at_ms = _instant(asked.get("send_at"), now_ms)
    try:
        options = checked(asked.get("options"), now_ms)
    except CommandRefused as exc:
        raise _Bad(exc.errors[0]["pointer"][1:], exc.code, exc.detail, **exc.extra) from None
    text = _text(asked, of.templates)
    told = Options.of(options)
    by = encoder(Coding(), told.message_class, told.transliterate)
    on_wire = _parts(text, by)
    paid = billed(by, text, of.rules(purpose).profile.billing)
    return _Wanted(number, text, on_wire, paid, purpose, validity_s, sender, ref, send_at_ms, options)


def _instant(asked: Any, now_ms: int) -> int:
    """`send_at` in epoch ms, 0 without one; what is past by now goes at once."""
    if asked is None:
        return 0
    try:
        found = datetime.fromisoformat(str(asked))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        rule = "an instant with its zone, as 2026-11-24T09:00:00+01:00"
        raise _Bad("send_at", "invalid_value", f"send_at {str(asked)[:40]!r}: {rule}")
    at_ms = round(found.timestamp() * 1000)
    if at_ms > now_ms + SEND_AT_DAYS_MAX * 86_400_000:
        raise _Bad("send_at", "invalid_value", f"send_at {asked}: at most {SEND_AT_DAYS_MAX} days from now")
    return at_ms if at_ms > now_ms else 0


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
