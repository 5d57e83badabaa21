"""Several endpoints in one dispatcher: shares by weight, failover and back, kills, removed ones; nothing lost or doubled."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import trio

from config import Route
from dispatcher.control import commands as c
from dispatcher.daemon.reload import apply_settings
from dispatcher.records.states import Decision
from dispatcher.smpp.pump import BULK
from dispatcher.store.endpoints import endpoint_numbers
from tests.fakes.house import FIRST_NUMBER, LONG_TEXT
from tests.fakes.houses import Houses, in_houses

SOON = Route(name="soon", endpoints=("a", "b"), failover_after_s=0.2)
LATE = Route(name="late", endpoints=("a", "b"), failover_after_s=1_000.0)


def all_delivered(house: Houses, campaign: int, count: int) -> None:
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == count, counts


@in_houses(3_000, endpoints={"a": {"weight": 3}, "b": {"weight": 1}})
async def test_endpoints_share_by_weight(house: Houses):
    campaign = await house.send_all()
    all_delivered(house, campaign, 3_000)
    assert len(house.lines_of("a")) == pytest.approx(2_250, rel=0.05)
    assert len(house.lines_of("b")) == 3_000 - len(house.lines_of("a"))


@in_houses(1_500, routes=[SOON])
async def test_while_one_is_down_the_other_sends_everything(house: Houses):
    house.down("b")
    campaign = await house.send_all()
    all_delivered(house, campaign, 1_500)
    assert len(house.lines_of("a")) >= 1_400
    house.up("b")
    await house.bound("a", "b")
    again = await house.send("Again {name}")
    await house.settled(again)
    assert len(house.lines_of("b")) >= 600


@in_houses(1_500, routes=[LATE])
async def test_one_that_is_down_does_not_stop_the_others_share_and_its_own_waits(house: Houses):
    await house.bound("a", "b")
    house.down("b")
    await house.until(lambda: house.dispatcher.channels[1].pool.bound == 0)
    campaign = await house.send()
    await house.until(lambda: len(house.lines_of("a")) > 650)
    await trio.sleep(0.3)
    assert house.state(campaign) == "running" and len(house.lines_of("b")) == 0
    house.up("b")
    await house.settled(campaign)
    all_delivered(house, campaign, 1_500)
    assert len(house.lines_of("b")) == pytest.approx(750, rel=0.1)


@in_houses(20_000, routes=[SOON], delay_ms=10, endpoints={"a": {"window": 10}, "b": {"window": 10}})
async def test_in_mid_send_one_goes_down_and_comes_back(house: Houses):
    campaign = await house.send()
    for _ in range(2):
        await house.until(lambda: house.dispatcher.channels[1].pool.bound == 2)
        before = len(house.lines_of("b"))
        await house.until(lambda: len(house.lines_of("b")) > before + 50)  # noqa: B023
        house.down("b")
        await house.until(lambda: house.dispatcher.channels[1].book.queued(BULK) == 0)
        house.up("b")
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] + counts["states"]["uncertain"] == 20_000
    assert counts["states"]["uncertain"] <= 2 * 20, "the windows of the binds that broke"


@in_houses(1_200, routes=[SOON], started=False)
async def test_long_texts_stay_whole_over_a_failover(house: Houses):
    house.settings = replace(house.settings, endpoints=tuple(replace(e, window=7) for e in house.settings.endpoints))
    for smsc in house.smscs:
        smsc.change(delay_ms=10)
    await house.start()
    campaign = await house.send(LONG_TEXT)
    await house.until(lambda: len(house.lines_of("a")) > 200)
    house.down("a", "fin")
    await house.until(lambda: len(house.lines_of("b")) > 900)
    house.up("a")
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    house.judge(campaign)


@in_houses(600, routes=[
    Route(name="even", endpoints=("a",), prefixes=tuple(f"{FIRST_NUMBER // 1000}{n}" for n in range(0, 10, 2))),
    Route(name="odd", endpoints=("b",), prefixes=("4915100000",), tenants=("1",)),
])  # fmt: skip
async def test_the_longest_prefix_says_where(house: Houses):
    campaign = await house.send_all()
    all_delivered(house, campaign, 600)
    assert {line.destination[10] for line in house.lines_of("a")} == {"0", "2", "4"}
    assert {line.destination[10] for line in house.lines_of("b")} == {"1", "3", "5"}


@in_houses(300, routes=[Route(name="few", endpoints=("a",), prefixes=(f"{FIRST_NUMBER // 1000}1",))])
async def test_a_number_without_a_route_is_skipped_with_the_reason(house: Houses):
    campaign = await house.send_all()
    counts = house.judge(campaign)
    assert counts["skipped"] == {Decision.NO_ROUTE.word: 200} and counts["states"]["delivered"] == 100


@in_houses(50, routes=[SOON])
async def test_an_answer_goes_by_the_endpoint_that_asked(house: Houses):
    await house.bound("a", "b")
    asked = {"a": house.numbers[:20], "b": house.numbers[20:40]}
    for name, numbers in asked.items():
        for number in numbers:
            house.of[name].inject_mo(str(number), "10690000", "POINTS")
    await house.until(lambda: len(house.lines()) == 40)
    for name, numbers in asked.items():
        assert sorted(int(line.destination) for line in house.lines_of(name)) == numbers


@in_houses(50, routes=[SOON])
async def test_single_messages_are_routed_and_fail_over(house: Houses):
    await house.bound("a", "b")
    messages = [{"to": str(n), "text": "your code", "purpose": "otp"} for n in house.numbers]
    await house.do(c.SendMessages(messages=messages))
    await house.until(lambda: len(house.lines()) == 50)
    assert house.lines_of("a") and house.lines_of("b")
    house.down("a")
    await house.until(lambda: house.dispatcher.channels[0].pool.bound == 0)
    await house.do(c.SendMessages(messages=messages))
    await house.until(lambda: len(house.lines()) == 100)
    assert len(house.lines_of("b")) > 70


@in_houses(400, receipt_delay_ms=60)
async def test_receipts_are_settled_by_account_though_both_count_their_ids_alike(house: Houses):
    campaign = await house.send_all()
    all_delivered(house, campaign, 400)
    assert house.dispatcher.channels[0].book.receipts == len(house.lines_of("a"))


@in_houses(800, hold_receipts=100_000, hold_idle_s=0)
async def test_receipts_that_come_after_a_restart_find_their_messages_by_account(house: Houses):
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done")
    await house.restart()
    await house.bound("a", "b")
    for smsc in house.smscs:
        smsc.release_receipts()
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 800)
    house.judge(campaign)


@in_houses(600, "a", "b", "c")
async def test_numbers_of_endpoints_are_for_ever(house: Houses):
    assert [channel.number for channel in house.dispatcher.channels] == [0, 1, 2]
    await house.stop()
    a, b, c_ = house.settings.endpoints
    house.settings = replace(house.settings, endpoints=(c_, replace(b, name="new"), a))
    house.of["new"] = house.of["b"]
    await house.start()
    assert [(channel.name, channel.number) for channel in house.dispatcher.channels] == [("c", 2), ("new", 3), ("a", 0)]
    with house.store.snapshot() as view:
        assert endpoint_numbers(view) == {"a": 0, "b": 1, "c": 2, "new": 3}
    house.of.pop("new")
    await house.send_all()


@in_houses(900, started=False)
async def test_what_an_endpoint_that_was_taken_out_left_is_settled_or_sent_by_the_others(house: Houses):
    for smsc in house.smscs:
        smsc.change(delay_ms=400)
    await house.start()
    campaign = await house.send()
    await house.until(lambda: len(house.lines_of("b")) >= 40)
    await house.stop()
    uncertain = house.counts(campaign)["states"]["uncertain"]
    assert uncertain <= 80
    house.settings = replace(house.settings, endpoints=house.settings.endpoints[:1])
    house.of["a"].change(delay_ms=0)
    await house.start()
    await house.until(lambda: house.state(campaign) == "done")
    counts = house.judge(campaign)
    assert counts["sent"] == 900 and counts["states"]["uncertain"] <= uncertain


@in_houses(700)
async def test_a_campaigns_own_rate_holds_over_all_endpoints_and_changes_while_it_is_sent(house: Houses):
    await house.bound("a", "b")
    campaign = await house.send(rate=100)
    await house.until(lambda: len(house.lines()) >= 150)
    at_ms = sorted(line.at_ms for line in house.lines())
    assert all(later - first >= 900 for first, later in zip(at_ms, at_ms[100:], strict=False)), (
        "100 in any second, as far as a busy machine reads in time"
    )
    await house.do(c.SetCampaignRate(campaign=campaign, rate=0))
    began = trio.current_time()
    await house.settled(campaign)
    assert trio.current_time() - began < 3
    all_delivered(house, campaign, 700)


@in_houses(900, endpoints={"a": {"statuses": {"0x45": "fail", "0x55f": "hold"}}, "b": {}})
async def test_what_a_status_means_is_each_endpoints_own(house: Houses):
    for name in ("a", "b"):
        house.of[name].change(status_every=((10, 0x45),))
    campaign = await house.send_all()
    counts = house.judge(campaign)
    refused = {name: house.of[name].summary()["submits"] - house.of[name].summary()["accepted"] for name in ("a", "b")}
    assert 20 < refused["a"] <= counts["states"]["failed"] <= refused["a"] + 5, "a fails for good, b tries three times"
    assert refused["b"] > 20 and counts["states"]["delivered"] == 900 - counts["states"]["failed"]


@in_houses(1_500, endpoints={"a": {"statuses": {"0x55f": "hold"}}})
async def test_a_campaign_that_is_refused_for_what_it_is_is_held(house: Houses):
    house.of["a"].change(status_every=((2, 0x55F),), delay_ms=150)
    house.of["b"].change(delay_ms=150)
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "held")
    for smsc in house.smscs:
        smsc.change(status_every=(), delay_ms=0)
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["failed"] + counts["states"]["delivered"] == 1_500


@in_houses(3_000, "a", "b", "c", started=False, routes=[SOON])
async def test_a_reload_adds_changes_and_removes_endpoints_in_mid_send(house: Houses):
    every = house.settings.endpoints
    for smsc in house.smscs:
        smsc.change(delay_ms=40)
    house.settings = replace(house.settings, endpoints=every[:2])
    await house.start()
    d, ends = house.dispatcher, {e.name: e for e in house.settings.endpoints}
    campaign = await house.send()
    await house.until(lambda: len(house.lines_of("b")) > 100)
    connections = house.of["a"].summary()["connections"]
    three = replace(every[2], port=house.of["c"].port)
    routes = (Route(name="soon", endpoints=("a", "c"), failover_after_s=0.2),)
    fresh = replace(house.settings, endpoints=(replace(ends["a"], rate=5_000, weight=2), three), routes=routes)
    done = await apply_settings(d, fresh)
    assert (done["added"], done["changed"], done["removed"]) == (["c"], ["a"], ["b"])
    await house.until(lambda: [c.name for c in d.channels] == ["a", "c"])
    assert house.of["a"].summary()["connections"] == connections, "its binds live on"
    sent_by_b = len(house.lines_of("b"))
    await house.until(lambda: house.state(campaign) == "done")
    assert len(house.lines_of("b")) == sent_by_b and house.lines_of("c")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] < sent_by_b)
    counts = house.judge(campaign)
    assert counts["sent"] == 3_000 and counts["states"]["uncertain"] == 0


@in_houses(400, hold_receipts=100_000, hold_idle_s=0)
async def test_an_endpoint_that_comes_back_finds_its_messages_by_their_receipts(house: Houses):
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done")
    both = house.settings
    await apply_settings(house.dispatcher, replace(both, endpoints=both.endpoints[:1]))
    await house.until(lambda: len(house.dispatcher.channels) == 1)
    await apply_settings(house.dispatcher, both)
    await house.bound("a", "b")
    for smsc in house.smscs:
        smsc.release_receipts()
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 400)


@in_houses(200, process=True)
async def test_a_file_with_an_error_keeps_the_old_settings_and_says_why(house: Houses):
    file = house.settings.data / "volley.toml"
    good = file.read_text()
    file.write_text(good.replace("window = 20", "window = 0"))
    house.child.send_signal(signal.SIGHUP)
    await house.until(lambda: said(house))
    assert "window = 0" in (await house.status())["reload_error"]
    file.write_text(good.replace("window = 20", "window = 33"))
    house.child.send_signal(signal.SIGHUP)
    await house.until(lambda: cleared(house))
    campaign = await house.send_all()
    all_delivered(house, campaign, 200)


async def said(house: Houses) -> bool:
    return bool((await house.status())["reload_error"])


async def cleared(house: Houses) -> bool:
    return not await said(house)


@in_houses(2_500, process=True, delay_ms=10, dispatcher={"claim_ahead_max": 64})
async def test_a_kill_leaves_uncertain_only_what_may_have_left_by_either_endpoint(house: Houses):
    campaign = await house.send()
    credit = 0
    for part in (1, 2, 3):
        await house.until(lambda: len(house.lines()) >= 550 * part)  # noqa: B023
        house.child.kill()
        await house.child.wait()
        await house.start()
        recovery = (await house.status())["recoveries"][-1]
        assert recovery["at_or_above_mark"] == 0 and recovery["uncertain"] <= recovery["claim_credit"]
        assert set(recovery["credits"]) <= {"a", "b"}
        credit += recovery["uncertain"]
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == 0)
    counts = house.judge(campaign)
    assert counts["sent"] == 2_500 and counts["states"]["uncertain"] <= credit
