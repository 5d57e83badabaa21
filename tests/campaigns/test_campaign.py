"""What may be written in a draft, which move leads where, and what start asks of a preview."""

import itertools

import pytest

from dispatcher.campaigns.campaign import (
    PREVIEWED,
    campaign_json,
    create_campaign,
    delete_campaign,
    edit_campaign,
    list_campaigns,
    load,
    mark,
    mark_done,
)
from dispatcher.campaigns.life import cancel_campaign, pause_campaign, resume_campaign, start_campaign
from dispatcher.campaigns.preview import TOKEN_LIVES_MS, preview_campaign
from dispatcher.campaigns.states import HISTORY_MAX, OFFERED, TRANSITIONS
from dispatcher.control.commands import (
    CancelCampaign,
    CreateCampaign,
    DeleteCampaign,
    EditCampaign,
    PauseCampaign,
    PreviewCampaign,
    ResumeCampaign,
    StartCampaign,
)
from dispatcher.errors import CommandRefused, WrongState
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import CampaignState
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

COMMANDS = {
    "pause": (pause_campaign, PauseCampaign),
    "resume": (resume_campaign, ResumeCampaign),
    "cancel": (cancel_campaign, CancelCampaign),
}


@pytest.fixture
def shop(store):
    new_shop(store)
    for i in range(3):
        new_member(store, 4915100000001 + i, name=f"Ann {i}")
    return store


def drafted(store, **parts) -> int:
    parts = {"title": "Spring", "text": "Hi {name|friend}", "sender": "SHOP", **parts}
    return parse_public_id("cmp", do(store, create_campaign, CreateCampaign(**parts))["id"])


def previewed(store, campaign: int) -> str:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]


def started(store, **parts) -> int:
    campaign = drafted(store, **parts)
    do(store, start_campaign, StartCampaign(campaign=campaign, token=previewed(store, campaign)))
    return campaign


def row_of(store, campaign: int, tenant: int = 1):
    with store.snapshot() as view:
        return load(view, tenant, campaign)


def moved(store, campaign: int, state: CampaignState, **fields) -> None:
    """By the daemon's way, through the states between."""
    with store.begin_write() as view:
        view.apply(mark(view, 1, campaign, state, NOW_MS, "dispatcher", **fields))


def at_state(store, state: CampaignState) -> int:
    """A campaign brought to `state` by the table's own moves."""
    paths = {CampaignState.DRAFT: []}
    while state not in paths:
        for have, words in TRANSITIONS.items():
            for to in filter(None, words.values()):
                if have in paths and to not in paths:
                    paths[to] = [*paths[have], to]
    campaign = drafted(store)
    for step in paths[state]:
        moved(store, campaign, step)
    return campaign


def test_a_draft_has_every_default_and_an_id_that_sorts_by_creation(shop):
    reply = do(shop, create_campaign, CreateCampaign(title="Spring"))
    assert {
        "state": "draft",
        "version": 1,
        "expr": "everyone",
        "max_parts": 3,
        "receipts": True,
    }.items() <= reply.items()
    assert reply["can"] == ["edit", "preview", "delete", "submit", "start"]
    assert reply["created_at"] == "2026-09-21T14:13:20.000Z"
    assert do(shop, create_campaign, CreateCampaign(title="Summer"))["id"] > reply["id"]


def test_every_part_that_is_wrong_is_named_at_once(shop):
    wrong = CreateCampaign(
        title="x" * 201,
        purpose="spam",
        max_parts=0,
        validity_s=5,
        sender=" a",
        receipts=1,  # type: ignore[arg-type]
    )
    refusal = refused(shop, create_campaign, wrong)
    assert (refusal.status, refusal.code) == (422, "invalid_campaign")
    assert {problem["pointer"][1:] for problem in refusal.errors} == {
        "title", "purpose", "max_parts", "validity_s", "sender", "receipts",
    }  # fmt: skip


@pytest.mark.parametrize("parts", [{"title": "\ud800"}, {"text": "a\ud800"}, {"expr": None}, {"max_parts": True}])
def test_what_cannot_be_stored_is_refused(shop, parts):
    assert refused(shop, create_campaign, CreateCampaign(**{"title": "x", **parts})).code == "invalid_campaign"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"text": "Hi {nmae}"}, "unknown_field"),
        ({"text": "Hi {name.x}"}, "template_syntax"),
        ({"text": "Hi {name!r}"}, "template_syntax"),
        ({"expr": "tier = "}, "segment_syntax"),
        ({"text": "x" * 161, "max_parts": 1}, "text_too_long"),
        ({"text": "日" * 68 + "{name}" + "日" * 67, "max_parts": 2}, "text_too_long"),
    ],
)
def test_a_wrong_text_or_segment_is_refused_when_it_is_written(shop, parts, code):
    for handler, command in (
        (create_campaign, CreateCampaign(title="x", **parts)),
        (edit_campaign, EditCampaign(campaign=drafted(shop), changes=parts)),
    ):
        refusal = refused(shop, handler, command)
        assert (refusal.status, refusal.code) == (422, code)
        assert refusal.errors[0]["pointer"] == f"/{next(iter(parts))}"


