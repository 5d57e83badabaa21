"""How soon a one-time code reaches the wire while a broadcast runs at full rate through the same daemon and binds.

Codes are posted to POST /v1/messages at a steady pace, each measured from before its request to the time of its line in
the simulator's log; the idle figure beside it is the same without the broadcast. Three processes of ours and the
simulator share this machine's cores.
    volley bench latency [--members N] [--codes N] [--per-s N] [--sync-delay-ms MS] [--data DIR] [--json]
Exit status 1 when a code did not arrive or the broadcast ended before half of them were measured.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench import broadcast as b
from bench.end_to_end import Report
from bench.harness import Figure, disk_figures, face
from bench.rig import Rig
from dispatcher.cli.demo_children import environment, free_port
from dispatcher.control.commands import CancelCampaign, CreateKey
from dispatcher.store import Store, open_store
from dispatcher.tenants.keys import hash_secret, new_secret

FIRST_CODE = 4_917_000_000_000
WARM_S = 0.5  # of the broadcast, before the first code
ARRIVED_S = 2.0  # the last code is on the wire by then, or never
WAIT_S = 120.0
P50_MS, P99_MS = 15.0, 50.0


@dataclass(slots=True)
class Codes:
    """Posted on time, a thread each: a slow answer delays none of the next."""

    url: str
    key: str
    posted_ms: dict[int, float] = field(default_factory=dict)
    answered_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def post(self, first: int, count: int, per_s: float) -> None:
        """`count` of them to the numbers from `first` on."""
        begin = time.perf_counter()
        limits = httpx.Limits(max_keepalive_connections=8)
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, limits=limits) as client:
            threads = []
            for i in range(count):
                time.sleep(max(0.0, begin + i / per_s - time.perf_counter()))
                threads.append(threading.Thread(target=self._one, args=(client, first + i)))
                threads[-1].start()
            for thread in threads:
                thread.join()

    def _one(self, client: httpx.Client, number: int) -> None:
        message = {"to": f"+{number}", "text": f"Your code is {number % 10_000:04d}", "purpose": "otp"}
        began = time.perf_counter()
        self.posted_ms[number] = time.time() * 1e3
        try:
            answer = client.post(
                "/v1/messages", json={"messages": [message]}, headers={"Idempotency-Key": f"otp-{number}"}
            )
            if answer.status_code != 202:
                self.failed.append(f"{answer.status_code} {answer.text[:200]}")
        except httpx.HTTPError as exc:
            self.failed.append(repr(exc))
        self.answered_ms.append(1e3 * (time.perf_counter() - began))


def main(argv: Sequence[str]) -> int:
    parser = face("latency", __doc__)
    parser.add_argument("--members", type=int, default=8_000_000, help="of the broadcast; it is cancelled at the end")
    parser.add_argument("--codes", type=int, default=120)
    parser.add_argument("--per-s", type=float, default=30.0)
    parser.add_argument("--sync-delay-ms", type=float, default=0.0)
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    report = Report(options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as name:
        folder = Path(name)
        report.show(*disk_figures(folder))
        with Rig(folder / "data", sync_delay_ms=options.sync_delay_ms) as rig, open_store(rig.data) as store:
            rig.start_smsc()
            rig.start_dispatcher()
            rig.wait_until_bound()
            _measure(report, rig, store, options)
    for each in report.wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    return 1 if report.wrong else 0


def _measure(report: Report, rig: Rig, store: Store, options: argparse.Namespace) -> None:
    b.open_shop(rig)
    secret = new_secret()
    rig.do(CreateKey(for_tenant=1, title="bench", scopes=["*"], secret_sha256=hash_secret(secret)), tenant=0)
    b.add_members(rig, store, options.members)
    draft = b.draft(rig)
    port = free_port()
    argv = [sys.executable, "-m", "admin", "--data", str(rig.data)]
    admin = subprocess.Popen(argv, env=environment() | {"VOLLEY_API_PORT": str(port)}, stdout=subprocess.DEVNULL)
    try:
        codes = Codes(f"http://127.0.0.1:{port}", secret)
        rig.wait("the admin process answers", lambda: _up(codes.url), WAIT_S)
        codes.post(FIRST_CODE, 5, 10)  # connections, imports
        first, begin = FIRST_CODE + 1_000, rig.smsc_log.stat().st_size
        codes.post(first, options.codes, options.per_s)
        _arrivals(report, rig, codes, "idle", first, options.codes, begin)
        first, begin = FIRST_CODE + 100_000, rig.smsc_log.stat().st_size
        before = rig.smsc_summary()["accepted"]
        b.start(rig, draft)
        began = time.perf_counter()
        time.sleep(WARM_S)
        codes.post(first, options.codes, options.per_s)
        took_s = time.perf_counter() - began
        running = bool(rig.status()["campaigns"])
        sent = rig.smsc_summary()["accepted"] - before
        writer = rig.status()["writer"]
        if running:
            rig.do(CancelCampaign(campaign=draft.campaign))
        _arrivals(report, rig, codes, "broadcast", first, options.codes, begin)
        report.show(
            Figure("broadcast while they were posted", round(sent / took_s), "messages/s"),
            Figure("commit p50", writer["commit_ms_p50"], "ms"),
            Figure("commit p99", writer["commit_ms_p99"], "ms"),
        )
        report.check("the broadcast ran all the while (else: more --members)", running, f"{sent:,} sent")
    finally:
        admin.terminate()
        admin.wait()


def _arrivals(report: Report, rig: Rig, codes: Codes, when: str, first: int, count: int, begin: int) -> None:
    """When each code was in the simulator's log, against when it was posted."""
    time.sleep(ARRIVED_S)
    heard = b.read_log(rig.smsc_log, begin)
    mine = (heard.numbers >= first) & (heard.numbers < first + count)
    at_ms = dict(zip(heard.numbers[mine].tolist(), heard.at_ms[mine].tolist(), strict=True))
    report.check(
        f"every code is in the simulator's log once ({when})",
        int(mine.sum()) == len(at_ms) == count,
        f"{len(at_ms)} of {count}, {codes.failed[:1]}",
    )
    took = sorted(at - codes.posted_ms[number] for number, at in at_ms.items()) or [0.0]
    targets = (P50_MS, P99_MS) if when == "broadcast" else (None, None)
    answered = sorted(codes.answered_ms)
    codes.answered_ms.clear()
    report.show(
        Figure.of(f"POST to the wire, p50 ({when})", round(statistics.median(took), 1), "ms", most=targets[0]),
        Figure.of(f"POST to the wire, p99 ({when})", round(took[len(took) * 99 // 100], 1), "ms", most=targets[1]),
        Figure(f"POST to its answer, p50 ({when})", round(statistics.median(answered), 1), "ms"),
    )


def _up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/healthz").status_code < 500
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
