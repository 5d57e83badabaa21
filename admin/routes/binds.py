"""Connections to carriers: what each does, and an operator's hand on one of them.

Touches: the status command; commands bind.connect, .pause, .drain, .disconnect, .reconnect, endpoint.rate and
endpoints.reload, which ask for a reason and are audited.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from admin.answers import Answer, Body, Page
from admin.asking import Asking
from admin.auth import Caller, may
from admin.routes.status import live_status
from dispatcher.control.commands import (
    ConnectBind,
    DisconnectBind,
    DrainBind,
    PauseBind,
    RateEndpoint,
    ReconnectBind,
    ReloadEndpoints,
)

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


class RateBody(BindBody):
    parts_per_s: Annotated[int, Field(description="of the whole account; 0: no limit of ours")]


class RateAnswer(Answer):
    id: str
    rate: int = 0


class ReloadAnswer(Answer):
    """Names of endpoints; `needs_restart` is what a reload leaves as it was."""

    id: str
    added: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)
    needs_restart: list[str] = Field(default_factory=list)


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


# verb -> (its command, what it does)
HANDS: dict[str, tuple[type[Any], str]] = {
    "connect": (ConnectBind, "Bind and submit again at once, whatever was refused or asked for before."),
    "pause": (
        PauseBind,
        "Submit nothing more on it; it stays bound for receipts and texts. It stays so until `:connect` or a restart.",
    ),
    "reconnect": (
        ReconnectBind,
        "Make its connection anew: its window is answered first, then it binds again at once.",
    ),
    "drain": (
        DrainBind,
        "Submit nothing more on it and unbind once its window is answered. It stays so until `:connect` or a restart.",
    ),
    "disconnect": (
        DisconnectBind,
        "End the connection now; what is in its window becomes uncertain. It stays so until `:connect` or a restart.",
    ),
}


def _hand(verb: str, command: type[Any], what: str) -> None:
    """The route of one verb: each is the same but for its command."""

    @router.post(f"/binds/{{bind}}:{verb}", name=f"{verb}_bind", description=what, response_model=BindsAnswer)
    async def hand(bind: BindName, body: BindBody, ask: Asking, caller: Hand) -> dict[str, Any]:
        return await ask(caller, command(bind=bind), reason=body.reason)


for _verb, (_command, _what) in HANDS.items():
    _hand(_verb, _command, _what)


@router.post("/endpoints/{endpoint}:rate", response_model=RateAnswer)
async def rate_endpoint(
    endpoint: Annotated[str, Path(max_length=32)], body: RateBody, ask: Asking, caller: Hand
) -> dict[str, Any]:
    """Another pace of the whole account, at once, until a reload or a restart reads the configuration's."""
    return await ask(caller, RateEndpoint(endpoint=endpoint, parts_per_s=body.parts_per_s), reason=body.reason)


@router.post("/endpoints:reload", response_model=ReloadAnswer)
async def reload_endpoints(body: BindBody, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Read endpoints, routes and rates from the configuration's file; binds that it does not change live on. A file
    with an error changes nothing: 422 says where."""
    return await ask(caller, ReloadEndpoints(), reason=body.reason)
