"""kill -9 at named points and at random moments, restart, and the simulator's log as the judge (PITFALLS F16, F17).

Every run has a data folder, an account and a sender of its own; a few run at the same time, for a run mostly waits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.people import write_csv
from tests.fakes.crash_judge import Result, judge
from tests.fakes.crash_run import CampaignRun, ImportRun, Scenario, Smsc
from tests.fakes.crash_stores import LONG, Prepared, PreparedImport, prepare_campaign, prepare_import, prepare_undo

MEMBERS = 2_400
ROWS = 20_000
AT_ONCE = 3
SMSCS = {
    "fast": (),
    "slow": ("--delay-ms", "10", "--receipt-delay-ms", "20"),
    "slower": ("--delay-ms", "60", "--receipt-delay-ms", "20"),
    "drop": ("--drop-every", "301"),
    "strict": ("--status-every", "23:0x14", "--delay-ms", "4"),
}
# many small claims, so that there are many commits however slow the disk; and answers that are on their way for long
SMALL: dict[str, Any] = {"window": 10, "ahead": 64}
SLOW: dict[str, Any] = {"smsc": "slow", "window": 40, "ahead": 128}
# at any moment some are claimed and wait for their place in the pace (a third of a second of them), and others are at the
# simulator without an answer, however slow this machine is
PACED: dict[str, Any] = {"smsc": "slower", "window": 100, "ahead": 128, "rate": 800}


def random_scenario(rng: random.Random) -> Scenario:
    """One or two kills at random moments of a campaign, beside one of the simulators."""
    return Scenario(
        kills=tuple(round(rng.random() * 0.97, 3) for _ in range(rng.choice((1, 1, 1, 1, 2)))),
        store=rng.choice(("marketing", "marketing", "long", "transactional")),
        smsc=rng.choice(("fast", "slow", "drop", "strict")),
        window=rng.choice((10, 25, 100)),
        binds=rng.choice((1, 2, 4)),
        rate=rng.choice((0, 0, 0, 4_000)),
        ahead=rng.choice((64, 512, 32_768)),
    )


def _random_moments(count: int) -> dict[str, Scenario]:
    rng = random.Random(20_261)
    return {f"random-{number}": random_scenario(rng) for number in range(count)}


POINTS = {
    "before_commit:1": Scenario(kills=("before_commit:1",)),
    "before_commit:4": Scenario(kills=("before_commit:4",), **SMALL),
    "before_commit:12": Scenario(kills=("before_commit:12",), **SLOW),
    "after_commit_before_write:1": Scenario(kills=("after_commit_before_write:1",)),
    "after_commit_before_write:3": Scenario(kills=("after_commit_before_write:3",), **SMALL),
    "after_commit_before_write:11": Scenario(kills=("after_commit_before_write:11",), **SLOW),
    "after_write_before_response:1": Scenario(kills=("after_write_before_response:1",)),
    "after_write_before_response:4": Scenario(kills=("after_write_before_response:4",), store="long", **SMALL),
    "after_write_before_response:13": Scenario(kills=("after_write_before_response:13",), **SLOW),
    "after_response_before_commit:1": Scenario(kills=("after_response_before_commit:1",)),
    "after_response_before_commit:9": Scenario(kills=("after_response_before_commit:9",), store="long"),
    "after_response_before_commit:35": Scenario(kills=("after_response_before_commit:35",), **SLOW),
    "in_receipt_commit:1": Scenario(kills=("in_receipt_commit:1",)),
    "in_receipt_commit:4": Scenario(kills=("in_receipt_commit:4",), store="long", **SMALL),
    "in_receipt_commit:12": Scenario(kills=("in_receipt_commit:12",), **SLOW),
    "in_fold:3": Scenario(kills=("in_fold:3",), **SLOW),
    "in_reconnect:1": Scenario(kills=("in_reconnect:1",), smsc="drop"),
    "in_reconnect:5": Scenario(kills=("in_reconnect:5",), smsc="drop", store="long"),
}
RANDOM = _random_moments(20)
STARTS = {
    **{f"killed-in-start:{n}": Scenario(kills=(0.4, f"in_recovery:{n}"), **SLOW) for n in (1, 2)},
    "killed-in-three-starts": Scenario(kills=(0.5, "in_recovery:1", "in_recovery:2", "in_recovery:1")),
    "killed-in-the-first-start": Scenario(kills=("in_recovery:1", "in_recovery:3", "after_commit_before_write:1")),
    "killed-in-start-after-power-cut": Scenario(kills=(0.4, "in_recovery:1", "in_recovery:3"), power_cut=True, **SLOW),
}
POWER_CUTS = {
    "power-cut": Scenario(kills=(0.5,), power_cut=True, **PACED),
    "power-cut-twice": Scenario(kills=(0.3, 0.6), power_cut=True, store="long", **PACED),
}
RESENT = {
    "resent-kill": Scenario(kills=(0.4,), store="transactional"),
    "resent-power-cut": Scenario(kills=(0.4,), store="transactional", power_cut=True, **PACED),
    "resent-killed-again": Scenario(kills=(0.3, 0.6), store="transactional", power_cut=True, **PACED),
    "resent-drop": Scenario(kills=("in_reconnect:4",), store="transactional", smsc="drop"),
}
URGENT = {
    "urgent:before_commit": Scenario(kills=("before_commit:4", 0.5), store="otp", **SMALL),
    "urgent:after_commit_before_write": Scenario(kills=("after_commit_before_write:3",), store="otp", **SMALL),
    "urgent:random": Scenario(kills=(0.3, 0.7), store="otp", smsc="strict", binds=4),
}
IMPORTS = {
    **{f"import:{n}": Scenario(kills=(f"in_import:{n}",), store="import") for n in (1, 3, 12)},
    "import-again-and-again": Scenario(kills=("in_import:4", 0.5, "in_import:2", 0.8), store="import"),
    "import-half-a-body": Scenario(kills=(0.2,), store="half"),
}
UNDOS = {f"undo:{n}": Scenario(kills=(f"in_undo:{n}", "in_undo:1"), store="undo") for n in (1, 3, 5)}
ALL = POINTS | RANDOM | STARTS | POWER_CUTS | RESENT | URGENT | IMPORTS | UNDOS


STORES: dict[str, Callable[[Path], Prepared | PreparedImport]] = {
    "marketing": lambda folder: prepare_campaign(folder, MEMBERS),
    "long": lambda folder: prepare_campaign(folder, MEMBERS // 2, text=LONG),
    "transactional": lambda folder: prepare_campaign(folder, MEMBERS, purpose="transactional"),
    "otp": lambda folder: prepare_campaign(folder, MEMBERS // 2, purpose="otp"),
    "import": lambda folder: prepare_import(folder, ROWS),
    "half": lambda folder: prepare_import(folder, ROWS, whole=False),
    "undo": lambda folder: prepare_undo(folder, ROWS),
}
Outcome = Result | dict[str, Any]


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Outcome]]:
    """The judged end of a run by its name. All runs that this session asks for are begun at the first."""
    calls = [item.callspec.params for item in request.session.items if item.module is request.module]
    wanted = {call["name"]: ALL[call["name"]] for call in calls if "name" in call}
    folder = tmp_path_factory.mktemp("kill")
    stores = {name: STORES[name](folder / name) for name in {s.store for s in wanted.values()}}
    smscs = {name: Smsc(folder / f"smsc-{name}", *SMSCS[name]) for name in {s.smsc for s in wanted.values()}}

    def live(number: int, scenario: Scenario) -> Outcome:
        prepared, place = stores[scenario.store], folder / f"run{number}"
        if isinstance(prepared, PreparedImport):
            return import_again(ImportRun(prepared, place, scenario))
        with CampaignRun(prepared, place, smscs[scenario.smsc], number, scenario) as run:
            run.live_and_die()
            result = run.result()
            judge(prepared.audience, result, lines_max=2 if prepared.resends else 1)
        return result

    pool = ThreadPoolExecutor(AT_ONCE)
    ends = {name: pool.submit(live, number, scenario) for number, (name, scenario) in enumerate(wanted.items(), 1)}
    try:
        yield lambda name: ends[name].result()
    finally:
        pool.shutdown(cancel_futures=True)
        summaries = [smsc.stop() for smsc in smscs.values()]
    assert sum(summary["receipts_pending"] for summary in summaries) == 0


def import_again(run: ImportRun) -> dict[str, Any]:
    with run:
        run.live_and_die()
        assert run.problems() == []
        return run.row()


@pytest.mark.parametrize("name", POINTS)
def test_a_kill_at_a_named_point_loses_nothing_and_sends_nothing_twice(outcome, name: str):
    result = outcome(name)
    assert len(result.deaths) == 1
    if name == "after_commit_before_write:1":
        assert not result.deaths[0].may_have_left and result.deaths[0].never_left


@pytest.mark.parametrize("name", RANDOM)
def test_a_kill_at_a_random_moment_loses_nothing_and_sends_nothing_twice(outcome, name: str):
    assert len(outcome(name).deaths) == len(RANDOM[name].kills)


@pytest.mark.parametrize("name", STARTS)
def test_a_start_that_is_killed_is_done_again_alike(outcome, name: str):
    assert len(outcome(name).deaths) == len(STARTS[name].kills)


@pytest.mark.parametrize("name", POWER_CUTS)
def test_after_a_power_cut_all_that_was_claimed_and_unsettled_is_uncertain(outcome, name: str):
    result = outcome(name)
    assert all(death.may_have_left and not death.never_left for death in result.deaths)
    assert [(r["same_boot"], r["released"]) for r in result.recoveries] == [(False, 0)] * len(result.deaths)
    assert result.summary["states"]["uncertain"] > 0


@pytest.mark.parametrize("name", RESENT)
def test_an_uncertain_message_that_may_not_wait_is_settled_by_number_or_sent_once_more(outcome, name: str):
    result = outcome(name)
    assert result.summary["settled_by_number"] > 0
    if name == "resent-kill":  # the simulator has them all, so their receipts come before the holding time ends
        assert result.summary["resent"] == 0 and result.summary["states"]["uncertain"] == 0
    else:
        assert result.summary["resent"] > 0


@pytest.mark.parametrize("name", URGENT)
def test_the_urgent_lane_has_a_mark_of_its_own(outcome, name: str):
    result = outcome(name)
    assert len(result.deaths) == len(URGENT[name].kills)
    assert all(recovery["at_or_above_mark"] == 0 for recovery in result.recoveries)


@pytest.mark.parametrize("name", IMPORTS)
def test_a_killed_import_goes_on_to_the_exact_counts(outcome, name: str, tmp_path: Path):
    expected = write_csv(tmp_path / "people.csv", ROWS, 1)
    row = outcome(name)
    assert (row["state"], row["rows_read"]) == ("done", expected.rows)
    assert (row["members_imported"], row["rows_updated"]) == (expected.members, expected.updated)
    assert row["rows_rejected"] == expected.rejected


@pytest.mark.parametrize("name", UNDOS)
def test_a_killed_undo_goes_on_until_nobody_of_the_import_is_left(outcome, name: str, tmp_path: Path):
    expected = write_csv(tmp_path / "people.csv", ROWS, 1)
    row = outcome(name)
    assert (row["state"], row["undo"]["removed"], row["undo"]["conflicts_found"]) == ("undone", expected.members, 0)
