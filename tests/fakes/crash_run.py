"""A dispatcher that is killed and started again over a copy of a prepared data folder, beside the simulator.

Real processes, real sockets, kill -9. Files are polled; nothing sleeps for a guessed time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import load
from dispatcher.campaigns.campaign import load as load_campaign
from dispatcher.control import commands as c
from dispatcher.control.frames import Frames, frame
from dispatcher.daemon.recovery import recoveries
from dispatcher.members.importer import FINAL, import_json
from dispatcher.store import ledger, open_store
from dispatcher.store.verify import verify
from tests.fakes.crash_judge import Death, Line, Result, story, what_is_left
from tests.fakes.crash_stores import IMPORT, TENANT, Prepared, PreparedImport, spool

DEADLINE_S = float(os.environ.get("VOLLEY_WITHIN_S", 60))  # for what takes a second on an idle machine
BOOT_AT, BOOT_OCTETS = 64, 36  # of the marks


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a run is set, and what kills each process before the one that finishes."""

    kills: tuple[str | float, ...]  # "point:n" of daemon/crash.py, or which share of the work is done
    store: str = "marketing"
    smsc: str = "fast"
    window: int = 25
    binds: int = 2
    rate: int = 0
    ahead: int = 32_768
    power_cut: bool = False  # after each kill the marks are of another boot
    beside: str = ""  # what goes on meanwhile, of crash_beside.py


class Smsc:
    """`volley smsc` with a log. Accounts and senders tell apart the runs that share it."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        self.log = folder / "smsc.log"
        self._options = options
        self._process, self.port = self._start(0)

    def _start(self, port: int) -> tuple[subprocess.Popen[str], int]:
        argv = [sys.executable, "-m", "dispatcher.cli", "smsc", "--port", str(port), "--log", str(self.log)]
        process = subprocess.Popen([*argv, *self._options], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, int(process.stdout.readline().rpartition(":")[2])

    def die_and_come_back(self, down_s: float) -> None:
        """kill -9; after a while another on the same port and the same log, which remembers nothing."""
        self._process.kill()
        self._process.communicate()
        time.sleep(down_s)
        self._process, _ = self._start(self.port)

    def stop(self) -> dict[str, Any]:
        """Its summary."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=DEADLINE_S)
        return dict(json.loads(out.splitlines()[-1]))


class Lines:
    """The lines of one sender in a simulator's log, as they come."""

    def __init__(self, smsc: Smsc, sender: str) -> None:
        self._file = smsc.log.open("rb", buffering=0)
        self._file.seek(0, os.SEEK_END)
        self._sender = sender.encode()
        self._rest = b""
        self.all: list[Line] = []

    def count(self) -> int:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            _, source, destination, octets_hash, part, _, message_id = line.split(b"\t")
            if source == self._sender:
                self.all.append(Line(int(destination), int(part) - 1, int(octets_hash, 16), message_id))
        return len(self.all)

    def close(self) -> None:
        self._file.close()


