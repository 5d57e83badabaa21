"""Dress rehearsals: start one, look at it, cancel it. A job of this process (admin/rehearsing.py); one a tenant.

Touches: command campaign.rehearse, whose line in the audit is all that the store has of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from admin.answers import Answer, Body
from admin.asking import Asking
from admin.auth import Caller, may, parsed
from admin.rehearsing import Job, Rehearsals
from dispatcher.control.commands import RehearseCampaign
from dispatcher.errors import CommandRefused

router = APIRouter(prefix="/v1", tags=["campaigns"])

Delay = Annotated[str, Field(pattern=r"^[a-z0-9:.]{1,60}$", description="ms, or as lognormal:20:0.8")]
Share = Annotated[str, Field(pattern=r"^[0-9.]{1,8}:0x[0-9A-Fa-f]{1,8}$", description="per cent:command_status")]


class SimulatorBody(Body):
    """How the simulator behaves, as `volley smsc` has it."""

    delay_ms: Delay | None = None
    receipt_delay_ms: Delay | None = None
    receipts: Annotated[float, Field(ge=0, le=100, description="per cent that come")] | None = None
    states: Annotated[str, Field(pattern=r"^[A-Z0-9:,]{1,200}$")] | None = None
    tps: Annotated[int, Field(ge=0, le=10**8)] | None = None
    status_share: list[Share] = Field(default=[], max_length=20)


class RehearsalBody(Body):
    share: Annotated[float, Field(ge=0.01, le=1, description="of the audience; the time is extrapolated")] = 1.0
    with_windows: Annotated[bool, Field(description="keep hours of the day and quiet hours")] = False
    simulator: SimulatorBody | None = None


class RehearsalAnswer(Answer):
    campaign: str
    state: Literal["running", "done", "failed", "cancelled"]
    step: Annotated[str, Field(description="preview, copy or send")]
    done: int
    total: int
    answer: dict[str, Any] | None = Field(None, description="messages, parts, cost, time, errors, samples, differences")
    problem: dict[str, Any] | None = None


@router.post("/campaigns/{campaign}:rehearse", status_code=202, response_model=RehearsalAnswer)
async def rehearse_campaign(
    campaign: str,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:write")],
    body: RehearsalBody | None = None,
) -> dict[str, Any]:
    """Send it to the built-in simulator as a start now would be sent, from a copy of what is needed. Nothing goes out,
    and credit, caps, ledgers and counts stay as they are. It takes as long as the campaign would, a share less."""
    body, number = body or RehearsalBody(), parsed("cmp", campaign)
    rehearsals = _of(ask.request)
    rehearsals.refuse_second(caller.tenant)
    await ask(caller, RehearseCampaign(campaign=number, share=body.share))
    known = rehearsals.find(caller.tenant, number)
    if known is not None and "Idempotent-Replayed" in ask.response.headers:
        return known.shown()
    return rehearsals.start(caller.tenant, number, _options(body)).shown()


@router.get("/campaigns/{campaign}/rehearsal", response_model=RehearsalAnswer)
async def get_rehearsal(
    campaign: str, request: Request, caller: Annotated[Caller, may("campaigns:read")]
) -> dict[str, Any]:
    """The latest one: how far it is, and its answer once it is done. One that a restart of the API cut off begins anew
    (`begun` 2); the texts in an answer are there until the next restart."""
    return _need(request, caller, campaign).shown()


@router.post("/campaigns/{campaign}:cancel_rehearsal", response_model=RehearsalAnswer)
async def cancel_rehearsal(
    campaign: str, request: Request, caller: Annotated[Caller, may("campaigns:write")]
) -> dict[str, Any]:
    """End it; answered when nothing of it is left. One that is over stays as it is."""
    job = _need(request, caller, campaign)
    await _of(request).cancel(job)
    return job.shown()


def _need(request: Request, caller: Caller, campaign: str) -> Job:
    job = _of(request).find(caller.tenant, parsed("cmp", campaign))
    if job is None:
        raise CommandRefused(404, "not_found", "it was not rehearsed, or that was long ago: :rehearse it")
    return job


def _of(request: Request) -> Rehearsals:
    found: Rehearsals = request.app.state.rehearsals
    return found


def _options(body: RehearsalBody) -> list[str]:
    told = [f"--share={body.share}", *(["--with-windows"] if body.with_windows else [])]
    simulator = body.simulator or SimulatorBody()
    for name, value in simulator.model_dump(exclude_none=True).items():
        told += [f"--{name.replace('_', '-')}={one}" for one in (value if isinstance(value, list) else [value])]
    return told
