"""Statistics of every room as one snapshot: what `status` answers, /metrics and the demo read.

Touches: counters, /proc/self/status, statvfs. Never waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.campaigns.eta import slowest
from dispatcher.records.keys import public_id
from dispatcher.smpp.pump import BULK, POOLS, REPLIES, URGENT
from dispatcher.store import care

if TYPE_CHECKING:
    from dispatcher.daemon.channel import Channel
    from dispatcher.daemon.committer import Committer
    from dispatcher.daemon.dispatcher import Dispatcher
    from dispatcher.daemon.feeder import Campaign

TOTALS = (
    "submits", "accepted", "refused", "throttled", "retried", "released", "uncertain", "late", "receipts",
    "receipts_repeated", "stopped",
)  # fmt: skip


def anon_mb() -> float:
    """RssAnon of this process: memory that is ours, without mapped pages of the store."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def statistics(d: Dispatcher, imports_running: int) -> dict[str, Any]:
    """The reply to `status`."""
    channels = d.channels
    endpoints = [_endpoint(channel) for channel in channels if channel.connects]
    room = care.look(d.store, d.settings.store)
    return {
        "uptime_s": round((d.clock.monotonic_ns() - d.started_ns) / 1e9, 3),
        "as_of_ms": d.clock.epoch_ms(),
        "endpoints": endpoints,
        "reload_error": d.reload_error,
        "alarms": [*(alarm for endpoint in endpoints for alarm in endpoint["alarms"]), *_alarms(d, room)],
        "binds": [bind.statistics() for channel in channels if channel.connects for bind in channel.pool.binds],
        "rates": {
            "submits_per_s": round(d.committer.submits_per_s),
            "accepted_per_s": round(d.rates.accepted_per_s),
            "receipts_per_s": round(d.rates.receipts_per_s),
        },
        "totals": {name: _sum(channels, name) for name in TOTALS},
        "lanes": lanes(channels, d.feeder.replies.waiting),
        "claim_credit": _sum(channels, "credit"),
        "claim_credit_max": sum(channel.credit_max for channel in channels),
        "claimed_open": _sum(channels, "open_parts"),
        "in_flight": sum(channel.pool.in_flight for channel in channels),
        "writer": _writer(d.committer),
        "recoveries": d.recoveries,
        "held_receipts": _sum(channels, "n_held"),
        "uncertain_parts": len(d.settler.uncertain),
        "ids_awaiting_receipt": _sum(channels, "index_live"),
        "kept_ids": None if d.kept_ids is None else asdict(d.kept_ids) | _kept_for(d),
        "anon_mb": anon_mb(),
        "store_octets": d.store.size_octets(),
        "care": room.as_dict() | {"stale_readers": d.stale_readers},
        "campaigns": {
            public_id("cmp", c.id): {
                "in_flight": d.feeder.parts_open(c.id),
                "waiting": c.expansion.waiting,
                **_going(d, c),
            }
            for c in d.feeder.campaigns.values()
            if c.expansion is not None
        },
        "inbound": dict(sum((Counter(c.deliveries.counters.inbound) for c in channels), Counter())),
        "imports_running": imports_running,
        "faults": _faults(d),
    }


