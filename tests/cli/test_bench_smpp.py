"""The benches of the SMPP side run small, and what they check holds; whether a figure is reached is not asked here."""

from __future__ import annotations

import importlib
import json

import pytest


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dispatch", ["--messages", "3000", "--receipts"]),
        ("dispatch", ["--messages", "3000", "--no-receipts", "--binds", "2", "--window", "10"]),
        ("memory", ["--members", "3000", "--seconds", "0.5", "--case", "mute"]),
        ("ported", ["--rows", "70000"]),
    ],
)
def test_a_bench_runs_small_and_its_checks_hold(name, arguments, capsys):
    importlib.import_module(f"bench.bench_{name}").main([*arguments, "--json"])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    checks = [line for line in shown if line["figure"].startswith("check")]
    assert checks and all(line["ok"] for line in checks), checks


def test_the_bench_of_contracts_tells_of_each_what_was_reached_and_what_was_most(capsys):
    """A simulator that the tests beside keep from its processor is no judge of milliseconds: figures are not asked."""
    rate = importlib.import_module("bench.bench_rate")
    rate.main(["--contracts", "20,200", "--seconds", "1.5", "--binds", "2", "--json"])
    shown = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
    for contract in (20, 200):
        assert 0 < shown[f"contract {contract}: reached"] <= 120
        assert 0 < shown[f"contract {contract}: most in any second"] <= contract * 1.5
