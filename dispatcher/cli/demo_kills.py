"""kill -9 of the dispatcher in mid-send, at set shares of what will be sent, and what can be seen of its return.

Touches: the SMSC's log as it grows (the most exact count of what was accepted) or, without one, the control socket's
status; run.json; SIGKILL to the dispatcher's process. A thread of its own: at full speed a third is over in 0.2 s.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dispatcher.cli.demo_children import dispatcher_pid
from dispatcher.cli.demo_figures import Kill
from dispatcher.control.commands import AskStatus, Envelope, to_wire
from dispatcher.control.frames import Frames, frame
from dispatcher.errors import DispatcherError

LOOK_S = 0.002
LOOK_STATUS_S = 0.02
RESTART_S = 60.0


class Watch(Protocol):
    """Counts parts that the SMSC accepted since the watch was made."""

    look_s: float

    def accepted(self) -> int: ...

    def log_octets(self) -> int | None: ...


class LogWatch:
    """By the lines of the SMSC's log, read as it grows."""

    look_s = LOOK_S

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = 0
        self._at = self.begin = path.stat().st_size if path.exists() else 0
        self._lock = threading.Lock()  # the progress display counts too

    def accepted(self) -> int:
        with self._lock:
            if self.path.exists():
                with self.path.open("rb", buffering=0) as file:
                    file.seek(self._at)
                    while octets := file.read(1 << 20):
                        self._at += len(octets)
                        self._lines += octets.count(b"\n")
            return self._lines

    def log_octets(self) -> int | None:
        return self.path.stat().st_size if self.path.exists() else 0


class StatusWatch:
    """By the dispatcher's own totals, added up over its starts; a kill loses what came after the last look."""

    look_s = LOOK_STATUS_S

    def __init__(self, control_socket: Path) -> None:
        self._path = control_socket
        self._before = self._last = 0
        self._lock = threading.Lock()

    def accepted(self) -> int:
        with self._lock:
            now = self._ask()
            if now is not None:
                if now < self._last:
                    self._before += self._last
                self._last = now
            return self._before + self._last

    def log_octets(self) -> int | None:
        return None

    def _ask(self) -> int | None:
        """None while the dispatcher is down."""
        envelope = Envelope(tenant=0, actor="demo", at_ms=time.time_ns() // 1_000_000)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5.0)
                connection.connect(str(self._path))
                connection.sendall(frame({"id": 1, **to_wire(AskStatus(), envelope)}))
                frames = Frames()
                while octets := connection.recv(1 << 18):
                    for message in frames.receive(octets):
                        return int(message["reply"]["totals"]["accepted"])
        except (OSError, KeyError, DispatcherError):
            pass
        return None


@dataclass(slots=True)
class Shares:
    """At which shares of the parts to be sent: a third for one kill, else i / (kills + 1)."""

    kills: int

    def of(self, parts: int) -> list[int]:
        divisor = 3 if self.kills == 1 else self.kills + 1
        return [max(1, parts * i // divisor) for i in range(1, self.kills + 1)]


class Killer(threading.Thread):
    """Kills at each of `thresholds` (parts accepted) and notes each in `kills`; end() when the campaign is over."""

    def __init__(self, data: Path, watch: Watch, thresholds: list[int]) -> None:
        super().__init__(daemon=True)
        self.kills: list[Kill] = []
        self.last_change = time.monotonic()
        self._data, self._watch, self._thresholds = data, watch, thresholds
        self._end = threading.Event()

    @property
    def under_way(self) -> bool:
        """A kill was made and the dispatcher is not back yet."""
        return any(kill.log_begins is None for kill in self.kills)

    def run(self) -> None:
        for threshold in self._thresholds:
            while self._watch.accepted() < threshold:
                if self._end.wait(self._watch.look_s):
                    return
            pid = dispatcher_pid(self._data)
            if pid is None:
                continue
            os.kill(pid, signal.SIGKILL)
            kill = Kill(at_ms=time.time_ns() // 1_000_000)
            self.kills.append(kill)
            self.last_change = time.monotonic()
            while dispatcher_pid(self._data) in (None, pid):
                if self._end.wait(LOOK_S) or time.monotonic() - self.last_change > RESTART_S:
                    return
            # what was in the sockets has reached the log long since: whatever comes now is of the new process
            kill.log_begins = self._watch.log_octets() or 0
            self.last_change = time.monotonic()

    def end(self) -> None:
        self._end.set()
        if self.is_alive():
            self.join()
