"""The simulator is killed too, alone or together with the dispatcher, and comes back without any memory.

What it accepted and never receipted stays accepted; what it never answered is uncertain. Nothing is sent twice.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dispatcher.records.states import State
from tests.fakes.crash_judge import Result
from tests.fakes.crash_run import CampaignRun, Scenario, Smsc
from tests.fakes.crash_stores import Prepared, prepare_campaign

MEMBERS = 2_400
OPTIONS = ("--delay-ms", "4", "--receipt-delay-ms", "5")
DEATHS = (0.25, 0.5, 0.75)  # of the parts that have a line
DOWN_S = 0.3


class Run(CampaignRun):
    """Settled is: nothing is unsent or in flight; receipts that died with the simulator are not waited for."""

    def is_settled(self) -> bool:
        states = self._states()
        return states is not None and not states["claimed"] and not states["retry_wait"]


def kill_at_its_shares(smsc: Smsc, run: Run, ends: threading.Event) -> None:
    for share in DEATHS:
        while run.lines.count() < share * MEMBERS and not ends.is_set():
            time.sleep(0.002)
        smsc.die_and_come_back(DOWN_S)


def live_with_a_mortal_smsc(prepared: Prepared, folder: Path, number: int, kills: tuple[str | float, ...]) -> Result:
    """A run whose simulator dies at DEATHS, and its dispatcher at `kills`; judged."""
    smsc, ends = Smsc(folder.with_name(f"{folder.name}-smsc"), *OPTIONS), threading.Event()
    scenario = Scenario(kills=kills, window=10, ahead=64)
    with Run(prepared, folder, smsc, number, scenario) as run:
        killer = threading.Thread(target=kill_at_its_shares, args=(smsc, run, ends))
        killer.start()
        try:
            run.live_and_die()
        finally:
            ends.set()
            killer.join()
            smsc.stop()
        result = run.result()
    rank_of = {number: rank for rank, number in enumerate(prepared.audience.numbers)}
    lines = Counter(rank_of[line.destination] for line in result.lines)
    assert max(lines.values()) == 1, "no member has two lines"
    without = [rank for rank in range(MEMBERS) if not lines[rank]]
    assert {State(result.states[rank]) for rank in without} <= {State.UNCERTAIN}, "who has no line is listed"
    assert Counter(State(state) for state in result.states).keys() <= {State.DELIVERED, State.ACCEPTED, State.UNCERTAIN}
    assert sum(result.summary["states"].values()) == result.summary["sent"] == MEMBERS
    assert result.problems == [] and "Traceback" not in result.output
    most = (len(DEATHS) + len(kills)) * (2 * scenario.window + scenario.ahead)
    assert result.summary["states"]["uncertain"] <= most
    return result


@pytest.mark.parametrize("kills", [(), (0.3, 0.6)], ids=["the-simulator", "both"])
def test_an_smsc_that_dies_and_forgets_makes_nothing_lost_and_nothing_sent_twice(tmp_path: Path, kills):
    result = live_with_a_mortal_smsc(prepare_campaign(tmp_path / "prepared", MEMBERS), tmp_path / "run", 1, kills)
    assert len(result.deaths) == len(kills)
