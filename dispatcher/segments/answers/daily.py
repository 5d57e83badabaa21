"""How many a saved segment had, day by day: counted once a day of the tenant's calendar and kept.

Touches: rows of `segments` and `segment_counts`; the count itself is segments/count. The daemon asks what is due,
counts at a quiet moment, and commits the record.

    segment_counts: tenant:2 segment:8 day:4 -> {matched, reachable, at_ms, version}   day: since 1970-01-01, local
                    {refused, at_ms, version} where the rule can no longer be counted, a field of it being gone
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.segments.count import count
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import list_tenants, need_tenant

HOUR = 3  # of the tenant's night: a day's figure is that of its beginning, when little is sent and imported
DAYS_MAX = 3_660  # asked for at once
KEY = struct.Struct(">HQI")
_DAY_0 = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Due:
    """A segment of which today's count is missing."""

    tenant: int
    segment: int
    day: int


def due(view: View, now_ms: int, hour: int = HOUR) -> Iterator[Due]:
    """The segments to count where it is `hour` or later. Looks at all that are counted, some 3 us each."""
    for tenant in list_tenants(view):
        local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(tenant.zone))
        if local.hour < hour:
            continue
        day = (local.date() - _DAY_0).days
        for key, _ in view.range("segments", TENANT.pack(tenant.number)):
            one = Due(tenant.number, TENANT_U64.unpack(key)[1], day)
            if view.get("segment_counts", KEY.pack(one.tenant, one.segment, day)) is None:
                yield one


def counted(view: View, one: Due, now_ms: int) -> dict[str, Any] | None:
    """Today's row; None when the segment is gone. Takes as long as a count."""
    row = view.get("segments", TENANT_U64.pack(one.tenant, one.segment))
    if row is None:
        return None
    segment = unpack(row)
    try:
        found = count(view, one.tenant, segment["expr"], as_of_ms=now_ms)
    except CommandRefused as exc:
        kept: dict[str, Any] = {"refused": exc.code}
    else:
        kept = {"matched": found["matched"], "reachable": found["reachable"]}
    return {**kept, "at_ms": now_ms, "version": segment["version"]}


def record(view: View, one: Due, kept: dict[str, Any]) -> Changes:
    """Keep a row of counted(), unless the segment went meanwhile."""
    changes = Changes()
    if view.get("segments", TENANT_U64.pack(one.tenant, one.segment)) is not None:
        changes.put("segment_counts", KEY.pack(one.tenant, one.segment, one.day), pack(kept))
    return changes


def counts_of(view: View, tenant: int, segment: int, begin: date | None = None, end: date | None = None) -> list[Any]:
    """[{day, matched, reachable, at_ms, version}] of the days from `begin` to `end`, both inside, oldest first.

    Raises CommandRefused 404 for no such segment, 422 for an end before the beginning.
    """
    need_tenant(view, tenant)
    if view.get("segments", TENANT_U64.pack(tenant, segment)) is None:
        raise CommandRefused(404, "not_found", "no such segment")
    if begin is not None and end is not None and end < begin:
        detail = f"to {end} is before from {begin}"
        errors = [{"pointer": "query:to", "code": "wrong_value", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)
    return list(_rows(view, tenant, segment, begin, end))[-DAYS_MAX:]


def _rows(view: View, tenant: int, segment: int, begin: date | None, end: date | None) -> Iterator[dict[str, Any]]:
    first = max(0, (begin - _DAY_0).days) if begin is not None else 0
    after = KEY.pack(tenant, segment, first - 1) if first else None
    for key, row in view.range("segment_counts", TENANT_U64.pack(tenant, segment), after=after):
        day = _DAY_0 + timedelta(days=KEY.unpack(key)[2])
        if end is not None and day > end:
            return
        kept = unpack(row)
        yield {"day": day.isoformat(), "matched": None, "reachable": None, **kept}
