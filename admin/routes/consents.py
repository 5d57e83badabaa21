"""Consents: who said yes or no to a purpose, with evidence; append-only.

Touches: the words of a number through members/consents; command consent.record.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from admin.answers import Answer, Body, Reading
from admin.asking import Asking
from admin.auth import Caller, may
from dispatcher.control.commands import RecordConsents
from dispatcher.errors import CommandRefused
from dispatcher.members.consents import consents_json
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.changes import View
from dispatcher.tenants.tenant import need_tenant

router = APIRouter(prefix="/v1", tags=["consents"])


class EvidenceBody(Body):
    source: Annotated[str, Field(min_length=1, max_length=60, description="where it was said: web form, till, paper")]
    text: Annotated[str, Field(max_length=1_000, description="what was agreed to, or a reference to it")] = ""
    at: Annotated[AwareDatetime | None, Field(description="when it was said; now unless given")] = None


class ConsentBody(Body):
    number: Annotated[str, Field(min_length=1, max_length=40)]
    purpose: Literal["marketing", "care", "service"]
    given: Annotated[bool, Field(description="false: they said no, which is an opt-out")] = True
    evidence: EvidenceBody


class ConsentsBody(Body):
    consents: Annotated[list[ConsentBody], Field(min_length=1, max_length=1_000)]


class ConsentsAnswer(Answer):
    number: str
    history: list[dict[str, Any]]


@router.post("/consents", response_model=Answer)
async def record_consents(
    body: ConsentsBody, ask: Asking, caller: Annotated[Caller, may("members:write")]
) -> dict[str, Any]:
    """All or, when one is wrong, none. A yes lifts an opt-out that was said before it, and none that came after."""
    words = [
        {
            "number": one.number,
            "purpose": one.purpose,
            "given": one.given,
            "source": one.evidence.source,
            "text": one.evidence.text,
            "at_ms": _ms(one.evidence.at),
        }
        for one in body.consents
    ]
    return await ask(caller, RecordConsents(consents=words))


@router.get("/consents", response_model=ConsentsAnswer)
async def get_consents(
    number: Annotated[str, Query(min_length=1, max_length=40)],
    caller: Annotated[Caller, may("members:read")],
    reads: Reading,
) -> dict[str, Any]:
    """Everything a number said, with its evidence, and what holds now."""

    def read(view: View) -> dict[str, Any]:
        of = normalise(number, need_tenant(view, caller.tenant).region)
        if isinstance(of, Unparsed):
            detail = f"number {number[:40]!r}: {of.reason.replace('_', ' ')}"
            raise CommandRefused(422, "invalid_value", detail)
        return consents_json(view, caller.tenant, of)

    return await reads.scan(read)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
