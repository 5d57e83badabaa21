"""An operator's hand on binds, and what the running dispatcher tells of them; the command line against it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import trio

from dispatcher.control import commands as c
from dispatcher.daemon.housekeeping import count_ids
from dispatcher.errors import CommandRefused
from dispatcher.smpp.smsc_options import AccountOptions
from dispatcher.store.audit import newest_first
from tests.fakes.house import House, in_house
from tests.fakes.houses import Houses, in_houses


async def ask(house: House, command: Any, reason: str = "the carrier asked") -> dict[str, Any]:
    envelope = c.Envelope(tenant=0, actor="test", at_ms=1, reason=reason)
    reply, _ = await house.life.orders.execute(command, envelope)
    return reply


def states(house: House) -> list[str]:
    return [bind.state for bind in house.dispatcher.pool.binds]


async def volley(house: House, *arguments: str, check: bool = True) -> str:
    """The command line beside this dispatcher."""
    argv = [sys.executable, "-m", "dispatcher.cli", *arguments, "--data", str(house.settings.data)]
    done = await trio.run_process(argv, capture_stdout=True, capture_stderr=True, check=False)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode() + ("" if check else done.stderr.decode())


@in_house(300)
async def test_a_bind_is_disconnected_drained_and_connected_by_command_and_the_audit_says_why(house: House):
    await house.until(lambda: states(house) == ["bound", "bound"])
    reply = await ask(house, c.DisconnectBind(bind="smsc.0"))
    assert reply["binds"] == ["smsc.0"]
    await house.until(lambda: states(house) == ["disconnected", "bound"], within_s=1)
    await ask(house, c.DrainBind(bind="smsc.1"))
    await house.until(lambda: states(house) == ["disconnected", "drained"], within_s=1)
    await ask(house, c.ConnectBind(bind="smsc"))
    await house.until(lambda: states(house) == ["bound", "bound"], within_s=1)
    house.judge(await house.send_all())
    with house.store.snapshot() as view:
        lines = [line for _, line in newest_first(view, command="bind.")[0]]
    assert {(line["command"], line["object"], line["reason"]) for line in lines} == {
        ("bind.disconnect", "smsc.0", "the carrier asked"),
        ("bind.drain", "smsc.1", "the carrier asked"),
        ("bind.connect", "smsc", "the carrier asked"),
    }


@in_house(5)
async def test_a_command_without_a_reason_or_for_no_bind_is_refused_and_nothing_happens(house: House):
    await house.until(lambda: states(house) == ["bound", "bound"])
    with pytest.raises(CommandRefused, match="reason") as refused:
        await ask(house, c.DisconnectBind(bind="smsc.0"), reason=" ")
    assert refused.value.errors[0]["pointer"] == "/reason"
    with pytest.raises(CommandRefused) as unknown:
        await ask(house, c.DrainBind(bind="smcs.0"))
    assert (unknown.value.status, unknown.value.extra["did_you_mean"]) == (404, "smsc.0")
    with pytest.raises(CommandRefused, match="one bind"):
        await ask(house, c.TraceBind(bind="smsc"))
    with pytest.raises(CommandRefused, match="20 digits"):
        await ask(house, c.TraceBind(bind="smsc.0", number="12a"))
    assert states(house) == ["bound", "bound"]


@in_house(20, endpoint={"binds": 1})
async def test_a_trace_masks_numbers_and_texts_until_they_are_revealed_with_a_reason(house: House):
    await house.until(lambda: states(house) == ["bound"])
    assert (await ask(house, c.TraceBind(bind="smsc.0"), reason=""))["pdus"] == []
    await house.send_all()
    seen = (await ask(house, c.TraceBind(bind="smsc.0"), reason=""))["pdus"]
    octets = b"".join(pdu["octets"] for pdu in seen)
    assert len(seen) >= 40 and b"Hello" not in octets and str(house.numbers[3]).encode() not in octets
    with pytest.raises(CommandRefused, match="reveal"):
        await ask(house, c.TraceBind(bind="smsc.0", reveal=True))
    await ask(house, c.RevealBind(bind="smsc.0"), reason="ticket 4711")
    number = str(house.numbers[3])
    await ask(house, c.TraceBind(bind="smsc.0", number=number, reveal=True))
    await house.send_all()
    seen = []
    while [pdu["sent"] for pdu in seen].count(True) < 2:  # the submit_sm, and the answer to its receipt
        seen += (await ask(house, c.TraceBind(bind="smsc.0", number=number, reveal=True)))["pdus"]
        await trio.sleep(0.01)
    assert len(seen) == 4
    assert any(b"Hello" in pdu["octets"] for pdu in seen)


@in_house(20, endpoint={"binds": 1})
async def test_of_two_who_trace_one_bind_each_is_shown_all_and_a_ninth_is_refused(house: House):
    await house.until(lambda: states(house) == ["bound"])
    looks = [c.TraceBind(bind="smsc.0", looker=looker) for looker in "ab"]
    for look in looks:
        assert (await ask(house, look, reason=""))["pdus"] == []
    await house.send_all()
    seen = [(await ask(house, look, reason=""))["pdus"] for look in looks]
    assert len(seen[0]) >= 40 and [pdu["octets"] for pdu in seen[1][: len(seen[0])]] == [
        pdu["octets"] for pdu in seen[0]
    ]
    for looker in "cdefgh":
        await ask(house, c.TraceBind(bind="smsc.0", looker=looker), reason="")
    with pytest.raises(CommandRefused, match="8 look at") as refused:
        await ask(house, c.TraceBind(bind="smsc.0", looker="i"), reason="")
    assert refused.value.status == 409


@in_house(50, accounts=(AccountOptions(system_id="volley", password="right"),), started=False)
async def test_the_status_tells_figures_alarms_and_remedies_and_its_exit_status_is_for_scripts(house: House):
    house.endpoint(password="right")
    await house.start()
    house.smsc.change(status_every=((10, 0x0B),))
    await house.send_all()
    await count_ids(house.dispatcher)
    told = json.loads(await volley(house, "smpp", "status", "--json"))
    assert [bind["state"] for bind in told["binds"]] == ["bound", "bound"] and told["alarms"] == []
    assert sum(bind["submits"] for bind in told["binds"]) == 50
    refused = [error for bind in told["binds"] for error in bind["errors"]]
    assert {error["name"] for error in refused} == {"ESME_RINVDSTADR"} and sum(e["count"] for e in refused) == 5
    shown = await volley(house, "smpp", "status")
    assert "smsc.0" in shown and "ESME_RINVDSTADR" in shown
    assert told["kept_ids"]["ids"] == 0 and "message_ids: 0 kept in 0 segments, 0.0 MB; each for " in shown
    house.endpoint(password="wrong")
    await house.restart()
    await house.until(lambda: house.dispatcher.pool.alarms())
    shown = await volley(house, "smpp", "status", check=False)
    assert "ESME_RINVPASWD" in shown and "-> check system_id, password" in shown
    assert "no endpoint" in await volley(house, "smpp", "status", "elsewhere", check=False)


@in_house(30, endpoint={"binds": 1})
async def test_the_command_line_drains_connects_and_traces(house: House):
    await house.until(lambda: states(house) == ["bound"])
    assert "drain: smsc.0" in await volley(house, "smpp", "drain", "smsc.0", "--reason", "tonight")
    await house.until(lambda: states(house) == ["drained"])
    assert json.loads(await volley(house, "smpp", "connect", "smsc", "--reason", "over", "--json"))["binds"] == [
        "smsc.0"
    ]
    await house.until(lambda: states(house) == ["bound"])
    assert "did you mean" in await volley(house, "smpp", "drain", "smsc.9", "--reason", "x", check=False)
    assert "--reason" in await volley(house, "smpp", "disconnect", "smsc.0", check=False)

    lines: list[dict[str, Any]] = []

    async def trace() -> None:
        told = await volley(house, "smpp", "trace", "smsc.0", "--seconds", "4", "--json")
        lines.extend(json.loads(line) for line in told.splitlines())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trace)
        await house.until(lambda: house.dispatcher.pool.binds[0].traces)
        await house.send_all()
    commands = [line["command"] for line in lines]
    assert commands.count("submit_sm") == commands.count("submit_sm_resp") == 30
    assert all(line["text"].startswith("*") for line in lines if line["command"] == "submit_sm")
    file = house.settings.data / "seen.pcap"
    await volley(house, "smpp", "trace", "smsc.0", "--seconds", "0.3", "--pcap", str(file))
    assert file.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"
    await volley(house, "smpp", "drain", "smsc.0", "--reason", "tonight")
    await house.until(lambda: states(house) == ["drained"])
    assert "smsc.0 is drained" in await volley(house, "smpp", "trace", "smsc.0", "--seconds", "0.2", check=False)


@in_house(400)
async def test_the_command_line_pauses_reconnects_and_changes_the_rate_of_an_endpoint_while_it_sends(house: House):
    await house.until(lambda: states(house) == ["bound", "bound"])
    assert "smsc: 200 parts/s" in await volley(house, "smpp", "rate", "smsc", "200", "--reason", "slow today")
    campaign = await house.send()
    await house.until(lambda: len(house.lines()) > 20)
    await volley(house, "smpp", "pause", "smsc", "--reason", "an hour")
    assert states(house) == ["paused", "paused"]
    held = house.smsc.summary()["submits"]
    shown = await volley(house, "smpp", "status", check=False)
    assert "paused" in shown and "smsc: 0 of 2 bound" in shown and "at most 200 parts/s" in shown
    assert house.smsc.summary()["submits"] == held < 400
    await volley(house, "smpp", "reconnect", "smsc.0", "--reason", "receipts stopped")
    await house.until(lambda: [bind.binds for bind in house.dispatcher.pool.binds] == [2, 1], within_s=1)
    await volley(house, "smpp", "connect", "smsc", "--reason", "over")
    assert "no limit" in await volley(house, "smpp", "rate", "smsc", "0", "--reason", "over")
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] == 0
    assert "did you mean" in await volley(house, "smpp", "rate", "smcs", "5", "--reason", "x", check=False)
    with pytest.raises(CommandRefused, match="0 to 10,000,000"):
        await ask(house, c.RateEndpoint(endpoint="smsc", parts_per_s=-5))


@in_houses(100, process=True)
async def test_settings_are_read_anew_by_the_command_line_and_an_error_in_them_is_an_alarm(house: Houses):
    await house.until(lambda: bound(house))
    file = house.settings.data / "volley.toml"
    good = file.read_text()
    file.write_text(good.replace("window = 20", "window = 33", 1))
    assert "changed: a" in await volley(house, "smpp", "reload", "--reason", "a wider window")
    assert "nothing changed" in await volley(house, "smpp", "reload", "--reason", "again")
    file.write_text(good.replace("window = 20", "window = 0", 1))
    assert "window = 0" in await volley(house, "smpp", "reload", "--reason", "a slip", check=False)
    assert "a.0" in await volley(house, "smpp", "status", check=False), "a slip in a file takes nobody's hands away"
    assert "stopped" in await volley(house, "campaign", "stop-all", "--reason", "wrong price")
    await volley(house, "campaign", "release", "--reason", "right again")
    with pytest.raises(CommandRefused, match="of before stay in force"):
        await house.do(c.ReloadEndpoints(), tenant=0)
    (alarm,) = (await house.status())["alarms"]
    assert alarm["code"] == "reload_refused" and "window = 0" in alarm["text"] and "reload" in alarm["remedy"]
    file.write_text(good)
    await volley(house, "smpp", "reload", "--reason", "mended")
    assert (await house.status())["alarms"] == []
    file.write_text(good[: good.index("[[endpoint]]")])
    assert "removed: a, b" in await volley(house, "smpp", "reload", "--reason", "all carriers gone")
    await house.until(lambda: gone(house))
    assert "no endpoint is configured" in await volley(house, "smpp", "status")


async def gone(house: Houses) -> bool:
    return not (await house.status())["endpoints"]


async def bound(house: Houses) -> bool:
    return all(bind["state"] == "bound" for bind in (await house.status())["binds"])


def test_without_a_dispatcher_the_verbs_say_so(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "dispatcher.cli", "init", str(tmp_path / "d")], check=True, capture_output=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher.cli", "smpp", "status", "--data", str(tmp_path / "d")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "no dispatcher runs" in done.stderr


@in_house(400, drop_every=60, drop_how="half-open", endpoint={"enquire_link_s": 0.2})
async def test_a_connection_that_is_half_open_is_found_by_its_silence_and_made_anew(house: House, monkeypatch):
    """PITFALLS F10 on a shorter scale: an answer to enquire_link is awaited 0.3 s instead of 10."""
    monkeypatch.setattr("dispatcher.smpp.timers.ENQUIRE_ANSWER_S", 0.3)
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["dropped"] >= 3, within_s=15)
    house.smsc.change(drop_every=0)
    await house.settled(campaign)
    counts = house.judge(campaign)
    assert counts["states"]["uncertain"] <= 20 * house.smsc.summary()["dropped"]
