"""Figures for Prometheus, made when asked for: the dispatcher's status, the store, this process's link.

Touches: what it is given. A registry is made anew for each answer, so nothing is counted twice here and
a figure that is not known now is absent instead of stale.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from admin.link import Statistics
from dispatcher.campaigns.underway import known_states
from dispatcher.records.batches import is_batch
from dispatcher.records.states import CampaignState, State
from dispatcher.store import Snapshot
from dispatcher.store.care import ALARM, FULL, OK, Care
from dispatcher.store.ledger import every_count
from dispatcher.store.values import unpack

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Sums over all campaigns of all tenants."""

    campaigns: Counter[str]
    recipients: Counter[str]  # by State's word


def store_counts(view: Snapshot) -> StoreCounts:
    """One look at every campaign: some 6 us each, so for a worker thread."""
    known = known_states(view)
    campaigns = Counter(known.get(key) or unpack(row)["state"] for key, row in view.buffers("campaigns"))
    recipients, sent = Counter[str](), [state for state in State if state is not State.UNSENT]
    for id, counted in every_count(view):
        if not is_batch(id):
            for state in sent:
                recipients[state.word] += counted.state(state)
    return StoreCounts(campaigns, recipients)


def text(
    status: dict[str, Any] | None,
    counts: StoreCounts | None,
    link: Statistics,
    care: Care | None = None,
    coupon_misses: int = 0,
) -> bytes:
    """Prometheus's text format. `status` None: the dispatcher is down; `counts` None: the store is unreadable."""
    registry = CollectorRegistry(auto_describe=False)
    families = [*_of_link(link, status), *_of_status(status or {}), *_of_store(counts), *_of_care(care)]
    families.append(_counter("volley_coupon_misses", "coupon codes asked for that were nobody's", coupon_misses))
    registry.register(_Once(families))
    return generate_latest(registry)


