"""Who said yes or no, as whoever heard it tells: each with its evidence, append-only.

Touches: rows of consent.py, through a View. Rests on: PRODUCT D (/consents).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, RecordConsents
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import consented_since, history, opted_out_since, record_consent, record_optout
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.changes import Changes, View
from dispatcher.store.after import After
from dispatcher.store.layout import CONSENT_GROUPS
from dispatcher.tenants.tenant import need_tenant

AT_ONCE = 1_000
SOURCE_CHARACTERS, TEXT_CHARACTERS = 60, 1_000
AHEAD_MS = 60_000  # a clock that runs fast


def record_consents(view: View, command: RecordConsents, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Each {number, purpose, given, source, text, at_ms}: given false is a stop. All or, when one is wrong, none.

    A number may stand there once for a purpose. Raises CommandRefused 404, 422.
    """
    tenant = need_tenant(view, envelope.tenant)
    if not 1 <= len(command.consents) <= AT_ONCE:
        detail = f"consents: 1 to {AT_ONCE:,} at once, got {len(command.consents):,}"
        raise CommandRefused(422, "invalid_value", detail)
    errors: list[dict[str, Any]] = []
    read, seen = [], set[tuple[int, str]]()
    for index, one in enumerate(command.consents):
        number = normalise(str(one.get("number", "")), tenant.region)
        if isinstance(number, Unparsed):
            detail = f"number {str(one.get('number'))[:40]!r}: {number.reason.replace('_', ' ')}"
            errors.append(_error(index, "number", number.reason, detail))
            continue
        wrong = list(_errors(index, one, envelope.at_ms))
        errors += wrong
        if not wrong and (number, one["purpose"]) in seen:
            errors.append(_error(index, "number", "repeated", "the number stands there twice for this purpose"))
        seen.add((number, str(one.get("purpose"))))
        read.append((number, one))
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    changes, given = Changes(), 0
    for number, one in read:
        evidence = {"source": one["source"], "text": one.get("text", ""), "by": envelope.actor}
        at_ms = one.get("at_ms") or envelope.at_ms
        record = record_consent if one.get("given", True) else record_optout
        changes.merge(record(After(view, changes), tenant.number, number, one["purpose"], at_ms, evidence))
        given += bool(one.get("given", True))
    return changes, {"given": given, "withdrawn": len(read) - given}


def withdrawn(view: View, command: RecordConsents, tenant: int) -> Iterator[int]:
    """Numbers that said no: what is claimed for them must not leave."""
    region = need_tenant(view, tenant).region
    for one in command.consents:
        number = normalise(str(one.get("number", "")), region)
        if not one.get("given", True) and not isinstance(number, Unparsed):
            yield number


def _errors(index: int, one: dict[str, Any], now_ms: int) -> Any:
    if one.get("purpose") not in CONSENT_GROUPS:
        detail = f"purpose {str(one.get('purpose'))[:40]!r}: one of {', '.join(CONSENT_GROUPS)}"
        yield _error(index, "purpose", "unknown_purpose", detail)
    if not isinstance(one.get("given", True), bool):
        yield _error(index, "given", "invalid_value", "given: true or false")
    source, text, at_ms = one.get("source", ""), one.get("text", ""), one.get("at_ms")
    if not isinstance(source, str) or not 1 <= len(source) <= SOURCE_CHARACTERS:
        detail = f"source: where the words were heard, 1 to {SOURCE_CHARACTERS} characters"
        yield _error(index, "evidence/source", "evidence_missing", detail)
    if not isinstance(text, str) or len(text) > TEXT_CHARACTERS:
        yield _error(index, "evidence/text", "wrong_length", f"text: at most {TEXT_CHARACTERS:,} characters")
    if at_ms is not None and not (type(at_ms) is int and 0 < at_ms <= now_ms + AHEAD_MS):
        yield _error(index, "evidence/at", "invalid_time", f"at: when it was said, not after {rfc3339(now_ms)}")


def _error(index: int, name: str, code: str, detail: str) -> dict[str, Any]:
    return {"pointer": f"/consents/{index}/{name}", "code": code, "detail": detail}


def consents_json(view: View, tenant: int, number: int) -> dict[str, Any]:
    """What a number said, oldest first, and what holds now."""
    now = {
        group: {
            "consented_at": rfc3339(consented_since(view, tenant, number, group)),
            "opted_out_at": rfc3339(opted_out_since(view, tenant, number, group)),
        }
        for group in CONSENT_GROUPS
    }
    said = [
        {
            "what": "consent" if word.get("consent") else "stop" if word["what"] == "optout" else "lift",
            "purposes": word["groups"],
            "evidence": word["evidence"],
            "at": rfc3339(word["at_ms"]),
        }
        for word in history(view, tenant, number)
    ]
    return {"number": f"+{number}", "now": now, "history": said}
