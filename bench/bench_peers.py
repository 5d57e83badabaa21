"""Other SMPP clients on the same simulator in the same run, each at its best with two processes, and ours.

smpplib, aiosmpplib and smpp34 in a virtual environment of this bench's own, node's smpp where node and npm are, at the
versions of bench/peers/; none of them stores anything. Ours is durable, through the whole daemon (bench_dispatch.py).
What cannot be installed is said, not guessed; so is Kannel, which has no client to drive from here.
    volley bench peers [--messages N] [--ours N] [--window W] [--only NAME,...] [--folder DIR] [--json]
Each figure is submit_sm/s by the simulator's log, checked first: each number once. Exit status 1 when that fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import bench_dispatch
from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures
from bench.rig import Rig
from dispatcher.store import open_store

PEERS = Path(__file__).with_name("peers")
FIRST = 4_915_200_000_000
PROCESSES = 2
WITHIN_S = 60.0
LEAST_RATIO = 16.0  # of ours to the best of them, with receipts and without


@dataclass(frozen=True, slots=True)
class Peer:
    """How one is run; `share` of the messages, for the slow ones."""

    name: str
    argv: tuple[str, ...]
    share: float = 1.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="volley bench peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, help="of each peer, over its two processes")
    parser.add_argument("--ours", type=int, default=1_000_000, help="messages of ours; 0: only the peers")
    parser.add_argument("--window", type=int, default=100, help="of each connection")
    parser.add_argument("--only", default="", help="names of peers, with commas")
    parser.add_argument("--folder", default="build/peers", help="where they are installed, and found the next time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = Report(options.json)
    peers, absent = _install(Path(options.folder).resolve())
    peers = [peer for peer in peers if not options.only or peer.name in options.only.split(",")]
    for what, why in absent.items():
        report.show(Figure(f"{what}: not measured", why))
    best = {"no-receipts": 0.0, "receipts": 0.0}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        report.show(*disk_figures(Path(name)), Figure("window of each connection", options.window))
        for peer in peers:
            for mode in best:
                per_s = _run_peer(report, Path(name), peer, mode, options)
                best[mode] = max(best[mode], per_s)
        if options.ours:
            _run_ours(report, Path(name), best, options)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _install(folder: Path) -> tuple[list[Peer], dict[str, str]]:
    """(the peers that can run here, what cannot and why)"""
    peers: list[Peer] = []
    absent: dict[str, str] = {}
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for pin in (PEERS / "requirements.txt").read_text().split():
        name = pin.partition("==")[0]
        argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", pin]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            absent[name] = done.stderr.strip().splitlines()[-1][:200]
        elif (client := PEERS / f"client_{name}.py").exists():
            share = 0.1 if name == "aiosmpplib" else 1.0
            peers.append(Peer(name, (str(python), str(client)), share))
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        absent["node smpp"] = "node or npm is not installed"
    else:
        shutil.copy(PEERS / "package.json", folder)
        shutil.copy(PEERS / "client_node.js", folder)
        done = subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, capture_output=True)
        if done.returncode:
            absent["node smpp"] = "npm install failed"
        else:
            peers.append(Peer("node smpp", (node, str(folder / "client_node.js"))))
    absent["Kannel"] = "is installed, but not driven from here" if shutil.which("bearerbox") else "is not installed"
    return peers, absent


def _run_peer(report: Report, folder: Path, peer: Peer, mode: str, options: argparse.Namespace) -> float:
    """submit_sm/s by the simulator's log; 0 when it failed."""
    each = max(1, round(options.messages * peer.share) // PROCESSES)
    receipts = mode == "receipts"
    with Rig(folder / f"{peer.name}-{mode}".replace(" ", "-")) as rig:
        rig.start_smsc("--receipts", "100" if receipts else "0")
        port = rig.smsc_port
        began = time.perf_counter()
        running = [
            subprocess.Popen(
                [*peer.argv, "127.0.0.1", *map(str, (port, FIRST + no * each, each, options.window, int(receipts)))],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for no in range(PROCESSES)
        ]  # fmt: skip
        failed = ""
        for process in running:
            try:
                _, errors = process.communicate(timeout=max(1.0, WITHIN_S - (time.perf_counter() - began)))
                if process.returncode:
                    failed = (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:200]
            except subprocess.TimeoutExpired:
                failed = f"not over within {WITHIN_S:g} s"
                process.kill()
                process.communicate()
        took_s = time.perf_counter() - began
        heard = b.read_log(rig.smsc_log)
        summary = rig.smsc_summary()
    once = len(heard.numbers) == PROCESSES * each and len(np.unique(heard.numbers)) == len(heard.numbers)
    if failed or not once or (receipts and summary["receipts_answered"] != PROCESSES * each):
        report.show(Figure(f"{peer.name} ({mode}): failed", failed or f"{len(heard.numbers):,} lines"))
        return 0.0
    report.show(
        Figure(f"{peer.name} ({mode})", round(heard.per_s), "/s"),
        Figure(f"{peer.name} ({mode}): from its start to its end", round(took_s, 1), "s"),
    )
    return heard.per_s


def _run_ours(report: Report, folder: Path, best: dict[str, float], options: argparse.Namespace) -> None:
    ours = bench_dispatch.options_of(["--messages", str(options.ours), "--window", str(options.window)])
    with Rig(folder / "ours", window=options.window) as rig, open_store(rig.data) as store:
        reached = bench_dispatch.run(report, rig, store, ours, list(best))
    for mode, per_s in reached.items():
        if best[mode]:
            ratio = round(per_s / best[mode], 1)
            report.show(Figure.of(f"ours, durable, against the best of them ({mode})", ratio, "x", least=LEAST_RATIO))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