class _Once:
    """A collector of families that are made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_link(link: Statistics, status: dict[str, Any] | None) -> list[Metric]:
    return [
        _gauge("volley_dispatcher_up", "1 when the dispatcher answers", int(status is not None)),
        _gauge("volley_admin_link_connected", "connections to the dispatcher", link.connected),
        _gauge("volley_admin_link_waiting", "commands not answered yet", link.waiting),
        _counter("volley_admin_link_commands", "commands sent", link.asked),
        _counter("volley_admin_link_lost", "connections to the dispatcher that ended", link.lost),
    ]


def _of_status(status: dict[str, Any]) -> list[Metric]:
    families = _of_binds(status["binds"]) if "binds" in status else []
    families += _of_endpoints(status.get("endpoints", []), bool(status.get("reload_error")))
    totals = status.get("totals", {})
    families += [_counter(name, what, totals[key]) for name, key, what in _TOTALS if key in totals]
    if "faults" in status:
        faults = CounterMetricFamily("volley_faults", "what peers did that is counted and survived", labels=["what"])
        for what, number in status["faults"].items():
            faults.add_metric([what], number)
        families.append(faults)
    if oldest_ms := (status.get("kept_ids") or {}).get("oldest_ms"):
        what = "when the oldest kept message_id was put in, Unix time"
        families.append(_gauge("volley_kept_ids_oldest_seconds", what, oldest_ms / 1000))
    for name, path, what in _GAUGES:
        value: Any = status
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            families.append(_gauge(name, what, value))
    return families


def _of_binds(binds: list[dict[str, Any]]) -> list[Metric]:
    up = GaugeMetricFamily("volley_binds_up", "binds that may carry messages", labels=["endpoint"])
    for endpoint in sorted({bind["endpoint"] for bind in binds}):
        up.add_metric([endpoint], sum(bind["state"] == "bound" for bind in binds if bind["endpoint"] == endpoint))
    of_bind = ["endpoint", "bind"]
    states = GaugeMetricFamily("volley_bind_state", "1: this bind is in this state", labels=[*of_bind, "state"])
    since = GaugeMetricFamily("volley_bind_since_seconds", "when that state began, Unix time", labels=of_bind)
    for bind in binds:
        states.add_metric([bind["endpoint"], str(bind["bind"]), bind["state"]], 1)
        if "since_ms" in bind:
            since.add_metric([bind["endpoint"], str(bind["bind"])], bind["since_ms"] / 1000)
    families: list[Metric] = [up, states, since]
    for name, key, what in _PER_BIND:
        counter = CounterMetricFamily(name, what, labels=["endpoint", "bind"])
        for bind in binds:
            counter.add_metric([bind["endpoint"], str(bind["bind"])], bind.get(key, 0))
        families.append(counter)
    for name, key, what in _BIND_GAUGES:
        gauge = GaugeMetricFamily(name, what, labels=["endpoint", "bind"])
        for bind in binds:
            if bind.get(key) is not None:
                gauge.add_metric([bind["endpoint"], str(bind["bind"])], bind[key])
        families.append(gauge)
    errors = CounterMetricFamily(
        "volley_bind_refusals", "answers other than ESME_ROK, by command_status", labels=["endpoint", "bind", "status"]
    )
    for bind in binds:
        of = [bind["endpoint"], str(bind["bind"])]
        for refusal in bind.get("errors", ()):
            errors.add_metric([*of, refusal["name"]], refusal["count"])
    return [*families, errors]


def _of_endpoints(endpoints: list[dict[str, Any]], reload_refused: bool) -> list[Metric]:
    rate = GaugeMetricFamily(
        "volley_endpoint_rate", "parts a second as it holds now, 0 for no limit", labels=["endpoint"]
    )
    events = CounterMetricFamily(
        "volley_endpoint_slowed", "times that the carrier found us too fast", labels=["endpoint"]
    )
    alarms = GaugeMetricFamily(
        "volley_alarm", "1 while something needs a person", labels=["endpoint", "object", "code"]
    )
    for one in endpoints:
        rate.add_metric([one["endpoint"]], one.get("rate_now", 0))
        events.add_metric([one["endpoint"]], one.get("flow", {}).get("events", 0))
        for alarm in one.get("alarms", ()):
            alarms.add_metric([one["endpoint"], alarm["object"], alarm["code"]], 1)
    if reload_refused:
        alarms.add_metric(["", "settings", "reload_refused"], 1)
    return [rate, events, alarms]


def _of_store(counts: StoreCounts | None) -> list[Metric]:
    families: list[Metric] = [_gauge("volley_store_readable", "1 when the store can be read", int(counts is not None))]
    if counts is None:
        return families
    campaigns = GaugeMetricFamily("volley_campaigns", "campaigns by state", labels=["state"])
    for campaign_state in CampaignState:
        campaigns.add_metric([campaign_state.value], counts.campaigns[campaign_state.value])
    recipients = GaugeMetricFamily("volley_recipients", "recipients of all campaigns by state", labels=["state"])
    for state in State:
        recipients.add_metric([state.word], counts.recipients[state.word])
    return [*families, campaigns, recipients]


def _of_care(care: Care | None) -> list[Metric]:
    if care is None:
        return []
    return [
        _gauge(
            "volley_store_state", "0 room, 1 alarm, 2 full: new work is refused", (OK, ALARM, FULL).index(care.state)
        ),
        _gauge("volley_store_used_octets", "octets that rows take in the store", care.used_octets),
        _gauge("volley_store_max_octets", "store_max_octets, 0 for none", care.store_max_octets),
        _gauge("volley_disk_free_octets", "octets free on the store's disk", care.disk_free_octets),
        _gauge("volley_disk_octets", "octets of the store's disk", care.disk_octets),
        _gauge("volley_readers", "read transactions open now", care.readers),
        _gauge("volley_reader_behind_commits", "commits since the oldest of them began", care.reader_behind),
    ]


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(name, what, value=value)


_PER_BIND = (
    ("volley_bind_submits", "submits", "submit_sm handed to this bind"),
    ("volley_bind_responses", "responses", "submit_sm_resp received on this bind"),
    ("volley_bind_receipts", "receipts", "deliver_sm received on this bind"),
    ("volley_bind_timeouts", "timeouts", "submit_sm not answered in time on this bind"),
    ("volley_bind_connections", "binds", "times that this bind was bound"),
)
_BIND_GAUGES = (
    ("volley_bind_in_flight", "in_flight", "submit_sm without an answer"),
    ("volley_bind_window", "window", "submit_sm that may be without an answer"),
    ("volley_bind_submits_per_second", "submits_per_s", "submit_sm a second, just now"),
    ("volley_bind_responses_per_second", "responses_per_s", "submit_sm_resp a second, just now"),
    ("volley_bind_receipts_per_second", "receipts_per_s", "deliver_sm a second, just now"),
    ("volley_bind_response_ms_p50", "response_ms_p50", "milliseconds to an answer, half of them"),
    ("volley_bind_response_ms_p99", "response_ms_p99", "milliseconds to an answer, all but one in a hundred"),
)
_TOTALS = (
    ("volley_submits", "submits", "parts handed to a socket"),
    ("volley_accepted", "accepted", "parts answered ESME_ROK"),
    ("volley_refused", "refused", "parts refused for good"),
    ("volley_throttled", "throttled", "parts answered ESME_RTHROTTLED or ESME_RMSGQFUL"),
    ("volley_retried", "retried", "parts sent again"),
    ("volley_released", "released", "claims given back that no socket had taken"),
    ("volley_uncertain", "uncertain", "parts whose answer was lost"),
    ("volley_receipts", "receipts", "receipts that met their message"),
    ("volley_receipts_repeated", "receipts_repeated", "receipts that said nothing new"),
)
_GAUGES = (
    ("volley_in_flight", "in_flight", "parts handed to a socket and unanswered"),
    ("volley_submits_per_second", "rates.submits_per_s", "parts a second, just now"),
    ("volley_accepted_per_second", "rates.accepted_per_s", "parts answered ESME_ROK a second, just now"),
    ("volley_receipts_per_second", "rates.receipts_per_s", "receipts a second, just now"),
    ("volley_claim_credit", "claim_credit", "parts that may be claimed and unsettled at once"),
    ("volley_claimed_open", "claimed_open", "parts claimed and unsettled"),
    ("volley_uncertain_parts", "uncertain_parts", "parts held as uncertain now"),
    ("volley_held_receipts", "held_receipts", "receipts whose message is not known yet"),
    ("volley_kept_ids", "kept_ids.ids", "message_ids that can be looked up after their log is gone"),
    ("volley_kept_ids_segments", "kept_ids.segments", "segments of kept message_ids"),
    ("volley_kept_ids_octets", "kept_ids.octets", "octets that kept message_ids take in the store"),
    ("volley_kept_ids_days", "kept_ids.days", "days that a message_id is kept, its log's included, 0: they are not"),
    ("volley_commit_ms_p50", "writer.commit_ms_p50", "median of the last commits, ms"),
    ("volley_commit_ms_p99", "writer.commit_ms_p99", "99th percentile of the last commits, ms"),
    ("volley_dispatcher_anon_mb", "anon_mb", "the dispatcher's anonymous memory (RssAnon), MB"),
    ("volley_store_octets", "store_octets", "octets that the store takes of its file"),
    (
        "volley_stale_readers_cleared",
        "care.stale_readers",
        "slots of dead readers cleared since the dispatcher's start",
    ),
    ("volley_dispatcher_uptime_seconds", "uptime_s", "seconds since the dispatcher's start"),
)
