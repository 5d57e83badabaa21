"""The operator's view: the dispatcher's live figures, its binds, health and metrics.

Touches: the status command and the store. Health and metrics need no key: they name no tenant, no number.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from admin import metrics
from admin.answers import Answer, Reading
from admin.auth import Caller, may
from admin.problems import DispatcherDown
from dispatcher.errors import StoreError
from dispatcher.records.changes import View

router = APIRouter()


class Health(Answer):
    status: str


@router.get("/v1/status", tags=["operator"], response_model=Answer)
async def get_status(
    request: Request, caller: Annotated[Caller, may("noc:read", tenant=False, operator=True)]
) -> dict[str, Any]:
    """What the dispatcher does at this moment."""
    return await live_status(request)


@router.get("/healthz", tags=["health"])
async def healthz(request: Request, reads: Reading) -> Health:
    """This process answers; `store` says how full the store is: ok, alarm, full (new work is refused) or unreadable.
    `warm`: how much of the columns was read into memory since the start, so that the first counts need no disk."""
    try:
        found = reads.care(request.app.state.settings.store)
    except StoreError as exc:
        return Health(status="ok", store="unreadable", detail=str(exc))  # type: ignore[call-arg]
    warm = None if (warmed := reads.warmed()) is None else asdict(warmed)
    return Health(status="ok", store=found.state, detail=found.said, warm=warm)  # type: ignore[call-arg]


@router.get("/readyz", tags=["health"])
async def readyz(request: Request, response: Response, reads: Reading) -> Health:
    """200 when the store can be read and the dispatcher answers; else 503, saying which does not."""
    try:
        store = "ok" if await reads.scan(_schema) else "empty"
    except StoreError:
        store = "unreadable"
    status = await request.app.state.link.seen_status(request.app.state.clock.epoch_ms())
    dispatcher = "ok" if status is not None else "down"
    ready = (store, dispatcher) == ("ok", "ok")
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "not ready", store=store, dispatcher=dispatcher)  # type: ignore[call-arg]


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
async def get_metrics(request: Request, reads: Reading) -> Response:
    """For Prometheus. While the dispatcher is down `volley_dispatcher_up` is 0 and its figures are absent."""
    link = request.app.state.link
    status = await link.seen_status(request.app.state.clock.epoch_ms())
    counts = found = None
    with contextlib.suppress(StoreError):
        counts = await reads.scan(metrics.store_counts)
        found = reads.care(request.app.state.settings.store)
    told = metrics.text(status, counts, link.statistics(), found, request.app.state.misses.total)
    return Response(told, media_type=metrics.CONTENT_TYPE)


async def live_status(request: Request) -> dict[str, Any]:
    """What the dispatcher said last, at most a moment ago. Raises DispatcherDown."""
    status: dict[str, Any] | None = await request.app.state.link.seen_status(request.app.state.clock.epoch_ms())
    if status is None:
        raise DispatcherDown("the dispatcher is not running")
    return status


def _schema(view: View) -> bool:
    return view.get("meta", b"schema") is not None
