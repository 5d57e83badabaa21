"""Memory whatever the SMSC does: slow, mute, a flood of receipts, a flood from phones; anonymous memory over idle.

One dispatcher process and one `volley smsc`; in each case a broadcast to all members runs, and the dispatcher's RssAnon
is looked at every 20 ms, from before the audience is frozen. In the two floods the broadcast has a rate of its own, and
what of it left meanwhile is told: a flood that is paid for with the sending would be no defence.
    volley bench memory [--members N] [--seconds S] [--case NAME ...] [--data DIR] [--json]
--members 10000000 is what the promise speaks of (below 300 MB). Exit status 1 when a bound does not hold or the books
are wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures, face
from bench.rig import Rig
from dispatcher.control.commands import CancelCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id
from dispatcher.store import open_store
from dispatcher.store.verify import find_problems

ANON_MB_MOST = 300  # DESIGN 1
RATE = 50_000  # parts a second of the broadcast beside a flood
RECEIPTS = 1_000_000
MO = ("--mo-rate", "200000", "--mo-sources", "1000000", "--mo-to", "10690000", "--mo-text", "hello there")
SETTLE_S = 1.0
STORM_LEAST_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """What the simulator does, and what must leave of a broadcast with a rate meanwhile (PITFALLS F13, F14)."""

    title: str
    smsc: tuple[str, ...]
    run: Callable[[Rig, int, float], float | None]  # members, seconds; the share of a rate that left
    least: float | None = None


def main(argv: Sequence[str]) -> int:
    parser = face("memory", __doc__)
    parser.add_argument("--members", type=int, default=300_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a case, but that of the receipts")
    parser.add_argument("--case", action="append", choices=CASES, help="only this; may be repeated")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name)
        report.show(*disk_figures(folder), Figure("members", options.members))
        timeout = "response_timeout_s = 2.0\n"  # the mute one is left and bound again many times
        with Rig(folder / "data", more=timeout) as rig, open_store(rig.data) as store:
            rig.start_smsc()
            rig.start_dispatcher()
            rig.wait_until_bound()
            b.open_shop(rig)
            b.add_members(rig, store, options.members)
            for case in options.case or CASES:
                _measure(report, rig, case, options)
            with store.snapshot() as view:
                problems = list(find_problems(view))
            report.check("the store adds up", not problems, problems[:3])
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _measure(report: Report, rig: Rig, name: str, options: argparse.Namespace) -> None:
    case = CASES[name]
    rig.stop_dispatcher()
    rig.start_smsc(*(str(min(RECEIPTS, options.members)) if word == "RECEIPTS" else word for word in case.smsc))
    rig.start_dispatcher()
    rig.wait_until_bound()
    time.sleep(SETTLE_S)
    idle_mb, rig.anon_mb_max = rig.anon_mb(), 0.0
    share = case.run(rig, options.members, options.seconds)
    over = round(rig.anon_mb_max - idle_mb, 1)
    report.show(
        Figure(f"RssAnon idle ({name})", round(idle_mb, 1), "MB"),
        Figure.of(f"RssAnon greatest over idle ({case.title})", over, "MB", most=ANON_MB_MOST),
    )
    if share is not None and case.least is not None:
        least = round(100 * case.least)
        report.show(Figure.of(f"sent meanwhile, of {RATE:,}/s ({case.title})", round(100 * share, 1), "%", least=least))
    summary, faults = rig.smsc_summary(), rig.status()["faults"]
    told = {key: summary[key] for key in ("accepted", "muted", "receipts_answered", "mo_sent", "mo_answered")}
    told |= {key: faults[key] for key in ("inbound_refused", "held_overflow", "store_full")}
    report.show(*(Figure(f"{key.replace('_', ' ')} ({name})", value) for key, value in told.items() if value))
    report.check(f"{name}: memory is bounded", over < ANON_MB_MOST, over)


def _alone(rig: Rig, members: int, seconds: float) -> None:
    """A broadcast as fast as the simulator lets it, until it is over or the time is."""
    b.start(rig, b.draft(rig))
    began = time.monotonic()
    rig.wait("time is up", lambda: time.monotonic() - began > seconds or not rig.status()["campaigns"], b.WAIT_S)
    _cancel_all(rig)


def _beside_texts(rig: Rig, members: int, seconds: float) -> float:
    seconds, begin = min(seconds, members / RATE), rig.smsc_log.stat().st_size
    b.start(rig, b.draft(rig, rate=RATE))
    time.sleep(seconds + 1.0)
    _cancel_all(rig)
    return _share(rig, begin, seconds)


def _beside_receipts(rig: Rig, members: int, seconds: float) -> float:
    """All receipts of a first broadcast are let go at the moment its last message is accepted; then goes the second."""
    few = {"expr": f"points < {b.POINTS * RECEIPTS // members}"} if members > RECEIPTS else {}
    first, second = b.draft(rig, **few), b.draft(rig, receipts=False, rate=RATE)
    b.start(rig, first)
    rig.wait("the first is accepted", lambda: rig.smsc_summary()["accepted"] >= first.will_send, b.WAIT_S)
    begin, began = rig.smsc_log.stat().st_size, time.monotonic()
    b.start(rig, second)
    rig.wait("its receipts are answered", lambda: not rig.smsc_summary()["receipts_pending"], b.WAIT_S)
    took_s = min(max(STORM_LEAST_S, time.monotonic() - began), members / RATE)
    time.sleep(max(0.0, began + took_s + 1.0 - time.monotonic()))
    _cancel_all(rig)
    return _share(rig, begin, took_s)


def _share(rig: Rig, begin: int, seconds: float) -> float:
    """Of RATE, what the simulator accepted in so many seconds from the first line on."""
    at_ms = b.read_log(rig.smsc_log, begin).at_ms
    return int(np.count_nonzero(at_ms < at_ms.min() + 1e3 * seconds)) / (RATE * seconds) if len(at_ms) else 0.0


def _cancel_all(rig: Rig) -> None:
    for name in rig.status()["campaigns"]:
        campaign = parse_public_id("cmp", name)
        assert campaign is not None
        with suppress(CommandRefused):  # over in this moment
            rig.do(CancelCampaign(campaign=campaign))


CASES = {
    "slow": Case("answers after 0.5 to 20 s", ("--delay-ms", "uniform:500:20000"), _alone),
    "mute": Case("no answer ever", ("--mute-every", "1"), _alone),
    "receipts": Case(
        "receipts all at once", ("--hold-receipts", "RECEIPTS", "--hold-idle-s", "0.2"), _beside_receipts, 0.7
    ),
    "texts": Case("200,000 texts/s from a million phones", MO, _beside_texts, 0.5),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
