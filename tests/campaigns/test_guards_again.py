"""Guards are asked again for repeats: who said no since, is capped by another's message or must wait does not go; nobody
counts against themselves, and half a message is not held by a cap."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.apps.messages import send_messages
from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.repeats import NEVER_NS, Repeat
from dispatcher.control.commands import AddSuppression, RecordConsents, SendMessages, StartCampaign
from dispatcher.members.consents import record_consents
from dispatcher.members.suppression import add_suppression
from dispatcher.records.batch import Row, read_rows
from dispatcher.records.states import Decision, State
from tests.campaigns.log import SETTLED, UNCERTAIN, claim, log, log_begins, record
from tests.campaigns.test_guards import NOON, drafted, previewed, tenant, yes
from tests.fakes.shop import FRENCH as NUMBERS
from tests.fakes.shop import do, french_shop

HOUR_MS = 3_600_000
LONG = "word " * 40  # two parts
CAP = [{"group": "marketing", "max": 1, "within_s": 86_400}]


@pytest.fixture
def shop(store):
    return french_shop(store)


def running(store, **parts: Any) -> int:
    """A campaign to all six, all of them claimed."""
    campaign = drafted(store, **parts)
    token = previewed(store, campaign)["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=NOON)
    log_begins(store, campaign)
    log(store, campaign, NOON, claim(0, [2 if parts.get("text") == LONG else 1] * 6))
    return campaign


def again(store, campaign: int, *ranks: int, parts: int = 1, of: int = 1, now_ms: int = NOON + 1_000):
    """(rows of the repeats of these ranks, the expansion)"""
    with store.snapshot() as view:
        made = Expansion(view, 1, campaign, load(view, 1, campaign))
        for rank in ranks:
            made.repeat(Repeat(0, rank, rank, parts, 1, of=of))
        rows: list[Row] = [row for batch in made.again(view, 0, 100, 10, now_ms) for row in read_rows(batch)]
    return rows, made


def test_an_uncertain_part_that_is_settled_while_its_repeat_waits_does_not_go_again(shop):
    campaign = running(shop, text=LONG)
    log(
        shop,
        campaign,
        NOON + 1,
        *(record(UNCERTAIN, rank, part=part, state=State.UNCERTAIN) for rank in range(3) for part in (0, 1)),
    )
    by_hand = [record(SETTLED, rank, part=part, state=State.FAILED) for rank, part in ((1, 0), (2, 0), (2, 1))]
    log(shop, campaign, NOON + 2, *by_hand)
    with shop.snapshot() as view:
        made = Expansion(view, 1, campaign, load(view, 1, campaign))
        for rank in range(3):
            made.repeat(Repeat(0, rank, rank, 3, 1, of=2, uncertain=3))
        rows = [row for batch in made.again(view, 0, 100, 10, NOON + 1_000) for row in read_rows(batch)]
    assert {(row.rank, row.part) for row in rows if not row.skip} == {(0, 0), (0, 1), (1, 1)}


def decided(rows: list[Row]) -> dict[int, Decision]:
    return {row.rank: Decision(row.decision) for row in rows}


def test_what_a_campaign_sent_itself_does_not_hold_its_repeats(shop):
    tenant(shop, caps=CAP)
    rows, _ = again(shop, running(shop), 0, 1)
    assert decided(rows) == {0: Decision.SENT, 1: Decision.SENT}


def test_anothers_message_in_between_does(shop):
    campaign = running(shop)
    asked = [{"to": f"+{NUMBERS[1]}", "text": "Hi", "purpose": "marketing"}]
    do(shop, send_messages, SendMessages(messages=asked), at_ms=NOON + 10)
    tenant(shop, caps=CAP)
    rows, _ = again(shop, campaign, 0, 1)
    assert decided(rows) == {0: Decision.SENT, 1: Decision.FREQUENCY_CAP}


def test_the_rest_of_a_message_that_is_partly_out_is_held_by_no_cap_but_by_a_stop(shop):
    campaign = running(shop, text=LONG)
    asked = [{"to": f"+{number}", "text": "Hi", "purpose": "marketing"} for number in NUMBERS[:2]]
    do(shop, send_messages, SendMessages(messages=asked), at_ms=NOON + 10)
    tenant(shop, caps=CAP)
    do(shop, add_suppression, AddSuppression(numbers=[f"+{NUMBERS[1]}"]), at_ms=NOON + 20)
    rows, _ = again(shop, campaign, 0, 1, parts=0b10, of=2)
    assert decided(rows)[1] == Decision.SUPPRESSED and decided(rows)[0] != Decision.FREQUENCY_CAP


def test_who_took_the_yes_back_gets_no_repeat(shop):
    tenant(shop, market_profile="fr")
    yes(shop, *range(6))
    campaign = running(shop)
    no = [{"number": f"+{NUMBERS[2]}", "purpose": "marketing", "source": "till", "given": False}]
    do(shop, record_consents, RecordConsents(consents=no), at_ms=NOON + 10)
    rows, _ = again(shop, campaign, 2, 3)
    assert decided(rows)[3] == Decision.SENT and decided(rows)[2] in (Decision.OPTED_OUT, Decision.NO_CONSENT)


def test_a_repeat_in_quiet_hours_waits_for_the_morning(shop):
    tenant(shop, market_profile="fr")
    yes(shop, *range(6))
    campaign = running(shop)
    night = NOON + 10 * HOUR_MS  # 23:00 in Paris
    rows, made = again(shop, campaign, 0, 1, now_ms=night)
    assert rows == [] and made.repeats == 2 and made.next_due_ns == 10 + 9 * HOUR_MS * 1_000_000
    with shop.snapshot() as view:
        batches = made.again(view, 0, 100, made.next_due_ns, night + 9 * HOUR_MS)
    assert {row.rank for batch in batches for row in read_rows(batch)} == {0, 1} and made.next_due_ns == NEVER_NS


def test_one_that_is_valid_no_more_in_the_morning_ends_as_quiet(shop):
    tenant(shop, market_profile="fr")
    yes(shop, *range(6))
    campaign = running(shop, validity_s=3_600)
    with shop.snapshot() as view:
        made = Expansion(view, 1, campaign, load(view, 1, campaign))
        made.repeat(Repeat(0, 0, 0, 1, 1, since_s=1))
        (batch,) = made.again(view, 0, 100, 10, NOON + 10 * HOUR_MS)
    assert decided(read_rows(batch)) == {0: Decision.QUIET} and made.repeats == 0


def test_what_a_budget_let_pass_once_is_not_taken_again(shop):
    tenant(shop, parts_month=6)
    rows, _ = again(shop, running(shop), *range(6))
    assert set(decided(rows).values()) == {Decision.SENT}
