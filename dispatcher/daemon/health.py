"""Statistics of every room as one snapshot: what `status` answers, /metrics and the demo read.

Touches: counters, /proc/self/status, statvfs. Never waits.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.records.keys import public_id
from dispatcher.smpp.pump import BULK, REPLIES, URGENT
from dispatcher.store import care

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher


def anon_mb() -> float:
    """RssAnon of this process: memory that is ours, without mapped pages of the store."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def statistics(d: Dispatcher) -> dict[str, Any]:
    """The reply to `status`."""
    book, committer = d.book, d.committer
    times = sorted(committer.times)
    return {
        "uptime_s": round((d.clock.monotonic_ns() - d.started_ns) / 1e9, 3),
        "as_of_ms": d.clock.epoch_ms(),
        "binds": [_bind(bind) for bind in d.pool.binds] if d.has_endpoint else [],
        "rates": {
            "submits_per_s": round(committer.submits_per_s),
            "accepted_per_s": round(d.rates.accepted_per_s),
            "receipts_per_s": round(d.rates.receipts_per_s),
        },
        "totals": {
            "submits": book.submits,
            "accepted": book.accepted,
            "refused": book.refused,
            "throttled": book.throttled,
            "retried": book.retried,
            "released": book.released,
            "uncertain": book.uncertain,
            "late": book.late,
            "receipts": book.receipts,
            "receipts_repeated": book.receipts_repeated,
            "stopped": book.stopped,
        },
        "lanes": {
            "bulk": book.queued(BULK),
            "replies": book.queued(REPLIES) + d.feeder.replies.waiting,
            "urgent": book.queued(URGENT),
        },
        "claim_credit": book.credit,
        "claim_credit_max": committer.credit_max,
        "claimed_open": book.open_parts,
        "in_flight": d.pool.in_flight,
        "writer": {
            "commits": committer.commits,
            "commit_ms_p50": round(times[len(times) // 2] * 1e3, 3) if times else None,
            "commit_ms_p99": round(times[len(times) * 99 // 100] * 1e3, 3) if times else None,
            "period_ms": round(committer.period_s * 1e3, 3),
            "full": committer.full,
        },
        "recoveries": d.recoveries,
        "held_receipts": book.n_held,
        "uncertain_parts": len(d.settler.uncertain),
        "ids_awaiting_receipt": book.index_live,
        "anon_mb": anon_mb(),
        "store_octets": d.store.size_octets(),
        "care": care.look(d.store, d.settings.store).as_dict() | {"stale_readers": d.stale_readers},
        "campaigns": {
            public_id("cmp", c.id): {
                "in_flight": book.run_open(c.run),
                "per_s": round(committer.submits_per_s),
                "limit": _limit(d),
            }
            for c in d.feeder.campaigns.values()
            if c.expansion is not None
        },
        "inbound": dict(d.deliveries.counters.inbound),
        "imports_running": d.imports.running if d.imports is not None else 0,
        "faults": {
            "strange_responses": book.strange_responses,
            "unparsed": d.deliveries.counters.unparsed,
            "receipts_unread": d.deliveries.counters.receipts_unread,
            "receipts_odd": d.deliveries.counters.receipts_odd,
            "receipts_unmatched": d.settler.counters.unmatched,
            "receipts_by_number": d.settler.counters.by_number,
            "receipts_several_candidates": d.settler.counters.several_candidates,
            "held_overflow": book.held_overflow,
            "inbound_refused": d.deliveries.counters.refused,
            "store_full": d.deliveries.counters.store_full,
        },
    }


def _bind(bind: Any) -> dict[str, Any]:
    pump = bind.pump
    return {
        "endpoint": bind.endpoint.name,
        "bind": bind.number,
        "state": bind.state,
        "since_ms": bind.since_ms,
        "binds": bind.binds,
        "in_flight": pump.in_flight if pump is not None else 0,
        "window": bind.endpoint.window,
        "submits": pump.submits if pump is not None else 0,
        "responses": pump.responses if pump is not None else 0,
        "receipts": pump.delivers if pump is not None else 0,
        "rtt_ms": round(pump.rtt_sum_ns / pump.rtt_count / 1e6, 3) if pump is not None and pump.rtt_count else None,
        "last_error": bind.last_error,
    }


def _limit(d: Dispatcher) -> str:
    """What keeps it from going faster, in a word."""
    if not d.pool.bound:
        return "no_bind"
    if d.committer.full:
        return "disk_full"
    if d.book.rate:
        return "endpoint_rate"
    if d.pool.in_flight >= sum(pump.window for pump in d.pool.pumps()):
        return "window"
    return "claim_credit" if d.book.open_parts >= d.book.credit else "cpu"
