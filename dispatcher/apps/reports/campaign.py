"""One campaign's report: funnel, errors, the line of its rate, how long delivery took, what it cost.

Touches: a campaign's row, counters and ledger arrays, its stretch of the outcome log for endpoints; one Snapshot.
Nothing is kept: a report is of the ledger's last fold, 10 M recipients take some 150 ms. Times are the ledger's whole
seconds. A receipt that comes later changes what an earlier report said: `as_of` of that one, given as `since`, counts
what has become final since (`changed_since`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import islice
from typing import Any

from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.progress import recipients_of
from dispatcher.campaigns.usage import month_of
from dispatcher.clock import rfc3339
from dispatcher.records.keys import public_id
from dispatcher.records.states import State
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged
from dispatcher.store import ledger
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.layout import TENANT_U64, U64, USAGE_KEY
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.trail import Trail
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import need_tenant

try:
    from dispatcher.apps.reports import _report as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel apps/reports/_report is not built: run `make build`") from exc

BUCKETS_MAX = 600  # points of a line
STEPS_S = (1, 5, 10, 60, 300, 900, 3_600, 6 * 3_600, 86_400)
EXACT_S, DELAYS = 3_600, 3_600 + 30 * 1_440 + 1  # places of delays: seconds for an hour, then minutes for a month
MONTHS_MAX = 36
PERCENTILES = (50, 90, 95, 99)
ERRORS, OTHER = 1_024, 0xFFFFFFFF
LOG_OCTETS = 1 << 30  # of the log that is looked through for endpoints: a fifth of a second
Octets = memoryview | bytes
_ARRAYS = ("decision", "state", "error", "submit_s", "final_s")
_KINDS = {2: "accepted", 3: "refused", 4: "refused_for_now", 6: "uncertain", 7: "receipt"}
Found = dict[str, Any]
Arrays = tuple[Octets, Octets, Octets, Octets, Octets]


def report(
    view: Snapshot, tenant: int, campaign: int, now_ms: int, *, bucket_s: int | None = None, since_ms: int | None = None
) -> Found | None:
    """None when the tenant has no such campaign."""
    row = load(view, tenant, campaign)
    if row is None:
        return None
    people, counts = recipients_of(row, ledger.read_counts(view, campaign)), ledger.read_counts(view, campaign)
    replied = _did(view, tenant, Engaged("replied", campaign), now_ms) if row["started_ms"] else 0
    redeemed = None if row["coupon_pool"] is None else _did(view, tenant, Engaged("redeemed", campaign), now_ms)
    archived = view.get("archives", TENANT_U64.pack(tenant, campaign))
    archive = unpack(archived) if archived else None  # its errors and endpoints are as they were then (apps/archive.py)
    sums = _Sums(view, campaign, bucket_s, 0 if since_ms is None else -(-since_ms // 1_000))
    found = {
        "id": public_id("cmp", campaign),
        "title": row["title"],
        "state": row["state"],
        "as_of": rfc3339(now_ms),
        "funnel": _funnel(people, counts, replied, redeemed),
        **{name: people[name] for name in ("audience", "unsent", "skipped", "sent", "pending", "uncertain")},
        "parts": {"sent": counts.parts_sent, "accepted": counts.parts_accepted},
        "retries": counts.retries,
        "errors": _errors(archive, sums),
        "endpoints": archive["endpoints"] if archive else _endpoints(view, campaign, row),
        "line": sums.line(),
        "delivery_s": sums.percentiles(),
        "cost": _cost(view, tenant, campaign, row, now_ms, redeemed),
    }
    if since_ms is not None:
        found["changed_since"] = {"since": rfc3339(since_ms), "recipients": sums.changed}
    return found


def _funnel(people: Found, counts: ledger.Counts, replied: int, redeemed: int | None) -> list[Found]:
    """Each step with its share of the step before; who redeemed, where there are coupons, of those delivered: they need
    not have replied."""
    steps = [
        ("planned", people["audience"]),
        ("sent", people["sent"]),
        ("accepted", counts.accepted),
        ("delivered", people["delivered"]),
        ("replied", replied),
    ]
    found, before = [], people["audience"]
    for step, many in steps:
        found.append({"step": step, "count": many, "of_before": round(many / before, 6) if before else None})
        before = many
    if redeemed is not None:
        delivered = people["delivered"]
        share = round(redeemed / delivered, 6) if delivered else None
        found.append({"step": "redeemed", "count": redeemed, "of_before": share})
    return found


def _cost(view: Snapshot, tenant: int, campaign: int, row: Found, now_ms: int, redeemed: int | None) -> Found | None:
    """As metered: what a preview said until the campaign is settled, then what the ledger says (usage.py). With coupons
    also what one that was redeemed has cost so far."""
    if not row["started_ms"]:
        return None
    of = need_tenant(view, tenant)
    months = range(month_of(row["started_ms"], of.zone), month_of(row["finished_ms"] or now_ms, of.zone) + 1)
    keys = [USAGE_KEY.pack(tenant, month, campaign) for month in islice(months, MONTHS_MAX)]
    rows = [unpack(octets) for key in keys if (octets := view.get("usage", key)) is not None]
    if not rows:
        return None
    total = {name: sum(one[name] for one in rows) for name in ("messages", "parts", "billed", "micros")}
    found = {**total, "currency": of.currency, "settled": all(one["settled"] for one in rows)}
    if redeemed is not None:
        found["per_redemption_micros"] = round(total["micros"] / redeemed) if redeemed else None
    return found


def _did(view: Snapshot, tenant: int, key: Engaged, now_ms: int) -> int:
    return sum(map(ledger.popcount, evaluate(view, tenant, [key], now_ms)[key].values()))


class _Sums:
    """Of the arrays, chunk by chunk, twice: the line's bounds first."""

    def __init__(self, view: Snapshot, campaign: int, bucket_s: int | None, since_s: int) -> None:
        chunks = ledger.chunks(view, campaign)
        first, last = 0, 0
        for chunk in chunks:
            decision, _, _, submit, final = self._arrays(view, campaign, chunk)
            low, high, end = kernel.span(decision, submit, final)
            first = min(first or low, low or first)
            last = max(last, high, end)
        wide = last - first + 1
        self.bucket_s = bucket_s or next((step for step in STEPS_S if wide <= step * BUCKETS_MAX), STEPS_S[-1])
        self.begin_s = first - first % self.bucket_s
        buckets = min(BUCKETS_MAX, (last - self.begin_s) // self.bucket_s + 1)
        self._line: Any = memoryview(bytearray(4 * 3 * buckets)).cast("B").cast("I", (buckets, 3))
        self._delays = array("Q", bytes(8 * DELAYS))
        self._errors: Any = memoryview(bytearray(16 * ERRORS)).cast("B").cast("Q", (ERRORS, 2))
        self.changed = 0
        for chunk in chunks:
            self.changed += kernel.tally(
                *self._arrays(view, campaign, chunk), self.begin_s, self.bucket_s, self._line, self._delays,
                self._errors, since_s,
            )  # fmt: skip

    @staticmethod
    def _arrays(view: Snapshot, campaign: int, chunk: int) -> Arrays:
        decision, state, error, submit, final = (
            ledger.read_array(view, campaign, one, chunk) or b"" for one in _ARRAYS
        )
        return decision, state, error, submit, final

    def line(self) -> Found:
        """Buckets in which something happened; the last one holds all that is later."""
        rows = self._line.tolist()
        points = [
            {"at": rfc3339((self.begin_s + self.bucket_s * at) * 1_000), "sent": a, "delivered": b, "failed": c}
            for at, (a, b, c) in enumerate(rows)
            if a or b or c
        ]
        return {"bucket_s": self.bucket_s, "peak_per_s": _peak(rows, self.bucket_s), "points": points}

    def percentiles(self) -> Found:
        """Seconds from the submit to the final receipt of those delivered, that so many percent stay within."""
        total = sum(self._delays)
        found: Found = {"count": total}
        for percent in PERCENTILES:
            found[f"p{percent}"] = _within(self._delays, total, percent)
        return found

    def errors(self) -> list[Found]:
        """By state and code, the most frequent first. error: command_status, or the code of a receipt."""
        rows = [
            {
                "state": "other" if key & OTHER == OTHER else State(key >> 32 & 15).word,
                "error": None if key & OTHER == OTHER else int(key & OTHER),
                "recipients": int(many),
            }
            for key, many in self._errors.tolist()
            if key
        ]
        return sorted(rows, key=lambda row: (-row["recipients"], row["state"], row["error"] or 0))


def _errors(archive: Found | None, sums: _Sums) -> list[Found]:
    """Of an archived campaign those of then, and with them those of receipts that came later."""
    if archive is None or not archive.get("dropped"):
        return archive["errors"] if archive else sums.errors()
    late = sums.errors()
    if not late:
        return list(archive["errors"])
    of = Counter[tuple[str, int | None]]()
    for row in (*archive["errors"], *late):
        of[row["state"], row["error"]] += row["recipients"]
    rows = [{"state": state, "error": error, "recipients": many} for (state, error), many in of.items()]
    return sorted(rows, key=lambda row: (-row["recipients"], row["state"], row["error"] or 0))


def _peak(rows: list[list[int]], bucket_s: int) -> float:
    return round(max((row[0] for row in rows), default=0) / bucket_s, 1)


def _within(delays: array[int], total: int, percent: int) -> int | None:
    seen, wanted = 0, -(-total * percent // 100)
    if not total:
        return None
    for place, many in enumerate(delays):
        seen += many
        if seen >= wanted:
            return place if place < EXACT_S else EXACT_S + 60 * (place - EXACT_S)
    return None


def _endpoints(view: Snapshot, campaign: int, row: Found) -> Found:
    """What each endpoint answered and reported, from the log; not complete where that is dropped or too long."""
    if not row["started_ms"]:
        return {"complete": True, "data": []}
    names = {number: name for name, number in endpoint_numbers(view).items()}
    base, look = ledger.log_base(view, campaign), Trail(view)
    tables: dict[int, Any] = {}
    left, complete = LOG_OCTETS, True
    last = None if row["finished_ms"] is None else row["finished_ms"] + 1_000 * row["validity_s"]
    first = next(iter(view.buffers("outcome_log")), None)
    if first is not None and U64.unpack(first[0])[0] > base:
        complete = False  # older values are dropped
    until = None if last is None else look.position_at(last)
    for position, value in ledger.log_values(view, after=base - 1 if base else None):
        if until is not None and position > until:
            break
        left -= len(value)
        if left < 0:
            complete = False
            break
        _, ids, endpoint = ledger.value_header(value)
        if campaign in ids:
            if endpoint not in tables:
                tables[endpoint] = memoryview(bytearray(16 * ERRORS)).cast("B").cast("Q", (ERRORS, 2))
            kernel.answers(value, campaign, tables[endpoint])
    data = [
        {
            "endpoint": names.get(endpoint) or str(endpoint),
            "what": _KINDS.get(key >> 40 & 0xFF, "other"),
            "state": State(key >> 32 & 15).word if key >> 40 & 0xFF == 7 else None,
            "error": int(key & OTHER) or None,
            "parts": int(many),
        }
        for endpoint, table in sorted(tables.items())
        for key, many in table.tolist()
        if key
    ]
    return {"complete": complete, "data": sorted(data, key=lambda one: (one["endpoint"], -one["parts"]))}
