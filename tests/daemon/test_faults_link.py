"""Connections that end, hang or crawl (PITFALLS F1, F5, F10): the simulator's log says what it cost."""

from __future__ import annotations

import gc
import os
import resource
import time
from pathlib import Path

import pytest
import trio

from dispatcher.daemon.health import anon_mb
from dispatcher.smpp.consts import ESME_RALYBND
from dispatcher.smpp.smsc_options import DROPS
from tests.fakes.house import House, in_house

LONG = bool(os.environ.get("VOLLEY_LONG"))
MEMBERS = 200_000 if LONG else 2_000
DROP_EVERY = 5_000 if LONG else 400
REBINDS = int(os.environ.get("VOLLEY_REBINDS", 10_000 if LONG else 1_000))
REFUSED_S = 30.0 if LONG else 0.4


@pytest.mark.parametrize("how", DROPS)
@in_house(MEMBERS, delay_ms=1, endpoint={"enquire_link_s": 0.3, "response_timeout_s": 2.0})
async def test_however_a_connection_ends_in_mid_window_it_costs_that_window_at_most(house: House, how: str):
    house.smsc.change(drop_every=DROP_EVERY, drop_how=how)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["dropped"] >= 2)
    house.smsc.change(drop_every=0)
    house.smsc.change(refuse_for_s=REFUSED_S, refuse_status=ESME_RALYBND)  # the dead sessions are not forgotten yet
    await house.until(lambda: house.state(campaign) == "done", within_s=60 + 2 * REFUSED_S)
    counts = house.judge(campaign)
    window = house.settings.endpoints[0].window
    assert counts["states"]["uncertain"] <= window * house.smsc.summary()["dropped"]
    assert counts["unsent"] == 0


@in_house(MEMBERS, delay_ms=1)
async def test_sending_is_back_within_moments_of_the_bind_that_is_allowed_again(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= MEMBERS // 10)
    house.smsc.change(refuse_for_s=REFUSED_S, refuse_status=ESME_RALYBND)
    house.smsc.close_all("rst")
    await house.until(lambda: house.smsc.summary()["binds_refused"] >= 2)
    await house.until(lambda: house.smsc.summary()["binds"] >= 4, within_s=30 + REFUSED_S)
    began, before = time.monotonic(), house.smsc.summary()["accepted"]
    await house.until(lambda: house.smsc.summary()["accepted"] >= before + 200)
    assert time.monotonic() - began < 5.0
    await house.settled(campaign)
    house.judge(campaign)


@in_house(400, endpoint={"window": 10, "enquire_link_s": 1.0}, enquire_link_s=0.2, inactivity_s=3.0)
async def test_a_slow_smsc_is_waited_for_and_its_questions_are_answered_meanwhile(house: House):
    house.smsc.change(delay_ms=10_000 if LONG else 1_200)
    campaign = await house.send()
    await house.until(lambda: house.dispatcher.pool.in_flight >= 20)
    began, used = time.monotonic(), time.process_time()
    await trio.sleep(1.0)
    assert (time.process_time() - used) / (time.monotonic() - began) < 0.5, (
        "a full window is waited for, not asked after"
    )
    house.smsc.change(delay_ms=0)
    await house.until(lambda: house.state(campaign) == "done")
    await house.settled(campaign)
    counts, summary = house.judge(campaign), house.smsc.summary()
    assert counts["states"]["delivered"] == 400 and summary["fell_silent"] == 0 and summary["binds"] == 2


@in_house(1_000, endpoint={"enquire_link_s": 0.3, "response_timeout_s": 1.0}, dispatcher={"holding_s": 0.3})
async def test_a_peer_that_has_fallen_silent_is_noticed_left_and_bound_again(house: House):
    house.smsc.change(delay_ms=3)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 100)
    house.smsc.close_all("half-open")
    await house.until(lambda: house.smsc.summary()["binds"] >= 4, within_s=45)
    await house.until(lambda: house.state(campaign) == "done")
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] <= 2 * 20 and counts["unsent"] == 0


@pytest.mark.parametrize("slow", [{"read_rate": 30_000.0}, {"write_rate": 10_000.0}], ids=["reads", "writes"])
@in_house(600, endpoint={"binds": 1, "window": 100})
async def test_a_peer_that_reads_or_writes_octet_by_octet_gets_everything_once(house: House, slow: dict[str, float]):
    before = anon_mb()
    house.smsc.change(**slow)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 150)
    assert anon_mb() - before < 100
    house.smsc.change(read_rate=0.0, write_rate=0.0)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 600


@in_house(50, endpoint={"binds": 4, "reconnect_min_s": 0.01, "reconnect_max_s": 0.01})
async def test_after_any_number_of_rebinds_memory_and_descriptors_are_what_they_were(house: House):
    async def rebinds(count: int) -> tuple[float, int]:
        wanted = house.smsc.summary()["binds"] + count
        while house.smsc.summary()["binds"] < wanted:
            bound = house.smsc.summary()["binds"]
            house.smsc.close_all("rst" if bound % 2 else "fin")
            if bound % 100 < 4:
                gc.collect()  # the simulator is in this process too: its half megabyte a connection may lie in a cycle
            await house.until(lambda bound=bound: house.smsc.summary()["binds"] > bound)
        await house.until(lambda: house.dispatcher.pool.bound == 4)
        gc.collect()
        return anon_mb(), len(list(Path("/proc/self/fd").iterdir()))

    # The allocator keeps what ended connections had, some 50 MB by the 1,600th rebind, and takes from that afterwards.
    mb, descriptors = await rebinds(2_000 if LONG else 100)
    mb_after, descriptors_after = await rebinds(REBINDS)
    assert abs(descriptors_after - descriptors) <= 8  # connections that are just ending
    assert mb_after - mb < (10 if LONG else 60)
    assert descriptors_after < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    house.judge(await house.send_all())
