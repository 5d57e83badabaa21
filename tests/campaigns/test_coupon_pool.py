"""A campaign that names a coupon pool: what is refused and warned of, what its token binds, and whose code is rendered."""

from typing import Any

import pytest

from dispatcher.apps.messages import send_messages
from dispatcher.apps.proof import send_proof
from dispatcher.campaigns.campaign import campaign_json, create_campaign, edit_campaign, load
from dispatcher.campaigns.clone import clone_campaign
from dispatcher.campaigns.due import due_before, start_due
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.freeze import freeze_row
from dispatcher.campaigns.life import resume_campaign, start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.rehearsal import copy_rows, plan
from dispatcher.clock import rfc3339
from dispatcher.control import commands as c
from dispatcher.coupons.code import code_of
from dispatcher.coupons.pool import close_pool, create_pool, edit_pool, need_pool, open_pool
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import define_field
from dispatcher.records.batch import octets_of, read_rows
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store import Store, open_store
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.text.decode import decode
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

KEY = bytes(range(16))
TEXT = "Hi {name|you}, show {coupon} at the till"
HOUR_MS = 3_600_000


@pytest.fixture
def shop(store: Store) -> Store:
    """Five members."""
    new_shop(store)
    for i in range(5):
        new_member(store, 4915100000001 + i, name=f"Ann {i}")
    return store


def new_pool(store: Store, title: str = "Spring", **parts: Any) -> int:
    reply = do(store, create_pool, c.CreateCouponPool(title=title, value="5 EUR off", key=KEY, **parts))
    return parse_public_id("cpl", reply["id"]) or 0


