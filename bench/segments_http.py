"""Counts over HTTP as a person types, while a broadcast runs: the real admin process, dispatcher and simulator.

Touches: a store of made members in the folder it is given; child processes, which it ends. On a machine of two cores or
more, the admin process and the one who types share one, the dispatcher and the simulator another.
Each complete text's answer is held against a count read from the store here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import local
from typing import Any

from bench import segments_members as made
from bench.harness import Figure
from bench.rig import Rig, RigFailed
from bench.segments_live import build
from dispatcher.cli.demo_children import environment
from dispatcher.control.commands import CreateCampaign, CreateKey, PreviewCampaign, StartCampaign
from dispatcher.records.keys import parse_public_id
from dispatcher.segments.count import count
from dispatcher.store import open_store
from dispatcher.tenants.keys import hash_secret

RATE = 20_000  # messages a second of the broadcast, all binds together: some hours of it for 20 M members
BROADCAST = made.SEGMENTS["S3"][0]
TEXT = "Hello, you have {points|0} points. Reply STOP to opt out"
MORE = " and points < 1725"  # typed after each segment, a character at a time where that is a rule
GAP_S = 0.15  # between two counts, as one types quickly
START_S = 60.0
_AS_OF = datetime.fromtimestamp(made.AS_OF_MS / 1000, UTC).isoformat()


def figures(folder: Path, members: int, rounds: int) -> Iterator[Figure]:
    """Each segment typed `rounds` times. The store in `folder` is made when it is not there."""
    if not (folder / "store").exists():
        build(folder, members)
    with open_store(folder) as store, store.snapshot() as view:
        expected = {text: _counted(view, text) for rule, _ in made.SEGMENTS.values() for text in _drafts(rule)}
    cores = sorted(os.sched_getaffinity(0))
    secret = secrets.token_urlsafe(24)
    try:
        os.sched_setaffinity(0, cores[-1:])
        with Rig(folder, binds=2) as rig:
            rig.start_smsc()
            rig.start_dispatcher(rate=RATE)
            rig.wait_until_bound()
            scopes = ["segments:read"]
            key = CreateKey(for_tenant=made.TENANT, title="bench", scopes=scopes, secret_sha256=hash_secret(secret))
            rig.do(key, tenant=0)
            yield _broadcast(rig)
            os.sched_setaffinity(0, cores[:1])
            with _admin(folder) as (port, began, process):
                with contextlib.closing(_Caller(port, secret)) as caller:
                    before_ms = _cpu_ms(process)
                    first = caller.post(made.SEGMENTS["S4"][0])
                    cpu_ms = _cpu_ms(process) - before_ms
                yield Figure.of("first count over HTTP after a restart", round(first[1], 1), "ms", most=1_000)
                yield Figure("  processor time of it", round(cpu_ms, 1), "ms")
                yield Figure("  from its start to that answer", round(1e3 * (time.perf_counter() - began)), "ms")
                with contextlib.closing(_Caller(port, secret)) as caller:
                    yield from _typed(caller, expected, members, process, rounds)
            sent, running = rig.smsc_summary()["accepted"], bool(rig.status()["campaigns"])
            yield Figure("messages sent meanwhile", sent, "", "still sending", running)
    finally:
        os.sched_setaffinity(0, cores)


def _drafts(rule: str) -> Iterator[str]:
    """What stands there while someone adds to a rule: rules, of which some are another moment's."""
    yield rule
    for end in range(len(MORE) - 3, len(MORE) + 1):
        yield rule + MORE[:end]


def _counted(view: Any, text: str) -> tuple[int, int]:
    answer = count(view, made.TENANT, text, as_of_ms=made.AS_OF_MS)
    return answer["matched"], answer["reachable"]


def _broadcast(rig: Rig) -> Figure:
    reply = rig.do(CreateCampaign(title="Bench", expr=BROADCAST, text=TEXT))
    campaign = parse_public_id("cmp", reply["id"])
    assert campaign is not None
    began = time.perf_counter()
    preview = rig.do(PreviewCampaign(campaign=campaign))
    took_s = time.perf_counter() - began
    rig.do(StartCampaign(campaign=campaign, token=preview["token"]))
    rig.wait("the broadcast runs", lambda: rig.smsc_summary()["accepted"] > 0, START_S)
    return Figure(f"preview of the broadcast, {preview['will_send']:,} messages", round(took_s, 2), "s")


@contextlib.contextmanager
def _admin(folder: Path) -> Iterator[tuple[int, float, int]]:
    """(port, when it was started, process) of an admin process that answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "admin", "--data", str(folder)], env=environment() | {"VOLLEY_API_PORT": str(port)}
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None or time.perf_counter() - began > START_S:
                raise RigFailed("the admin process does not serve")
            time.sleep(0.01)
        yield port, began, process.pid
    finally:
        process.terminate()
        process.wait()


class _Caller:
    """One person's page: connections of its own, one place (X-Caller)."""

    def __init__(self, port: int, secret: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", "X-Caller": "page"}
        self._mine = local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        for each in self._all:
            each.close()

    def post(self, text: str) -> tuple[int, float, dict[str, Any]]:
        """(status, ms, answer)."""
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._all.append(connection)
        body = json.dumps({"expr": text, "as_of": _AS_OF})
        began = time.perf_counter()
        connection.request("POST", "/v1/segments:count", body, self._headers)
        response = connection.getresponse()
        octets = response.read()
        return response.status, 1e3 * (time.perf_counter() - began), json.loads(octets)


def _cpu_ms(process: int) -> float:
    """Processor time that a process has used; a machine that is shared does not lengthen it."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1e3 * sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _typed(
    caller: _Caller, expected: dict[str, tuple[int, int]], members: int, process: int, rounds: int
) -> Iterator[Figure]:
    answers = list[Future[tuple[int, float, dict[str, Any]]]]()
    wrong, asked = [], list[str]()
    began_ms = _cpu_ms(process)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(rounds):
            for text in expected:
                for draft in (text, f"{text} an"):  # the second is no rule yet: 422
                    asked.append(draft)
                    answers.append(pool.submit(caller.post, draft))
                    time.sleep(GAP_S)
    cpu_ms = (_cpu_ms(process) - began_ms) / len(answers)
    took, statuses = list[float](), Counter[int]()
    for text, answer in zip(asked, answers, strict=True):
        status, ms, found = answer.result()
        statuses[status] += 1
        if status == 200:
            took.append(ms)
            if text in expected and (found["matched"], found["reachable"]) != expected[text]:
                wrong.append((text, found))
    took = sorted(took) or [float("inf")]
    named = f"count over HTTP, {members:,} members"
    yield Figure.of(f"{named}, p50", round(statistics.median(took), 2), "ms", most=100)
    yield Figure.of(f"{named}, p95", round(took[int(0.95 * len(took))], 2), "ms", most=100)
    yield Figure(
        "  counted, unfinished texts (422), superseded (409)", f"{len(took)}, {statuses[422]}, {statuses[409]}"
    )
    yield Figure("  processor time of the admin process, an answer", round(cpu_ms, 1), "ms")
    yield Figure("check: complete texts counted as the store says", "NO" if wrong else "yes", "", "yes", not wrong)
    other = {status: n for status, n in statuses.items() if status not in (200, 422, 409)}
    yield Figure("check: no other answers", str(other) if other else "yes", "", "yes", not other)
