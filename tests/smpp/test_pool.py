"""The binds of an endpoint against the simulator: pairs, several addresses, refusals, commands, reloads."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest
import trio

from dispatcher.smpp import pulse
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.rebind import Alarm
from dispatcher.smpp.smsc_options import AccountOptions
from dispatcher.smpp.watchdogs import Cure, Finding
from tests.smpp.pools import Rig, with_pool

SECOND = 1_000_000_000


def closed_port() -> int:
    """Where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_a_pool_binds_and_sends_over_all_its_binds():
    async def test(rig: Rig) -> None:
        await rig.bound()
        assert rig.pool.window_per_s() == 0, "nothing is known of its answers yet"
        await rig.send(200)
        assert [bind.state for bind in rig.pool.binds] == ["bound", "bound"]
        seen = [bind.statistics() for bind in rig.pool.binds]
        assert sum(bind["submits"] for bind in seen) == 200 and all(bind["submits"] > 0 for bind in seen)
        assert seen[0]["name"] == "e.0" and seen[0]["smsc"] and seen[0]["response_ms_p99"] >= seen[0]["response_ms_p50"]
        slowest, fastest = max(one["response_ms_p50"] for one in seen), min(one["response_ms_p50"] for one in seen)
        windows = 2 * rig.pool.endpoint.window
        assert int(1_000 * windows / slowest) <= rig.pool.window_per_s() <= 1_000 * windows / fastest + 1

    with_pool(test)


def test_a_pair_sends_over_its_transmitter_and_hears_over_its_receiver():
    async def test(rig: Rig) -> None:
        await rig.until(lambda: all(bind.pump is not None for bind in rig.pool.binds))
        assert [bind.mode for bind in rig.pool.binds] == ["tx", "rx", "tx", "rx"] and rig.pool.bound == 2
        await rig.send(50)
        await rig.until(lambda: rig.book.receipts == 50)
        for bind in rig.pool.binds:
            counts = bind.statistics()
            assert (counts["submits"] > 0) == (bind.mode == "tx") and (counts["receipts"] > 0) <= (bind.mode == "rx")

    with_pool(test, endpoint={"bind_as": "tx_rx"})


def test_several_addresses_are_tried_in_turn():
    async def test(rig: Rig) -> None:
        await rig.bound()
        assert all(bind.place[1] == rig.smsc.port for bind in rig.pool.binds)
        rig.smsc.close_all()
        await rig.until(lambda: rig.pool.bound == 0)
        await rig.bound()
        await rig.send(20)

    async def first(rig: Rig) -> None:
        endpoint = replace(rig.pool.endpoint, port=closed_port(), addresses=(f"127.0.0.1:{rig.smsc.port}",))
        rig.pool.replace(endpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.pool.run)
            await test(rig)
            nursery.cancel_scope.cancel()

    with_pool(first, started=False)


def test_a_wrong_password_is_tried_once_by_one_bind_and_is_an_alarm_with_its_remedy():
    async def test(rig: Rig) -> None:
        await rig.until(lambda: rig.pool.alarms())
        await trio.sleep(0.3)
        (alarm,) = rig.pool.alarms()
        assert alarm["code"] == "credentials" and "ESME_RINVPASWD" in alarm["text"] and "password" in alarm["remedy"]
        assert rig.smsc.summary()["binds_refused"] == 1
        rig.pool.replace(replace(rig.pool.endpoint, password="right"))
        await rig.bound()
        assert rig.pool.alarms() == []

    with_pool(
        test,
        endpoint={"binds": 4, "password": "wrong"},
        accounts=(AccountOptions(system_id="volley", password="right"),),
    )


def test_a_session_still_held_is_asked_for_again_and_again_at_one_pace():
    async def test(rig: Rig) -> None:
        await rig.bound()
        assert rig.smsc.summary()["binds_refused"] == 6

    with_pool(test, refuse_binds=6, refuse_status=0x05)


def test_a_name_that_is_none_and_a_port_without_smpp_are_alarms_while_the_dispatcher_goes_on():
    async def test(rig: Rig) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def speak_http(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, speak_http, listeners)
            port = listeners[0].socket.getsockname()[1]
            for endpoint, code, words in (
                (replace(rig.pool.endpoint, host="no-such-host.invalid"), "name", "no-such-host.invalid"),
                (replace(rig.pool.endpoint, port=closed_port()), "connect", "127.0.0.1"),
                (replace(rig.pool.endpoint, port=port), "protocol", "HTTP"),
            ):
                rig.pool.replace(endpoint)
                await rig.until(lambda code=code: {alarm["code"] for alarm in rig.pool.alarms()} == {code})
                assert all(words in alarm["text"] and alarm["remedy"] for alarm in rig.pool.alarms())
            nursery.cancel_scope.cancel()

    with_pool(test, endpoint={"binds": 1, "rate": 1_000})


