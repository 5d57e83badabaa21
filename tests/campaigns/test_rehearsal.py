"""What a rehearsal's own store holds: enough that its guards say there what they say here, and nobody else's rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.apps.messages import send_messages
from dispatcher.campaigns.arms import names_of
from dispatcher.campaigns.campaign import create_campaign, load
from dispatcher.campaigns.freeze import counted, freeze_row
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.rehearsal import Plan, copy_rows, differences, octets_of, plan, used
from dispatcher.campaigns.states import ACTIVE
from dispatcher.control.commands import CreateCampaign, EditTenant, PreviewCampaign, SendMessages, StartCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store, open_store
from dispatcher.tenants.edit import edit_tenant
from tests.campaigns.test_caps import CAPS, MEMBERS, fold, shop, started
from tests.fakes.shop import NOW_MS, do

SENT_TO = 7


@pytest.fixture
def campaign(store: Store) -> int:
    """A draft beside one that is running, and counts against a cap."""
    shop(store, CAPS[:1])
    for at_ms in (NOW_MS - 50_000, NOW_MS - 40_000):
        fold(store, started(store, at_ms), dict.fromkeys(range(SENT_TO), at_ms))
    return draft(store)


def draft(store: Store, **parts: object) -> int:
    command = CreateCampaign(title="Sale", text="Hi", sender="SHOP", **parts)  # type: ignore[arg-type]
    return parse_public_id("cmp", do(store, create_campaign, command)["id"]) or 0


def copied(store: Store, campaign: int, folder: Path) -> tuple[Plan, Store]:
    with store.snapshot() as view:
        made = plan(view, 1, campaign, NOW_MS)
        scratch = open_store(folder, write=True, create=True, sync=False)
        *_, octets = copy_rows(view, made, scratch)
        assert octets == octets_of(view, made)[1]
    return made, scratch


def test_its_guards_say_there_what_they_say_here(store: Store, campaign: int, tmp_path: Path):
    made, scratch = copied(store, campaign, tmp_path / "scratch")
    assert made.seen["skipped"] == {"frequency_cap": SENT_TO} and len(made.earlier) == 2
    with scratch, scratch.snapshot() as view:
        row = load(view, 1, campaign)
        assert row is not None
        found = counted(freeze_row(view, 1, row, NOW_MS, campaign))
    assert (found["will_send"], found["skipped"]) == (MEMBERS - SENT_TO, {"frequency_cap": SENT_TO})


def test_messages_of_the_api_are_counted_there_as_here(store: Store, campaign: int, tmp_path: Path):
    asked = {"to": f"+{4915100000001 + MEMBERS - 1}", "text": "Hi", "purpose": "marketing"}
    do(store, send_messages, SendMessages(messages=[asked] * 2), at_ms=NOW_MS - 1_000)
    made, scratch = copied(store, campaign, tmp_path / "scratch")
    assert made.seen["skipped"] == {"frequency_cap": SENT_TO + 1}
    with scratch, scratch.snapshot() as view:
        found = counted(freeze_row(view, 1, load(view, 1, campaign), NOW_MS, campaign))
    assert found["skipped"] == {"frequency_cap": SENT_TO + 1}


def test_what_runs_here_does_not_run_there_and_nothing_of_the_rest_is_there(store, campaign, tmp_path):
    made, scratch = copied(store, campaign, tmp_path / "scratch")
    with scratch, scratch.snapshot() as view:
        states = {one: load(view, 1, one)["state"] for one in (*made.earlier, campaign)}
        rows = {table: view.count(table) for table in view.tables}
    assert states[campaign] == "draft" and not {states[one] for one in made.earlier} & set(ACTIVE)
    for table in ("keys", "audit", "outcome_log", "requests", "inbound", "outbox", "segments", "optouts"):
        assert rows[table] == 0, table


def test_it_is_refused_as_a_start_would_be_and_the_campaign_stays_as_it_was(store: Store, campaign: int):
    with store.snapshot() as view:
        before = load(view, 1, campaign)
        plan(view, 1, campaign, NOW_MS)
        assert load(view, 1, campaign) == before
    do(store, edit_tenant, EditTenant(changes={"prepaid": True}))
    with store.snapshot() as view, pytest.raises(CommandRefused) as refused:
        plan(view, 1, campaign, NOW_MS)
    assert refused.value.code == "price_missing"


def test_an_approval_and_a_winner_are_not_waited_for_and_it_says_so(store: Store):
    shop(store, [])
    do(store, edit_tenant, EditTenant(changes={"approval_above": 1}))
    arms = [{"name": "A", "share": 50, "text": "Hi"}, {"name": "B", "share": 50, "text": "Ho"}]
    winner = {"by": "delivered", "test_percent": 20, "after_s": 3_600}
    campaign = draft(store, arms=arms, winner=winner, schedule={"at": "2027-06-01T09:00"})
    with store.snapshot() as view:
        made = plan(view, 1, campaign, NOW_MS)
        assert names_of(load(view, 1, campaign)) == ["A", "B"]
    assert sum(made.seen["by_arm"].values()) == made.seen["will_send"] == MEMBERS
    assert [words.split()[0] for words in made.passed_over] == ["its", "the", "somebody"]


def test_once_it_has_begun_it_is_not_rehearsed(store: Store, campaign: int):
    seen = do(store, preview_campaign, PreviewCampaign(campaign=campaign))
    do(store, start_campaign, StartCampaign(campaign=campaign, token=seen["token"]))
    with store.snapshot() as view, pytest.raises(CommandRefused, match="clone it"):
        plan(view, 1, campaign, NOW_MS)


def test_differences_are_named(store: Store, campaign: int):
    with store.snapshot() as view:
        made = plan(view, 1, campaign, NOW_MS)
        nothing = used(view, made)
    told = differences(made.seen, nothing, {"no_value": 2})
    assert f"messages: {MEMBERS - SENT_TO} previewed, 0 found" in told
    assert "skipped no_value: 0 previewed, 2 found" in told
    assert f"skipped frequency_cap: {SENT_TO} previewed, 0 found" in told