def drafted(store: Store, **parts: Any) -> int:
    command = c.CreateCampaign(**{"title": "Sale", "text": TEXT, "sender": "SHOP", "coupon_pool": "Spring", **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"]) or 0


def previewed(store: Store, campaign: int) -> dict[str, Any]:
    return do(store, preview_campaign, c.PreviewCampaign(campaign=campaign))


def start(campaign: int, seen: dict[str, Any]) -> c.StartCampaign:
    return c.StartCampaign(campaign=campaign, token=seen["token"])


def row_of(store: Store, campaign: int) -> dict[str, Any]:
    with store.snapshot() as view:
        return load(view, 1, campaign) or {}


def claimed(store: Store, campaign: int, row: dict[str, Any] | None = None) -> list[str]:
    """The texts that a claim renders for everybody, by member."""
    with store.snapshot() as view:
        expansion = Expansion(view, 1, campaign, row or load(view, 1, campaign) or {})
        batch = expansion.next(view, 0, 100, NOW_MS)
        assert batch is not None
        return [decode(one.data_coding, octets_of(batch, one)) or "" for one in read_rows(batch)]


# ---- written


@pytest.mark.parametrize("named", ["Spring", "spring", "id"])
def test_a_pool_is_named_by_its_name_or_its_id(shop: Store, named: str):
    pool = new_pool(shop)
    campaign = drafted(shop, coupon_pool=public_id("cpl", pool) if named == "id" else named)
    row = row_of(shop, campaign)
    assert (row["coupon_pool"], campaign_json(campaign, row)["coupon_pool"]) == (pool, public_id("cpl", pool))


def test_a_pool_that_is_not_there_is_refused_with_the_nearest_name(shop: Store):
    new_pool(shop)
    error = refused(shop, create_campaign, c.CreateCampaign(title="Sale", text=TEXT, coupon_pool="Sprung"))
    assert (error.status, error.code, error.extra["did_you_mean"]) == (422, "unknown_coupon_pool", "Spring")
    assert error.errors[0]["pointer"] == "/coupon_pool"
    other = new_shop(shop, "Other")
    command = c.CreateCampaign(title="Sale", text=TEXT, coupon_pool="Spring")
    assert refused(shop, create_campaign, command, tenant=other).code == "unknown_coupon_pool", (
        "each tenant has its own"
    )


def test_a_coupon_without_a_pool_is_an_unknown_field_and_says_what_it_needs(shop: Store):
    error = refused(shop, create_campaign, c.CreateCampaign(title="Sale", text=TEXT))
    assert error.code == "unknown_field" and "coupon_pool" in error.detail
    new_pool(shop)
    campaign = drafted(shop)
    error = refused(shop, edit_campaign, c.EditCampaign(campaign=campaign, changes={"coupon_pool": None}))
    assert error.code == "unknown_field", "the text still asks for codes"
    do(shop, edit_campaign, c.EditCampaign(campaign=campaign, changes={"coupon_pool": None, "text": "Hi"}))
    assert row_of(shop, campaign)["coupon_pool"] is None


def test_an_own_field_named_coupon_beside_a_pool_is_refused(shop: Store):
    new_pool(shop)
    before = drafted(shop)
    do(shop, define_field, c.DefineField(title="coupon", kind="text"))
    error = refused(shop, create_campaign, c.CreateCampaign(title="Sale", text=TEXT, coupon_pool="Spring"))
    assert error.code == "coupon_field" and "rename the field" in error.detail
    assert refused(shop, preview_campaign, c.PreviewCampaign(campaign=before)).code == "coupon_field"
    drafted(shop, coupon_pool=None)  # there it is the field


def test_a_clone_names_the_same_pool(shop: Store):
    pool = new_pool(shop)
    copy = do(shop, clone_campaign, c.CloneCampaign(campaign=drafted(shop)))
    assert copy["coupon_pool"] == public_id("cpl", pool)


def test_a_campaign_of_an_earlier_version_has_no_pool(shop: Store):
    campaign = drafted(shop, text="Hi", coupon_pool=None)
    changes, key = Changes(), TENANT_U64.pack(1, campaign)
    with shop.begin_write() as view:
        row = unpack(view.get("campaigns", key) or b"")
        del row["coupon_pool"]
        changes.put("campaigns", key, pack(row))
        view.apply(changes)
    seen = previewed(shop, campaign)
    assert (seen["coupon_pool"], row_of(shop, campaign)["coupon_pool"]) == (None, None)
    do(shop, start_campaign, start(campaign, seen))


# ---- previewed and started


def test_a_preview_shows_the_pool_and_no_code(shop: Store):
    pool = new_pool(shop, stock=100)
    seen = previewed(shop, drafted(shop))
    assert {one["text"] for one in seen["samples"]} == {f"Hi Ann {i}, show XXXXXXXXXXXX at the till" for i in range(5)}
    assert (seen["coupon_pool"]["id"], seen["coupon_pool"]["left"]) == (public_id("cpl", pool), 100)
    assert "key" not in seen["coupon_pool"] and seen["warnings"] == []
    assert seen["dearer"] == []


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"valid_until_ms": NOW_MS}, "coupon_expired"),
        ({"valid_until_ms": NOW_MS - 1}, "coupon_expired"),
    ],
)
def test_a_pool_that_does_not_hold_while_the_campaign_sends_is_refused(shop: Store, parts: dict[str, int], code: str):
    new_pool(shop, **parts)
    error = refused(shop, preview_campaign, c.PreviewCampaign(campaign=drafted(shop)))
    assert (error.status, error.code) == (409, code)


def test_a_pool_is_held_against_the_time_that_the_schedule_says(shop: Store):
    new_pool(shop, valid_from_ms=NOW_MS + 20 * HOUR_MS, valid_until_ms=NOW_MS + 30 * HOUR_MS)
    late = drafted(shop, schedule={"at": rfc3339(NOW_MS + 31 * HOUR_MS)})
    assert refused(shop, preview_campaign, c.PreviewCampaign(campaign=late)).code == "coupon_expired"
    announced = previewed(shop, drafted(shop, schedule={"at": rfc3339(NOW_MS + 10 * HOUR_MS)}))
    assert [warning for warning in announced["warnings"] if "are valid from" in warning]
    campaign = drafted(shop, schedule={"at": rfc3339(NOW_MS + 25 * HOUR_MS)})
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    assert row_of(shop, campaign)["state"] == "scheduled"


def test_a_campaign_that_sends_longer_than_its_coupons_hold_is_refused(shop: Store):
    new_pool(shop, valid_until_ms=NOW_MS + HOUR_MS)
    long = drafted(shop, schedule={"spread_over_s": 3_600})
    assert refused(shop, preview_campaign, c.PreviewCampaign(campaign=long)).code == "coupon_expired"
    previewed(shop, drafted(shop, schedule={"spread_over_s": 3_599}))