def test_an_endpoint_elsewhere_without_any_rate_is_an_alarm_and_a_simulator_here_is_none():
    async def test(rig: Rig) -> None:
        assert rig.pool.alarms() == []
        rig.pool.replace(replace(rig.pool.endpoint, host="smsc.example"))
        assert [alarm["code"] for alarm in rig.pool.alarms()] == ["no_rate"]
        for limit in ({"rate": 500}, {"bind_rate": 50}):
            rig.pool.replace(replace(rig.pool.endpoint, **{"rate": 0, "bind_rate": 0} | limit))
            assert rig.pool.alarms() == []

    with_pool(test, started=False)


def test_an_operator_disconnects_drains_and_connects_one_bind_while_the_other_sends():
    async def test(rig: Rig) -> None:
        await rig.bound()
        one, other = rig.pool.binds
        assert rig.pool.find("e.1") == [other] and rig.pool.find("e") == [one, other] and rig.pool.find("x.0") == []
        rig.pool.disconnect(one)
        await rig.until(lambda: one.state == "disconnected", 1)
        await rig.send(30)
        assert one.pump is None
        rig.pool.connect(one)
        await rig.bound()
        await rig.send(30)
        rig.pool.drain_bind(other)
        await rig.until(lambda: other.state == "drained", 1)
        await rig.send(30)
        assert rig.smsc.summary()["accepted"] == 90 and rig.book.uncertain == 0
        assert other.statistics()["state"] == "drained"

    with_pool(test)


def test_a_disconnect_makes_what_is_in_the_window_uncertain_and_a_drain_waits_for_it():
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.claim(5)
        await rig.until(lambda: rig.pool.in_flight == 5)
        rig.pool.drain_bind(rig.bind())
        await rig.until(lambda: rig.bind().state == "drained")
        assert (rig.book.accepted, rig.book.uncertain) == (5, 0)
        rig.pool.connect(rig.bind())
        await rig.bound()
        rig.claim(5)
        await rig.until(lambda: rig.pool.in_flight == 5)
        rig.pool.disconnect(rig.bind())
        await rig.until(lambda: rig.bind().state == "disconnected", 0.1)
        assert (rig.book.accepted, rig.book.uncertain) == (5, 5)

    with_pool(test, endpoint={"binds": 1}, delay_ms=200)


def test_a_paused_bind_stays_bound_for_receipts_and_submits_nothing_until_it_is_connected():
    async def test(rig: Rig) -> None:
        await rig.bound()
        await rig.send(20)
        for bind in rig.pool.binds:
            rig.pool.pause(bind)
        assert rig.pool.bound == 0 and [bind.state for bind in rig.pool.binds] == ["paused", "paused"]
        rig.claim(20)
        rig.smsc.release_receipts()
        await rig.until(lambda: rig.smsc.summary()["receipts_answered"] == 20)
        assert rig.smsc.summary()["submits"] == 20
        rig.pool.rebind(rig.bind())
        await rig.until(lambda: rig.bind().binds == 2)
        assert rig.bind().state == "paused", "a new connection is no change of mind"
        rig.pool.connect(rig.bind())
        await rig.until(lambda: rig.book.accepted == 40)
        assert [bind.state for bind in rig.pool.binds] == ["bound", "paused"]

    with_pool(test, hold_receipts=20, hold_idle_s=0)


def test_a_bind_that_we_end_ourselves_is_bound_again_at_once_and_its_end_is_no_error():
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.pool.rebind(rig.bind())
        await rig.until(lambda: rig.bind().binds == 2 and rig.bind().state == "bound", 1)
        rig.pool.drain_bind(rig.bind())
        await rig.until(lambda: rig.bind().state == "drained", 1)
        rig.pool.rebind(rig.bind())
        await rig.until(lambda: rig.bind().state == "bound", 1)
        assert rig.bind().last_error == "" and rig.pool.alarms() == []
        rig.smsc.close_all()
        await rig.until(lambda: "closed by the SMSC" in rig.bind().last_error)

    with_pool(test, endpoint={"binds": 1, "reconnect_min_s": 5.0, "reconnect_max_s": 5.0})


def test_the_binds_behind_a_refused_one_say_that_they_wait():
    async def test(rig: Rig) -> None:
        await rig.until(lambda: rig.bind().alarm is not None)
        await rig.until(lambda: [bind.state for bind in rig.pool.binds].count("waiting") == 2)
        assert "ESME_RINVPASWD (0x0000000E)" in rig.bind().last_error
        rig.smsc.change(refuse_binds=0)
        rig.pool.connect(rig.bind())
        await rig.bound()

    with_pool(test, endpoint={"binds": 3}, refuse_binds=-1, refuse_status=0x0E)


