"""How many messages a second go out through the whole daemon: render, gate, rate, ledger, fsync, correlation.

One dispatcher process and one `volley smsc` on this machine's cores. submit_sm/s are by the simulator's log, from its
first line to its last; beside it the same until the last receipt was answered, which is after its commit.
    volley bench dispatch [--messages N] [--window W] [--binds N] [--receipts | --no-receipts | --held | --broadcast]
        [--deliver-window N] [--sync-delay-ms MS] [--smsc HOST:PORT --system-id X --password Y] [--perf] [--data DIR]
        [--json]
Without a mode it runs three: no receipts, receipts, receipts of which a million are held back and come shuffled.
--broadcast is ten million members, matched, sent, receipted, settled. Exit status 1 when a check of correctness fails;
a target that is missed is only said. With another's simulator (--smsc) the ledger alone is checked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures, face
from bench.rig import Rig, RigFailed
from dispatcher.store import Store, open_store

MODES = ("no-receipts", "receipts", "held", "broadcast")
TARGETS = {"no-receipts": 1_000_000, "receipts": 500_000, "held": 400_000}
BROADCAST, BROADCAST_S = 10_000_000, 25.0
HELD = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str]) -> int:
    options = options_of(argv)
    modes = [
        mode for mode in ("no-receipts", "receipts", "held", "broadcast") if getattr(options, mode.replace("-", "_"))
    ]
    modes = modes or ["no-receipts", "receipts", "held"]
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name)
        report.show(*disk_figures(folder), Figure("sync delay added to each commit", options.sync_delay_ms, "ms"))
        rig_of = {"sync_delay_ms": options.sync_delay_ms, "binds": options.binds, "window": options.window}
        with Rig(folder / "data", **rig_of) as rig, open_store(rig.data) as store:
            run(report, rig, store, options, modes)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    parser = face("dispatch", __doc__)
    parser.add_argument("--messages", type=int, default=0, help="default 2,000,000; 10,000,000 with --broadcast")
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--binds", type=int, default=4)
    parser.add_argument("--no-receipts", action="store_true", help="registered_delivery 0")
    parser.add_argument("--receipts", action="store_true", help="as soon as the simulator can")
    parser.add_argument("--held", action="store_true", help="a million held back, then in any order")
    parser.add_argument("--broadcast", action="store_true", help="ten million, from matching to settled")
    parser.add_argument("--deliver-window", type=int, default=10_000, help="of the simulator, a bind")
    parser.add_argument("--smsc", metavar="HOST:PORT", help="another simulator than ours")
    parser.add_argument("--system-id", default="bench")
    parser.add_argument("--password", default="")
    parser.add_argument("--sync-delay-ms", type=float, default=0.0, help="as if each commit's sync took this longer")
    parser.add_argument("--perf", action="store_true", help="perf record of the dispatcher while it sends")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    return parser.parse_args(argv)


def run(report: Report, rig: Rig, store: Store, options: argparse.Namespace, modes: Sequence[str]) -> dict[str, float]:
    """Each mode in turn on one store; submit_sm/s of each by the simulator's log."""
    reached = {}
    messages = options.messages or (BROADCAST if "broadcast" in modes else 2_000_000)
    report.show(
        Figure("binds, window of each", f"{options.binds} x {options.window}"),
        Figure("deliver window of the simulator, a bind", options.deliver_window),
    )
    for no, mode in enumerate(modes):
        if no:
            rig.stop_dispatcher()
        if options.smsc:
            host, _, port = options.smsc.rpartition(":")
            rig.use_smsc(host, int(port), options.system_id, options.password)
        else:
            held = ("--hold-receipts", str(HELD), "--hold-idle-s", "0.2") if mode == "held" else ()
            rig.start_smsc("--deliver-window", str(options.deliver_window), *held)
        rig.start_dispatcher()
        rig.wait_until_bound()
        if not no:
            b.open_shop(rig)
            took_s = b.add_members(rig, store, messages)
            report.show(Figure("import of its members", round(messages / took_s), "rows/s"))
        reached[mode] = _send(report, rig, store, options, mode)
    return reached


