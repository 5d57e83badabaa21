"""Which endpoints messages take: the operator's routes, and why a number takes one.

Touches: a snapshot, the configuration's file, the status command for which endpoints have a bind; commands route.put
and route.delete. A stored route stands before the file's of the same name.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

import config
from admin.answers import Answer, Body, Page
from admin.asking import Asking
from admin.auth import Caller, may
from admin.reads import Reads
from admin.routes.status import live_status
from config import SettingError, Settings
from dispatcher.control.commands import DeleteRoute, PutRoute
from dispatcher.errors import CommandRefused, DispatcherError
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
from dispatcher.routes.explain import explain, router_of
from dispatcher.routes.router import Context
from dispatcher.routes.stored import as_dict, routes_in_force
from dispatcher.tenants.tenant import get_tenant

router = APIRouter(prefix="/v1", tags=["operator"])

Operator = Annotated[Caller, may("noc:read", tenant=False, operator=True)]
Hand = Annotated[Caller, may("noc:write", tenant=False, operator=True)]
RouteName = Annotated[str, Path(max_length=64, description="its name")]
Words = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=10_000)]


class RouteFields(Body):
    """Keys of [[route]]; those left out stay as they are, of a new one as by default."""

    endpoints: Words | None = None
    prefixes: Words | None = None
    networks: Words | None = None
    purposes: Words | None = None
    tenants: Words | None = None
    senders: Words | None = None
    failover: Words | None = None
    failover_after_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    cost: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    hours: Annotated[str, Field(max_length=11)] | None = None
    days: Words | None = None
    zone: Annotated[str, Field(max_length=64)] | None = None
    enabled: bool | None = None


class NewRoute(RouteFields):
    name: Annotated[str, Field(min_length=1, max_length=64)]


class RouteAnswer(Answer):
    name: str
    endpoints: list[str]
    enabled: bool
    source: str = Field(description="`file`, or `store`: a stored one stands before the file's of its name")


class LookedAt(Answer):
    route: str
    source: str
    fits: bool
    why: str


class Explanation(Answer):
    """`endpoint` is null where nothing is sent: `reason` is no_route, or wait when none of them is configured."""

    number: str
    endpoint: str | None
    reason: str
    route: str | None
    why: str
    routes: list[LookedAt]


class Deleted(Answer):
    deleted: str


@router.get("/routes", response_model=Page[RouteAnswer])
async def list_routes(request: Request, caller: Operator) -> dict[str, Any]:
    """Every route in force, by name: those stored, and those of the file that no stored one replaces."""
    reads: Reads = request.app.state.reads
    return {"data": reads.now(_routes, _settings(request)), "next": None}


@router.post("/routes", response_model=RouteAnswer, status_code=201)
async def create_route(body: NewRoute, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Store one. Of a file's name: from now on in its place."""
    return _one(await ask(caller, PutRoute(title=body.name, values=_given(body), new=True)))


@router.patch("/routes/{name}", response_model=RouteAnswer)
async def change_route(
    name: RouteName, body: RouteFields, request: Request, ask: Asking, caller: Hand
) -> dict[str, Any]:
    """Change one; of the file: stored with its keys and these. Holds within a second, for what is not claimed yet."""
    reads: Reads = request.app.state.reads
    known = {one["name"]: one for one in reads.now(_routes, _settings(request))}
    if name not in known:
        raise CommandRefused(404, "not_found", f"no route {name!r}")
    of_file = (
        {}
        if known[name]["source"] == "store"
        else {k: v for k, v in known[name].items() if k not in ("name", "source")}
    )
    return _one(await ask(caller, PutRoute(title=name, values=of_file | _given(body))))


@router.delete("/routes/{name}", response_model=Deleted)
async def delete_route(name: RouteName, ask: Asking, caller: Hand) -> dict[str, Any]:
    """Forget a stored one; the file's of that name holds again. One of the file is switched off with enabled =
    false."""
    return await ask(caller, DeleteRoute(title=name))


@router.get("/routes:explain", response_model=Explanation)
async def explain_route(
    request: Request, caller: Operator,
    number: Annotated[str, Query(pattern=r"^\+?[1-9]\d{0,14}$", description="with the country's digits")],
    purpose: Annotated[Purpose, Query()] = Purpose.MARKETING,
    tenant: Annotated[int, Query(ge=1, le=65_535)] = 1,
    sender: Annotated[str | None, Query(max_length=20, description="default: the tenant's")] = None,
) -> dict[str, Any]:  # fmt: skip
    """Which endpoint a number takes, and why: every route that was looked at."""
    try:
        bound = {one["endpoint"]: one["bound"] > 0 for one in (await live_status(request)).get("endpoints", [])}
    except DispatcherError:
        bound = None  # nothing is known of the binds: as if all stood
    now_ms = request.app.state.clock.epoch_ms()
    reads: Reads = request.app.state.reads
    return reads.now(_explained, _settings(request), int(number), purpose, tenant, sender, bound, now_ms)


def _routes(view: View, settings: Settings) -> list[dict[str, Any]]:
    return [{**as_dict(one.route), "source": one.source} for one in routes_in_force(view, settings.routes)]


def _explained(
    view: View, settings: Settings, number: int, purpose: Purpose, tenant: int, sender: str | None,
    bound: dict[str, bool] | None, now_ms: int,
) -> dict[str, Any]:  # fmt: skip
    of = get_tenant(view, tenant)
    found, names = router_of(view, settings.endpoints, settings.routes, bound)
    context = Context(purpose, tenant, sender if sender is not None else of.sender if of else "")
    return explain(view, found, names, number, context, now_ms)


def _settings(request: Request) -> Settings:
    """As the file is now: the dispatcher reads it anew at a SIGHUP. With an error in it, as it was at our start."""
    settings: Settings = request.app.state.settings
    try:
        return config.load(settings.file, settings.data) if settings.file is not None else settings
    except SettingError:
        return settings


def _given(body: RouteFields) -> dict[str, Any]:
    return {key: value for key, value in body.model_dump(exclude={"name"}).items() if value is not None}


def _one(reply: dict[str, Any]) -> dict[str, Any]:
    return {**reply["route"], "source": reply["source"]}
