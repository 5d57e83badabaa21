"""A dispatcher and a simulator as processes of their own, driven over the control socket: no admin, no HTTP.

Touches: child processes, which it ends; a data folder, its volley.toml; /proc for the dispatcher's memory.
Rests on: `volley smsc --port 0`, which says its port first, and its summary at SIGUSR1.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from config import Settings, load
from config.load import FILE_NAME
from dispatcher.cli.demo_children import environment
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, Envelope
from dispatcher.errors import DispatcherError
from dispatcher.store import open_store

START_S = 30.0
STOP_S = 20.0  # a dispatcher promises 15
SAMPLE_S = 0.02
_TOML = """
[store]
sync_delay_ms = {sync_delay_ms}
[log]
level = "warning"
[[endpoint]]
name = "bench"
host = "{host}"
port = {port}
system_id = "{system_id}"
password = "{password}"
binds = {binds}
window = {window}
rate = {rate}
"""


class RigFailed(DispatcherError):
    """A process did not do what it must; the text says which."""


class Rig:
    """As a context manager: whatever happens, none of its processes is left."""

    def __init__(
        self, data: Path, *, sync_delay_ms: float = 0.0, binds: int = 4, window: int = 100, more: str = ""
    ) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.smsc_log = data / "smsc.log"
        self.mo = data / "mo.txt"
        self.anon_mb_max = 0.0
        self._toml = {"sync_delay_ms": float(sync_delay_ms), "binds": binds, "window": window, "port": 0, "rate": 0}
        self._toml |= {"host": "127.0.0.1", "system_id": "bench", "password": ""}
        self._more = more  # lines of the endpoint
        self.environment: dict[str, str] = {}  # of the dispatcher, beyond ours
        self._smsc: subprocess.Popen[str] | None = None
        self._dispatcher: subprocess.Popen[bytes] | None = None
        self._end = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Rig:
        with open_store(self.data, write=True, create=True):
            pass
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watch.join()
        for process in (self._dispatcher, self._smsc):
            if process is not None:
                _stop(process)

    @property
    def settings(self) -> Settings:
        return load(data=self.data, env={})

    def start_smsc(self, *options: str) -> None:
        """A simulator, in place of the one before; its log goes on in the same file."""
        self.stop_smsc()
        argv = [sys.executable, "-m", "dispatcher.cli", "smsc", "--port", "0", "--log", str(self.smsc_log)]
        argv += ["--mo", str(self.mo), *options]
        self._smsc = subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True)
        first = _pipe(self._smsc).readline()
        if not first.startswith("listening on "):
            raise RigFailed(f"volley smsc does not listen: {first!r}")
        self._toml["port"] = int(first.rpartition(":")[2])

    def use_smsc(self, host: str, port: int, system_id: str, password: str) -> None:
        """Another's simulator instead of ours."""
        self._toml |= {"host": host, "port": port, "system_id": system_id, "password": password}

    def signal_smsc(self, signum: int) -> None:
        assert self._smsc is not None
        self._smsc.send_signal(signum)

    @property
    def smsc_port(self) -> int:
        return int(self._toml["port"])

    @property
    def pids(self) -> dict[str, int]:
        """Of what runs, for /proc and perf."""
        running = (("dispatcher", self._dispatcher), ("smsc", self._smsc))
        return {name: process.pid for name, process in running if process is not None}

    def stop_smsc(self) -> None:
        if self._smsc is not None:
            _stop(self._smsc)
            self._smsc = None

    def smsc_summary(self) -> dict[str, Any]:
        """What the simulator counted since its start."""
        assert self._smsc is not None
        self._smsc.send_signal(signal.SIGUSR1)
        found: dict[str, Any] = json.loads(_pipe(self._smsc).readline())
        return found

    def start_dispatcher(self, *, rate: int = 0) -> None:
        """Spawn it and return at once; wait_until_bound() waits."""
        (self.data / FILE_NAME).write_text(_TOML.format(**{**self._toml, "rate": rate}) + self._more)
        with (self.data / "dispatcher.out").open("ab") as out:
            argv = [sys.executable, "-m", "dispatcher", "--data", str(self.data)]
            self._dispatcher = subprocess.Popen(argv, env=environment() | self.environment, stdout=out, stderr=out)

    def wait_until_bound(self, binds: int | None = None) -> None:
        """Until the dispatcher answers and so many binds (all, unless given) are bound."""
        wanted = int(self._toml["binds"]) if binds is None else binds

        def up() -> bool:
            status = ask(self.settings, AskStatus(), self._envelope(0))
            return status is not None and sum(bind["state"] == "bound" for bind in status["binds"]) >= wanted

        self.wait("the dispatcher is up and bound", up, START_S)

    def stop_dispatcher(self) -> float:
        """SIGTERM; the seconds it took."""
        assert self._dispatcher is not None
        began = time.perf_counter()
        _stop(self._dispatcher)
        return time.perf_counter() - began

    def kill_dispatcher(self) -> None:
        """kill -9."""
        assert self._dispatcher is not None
        self._dispatcher.kill()
        self._dispatcher.wait()

    def do(self, command: Any, tenant: int = 1) -> dict[str, Any]:
        """The dispatcher's reply. Raises CommandRefused, RigFailed when it is down."""
        reply = ask(self.settings, command, self._envelope(tenant))
        if reply is None:
            raise RigFailed(f"{command.name}: the dispatcher is down")
        return reply

    def status(self) -> dict[str, Any]:
        return self.do(AskStatus(), tenant=0)

    def anon_mb(self) -> float:
        """The dispatcher's RssAnon now: memory of its own, without pages of the store. 0 while it is down."""
        if self._dispatcher is not None:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{self._dispatcher.pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon"):
                        return int(line.split()[1]) / 1024
        return 0.0

    def wait(self, what: str, done: Callable[[], bool], seconds: float, step_s: float = 0.02) -> None:
        """Raises RigFailed when the time is up or a process has ended."""
        give_up = time.monotonic() + seconds
        while not done():
            for name, process in (("the dispatcher", self._dispatcher), ("volley smsc", self._smsc)):
                if process is not None and process.poll() is not None:
                    raise RigFailed(f"{name} ended with {process.returncode}: {self._tail()}")
            if time.monotonic() > give_up:
                raise RigFailed(f"waited {seconds:.0f} s in vain until {what}")
            time.sleep(step_s)

    def _envelope(self, tenant: int) -> Envelope:
        return Envelope(tenant=tenant, actor="bench", at_ms=SystemClock().epoch_ms())

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return " / ".join((self.data / "dispatcher.out").read_text("utf-8", "replace").splitlines()[-3:])
        return ""

    def _look(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self.anon_mb_max = max(self.anon_mb_max, self.anon_mb())


def _stop(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _pipe(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