def test_a_start_is_held_against_how_long_the_preview_said_that_it_takes(shop: Store):
    new_pool(shop, valid_until_ms=NOW_MS + 2 * HOUR_MS)
    campaign = drafted(shop, schedule={"spread_over_s": 3_600})
    seen = previewed(shop, campaign)
    with pytest.raises(CommandRefused) as late:
        do(shop, start_campaign, start(campaign, seen), at_ms=NOW_MS + HOUR_MS)
    assert late.value.code == "coupon_expired"
    do(shop, start_campaign, start(campaign, seen), at_ms=NOW_MS + HOUR_MS - 1)


def test_a_pool_closed_after_the_preview_ends_the_token_until_it_is_open_again(shop: Store):
    pool, campaign = new_pool(shop), drafted(shop)
    seen = previewed(shop, campaign)
    do(shop, close_pool, c.CloseCouponPool(pool=pool))
    assert refused(shop, start_campaign, start(campaign, seen)).code == "coupon_pool_closed"
    assert refused(shop, preview_campaign, c.PreviewCampaign(campaign=campaign)).code == "coupon_pool_closed"
    do(shop, open_pool, c.OpenCouponPool(pool=pool))
    do(shop, start_campaign, start(campaign, seen))


def test_another_value_after_the_preview_ends_the_token(shop: Store):
    pool, campaign = new_pool(shop), drafted(shop)
    seen = previewed(shop, campaign)
    do(shop, edit_pool, c.EditCouponPool(pool=pool, changes={"value": "50 EUR off"}))
    error = refused(shop, start_campaign, start(campaign, seen))
    assert (error.code, error.extra["changed"]) == ("state_conflict", ["coupon_pool"])
    assert "'50 EUR off' instead of '5 EUR off'" in error.detail
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))


def test_another_pool_after_the_preview_ends_the_token(shop: Store):
    new_pool(shop)
    new_pool(shop, "Summer")
    campaign = drafted(shop)
    seen = previewed(shop, campaign)
    do(shop, edit_campaign, c.EditCampaign(campaign=campaign, changes={"coupon_pool": "Summer"}))
    assert refused(shop, start_campaign, start(campaign, seen)).extra["changed"] == ["coupon_pool"]


@pytest.mark.parametrize(
    ("parts", "stock", "warning"),
    [
        ({"text": "Hi", "arms": []}, None, "No text has {coupon}"),
        ({}, 4, "has 4 coupons left for 5 messages: the last get none"),
        ({}, 5, ""),
        ({"arms": [{"name": "A", "share": 50, "text": "Hi"}, {"name": "B", "share": 50, "text": "{coupon}"}]}, 5, ""),
    ],
)
def test_a_preview_warns_of_too_few_coupons_and_of_texts_without_any(shop: Store, parts, stock, warning):
    new_pool(shop, stock=stock)
    warnings = [one for one in previewed(shop, drafted(shop, **parts))["warnings"] if "oupon" in one]
    assert (warnings == []) if not warning else (len(warnings) == 1 and warning in warnings[0])


# ---- when it is due


def begun_by_the_clock(store: Store, campaign: int) -> dict[str, Any]:
    now_ms = NOW_MS + HOUR_MS
    with store.begin_write() as view:
        (due,), _ = due_before(view, now_ms)
        changes, run = start_due(
            view, due, freeze_row(view, 1, load(view, 1, campaign) or {}, now_ms, campaign), now_ms
        )
        assert run == campaign
        view.apply(changes)
    return row_of(store, campaign)


@pytest.mark.parametrize(("change", "code"), [("closed", "coupon_pool_closed"), ("value", "state_conflict")])
def test_a_scheduled_campaign_whose_pool_changed_is_held_until_a_person_resumes_it(shop: Store, change: str, code: str):
    pool = new_pool(shop)
    campaign = drafted(shop, schedule={"at": rfc3339(NOW_MS + HOUR_MS)})
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    if change == "closed":
        do(shop, close_pool, c.CloseCouponPool(pool=pool))
    else:
        do(shop, edit_pool, c.EditCouponPool(pool=pool, changes={"value": "1 EUR off"}))
    row = begun_by_the_clock(shop, campaign)
    assert (row["state"], row["held"]["code"]) == ("held", code)
    if change == "closed":
        assert refused(shop, resume_campaign, c.ResumeCampaign(campaign=campaign)).code == code
        do(shop, open_pool, c.OpenCouponPool(pool=pool))
    do(shop, resume_campaign, c.ResumeCampaign(campaign=campaign))
    assert row_of(shop, campaign)["state"] == "running"


