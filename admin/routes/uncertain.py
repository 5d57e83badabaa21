"""What is uncertain: messages that may have arrived, why that is not known, and a person's word on them.

Touches: apps/uncertain.py; command uncertain.decide.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from admin.answers import After, Answer, Body, Limit, Page, Reading
from admin.asking import Asking, AskingOnce
from admin.auth import Caller, may, parsed
from admin.reads import cursor_of, key_of
from admin.routes.campaigns import Reason, need
from dispatcher.apps.uncertain import AT_ONCE, uncertain
from dispatcher.control.commands import AskRetries, DecideUncertain
from dispatcher.store import Snapshot

router = APIRouter(prefix="/v1", tags=["uncertain"])
Cause = Literal["", "timeout", "bind_lost", "kill", "power_cut"]
_PLACE = struct.Struct(">QI")


class UncertainAnswer(Answer):
    campaign: str | None
    message: str | None
    rank: int
    cause: str | None = Field(description="timeout, bind_lost, kill, power_cut; null: the log is too long to look")
    endpoint: str | None
    at: str | None


class BoxAnswer(Page[UncertainAnswer]):
    total: int
    campaigns: int


class DecideBody(Body):
    decision: Literal["sent", "failed", "resend"]
    campaign: Annotated[str | None, Field(max_length=40)] = None
    ranks: Annotated[list[Annotated[int, Field(ge=0, le=0xFFFFFFFF)]], Field(max_length=AT_ONCE, default_factory=list)]
    messages: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=AT_ONCE, default_factory=list)]
    cause: Cause = ""
    before: Annotated[AwareDatetime | None, Field(description="only what is uncertain since before then")] = None
    reason: Annotated[Reason, Field(min_length=1)]


class DecidedAnswer(Answer):
    decision: str
    decided: int
    left: int


class RetriesAnswer(Answer):
    data: list[dict[str, Any]]


@router.get("/uncertain", response_model=BoxAnswer)
async def list_uncertain(
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    limit: Limit,
    after: After = None,
    campaign: Annotated[str | None, Query(max_length=40)] = None,
    cause: Annotated[Cause, Query(description="why it is not known")] = "",
) -> dict[str, Any]:
    """Newest campaign first, then single messages; `total` counts all that fit."""
    key = key_of(after, _PLACE.size)
    place = None if key is None else _PLACE.unpack(key)
    number = None if campaign is None else parsed("cmp", campaign)

    def read(view: Snapshot) -> dict[str, Any]:
        if number is not None:
            need(view, caller.tenant, number)
        rows, following, about = uncertain(view, caller.tenant, campaign=number, cause=cause, limit=limit, after=place)
        return {"data": rows, "next": None if following is None else cursor_of(_PLACE.pack(*following)), **about}

    return await reads.scan(read)


@router.post("/uncertain:decide", response_model=DecidedAnswer)
async def decide(body: DecideBody, ask: AskingOnce, caller: Annotated[Caller, may("campaigns:send")]) -> dict[str, Any]:
    """Of a campaign some ranks or all that fit, or single messages: they were sent, they failed, or send them again.
    409 not_uncertain for one that something else has settled; in the audit with its reason."""
    command = DecideUncertain(
        decision=body.decision,
        campaign=None if body.campaign is None else parsed("cmp", body.campaign),
        ranks=body.ranks,
        messages=body.messages,
        cause=body.cause,
        before_ms=None if body.before is None else round(body.before.timestamp() * 1_000),
    )
    reply = await ask(caller, command, reason=body.reason)
    return {name: value for name, value in reply.items() if name != "resend"}


@router.get("/retries", response_model=RetriesAnswer)
async def list_retries(ask: Asking, caller: Annotated[Caller, may("noc:read", tenant=False)]) -> dict[str, Any]:
    """What each command_status means for a message: how often it goes again, how far apart, until when. Where an
    endpoint's `statuses` say otherwise, a row with its name follows."""
    return await ask(caller, AskRetries())
