"""A start by everybody's own clock: when it comes due, what each number waits for, and what does not go with it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.campaign import create_campaign, load
from dispatcher.campaigns.clone import clone_campaign
from dispatcher.campaigns.due import Due, due_before, start_due
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import freeze_row, preview_campaign
from dispatcher.control.commands import CloneCampaign, CreateCampaign, PreviewCampaign, StartCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id
from dispatcher.store import audit
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

HOUR_MS = 3_600_000


def at_ms(text: str, zone: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1_000)


@pytest.fixture
def store(store):
    new_shop(store)  # its zone is Europe/Berlin; NOW_MS is 2026-09-21 16:13:20 there
    new_member(store)
    return store


def scheduled(store, **schedule):
    command = CreateCampaign(title="Spring", text="Hi", sender="SHOP", schedule={"zone": "recipient", **schedule})
    campaign = parse_public_id("cmp", do(store, create_campaign, command)["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    return campaign, do(store, start_campaign, StartCampaign(campaign=campaign, token=token))


def begun(store, campaign: int, now_ms: int):
    with store.begin_write() as view:
        due, _ = due_before(view, now_ms)
        assert [one.campaign for one in due] == [campaign]
        frozen = freeze_row(view, 1, load(view, 1, campaign), now_ms)
        changes, run = start_due(view, due[0], frozen, now_ms)
        view.apply(changes)
        return run, load(view, 1, run)


def test_it_starts_when_the_first_clock_of_the_world_shows_the_time(store):
    campaign, shown = scheduled(store, at="2026-09-25T09:00")
    assert shown["due_at"] == "2026-09-24T19:00:00.000Z", "09:00 at UTC+14"
    due_ms = at_ms("2026-09-25T09:00", "Pacific/Kiritimati")
    run, row = begun(store, campaign, due_ms)
    assert (run, row["state"], row["local_at"]) == (campaign, "running", "2026-09-25T09:00:00")
    for zone in ("Asia/Shanghai", "Europe/Berlin", "America/Los_Angeles"):
        assert schedules.recipient_ms(row["local_at"], ZoneInfo(zone)) == at_ms("2026-09-25T09:00", zone)
    with store.snapshot() as view:
        ((_, entry), *_), _ = audit.newest_first(view, command="campaign.due")
    assert (entry["actor"], entry["edits"][0]["after"]["state"]) == ("schedule", "running")


def test_a_time_that_some_clocks_have_passed_and_the_tenants_has_not_starts_at_once(store):
    campaign, shown = scheduled(store, at="2026-09-21T18:00")
    assert shown["due_at"] == datetime.fromtimestamp(NOW_MS / 1_000, UTC).isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )
    _, row = begun(store, campaign, NOW_MS + 1)
    assert (row["state"], row["local_at"]) == ("running", "2026-09-21T18:00:00")


def test_each_repetition_has_its_own_local_time(store):
    campaign, _ = scheduled(store, at="2026-09-25T09:00", repeat="FREQ=DAILY")
    first_ms = at_ms("2026-09-25T09:00", "Pacific/Kiritimati")
    run, row = begun(store, campaign, first_ms)
    assert (run != campaign, row["local_at"]) == (True, "2026-09-25T09:00:00")
    run, row = begun(store, campaign, first_ms + 24 * HOUR_MS)
    assert row["local_at"] == "2026-09-26T09:00:00"


def test_the_first_repetition_keeps_its_hour_where_some_clocks_have_passed_it(store):
    campaign, _ = scheduled(store, at="2026-09-21T18:00", repeat="FREQ=DAILY")  # 06:13 of the next day in Kiritimati
    _, row = begun(store, campaign, NOW_MS + 1)
    assert row["local_at"] == "2026-09-21T18:00:00"
    _, row = begun(store, campaign, at_ms("2026-09-22T18:00", "Pacific/Kiritimati"))
    assert row["local_at"] == "2026-09-22T18:00:00"


def test_a_preview_counts_those_whose_clock_is_waited_for(store):
    schedule = {"zone": "recipient", "at": "2026-09-21T18:00"}
    command = CreateCampaign(title="Spring", text="Hi", sender="SHOP", schedule=schedule)
    campaign = parse_public_id("cmp", do(store, create_campaign, command)["id"])
    seen = do(store, preview_campaign, PreviewCampaign(campaign=campaign))
    opens = datetime.fromtimestamp(at_ms("2026-09-21T18:00", "Europe/Berlin") / 1_000, UTC)
    opens_at = opens.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert (seen["will_send"], seen["waiting"]) == (1, 1)
    assert seen["waiting_until"] == [{"at": opens_at, "recipients": 1}]
    assert (seen["eta"]["start"], seen["eta"]["limit"]) == (opens_at, "quiet")
    assert seen["warnings"] == [f"1 member waits for their own clock to show the time, the first until {opens_at}."]


def test_a_clone_leaves_everybodys_own_clock_out_with_the_time(store):
    campaign, _ = scheduled(store, at="2026-09-25T09:00")
    assert do(store, clone_campaign, CloneCampaign(campaign=campaign))["schedule"] is None
    campaign, _ = scheduled(store, at="2026-09-25T09:00", spread_over_s=60)
    copied = do(store, clone_campaign, CloneCampaign(campaign=campaign))["schedule"]
    assert (copied["zone"], copied["at"], copied["spread_over_s"]) == ("tenant", None, 60)


def test_an_hour_that_a_zone_leaves_out_comes_an_hour_later_there():
    assert schedules.recipient_ms("2026-03-29T02:30", ZoneInfo("Europe/Berlin")) == at_ms(
        "2026-03-29T03:30", "Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({}, "needs `at`"),
        ({"at": "2026-09-25T09:00Z"}, "leave Z or the offset out"),
        ({"at": "2026-09-25T09:00+02:00"}, "leave Z or the offset out"),
        ({"at": "2026-09-25T09:00", "window": {"from": "09:00", "to": "20:00"}}, "quiet calendar"),
        ({"at": "2026-09-21T16:00"}, "is past"),
        ({"at": "soon"}, "a time such as"),
    ],
)
def test_what_does_not_go_with_it_is_refused(store, schedule, said):
    command = CreateCampaign(title="x", text="Hi", schedule={"zone": "recipient", **schedule})
    refusal = refused(store, create_campaign, command)
    assert isinstance(refusal, CommandRefused)
    assert (refusal.status, said in refusal.detail) == (422, True), refusal.detail
    assert Due(1, 1, 1, 1).winner is False
