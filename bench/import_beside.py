"""A broadcast through the whole daemon with and without imports beside it, in turn: how much slower they make it.

Imports follow each other without a pause for as long as the broadcast lasts, each into a tenant of its own, so the
broadcast's members stay as they are. The simulator takes its share of the same cores. `bench_import --beside`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import people
from bench.harness import Figure
from bench.rig import Rig
from dispatcher.cli.demo_kills import LogWatch
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
    CreateCampaign,
    CreateTenant,
    DefineField,
    EndImportBody,
    OpenImport,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.members.import_files import finish_body, import_folder
from dispatcher.members.importer import read_import
from dispatcher.records.keys import new_id, parse_public_id
from dispatcher.store import Store, open_store

PACED = 50_000  # messages a second
ROUNDS = 3
SLOWER_MOST = 10.0  # per cent, paced and at full rate
WAIT_S = 300.0
TEXT = "Hello {name|friend}, you have {points|0} points. Reply STOP to opt out"


def measure(folder: Path, csv: Path, rows: int) -> Iterator[Figure]:
    """Paced and at full rate. Raises AssertionError when an import or a broadcast does not end as it must."""
    with Rig(folder / "data") as rig, open_store(rig.data) as store:
        rig.start_smsc()
        for title, rate in ((f"paced at {PACED:,}/s", PACED), ("at full rate", 0)):
            rig.start_dispatcher(rate=rate)
            rig.wait_until_bound()
            imports = _Imports(rig, store, csv, rows)
            if rate:
                imports.begin()  # tenant 1: the broadcast's members
                imports.wait()
                imports.rows, imports.took_s = 0, 0.0
            alone, beside = list[float](), list[float]()
            for _ in range(ROUNDS):
                alone.append(_broadcast(rig))
                beside.append(_broadcast(rig, imports))
            slower = 100 * (1 - statistics.median(beside) / statistics.median(alone))
            yield Figure(f"broadcast {title}, alone", round(statistics.median(alone)), "messages/s")
            yield Figure(f"broadcast {title}, beside imports", round(statistics.median(beside)), "messages/s")
            yield Figure.of("slower by", round(slower, 1), "%", most=SLOWER_MOST)
            yield Figure("imports beside it", round(imports.rows / imports.took_s), "rows/s")
            rig.stop_dispatcher()


def _broadcast(rig: Rig, imports: _Imports | None = None) -> float:
    """Messages a second from the first line of the simulator's log to its last."""
    made = rig.do(CreateCampaign(title="Bench", expr="points >= 0", text=TEXT))
    campaign = parse_public_id("cmp", made["id"])
    assert campaign is not None
    preview = rig.do(PreviewCampaign(campaign=campaign))
    log = LogWatch(rig.smsc_log)
    if imports is not None:
        imports.begin()
    rig.do(StartCampaign(campaign=campaign, token=preview["token"]))
    times = _Span(log, preview["will_send"])

    def over() -> bool:
        if imports is not None:
            imports.run()
        return times.over()

    rig.wait("the last message is accepted", over, WAIT_S, step_s=0.01)
    if imports is not None:
        imports.wait()
    rig.wait("the campaign is settled", lambda: not rig.status()["campaigns"], WAIT_S, step_s=0.1)
    return float(preview["will_send"]) / (times.last_s - times.first_s)


@dataclass(slots=True)
class _Span:
    """When the first and the last of `wanted` messages were seen in the log."""

    log: LogWatch
    wanted: int
    first_s: float = 0.0
    last_s: float = 0.0

    def over(self) -> bool:
        accepted, now = self.log.accepted(), time.perf_counter()
        if accepted and not self.first_s:
            self.first_s = now
        self.last_s = now
        return accepted >= self.wanted


@dataclass(slots=True)
class _Imports:
    """Imports of one file, one after the other, each into a tenant made for it."""

    rig: Rig
    store: Store
    csv: Path
    file_rows: int
    rows: int = 0  # of those that are done
    took_s: float = 0.0
    _tenant: int = 0
    _import_id: int = 0
    _began: float = 0.0

    def begin(self) -> None:
        made = self.rig.do(CreateTenant(title=f"Shop {time.time_ns()}", region="CN", sender="10690000"), tenant=0)
        tenant = made["tenant"]
        for body in [*people.define_fields(tags=True), {"title": "visits", "kind": "int"}]:
            self.rig.do(DefineField(**body), tenant)  # type: ignore[arg-type]
        import_id = new_id(SystemClock().epoch_ms(), 1)
        place, octets = import_folder(self.rig.data, import_id), self.csv.stat().st_size
        place.mkdir(parents=True)
        os.link(self.csv, place / "body")
        finish_body(place, octets)
        self.rig.do(OpenImport(import_id=import_id), tenant)
        self.rig.do(EndImportBody(import_id=import_id, octets=octets), tenant)
        self._tenant, self._import_id, self._began = tenant, import_id, time.perf_counter()

    def run(self) -> None:
        """Begin the next when the last is done."""
        if self._done():
            self.begin()

    def wait(self) -> None:
        """Until the last is done."""
        self.rig.wait("the last import is done", self._done, WAIT_S)

    def _done(self) -> bool:
        with self.store.snapshot() as view:
            row = read_import(view, self._tenant, self._import_id)
        assert row is not None and row["state"] not in ("failed", "cancelled"), row
        if row["state"] != "done":
            return False
        self.rows += self.file_rows
        self.took_s += time.perf_counter() - self._began
        return True
