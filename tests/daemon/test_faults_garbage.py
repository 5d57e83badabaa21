"""Octets that are no SMPP, or not what SMPP allows here: the one bind, or the one PDU, and nothing else."""

from __future__ import annotations

import pytest

from dispatcher.daemon.health import anon_mb
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_RINVCMDID, CommandId
from dispatcher.smpp.smsc_session import GARBAGE
from tests.fakes.house import House, in_house

FRAMING_LOST = ("huge-length", "short-length", "http", "random")


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


@pytest.mark.parametrize("kind", [kind for kind in GARBAGE if kind not in FRAMING_LOST])
@in_house(300)
async def test_a_pdu_that_makes_no_sense_costs_nothing(house: House, kind: str):
    house.smsc.change(garbage=(kind,), garbage_every=20)
    counts = house.judge(await house.send_all())
    summary = house.smsc.summary()
    assert summary["garbage_sent"] == 15 and summary["binds"] <= 2
    assert counts["states"]["delivered"] == 300


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