def test_literals_that_fill_the_last_part_are_taken(shop):
    assert row_of(shop, drafted(shop, text="x" * 160, max_parts=1))["text"] == "x" * 160


def test_text_is_kept_in_nfc_and_the_segment_also_in_its_canonical_form(shop):
    row = row_of(shop, drafted(shop, text="Cafe\u0301", expr="tier   = 'gold'  and  visits>3".replace("'", '"')))
    assert row["text"] == "Café"
    assert row["canonical"] == 'tier = "gold" and visits > 3'


def test_an_edit_raises_the_version_and_one_that_changes_nothing_does_not(shop):
    campaign = drafted(shop)
    assert do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May"}))["version"] == 2
    assert do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May"}))["version"] == 2
    assert row_of(shop, campaign)["version"] == 2


def test_an_edit_from_an_old_version_is_refused_with_412(shop):
    campaign = drafted(shop)
    do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": "May", "version": 1}))
    refusal = refused(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": "June", "version": 1}))
    assert (refusal.status, refusal.code) == (412, "version_changed")


def test_an_edit_of_something_unknown_or_inner_is_refused_with_the_nearest_name(shop):
    refusal = refused(shop, edit_campaign, EditCampaign(campaign=drafted(shop), changes={"txt": "a", "state": "done"}))
    assert [problem["pointer"] for problem in refusal.errors] == ["/txt", "/state"]
    assert refusal.extra["did_you_mean"] == "text"


def test_another_tenants_campaign_is_not_found(shop):
    other = new_shop(shop, "Other")
    campaign = drafted(shop)
    for handler, command in (
        (edit_campaign, EditCampaign(campaign=campaign, changes={})),
        (delete_campaign, DeleteCampaign(campaign=campaign)),
        (preview_campaign, PreviewCampaign(campaign=campaign)),
        (start_campaign, StartCampaign(campaign=campaign, token="x")),
        (cancel_campaign, CancelCampaign(campaign=campaign)),
    ):
        assert refused(shop, handler, command, tenant=other).status == 404


def test_start_adopts_the_previewed_audience_and_a_second_start_changes_nothing(shop):
    campaign = drafted(shop)
    token = previewed(shop, campaign)
    new_member(shop, 4915100000099)
    reply = do(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert (reply["state"], reply["audience"]) == ("running", 3)
    assert reply["started_at"] is not None
    before = row_of(shop, campaign)
    again = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert (again.status, again.code, row_of(shop, campaign)) == (409, "already_started", before)


def test_start_without_a_preview_or_with_another_token_is_a_conflict(shop):
    campaign = drafted(shop)
    assert "no preview" in refused(shop, start_campaign, StartCampaign(campaign=campaign, token="é")).detail
    old = previewed(shop, campaign)
    previewed(shop, campaign)
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=old))
    assert (refusal.status, refusal.code) == (409, "state_conflict")


def test_a_token_ends_after_a_day(shop):
    campaign = drafted(shop)
    command = StartCampaign(campaign=campaign, token=previewed(shop, campaign))
    with pytest.raises(CommandRefused) as caught:
        do(shop, start_campaign, command, at_ms=NOW_MS + TOKEN_LIVES_MS + 1)
    assert caught.value.extra == {"ended": True}
    assert do(shop, start_campaign, command, at_ms=NOW_MS + TOKEN_LIVES_MS)["state"] == "running"


CHANGED = {
    "text": "Bye", "expr": "points >= 0", "sender": "OTHER", "purpose": "care", "max_parts": 2, "validity_s": 600,
    "receipts": False, "schedule": {"spread_over_s": 60}, "holdout": {"size": 1}, "signature": "Shop",
    "budget_micros": 5, "caps": [{"max": 1, "within_s": 60}], "rate": 9, "options": {"flash": True},
    "arms": [{"name": "A", "share": 50, "text": "Hi"}, {"name": "B", "share": 50, "text": "Bye"}],
}  # fmt: skip


@pytest.mark.parametrize("part", CHANGED)
def test_start_after_an_edit_says_what_changed(shop, part):
    campaign = drafted(shop)
    token = previewed(shop, campaign)
    edited = do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={part: CHANGED[part]}))
    assert edited["audience"] == 0
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=token))
    assert refusal.status == 409
    assert refusal.extra["changed"] == (["expr", "canonical"] if part == "expr" else [part])


def test_start_after_an_edit_and_back_again_is_as_previewed(shop):
    campaign = drafted(shop)
    token = previewed(shop, campaign)
    for title, sender in (("May", "OTHER"), ("May", "SHOP")):
        do(shop, edit_campaign, EditCampaign(campaign=campaign, changes={"title": title, "sender": sender}))
    assert do(shop, start_campaign, StartCampaign(campaign=campaign, token=token))["audience"] == 3
    elsewhere = {"canonical", "winner", "stratify", "coupon_pool"}  # test_arms.py, test_coupon_pool.py
    assert set(CHANGED) | elsewhere == set(PREVIEWED)


