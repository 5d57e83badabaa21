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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import load
from dispatcher.campaigns.campaign import load as load_campaign
from dispatcher.cli.local_import import run_import_locally
from dispatcher.control import commands as c
from dispatcher.control.frames import Frames, frame
from dispatcher.daemon.handlers import run_locally
from dispatcher.daemon.recovery import recoveries
from dispatcher.members.import_files import finish_body, import_folder
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store, ledger, open_store
from dispatcher.store.verify import verify
from dispatcher.text.parts import parts
from tests.fakes.crash_judge import Audience, Death, Line, Result, story, what_is_left

DEADLINE_S = 60.0  # for what takes a second on an idle machine
TENANT = 1
FIRST_NUMBER = 8_613_000_000_000
BOOT_AT, BOOT_OCTETS = 64, 36
SHORT = "Hello {name|friend}, you have {points|0} points."
LONG = SHORT + " They are good until the end of the month in all our shops."  # two parts in UCS-2, one in GSM 7-bit


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a run is set, and what kills each process before the one that finishes."""

    kills: tuple[str | float, ...]  # "point:n" of daemon/crash.py, or which share of the parts is in the log
    store: str = "marketing"
    smsc: str = "fast"
    window: int = 25
    binds: int = 2
    rate: int = 0
    ahead: int = 32_768
    power_cut: bool = False  # the marks are of another boot after a kill


@dataclass(frozen=True)
class Prepared:
    """A data folder to copy: members, and a campaign or an import that goes on as soon as a dispatcher starts."""

    folder: Path
    number: int  # of the campaign or the import
    audience: Audience


class Smsc:
    """`volley smsc` with a log. Accounts and senders tell apart the runs that share it."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        self.log = folder / "smsc.log"
        argv = [sys.executable, "-m", "dispatcher.cli", "smsc", "--port", "0", "--log", str(self.log), *options]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])

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
    """One copy, and the processes that live and die on it."""

    def __init__(self, prepared: Prepared, folder: Path, smsc: Smsc, number: int, scenario: Scenario) -> None:
        self.prepared, self.folder, self.scenario = prepared, folder, scenario
        shutil.copytree(prepared.folder, folder, ignore=shutil.ignore_patterns("lock.mdb", "*.lock"))
        sender = f"10690{number:04d}"
        (folder / "volley.toml").write_text(_settings(smsc.port, sender, f"run{number}", scenario))
        self.settings = load(data=folder, env={})
        self.lines = Lines(smsc, sender)
        self.deaths: list[Death] = []
        self.start_s = 0.0  # of the last start, to the first answer on the control socket
        self._output = folder / "dispatcher.out"
        self._process: subprocess.Popen[bytes] | None = None

    def to_the_end(self) -> Result:
        """Every kill, then a process that finishes; no process is left behind, whatever happens."""
        try:
            for kill in self.scenario.kills:
                self.die(kill)
            self.start()
            self.wait(self.settled)
            return self.stop()
        finally:
            self.lines.close()
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    def start(self, crash_at: str = "") -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VOLLEY_")}
        if crash_at:
            environment["VOLLEY_CRASH_AT"] = crash_at
        argv = [sys.executable, "-m", "dispatcher", "--data", str(self.folder)]
        began = time.monotonic()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(argv, stdout=output, stderr=output, env=environment)
        if not crash_at:
            self.wait(lambda: self.status() is not None)
            self.start_s = time.monotonic() - began

    def die(self, kill: str | float) -> None:
        """Start a process, let it die, note what it left; with a power cut, the marks lose their boot."""
        if isinstance(kill, str):
            self.start(kill)
        else:
            self.start()
            lines = int(kill * sum(self.prepared.audience.parts))
            self.wait(lambda: self.lines.count() >= lines, every_s=0.0005)
            self._alive().kill()
        status = self._alive().wait(DEADLINE_S)
        assert status == -signal.SIGKILL, f"{kill}: the process ended with {status}\n{self.output()}"
        marks = self.folder / "marks"
        if self.scenario.power_cut:
            with marks.open("r+b") as file:
                file.seek(BOOT_AT)
                file.write(b"0" * BOOT_OCTETS)
        with open_store(self.folder) as store, store.snapshot() as view:
            self.deaths.append(what_is_left(view, self.prepared.number, marks))

    def settled(self) -> bool:
        """Nothing is unsent, in flight, awaited or held any more."""
        with open_store(self.folder) as store, store.snapshot() as view:
            counts = self._summary(store)
            row = load_campaign(view, TENANT, self.prepared.number)
        if row is None or row["state"] != "done" or counts["states"]["accepted"] or counts["states"]["claimed"]:
            return False
        status = self.status()
        return status is not None and status["held_receipts"] == 0

    def status(self) -> dict[str, Any] | None:
        """What `volley status` shows; None while nobody listens. Never takes the writer's lock."""
        message = frame({"id": 1, **c.to_wire(c.AskStatus(), c.Envelope(tenant=0, actor="test", at_ms=0))})
        frames, answers = Frames(), list[dict[str, Any]]()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(str(self.settings.control_socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            connection.sendall(message)
            while not answers:
                octets = connection.recv(1 << 16)
                if not octets:
                    return None
                answers = frames.receive(octets)
        return dict(answers[0]["reply"])

    def stop(self) -> Result:
        """SIGTERM, then the books."""
        self._alive().terminate()
        status = self._alive().wait(DEADLINE_S)
        assert status == 0, f"the dispatcher ended with {status}\n{self.output()}"
        self.lines.count()
        campaign, people = self.prepared.number, len(self.prepared.audience.numbers)
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
                summary=self._summary(store),
                campaign_state=row["state"] if row else "",
                decisions=arrays["decision"][:people],
                states=arrays["state"][:people],
                text_hashes=list(array("I", arrays["text_hash"]))[:people],
                story=story(view, campaign),
                problems=verify(view)["problems"],
                output=self.output(),
            )

    def wait(self, done: Callable[[], bool], *, every_s: float = 0.02) -> None:
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

    def _summary(self, store: Store) -> dict[str, Any]:
        with store.snapshot() as view:
            return ledger.read_counts(view, self.prepared.number).summary(len(self.prepared.audience.numbers))


def prepare_campaign(folder: Path, members: int, *, purpose: str = "marketing", text: str = SHORT) -> Prepared:
    """A tenant with `members` members and a campaign to all of them, started while no dispatcher ran."""
    numbers = [FIRST_NUMBER + 7 * i for i in range(members)]
    names = [f"Anna {i}" if i % 3 else f"小红{i}" for i in range(members)]
    with open_store(folder, write=True, create=True, sync=False) as store:
        _do(store, c.CreateTenant(title="Shop"), tenant=0)
        _do(store, c.DefineField(title="name", kind="text"))
        _do(store, c.OpenImport(import_id=1))
        _body(folder, 1, "phone,name\n" + "".join(f"+{n},{name}\n" for n, name in zip(numbers, names, strict=True)))
        _do(store, c.EndImportBody(import_id=1, octets=(import_folder(folder, 1) / "body").stat().st_size))
        shown = run_import_locally(store, TENANT, 1)
        assert shown["members_imported"] == members, shown
        made = _do(store, c.CreateCampaign(title="x", purpose=purpose, text=text))
        campaign = parse_public_id("cmp", made["id"])
        assert campaign is not None
        token = _do(store, c.PreviewCampaign(campaign=campaign))["token"]
        _do(store, c.StartCampaign(campaign=campaign, token=token))
    texts = [text.replace("{name|friend}", name).replace("{points|0}", "0") for name in names]
    return Prepared(folder, campaign, Audience(numbers, [len(parts(text, 0)) for text in texts]))


def _do(store: Store, command: Any, tenant: int = TENANT) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return run_locally(store, command, c.Envelope(tenant=tenant, actor="test", at_ms=now_ms), now_ms)


def _body(data: Path, import_id: int, text: str) -> None:
    folder = import_folder(data, import_id)
    folder.mkdir(parents=True)
    (folder / "body").write_text(text, "utf-8")
    finish_body(folder, len(text.encode()))


def _settings(port: int, sender: str, system_id: str, scenario: Scenario) -> str:
    return f"""
[dispatcher]
holding_s = 0.6
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
