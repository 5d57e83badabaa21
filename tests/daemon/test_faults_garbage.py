"""Octets that are no SMPP, or not what SMPP allows here: the one bind, or the one PDU, and nothing else."""

from __future__ import annotations

import pytest

from dispatcher.daemon.health import anon_mb
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_RINVCMDID, CommandId
from dispatcher.smpp.smsc_session import KINDS
from tests.fakes.house import House, in_house

FRAMING_LOST = [kind for kind, garbage in KINDS.items() if garbage.ends]
BESIDE = [kind for kind, garbage in KINDS.items() if not garbage.ends and not garbage.instead]
# in the place of an answer to a message that the SMSC has taken:
REFUSES = ("answer-error-with-id", "answer-status-wild", "answer-status-top", "answer-nack")
IS_NONE = ("answer-of-query", "answer-of-deliver", "answer-of-nobody")
ACCEPTS = [kind for kind, garbage in KINDS.items() if garbage.instead and kind not in (*REFUSES, *IS_NONE)]


@pytest.mark.parametrize("kind", FRAMING_LOST)
@in_house(600)
async def test_a_stream_that_lost_its_framing_costs_its_bind_and_no_more_than_the_window(house: House, kind: str):
    before = anon_mb()
    house.smsc.change(garbage=(kind,), garbage_every=150)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["garbage_sent"] >= 3)
    house.smsc.change(garbage_every=0)
    await house.settled(campaign)
    counts = house.judge(campaign)
    sent = house.smsc.summary()["garbage_sent"]
    await house.until(lambda: house.smsc.summary()["binds"] == 2 + sent)
    assert counts["states"]["uncertain"] <= 20 * sent
    assert anon_mb() - before < 100, "the length of a PDU is a promise, not an allocation"


@pytest.mark.parametrize("kind", BESIDE)
@in_house(60)
async def test_a_pdu_that_makes_no_sense_costs_nothing(house: House, kind: str):
    house.smsc.change(garbage=(kind,), garbage_every=6)
    counts = house.judge(await house.send_all())
    summary = house.smsc.summary()
    assert summary["garbage_sent"] == 10 and summary["binds"] <= 2
    assert counts["states"]["delivered"] == 60


@pytest.mark.parametrize("kind", ACCEPTS)
@in_house(60)
async def test_an_answer_whose_id_nobody_can_read_is_an_answer(house: House, kind: str):
    """Only its receipt finds nobody."""
    house.smsc.change(garbage=(kind,), garbage_every=6)
    campaign = await house.send()
    await house.settled(campaign, awaiting=10)
    counts = house.judge(campaign)
    assert (counts["accepted"], counts["states"]["uncertain"], counts["states"]["failed"]) == (60, 0, 0)
    assert house.smsc.summary()["binds"] <= 2


@pytest.mark.parametrize("kind", REFUSES)
@in_house(60, dispatcher={"tries_max": 1})
async def test_a_refusal_in_an_odd_form_is_a_refusal(house: House, kind: str):
    house.smsc.change(garbage=(kind,), garbage_every=6)
    campaign = await house.send()
    await house.settled(campaign)
    assert house.counts(campaign)["states"]["failed"] == 10
    assert len({line.destination for line in house.lines()}) == len(house.lines()) == 60
    assert house.smsc.summary()["binds"] <= 2


@pytest.mark.parametrize("kind", IS_NONE)
@in_house(60, endpoint={"response_timeout_s": 0.3}, dispatcher={"holding_s": 0.3}, receipts=0)
async def test_an_answer_to_something_else_is_none(house: House, kind: str):
    house.smsc.change(garbage=(kind,), garbage_every=6)
    campaign = await house.send(receipts=False)
    await house.until(lambda: house.state(campaign) == "done")
    assert house.judge(campaign)["states"]["uncertain"] == 10
    assert house.smsc.summary()["binds"] <= 2


@in_house(100)
async def test_a_request_nobody_knows_is_answered_and_the_rest_goes_on(house: House):
    house.smsc.inject(codec.encode(0x0999, 0, 0, b"what"))
    house.smsc.inject(codec.encode(CommandId.ALERT_NOTIFICATION, 0, 0, b"\1\1555\0\1\1666\0"))
    house.smsc.inject(codec.encode(CommandId.QUERY_SM, 0, 0, b"1\0\1\1555\0"))
    campaign = await house.send_all()
    house.judge(campaign)
    assert ESME_RINVCMDID == 3 and house.smsc.summary()["binds"] <= 2


@in_house(200, endpoint={"enquire_link_s": 0.2})
async def test_the_link_is_asked_after_when_nothing_is_said(house: House):
    await house.until(lambda: house.smsc.summary()["enquire_links"] >= 4)
    house.judge(await house.send_all())
    assert house.smsc.summary()["binds"] <= 2
