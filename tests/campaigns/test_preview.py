"""A preview against what plain Python says of every member: who, how many parts, which alphabet, which texts."""

import random
from collections import Counter
from typing import Any

import pytest

from dispatcher.campaigns.campaign import create_campaign, edit_campaign, load
from dispatcher.campaigns.expand import members_of_ranks
from dispatcher.campaigns.preview import SAMPLES, TOKEN_LIVES_MS, preview_campaign
from dispatcher.campaigns.template import Template
from dispatcher.clock import rfc3339
from dispatcher.control.commands import CreateCampaign, EditCampaign, Envelope, PreviewCampaign
from dispatcher.members.fields import fields_of
from dispatcher.records.keys import parse_member_id, parse_public_id
from dispatcher.store.layout import BLOCK, U64
from dispatcher.text.parts import describe
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused
from tests.segments.crowd import new_crowd, settle

NAMES = ["Ann", "Zoë", "Łukasz", "李雷", "€" * 20, "x" * 40, None]
TEXT = "Hi {name}, you have {points|0} points. " + "Come and see us again soon. " * 3
MEMBERS = 40_000  # three blocks, mostly empty


@pytest.fixture(scope="module")
def people() -> dict[int, dict[str, Any]]:
    draw = random.Random(3)
    return {
        no: {
            "name": draw.choice(NAMES),
            "points": draw.choice([0, 7, 123_456, None]),
            "tier": draw.choice(["basic", "gold"]),
            "phone": draw.choice([0, *[4915100000000 + no] * 9]),
            "live": draw.random() < 0.95,
            "suppressed": draw.random() < 0.05,
            "stopped": draw.random() < 0.1,
        }
        for no in sorted({0, BLOCK - 1, BLOCK, MEMBERS - 1, *draw.sample(range(MEMBERS), 900)})
    }


@pytest.fixture
def crowd(store, people):
    """Half the members in blocks alone, the others with an edit lying over them as a delta row."""
    tenant = new_crowd(store)
    edits = {no: {"name": one["name"]} for no, one in people.items() if no % 2}
    settle(
        store,
        tenant,
        {no: {**one, "name": "Old"} if no in edits else one for no, one in people.items()},
        edits,
        MEMBERS,
    )
    return store


def drafted(store, text: str = TEXT, **parts: Any) -> int:
    command = CreateCampaign(**{"title": "Spring", "sender": "SHOP", "text": text, **parts})
    return parse_public_id("cmp", do(store, create_campaign, command)["id"])


def previewed(store, campaign: int) -> dict[str, Any]:
    return do(store, preview_campaign, PreviewCampaign(campaign=campaign))


def meant(store, people, text: str, tier: str, max_parts: int, purpose: str) -> dict[str, Any]:
    """The same answer member by member."""
    with store.snapshot() as view:
        template = Template.compile(text, fields_of(view, 1))
    decisions, parts, alphabets, texts = Counter[str](), Counter[str](), Counter[str](), {}
    for no, one in people.items():
        if not one["live"] or one["tier"] != tier:
            continue
        text = template.render_one(one)
        cost = describe(text) if text is not None else None
        if not one["phone"]:
            decision = "no_valid_number"
        elif one["suppressed"]:
            decision = "suppressed"
        elif one["stopped"] and purpose == "marketing":
            decision = "opted_out"
        elif cost is None:
            decision = "no_value"
        elif cost["parts"] > max_parts:
            decision = "text_grew"
        else:
            decision = "sent"
            parts[str(cost["parts"])] += 1
            alphabets[cost["alphabet"]] += 1
            texts[no] = (text, cost["parts"], cost["alphabet"])
        decisions[decision] += 1
    return {"decisions": decisions, "parts": parts, "alphabets": alphabets, "texts": texts}


