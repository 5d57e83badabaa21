"""A tenant's days: what was sent on each, and what became of it by now.

Touches: rows of `campaigns`, ledger arrays of campaigns and of messages born alone, rows of `inbound` and of
`redemptions`; one Snapshot.
A day is the tenant's own, from midnight to midnight of its zone. A message belongs to the day of its last submit, so
a receipt that comes later changes a day that is over: `late` counts what became final after the day's end,
`last_change_at` says when the last of it did, and with the `as_of` of an earlier report `changed_since` counts what
that one did not know.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.apps.reports import _report as kernel
from dispatcher.clock import YEARS, rfc3339
from dispatcher.errors import CommandRefused
from dispatcher.records.batches import batches_of, is_message_batch, purpose_of_batch
from dispatcher.records.keys import public_id
from dispatcher.records.states import State
from dispatcher.segments.runs import runs
from dispatcher.store import ledger
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import need_tenant

DAYS_MAX = 92
_ARRAYS = ("decision", "state", "parts", "submit_s", "final_s")
_PARTS, _LATE, _CHANGED, _COUNTS = 16, 17, 18, 19
Found = dict[str, Any]


def period(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """The days asked for, both inside: until today, and a week of them, unless given. Raises CommandRefused 422."""
    end = last or today
    if not YEARS[0] <= end.year <= YEARS[1]:
        raise _refused("to", f"to {end}: a year from {YEARS[0]} to {YEARS[1]}")
    begin = first or end - timedelta(days=6)
    if not 0 <= (end - begin).days < DAYS_MAX:
        raise _refused("from", f"from {begin} to {end}: 1 to {DAYS_MAX} days, in order")
    return begin, end


def _refused(name: str, detail: str) -> CommandRefused:
    errors = [{"pointer": f"query:{name}", "code": "wrong_value", "detail": detail}]
    return CommandRefused(422, "invalid_value", detail, errors=errors)


def days(
    view: Snapshot, tenant: int, first: date, last: date, now_ms: int, *, since_ms: int | None = None
) -> list[Found]:
    """One a day, both ends inside; at most DAYS_MAX. 10 M messages of a campaign take some 30 ms a day."""
    zone = ZoneInfo(need_tenant(view, tenant).zone)
    found: list[Found] = []
    day = first
    while day <= last and len(found) < DAYS_MAX:
        found.append(_day(view, tenant, day, zone, now_ms, since_ms))
        day += timedelta(days=1)
    return found


def _day(view: Snapshot, tenant: int, day: date, zone: ZoneInfo, now_ms: int, since_ms: int | None) -> Found:
    begin_s, end_s = (_instant_s(one, zone) for one in (day, day + timedelta(days=1)))
    since_s = (1 << 32) - 1 if since_ms is None else -(-since_ms // 1_000)
    total, last_s = array("Q", bytes(8 * _COUNTS)), 0
    of_purpose: Counter[str] = Counter()
    campaigns = []
    for campaign, purpose, title in _senders(view, tenant, begin_s, end_s):
        counts, final_s = _counted(view, campaign, begin_s, end_s, since_s)
        sent = sum(counts[:_PARTS])
        if not sent:
            continue
        last_s = max(last_s, final_s)
        of_purpose[purpose] += sent
        total = array("Q", map(sum, zip(total, counts, strict=True)))
        if title is not None:
            campaigns.append({"id": public_id("cmp", campaign), "title": title, **_shown(counts)})
    found = {
        "day": day.isoformat(),
        "zone": zone.key,
        "over": end_s * 1_000 <= now_ms,
        "as_of": rfc3339(now_ms),
        **_shown(total),
        "purposes": dict(sorted(of_purpose.items())),
        "inbound": dict(sorted(_inbound(view, tenant, begin_s, end_s).items())),
        "redeemed": _redeemed(view, tenant, begin_s, end_s),
        "campaigns": campaigns,
        "late": int(total[_LATE]),
        "last_change_at": rfc3339(last_s * 1_000) if last_s else None,
    }
    if since_ms is not None:
        found["changed_since"] = {"since": rfc3339(since_ms), "recipients": int(total[_CHANGED])}
    return found


def _senders(view: Snapshot, tenant: int, begin_s: int, end_s: int) -> Iterator[tuple[int, str, str | None]]:
    """(campaign or batch, purpose, title of a campaign) of whatever may have sent on a day."""
    for run in runs(view, tenant, None, begin_s * 1_000, end_s * 1_000 - 1, late=False):
        yield run.campaign, run.row["purpose"], run.row["title"]
    for batch in batches_of(tenant):
        yield batch, purpose_of_batch(batch).value if is_message_batch(batch) else "answers", None


def _counted(view: Snapshot, campaign: int, begin_s: int, end_s: int, since_s: int) -> tuple[array[int], int]:
    counts, last = array("Q", bytes(8 * _COUNTS)), 0
    for chunk in ledger.chunks(view, campaign):
        decision, state, parts, submit, final = (
            ledger.read_array(view, campaign, name, chunk) or b"" for name in _ARRAYS
        )
        last = max(last, kernel.day(decision, state, parts, submit, final, begin_s, end_s, since_s, counts))
    return counts, last


def _shown(counts: array[int]) -> Found:
    states = {state.word: int(counts[state]) for state in State if counts[state]}
    return {"sent": int(sum(counts[:_PARTS])), "parts": int(counts[_PARTS]), "states": states}


def _inbound(view: Snapshot, tenant: int, begin_s: int, end_s: int) -> Counter[str]:
    """Messages from phones by what they were."""
    return Counter(row["what"] for row in _rows_of(view, "inbound", tenant, begin_s, end_s))


def _redeemed(view: Snapshot, tenant: int, begin_s: int, end_s: int) -> int:
    """Coupons that were redeemed on the day, and that stands."""
    rows = _rows_of(view, "redemptions", tenant, begin_s, end_s)
    return sum(row["kind"] == "redeemed" and row["undone"] is None for row in rows)


def _rows_of(view: Snapshot, table: str, tenant: int, begin_s: int, end_s: int) -> Iterator[Found]:
    """Rows whose ids, which begin with the time they were made, are of the day."""
    after = TENANT_U64.pack(tenant, max((begin_s * 1_000 << 16) - 1, 0))
    for key, octets in view.range(table, TENANT.pack(tenant), after=after):
        if TENANT_U64.unpack(key)[1] >> 16 >= end_s * 1_000:
            break
        yield unpack(octets)


def _instant_s(day: date, zone: ZoneInfo) -> int:
    return max(0, int(datetime.combine(day, time(), zone).timestamp()))  # 1970 began earlier east of London
