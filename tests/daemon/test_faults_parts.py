"""Messages of several parts: one reference, each part once, whatever happens between them."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict

import pytest

from dispatcher.smpp.consts import ESME_RINVDSTADR, ESME_RMSGQFUL, ESME_RTHROTTLED
from dispatcher.text.parts import parts
from tests.fakes.house import LONG_TEXT, House, in_house


def parts_by_number(house: House) -> dict[str, list[int]]:
    found = defaultdict(list)
    for line in house.lines():
        assert line.total == 3
        found[line.destination].append(line.part)
    return found


@in_house(400)
async def test_a_long_message_leaves_as_its_parts_in_order_and_is_delivered_once(house: House):
    counts = house.judge(await house.send_all(LONG_TEXT))
    assert counts["states"]["delivered"] == counts["accepted"] == 400
    assert counts["parts_sent"] == counts["parts_accepted"] == 1_200
    assert set(map(tuple, parts_by_number(house).values())) == {(1, 2, 3)}


@pytest.mark.parametrize("window", [1, 2, 4])
@in_house(60, started=False)
async def test_a_message_of_more_parts_than_the_window_still_leaves_whole(house: House, window: int):
    house.endpoint(window=window)
    await house.start()
    house.judge(await house.send_all(LONG_TEXT))
    assert set(map(tuple, parts_by_number(house).values())) == {(1, 2, 3)}


@pytest.mark.parametrize("status", [ESME_RTHROTTLED, ESME_RMSGQFUL])
@in_house(200, endpoint={"adapt_rate": False})
async def test_a_part_refused_for_now_goes_again_alone(house: House, status: int):
    house.smsc.change(status_every=((70, status),))
    counts = house.judge(await house.send_all(LONG_TEXT))
    assert counts["states"]["delivered"] == 200
    assert counts["retries"] >= 600 // 70


@in_house(200)
async def test_a_part_refused_for_good_fails_its_message_and_no_other(house: House):
    house.smsc.change(status_every=((100, ESME_RINVDSTADR),))
    campaign = await house.send_all(LONG_TEXT)
    counts = house.judge(campaign)
    assert (counts["states"]["failed"], counts["states"]["delivered"]) == (6, 194)


@in_house(600, drop_every=101)
async def test_a_connection_closed_between_parts_doubles_no_part_and_leaves_none_in_the_air(house: House):
    campaign = await house.send(LONG_TEXT)
    await house.until(lambda: house.state(campaign) == "done")
    house.smsc.change(drop_every=0)
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    assert counts["states"]["claimed"] == counts["states"]["retry_wait"] == 0
    assert counts["states"]["uncertain"] + counts["states"]["delivered"] == 600
    assert max(Counter((line.destination, line.part) for line in house.lines()).values()) == 1


@in_house(300, endpoint={"window": 2, "binds": 1}, drop_every=40)
async def test_a_connection_closed_within_a_message_wider_than_the_window(house: House):
    campaign = await house.send(LONG_TEXT)
    await house.until(lambda: house.state(campaign) == "done")
    house.smsc.change(drop_every=0)
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] + counts["states"]["delivered"] == 300


@in_house(300, endpoint={"response_timeout_s": 0.3}, dispatcher={"holding_s": 0.3}, mute_every=31)
async def test_only_the_part_without_an_answer_is_resent(house: House):
    campaign = await house.send(LONG_TEXT, purpose="transactional")
    await house.until(lambda: house.dispatcher.feeder.campaigns[campaign].waiting > 0)
    await house.until(lambda: house.smsc.summary()["submits"] >= 900)
    muted = house.smsc.summary()["muted"]
    house.smsc.change(mute_every=0)
    await house.settled(campaign)
    counts = house.judge(campaign, resends=True)
    assert counts["states"]["delivered"] == 300
    assert house.smsc.summary()["submits"] == 900 + muted
    assert house.smsc.summary()["accepted"] == 900


@in_house(150)
async def test_parts_of_one_message_have_one_reference(house: House):
    house.judge(await house.send_all(LONG_TEXT))
    hashes = defaultdict(dict)
    for line in house.lines():
        hashes[int(line.destination)][line.part] = line.octets_hash  # of short_message as it came, UDH included
    text_of = {number: LONG_TEXT.replace("{name}", f"Member {number % 1_000}") for number in house.numbers}
    for number, found in hashes.items():
        fits = [
            reference
            for reference in range(256)
            if [zlib.crc32(part.octets) for part in parts(text_of[number], reference)] == [found[1], found[2], found[3]]
        ]
        assert len(fits) == 1, f"{number}: not the three parts of one text"
