"""Fields changed while in use: called otherwise, bounded, retired, restored; members keep their values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.campaign import create_campaign, load
from dispatcher.campaigns.field_uses import edit_field, names_in_text, rename_in_text, retire_field
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import (
    CreateCampaign,
    CreateCouponPool,
    DefineField,
    EditField,
    OpenImport,
    PreviewCampaign,
    RestoreField,
    RetireField,
    SaveSegment,
    StartCampaign,
    UpsertMember,
)
from dispatcher.coupons.pool import create_pool
from dispatcher.members.field_edits import restore_field, retired_fields
from dispatcher.members.fields import define_field, every_field, fields_of, unknown_field
from dispatcher.members.importer import open_import
from dispatcher.members.member import member_json, upsert_member
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.segments.segment import list_segments, save_segment
from dispatcher.store import Store, open_store
from dispatcher.store.columns import fold_some
from tests.fakes.shop import do, new_member, new_shop, refused


@pytest.fixture(autouse=True)
def _shop(store: Store) -> None:
    new_shop(store)


# -- changes in use ----------------------------------------------------------------------------------------------


def edit(store: Store, field: str, /, **changes: Any) -> dict[str, Any]:
    return do(store, edit_field, EditField(title=field, changes=changes))


def value_of(store: Store, member: int, name: str) -> Any:
    with store.snapshot() as view:
        shown = member_json(view, 1, member)
    assert shown is not None
    return shown["values"][name]


def test_what_is_not_named_stays(store: Store):
    edit(store, "city", label="Town", pii=True, max_values=200)
    after = edit(store, "city", closed=False, source_rank=["survey", "api"])
    assert {name: after[name] for name in ("label", "pii", "max_values", "source_rank", "sources")} == {
        "label": "Town",
        "pii": True,
        "max_values": 200,
        "source_rank": ["survey", "api"],
        "sources": True,
    }


def test_a_field_may_be_meant_by_its_id(store: Store):
    with store.snapshot() as view:
        number = fields_of(view, 1)["city"].number
    assert edit(store, public_id("fld", number), label="Town")["name"] == "city"


@pytest.mark.parametrize(
    ("title", "changes", "pointer"),
    [
        ("city", {"title": "No Name"}, "/title"),
        ("city", {"title": "and"}, "/title"),
        ("city", {"title": 5}, "/title"),
        ("city", {"label": "x" * 201}, "/label"),
        ("city", {"pii": "yes"}, "/pii"),
        ("city", {"closed": True}, "/closed"),
        ("city", {"max_values": 0}, "/max_values"),
        ("city", {"max_values": 65_536}, "/max_values"),
        ("tier", {"max_values": 1}, "/max_values"),
        ("tags", {"max_values": 257}, "/max_values"),
        ("visits", {"max_values": 5}, "/max_values"),
        ("name", {"max_length": 39}, "/max_length"),
        ("name", {"max_length": 1_001}, "/max_length"),
        ("city", {"max_length": 50}, "/max_length"),
        ("visits", {"add_values": ["a"]}, "/add_values"),
        ("tier", {"add_values": [" a"]}, "/add_values"),
        ("tier", {"rename_values": {"iron": "steel"}}, "/rename_values"),
        ("tier", {"rename_values": {"gold": "basic"}}, "/rename_values"),
        ("tier", {"rename_values": {"gold": ""}}, "/rename_values"),
        ("tier", {"source_rank": [""]}, "/source_rank"),
        ("tier", {"source_rank": ["api"], "sources": False}, "/sources"),
        ("tier", {"kind": "text"}, "/kind"),
    ],
)
def test_a_wrong_change_names_part_value_and_rule_and_changes_nothing(
    store: Store, title: str, changes: dict[str, Any], pointer: str
):
    with store.snapshot() as view:
        before = every_field(view, 1)
    error = refused(store, edit_field, EditField(title=title, changes=changes))
    assert (error.status, error.errors[0]["pointer"]) == (422, pointer)
    assert (title in error.detail and ":" in error.detail) or "has no value" in error.detail
    with store.snapshot() as view:
        assert every_field(view, 1) == before


def test_the_fields_of_every_tenant_cannot_be_changed(store: Store):
    assert refused(store, edit_field, EditField(title="points", changes={"label": "x"})).code == "not_editable"
    assert refused(store, retire_field, RetireField(title="phone")).status == 409


def test_a_field_that_is_not_there_is_404_with_the_nearest(store: Store):
    error = refused(store, edit_field, EditField(title="teir", changes={}))
    assert (error.status, error.extra["did_you_mean"]) == (404, "tier")


def test_members_follow_a_word_that_is_called_otherwise(store: Store):
    member = new_member(store, tier="gold", tags=["vip"])
    edit(store, "tier", rename_values={"gold": "golden"}, add_values=["iron"])
    edit(store, "tags", rename_values={"vip": "VIP"})
    assert (value_of(store, member, "tier"), value_of(store, member, "tags")) == ("golden", ["VIP"])
    with store.snapshot() as view:
        assert fields_of(view, 1)["tier"].values == ("basic", "golden", "iron")
    edit(store, "tier", rename_values={"basic": "golden", "golden": "basic"})
    assert value_of(store, member, "tier") == "basic"


def test_a_word_that_a_rule_names_keeps_its_name(store: Store):
    do(store, save_segment, SaveSegment(title="Golden", expr='tier = "gold"'))
    error = refused(store, edit_field, EditField(title="tier", changes={"rename_values": {"gold": "golden"}}))
    assert error.code == "field_in_use" and "Golden" in error.extra["used_by"][0]
    edit(store, "tier", rename_values={"basic": "plain"})


# -- another name --------------------------------------------------------------------------------------------------


def campaign(store: Store, **parts: Any) -> int:
    reply = do(store, create_campaign, CreateCampaign(**{"title": "Spring", "sender": "SHOP", **parts}))
    number = parse_public_id("cmp", reply["id"])
    assert number is not None
    return number


def test_everything_that_names_a_field_follows_its_new_name(store: Store):
    member = new_member(store, tier="gold", name="Ann")
    do(store, save_segment, SaveSegment(title="Golden", expr='tier = "gold" or has tag "tier"'))
    draft = campaign(store, expr='in segment "Golden" and tier is known', text="{{tier}} {tier|none:9}, {name|you}")
    edit(store, "tier", title="level")
    assert value_of(store, member, "level") == "gold"
    with store.snapshot() as view:
        (segment,) = list_segments(view, 1)
        row = load(view, 1, draft)
    assert segment["expr"] == 'level = "gold" or has tag "tier"' and segment["version"] == 2
    assert row is not None and row["text"] == "{{tier}} {level|none:9}, {name|you}"
    assert row["expr"] == row["canonical"] == 'in segment "Golden" and level is known'


def test_arms_and_strata_follow_a_new_name_too_and_the_preview_holds(store: Store):
    for number in range(4915100000001, 4915100000005):
        new_member(store, number, name="Ann", tier="gold")
    arms = [{"name": "A", "share": 50, "text": "Hi {name|you}"}, {"name": "B", "share": 50, "text": "{tier}!"}]
    draft = campaign(store, text="Hi", arms=arms, stratify="tier")
    previewed = do(store, preview_campaign, PreviewCampaign(campaign=draft))
    edit(store, "name", title="first_name")
    edit(store, "tier", title="level")
    with store.snapshot() as view:
        row = load(view, 1, draft)
    assert row is not None and [arm["text"] for arm in row["arms"]] == ["Hi {first_name|you}", "{level}!"]
    assert row["stratify"] == "level"
    do(store, start_campaign, StartCampaign(campaign=draft, token=previewed["token"]))


@pytest.mark.parametrize(("said", "stratify"), [("{tier|-}", ""), ("Hi", "tier")])
def test_a_field_that_an_arm_shows_or_that_arms_are_dealt_by_is_in_use(store: Store, said: str, stratify: str):
    arms = [{"name": "A", "share": 50, "text": said}, {"name": "B", "share": 50, "text": "Ho"}]
    campaign(store, text="Hi", arms=arms, stratify=stratify)
    error = refused(store, retire_field, RetireField(title="tier"))
    assert (error.status, error.code) == (409, "field_in_use")


def test_beside_a_coupon_pool_coupon_is_no_field(store: Store):
    do(store, create_pool, CreateCouponPool(title="Spring", value="5 EUR off"))
    draft = campaign(store, text="{name|you}: {coupon}", coupon_pool="Spring")
    error = refused(store, edit_field, EditField(title="name", changes={"title": "coupon"}))
    assert (error.code, error.status) == ("field_in_use", 409) and "a member's code" in error.detail
    edit(store, "city", title="coupon")  # no text of it shows that one
    edit(store, "coupon", title="town")
    with store.snapshot() as view:
        row = load(view, 1, draft)
    assert row is not None and row["text"] == "{name|you}: {coupon}"
    edit(store, "town", title="coupon")
    do(store, retire_field, RetireField(title="coupon"))


def test_a_preview_holds_over_a_rename_and_the_campaign_may_start(store: Store):
    new_member(store, name="Ann")
    draft = campaign(store, text="Hi {name|you}", expr="name is known")
    previewed = do(store, preview_campaign, PreviewCampaign(campaign=draft))
    edit(store, "name", title="first_name")
    do(store, start_campaign, StartCampaign(campaign=draft, token=previewed["token"]))
    edit(store, "first_name", title="given_name")
    with store.snapshot() as view:
        row = load(view, 1, draft)
    assert row is not None and (row["state"], row["text"]) == ("running", "Hi {given_name|you}")


def test_the_old_name_is_free_and_a_hint_until_another_field_takes_it(store: Store):
    member = new_member(store, city="Bonn")
    edit(store, "city", title="town")
    with store.snapshot() as view:
        assert unknown_field("city", fields_of(view, 1)).extra["did_you_mean"] == "town"
    do(store, define_field, DefineField(title="city", kind="text"))
    assert (value_of(store, member, "town"), value_of(store, member, "city")) == ("Bonn", None)
    assert refused(store, edit_field, EditField(title="town", changes={"title": "city"})).status == 409


def test_a_rename_that_a_rule_cannot_follow_is_refused(store: Store):
    do(store, define_field, DefineField(title="region", kind="dict", values=["North"]))
    do(store, save_segment, SaveSegment(title="North", expr='in region "North"'))
    error = refused(store, edit_field, EditField(title="region", changes={"title": "area"}))
    assert error.status == 409 and "North" in error.detail


def test_a_rename_waits_for_an_import_that_may_fill_the_field(store: Store):
    do(store, open_import, OpenImport(import_id=7))
    error = refused(store, edit_field, EditField(title="city", changes={"title": "town"}))
    assert (error.code, error.extra["used_by"]) == ("field_in_use", [public_id("imp", 7)])
    edit(store, "city", label="Town")


@pytest.mark.parametrize(
    ("text", "names", "renamed"),
    [
        ("{a}{ a |x}{b}", {"a", "b"}, "{z}{ z |x}{b}"),
        ("{{a}} {{{a}}}", {"a"}, "{{a}} {{{z}}}"),
        ("a {aa|a} a", {"aa"}, "a {aa|a} a"),
        ("", set(), ""),
    ],
)
def test_a_text_is_renamed_where_it_shows_the_field(text: str, names: set[str], renamed: str):
    assert (names_in_text(text), rename_in_text(text, "a", "z")) == (names, renamed)


# -- out of use ------------------------------------------------------------------------------------------------------


def test_a_retired_field_is_hidden_its_values_kept_its_name_free(store: Store):
    member = new_member(store, city="Bonn", tier="gold")
    do(store, retire_field, RetireField(title="city"))
    with store.snapshot() as view:
        shown = member_json(view, 1, member)
        assert "city" not in fields_of(view, 1) and [field.name for field in retired_fields(view, 1)] == ["city"]
    assert shown is not None and "city" not in shown["values"]
    assert refused(store, upsert_member, UpsertMember(msisdn="+4915100000001", values={"city": "x"})).status == 422
    assert refused(store, save_segment, SaveSegment(title="t", expr='city = "Bonn"')).code == "unknown_field"
    do(store, define_field, DefineField(title="city", kind="int"))
    assert value_of(store, member, "city") is None
    assert refused(store, restore_field, RestoreField(title="city")).status == 409
    restored = do(store, restore_field, RestoreField(title="city", new_title="town"))
    assert (restored["name"], value_of(store, member, "town")) == ("town", "Bonn")


def test_a_new_field_never_gets_the_number_of_a_retired_one(store: Store):
    last = do(store, define_field, DefineField(title="last", kind="int"))
    do(store, retire_field, RetireField(title="last"))
    assert do(store, define_field, DefineField(title="last", kind="int"))["id"] != last["id"]


@pytest.mark.parametrize("use", ["segment", "nested", "rule", "text", "import"])
def test_a_field_in_use_is_not_retired_and_its_users_are_listed(store: Store, use: str):
    match use:
        case "segment":
            do(store, save_segment, SaveSegment(title="Golden", expr='tier = "gold"'))
        case "nested":
            do(store, save_segment, SaveSegment(title="Golden", expr='tier = "gold"'))
            campaign(store, expr='in segment "Golden"')
        case "rule":
            campaign(store, title="Golden", expr="tier is known")
        case "text":
            campaign(store, title="Golden", text="{tier|x}")
        case "import":
            do(store, open_import, OpenImport(import_id=7, mapping={"Golden": "tier"}))
    error = refused(store, retire_field, RetireField(title="tier"))
    assert (error.status, error.code, len(error.extra["used_by"])) == (409, "field_in_use", 1)
    assert use == "import" or "Golden" in error.extra["used_by"][0]


def test_of_several_retired_under_one_name_the_id_says_which(store: Store):
    first = do(store, define_field, DefineField(title="x", kind="int"))
    do(store, retire_field, RetireField(title="x"))
    do(store, define_field, DefineField(title="x", kind="text"))
    do(store, retire_field, RetireField(title="x"))
    assert do(store, restore_field, RestoreField(title=first["id"]))["kind"] == "int"
    assert refused(store, restore_field, RestoreField(title="x")).status == 409
    assert refused(store, restore_field, RestoreField(title="nothing")).status == 404


# -- a model -----------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["define", "rename", "retire", "restore", "grow", "set", "word", "fold"]),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_any_order_of_changes_keeps_each_members_values(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
):
    """The model: names of fields to {member: word}, and those of retired ones by id."""
    with open_store(tmp_path_factory.mktemp("model") / "data", write=True, create=True) as store:
        new_shop(store)
        live: dict[str, dict[int, str]] = {}
        ids: dict[str, str] = {}
        retired: list[tuple[str, dict[int, str]]] = []
        members = [new_member(store, 4915100000001 + i) for i in range(4)]
        for turn, (what, at, member) in enumerate(steps):
            name = sorted(live)[at % len(live)] if live else ""
            if what == "define" or not live:
                if f"f{at}" not in live:
                    ids[f"f{at}"] = do(store, define_field, DefineField(title=f"f{at}", kind="dict"))["id"]
                    live[f"f{at}"] = {}
            elif what == "rename" and f"f{5 - at}" not in live:
                edit(store, name, title=f"f{5 - at}")
                live[f"f{5 - at}"], ids[f"f{5 - at}"] = live.pop(name), ids.pop(name)
            elif what == "retire":
                do(store, retire_field, RetireField(title=name))
                retired.append((ids.pop(name), live.pop(name)))
            elif what == "restore" and retired:
                field, values = retired.pop(at % len(retired))
                restored = do(store, restore_field, RestoreField(title=field, new_title=f"back{turn}"))
                live[restored["name"]], ids[restored["name"]] = values, field
            elif what == "grow":
                edit(store, name, max_values=1_000)
            elif what == "set":
                new_member(store, 4915100000001 + member, **{name: f"w{at}"})
                live[name][member] = f"w{at}"
            elif what == "word" and live[name]:
                old = next(iter(live[name].values()))
                edit(store, name, rename_values={old: f"n{turn}"})
                live[name] = {m: f"n{turn}" if word == old else word for m, word in live[name].items()}
            elif what == "fold":
                with store.begin_write() as view:
                    view.apply(fold_some(view, 1))
            for i, member_no in enumerate(members):
                for field, values in live.items():
                    assert value_of(store, member_no, field) == values.get(i), (field, i)
