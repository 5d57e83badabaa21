"""One campaign of ten million: preview, start, pause, kill -9, end; twenty at once; a backup beside; a person's story.

A dispatcher and a `volley smsc` as processes of their own; commands go over the control socket, the simulator's log is
the judge. A million receipts are held back, so that the kill finds as many in flight.
    volley bench campaign [--recipients N] [--only life|many|backup] [--store-gb N] [--sync-delay-ms MS]
        [--data DIR] [--json]
The last line is one JSON object. Exit status 1 when a check of correctness fails; a target that is missed is only said.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures, face
from bench.rig import Rig
from dispatcher.apps.reports.story import messages
from dispatcher.cli.demo_children import environment
from dispatcher.cli.demo_kills import LogWatch
from dispatcher.control.commands import PauseCampaign, ResumeCampaign
from dispatcher.store import Store, open_store
from dispatcher.store.backup import FILE
from dispatcher.store.layout import LEDGER_KEY, U64

RECIPIENTS = 10_000_000
HELD = 1_000_000
MANY = 20
SHARE = 5_000  # of 10,000 buckets: who the campaigns of the second half go to
BACKUP_ROUNDS = 8
ROUNDS = 4  # each begins with the other of the two: the machine is others' too, and caches fill
PEOPLE = 200
QUIET_S = 0.3
SETTLE_S = 1.0
WAIT_S = 300.0


def main(argv: Sequence[str]) -> int:
    parser = face("campaign", __doc__)
    parser.add_argument("--recipients", type=int, default=RECIPIENTS)
    parser.add_argument("--only", choices=("life", "many", "backup"), help="default: all, and a person's story")
    parser.add_argument("--store-gb", type=int, default=0, help="make the store that is copied as large, with ballast")
    parser.add_argument("--sync-delay-ms", type=float, default=0.0, help="as if each commit's sync took this longer")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name)
        report.show(*disk_figures(folder), Figure("recipients", options.recipients))
        with Rig(folder / "data", sync_delay_ms=options.sync_delay_ms) as rig:
            _ballast(rig.data, options.store_gb)
            with open_store(rig.data) as store:
                last = _measure(report, rig, store, folder, options)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    print(json.dumps({"recipients": options.recipients, "ok": not report.wrong, **last}))
    return 1 if report.wrong else 0


def _measure(report: Report, rig: Rig, store: Store, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    last = dict[str, Any]()
    _begin(rig, "--hold-receipts", str(min(HELD, options.recipients // 10)), "--hold-idle-s", "0.2")
    b.open_shop(rig)
    b.add_members(rig, store, options.recipients)
    if options.only in (None, "life"):
        last |= _life(report, rig, store)
    rig.stop_dispatcher()
    _begin(rig)
    if options.only in (None, "many"):
        last |= _many(report, rig, options.recipients)
    if options.only in (None, "backup"):
        last |= _backup(report, rig, folder / "copy")
    if options.only in (None, "life"):
        last |= _story(report, store, options.recipients)
    return last


def _begin(rig: Rig, *smsc: str) -> None:
    rig.start_smsc(*smsc)
    rig.start_dispatcher()
    rig.wait_until_bound()
    time.sleep(SETTLE_S)


# ---- one campaign


def _life(report: Report, rig: Rig, store: Store) -> dict[str, Any]:
    idle_mb, rig.anon_mb_max = rig.anon_mb(), 0.0
    broadcast = b.draft(rig)
    ledger_before = _ledger_mb(store, broadcast.campaign)
    log, asked_s = LogWatch(rig.smsc_log), time.time()
    b.start(rig, broadcast)
    rig.wait("the first submit_sm", lambda: log.accepted() > 0, WAIT_S, step_s=0.002)
    first_submit_s = _first_ms(rig.smsc_log, log.begin) / 1e3 - asked_s
    pause_s = _pause(rig, log, broadcast)
    restart_s = _kill(rig, log, broadcast)
    b.wait_done(rig, lambda: not rig.smsc_summary()["receipts_pending"])
    counts = _settled(rig, store, broadcast)
    ledger_after, added_mb = _ledger_mb(store, broadcast.campaign), rig.anon_mb_max - idle_mb
    report.show(
        Figure.of("preview, exact", round(broadcast.preview_s, 2), "s", most=1.5),
        Figure.of("start to the first submit_sm", round(first_submit_s, 3), "s", most=2),
        Figure.of("pause to the last submit_sm", round(pause_s, 3), "s", most=1),
        Figure.of("kill -9, spawn to the first new submit_sm", round(restart_s, 2), "s", most=5),
        Figure.of("ledger before sending", round(ledger_before, 1), "MB", most=60),
        Figure.of("ledger after sending", round(ledger_after, 1), "MB", most=400),
        Figure.of("RssAnon greatest over idle", round(added_mb, 1), "MB", most=300),
    )
    lost, doubled, _ = b.differences(b.read_log(rig.smsc_log, log.begin), store, broadcast)
    uncertain = counts["states"]["uncertain"]
    report.check("nobody has two lines", doubled == 0, doubled)
    report.check("who has no line is uncertain", lost <= uncertain, (lost, uncertain))
    ends = counts["states"]["delivered"] + uncertain
    report.check("each is delivered or uncertain", ends == counts["sent"] == broadcast.will_send, counts)
    return {
        "preview_s": round(broadcast.preview_s, 3),
        "first_submit_s": round(first_submit_s, 3),
        "pause_s": round(pause_s, 3),
        "restart_s": round(restart_s, 3),
        "ledger_mb_before": round(ledger_before, 1),
        "ledger_mb_after": round(ledger_after, 1),
        "anon_added_mb": round(added_mb, 1),
    }


def _pause(rig: Rig, log: LogWatch, broadcast: b.Broadcast) -> float:
    """At a tenth; from before the command to the last line of the simulator's log. Then it goes on."""
    rig.wait("a tenth is accepted", lambda: log.accepted() >= broadcast.will_send // 10, WAIT_S, step_s=0.001)
    asked_s = time.time()
    rig.do(PauseCampaign(campaign=broadcast.campaign))
    _until_quiet(rig)
    paused_s = max(0.0, _last_ms(rig.smsc_log) / 1e3 - asked_s)
    rig.do(ResumeCampaign(campaign=broadcast.campaign))
    return paused_s


def _kill(rig: Rig, log: LogWatch, broadcast: b.Broadcast) -> float:
    """At a fifth; from the spawn of the next process to its first line."""
    rig.wait("a fifth is accepted", lambda: log.accepted() >= broadcast.will_send // 5, WAIT_S, step_s=0.001)
    rig.kill_dispatcher()
    _until_quiet(rig)
    reached, spawned_s = rig.smsc_log.stat().st_size, time.time()
    rig.start_dispatcher()
    rig.wait("the next dispatcher submits", lambda: rig.smsc_log.stat().st_size > reached, WAIT_S, step_s=0.005)
    return _first_ms(rig.smsc_log, reached) / 1e3 - spawned_s


def _settled(rig: Rig, store: Store, broadcast: b.Broadcast) -> dict[str, Any]:
    """Its counts once nothing is on its way."""

    def over() -> bool:
        states = b.counts(store, broadcast.campaign)["states"]
        return not any(states[word] for word in ("claimed", "retry_wait", "accepted"))

    rig.wait("the ledger has every end", over, WAIT_S, step_s=0.1)
    return b.counts(store, broadcast.campaign)


def _ledger_mb(store: Store, campaign: int) -> float:
    """Its frozen audience and its arrays, as values in the store; the outcome log apart."""
    with store.snapshot() as view:
        return (
            sum(len(value) for table in ("bitmaps", "ledger") for _, value in view.range(table, U64.pack(campaign)))
            / 1e6
        )


# ---- many, and a backup


def _many(report: Report, rig: Rig, members: int) -> dict[str, Any]:
    """As many messages, as thinly spread, by one campaign and by twenty at once, in turns; by the simulator's log."""
    audience = f"everyone bucket 0..{SHARE - 1}"
    share = f"{audience} limit {members * SHARE // 10_000 // MANY}"
    one, many = _in_turns(lambda: _rate(rig, [audience]), lambda: _rate(rig, [share] * MANY))
    loss = 100 * (1 - many / one)
    report.show(
        Figure("one campaign", one, "messages/s"),
        Figure(f"{MANY} campaigns at once", many, "messages/s"),
        Figure.of(f"{MANY} campaigns lose", round(loss, 1), "%", most=5),
    )
    return {"one_per_s": one, "many_per_s": many, "many_loss_percent": round(loss, 1)}


def _backup(report: Report, rig: Rig, copy: Path) -> dict[str, Any]:
    """A campaign alone and beside a backup, in turns: while it is not its turn, the backup is stopped."""
    backups, audience = _Backups(rig.data, copy), f"everyone bucket 0..{SHARE - 1}"

    def with_backup() -> float:
        with backups.going():
            return _rate(rig, [audience])

    try:
        alone, beside = _in_turns(lambda: _rate(rig, [audience]), with_backup, BACKUP_ROUNDS)
    finally:
        backups.end()
    loss = 100 * (1 - beside / alone)
    report.check("backups copy", backups.octets > 0, backups.octets)
    report.show(
        Figure("the store", round(sum(file.stat().st_size for file in rig.data.rglob(FILE)) / 1e9, 2), "GB"),
        Figure("copied beside", round(backups.octets / 1e9, 2), "GB"),
        Figure("alone", alone, "messages/s"),
        Figure("beside a backup", beside, "messages/s"),
        Figure.of("a backup costs", round(loss, 1), "% of rate", most=10),
    )
    return {"backup_loss_percent": round(loss, 1), "backup_copied_gb": round(backups.octets / 1e9, 2)}


class _Backups:
    """`volley backup`, stopped and let go on, and begun again where it ended."""

    def __init__(self, data: Path, copy: Path) -> None:
        self.octets = 0
        self._argv = [sys.executable, "-m", "dispatcher.cli", "backup", str(copy), "--data", str(data)]
        self._copy = copy
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        if self._process is None or self._process.poll() is not None:
            shutil.rmtree(self._copy, ignore_errors=True)
            self._process = subprocess.Popen(
                self._argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self._process.send_signal(signal.SIGCONT)
        time.sleep(SETTLE_S)
        before = _written(self._process.pid)
        yield
        self._process.send_signal(signal.SIGSTOP)
        self.octets += max(0, _written(self._process.pid) - before)

    def end(self) -> None:
        if self._process is not None:
            for number in (signal.SIGINT, signal.SIGCONT):
                self._process.send_signal(number)
            self._process.wait()
        shutil.rmtree(self._copy, ignore_errors=True)


def _ballast(data: Path, gigabytes: int) -> None:
    """Bitmaps of a campaign that nobody has, until the store is so large."""
    octets, blocks = random.Random(1).randbytes(1 << 20), itertools.count()
    with open_store(data, write=True) as store:
        while store.size_octets() < gigabytes * 10**9:
            with store.begin_write() as view:
                for block in itertools.islice(blocks, 64):
                    view.txn.put(LEDGER_KEY.pack(1, 0, block), octets, db=view.tables["bitmaps"])


def _in_turns(first: Callable[[], float], second: Callable[[], float], rounds: int = ROUNDS) -> tuple[int, int]:
    """The rates of two over all rounds: all messages by all their time."""
    rates: dict[Callable[[], float], list[float]] = {first: [], second: []}
    for i in range(rounds):
        for measure in (first, second) if i % 2 == 0 else (second, first):
            rates[measure].append(measure())
    return round(harmonic_mean(rates[first])), round(harmonic_mean(rates[second]))


def _written(pid: int) -> int:
    """Octets that a process has written to disks; a file that is set aside first says nothing of that."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    return 0


def _rate(rig: Rig, audiences: Sequence[str]) -> float:
    """Messages a second, to the last receipt answered, by a campaign to each of these, begun together."""
    drafts = [b.draft(rig, expr=expr) for expr in audiences]
    begin = rig.smsc_log.stat().st_size
    for broadcast in drafts:
        b.start(rig, broadcast)
    b.wait_done(rig, lambda: not rig.smsc_summary()["receipts_pending"])
    over_ms = time.time() * 1e3
    heard = b.read_log(rig.smsc_log, begin)
    assert len(heard.at_ms) == sum(broadcast.will_send for broadcast in drafts)
    return 1e3 * len(heard.at_ms) / (over_ms - int(heard.at_ms.min()))


# ---- a person


def _story(report: Report, store: Store, members: int) -> dict[str, Any]:
    """What one member was sent: the twenty newest with every part, attempt and receipt. 500 million entries are 50
    campaigns of ten million."""
    rng, took_ms, found = random.Random(1), list[float](), set[int]()
    now_ms = time.time_ns() // 1_000_000
    with store.snapshot() as view:
        campaigns = sum(1 for _ in view.range("campaigns"))
        entries = sum(b.counts(store, U64.unpack(key[-8:])[0])["audience"] for key, _ in view.range("campaigns"))
        for _ in range(PEOPLE):
            member = rng.randrange(members)
            began = time.perf_counter()
            story = messages(view, 1, member, now_ms)
            assert story is not None
            found.add(len(story["data"]))
            took_ms.append(1e3 * (time.perf_counter() - began))
    took_ms.sort()
    p95, p50 = took_ms[int(0.95 * PEOPLE)], statistics.median(took_ms)
    reckoned = round(p95 * 50 / campaigns, 2) if campaigns >= MANY else None  # of few the rest of a story is most
    report.show(
        Figure("ledger entries, campaigns", f"{entries:,}, {campaigns}"),
        Figure("messages of a person", f"{min(found)} to {max(found)}"),
        Figure("a person's story, p50", round(p50, 2), "ms"),
        Figure.of("a person's story, p95", round(p95, 2), "ms", most=50),
    )
    if reckoned is not None:
        report.show(Figure.of("at 50 campaigns of 10 million, by campaigns", reckoned, "ms", most=50))
    report.check("everybody has a story", min(found) > 0, sorted(found)[:3])
    return {"story_ms": round(p95, 2), "story_ms_500m": reckoned, "ledger_entries": entries}


# ---- the log


def _until_quiet(rig: Rig) -> None:
    reached = -1
    while reached != (reached := rig.smsc_log.stat().st_size):
        time.sleep(QUIET_S)


def _first_ms(log: Path, begin: int) -> int:
    with log.open("rb") as file:
        file.seek(begin)
        return int(file.readline().partition(b"\t")[0])


def _last_ms(log: Path) -> int:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4_096))
        return int(file.read().rstrip(b"\n").rpartition(b"\n")[2].partition(b"\t")[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
