"""Connections to carriers: what each does, and an operator's hand on one of them.

Touches: the status command; commands bind.connect, bind.drain, bind.disconnect, which ask for a reason and are audited.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from admin.answers import Answer, Body, Page
from admin.asking import Asking
from admin.auth import Caller, may
from admin.routes.status import live_status
from dispatcher.control.commands import ConnectBind, DisconnectBind, DrainBind

router = APIRouter(prefix="/v1", tags=["operator"])

Operator = Annotated[Caller, may("noc:read", tenant=False, operator=True)]
Hand = Annotated[Caller, may("noc:write", tenant=False, operator=True)]
BindName = Annotated[
    str, Path(max_length=80, description="`endpoint.number` such as main.0, or an endpoint for all its binds")
]


class Refusals(Answer):
    status: str
    name: str
    count: int
    last_ms: int


class BindAlarm(Answer):
    code: str
    text: str
    remedy: str
    since_ms: int


class BindAnswer(Answer):
    """`response_ms_p50` and `_p99` are within a fifth; `errors` are the kinds of refusal, the latest first."""

    endpoint: str
    bind: int | str
    state: str
    errors: list[Refusals] = Field(default_factory=list)
    alarm: BindAlarm | None = None


class EndpointAnswer(Answer):
    endpoint: str
    bound: int


class BindBody(Body):
    reason: Annotated[str, Field(min_length=1, max_length=500, description="kept in the audit")]


class BindsAnswer(Answer):
    id: str
    binds: list[str] = Field(default_factory=list)


@router.get("/binds", response_model=Page[BindAnswer])
async def list_binds(request: Request, caller: Operator) -> dict[str, Any]:
    """Every bind: its state and since when, window, rates of the last second, response times, refusals, alarm."""
    return {"data": (await live_status(request))["binds"], "next": None}


@router.get("/endpoints", response_model=Page[EndpointAnswer])
async def list_endpoints(request: Request, caller: Operator) -> dict[str, Any]:
    """Every endpoint as a whole: what of its rate holds now and why, its alarms."""
    return {"data": (await live_status(request)).get("endpoints", []), "next": None}


@router.post("/binds/{bind}:connect", response_model=BindsAnswer)
async def connect_bind(bind: BindName, body: BindBody, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Bind again at once, whatever was refused or asked for before."""
    return await ask(caller, ConnectBind(bind=bind), reason=body.reason)


@router.post("/binds/{bind}:drain", response_model=BindsAnswer)
async def drain_bind(bind: BindName, body: BindBody, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Submit nothing more on it and unbind once its window is answered. It stays so until `:connect` or a restart."""
    return await ask(caller, DrainBind(bind=bind), reason=body.reason)


@router.post("/binds/{bind}:disconnect", response_model=BindsAnswer)
async def disconnect_bind(bind: BindName, body: BindBody, ask: Asking, caller: Hand) -> dict[str, Any]:
    """End the connection now; what is in its window becomes uncertain. It stays so until `:connect` or a restart."""
    return await ask(caller, DisconnectBind(bind=bind), reason=body.reason)
