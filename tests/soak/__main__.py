"""`python -m tests.soak [--minutes N] [--seed S] [--runs N]`: dispatchers killed at random until the time is over.

Touches: a temporary folder, loopback, processes of its own. Rests on: PITFALLS F16 (200 kills) and section 5 (each run
one JSON line). A run is one campaign, import or undo with its kills; the simulator's log and a replay of the outcome
log judge it, as in tests/test_kill.py, whose stores and simulators these are. A run that fails prints its scenario and
its reason and the soak goes on; the seed makes the same runs again. Exit status 1 when one failed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.fakes.crash_judge import Result, judge
from tests.fakes.crash_run import CampaignRun, ImportRun, Scenario, Smsc
from tests.fakes.crash_stores import Prepared, PreparedImport
from tests.test_kill import AT_ONCE, POINTS, SMSCS, STORES, import_again, random_scenario

IMPORT_POINTS = tuple(f"in_import:{n}" for n in range(1, 9))
UNDO_POINTS = tuple(f"in_undo:{n}" for n in range(1, 6))


@dataclass
class Sum:
    """What the soak has seen."""

    runs: int = 0
    kills: int = 0
    failed: int = 0
    lines: int = 0
    uncertain: int = 0
    released: int = 0


def scenarios(rng: random.Random) -> Iterator[Scenario]:
    """Without end: a random moment, a named point with any number, a power cut, an import or an undo."""
    points = [str(scenario.kills[0]).partition(":")[0] for scenario in POINTS.values()]
    while True:
        kind = rng.random()
        if kind < 0.55:
            yield random_scenario(rng)
        elif kind < 0.75:
            point = rng.choice(sorted(set(points)))
            few = 3 if point in ("in_reconnect", "in_fold") else 12
            smsc = "drop" if point == "in_reconnect" else "slow"
            yield replace(
                random_scenario(rng), kills=(f"{point}:{rng.randint(1, few)}",), smsc=smsc, window=10, ahead=64
            )
        elif kind < 0.85:
            yield replace(random_scenario(rng), power_cut=True)
        elif kind < 0.95:
            again = ("in_import:1",) if rng.random() < 0.5 else ()
            yield Scenario(kills=(rng.choice(IMPORT_POINTS), *again), store="import")
        else:
            yield Scenario(kills=(rng.choice(UNDO_POINTS),), store="undo")


def main(argv: list[str]) -> int:
    """Kill until the time is over; a JSON line a run, and the sum as the last."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=1_000_000, help="stop after so many runs")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    asked = parser.parse_args(argv)
    print(json.dumps({"seed": asked.seed, "minutes": asked.minutes}), flush=True)
    with tempfile.TemporaryDirectory(prefix="volley-soak-") as folder:
        total = _soak(Path(folder), random.Random(asked.seed), asked.minutes * 60, asked.runs)
    print(json.dumps({"ok": total.failed == 0, "seed": asked.seed, **asdict(total)}))
    return int(total.failed > 0)


def _soak(folder: Path, rng: random.Random, seconds: float, runs: int) -> Sum:
    until = time.monotonic() + seconds
    stores = {name: make(folder / name) for name, make in STORES.items() if name != "half"}
    smscs = {name: Smsc(folder / f"smsc-{name}", *options) for name, options in SMSCS.items()}
    total, alive = Sum(), dict[Future[dict[str, Any]], tuple[int, Scenario]]()
    wanted = enumerate(scenarios(rng), 1)
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                while len(alive) < AT_ONCE and time.monotonic() < until and total.runs + len(alive) < runs:
                    number, scenario = next(wanted)
                    run = pool.submit(_run, stores[scenario.store], smscs, folder / f"run{number}", number, scenario)
                    alive[run] = number, scenario
                if not alive:
                    return total
                for ended in wait(alive, return_when=FIRST_COMPLETED).done:
                    _say(total, ended, *alive.pop(ended))
    finally:
        for smsc in smscs.values():
            smsc.stop()


def _run(
    prepared: Prepared | PreparedImport, smscs: dict[str, Smsc], place: Path, number: int, scenario: Scenario
) -> dict[str, Any]:
    if isinstance(prepared, PreparedImport):
        row = import_again(ImportRun(prepared, place, scenario))
        assert row["state"] in ("done", "undone"), row["state"]
        return {"rows": row["rows_read"]}
    with CampaignRun(prepared, place, smscs[scenario.smsc], number % 10_000, scenario) as run:
        run.live_and_die()
        result = run.result()
        judge(prepared.audience, result, lines_max=2 if prepared.resends else 1)
    return _figures(result)


def _figures(result: Result) -> dict[str, Any]:
    return {
        "lines": len(result.lines),
        "sent": result.summary["sent"],
        "uncertain": sum(recovery["uncertain"] for recovery in result.recoveries),
        "released": sum(recovery["released"] for recovery in result.recoveries),
        "restart_s": [round(recovery["took_s"], 3) for recovery in result.recoveries],
    }


def _say(total: Sum, ended: Future[dict[str, Any]], number: int, scenario: Scenario) -> None:
    total.runs += 1
    total.kills += len(scenario.kills)
    failure = ended.exception()
    said: dict[str, Any] = {"run": number, "ok": failure is None, "kills": scenario.kills, "store": scenario.store}
    if failure is not None:
        total.failed += 1
        said |= {"scenario": asdict(scenario), "why": f"{type(failure).__name__}: {failure}"[:4_000]}
    else:
        said |= ended.result()
        total.lines += said.get("lines", 0)
        total.uncertain += said.get("uncertain", 0)
        total.released += said.get("released", 0)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