def test_start_for_nobody_is_refused(shop):
    campaign = drafted(shop, expr='tier = "gold"')
    refusal = refused(shop, start_campaign, StartCampaign(campaign=campaign, token=previewed(shop, campaign)))
    assert (refusal.status, refusal.code) == (422, "no_recipients")


@pytest.mark.parametrize(("state", "word"), list(itertools.product(CampaignState, COMMANDS)))
def test_every_command_in_every_state_goes_by_the_table(shop, state, word):
    campaign = at_state(shop, state)
    handler, command = COMMANDS[word]
    to = TRANSITIONS[state].get(word)
    if to is None and {"pause": "paused", "resume": "running", "cancel": "cancelled"}[word] == state:
        before = row_of(shop, campaign)
        assert do(shop, handler, command(campaign=campaign))["state"] == state
        assert row_of(shop, campaign) == before
    elif to is None:
        refusal = refused(shop, handler, command(campaign=campaign))
        assert (refusal.status, refusal.code) == (409, "state_conflict")
        assert refusal.extra == {"state": state.value, "can": [word for word in TRANSITIONS[state] if word in OFFERED]}
    else:
        reply = do(shop, handler, command(campaign=campaign))
        assert (reply["state"], reply["history"][-1]["actor"]) == (to, "test")
        assert (reply["finished_at"] is None) == (to not in (CampaignState.DONE, CampaignState.CANCELLED))


@pytest.mark.parametrize(("state", "to"), list(itertools.permutations(CampaignState, 2)))
def test_the_daemon_moves_a_campaign_only_along_the_table(shop, state, to):
    campaign = at_state(shop, state)
    if to in TRANSITIONS[state].values():
        moved(shop, campaign, to, log_base=7)
        assert (row_of(shop, campaign)["state"], row_of(shop, campaign)["log_base"]) == (to, 7)
    else:
        with pytest.raises(WrongState):
            moved(shop, campaign, to)


@pytest.mark.parametrize("state", CampaignState)
def test_what_has_started_is_not_edited_previewed_or_deleted(shop, state):
    campaign = at_state(shop, state)
    for word, handler, command in (
        ("preview", preview_campaign, PreviewCampaign(campaign=campaign)),
        ("edit", edit_campaign, EditCampaign(campaign=campaign, changes={"title": "x"})),
        ("delete", delete_campaign, DeleteCampaign(campaign=campaign)),
    ):
        if word in TRANSITIONS[state]:
            after = do(shop, handler, command)
            assert after.get("state", "draft") == "draft", "an edit falls back to the draft"
            break
        assert refused(shop, handler, command).status == 409


def test_marking_the_same_state_sets_fields_and_repeats_change_nothing(shop):
    campaign = started(shop)
    moved(shop, campaign, CampaignState.RUNNING, log_base=42)
    after = row_of(shop, campaign)
    moved(shop, campaign, CampaignState.RUNNING, log_base=42)
    assert after["log_base"] == 42
    assert row_of(shop, campaign) == after


def test_a_done_campaign_has_its_end_and_its_history(shop):
    campaign = started(shop)
    moved(shop, campaign, CampaignState.FINISHING)
    with shop.begin_write() as view:
        view.apply(mark_done(view, 1, campaign, NOW_MS + 5))
    row = row_of(shop, campaign)
    assert row["finished_ms"] == NOW_MS + 5
    assert [entry["state"] for entry in row["history"]] == ["draft", "running", "finishing", "done"]


def test_a_thousand_pauses_do_not_make_the_row_grow_without_end(shop):
    campaign = started(shop)
    for _ in range(HISTORY_MAX // 2 + 5):
        do(shop, pause_campaign, PauseCampaign(campaign=campaign))
        do(shop, resume_campaign, ResumeCampaign(campaign=campaign))
    assert len(row_of(shop, campaign)["history"]) == HISTORY_MAX


def test_deleting_a_draft_leaves_nothing_of_it(shop):
    campaign = drafted(shop)
    previewed(shop, campaign)
    assert do(shop, delete_campaign, DeleteCampaign(campaign=campaign))["deleted"]
    with shop.snapshot() as view:
        assert (view.count("campaigns"), view.count("bitmaps")) == (0, 0)


def test_campaigns_are_listed_newest_first_page_by_page(shop):
    made = [drafted(shop) for _ in range(5)][::-1]
    with shop.snapshot() as view:
        first = list_campaigns(view, 1, None, 3)
        rest = list_campaigns(view, 1, first[-1][0], 3)
        assert [campaign for campaign, _ in first + rest] == made
        assert list_campaigns(view, 2, None, 3) == []
        assert campaign_json(*first[0])["title"] == "Spring"
