"""Reports: the compiled sums against their meaning, funnel, errors by endpoint, percentiles, days that change."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.apps.reports import _report as kernel
from dispatcher.apps.reports.campaign import DELAYS, report
from dispatcher.apps.reports.days import days
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.price import set_prices
from dispatcher.control.commands import CreateCampaign, PreviewCampaign, SetPrices, StartCampaign
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, State
from dispatcher.store.endpoints import number_endpoints
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, claim, log, log_begins, record
from tests.coupons.tills import code, new_pool, redeemed, undone, voided
from tests.coupons.tills import sent_with as with_codes
from tests.fakes.shop import NOW_MS, do, new_member, new_shop
from tests.reference import report as reference
from tests.reference.report import One

BEGIN = 1_000_000
DAY_MS = 86_400_000

people = st.lists(
    st.builds(
        One,
        st.sampled_from([0, 1, 1, 1, 20]),
        st.sampled_from([1, 3, 4, 4, 5, 6, 9]),
        st.sampled_from([0, 0, 8, 11, 1 << 24]),
        st.integers(0, 3),
        st.integers(BEGIN, BEGIN + 9_000),
        st.one_of(st.just(0), st.integers(BEGIN, BEGIN + 200_000)),
    ),
    max_size=60,
)


def arrays(people: list[One], *names: str) -> list[bytes]:
    width = {"decision": 1, "state": 1, "parts": 1}
    return [b"".join(getattr(one, name).to_bytes(width.get(name, 4), "little") for one in people) for name in names]


@settings(max_examples=100, deadline=None)
@given(
    people=people, bucket_s=st.sampled_from([1, 60, 3600]), buckets=st.integers(1, 50), since=st.integers(0, BEGIN * 2)
)
def test_compiled_and_reference_add_up_alike(people, bucket_s, buckets, since):
    five = arrays(people, "decision", "state", "error", "submit_s", "final_s")
    assert kernel.span(five[0], five[3], five[4]) == reference.span(people)
    line = memoryview(bytearray(12 * buckets)).cast("I", (buckets, 3))
    delays = array("Q", bytes(8 * DELAYS))
    errors = memoryview(bytearray(16 * 1024)).cast("Q", (1024, 2))
    changed = kernel.tally(*five, BEGIN, bucket_s, line, delays, errors, since)
    found = {(key >> 32 & 15, key & 0xFFFFFFFF): many for key, many in errors.tolist() if key}
    assert (line.tolist(), Counter({at: n for at, n in enumerate(delays) if n}), Counter(found), changed) == (
        reference.tally(people, BEGIN, bucket_s, buckets, DELAYS, since)
    )
    counts = array("Q", bytes(8 * 19))
    five = arrays(people, "decision", "state", "parts", "submit_s", "final_s")
    last = kernel.day(*five, BEGIN + 500, BEGIN + 8_000, since, counts)
    assert (list(counts), last) == reference.day(people, BEGIN + 500, BEGIN + 8_000, since)


def test_more_codes_than_a_table_holds_are_counted_under_the_last_slot():
    many = [One(1, 6, code, 1, BEGIN, BEGIN) for code in range(1, 5_000)]
    errors = memoryview(bytearray(16 * 1024)).cast("Q", (1024, 2))
    line = memoryview(bytearray(12)).cast("I", (1, 3))
    five = arrays(many, "decision", "state", "error", "submit_s", "final_s")
    kernel.tally(*five, BEGIN, 1, line, array("Q", bytes(8 * DELAYS)), errors, 0)
    rows = errors.tolist()
    assert sum(count for _, count in rows) == 4_999
    assert rows[-1][0] & 0xFFFFFFFF == 0xFFFFFFFF
    assert rows[-1][1] > 3_000


@pytest.fixture
def store(store):
    new_shop(store)
    for i in range(8):
        new_member(store, 4915100000000 + i)
    with store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    return store


def started(store, at_ms: int = NOW_MS) -> int:
    shown = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP"), at_ms=at_ms)
    campaign = parse_public_id("cmp", shown["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=at_ms)
    log_begins(store, campaign)
    return campaign


def sent(store, campaign: int, at_ms: int = NOW_MS) -> None:
    log(store, campaign, at_ms, claim(0, [1, 1, 1, 1, 1, 2, Decision.OPTED_OUT]))
    log(store, campaign, at_ms + 500, *(record(ACCEPTED, rank, message_id=b"x") for rank in range(4)))
    log(store, campaign, at_ms + 600, record(REFUSED, 4, status=0x0B))
    for delay, rank in ((2_000, 0), (3_000, 1), (100_000, 2)):
        log(store, campaign, at_ms + delay, record(RECEIPT, rank, state=State.DELIVERED))
    log(store, campaign, at_ms + 5_000, record(RECEIPT, 3, state=State.FAILED, status=27))


def test_a_report_goes_from_planned_to_replied_and_names_the_errors(store):
    campaign = started(store)
    sent(store, campaign)
    with store.snapshot() as view:
        found = report(view, 1, campaign, NOW_MS + 200_000, bucket_s=10, since_ms=NOW_MS + 50_000)
        assert report(view, 2, campaign, NOW_MS) is None
    assert [(step["step"], step["count"]) for step in found["funnel"]] == [
        ("planned", 8), ("sent", 6), ("accepted", 4), ("delivered", 3), ("replied", 0),
    ]  # fmt: skip
    assert (found["unsent"], found["skipped"], found["parts"]) == (1, {"opted_out": 1}, {"sent": 7, "accepted": 4})
    assert found["errors"] == [
        {"state": "failed", "error": 0x0B, "recipients": 1}, {"state": "failed", "error": 27, "recipients": 1},
    ]  # fmt: skip
    assert found["delivery_s"] == {"count": 3, "p50": 3, "p90": 100, "p95": 100, "p99": 100}
    assert found["line"]["points"] == [
        {"at": "2026-09-21T14:13:20.000Z", "sent": 6, "delivered": 2, "failed": 2},
        {"at": "2026-09-21T14:15:00.000Z", "sent": 0, "delivered": 1, "failed": 0},
    ]
    assert found["changed_since"] == {"since": "2026-09-21T14:14:10.000Z", "recipients": 1}
    assert found["endpoints"]["complete"]
    assert {(one["what"], one["state"], one["error"]): one["parts"] for one in found["endpoints"]["data"]} == {
        ("accepted", None, None): 4, ("refused", None, 0x0B): 1,
        ("receipt", "delivered", None): 3, ("receipt", "failed", 27): 1,
    }  # fmt: skip
    assert {one["endpoint"] for one in found["endpoints"]["data"]} == {"main"}


def test_a_report_of_a_campaign_with_coupons_ends_with_what_was_redeemed_and_what_one_cost(store):
    do(store, set_prices, SetPrices(prices={"": 30_000}))
    pool = new_pool(store)
    campaign = with_codes(store, pool, "Mail", [])
    sent(store, campaign)
    with store.snapshot() as view:
        none = report(view, 1, campaign, NOW_MS + 200_000)
    assert (none["funnel"][-1], none["cost"]["per_redemption_micros"]) == (
        {"step": "redeemed", "count": 0, "of_before": 0.0}, None,
    )  # fmt: skip
    for member_no in (0, 3):
        redeemed(store, code(store, pool, member_no), at_ms=NOW_MS + 100_000)
    with store.snapshot() as view:
        found = report(view, 1, campaign, NOW_MS + 200_000)
    assert found["funnel"][-1] == {"step": "redeemed", "count": 2, "of_before": round(2 / 3, 6)}
    assert found["cost"]["per_redemption_micros"] == found["cost"]["micros"] / 2 > 0


def test_a_day_says_how_many_coupons_were_redeemed_on_it_that_stand(store):
    pool = new_pool(store)
    for member_no in range(3):
        redeemed(store, code(store, pool, member_no), at_ms=NOW_MS + member_no // 2 * DAY_MS)
    voided(store, code(store, pool, 3))
    undone(store, code(store, pool, 0), at_ms=NOW_MS + DAY_MS)
    with store.snapshot() as view:
        told = days(view, 1, date(2026, 9, 20), date(2026, 9, 22), NOW_MS + DAY_MS)
    assert [day["redeemed"] for day in told] == [0, 1, 1]


def test_a_draft_has_a_report_without_figures(store):
    shown = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP"))
    with store.snapshot() as view:
        found = report(view, 1, parse_public_id("cmp", shown["id"]), NOW_MS)
    assert (found["sent"], found["line"]["points"], found["delivery_s"]["p50"]) == (0, [], None)


def test_a_late_receipt_changes_yesterday_and_yesterday_says_so(store):
    campaign = started(store)
    sent(store, campaign)
    today = date(2026, 9, 21)
    with store.snapshot() as view:
        (before,) = days(view, 1, today, today, NOW_MS + 200_000)
    assert (before["sent"], before["parts"], before["late"], before["over"]) == (6, 7, 0, False)
    assert before["states"] == {"claimed": 1, "delivered": 3, "failed": 2}
    assert (before["zone"], before["purposes"]) == ("Europe/Berlin", {"marketing": 6})
    log(store, campaign, NOW_MS + DAY_MS, *(record(RECEIPT, 5, part=p, state=State.DELIVERED) for p in (0, 1)))
    with store.snapshot() as view:
        yesterday, now = days(view, 1, today, date(2026, 9, 22), NOW_MS + DAY_MS + 1, since_ms=NOW_MS + 200_000)
    assert (yesterday["states"], yesterday["late"], yesterday["over"]) == ({"delivered": 4, "failed": 2}, 1, True)
    assert yesterday["changed_since"]["recipients"] == 1
    assert yesterday["last_change_at"] == "2026-09-22T14:13:20.000Z"
    assert (now["sent"], now["campaigns"], now["last_change_at"]) == (0, [], None)
    assert [one["title"] for one in yesterday["campaigns"]] == ["Spring"]
