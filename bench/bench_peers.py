"""Other SMPP clients on the same simulator in the same run, each at its best with two processes, and ours.

smpplib, aiosmpplib and smpp34 in a virtual environment of this bench's own, node's smpp where node and npm are, at the
versions of bench/peers/; Kannel where bearerbox and smsbox are in PATH or --kannel, by its HTTP interface. None of them
stores anything; ours is durable, through the whole daemon (bench_dispatch.py). What is not installed is said.
    volley bench peers [--messages N] [--ours N] [--window W] [--only NAME,...] [--folder DIR] [--kannel DIR] [--json]
Each figure is submit_sm/s by the simulator's log, checked first: each number once. Exit status 1 when that fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench import bench_dispatch
from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures, face
from bench.peers.kannel import Kannel
from bench.rig import Rig
from dispatcher.store import open_store

PEERS = Path(__file__).with_name("peers")
FIRST = 4_915_200_000_000
PROCESSES = 2
WITHIN_S = 60.0
LOOK_S = 0.1
KANNEL = "Kannel"
LEAST_RATIO = {"no-receipts": 16.0, "receipts": 16.0}  # of ours to the best of them
LEAST_TO_KANNEL = {"no-receipts": 25.0, "receipts": 50.0}


@dataclass(frozen=True, slots=True)
class Peer:
    """How one is run; `share` of the messages, for the slow ones; `gateway` where its clients do not speak SMPP."""

    name: str
    argv: tuple[str, ...]
    share: float = 1.0
    gateway: Kannel | None = None


def main(argv: Sequence[str]) -> int:
    parser = face("peers", __doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="of each peer, over its two processes")
    parser.add_argument("--ours", type=int, default=1_000_000, help="messages of ours; 0: only the peers")
    parser.add_argument("--window", type=int, default=100, help="of each connection")
    parser.add_argument("--only", default="", help="names of peers, with commas")
    parser.add_argument("--folder", default="build/peers", help="where they are installed, and found the next time")
    parser.add_argument("--kannel", default="", help="the folder of bearerbox and smsbox, where they are not in PATH")
    options = parser.parse_args(argv)
    report = Report(options.json)
    peers, absent = _find(options)
    for what, why in absent.items():
        report.show(Figure(f"{what}: not measured", why))
    reached: dict[str, dict[str, float]] = {mode: {} for mode in LEAST_RATIO}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        report.show(*disk_figures(Path(name)), Figure("window of each connection", options.window))
        for peer in peers:
            for mode, of_mode in reached.items():
                of_mode[peer.name] = _run_peer(report, Path(name), peer, mode, options)
        if options.ours:
            _run_ours(report, Path(name), reached, options)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


Found = tuple[list[Peer], dict[str, str]]  # peers that can run here; what cannot, and why


def _find(options: argparse.Namespace) -> Found:
    """All of them, or those of --only."""
    folder = Path(options.folder).resolve()
    wanted = set(filter(None, options.only.split(",")))
    peers: list[Peer] = []
    absent: dict[str, str] = {}
    for name, find in FINDERS.items():
        if not wanted or name in wanted:
            more, lacking = find(folder, options)
            peers += more
            absent |= lacking
    return peers, absent


def _of_python(name: str, folder: Path, _: argparse.Namespace) -> Found:
    """One of requirements.txt, installed with all that stands there, for some need others."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*argv, "-r", str(PEERS / "requirements.txt")], capture_output=True, text=True)
    if done.returncode:
        return [], {name: done.stderr.strip().splitlines()[-1][:200]}
    client = (str(python), str(PEERS / f"client_{name}.py"))
    return [Peer(name, client, 0.1 if name == "aiosmpplib" else 1.0)], {}


def _of_node(folder: Path, _: argparse.Namespace) -> Found:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return [], {"node smpp": "node or npm is not installed"}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PEERS / "package.json", folder)
    shutil.copy(PEERS / "client_node.js", folder)
    done = subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, capture_output=True)
    if done.returncode:
        return [], {"node smpp": "npm install failed"}
    return [Peer("node smpp", (node, str(folder / "client_node.js")))], {}


def _of_kannel(_: Path, options: argparse.Namespace) -> Found:
    kannel = Kannel.find(options.kannel)
    if kannel is None:
        where = options.kannel or "PATH"
        return [], {KANNEL: f"not installed: no bearerbox and smsbox in {where}"}
    return [Peer(KANNEL, (sys.executable, str(PEERS / "client_kannel.py")), gateway=kannel)], {}


