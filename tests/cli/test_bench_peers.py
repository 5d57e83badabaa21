"""The comparison with others: Kannel driven where it is, said to be absent where it is not, factors beside what is asked."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from bench import bench_peers
from bench.peers.kannel import Kannel, configuration
from tests.fakes import kannel as fake

ALONE = ["--only", "Kannel", "--ours", "0", "--json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a bearerbox and a smsbox."""
    for program in ("bearerbox", "smsbox"):
        script = tmp_path / program
        root = Path(fake.__file__).parents[2]
        code = f"import sys; sys.path.insert(0, {str(root)!r}); from tests.fakes.kannel import main"
        script.write_text(f"#!{sys.executable}\n{code}\nmain({program!r}, sys.argv[1])\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def shown(capsys) -> dict[str, dict[str, object]]:
    return {line["figure"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}


def test_kannel_is_driven_over_http_and_judged_by_the_simulators_log(folder, capsys):
    arguments = ["--kannel", str(folder), "--messages", "60", "--window", "4", "--folder", str(folder / "peers")]
    assert bench_peers.main([*ALONE, *arguments]) == 0
    found = shown(capsys)
    for mode in ("no-receipts", "receipts"):
        assert found[f"Kannel ({mode})"]["value"] > 0
    assert not list(folder.glob("peers/*")), "nothing was installed for it"


def test_kannel_that_is_not_installed_is_said_to_be_and_does_not_fail(tmp_path, capsys):
    assert bench_peers.main([*ALONE, "--kannel", str(tmp_path)]) == 0
    assert str(shown(capsys)["Kannel: not measured"]["value"]).startswith("not installed: no bearerbox and smsbox")
    assert Kannel.find(str(tmp_path)) is None


def test_kannel_that_does_not_start_is_a_figure_that_failed(folder, capsys):
    (folder / "bearerbox").write_text("#!/bin/sh\nexit 3\n")
    assert bench_peers.main([*ALONE, "--kannel", str(folder), "--messages", "2"]) == 0
    assert "does not listen" in str(shown(capsys)["Kannel (receipts): failed"]["value"])


def test_its_configuration_is_read_back_group_by_group():
    core, *smscs, box, user = fake.groups(configuration(1, 2, 3, 4, 50))
    assert (core["admin-port"], core["smsbox-port"], core["dlr-storage"]) == ("1", "2", "internal")
    assert [(smsc["smsc-id"], smsc["port"], smsc["max-pending-submits"]) for smsc in smscs] == [
        ("smsc0", "4", "50"), ("smsc1", "4", "50"),
    ]  # fmt: skip
    assert (box["sendsms-port"], user["username"]) == ("3", "peer")


def test_factors_stand_beside_what_was_asked():
    best, kannel = bench_peers.factors("receipts", 640_000, {"smpplib": 20_000, "Kannel": 10_000})
    assert (best.figure, best.value, best.target, best.ok) == (
        "ours, durable, against the best of them, smpplib (receipts)", 32.0, ">= 16.0", True,
    )  # fmt: skip
    assert (kannel.value, kannel.target, kannel.ok) == (64.0, ">= 50.0", True)
    _, absent = bench_peers.factors("no-receipts", 1_000_000, {"smpplib": 20_000})
    assert (absent.value, absent.target, absent.ok) == ("not measured", ">= 25.0", None)
