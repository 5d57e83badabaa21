"""`python -m tests.soak [--minutes N] [--seed S] [--runs N] [--first N]`: kills without end, until the time is over.

Touches: a temporary folder, loopback, processes of its own. Rests on: PITFALLS F16 (200 kills) and section 5 (each run
one JSON line). A run is one of plan.py's kinds with its kills; the simulator's log and a replay of the outcome log judge
it, as in tests/test_kill.py, whose stores and simulators these are. A run that fails prints its scenario and its reason
and the soak goes on; the seed makes the same runs again, `--first N` from the N-th. The last line is the sum, kills by
point and kind in it. Exit status 1 when a run failed, or a whole soak met one of the named points never.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dispatcher.daemon import crash
from tests.fakes.crash_beside import Beside
from tests.fakes.crash_both import BothRun, prepare_both
from tests.fakes.crash_judge import Result, judge
from tests.fakes.crash_more import MoveRun, SchemaRun, numbers_of, prepare_move, prepare_schema
from tests.fakes.crash_run import CampaignRun, ImportRun, Run, Scenario, Smsc
from tests.fakes.crash_stores import Prepared, PreparedImport
from tests.soak.plan import ELSEWHERE, KINDS, scenarios
from tests.test_kill import AT_ONCE, SMSCS, STORES, import_again
from tests.test_kill_smsc import live_with_a_mortal_smsc

MORE: dict[str, Callable[[Path], Path]] = {"both": prepare_both, "schema": prepare_schema, "move": prepare_move}
Stores = dict[str, Prepared | PreparedImport | Path]


@dataclass
class Sum:
    """What the soak has seen."""

    runs: int = 0
    kills: int = 0
    failed: int = 0
    lines: int = 0
    uncertain: int = 0
    released: int = 0
    paused_or_resumed: int = 0
    backups: int = 0
    restart_s_max: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_point: Counter[str] = field(default_factory=Counter)

    def never(self) -> set[str]:
        """Named points at which nothing was killed."""
        return crash.NAMES - ELSEWHERE - self.by_point.keys()


def main(argv: list[str]) -> int:
    """Kill until the time is over; a JSON line a run, and the sum as the last."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=1_000_000, help="stop after so many runs")
    parser.add_argument("--first", type=int, default=1, help="begin with this run of the seed's")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    asked = parser.parse_args(argv)
    print(json.dumps({"seed": asked.seed, "minutes": asked.minutes, "first": asked.first}), flush=True)
    with tempfile.TemporaryDirectory(prefix="volley-soak-") as folder:
        total = _soak(Path(folder), asked.seed, asked.minutes * 60, asked.first, asked.runs)
    never = sorted(total.never()) if asked.first == 1 and total.runs >= len(KINDS) else []
    ok = not total.failed and not never
    print(json.dumps({"ok": ok, "seed": asked.seed, "points_never_met": never, **vars(total)}))
    return int(not ok)


def _soak(folder: Path, seed: int, seconds: float, first: int, runs: int) -> Sum:
    until = time.monotonic() + seconds
    stores: Stores = {name: make(folder / name) for name, make in (STORES | MORE).items() if name != "half"}
    smscs = {name: Smsc(folder / f"smsc-{name}", *options) for name, options in SMSCS.items()}
    total, alive = Sum(), dict[Future[dict[str, Any]], tuple[int, str, Scenario]]()
    wanted = islice(enumerate(scenarios(random.Random(seed)), 1), first - 1, None)
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                while len(alive) < AT_ONCE and time.monotonic() < until and total.runs + len(alive) < runs:
                    number, (kind, scenario) = next(wanted)
                    run = pool.submit(_run, stores, smscs, folder / f"run{number}", number, scenario)
                    alive[run] = number, kind, scenario
                if not alive:
                    return total
                for ended in wait(alive, return_when=FIRST_COMPLETED).done:
                    _say(total, ended, *alive.pop(ended))
    finally:
        for smsc in smscs.values():
            smsc.stop()


def _run(stores: Stores, smscs: dict[str, Smsc], place: Path, number: int, scenario: Scenario) -> dict[str, Any]:
    """One run, judged; its figures."""
    prepared = stores[scenario.store]
    if isinstance(prepared, PreparedImport):
        row = import_again(ImportRun(prepared, place, scenario))
        assert row["state"] in ("done", "undone"), row["state"]
        return {"rows": row["rows_read"]}
    if isinstance(prepared, Path):
        return _run_of_a_folder(prepared, smscs, place, number, scenario)
    if scenario.smsc == "mortal":
        return _figures(live_with_a_mortal_smsc(prepared, place, number % 10_000, scenario.kills))
    with CampaignRun(prepared, place, smscs[scenario.smsc], number % 10_000, scenario) as run:
        told: dict[str, Any] = {}
        if scenario.beside:
            with Beside(run) as other:
                run.live_and_die()
            assert other.problems == [], other.problems
            told[scenario.beside] = other.done
        else:
            run.live_and_die()
        result = run.result()
        judge(prepared.audience, result, lines_max=2 if prepared.resends else 1)
    return told | _figures(result)


def _run_of_a_folder(
    prepared: Path, smscs: dict[str, Smsc], place: Path, number: int, scenario: Scenario
) -> dict[str, Any]:
    if scenario.store == "both":
        with BothRun(prepared, place, smscs[scenario.smsc], number % 10_000, scenario) as both:
            both.live_and_die()
            return both.judge()
    of: type[Run] = SchemaRun if scenario.store == "schema" else MoveRun
    with of(prepared, place, "", scenario) as run:
        run.live_and_die()
        if isinstance(run, SchemaRun):
            assert run.problems() == []
        else:
            assert numbers_of(place)[0] == numbers_of(prepared)[0]
    return {}


def _figures(result: Result) -> dict[str, Any]:
    return {
        "lines": len(result.lines),
        "sent": result.summary["sent"],
        "uncertain": sum(recovery["uncertain"] for recovery in result.recoveries),
        "released": sum(recovery["released"] for recovery in result.recoveries),
        "restart_s": [round(recovery["took_s"], 3) for recovery in result.recoveries],
    }


def _say(total: Sum, ended: Future[dict[str, Any]], number: int, kind: str, scenario: Scenario) -> None:
    failure = ended.exception()
    said: dict[str, Any] = {"run": number, "ok": failure is None, "kind": kind, "kills": scenario.kills}
    total.runs += 1
    total.by_kind[kind] += 1
    if failure is not None:
        total.failed += 1
        said |= {"scenario": asdict(scenario), "why": f"{type(failure).__name__}: {failure}"[:4_000]}
    else:
        said |= ended.result()
        total.kills += len(scenario.kills)
        total.by_point.update(
            str(kill).partition(":")[0] if isinstance(kill, str) else "a moment" for kill in scenario.kills
        )
        total.lines += said.get("lines", 0)
        total.uncertain += said.get("uncertain", 0)
        total.released += said.get("released", 0)
        total.paused_or_resumed += said.get("pauses", 0)
        total.backups += said.get("backups", 0)
        total.restart_s_max = max(total.restart_s_max, *said.get("restart_s", ()), 0.0)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