@pytest.mark.parametrize("tier", ["basic", "gold"])
@pytest.mark.parametrize("max_parts", [1, 2, 5])
@pytest.mark.parametrize("purpose", ["marketing", "transactional"])
def test_counts_and_texts_are_those_of_every_member_in_turn(crowd, people, tier, max_parts, purpose):
    campaign = drafted(crowd, expr=f'tier = "{tier}"', max_parts=max_parts, purpose=purpose)
    reply = previewed(crowd, campaign)
    wanted = meant(crowd, people, TEXT, tier, max_parts, purpose)
    sent = wanted["decisions"].pop("sent")
    assert (reply["matched"], reply["will_send"]) == (sent + wanted["decisions"].total(), sent)
    assert reply["skipped"] == wanted["decisions"]
    assert reply["parts"] == wanted["parts"]
    assert reply["alphabet"] == {"gsm7": wanted["alphabets"]["gsm7"], "ucs2": wanted["alphabets"]["ucs2"]}
    for sample in reply["samples"] + reply["longest"]:
        no = parse_member_id(sample["member"])
        assert wanted["texts"][no] == (sample["text"], sample["parts"], sample["alphabet"])


def test_ten_samples_are_spread_evenly_over_those_who_will_be_sent_to(crowd, people):
    campaign = drafted(crowd, expr='tier = "gold"')
    reply = previewed(crowd, campaign)
    texts = meant(crowd, people, TEXT, "gold", 3, "marketing")["texts"]
    numbers = [parse_member_id(sample["member"]) for sample in reply["samples"]]
    sent = sorted(texts)
    assert numbers == [sent[(2 * i + 1) * len(sent) // (2 * SAMPLES)] for i in range(SAMPLES)]


def test_the_longest_five_have_the_most_parts_and_then_octets(crowd, people):
    reply = previewed(crowd, drafted(crowd, expr='tier = "gold"'))
    texts = meant(crowd, people, TEXT, "gold", 3, "marketing")["texts"]

    def size(no: int) -> tuple[int, int, int]:
        text, parts, alphabet = texts[no]
        octets = len(text.encode("utf-16-be")) if alphabet == "ucs2" else describe(text)["units"]
        return -parts, -octets, no

    assert [parse_member_id(one["member"]) for one in reply["longest"]] == sorted(texts, key=size)[:5]


def test_fewer_members_than_samples_are_all_shown(store):
    new_shop(store)
    numbers = [new_member(store, 4915100000001 + i, name=f"Ann {i}") for i in range(3)]
    reply = previewed(store, drafted(store))
    assert [parse_member_id(sample["member"]) for sample in reply["samples"]] == numbers
    assert reply["samples"][2]["text"].startswith("Hi Ann 2, you have 0 points.")
    assert len(reply["longest"]) == 3
    assert reply["warnings"] == []


def test_the_frozen_audience_is_everyone_matched_in_order_of_member_no(crowd, people):
    campaign = drafted(crowd, expr='tier = "gold"')
    reply = previewed(crowd, campaign)
    matched = [no for no, one in people.items() if one["live"] and one["tier"] == "gold"]
    with crowd.snapshot() as view:
        found = members_of_ranks(view, campaign, list(range(reply["matched"])))
        assert load(view, 1, campaign)["audience"] == len(matched)
    assert list(found.values()) == matched


def test_a_later_preview_replaces_the_audience_and_the_token(crowd):
    campaign = drafted(crowd)
    first = previewed(crowd, campaign)
    do(crowd, edit_campaign, EditCampaign(campaign=campaign, changes={"expr": "everyone limit 5"}))
    second = previewed(crowd, campaign)
    assert (first["matched"] > 5, second["matched"]) == (True, 5)
    assert first["token"] != second["token"]
    with crowd.snapshot() as view:
        assert len(list(view.range("bitmaps", U64.pack(campaign)))) == 2  # one block and the ranks


def test_the_token_is_good_for_a_day_and_the_row_holds_no_texts(crowd):
    campaign = drafted(crowd)
    reply = previewed(crowd, campaign)
    with crowd.snapshot() as view:
        row = load(view, 1, campaign)
    assert (row["version"], reply["version"]) == (2, 2)
    assert row["preview"]["expires_ms"] == NOW_MS + TOKEN_LIVES_MS
    assert reply["expires_at"] == rfc3339(row["preview"]["expires_ms"])
    assert reply["as_of"] == "2026-09-21T16:13:20.000+02:00"
    assert not {"samples", "longest"} & row["preview"].keys()


def test_a_preview_needs_no_write_transaction(crowd):
    campaign = drafted(crowd)
    envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS)
    with crowd.snapshot() as view:
        changes, reply = preview_campaign(view, PreviewCampaign(campaign=campaign), envelope)
    crowd.apply(changes)
    with crowd.snapshot() as view:
        assert load(view, 1, campaign)["preview"]["token"] == reply["token"]


def test_nobody_matched_is_previewed_with_a_warning(store):
    new_shop(store)
    reply = previewed(store, drafted(store))
    assert (reply["matched"], reply["will_send"], reply["parts"], reply["samples"]) == (0, 0, {}, [])
    assert reply["warnings"] == ["The segment matches no member: there is nobody to send to."]


def test_a_draft_without_text_is_not_previewed(store):
    new_shop(store)
    refusal = refused(store, preview_campaign, PreviewCampaign(campaign=drafted(store, text="")))
    assert (refusal.status, refusal.code) == (422, "text_missing")


def test_a_draft_whose_arms_say_everything_needs_no_text_beside_them(shop):
    said = [{"name": "A", "share": 50, "text": "Hello"}, {"name": "B", "share": 50, "text": "Good day"}]
    by_arm = previewed(shop, drafted(shop, text="", arms=said))["by_arm"]
    assert set(by_arm) == {"A", "B"}
    half = [said[0], {**said[1], "text": ""}]
    refusal = refused(shop, preview_campaign, PreviewCampaign(campaign=drafted(shop, text="", arms=half)))
    assert refusal.code == "text_missing", "an arm without words of its own has the campaign's"


@pytest.fixture
def shop(store):
    new_shop(store)
    for i, name in enumerate(["Ann", "Bob", None]):
        new_member(store, 4915100000001 + i, name=name)
    return store


def test_a_value_that_is_not_known_is_warned_of_with_its_field(shop):
    assert previewed(shop, drafted(shop))["warnings"] == [
        "1 member is skipped because {name} is not known; a fallback, as in {name|friend}, would reach them."
    ]


def test_a_text_that_grows_over_the_limit_is_warned_of(shop):
    reply = previewed(shop, drafted(shop, "x" * 156 + "{name|abcdef}", max_parts=1))
    assert (reply["skipped"], reply["parts"]) == ({"text_grew": 1}, {"1": 2})
    assert reply["warnings"] == ["1 member is skipped because the text would need more than 1 part."]


def test_characters_of_members_that_need_ucs2_are_named(shop):
    for i, name in enumerate(["Łukasz", "Ćwik"]):
        new_member(shop, 4915100000011 + i, name=name)
    reply = previewed(shop, drafted(shop, "Hi {name|you}"))
    assert reply["alphabet"] == {"gsm7": 3, "ucs2": 2}
    assert reply["warnings"] == [
        "2 members need UCS-2, 70 characters a part instead of 160, because of “Ł”, “Ć” in their values."
    ]


def test_more_ucs2_members_than_are_read_are_counted_all_the_same(crowd, people):
    reply = previewed(crowd, drafted(crowd, "Hi {name|you}"))
    (warning,) = reply["warnings"]
    assert warning.startswith(f"{reply['alphabet']['ucs2']} members need UCS-2")
    assert warning.endswith("and others in their values.")


def test_characters_of_the_text_that_need_ucs2_are_named(shop):
    assert previewed(shop, drafted(shop, "It’s on – now", sender=""))["warnings"] == [
        "3 members need UCS-2, 70 characters a part instead of 160, because of “’”, “–” in the text.",
        "No sender is set, neither here nor for Corner Shop: the SMSC chooses one.",
    ]


def test_all_skipped_and_a_long_sender_are_warned_of(shop):
    reply = previewed(shop, drafted(shop, "Hi {name}", expr="name is unknown", sender="ALongSenderName"))
    assert reply["warnings"][0] == "All that are matched (1) are skipped: there is nobody to send to."
    assert (
        reply["warnings"][2]
        == "The sender 'ALongSenderName' is longer than the 11 characters that phones show of a name."
    )
