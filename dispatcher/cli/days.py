"""volley report: a tenant's days."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.clock import SystemClock

COLUMNS = ["day", "sent", "parts", "delivered", "failed", "late", "inbound", "redeemed", "last_change_at"]


@click.command("report")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="A week ago unless given.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="With it; today unless given.")
@of_tenant
@common
def report_command(call: Call, tenant: str | None, first: datetime | None, last: datetime | None) -> None:
    """What was sent on each day of the tenant's zone, what became of it by now, and how much of that came later.

    \b
      volley report --from 2026-12-01 --to 2026-12-07
      volley campaign report cmp_01J0000000000
    """
    from dispatcher.apps.reports.days import days, period
    from dispatcher.tenants.tenant import need_tenant

    number, now_ms = call.tenant(tenant), SystemClock().epoch_ms()
    with call.reading() as view:
        zone = ZoneInfo(need_tenant(view, number).zone)
        today = datetime.fromtimestamp(now_ms / 1_000, zone).date()
        begin, end = period(first and first.date(), last and last.date(), today)
        found = days(view, number, begin, end, now_ms)
    call.show_rows(COLUMNS, found if call.json else map(_row, found), tenant=number)


def _row(day: dict[str, Any]) -> dict[str, Any]:
    states = day["states"]
    return {
        **day,
        "delivered": states.get("delivered", 0),
        "failed": states.get("failed", 0) + states.get("expired", 0),
        "inbound": sum(day["inbound"].values()),
    }
