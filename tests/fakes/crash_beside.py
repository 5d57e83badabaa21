"""What goes on beside a campaign whose dispatcher is killed: it is paused and resumed, or backed up, again and again.

A thread of its own asks over the control socket, or starts a process that copies the store (`python -m
tests.fakes.crash_beside DATA TARGET`), and goes on over every kill. The campaign is judged as any other; each backup that
was made is restored and adds up.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dispatcher.control import commands as c
from dispatcher.daemon.backup import restore
from dispatcher.store import open_store
from dispatcher.store.backup import write_backup
from dispatcher.store.verify import verify
from tests.fakes.crash_run import CampaignRun
from tests.fakes.crash_stores import TENANT

NOBODY_S = 0.01  # between two questions while nobody listens


class Beside:
    """`with Beside(run):` around run.live_and_die(). `done` counts, `problems` has what a restored backup lacks."""

    def __init__(self, run: CampaignRun) -> None:
        self.run, self.ends = run, threading.Event()
        self.done, self.problems = 0, list[str]()
        self._rng = random.Random(repr(run.scenario))
        work: Callable[[], None] = {"pauses": self._pause, "backups": self._back_up}[run.scenario.beside]
        self._thread = threading.Thread(target=work)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self._thread.join()

    def _pause(self) -> None:
        """A resume first: the process before may have died paused."""
        campaign = self.run.prepared.campaign
        while not self.ends.is_set():
            for command in (c.ResumeCampaign(campaign=campaign), c.PauseCampaign(campaign=campaign)):
                if self.run.ask(command, TENANT) is None:
                    self.ends.wait(NOBODY_S)
                    break
                self.done += 1
                self.ends.wait(self._rng.random() * 0.06)

    def _back_up(self) -> None:
        while not self.ends.is_set():
            folder = self.run.folder.with_name(f"{self.run.folder.name}-backup")
            argv = [sys.executable, "-m", "tests.fakes.crash_beside", str(self.run.folder), str(folder)]
            made = subprocess.run(argv, capture_output=True, text=True)
            self.problems += problems_of(folder) if made.returncode == 0 else [made.stderr[-500:]]
            self.done += 1
            self.ends.wait(self._rng.random() * 0.3)


def problems_of(backup: Path) -> list[str]:
    """What does not add up in the folder that is made of a backup; both are gone afterwards."""
    data = backup.with_name(f"{backup.name}-restored")
    try:
        restore(backup, data, time.time_ns() // 1_000_000)
        with open_store(data) as store, store.snapshot() as view:
            return list(verify(view)["problems"])
    finally:
        shutil.rmtree(backup)
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    with open_store(Path(sys.argv[1])) as opened:
        write_backup(opened, Path(sys.argv[2]), time.time_ns() // 1_000_000)
