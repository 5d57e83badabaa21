"""The dispatcher as a process: SIGTERM under load, a second one on the folder, a store of a later version."""

from __future__ import annotations

import signal
import time

import pytest
import trio

from dispatcher.__main__ import EXIT_LOCKED, EXIT_NEWER_SCHEMA
from dispatcher.control import commands as c
from dispatcher.records.changes import Changes
from dispatcher.store import open_store
from dispatcher.store.layout import SCHEMA
from dispatcher.store.values import pack
from tests.fakes.house import LONG_TEXT, House, in_house, open_dispatcher


async def stopped_within(house: House, seconds: float) -> None:
    began = time.monotonic()
    await house.stop()  # asserts exit status 0
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize("text", ["Hello {name}", LONG_TEXT], ids=["one part", "three parts"])
@in_house(3_000, process=True, delay_ms=20)
async def test_sigterm_under_load_ends_it_cleanly_and_the_rest_is_sent_by_the_next(house: House, text: str):
    campaign = await house.send(text)
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    await stopped_within(house, 3.0)
    sent = house.smsc.summary()["accepted"]
    assert sent < 3_000
    assert house.smsc.summary()["submits"] == sent
    house.smsc.change(delay_ms=0)
    await house.start()
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == 3_000, "nothing uncertain, nothing twice: every window was answered"


@in_house(2_000, delay_ms=20)
async def test_a_stop_leaves_nothing_claimed_so_that_even_a_boot_makes_nothing_uncertain(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    await house.stop()
    counts = house.counts(campaign)
    assert counts["states"]["claimed"] == counts["states"]["uncertain"] == 0
    with (house.settings.data / "marks").open("r+b") as marks:
        marks.seek(64)
        marks.write(b"another boot".ljust(36))
    house.smsc.change(delay_ms=0)
    await house.start()
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 2_000


@in_house(500, process=True, mute_every=1)
async def test_sigterm_with_an_smsc_that_answers_nothing_still_ends_in_time(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["submits"] >= 40)
    await stopped_within(house, 1.5 + 2.0 + 2.0)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] == 40, "both windows"
    assert counts["states"]["claimed"] == 0 and counts["unsent"] == 460


@in_house(300, process=True, refuse_binds=-1)
async def test_sigterm_without_a_bind_ends_at_once(house: House):
    await house.send()
    await house.until(lambda: house.smsc.summary()["binds_refused"] >= 2)
    await stopped_within(house, 2.0)


@in_house(200, process=True)
async def test_sigint_is_as_good_and_a_second_signal_changes_nothing(house: House):
    campaign = await house.send_all()
    child = house.child
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert await child.wait() == 0
    house.child = None
    house.judge(campaign)


@in_house(10, process=True)
async def test_a_second_dispatcher_on_the_folder_is_refused_at_once_and_harms_nothing(house: House):
    began = time.monotonic()
    other = await open_dispatcher(house.settings.data)
    assert await other.wait() == EXIT_LOCKED
    assert time.monotonic() - began < 5.0
    assert "another dispatcher" in (house.settings.data / "dispatcher.log").read_text()
    house.judge(await house.send_all())
    assert (await house.do(c.AskStatus(), tenant=0))["totals"]["accepted"] == 10


@in_house(1, started=False)
async def test_a_store_of_a_later_version_is_left_alone(house: House):
    with open_store(house.settings.data, write=True, sync=False) as store:
        changes = Changes()
        changes.put("meta", b"schema", pack({"schema": SCHEMA + 1, "map_size": 1 << 40}))
        store.apply(changes)
    house.process = True
    child = await open_dispatcher(house.settings.data)
    with trio.fail_after(10):
        assert await child.wait() == EXIT_NEWER_SCHEMA
    assert f"schema {SCHEMA + 1}" in (house.settings.data / "dispatcher.log").read_text()
