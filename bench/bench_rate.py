"""Contracts of 10 to 50,000 parts a second, each held over a minute: what leaves of it, and never more in any second.

A dispatcher and a simulator for each contract, all at once; several binds share a contract. The simulator's log
is the judge: no window of 990 ms has more lines than the contract (10 ms lie between our socket and its log).
    volley bench rate [--contracts N,N,...] [--seconds S] [--binds N] [--trouble] [--data DIR] [--json]
--trouble: meanwhile the simulator drops every connection and refuses to bind, the dispatcher's wall clock jumps an hour
on and two back, and the simulator takes less than the contract for a while. The upper limit holds all the time; 99 % of
the contract in the seconds that are no trouble's: not while it is there, nor in the 5 s after a bind is allowed again
or the 30 s in which a changed cap must be found. The clock has no such grace. The run is 42 s longer.
Exit status 1 when a contract was exceeded or not reached.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import broadcast as b
from bench.end_to_end import Report
from bench.faulty_libc import Faults
from bench.harness import Figure, disk_figures, face
from bench.rig import Rig
from dispatcher.control.commands import CancelCampaign
from dispatcher.store import open_store

if TYPE_CHECKING:
    from bench.faulty_libc import Faults

CONTRACTS = (10, 100, 1_000, 50_000)
LEAST = 0.99
ALLOWANCE_MS = 10
AHEAD_S = 6  # members beyond what the contract takes, so that the broadcast outlives the measurement
START_S = 3.0  # the first second after a start is empty, and a bind takes its time
REFUSED_S, REBOUND_S = 2.0, 5.0  # PITFALLS F1: full rate again <= 5 s after the bind is allowed
LESS_S, FOUND_S = 5.0, 30.0  # of the cap; SMPP_FACTS 9: a changed one is found in 30 s
JUMPS_S = (3_600, -3_600, 0)  # of the wall clock, from what it really is
TROUBLE = """\
[[phase]]
name = "calm"
accepted = {calm}
[[phase]]
name = "drops all and refuses"
seconds = {refused}
close = "rst"
refuse-binds = "0x05"
[[phase]]
name = "the clock jumps"
seconds = {jumps}
[[phase]]
name = "takes less"
seconds = {less}
account-tps = {cap}
[[phase]]
name = "calm again"
seconds = 100000
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What one contract came to, over the measured seconds."""

    contract: int
    reached: float  # of it; with troubles, outside of them
    most: int  # in any second
    lines: int
    throttled: int
    troubles: float = 0.0  # of it, in their seconds


def main(argv: Sequence[str]) -> int:
    parser = face("rate", __doc__)
    parser.add_argument("--contracts", default=",".join(map(str, CONTRACTS)), help="parts a second, with commas")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--binds", type=int, default=4)
    parser.add_argument("--trouble", action="store_true", help="throttling and broken connections meanwhile")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    contracts = [int(each) for each in options.contracts.split(",")]
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        report.show(*disk_figures(Path(name)), Figure("seconds", options.seconds), Figure("binds", options.binds))
        for held in _measure(Path(name), contracts, options):
            _judge(report, held)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _judge(report: Report, held: Held) -> None:
    name = f"contract {held.contract:,}"
    report.show(
        Figure.of(f"{name}: reached", round(100 * held.reached, 2), "%", least=100 * LEAST),
        Figure(f"{name}: most in any second", held.most, "parts", f"<= {held.contract:,}", held.most <= held.contract),
    )
    if held.troubles:
        report.show(
            Figure(f"{name}: in the seconds of the troubles", round(100 * held.troubles, 2), "%"),
            Figure(f"{name}: answered ESME_RTHROTTLED", held.throttled, "of", f"{held.lines:,}"),
        )
    report.check(f"{name} never exceeded", held.most <= held.contract, held.most)
    report.check(f"{name} used", held.reached >= LEAST, f"{held.reached:.2%}")


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
    trouble = Trouble(contract, options.seconds) if options.trouble else None
    seconds = trouble.until_s if trouble is not None else options.seconds
    with ExitStack() as stack:
        rig = stack.enter_context(Rig(folder / "data", binds=options.binds, window=max(100, contract // 100)))
        store = stack.enter_context(open_store(rig.data))
        rig.start_smsc()
        rig.start_dispatcher()
        rig.wait_until_bound()
        b.open_shop(rig)
        b.add_members(rig, store, round(contract * (seconds + AHEAD_S)))
        rig.stop_dispatcher()  # the import is over; now with the contract, and from its first second
        faults: Faults | None = None
        if trouble is not None:
            from bench.faulty_libc import faults_in

            faults = stack.enter_context(faults_in(folder))
            rig.environment = faults.environment
            scenario = folder / "trouble.toml"
            scenario.write_text(trouble.phases())
            rig.start_smsc("--scenario", str(scenario))
        else:
            rig.start_smsc()
        rig.start_dispatcher(rate=contract)
        rig.wait_until_bound()
        draft = b.draft(rig)
        ready.wait(b.WAIT_S)
        b.start(rig, draft)
        if trouble is not None and faults is not None:
            trouble.take_its_course(rig, faults)
        else:
            time.sleep(seconds + START_S)
        if rig.status()["campaigns"]:
            rig.do(CancelCampaign(campaign=draft.campaign))
        throttled = rig.smsc_summary()["throttled"]
        heard = b.read_log(rig.smsc_log)
        at_ms = np.sort(heard.at_ms)
        most, lines = heard.most_in(1_000 - ALLOWANCE_MS), len(at_ms)
        if trouble is None:
            return Held(contract, _reached(at_ms, contract, [(0.0, seconds)]), most, lines, throttled)
        calm, troubled = trouble.spans(at_ms)
        return Held(
            contract, _reached(at_ms, contract, calm), most, lines, throttled, _reached(at_ms, contract, troubled)
        )


def _reached(at_ms: Any, contract: int, spans: Sequence[tuple[float, float]]) -> float:
    """What left in these spans, in seconds from the first line, of what might have."""
    first = int(at_ms[0])
    inside = sum(int(np.count_nonzero((at_ms >= first + 1e3 * a) & (at_ms < first + 1e3 * z))) for a, z in spans)
    return inside / (contract * sum(z - a for a, z in spans))


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to one contract, and when. Its first quarter ends by what was accepted, so that the log tells when;
    the clock jumps in the second, and the rest comes after the cap."""

    contract: int
    seconds: float  # without trouble

    @property
    def first(self) -> int:
        """Lines of the first quarter."""
        return max(1, round(self.contract * self.seconds / 4))

    @property
    def jumps_s(self) -> float:
        return REBOUND_S + self.seconds / 4

    @property
    def until_s(self) -> float:
        return self.seconds + REFUSED_S + REBOUND_S + LESS_S + FOUND_S

    def phases(self) -> str:
        cap = max(1, self.contract * 2 // 3)
        return TROUBLE.format(calm=self.first, refused=REFUSED_S, jumps=self.jumps_s, less=LESS_S, cap=cap)

    def take_its_course(self, rig: Rig, faults: Faults) -> None:
        """From the start to the end; the clock is as it was then."""
        rig.wait("the first quarter is over", lambda: rig.smsc_summary()["accepted"] >= self.first, b.WAIT_S)
        time.sleep(REFUSED_S + REBOUND_S)
        for jump_s in JUMPS_S:
            time.sleep(self.seconds / 4 / (len(JUMPS_S) + 1))
            faults.shift_clock(jump_s)
        time.sleep(self.seconds / 4 / (len(JUMPS_S) + 1) + LESS_S + FOUND_S + self.seconds / 2)

    def spans(self, at_ms: Any) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """(without trouble, with), in seconds from the first line."""
        dropped = (int(at_ms[min(self.first, len(at_ms)) - 1]) - int(at_ms[0])) / 1e3
        bound = dropped + REFUSED_S + REBOUND_S
        less = bound + self.seconds / 4
        found = less + LESS_S + FOUND_S
        return [(0.0, dropped), (bound, less), (found, found + self.seconds / 2)], [(dropped, bound), (less, found)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
