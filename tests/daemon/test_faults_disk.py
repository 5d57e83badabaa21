"""A full disk: RLIMIT_FSIZE a little above the store's size makes commits fail as ENOSPC does, until it is raised."""

from __future__ import annotations

import resource
import time

import pytest
import trio

from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from tests.fakes.house import BRAND, SENDER, House, in_house, limit_files, reply_to

PAGE = 4_096


def store_octets(house: House) -> int:
    return (house.settings.data / "store" / "data.mdb").stat().st_size // PAGE * PAGE


def fill_disk(house: House) -> None:
    limit_files(house.child.pid, store_octets(house))


def free_disk(house: House) -> None:
    limit_files(house.child.pid, resource.RLIM_INFINITY)


async def is_full(house: House) -> bool:
    return bool((await house.status())["writer"]["full"])


async def stands(house: House) -> None:
    """Until nothing has been submitted for a while."""
    submits = -1
    while submits != house.smsc.summary()["submits"]:
        submits = house.smsc.summary()["submits"]
        await trio.sleep(0.3)


@in_house(3_000, process=True, delay_ms=10)
async def test_a_disk_that_fills_in_mid_send_stops_it_and_room_again_lets_it_go_on(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    fill_disk(house)
    await house.until(lambda: is_full(house))
    with pytest.raises(CommandRefused) as refused:
        await house.do(c.CreateCampaign(title="more", text="more"))
    assert refused.value.status == 507
    house.smsc.inject_mo(str(house.numbers[5]), SENDER, "is anybody there?")
    await house.until(lambda: house.smsc.summary()["came_again"] >= 1)
    await stands(house)
    before = house.counts(campaign)
    assert before["accepted"] <= house.smsc.summary()["accepted"]
    assert before["states"]["delivered"] <= house.smsc.summary()["receipts_answered"] + 40
    assert not house.inbox() and house.smsc.summary()["mo_answered"] == 0, "answered is kept, and nothing was kept"
    free_disk(house)
    house.smsc.change(delay_ms=0)
    await house.settled(campaign)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 1)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == 3_000
    assert [row["text"] for row in house.inbox()] == ["is anybody there?"]
    assert not await is_full(house)
    await house.do(c.CreateCampaign(title="more", text="more"))


@in_house(300, process=True)
async def test_an_opt_out_while_the_disk_is_full_comes_again_and_is_then_obeyed(house: House):
    await house.send_all()
    fill_disk(house)
    number = house.numbers[3]
    texts = [f"hello {n} " + "x" * 100 for n in range(200)]
    for n, text in enumerate(texts):
        house.smsc.inject_mo(str(4_917_000_000_000 + n), SENDER, text)
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.until(lambda: house.smsc.summary()["came_again"] > 0)
    await trio.sleep(0.3)
    heard = len(house.inbox())
    assert house.smsc.summary()["mo_answered"] == heard, "0 was answered to what is on disk and to nothing else"
    free_disk(house)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 201)
    assert len(house.inbox()) == 201
    confirmed = f"{BRAND}: you are unsubscribed and will get no more messages from us."
    await house.until(lambda: len(house.lines(number)) == 2)
    second = await house.send_all("News for {name}")
    counts = house.counts(second)
    assert counts["skipped"] == {"opted_out": 1} and counts["states"]["delivered"] == 299
    assert house.lines(number)[-1].octets_hash == reply_to(number, confirmed).octets_hash


@in_house(2_000, process=True, delay_ms=10)
async def test_sigterm_on_a_full_disk_ends_in_time_and_what_it_could_not_write_is_uncertain_not_lost(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    fill_disk(house)
    await house.until(lambda: is_full(house))
    began = time.monotonic()
    house.child.terminate()
    status = await house.child.wait()
    assert time.monotonic() - began < 1.5 + 2.0 + 2.5, "drain, unbind, flush"
    assert status == 1, "it says that something is missing"
    house.smsc.change(delay_ms=0)
    await house.start()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] + counts["states"]["uncertain"] == 2_000


@in_house(3_000, process=True, delay_ms=10)
async def test_a_start_on_a_full_disk_sends_what_it_could_claim_and_the_rest_when_there_is_room(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    await house.stop()
    await house.start(file_octets=store_octets(house))
    await house.until(lambda: is_full(house))
    await stands(house)
    free_disk(house)
    house.smsc.change(delay_ms=0)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 3_000