class Run:
    """One copy of a folder, and the processes that live and die on it. Its end leaves no process behind."""

    waits_for_an_answer = True  # before a start counts as one

    def __init__(self, prepared: Path, folder: Path, settings: str, scenario: Scenario) -> None:
        self.folder, self.scenario = folder, scenario
        shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns("lock.mdb", "*.lock"))
        (folder / "volley.toml").write_text(settings)
        self.settings = load(data=folder, env={})
        self.start_s = 0.0  # of the last start, to its first answer on the control socket
        self.started = 0.0  # when the last start began
        self._output = folder / "dispatcher.out"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
            self._process.wait()
        if kind is None:
            shutil.rmtree(self.folder)

    def live_and_die(self) -> None:
        """Every kill of the scenario, then one more process, until everything is settled; it is stopped by SIGTERM."""
        for kill in self.scenario.kills:
            self.die(kill)
        self.start()
        self.wait(self.is_settled)
        self._alive().terminate()
        status = self._alive().wait(DEADLINE_S)
        assert status == 0, f"the dispatcher ended with {status}\n{self.output()}"

    def start(self, crash_at: str = "") -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VOLLEY_")}
        if crash_at:
            environment["VOLLEY_CRASH_AT"] = crash_at
        argv = [sys.executable, "-m", "dispatcher", "--data", str(self.folder)]
        self.started = time.monotonic()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(argv, stdout=output, stderr=output, env=environment)
        if not crash_at and self.waits_for_an_answer:
            self.wait(lambda: self.ask(c.AskStatus()) is not None)
            self.start_s = time.monotonic() - self.started

    def die(self, kill: str | float) -> None:
        """Start a process and let it die; with a power cut, the marks lose their boot."""
        if isinstance(kill, str):
            self.start(kill)
        else:
            self.start()
            self.wait(lambda: self.done_share() >= kill, every_s=0.001)
            self.kill()
        status = self._alive().wait(DEADLINE_S)
        assert status == -signal.SIGKILL, f"{kill}: the process ended with {status}\n{self.output()}"
        if self.scenario.power_cut:
            with (self.folder / "marks").open("r+b") as marks:
                marks.seek(BOOT_AT)
                marks.write(b"0" * BOOT_OCTETS)
        self.note_death()

    def kill(self) -> None:
        self._alive().kill()

    def done_share(self) -> float:
        raise NotImplementedError

    def is_settled(self) -> bool:
        raise NotImplementedError

    def note_death(self) -> None:
        """Look at what the kill left."""

    def ask(self, command: Any, tenant: int = 0) -> dict[str, Any] | None:
        """The dispatcher's reply, {} when it refuses; None while nobody listens. Never takes the lock."""
        message = frame({"id": 1, **c.to_wire(command, c.Envelope(tenant=tenant, actor="test", at_ms=0))})
        frames, answers = Frames(), list[dict[str, Any]]()
        with socket.socket(socket.AF_UNIX) as connection, suppress(FileNotFoundError, ConnectionError):
            connection.connect(str(self.settings.control_socket))
            connection.sendall(message)
            while not answers and (octets := connection.recv(1 << 16)):
                answers = frames.receive(octets)
        return dict(answers[0].get("reply") or {}) if answers else None

    def wait(self, done: Callable[[], bool], *, every_s: float = 0.03) -> None:
        """Poll while the process lives."""
        give_up = time.monotonic() + DEADLINE_S
        while not done():
            status = self._alive().poll()
            assert status is None, f"the process ended with {status}\n{self.output()}"
            assert time.monotonic() < give_up, f"not within {DEADLINE_S:g} s: {self.scenario}\n{self.output()}"
            time.sleep(every_s)

    def output(self) -> str:
        return self._output.read_text("utf-8", "replace") if self._output.exists() else ""

    def _alive(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


class CampaignRun(Run):
    """A run over a campaign's folder, for crash_judge."""

    def __init__(self, prepared: Prepared, folder: Path, smsc: Smsc, number: int, scenario: Scenario) -> None:
        sender = f"10690{number:04d}"
        super().__init__(prepared.folder, folder, settings_of(smsc.port, sender, f"run{number}", scenario), scenario)
        self.prepared = prepared
        self.lines = Lines(smsc, sender)
        self.deaths: list[Death] = []
        self._looks = 0

    def __exit__(self, kind: object, *_: object) -> None:
        self.lines.close()
        super().__exit__(kind)

    def done_share(self) -> float:
        """Of the parts, how many have a line. All, when the campaign is done: a broken bind's window may have none."""
        self._looks += 1
        if self._looks % 64 == 0 and self._states() is not None:
            return 1.0
        return self.lines.count() / sum(self.prepared.audience.parts)

    def note_death(self) -> None:
        with open_store(self.folder) as store, store.snapshot() as view:
            self.deaths.append(what_is_left(view, self.prepared.campaign, self.folder / "marks"))

    def is_settled(self) -> bool:
        """Nothing is unsent, in flight, awaited or held any more."""
        states = self._states()
        if states is None or states["accepted"] or states["claimed"]:
            return False
        status = self.ask(c.AskStatus())
        return status is not None and status["held_receipts"] == 0

    def _states(self) -> dict[str, int] | None:
        """Recipients by state once the campaign is done, before that None."""
        with open_store(self.folder) as store, store.snapshot() as view:
            row = load_campaign(view, TENANT, self.prepared.campaign)
            states: dict[str, int] = ledger.read_counts(view, self.prepared.campaign).summary(0)["states"]
        return states if row is not None and row["state"] == "done" else None

    def result(self) -> Result:
        """After live_and_die(): everything there is to judge."""
        self.lines.count()
        campaign, people = self.prepared.campaign, len(self.prepared.audience.numbers)
        with open_store(self.folder) as store, store.snapshot() as view:
            row = load_campaign(view, TENANT, campaign)
            arrays = {
                name: bytes(ledger.read_array(view, campaign, name, 0) or b"")
                for name in ("decision", "state", "text_hash")
            }
            return Result(
                lines=self.lines.all,
                deaths=self.deaths,
                recoveries=recoveries(view),
                summary=ledger.read_counts(view, campaign).summary(people),
                campaign_state=row["state"] if row else "",
                decisions=arrays["decision"][:people],
                states=arrays["state"][:people],
                text_hashes=list(array("I", arrays["text_hash"]))[:people],
                story=story(view, campaign),
                problems=verify(view)["problems"],
                output=self.output(),
            )


class ImportRun(Run):
    """A run over an import's folder. A body of which half is there gets its rest after the first kill."""

    def __init__(self, prepared: PreparedImport, folder: Path, scenario: Scenario) -> None:
        super().__init__(prepared.folder, folder, "", scenario)
        self.prepared = prepared

    def row(self) -> dict[str, Any]:
        with open_store(self.folder) as store, store.snapshot() as view:
            return import_json(view, TENANT, IMPORT) or {}

    def done_share(self) -> float:
        return float(self.row()["rows_read"] / self.prepared.expected.rows)

    def is_settled(self) -> bool:
        row = self.row()
        if row["state"] == "receiving":
            spooled = (self.folder / "imports" / f"{IMPORT:016x}" / "body").stat().st_size
            spool(self.folder, self.prepared.body[spooled:])
            assert self.ask(c.EndImportBody(import_id=IMPORT, octets=len(self.prepared.body)), TENANT) is not None
        return row["state"] in FINAL

    def problems(self) -> list[str]:
        with open_store(self.folder) as store, store.snapshot() as view:
            return list(verify(view)["problems"])


def settings_of(port: int, sender: str, system_id: str, scenario: Scenario) -> str:
    """volley.toml of a dispatcher beside the simulator on `port`."""
    return f"""
[dispatcher]
holding_s = 1.0
fold_every_s = 0.1
retry_s = 0.1
claim_ahead_max = {scenario.ahead}

[[endpoint]]
name = "main"
host = "127.0.0.1"
port = {port}
system_id = "{system_id}"
source_addr = "{sender}"
binds = {scenario.binds}
window = {scenario.window}
rate = {scenario.rate}
response_timeout_s = 0.5
reconnect_min_s = 0.05
reconnect_max_s = 0.2
"""
