"""What the clock does to a campaign: due, late, held, repeated, waiting for its window, spread over a time."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load
from dispatcher.campaigns.due import (
    LATE_MS,
    Due,
    cannot_start,
    due_before,
    gate_of,
    may_send,
    start_due,
    waiting_until,
)
from dispatcher.campaigns.life import approve_campaign, cancel_campaign, resume_campaign, start_campaign
from dispatcher.campaigns.preview import TOKEN_LIVES_MS, Frozen, freeze_row, preview_campaign
from dispatcher.campaigns.progress import progress
from dispatcher.campaigns.schedule import FOREVER_MS
from dispatcher.campaigns.stops import release_all, stop_all
from dispatcher.control.commands import (
    ApproveCampaign,
    CancelCampaign,
    CreateCampaign,
    EditCampaign,
    EditTenant,
    Envelope,
    PreviewCampaign,
    ReleaseAll,
    ResumeCampaign,
    StartCampaign,
    StopAll,
)
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store.verify import find_problems
from dispatcher.tenants.edit import edit_tenant
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

ZONE = ZoneInfo("Europe/Berlin")
AT = "2026-12-01T09:00"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


AT_MS = ms(AT)


@pytest.fixture
def shop(store):
    """Twenty members."""
    new_shop(store)
    for i in range(20):
        new_member(store, 4915100000001 + i, name=f"Ann {i}")
    return store


def previewed(store, campaign: int, at_ms: int = NOW_MS) -> str:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)["token"]


def drafted(store, schedule: dict[str, Any], **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Spring", "text": "Hi {name|friend}", "schedule": schedule, **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def scheduled(store, *, at: str = AT, **schedule: Any) -> int:
    campaign = drafted(store, {"at": at, **schedule})
    reply = do(store, start_campaign, StartCampaign(campaign=campaign, token=previewed(store, campaign)))
    assert reply["state"] == "scheduled"
    return campaign


def row_of(store, campaign: int) -> dict[str, Any]:
    with store.snapshot() as view:
        return load(view, 1, campaign)


def tick(store, now_ms: int) -> list[int]:
    """What the daemon does at an instant; the campaigns that run or are held by it."""
    with store.snapshot() as view:
        due, _ = due_before(view, now_ms)
    ran = []
    for one in due:
        with store.snapshot() as view:
            frozen = freeze_row(view, one.tenant, load(view, one.tenant, one.campaign), now_ms)
        with store.begin_write() as view:
            changes, run = start_due(view, one, frozen, now_ms)
            view.apply(changes)
        ran += [] if run is None else [run]
    return ran


def next_ms(store, now_ms: int) -> int:
    with store.snapshot() as view:
        return due_before(view, now_ms)[1]


def test_a_start_with_a_time_is_scheduled_and_starts_when_it_is_due(shop):
    campaign = scheduled(shop)
    row = row_of(shop, campaign)
    assert (row["due_ms"], row["audience"], row["count"], row["started_ms"]) == (AT_MS, 20, 20, None)
    with shop.snapshot() as view:
        assert list(find_problems(view)) == []
    assert next_ms(shop, NOW_MS) == AT_MS
    assert tick(shop, AT_MS - 1) == []
    assert tick(shop, AT_MS) == [campaign]
    row = row_of(shop, campaign)
    assert (row["state"], row["audience"], row["started_ms"]) == ("running", 20, AT_MS)
    assert [entry["actor"] for entry in row["history"]] == ["test", "test", "schedule"]
    assert tick(shop, AT_MS + 1) == []
    assert next_ms(shop, AT_MS) == FOREVER_MS
    with shop.snapshot() as view:
        assert list(find_problems(view)) == []


def test_who_joined_before_it_was_due_is_in_it(shop):
    campaign = scheduled(shop)
    new_member(shop, 4915100000099, name="Late")
    tick(shop, AT_MS)
    assert row_of(shop, campaign)["audience"] == 21


@pytest.mark.parametrize(("more", "state"), [(1, "running"), (2, "held")])
def test_a_count_more_than_five_percent_apart_holds_it(shop, more, state):
    campaign = scheduled(shop)
    for i in range(more):
        new_member(shop, 4915100000101 + i, name="New")
    assert tick(shop, AT_MS) == [campaign]
    row = row_of(shop, campaign)
    assert row["state"] == state
    if state == "held":
        assert row["held"] == {"expected": 20, "found": 22, "percent": 5}
        assert "22 messages were found instead of 20" in row["history"][-1]["reason"]
        with shop.snapshot() as view:
            assert list(find_problems(view)) == []
        reply = do(shop, resume_campaign, ResumeCampaign(campaign=campaign), at_ms=AT_MS + HOUR_MS)
        assert (reply["state"], reply["audience"], reply["held"]) == ("running", 22, None)
        assert row_of(shop, campaign)["started_ms"] == AT_MS + HOUR_MS


@pytest.mark.parametrize("where", ["tenant", "schedule"])
def test_how_far_a_count_may_be_apart_is_the_tenants_or_the_schedules(shop, where):
    if where == "tenant":
        do(shop, edit_tenant, EditTenant(changes={"count_change_percent": 50}))
    campaign = scheduled(shop, **({"count_change_percent": 50} if where == "schedule" else {}))
    for i in range(10):
        new_member(shop, 4915100000101 + i, name="New")
    tick(shop, AT_MS)
    assert row_of(shop, campaign)["state"] == "running"


def test_a_held_count_above_the_limit_is_approved_by_somebody_else_before_it_goes_on(shop):
    do(shop, edit_tenant, EditTenant(changes={"approval_above": 25}))
    campaign = scheduled(shop)
    for i in range(10):
        new_member(shop, 4915100000101 + i, name="New")
    tick(shop, AT_MS)
    refusal = refused(shop, resume_campaign, ResumeCampaign(campaign=campaign))
    assert (refusal.status, refusal.code) == (409, "approval_required")
    assert refused(shop, approve_campaign, ApproveCampaign(campaign=campaign)).code == "own_approval"
    with shop.begin_write() as view:
        envelope = Envelope(tenant=1, actor="dan", at_ms=AT_MS)
        changes, reply = approve_campaign(view, ApproveCampaign(campaign=campaign), envelope)
        view.apply(changes)
    assert (reply["state"], reply["approval"]["count"]) == ("held", 30)
    assert do(shop, resume_campaign, ResumeCampaign(campaign=campaign))["state"] == "running"


def test_nobody_left_to_send_to_holds_it_instead_of_ending_it_silently(shop):
    campaign = drafted(shop, {"at": AT}, expr="joined is unknown")
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=previewed(shop, campaign)))
    with shop.begin_write() as view:
        due, _ = due_before(view, AT_MS)
        changes, _ = start_due(view, due[0], Frozen(), AT_MS)
        view.apply(changes)
    assert (row_of(shop, campaign)["state"], row_of(shop, campaign)["held"]["found"]) == ("held", 0)


@pytest.mark.parametrize(
    ("if_late", "late_ms", "state"),
    [("run", DAY_MS, "running"), ("drop", LATE_MS, "running"), ("drop", LATE_MS + 1, "cancelled")],
)
def test_a_start_that_the_server_missed_runs_or_is_dropped(shop, if_late, late_ms, state):
    campaign = scheduled(shop, if_late=if_late)
    tick(shop, AT_MS + late_ms)
    row = row_of(shop, campaign)
    assert row["state"] == state
    if state == "cancelled":
        assert "if_late is drop" in row["history"][-1]["reason"]
        assert row["finished_ms"] == AT_MS + late_ms


def test_each_repetition_is_a_campaign_of_its_own_linked_to_its_series(shop):
    series = scheduled(shop, repeat="FREQ=DAILY;COUNT=3")
    first = tick(shop, AT_MS)
    assert first != [series] and len(first) == 1
    run = row_of(shop, first[0])
    assert (run["state"], run["repeat_of"], run["audience"], run["title"]) == ("running", series, 20, "Spring")
    assert (run["schedule"]["at"], run["schedule"]["repeat"]) == (None, "")
    row = row_of(shop, series)
    assert (row["state"], row["due_ms"], row["audience"]) == ("scheduled", AT_MS + DAY_MS, 20)
    assert public_id("cmp", first[0]) in row["history"][-1]["reason"]
    assert tick(shop, AT_MS + 1) == []
    second, third = tick(shop, AT_MS + DAY_MS), tick(shop, AT_MS + 2 * DAY_MS)
    assert len({*first, *second, *third}) == 3
    assert (row_of(shop, series)["state"], row_of(shop, series)["audience"]) == ("done", 0)
    with shop.snapshot() as view:
        assert list(find_problems(view)) == []


def test_of_repetitions_missed_while_the_server_was_down_only_one_runs(shop):
    series = scheduled(shop, repeat="FREQ=DAILY")
    assert len(tick(shop, AT_MS + 5 * DAY_MS + HOUR_MS)) == 1
    assert row_of(shop, series)["due_ms"] == AT_MS + 6 * DAY_MS


def test_a_repetition_that_is_late_or_for_nobody_is_passed_over(shop):
    series = scheduled(shop, repeat="FREQ=DAILY", if_late="drop")
    assert tick(shop, AT_MS + HOUR_MS) == []
    row = row_of(shop, series)
    assert (row["state"], row["due_ms"]) == ("scheduled", AT_MS + DAY_MS)
    assert "passed over" in row["history"][-1]["reason"]


def test_a_repetition_whose_count_is_apart_is_held_and_the_series_goes_on(shop):
    series = scheduled(shop, repeat="FREQ=DAILY")
    for i in range(10):
        new_member(shop, 4915100000101 + i, name="New")
    (run,) = tick(shop, AT_MS)
    assert (row_of(shop, run)["state"], row_of(shop, series)["state"]) == ("held", "scheduled")


def test_a_series_that_is_cancelled_or_edited_starts_nothing_more(shop):
    one, other = scheduled(shop, repeat="FREQ=DAILY"), scheduled(shop, repeat="FREQ=DAILY")
    do(shop, cancel_campaign, CancelCampaign(campaign=one))
    do(shop, edit_campaign, EditCampaign(campaign=other, changes={"title": "May"}))
    assert row_of(shop, other)["state"] == "draft"
    assert tick(shop, AT_MS) == []


def test_what_was_changed_between_its_freezing_and_its_commit_does_not_start(shop):
    campaign = scheduled(shop)
    with shop.snapshot() as view:
        (due,), _ = due_before(view, AT_MS)
        frozen = freeze_row(view, 1, load(view, 1, campaign), AT_MS)
    do(shop, cancel_campaign, CancelCampaign(campaign=campaign))
    with shop.begin_write() as view:
        changes, run = start_due(view, due, frozen, AT_MS)
        assert (bool(changes), run) == (False, None)
        assert not cannot_start(view, due, "x", AT_MS)


def test_what_cannot_start_any_more_goes_back_to_its_author_with_the_reason(shop):
    campaign = scheduled(shop)
    due = Due(1, campaign, AT_MS, row_of(shop, campaign)["version"])
    with shop.begin_write() as view:
        view.apply(cannot_start(view, due, "there is no field 'name'", AT_MS))
    row = row_of(shop, campaign)
    assert (row["state"], row["due_ms"]) == ("draft", None)
    assert row["history"][-1]["reason"] == "could not start: there is no field 'name'"


def test_a_stop_keeps_what_is_due_back_and_after_the_release_it_starts(shop):
    campaign = scheduled(shop)
    do(shop, stop_all, StopAll())
    assert tick(shop, AT_MS) == []
    assert next_ms(shop, NOW_MS) == FOREVER_MS
    do(shop, release_all, ReleaseAll())
    assert tick(shop, AT_MS + HOUR_MS) == [campaign]


def test_the_token_of_a_scheduled_start_does_not_end_and_still_binds_the_schedule(shop):
    campaign = drafted(shop, {"at": AT})
    token = previewed(shop, campaign)
    later = NOW_MS + TOKEN_LIVES_MS + HOUR_MS
    start = StartCampaign(campaign=campaign, token=token)
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"schedule": {"at": "2026-12-02T09:00"}}))
    with pytest.raises(CommandRefused) as caught:
        do(shop, start_campaign, start, at_ms=later)
    assert caught.value.extra == {"changed": ["schedule"]}
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"schedule": {"at": AT}}))
    assert do(shop, start_campaign, start, at_ms=later)["state"] == "scheduled"
    with pytest.raises(CommandRefused) as caught:
        do(shop, start_campaign, start, at_ms=later)
    assert caught.value.code == "already_started" and "is due at" in caught.value.detail


def test_a_draft_whose_time_went_by_is_not_previewed_or_started_but_may_be_edited(shop):
    campaign = drafted(shop, {"at": AT})
    token = previewed(shop, campaign)
    for handler, command in (
        (start_campaign, StartCampaign(campaign=campaign, token=token)),
        (preview_campaign, PreviewCampaign(campaign=campaign)),
    ):
        with pytest.raises(CommandRefused) as caught:
            do(shop, handler, command, at_ms=AT_MS)
        assert caught.value.code == "schedule_in_the_past"
    edited = do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May"}), at_ms=AT_MS)
    assert edited["title"] == "May"


def test_a_preview_says_when_it_starts_and_whether_somebody_must_approve(shop):
    do(shop, edit_tenant, EditTenant(changes={"approval_above": 5}))
    reply = do(shop, preview_campaign, PreviewCampaign(campaign=drafted(shop, {"at": AT})))
    assert (reply["schedule"], reply["approval_needed"]) == ("at 2026-12-01 09:00:00 Europe/Berlin", True)


def running(**schedule: Any) -> dict[str, Any]:
    full = {"at": None, "zone": "tenant", "window": None, "spread_over_s": 0, **schedule}
    return {"state": "running", "schedule": full, "zone": ZONE.key, "audience": 600}


DAY = {"from": "09:00", "to": "20:00", "days": ["mo", "tu", "we", "th", "fr"]}


def test_outside_its_window_a_campaign_may_not_send_and_says_until_when():
    row = running(window=DAY)
    assert may_send(row, ms("2026-12-01T09:00")) is True
    assert may_send(row, ms("2026-12-04T20:00")) == ms("2026-12-07T09:00")
    assert waiting_until(row, ms("2026-12-01T12:00")) is None
    assert waiting_until({**row, "state": "paused"}, ms("2026-12-01T21:00")) is None
    assert may_send({**row, "schedule": None}, 0) is True


def test_a_campaign_without_window_and_spread_has_no_gate():
    assert gate_of(running()) is None
    assert gate_of({"schedule": None}) is None
    assert gate_of({}) is None


def test_a_gate_opens_and_closes_with_its_window():
    gate = gate_of(running(window=DAY))
    assert gate.room(ms("2026-12-01T08:59:59")) == 0
    assert gate.opens_ms(ms("2026-12-01T08:59:59")) == ms("2026-12-01T09:00")
    assert gate.room(ms("2026-12-01T09:00")) > 1_000_000
    assert gate.room(ms("2026-12-01T20:00")) == 0
    assert gate.room(ms("2026-12-02T10:00")) > 1_000_000
    assert gate.room(ms("2026-12-01T21:00")) == 0, "a clock that was set back is believed"


def test_what_is_spread_goes_out_evenly_a_second_at_a_time_and_never_in_a_burst():
    gate = gate_of(running(spread_over_s=60))
    sent = []
    for quarter in range(4 * 60):
        room = gate.room(NOW_MS + 250 * quarter)
        gate.took(room)
        sent.append(room)
    assert sum(sent) == 600
    assert set(sent) == {0, 10}
    assert sent[:5] == [10, 0, 0, 0, 10]
    assert gate.opens_ms(NOW_MS + 250) == NOW_MS + 1_000


def test_a_spread_is_what_limits_until_something_slower_leaves_it_behind():
    gate = gate_of(running(spread_over_s=60))
    for second in range(5):
        now_ms = NOW_MS + 1_000 * second
        assert gate.holds(now_ms) == "spread", "before the second's recipients are taken"
        gate.took(gate.room(now_ms))
        assert gate.holds(now_ms) == "spread", "and after"
    assert gate.holds(NOW_MS + 10_000) == ""


def test_what_is_spread_waits_while_its_window_is_shut():
    begin = ms("2026-12-01T19:59:30")
    gate = gate_of(running(spread_over_s=60, window=DAY))
    sent = 0
    for second in range(60):
        room = gate.room(begin + 1_000 * second)
        gate.took(room)
        sent += room
    assert sent == 300, "half a minute of a minute"
    morning = ms("2026-12-02T09:00")
    assert gate.room(morning) == 10
    assert gate.room(morning + 29_000) == 300


def test_progress_shows_until_when_it_waits_and_when_it_is_due(shop):
    campaign = scheduled(shop, window=DAY)
    with shop.snapshot() as view:
        assert progress(view, 1, campaign, None, NOW_MS)["due_at"] == "2026-12-01T08:00:00.000Z"
    tick(shop, AT_MS)
    with shop.snapshot() as view:
        night = progress(view, 1, campaign, None, ms("2026-12-01T23:00"))
        assert night["waiting_until"] == "2026-12-02T08:00:00.000Z"
        assert progress(view, 1, campaign, None, ms("2026-12-01T12:00"))["waiting_until"] is None