def test_a_scheduled_campaign_whose_pool_stands_begins(shop: Store):
    new_pool(shop)
    campaign = drafted(shop, schedule={"at": rfc3339(NOW_MS + HOUR_MS)})
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    assert begun_by_the_clock(shop, campaign)["state"] == "running"


def test_of_a_series_the_time_after_its_coupons_expired_is_held(shop: Store):
    new_pool(shop, valid_until_ms=NOW_MS + 30 * HOUR_MS)
    first_ms = NOW_MS + HOUR_MS
    campaign = drafted(shop, schedule={"at": rfc3339(first_ms), "repeat": "FREQ=DAILY;COUNT=3"})
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    found = []
    for day in range(3):
        now_ms = first_ms + day * 24 * HOUR_MS
        with shop.begin_write() as view:
            (due,), _ = due_before(view, now_ms)
            frozen = freeze_row(view, 1, load(view, 1, campaign) or {}, now_ms, campaign)
            changes, run = start_due(view, due, frozen, now_ms)
            view.apply(changes)
        row = row_of(shop, run or 0)
        found.append((row["state"], row["held"] and row["held"]["code"]))
    assert found == [("running", None), ("running", None), ("held", "coupon_expired")]


# ---- rendered


def test_a_claim_renders_each_members_code(shop: Store):
    new_pool(shop)
    campaign = drafted(shop)
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    assert claimed(shop, campaign) == [f"Hi Ann {i}, show {code_of(KEY, i)} at the till" for i in range(5)]


def test_a_field_named_coupon_that_comes_while_it_runs_changes_no_text(shop: Store):
    new_pool(shop)
    campaign = drafted(shop)
    do(shop, start_campaign, start(campaign, previewed(shop, campaign)))
    do(shop, define_field, c.DefineField(title="coupon", kind="text"))
    assert claimed(shop, campaign)[4] == f"Hi Ann 4, show {code_of(KEY, 4)} at the till"


def test_a_test_to_listed_phones_shows_no_code(shop: Store):
    new_pool(shop)
    reply = do(shop, send_proof, c.TestCampaign(campaign=drafted(shop), to=["+4915100000002", "+4915199999999"]))
    assert [one["text"] for one in reply["messages"]] == [
        "Hi Ann 1, show XXXXXXXXXXXX at the till",
        "Hi you, show XXXXXXXXXXXX at the till",
    ]


def test_a_rehearsals_store_has_the_pool_without_its_key_and_its_texts_no_code(shop: Store, tmp_path):
    pool = new_pool(shop)
    campaign = drafted(shop)
    with shop.snapshot() as view:
        made = plan(view, 1, campaign, NOW_MS)
        scratch = open_store(tmp_path / "scratch", write=True, create=True, sync=False)
        list(copy_rows(view, made, scratch))
    with scratch:
        with scratch.snapshot() as view:
            assert need_pool(view, 1, pool)["key"] == b""
            campaign_row = load(view, 1, campaign)
            octets = b"".join(bytes(value) for table in view.tables for _, value in view.range(table))
        assert KEY not in octets
        do(
            scratch,
            start_campaign,
            start(campaign, do(scratch, preview_campaign, c.PreviewCampaign(campaign=campaign))),
        )
        assert campaign_row is not None and claimed(scratch, campaign)[0] == "Hi Ann 0, show XXXXXXXXXXXX at the till"


def test_a_rehearsal_is_refused_as_a_start_would_be(shop: Store):
    pool, campaign = new_pool(shop), drafted(shop)
    do(shop, close_pool, c.CloseCouponPool(pool=pool))
    with shop.snapshot() as view, pytest.raises(CommandRefused) as error:
        plan(view, 1, campaign, NOW_MS)
    assert error.value.code == "coupon_pool_closed"


def test_a_message_of_the_api_has_no_code_and_says_what_does(shop: Store):
    asked = {"to": "+4915100000001", "template": "Show {coupon}", "vars": {}, "purpose": "service"}
    (error,) = refused(shop, send_messages, c.SendMessages(messages=[asked])).errors
    assert (error["pointer"], error["code"]) == ("/messages/0/template", "unknown_field")
    assert "coupon_pool" in error["detail"]