def test_a_reload_changes_rates_and_timers_under_living_binds_and_the_number_of_binds():
    async def test(rig: Rig) -> None:
        await rig.bound()
        pumps = list(rig.pool.pumps())
        rig.pool.replace(replace(rig.pool.endpoint, rate=50, bind_rate=40, enquire_link_s=5.0, inactivity_s=9.0))
        assert rig.book.rate == 50 and pumps[0].pace.rate == 40 and list(rig.pool.pumps()) == pumps
        rig.pool.replace(replace(rig.pool.endpoint, binds=3))
        await rig.bound(3)
        rig.pool.replace(replace(rig.pool.endpoint, binds=1))
        await rig.until(lambda: len(rig.smsc._peers) == 1)
        assert list(rig.pool.pumps()) == pumps[:1]

    with_pool(test)


def test_a_reload_of_the_connection_makes_the_binds_anew_one_after_the_other():
    async def test(rig: Rig) -> None:
        await rig.bound()
        seen: list[int] = []

        async def look() -> None:
            while True:
                seen.append(rig.pool.bound)
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            rig.pool.replace(replace(rig.pool.endpoint, system_id="other"))
            await rig.until(lambda: all(bind.binds == 2 for bind in rig.pool.binds))
            nursery.cancel_scope.cancel()
        assert min(seen) >= 2
        await rig.send(10)
        assert rig.book.uncertain == 0

    with_pool(test, endpoint={"binds": 3})


def test_an_outbind_of_the_configured_smsc_is_bound_over_and_of_another_is_not():
    port = closed_port()

    async def test(rig: Rig) -> None:
        await rig.bound()
        assert rig.bind().binds == 1
        await rig.send(20)
        stranger = await trio.open_tcp_stream("127.0.0.1", port)
        async with stranger:
            await stranger.send_all(b"\0\0\0\x10" + CommandId.SUBMIT_SM.to_bytes(4) + bytes(8))
            assert await stranger.receive_some() == b""

    # its own address answers nobody: the only way to a bind is the SMSC's call
    keys = {"binds": 1, "port": closed_port(), "outbind_listen": f"127.0.0.1:{port}", "reconnect_max_s": 30.0}
    with_pool(test, endpoint=keys | {"reconnect_min_s": 30.0}, outbind=f"127.0.0.1:{port}")


@pytest.mark.parametrize("how", ["fin", "rst", "unbind"])
def test_a_thousand_messages_survive_connections_that_end(how):
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.claim(1_000)
        await rig.until(lambda: rig.book.accepted + rig.book.uncertain >= 1_000)
        assert rig.smsc.summary()["accepted"] >= rig.book.accepted
        assert rig.book.open_parts - rig.book.journal_records_waiting <= 0 or rig.pool.in_flight == 0

    with_pool(test, drop_every=100, drop_how=how)


def test_the_watchdogs_see_a_live_pool_and_their_cure_makes_a_bind_anew():
    async def test(rig: Rig) -> None:
        await rig.bound()
        await rig.send(100)
        await rig.until(lambda: rig.book.receipts == 100 and rig.pool.in_flight == 0)
        seen = pulse._seen(rig.pool, time.monotonic_ns())
        assert (seen.ready, seen.submits, seen.receipts, seen.accepted, seen.pending) == (0, 100, 100, 100, 0)
        assert [(bind.number, bind.room) for bind in seen.binds] == [(0, True), (1, True)]
        assert sum(bind.accepted for bind in seen.binds) == 100
        alarm = Alarm("no_receipts", "none for ten minutes", "ask")
        pulse._cure(rig.pool, Finding(alarm, Cure.REBIND, 1))
        await rig.until(lambda: rig.bind(1).binds == 2 and rig.bind(1).pump is not None)
        assert rig.bind(0).binds == 1 and rig.book.uncertain == 0
        assert [told["code"] for told in rig.pool.alarms()] == ["no_receipts"]
        await rig.send(10)

    with_pool(test)


def test_a_bind_that_ends_while_another_one_reads_for_it_is_made_anew():
    async def test(rig: Rig) -> None:
        await rig.bound()
        for _ in range(20):
            rig.claim(200)
            await rig.until(lambda: rig.book.submits % 100 > 50 or rig.pool.in_flight == 0)
            rig.smsc.change(garbage_every=50, garbage=("length-too-long",))
            await rig.until(lambda: rig.pool.in_flight == 0 and rig.book.queued(0) == 0)
        rig.smsc.change(garbage_every=0)
        await rig.bound()
        await rig.send(50)
        assert sum(bind.binds for bind in rig.pool.binds) > 3

    with_pool(test, endpoint={"binds": 3})
