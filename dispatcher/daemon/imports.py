"""[trio] Imports in the daemon: a parser child each, its runs applied slice by slice between foreground commits.

Touches: child processes, and the store through steps of the committer. Rests on: members/import_job.py, which keeps
all that counts in the import's row; so a start goes on with what a kill left.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import trio

from dispatcher.daemon.committer import Committer
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.housekeeping import fold_delta
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.members.import_job import ImportJob, leftover_folders
from dispatcher.members.importer import unfinished_imports
from dispatcher.records.changes import Changes, View
from dispatcher.store import Store

AT_ONCE = 2  # imports parsed at the same time; more wait
FULL_RETRY_S = 1.0

log = structlog.get_logger("imports")


class Imports:
    """Runs what is opened; `changed(tenant)` is called when one ends, for dictionaries may have grown."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        nursery: trio.Nursery,
        changed: Callable[[int], None],
        *,
        row_octets_max: int,
    ) -> None:
        self._store, self._committer, self._nursery, self._changed = store, committer, nursery, changed
        self._row_octets_max = row_octets_max
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._running: dict[int, ImportJob] = {}

    def resume(self) -> None:
        """At a start: go on with what is unfinished, remove what nobody was there to remove."""
        with self._store.snapshot() as view:
            unfinished = unfinished_imports(view)
            leftover = leftover_folders(view, Path(self._store.folder))
        for folder in leftover:
            shutil.rmtree(folder, ignore_errors=True)
        for tenant, import_id in unfinished:
            self.open(tenant, import_id)

    def open(self, tenant: int, import_id: int) -> None:
        if import_id not in self._running:
            folder = Path(self._store.folder)
            self._running[import_id] = ImportJob(folder, tenant, import_id, row_octets_max=self._row_octets_max)
            self._nursery.start_soon(self._drive, tenant, import_id)

    @property
    def running(self) -> int:
        return len(self._running)

    async def _drive(self, tenant: int, import_id: int) -> None:
        job = self._running[import_id]
        try:
            async with self._limit:
                with self._store.snapshot() as view:
                    job.prepare(view)
                await self._apply(job)
                while job.wants_child:
                    await self._parse(job)
                    job.child_ended()
                    await self._apply(job)
                with contextlib.suppress(StoreFull):
                    await fold_delta(self._committer, tenant)  # updates would cost every count until the next fold
        except CommandRefused as exc:
            log.error("import_ended", id=f"{import_id:016x}", reason=str(exc))
        except OSError as exc:
            log.error("import_stopped", id=f"{import_id:016x}", reason=str(exc))
        finally:
            job.close()
            del self._running[import_id]
            self._changed(tenant)
        log.info("import_over", id=f"{import_id:016x}", tenant=tenant)

    async def _parse(self, job: ImportJob) -> None:
        """One life of the parser; it dies with this task."""
        child = await trio.lowlevel.open_process(job.child_argv(), stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            rest = b""
            async for octets in child.stdout:
                *lines, rest = (rest + octets).split(b"\n")
                for line in lines:
                    job.heard(line)
                await self._apply(job)
                if job.finished:
                    break
        finally:
            child.kill()
            with trio.CancelScope(shield=True):
                await child.wait()
                if child.stdout is not None:
                    await child.stdout.aclose()

    async def _apply(self, job: ImportJob) -> None:
        """Commit every slice there is now, one a commit, so that none is greater than a commit may be."""

        def step(view: View) -> tuple[Changes, Any]:
            changes = job.next_slice(view, time.time_ns() // 1_000_000)
            crash_point("in_import", lambda: changes is not None)
            return (Changes(), False) if changes is None else (changes, True)

        while True:
            try:
                if not await self._committer.do(step):
                    return
            except StoreFull:
                await trio.sleep(FULL_RETRY_S)
