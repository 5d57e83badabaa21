"""A tenant's zone and region changed: what keeps the old one, what follows, and that the answer says so."""

from __future__ import annotations

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.tenant_uses import NAMED_MAX, edit_tenant
from dispatcher.control.commands import (
    CreateCampaign,
    EditCampaign,
    EditTenant,
    Envelope,
    OpenImport,
    PreviewCampaign,
    StartCampaign,
    UpsertMember,
)
from dispatcher.daemon.handlers import execute
from dispatcher.members.importer import open_import
from dispatcher.members.member import member_json, upsert_member
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store import audit
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

AT = "2026-12-01T09:00"
NINE_IN_BERLIN_MS, NINE_IN_SHANGHAI_MS = 1_796_112_000_000, 1_796_086_800_000


@pytest.fixture
def shop(store):
    new_shop(store)  # Europe/Berlin, DE
    new_member(store)
    return store


def moved(store, **changes: str) -> list[str]:
    return do(store, edit_tenant, EditTenant(changes=changes))["warnings"]


def drafted(store, schedule: dict | None, **parts: str) -> int:
    command = CreateCampaign(**{"title": "Spring", "text": "Hi", "schedule": schedule, **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def previewed(store, campaign: int) -> dict:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))


def scheduled(store, schedule: dict) -> int:
    campaign = drafted(store, schedule)
    do(store, start_campaign, StartCampaign(campaign=campaign, token=previewed(store, campaign)["token"]))
    return campaign


def due_ms(store, campaign: int) -> int:
    with store.snapshot() as view:
        return load(view, 1, campaign)["due_ms"]


def test_what_is_scheduled_keeps_its_instant_and_is_named(shop):
    campaign = scheduled(shop, {"at": AT})
    named, follows = moved(shop, zone="Asia/Shanghai")
    assert public_id("cmp", campaign) in named
    assert "'Spring', scheduled, by Europe/Berlin, due 2026-12-01T08:00:00.000Z" in named
    assert "Asia/Shanghai" in follows
    assert due_ms(shop, campaign) == NINE_IN_BERLIN_MS


def test_a_draft_is_previewed_and_started_by_the_zone_its_schedule_was_written_in(shop):
    campaign = drafted(shop, {"at": AT})
    assert public_id("cmp", campaign) in moved(shop, zone="Asia/Shanghai")[0]
    seen = previewed(shop, campaign)
    assert seen["schedule"] == "at 2026-12-01 09:00:00 Europe/Berlin"
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=seen["token"]))
    assert due_ms(shop, campaign) == NINE_IN_BERLIN_MS


def test_the_same_schedule_written_anew_takes_the_new_zone_and_asks_for_a_new_preview(shop):
    campaign = drafted(shop, {"at": AT})
    before = previewed(shop, campaign)["token"]
    moved(shop, zone="Asia/Shanghai")
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"schedule": {"at": AT}}))
    assert refused(shop, start_campaign, StartCampaign(campaign=campaign, token=before)).status == 409
    do(shop, start_campaign, StartCampaign(campaign=campaign, token=previewed(shop, campaign)["token"]))
    assert due_ms(shop, campaign) == NINE_IN_SHANGHAI_MS
    assert len(moved(shop, zone="Europe/Berlin")) == 2 and len(moved(shop, zone="Asia/Shanghai")) == 1


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        {"at": f"{AT}Z"},
        {"at": AT, "zone": "Europe/Paris"},
        {"at": AT, "zone": "recipient"},
        {"spread_over_s": 60},
    ],
)
def test_what_does_not_read_the_tenants_zone_is_not_named(shop, schedule):
    drafted(shop, schedule)
    assert len(moved(shop, zone="Asia/Shanghai")) == 1


@pytest.mark.parametrize(
    "schedule",
    [{"window": {"from": "09:00", "to": "20:00"}}, {"at": f"{AT}Z", "repeat": "FREQ=DAILY"}, {"at": AT}],
)
def test_windows_repetitions_and_local_starts_are_named(shop, schedule):
    drafted(shop, schedule)
    assert "by Europe/Berlin" in moved(shop, zone="Asia/Shanghai")[0]


def test_of_many_campaigns_the_newest_are_named_and_the_rest_counted(shop):
    for number in range(NAMED_MAX + 3):
        drafted(shop, {"at": AT}, title=f"No {number}")
    named = moved(shop, zone="Asia/Shanghai")[0]
    assert f"'No {NAMED_MAX + 2}'" in named and "'No 2'" not in named and named.endswith(" and 3 more")


def test_a_region_reads_numbers_from_now_on_and_names_imports_under_way(shop):
    made = do(shop, open_import, OpenImport(import_id=7, filename="a.csv", format="csv"))
    reads, under_way = moved(shop, region="FR")
    assert "read as of FR" in reads and made["id"] in under_way and "goes on with region DE" in under_way
    made = do(shop, upsert_member, UpsertMember(msisdn="0612345678", values={}))
    with shop.snapshot() as view:
        assert member_json(view, 1, made["member_no"])["msisdn"] == "+33612345678"
    assert "not at all" in moved(shop, region="")[0]
    assert refused(shop, upsert_member, UpsertMember(msisdn="0612345678", values={})).status == 422


@pytest.mark.parametrize(("name", "value"), [("zone", "Mars/Olympus"), ("zone", ""), ("region", "de"), ("region", 7)])
def test_a_zone_or_region_that_there_is_not_is_refused(shop, name, value):
    assert refused(shop, edit_tenant, EditTenant(changes={name: value})).errors[0]["pointer"] == f"/{name}"


def test_other_changes_and_the_same_zone_again_warn_of_nothing(shop):
    drafted(shop, {"at": AT})
    assert moved(shop, title="Corner", zone="Europe/Berlin", region="DE") == []


def test_the_audit_has_the_zone_before_and_after(shop):
    envelope = Envelope(tenant=1, actor="ann", at_ms=NOW_MS)
    with shop.begin_write() as view:
        changes, _, _ = execute(view, EditTenant(changes={"zone": "Asia/Shanghai"}), envelope, NOW_MS)
        view.apply(changes)
    with shop.snapshot() as view:
        number, entry = next(iter(audit.newest_first(view, limit=1)[0]))
    (edit,) = entry["edits"]
    assert (entry["command"], entry["actor"]) == ("tenant.edit", "ann")
    assert (edit["before"]["zone"], edit["after"]["zone"]) == ("Europe/Berlin", "Asia/Shanghai"), number
