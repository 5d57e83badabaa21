"""Contracts of 10 to 50,000 parts a second, each held over a minute: what leaves of it, and never more in any second.

A dispatcher and a simulator for each contract, all at once; several binds share a contract. The simulator's log
is the judge: no window of 990 ms has more lines than the contract (10 ms lie between our socket and its log).
    volley bench rate [--contracts N,N,...] [--seconds S] [--binds N] [--trouble] [--data DIR] [--json]
--trouble: meanwhile the simulator takes less than the contract for a while, then drops every connection and refuses to
bind; then only the upper limit is judged. Exit status 1 when a contract was exceeded or not reached.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures
from bench.rig import Rig
from dispatcher.control.commands import CancelCampaign
from dispatcher.store import open_store

CONTRACTS = (10, 100, 1_000, 50_000)
LEAST = 0.99
ALLOWANCE_MS = 10
AHEAD_S = 6  # members beyond what the contract takes, so that the broadcast outlives the measurement
START_S = 3.0  # the first second after a start is empty, and a bind takes its time
TROUBLE = """\
[[phase]]
name = "calm"
seconds = {quarter}
[[phase]]
name = "takes less"
seconds = {quarter}
account-tps = {less}
[[phase]]
name = "drops all and refuses"
seconds = 2
close = "rst"
refuse-binds = "0x05"
[[phase]]
name = "calm again"
seconds = 100000
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What one contract came to, over the measured seconds."""

    contract: int
    reached: float  # of it
    most: int  # in any second
    lines: int
    throttled: int


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="volley bench rate", description=__doc__.partition("\n")[0])
    parser.add_argument("--contracts", default=",".join(map(str, CONTRACTS)), help="parts a second, with commas")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--binds", type=int, default=4)
    parser.add_argument("--trouble", action="store_true", help="throttling and broken connections meanwhile")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    contracts = [int(each) for each in options.contracts.split(",")]
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        report.show(*disk_figures(Path(name)), Figure("seconds", options.seconds), Figure("binds", options.binds))
        for held in _measure(Path(name), contracts, options):
            _judge(report, held, options.trouble)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _judge(report: Report, held: Held, trouble: bool) -> None:
    name = f"contract {held.contract:,}"
    least = None if trouble else 100 * LEAST
    report.show(
        Figure.of(f"{name}: reached", round(100 * held.reached, 2), "%", least=least),
        Figure(f"{name}: most in any second", held.most, "parts", f"<= {held.contract:,}", held.most <= held.contract),
    )
    if trouble:
        report.show(Figure(f"{name}: answered ESME_RTHROTTLED", held.throttled, "of", f"{held.lines:,}"))
    report.check(f"{name} never exceeded", held.most <= held.contract, held.most)
    report.check(f"{name} used", trouble or held.reached >= LEAST, f"{held.reached:.2%}")


def _measure(folder: Path, contracts: Sequence[int], options: argparse.Namespace) -> list[Held]:
    found: list[Held] = []
    failed: list[BaseException] = []
    ready = threading.Barrier(len(contracts))

    def one(contract: int) -> None:
        try:
            found.append(_hold(folder / str(contract), contract, options, ready))
        except BaseException as exc:
            failed.append(exc)
            ready.abort()

    threads = [threading.Thread(target=one, args=(contract,)) for contract in contracts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(found, key=lambda held: held.contract)


def _hold(folder: Path, contract: int, options: argparse.Namespace, ready: threading.Barrier) -> Held:
    """One contract from an empty store to its line count."""
    with ExitStack() as stack:
        rig = stack.enter_context(Rig(folder / "data", binds=options.binds, window=max(100, contract // 100)))
        store = stack.enter_context(open_store(rig.data))
        trouble: tuple[str, ...] = ()
        rig.start_smsc()
        rig.start_dispatcher()
        rig.wait_until_bound()
        b.open_shop(rig)
        b.add_members(rig, store, round(contract * (options.seconds + AHEAD_S)))
        rig.stop_dispatcher()  # the import is over; now with the contract, and from its first second
        if options.trouble:
            scenario = folder / "trouble.toml"
            scenario.write_text(TROUBLE.format(quarter=options.seconds / 4 + START_S, less=max(1, contract * 2 // 3)))
            trouble = ("--scenario", str(scenario))
        rig.start_smsc(*trouble)
        rig.start_dispatcher(rate=contract)
        rig.wait_until_bound()
        draft = b.draft(rig)
        ready.wait(b.WAIT_S)
        b.start(rig, draft)
        time.sleep(options.seconds + START_S)
        if rig.status()["campaigns"]:
            rig.do(CancelCampaign(campaign=draft.campaign))
        throttled = rig.smsc_summary()["throttled"]
        heard = b.read_log(rig.smsc_log)
        first = int(heard.at_ms.min())
        inside = int(np.count_nonzero(heard.at_ms < first + 1e3 * options.seconds))
        return Held(
            contract,
            inside / (contract * options.seconds),
            heard.most_in(1_000 - ALLOWANCE_MS),
            len(heard.at_ms),
            throttled,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