def _writer(committer: Committer) -> dict[str, Any]:
    times = sorted(committer.times)
    return {
        "commits": committer.commits,
        "commit_ms_p50": round(times[len(times) // 2] * 1e3, 3) if times else None,
        "commit_ms_p99": round(times[len(times) * 99 // 100] * 1e3, 3) if times else None,
        "period_ms": round(committer.period_s * 1e3, 3),
        "full": committer.full,
    }


def _faults(d: Dispatcher) -> dict[str, int]:
    """What peers did that they should not have, and what could not be taken."""
    channels = d.channels
    return {
        "strange_responses": _sum(channels, "strange_responses"),
        "unparsed": _counted(channels, "unparsed"),
        "receipts_unread": _counted(channels, "receipts_unread"),
        "receipts_odd": _counted(channels, "receipts_odd"),
        "receipts_unmatched": d.settler.counters.unmatched,
        "receipts_by_number": d.settler.counters.by_number,
        "receipts_several_candidates": d.settler.counters.several_candidates,
        "held_overflow": _sum(channels, "held_overflow"),
        "inbound_refused": _counted(channels, "refused"),
        "store_full": _counted(channels, "store_full"),
    }


def _kept_for(d: Dispatcher) -> dict[str, float]:
    """Days that an id can be looked up: those of its log, and those after."""
    limits = d.settings.store
    return {"days": limits.log_kept_days + limits.ids_kept_days if limits.ids_kept_days else 0.0}


def _alarms(d: Dispatcher, room: care.Care) -> Iterator[dict[str, Any]]:
    """Those of no endpoint."""
    if d.reload_error:
        remedy = "mend the file, then `volley smpp reload`; until then the settings of before hold"
        yield {"object": "settings", "code": "reload_refused", "text": d.reload_error, "remedy": remedy, "since_ms": 0}
    if room.said is not None:
        text = f"{room.said}: new work is refused" if room.state == care.FULL else room.said
        yield {"object": "store", "code": f"store_{room.state}", "text": text, "remedy": care.REMEDY, "since_ms": 0}


def lanes(channels: list[Channel], replies: int) -> dict[str, int]:
    """Parts claimed and not yet handed to a socket; answers also before they are claimed."""
    queued = {lane: sum(channel.book.queued(lane) for channel in channels) for lane in POOLS}
    return {"bulk": queued[BULK], "replies": queued[REPLIES] + replies, "urgent": queued[URGENT]}


def _endpoint(channel: Channel) -> dict[str, Any]:
    book = channel.book
    return {
        **channel.pool.statistics(),
        "number": channel.number,
        "submits_per_s": round(channel.submits_per_s),
        "accepted_per_s": round(channel.accepted_per_s),
        "receipts_per_s": round(channel.receipts_per_s),
        "totals": {name: getattr(book, name) for name in TOTALS},
        "lanes": lanes([channel], 0),
        "claim_credit": book.credit,
        "claimed_open": book.open_parts,
        "ids_awaiting_receipt": book.index_live,
        "held_receipts": book.n_held,
        "leaving": channel.leaving,
    }


def _sum(channels: list[Channel], name: str) -> int:
    return sum(int(getattr(channel.book, name)) for channel in channels)


def _counted(channels: list[Channel], name: str) -> int:
    return sum(int(getattr(channel.deliveries.counters, name)) for channel in channels)


def _going(d: Dispatcher, campaign: Campaign) -> dict[str, Any]:
    """Its own parts a second, what limits them, and when the clock lets those go on who wait for it."""
    now_ms, now_ns = d.clock.epoch_ms(), d.clock.monotonic_ns()
    limit, opens_ms = _limit(d, campaign, now_ms, now_ns)
    per_s = campaign.going.per_s(now_ns)
    return {"per_s": round(per_s, 1 if per_s < 10 else None), "limit": limit, "opens_ms": opens_ms}


def _limit(d: Dispatcher, campaign: Campaign, now_ms: int, now_ns: int) -> tuple[str, int | None]:
    """What keeps it from going faster, in a word of eta.py or of _everywhere, and when those who wait may go."""
    expansion, gate = campaign.expansion, campaign.gate
    assert expansion is not None
    everywhere, opens_ms = _everywhere(d), expansion.opens_ms
    if campaign.paused:
        return "paused", None
    if everywhere in ("no_bind", "disk_full"):
        return everywhere, opens_ms
    if gate is not None and (held := gate.holds(now_ms)):
        return held, gate.opens_ms(now_ms) if held == "window" else opens_ms
    bound = [channel for channel in d.channels if channel.pool.bound]
    if expansion.waiting and not any(expansion.wants(now_ns, now_ms, channel.number) for channel in bound):
        return "winner" if opens_ms is None else "quiet", opens_ms
    rates = [channel.book.rate for channel in bound]
    own = d.feeder.paces.rates(campaign.tenant, campaign.id)
    return slowest({"endpoint_rate": sum(rates) if all(rates) else 0, **own}) or everywhere, opens_ms


def _everywhere(d: Dispatcher) -> str:
    """What keeps all of them from going faster."""
    bound = [channel for channel in d.channels if channel.pool.bound]
    if not bound:
        return "no_bind"
    if d.committer.full:
        return "disk_full"
    if all(channel.book.rate for channel in bound):
        return "endpoint_rate"
    if all(c.pool.in_flight >= sum(pump.window for pump in c.pool.pumps()) for c in bound):
        return "bind_window"
    return "claim_credit" if all(c.book.open_parts >= c.book.credit for c in bound) else "cpu"
