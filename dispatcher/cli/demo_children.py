"""The demo's processes: the simulator and `volley serve`, each with its output in a file, ended when the demo ends.

Touches: child processes and their output files, run.json, /proc. Kills only what it started itself.
Rests on: prctl(2) PR_SET_PDEATHSIG, so that even kill -9 of the demo leaves no child behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.errors import DispatcherError

STOP_S = 20.0  # `volley serve` promises 15
SAMPLE_S = 0.1
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class DemoFailed(DispatcherError):
    """A step could not be done; the text says which and why."""


@dataclass(slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def check(self) -> None:
        """Raises DemoFailed when it has ended."""
        if self.process.poll() is not None:
            raise DemoFailed(f"{self.name} ended with {self.process.returncode}: {self.tail(3)}")

    def tail(self, lines: int = 20) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.output.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def stop(self) -> float:
        """SIGTERM, SIGKILL when that was not enough; the seconds it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began


@dataclass(slots=True)
class Children:
    """As a context manager: whatever happens, none is left."""

    started: list[Child] = field(default_factory=list)

    def start(self, name: str, argv: list[str], output: Path) -> Child:
        with output.open("wb") as file:
            process = subprocess.Popen(
                volley(argv), env=environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                preexec_fn=_die_with(os.getpid()), process_group=0,
            )  # fmt: skip
        child = Child(name, process, output)
        self.started.append(child)
        return child

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.started):
            child.stop()


def volley(argv: list[str]) -> list[str]:
    return [sys.executable, "-m", "dispatcher.cli", *argv]


def environment() -> dict[str, str]:
    """This process's without VOLLEY_*, which would change the demo's settings; it imports what we run."""
    ours = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOLLEY_")}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, (ours, kept.get("PYTHONPATH"))))}


def run_volley(argv: list[str]) -> dict[str, Any]:
    """A verb that answers with one JSON object. Raises DemoFailed with its error."""
    done = subprocess.run(volley(argv), env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise DemoFailed(f"volley {argv[0]}: {done.stderr.strip() or done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def start_smsc(children: Children, folder: Path, log: Path, mo: Path) -> tuple[Child, int]:
    """The simulator on a port of its own choice, every receipt DELIVRD."""
    argv = ["smsc", "--port", "0", "--receipts", "100", "--deliver-window", "10000", "--log", str(log), "--mo", str(mo)]
    child = children.start("the SMSC simulator", argv, folder / "smsc.out")
    return child, smsc_port(child)


def smsc_port(smsc: Child) -> int:
    """Where the simulator just started listens. Raises DemoFailed when it does not."""
    for _ in waiting("the SMSC simulator listens", 20.0):
        smsc.check()
        first = smsc.output.read_text("utf-8", "replace").partition("\n")
        if first[1] and first[0].startswith("listening on "):
            return int(first[0].rpartition(":")[2])
    raise AssertionError("waiting() ends by raising")


def free_port() -> int:
    """A loopback port that nobody listens on now. Should another take it meanwhile, the start fails and says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dispatcher_pid(data: Path) -> int | None:
    """By run.json; None while it is down."""
    with contextlib.suppress(OSError, ValueError):
        pid = json.loads((data / "run.json").read_bytes()).get("dispatcher_pid")
        return int(pid) if pid else None
    return None


def waiting(what: str, seconds: float, step_s: float = 0.05) -> Iterator[float]:
    """Seconds waited so far, again and again; raises DemoFailed when the time is up."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        yield waited
        time.sleep(step_s)
    raise DemoFailed(f"waited {seconds:.0f} s in vain until {what}")


class MemoryWatch(threading.Thread):
    """The dispatcher's greatest RssAnon, looked at every SAMPLE_S, over restarts too."""

    def __init__(self, data: Path) -> None:
        super().__init__(daemon=True)
        self.mb = self.mb_max = 0.0
        self._data = data
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self.look()

    def look(self) -> float:
        pid = dispatcher_pid(self._data)
        with contextlib.suppress(OSError):
            if pid is not None:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon"):
                        self.mb = int(line.split()[1]) / 1024
                        self.mb_max = max(self.mb_max, self.mb)
        return self.mb

    def end(self) -> None:
        self._end.set()
        if self.is_alive():
            self.join()


def _die_with(parent: int) -> Callable[[], None]:
    def set_up() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before prctl
            os._exit(1)

    return set_up