def _send(report: Report, rig: Rig, store: Store, options: argparse.Namespace, mode: str) -> float:
    ours = not options.smsc
    broadcast = b.draft(rig, receipts=mode != "no-receipts")
    begin = rig.smsc_log.stat().st_size if ours else 0
    before, commits = _cpu_s(rig), rig.status()["writer"]["commits"]
    idle_mb, rig.anon_mb_max = rig.anon_mb(), 0.0
    profiler = _perf(rig, mode) if options.perf else None
    began, began_s = time.perf_counter(), time.time()
    b.start(rig, broadcast)
    over = b.wait_done(rig, lambda: mode == "no-receipts" or _receipted(rig, store, broadcast, ours))
    took_s = over - began
    if profiler is not None:
        profiler.send_signal(signal.SIGINT)
        profiler.wait()
    used = {
        name: round((now - before.get(name, 0.0)) * 1e6 / broadcast.will_send, 2) for name, now in _cpu_s(rig).items()
    }
    writer = rig.status()["writer"]
    settled_s = _settled(rig, store, broadcast, mode) - began
    report.show(
        Figure("messages", broadcast.will_send),
        Figure(f"processor of the dispatcher ({mode})", round(used["dispatcher"], 2), "us each"),
        Figure(f"processor of the simulator ({mode})", round(used.get("smsc", 0.0), 2), "us each"),
        Figure(f"commits ({mode})", round((writer["commits"] - commits) / took_s), "a second"),
        Figure("commit p50", writer["commit_ms_p50"], "ms"),
        Figure("commit p99", writer["commit_ms_p99"], "ms"),
        Figure.of(f"RssAnon greatest over idle ({mode})", round(rig.anon_mb_max - idle_mb, 1), "MB", most=300),
    )
    per_s = broadcast.will_send / took_s
    if ours:
        heard = b.read_log(rig.smsc_log, begin)
        per_s = heard.per_s
        first_s = float(heard.at_ms.min()) / 1e3 - began_s if len(heard.at_ms) else 0.0
        report.show(
            Figure.of(f"submit_sm by the simulator's log ({mode})", round(per_s), "/s", least=TARGETS.get(mode)),
            Figure(f"until the last was settled ({mode})", round(broadcast.will_send / (took_s - first_s)), "/s"),
            Figure(f"start to the first submit_sm ({mode})", round(first_s * 1e3), "ms"),
        )
        report.check(
            f"{mode}: one line of its own octets for each member", b.differences(heard, store, broadcast) == (0, 0, 0),
            b.differences(heard, store, broadcast),
        )  # fmt: skip
    else:
        report.show(Figure(f"messages settled ({mode})", round(per_s), "/s"))
    if mode == "broadcast":
        report.show(
            Figure("matched, previewed and frozen", round(broadcast.preview_s, 2), "s"),
            Figure.of(
                "matched, sent, receipted, settled in the ledger", round(settled_s + broadcast.preview_s, 2), "s",
                most=BROADCAST_S,
            ),
        )  # fmt: skip
    _check_counts(report, store, broadcast, mode)
    return per_s


def _receipted(rig: Rig, store: Store, broadcast: b.Broadcast, ours: bool) -> bool:
    if ours:
        return not rig.smsc_summary()["receipts_pending"]
    return bool(b.counts(store, broadcast.campaign)["states"]["delivered"] == broadcast.will_send)


def _settled(rig: Rig, store: Store, broadcast: b.Broadcast, mode: str) -> float:
    """Until the ledger says so."""
    wanted = "accepted" if mode == "no-receipts" else "delivered"

    def folded() -> bool:
        return bool(b.counts(store, broadcast.campaign)["states"][wanted] == broadcast.will_send)

    with suppress(RigFailed):  # the check says what is missing
        rig.wait("the ledger has it", folded, 30.0)
    return time.perf_counter()


def _check_counts(report: Report, store: Store, broadcast: b.Broadcast, mode: str) -> None:
    counts = b.counts(store, broadcast.campaign)
    states = {word: n for word, n in counts["states"].items() if n}
    wanted = {"accepted" if mode == "no-receipts" else "delivered": broadcast.will_send}
    report.check(f"{mode}: the ledger has each as {next(iter(wanted))}", states == wanted, counts)


def _cpu_s(rig: Rig) -> dict[str, float]:
    """User and system time of each process so far (proc(5), stat fields 14 and 15)."""
    found = {}
    for name, pid in rig.pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def _perf(rig: Rig, mode: str) -> subprocess.Popen[Any] | None:
    """perf record of the dispatcher into the working folder, where perf is installed."""
    if shutil.which("perf") is None:
        print("perf is not installed: no profile", file=sys.stderr)
        return None
    argv = ["perf", "record", "-q", "-g", "-F", "499", "-p", str(rig.pids["dispatcher"]), "-o", f"perf-{mode}.data"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
