"""Reports: a campaign's, the effect of its arms, a tenant's days.

Touches: apps/reports, campaigns/effect. All are of the ledger's last fold and made when asked for.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime

from admin.answers import Answer, Reading, instant_ms
from admin.auth import Caller, may, parsed
from admin.routes.campaigns import need
from dispatcher.apps.reports.campaign import report
from dispatcher.apps.reports.days import days, period
from dispatcher.campaigns.effect import effect
from dispatcher.errors import CommandRefused
from dispatcher.store import Snapshot
from dispatcher.tenants.tenant import need_tenant

router = APIRouter(prefix="/v1", tags=["reports"])

Since = Annotated[
    AwareDatetime | None, Query(description="`as_of` of an earlier report: adds how much has changed since")
]


class ReportAnswer(Answer):
    id: str
    as_of: str
    funnel: list[dict[str, Any]]


class EffectAnswer(Answer):
    id: str
    groups: list[dict[str, Any]]
    differences: list[dict[str, Any]]


class DayAnswer(Answer):
    day: str
    sent: int
    late: int
    last_change_at: str | None


class DaysAnswer(Answer):
    data: list[DayAnswer]


@router.get("/campaigns/{campaign}/report", response_model=ReportAnswer)
async def get_campaign_report(
    request: Request,
    campaign: str,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    bucket_s: Annotated[int | None, Query(ge=1, le=86_400, description="seconds a point of the line")] = None,
    since: Since = None,
) -> dict[str, Any]:
    """Funnel, errors by code and endpoint, the line of its rate, delivery times, cost.

    A point's `sent` counts claims: they run ahead of the socket, by the claim credit at most, so one second of it may
    show more than the contract allows and the wire had."""
    number, now_ms = parsed("cmp", campaign), request.app.state.clock.epoch_ms()
    found = await reads.scan(report, caller.tenant, number, now_ms, bucket_s=bucket_s, since_ms=_ms(since))
    if found is None:
        raise CommandRefused(404, "not_found", "no such campaign")
    return found


@router.get("/campaigns/{campaign}/effect", response_model=EffectAnswer)
async def get_campaign_effect(
    request: Request,
    campaign: str,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    goal: Annotated[
        str | None, Query(max_length=10_000, description="an expression: how many match it now, in each group")
    ] = None,
    confidence: Annotated[float, Query(ge=0.5, le=0.999)] = 0.95,
) -> dict[str, Any]:
    """What each arm did, and more than the holdout and the first arm, with intervals."""
    number, now_ms = parsed("cmp", campaign), request.app.state.clock.epoch_ms()

    def read(view: Snapshot) -> dict[str, Any]:
        row = need(view, caller.tenant, number)
        return effect(view, caller.tenant, number, row, now_ms, goal=goal, confidence=confidence)

    return await reads.scan(read)


@router.get("/reports/days", response_model=DaysAnswer)
async def list_days(
    request: Request,
    caller: Annotated[Caller, may("campaigns:read")],
    reads: Reading,
    first: Annotated[date | None, Query(alias="from", description="in the tenant's zone; a week ago")] = None,
    last: Annotated[date | None, Query(alias="to", description="with it; today")] = None,
    since: Since = None,
) -> dict[str, Any]:
    """What was sent on each day, what became of it by now, and how much of that came later."""
    now_ms = request.app.state.clock.epoch_ms()

    def read(view: Snapshot) -> list[dict[str, Any]]:
        zone = ZoneInfo(need_tenant(view, caller.tenant).zone)
        begin, end = period(first, last, datetime.fromtimestamp(now_ms / 1_000, zone).date())
        return days(view, caller.tenant, begin, end, now_ms, since_ms=_ms(since))

    return {"data": await reads.scan(read)}


def _ms(since: datetime | None) -> int | None:
    return None if since is None else instant_ms(since, "since")
