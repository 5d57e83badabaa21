"""The road to the SMSC goes bad while both ends are well: half-open, a closed window (F10); names and TLS (F22)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from dispatcher.daemon.health import anon_mb
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_options import SmscOptions
from tests.fakes.authority import Authority
from tests.fakes.house import LONG_TEXT, House, in_house
from tests.fakes.relay import relay_to

NAME = "smsc.example"


@in_house(1_000, delay_ms=3, started=False, endpoint={"enquire_link_s": 0.3, "response_timeout_s": 60.0})
async def test_a_road_that_swallows_both_ways_is_noticed_by_its_silence(house: House, monkeypatch):
    monkeypatch.setattr("dispatcher.smpp.timers.ENQUIRE_ANSWER_S", 0.3)
    async with relay_to(house.smsc.port) as relay:
        house.port = relay.port
        await house.start()
        campaign = await house.send()
        await house.until(lambda: house.smsc.summary()["accepted"] >= 100)
        relay.swallow()
        await house.until(lambda: relay.connections >= 4)
        await house.until(lambda: house.state(campaign) == "done")
        counts = house.judge(campaign)
        assert 0 < counts["states"]["uncertain"] <= 2 * 20 and counts["unsent"] == 0
        assert house.dispatcher is not None
        assert {bind.last_error for bind in house.dispatcher.pool.binds} == {"enquire_link unanswered for 0.3 s"}


@in_house(2_000, started=False, endpoint={"binds": 1, "window": 5_000}, enquire_link_s=0.05)
async def test_a_peer_that_takes_nothing_while_it_goes_on_talking_is_left(house: House, monkeypatch):
    """Its window is closed; what it says itself answers every enquire_link."""
    monkeypatch.setattr("dispatcher.smpp.timers.STUCK_S", 0.5)
    async with relay_to(house.smsc.port) as relay:
        house.port = relay.port
        await house.start()
        await house.until(lambda: house.smsc.summary()["binds"] == 1)
        before = anon_mb()
        relay.hold()
        campaign = await house.send(LONG_TEXT)
        await house.until(lambda: relay.connections == 2)
        assert house.dispatcher is not None
        assert house.dispatcher.pool.binds[0].last_error == "the SMSC takes no octets for 0.5 s"
        assert anon_mb() - before < 100
        await house.until(lambda: house.state(campaign) == "done")
        counts = house.judge(campaign)
        assert 0 < counts["states"]["uncertain"] <= 5_000 // 3, "what its and our buffers had"
        assert counts["states"]["delivered"] + counts["states"]["uncertain"] == 2_000


class Names(trio.abc.HostnameResolver):
    """A name server whose answer changes: `address` None means that the name is gone."""

    address: str | None = "127.0.0.1"

    async def getaddrinfo(self, host: Any, port: Any, *_: int) -> list[Any]:
        if self.address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, int(port)))]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise NotImplementedError


@in_house(1_000, started=False, delay_ms=3, endpoint={"host": NAME, "rate": 5_000})
async def test_a_name_that_goes_and_comes_back_elsewhere_is_an_alarm_and_then_followed(house: House):
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    house.port = house.smsc.port
    await house.start()
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 100)
    names.address = None
    house.smsc.close_all("fin")
    await told(house, "name", NAME)
    accepted = house.smsc.summary()["accepted"]
    assert accepted < 1_000 and house.state(campaign) == "running"
    async with relay_to(house.smsc.port, "127.0.0.2", house.port) as relay:
        names.address = "127.0.0.2"
        await house.settled(campaign)
        assert relay.connections >= 2, "it was found at its new address"
        assert house.judge(campaign)["states"]["delivered"] >= 1_000 - 2 * 20
        assert [alarm["code"] for alarm in (await house.status())["alarms"]] == []
        await house.stop()


async def told(house: House, code: str, words: str) -> None:
    """Until that is the alarm, with its remedy."""

    async def heard() -> bool:
        alarms = (await house.status())["alarms"]
        return any(one["code"] == code and words in one["text"] and one["remedy"] for one in alarms)

    await house.until(heard)


@pytest.fixture(scope="module")
def carrier(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("carrier"), "carrier")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("expired", "certificate", "expired"),
        ("wrong name", "certificate", "other.example"),
        ("plain", "tls", "no TLS with"),
        ("hangs", "lost", "no TLS handshake in 0.2 s"),
    ],
)
@in_house(600, started=False, endpoint={"rate": 5_000})
async def test_tls_that_goes_wrong_in_mid_send_is_an_alarm_nothing_goes_in_the_clear_and_all_is_sent_after(
    house: House, carrier: Authority, fault: str, code: str, words: str
):
    good = await smsc_of(house, carrier.sign(NAME), log=house.log, delay_ms=3)
    house.smsc = good
    house.endpoint(
        tls=True, tls_ca=str(carrier.certificate), tls_server_name=NAME, bind_timeout_s=0.2, password="secret9"
    )
    async with relay_to(good.port) as relay, eavesdropper() as ear:
        house.port = relay.port
        await house.start()
        campaign = await house.send()
        await house.until(lambda: good.summary()["accepted"] >= 100)
        bad: Smsc | None = None
        if fault in ("plain", "hangs"):
            ear.hangs, relay.target = fault == "hangs", ear.port
        else:
            signed = carrier.sign(NAME, days=-1) if fault == "expired" else carrier.sign("other.example")
            bad = await smsc_of(house, signed)
            relay.target = bad.port
        relay.cut()
        await told(house, code, words if fault != "wrong name" else NAME)
        tries, accepted = relay.connections, good.summary()["accepted"]
        await trio.sleep(0.5)
        assert relay.connections - tries <= 2 * 0.5 / 0.025 + 4, (
            "each bind waits 25 to 50 ms at least between its tries"
        )
        assert b"volley" not in ear.heard and b"secret9" not in ear.heard, "never plain by itself"
        assert bad is None or not bad.summary()["binds"]
        assert good.summary()["accepted"] == accepted < 600 and house.state(campaign) == "running"
        relay.target = good.port
        await house.settled(campaign)
        counts = house.judge(campaign)
        assert counts["states"]["delivered"] + counts["states"]["uncertain"] == 600
        assert counts["states"]["uncertain"] <= 2 * 20 and (await house.status())["alarms"] == []
        await house.stop()


async def smsc_of(house: House, signed: tuple[Path, Path], **options: Any) -> Smsc:
    made = SmscOptions(tls_cert=signed[0], tls_key=signed[1], **options)
    return await house.nursery.start(lambda task_status: serve_smsc(made, task_status=task_status))


class Ear:
    """What listens where TLS is expected, and keeps what it is told."""

    def __init__(self) -> None:
        self.heard, self.hangs, self.port = b"", False, 0

    async def hear(self, stream: trio.SocketStream) -> None:
        async for octets in stream:
            self.heard += octets
            if not self.hangs:
                await stream.send_all(
                    b"\0\0\0\x10\x80\0\0\x09\0\0\0\0\0\0\0\1"
                )  # a bind_transceiver_resp, in the clear
                return


@asynccontextmanager
async def eavesdropper() -> AsyncIterator[Ear]:
    ear = Ear()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ear.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, ear.hear, listeners)
        yield ear
        nursery.cancel_scope.cancel()
