"""The simulator's phases, with the time and the counts in the test's hands; its options as a person writes them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tomllib

import pytest

from dispatcher.clock import FakeClock
from dispatcher.smpp import codec
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Bind
from dispatcher.smpp.smsc import Smsc
from dispatcher.smpp.smsc_notation import account_of, delay_of, options_of, refuse_of, states_of
from dispatcher.smpp.smsc_options import AccountOptions, Delay, SmscOptions
from dispatcher.smpp.smsc_scenario import EXAMPLE, scenario_of
from tests.smpp.esme import bind, bound, kind, submit, until, with_smsc

S = 1_000_000_000
PHASES = """
[options]
tps = 7
[[phase]]
name = "calm"
seconds = 10
[[phase]]
name = "squeezed"
accepted = 100
seconds = 60
tps = 2
[[phase]]
name = "last"
seconds = 5
stop = true
"""


def count(accepted: int = 0) -> dict[str, int]:
    return {"submits": accepted, "accepted": accepted, "binds": 0}


def test_a_phase_lasts_its_time_or_its_count_and_begins_from_the_options_of_the_run():
    scenario, base = scenario_of(tomllib.loads(PHASES), SmscOptions(receipts=50))
    assert (base.tps, base.receipts) == (7, 50)
    first = scenario.step(0, count())
    assert first is not None and (first.name, first.options.tps) == ("calm", 7)
    assert scenario.step(10 * S - 1, count(50)) is None
    second = scenario.step(10 * S, count(50))
    assert second is not None and (second.name, second.options.tps, second.options.receipts) == ("squeezed", 2, 50)
    assert scenario.step(69 * S, count(149)) is None
    third = scenario.step(69 * S, count(150))
    assert third is not None and (third.name, third.options.tps) == ("last", 7)
    assert not scenario.ended(73 * S, count(150)) and scenario.ended(74 * S, count(150))
    assert [(row["name"], row["seconds"], row["accepted"]) for row in scenario.summary(74 * S, count(160))] == [
        ("calm", 10.0, 50),
        ("squeezed", 59.0, 100),
        ("last", 5.0, 10),
    ]


def test_phases_repeat_and_the_last_one_holds_on():
    written = {"repeat": 2, "phase": [{"seconds": 1}, {"seconds": 1, "tps": 3}]}
    scenario, _ = scenario_of(written, SmscOptions())
    names = [phase.name for at in range(9) if (phase := scenario.step(at * S, count()))]
    assert names == ["1", "2", "1", "2"]
    assert scenario.phase is not None and scenario.phase.options.tps == 3 and not scenario.ended(99 * S, count())


def test_the_example_of_the_help_is_a_scenario():
    scenario, base = scenario_of(tomllib.loads(EXAMPLE), SmscOptions())
    assert [phase.name for phase in scenario.phases] == ["calm", "squeezed", "crash", "after"]
    assert base.accounts == (AccountOptions(system_id="shop", password="secret", binds=4, tps=1000, bind_tps=300),)
    assert base.receipt_delay_ms == Delay("lognormal", 800, 0.6)
    assert scenario.phases[2].options.refuse_binds == -1 and scenario.phases[2].options.refuse_status == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "at least one"),
        ({"phases": []}, "phases"),
        ({"phase": [{"name": "a", "seconds": 0}]}, "phase a: .*above 0"),
        ({"phase": [{"name": "a", "tsp": 3}]}, "phase a: tsp: no such option"),
        ({"phase": [{"port": 3}]}, "phase 1: port: of the whole run"),
        ({"phase": [{"close": "bang"}]}, "close 'bang'"),
        ({"phase": [{"tps": "many"}]}, "tps 'many': a number"),
        ({"repeat": -1, "phase": [{}]}, "repeat -1"),
    ],
)
def test_a_wrong_scenario_is_named_with_its_phase_and_value(wrong, named):
    with pytest.raises(ValueError, match=named):
        scenario_of(wrong, SmscOptions())


def test_options_are_read_as_a_person_writes_them():
    assert delay_of("50") == 50 and delay_of("uniform:1:5") == Delay("uniform", 1, 5)
    assert delay_of("exponential:3") == Delay("exponential", 3)
    assert states_of("delivrd:97,UNDELIV:2:027") == (("DELIVRD", 97, "000"), ("UNDELIV", 2, "027"))
    assert [refuse_of(text) for text in ("3", "0x0E", "3:0x05", "all:0x0D")] == [(3, 13), (-1, 14), (3, 5), (-1, 13)]
    assert account_of("a:p:binds=2:tps=9") == AccountOptions(system_id="a", password="p", binds=2, tps=9)
    assert options_of({"queue": "10:5", "congestion": "auto", "status-share": "2.5%:8", "mo_text": None}) == {
        "queue": (10, 5), "congestion": "auto", "status_share": ((2.5, 8),),
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay-ms": "gauss:1:2"}, {"delay-ms": "uniform:9:1"}, {"status-number": ["49*"]}, {"queue": "10"},
        {"congestion": "much"}, {"accounts": ["a:tps=x"]}, {"accounts": [{"name": "a"}]}, {"receipt-tlvs": "maybe"},
        {"congestion": 101}, {"accounts": ["a", "a"]}, {"garbage": ["nonsense"]}, {"status-share": ["101%:8"]},
        {"drop-how": "bang"}, {"mo-reference-bits": "9"}, {"queue": "5:0"}, {"tls-cert": "x"}, {"states": "DELIVRD"},
        {"outbind": "esme"}, {"outbind": "esme:0"},
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("-")[0].rstrip("s")):
        SmscOptions(**options_of(wrong))


def test_a_running_simulator_follows_its_phases_and_says_so():
    clock = FakeClock()
    phases = {
        "phase": [
            {"name": "calm", "seconds": 10},
            {"name": "crash", "seconds": 10, "close": "rst", "refuse-binds": "all:0x05"},
            {"name": "after", "accepted": 2, "hold-receipts": 100, "hold-idle-s": 0},
            {"name": "end", "seconds": 1, "stop": True},
        ]
    }
    scenario, options = scenario_of(phases, SmscOptions())

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert await esme.submit(3) == [0, 0, 0]
        clock.advance(11)
        assert await esme.ended()
        await until(lambda: not smsc._peers)
        assert (await bind(smsc))[1] == 0x05
        clock.advance(11)
        await until(lambda: scenario.phase is not None and scenario.phase.name == "after")
        esme = await bound(smsc)
        assert await esme.submit(2, registered_delivery=1) == [0, 0]
        assert kind(await esme.next_of(5)) == 5, "held receipts go at the phase's end"
        rows = smsc.summary()["phases"]
        assert [(row["name"], row["accepted"]) for row in rows] == [("calm", 3), ("crash", 0), ("after", 2), ("end", 0)]
        clock.advance(2)
        await until(lambda: smsc.stopped)

    with_smsc(scene, clock=clock, scenario=scenario)
    assert options.accounts == ()


def test_the_command_follows_a_scenario_to_its_end_and_writes_its_summary(tmp_path):
    (tmp_path / "run.toml").write_text('[[phase]]\nname = "only"\naccepted = 3\nstop = true\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher.cli.smsc", "--port", "0", "--scenario", str(tmp_path / "run.toml"),
         "--account", "a:secret:binds=1", "--summary", str(tmp_path / "summary.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        host, port = process.stdout.readline().removeprefix("listening on ").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as esme:
            esme.sendall(codec.encode_bind(9, 1, Bind(system_id="a", password="secret")))
            framer, pdus = Framer(), []
            while not pdus:
                pdus += framer.feed(esme.recv(4096))
            process.send_signal(signal.SIGUSR2)
            esme.sendall(submit(2) + submit(3) + submit(4))
            assert process.wait(10) == 0
        summary = json.loads(process.stdout.read().splitlines()[-1])
    finally:
        process.kill()
        process.communicate()
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["accounts"]["a"]["statuses"] == {"0x00000000": 3} and summary["phases"][0]["accepted"] == 3


def test_the_command_names_a_wrong_scenario_and_lists_its_garbage(tmp_path):
    (tmp_path / "run.toml").write_text('[[phase]]\nname = "only"\ntsp = 3\n')
    command = [sys.executable, "-m", "dispatcher.cli.smsc"]
    wrong = subprocess.run(
        [*command, "--port", "0", "--scenario", str(tmp_path / "run.toml")], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and "phase only: tsp: no such option" in wrong.stderr
    kinds = subprocess.run([*command, "--garbage-kinds"], capture_output=True, text=True, check=True).stdout
    assert len(kinds.splitlines()) >= 35