def _of_jasmin(_: Path, __: argparse.Namespace) -> Found:
    return [], {"Jasmin": "not driven: it wants RabbitMQ and Redis beside it"}


FINDERS: dict[str, Callable[[Path, argparse.Namespace], Found]] = {
    **{name: partial(_of_python, name) for name in ("smpplib", "aiosmpplib", "smpp34")},
    "node smpp": _of_node,
    KANNEL: _of_kannel,
    "Jasmin": _of_jasmin,
}


def _run_peer(report: Report, folder: Path, peer: Peer, mode: str, options: argparse.Namespace) -> float:
    """submit_sm/s by the simulator's log; 0 when it failed."""
    each, receipts = max(1, round(options.messages * peer.share) // PROCESSES), mode == "receipts"
    folder /= f"{peer.name}-{mode}".replace(" ", "-")
    with Rig(folder) as rig:
        rig.start_smsc("--receipts", "100" if receipts else "0")
        began = time.perf_counter()
        try:
            with _port_of(peer, rig, options.window) as port:
                arguments = [(port, FIRST + no * each, each, options.window, int(receipts)) for no in range(PROCESSES)]
                failed = _run_clients(peer, arguments)
                if not failed and peer.gateway:  # its clients are done when it has taken their last message
                    failed = _wait_for(rig, PROCESSES * each, receipts)
        except TimeoutError as exc:
            failed = str(exc)
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


def _port_of(peer: Peer, rig: Rig, window: int) -> AbstractContextManager[int]:
    """Where its clients send to."""
    if peer.gateway is None:
        return nullcontext(rig.smsc_port)
    return peer.gateway.running(rig.data / "gateway", rig.smsc_port, window)


def _run_clients(peer: Peer, arguments: Sequence[tuple[int, ...]]) -> str:
    """Side by side; what failed, "" when nothing did."""
    failed, give_up = "", time.monotonic() + WITHIN_S
    running = [
        subprocess.Popen(
            [*peer.argv, "127.0.0.1", *map(str, mine)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for mine in arguments
    ]
    for process in running:
        try:
            _, errors = process.communicate(timeout=max(1.0, give_up - time.monotonic()))
            if process.returncode:
                failed = (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:200]
        except subprocess.TimeoutExpired:
            failed = f"not over within {WITHIN_S:g} s"
            process.kill()
            process.communicate()
    return failed


def _wait_for(rig: Rig, messages: int, receipts: bool) -> str:
    """Until the simulator has all of them; what failed, "" when nothing did."""
    give_up = time.monotonic() + WITHIN_S
    while True:
        summary = rig.smsc_summary()
        done = summary["receipts_answered"] if receipts else summary["accepted"]
        if done >= messages:
            return ""
        if time.monotonic() > give_up:
            return f"{done:,} of {messages:,} within {WITHIN_S:g} s after its clients were done"
        time.sleep(LOOK_S)


def _run_ours(
    report: Report, folder: Path, reached: dict[str, dict[str, float]], options: argparse.Namespace
) -> None:  # fmt: skip
    ours = bench_dispatch.options_of(["--messages", str(options.ours), "--window", str(options.window)])
    with Rig(folder / "ours", window=options.window) as rig, open_store(rig.data) as store:
        mine = bench_dispatch.run(report, rig, store, ours, list(reached))
    for mode, per_s in mine.items():
        report.show(*factors(mode, per_s, reached[mode]))


def factors(mode: str, per_s: float, reached: dict[str, float]) -> list[Figure]:
    """Ours against the best of those that ran, and against Kannel: what was asked stands beside it also where there is
    nothing to compare."""
    found = []
    best = max(reached, key=lambda name: reached[name], default="")
    for what, other, least in (
        (f"the best of them, {best}" if best else "the best of them", reached.get(best, 0.0), LEAST_RATIO[mode]),
        (KANNEL, reached.get(KANNEL, 0.0), LEAST_TO_KANNEL[mode]),
    ):
        name = f"ours, durable, against {what} ({mode})"
        if other:
            found.append(Figure.of(name, round(per_s / other, 1), "x", least=least))
        else:
            found.append(Figure(name, "not measured", "x", f">= {least:,}"))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
