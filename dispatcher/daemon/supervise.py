"""`volley serve`: starts the dispatcher and the admin process, starts again what dies, stops both in time.

Touches: child processes, signals, serve.lock and run.json in the data folder. Never the store.
Rests on: prctl(2) PR_SET_PDEATHSIG, so that kill -9 here still stops the children. It fires when the *thread*
that started a child ends, so children start on the main thread and not in trio's worker threads.
Weak spot: a child that dies at once for good (its port is taken) is tried for ever; the log says so each time.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from config import Settings
from dispatcher.errors import StoreLocked

BACK_OFF_MIN_S = 0.5
BACK_OFF_MAX_S = 30.0
HEALTHY_S = 3.0  # a child that lived this long was up: it starts again after BACK_OFF_MIN_S
STOP_S = 14.0  # the issue gives a stop 15 s, killing included
FINAL_CODES = frozenset({2, 3, 4})  # dispatcher/__main__.py: a new start would end the same way
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def main(settings: Settings) -> int:
    """Watch both until SIGTERM or SIGINT; returns the exit status. Raises StoreLocked beside another `volley serve`."""
    env = {**os.environ, "VOLLEY_DATA": str(settings.data), "PYTHONPATH": _python_path()}
    env.pop("VOLLEY_CONFIG", None)
    if settings.file is not None:
        env["VOLLEY_CONFIG"] = str(settings.file)
    children = [Child(name, [sys.executable, "-m", name], env) for name in ("dispatcher", "admin")]
    lock = _lock(settings.data)
    try:
        record = RunRecord(settings.data / "run.json", settings.api.url)
        return trio.run(Supervisor(children, record.write).run)
    finally:
        (settings.data / "run.json").unlink(missing_ok=True)
        os.close(lock)


@dataclass(frozen=True, slots=True)
class Child:
    """What to start. `env` is the child's whole environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass(slots=True)
class BackOff:
    """Seconds to wait before the next start: doubles while a child dies young."""

    min_s: float = BACK_OFF_MIN_S
    max_s: float = BACK_OFF_MAX_S
    healthy_s: float = HEALTHY_S
    _next_s: float = 0.0

    def after(self, lived_s: float) -> float:
        delay = self.min_s if lived_s >= self.healthy_s or not self._next_s else self._next_s
        self._next_s = min(2 * delay, self.max_s)
        return delay


@dataclass(frozen=True, slots=True)
class RunRecord:
    """run.json: who runs here, for tools that look for the dispatcher. Replaced whole, so never half read."""

    path: Path
    api_url: str

    def write(self, pids: Mapping[str, int]) -> None:
        record = {"pid": os.getpid(), "api_url": self.api_url} | {f"{name}_pid": pid for name, pid in pids.items()}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(record) + "\n")
        fresh.replace(self.path)


@dataclass(slots=True)
class Supervisor:
    """Keeps `children` running. `changed` is told the live pids after each start and end."""

    children: Sequence[Child]
    changed: Callable[[Mapping[str, int]], None]
    stop_s: float = STOP_S
    new_back_off: Callable[[], BackOff] = BackOff
    code: int = 0
    _live: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stopping: trio.Event = field(default_factory=trio.Event)

    def __repr__(self) -> str:
        pids = {name: process.pid for name, process in self._live.items()}
        return f"<Supervisor {'stopping' if self._stopping.is_set() else 'running'} {pids}>"

    async def run(self) -> int:
        """Until a signal, or until a child ends with one of FINAL_CODES; then returns the exit status."""
        try:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_signals, signals)
                    nursery.start_soon(self._kill_when_late)
                    async with trio.open_nursery() as keepers:
                        for child in self.children:
                            keepers.start_soon(self._keep, child)
                    nursery.cancel_scope.cancel()
        finally:
            for process in self._live.values():
                process.terminate()
        return self.code

    async def _keep(self, child: Child) -> None:
        """One child's whole life: start, wait for its end, wait a little, again."""
        log = structlog.get_logger().bind(child=child.name)
        back_off = self.new_back_off()
        while not self._stopping.is_set():
            process = _start(child)
            self._live[child.name] = process
            self._tell()
            log.info("child_started", pid=process.pid)
            started = trio.current_time()
            await _ended(process)
            del self._live[child.name]
            self._tell()
            code, lived_s = process.returncode, round(trio.current_time() - started, 3)
            if self._stopping.is_set():
                log.info("child_stopped", code=code, lived_s=lived_s)
                if code not in (0, -signal.SIGTERM):
                    self.code = self.code or 1
                return
            if code in FINAL_CODES:
                log.error("child_ended_for_good", code=code)
                self.code = code
                self._stop()
                return
            delay = back_off.after(lived_s)
            log.error("child_died", code=code, lived_s=lived_s, again_in_s=delay)
            with trio.move_on_after(delay):
                await self._stopping.wait()

    async def _watch_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:  # endpoints, routes and rates are read anew: the dispatcher's (reload.py)
                if "dispatcher" in self._live:
                    self._live["dispatcher"].send_signal(number)
                continue
            structlog.get_logger().info("stopping", signal=signal.Signals(number).name, again=self._stopping.is_set())
            if self._stopping.is_set():
                self._kill()
            self._stop()

    async def _kill_when_late(self) -> None:
        await self._stopping.wait()
        await trio.sleep(self.stop_s)
        self._kill()

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._live.values():
            process.terminate()

    def _kill(self) -> None:
        for name, process in self._live.items():
            structlog.get_logger().error("child_killed", child=name, pid=process.pid, waited_s=self.stop_s)
            process.kill()

    def _tell(self) -> None:
        self.changed({name: process.pid for name, process in self._live.items()})


def _start(child: Child) -> subprocess.Popen[bytes]:
    """A child in a process group of its own (a terminal's Ctrl-C reaches it through us), dying when we die."""
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before prctl
            os._exit(1)

    return subprocess.Popen(
        child.argv, env=dict(child.env), stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, process_group=0
    )


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait without a thread: a pidfd is readable once its process has ended (pidfd_open(2))."""
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    process.wait()


def _lock(folder: Path) -> int:
    """The descriptor that keeps a second `volley serve` off this data folder."""
    lock = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(lock)
        raise StoreLocked(f"{folder}: another `volley serve` runs on this data folder") from exc
    return lock


def _python_path() -> str:
    """Children import what we run, wherever they are started: this checkout or this installation first."""
    ours = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH", "")
    return ours + (os.pathsep + rest if rest else "")
