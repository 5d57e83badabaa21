"""[trio] Imports, their undo, bulk edits and erasures in the daemon: a job each, slice by slice between commits.

Touches: child processes (an import's parser), import folders, and the store through steps of the committer. Rests on:
the jobs (members/import_job.py, import_restore.py, edit_jobs.py) keep all that counts in their row; so a start goes
on with what a kill left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from dispatcher.control.commands import CancelImport, Envelope
from dispatcher.daemon import handlers
from dispatcher.daemon.committer import Committer
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.housekeeping import fold_delta
from dispatcher.daemon.sharing import rest_s, sending
from dispatcher.daemon.works import Works
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.members.bulk import BulkJob
from dispatcher.members.edit_jobs import job_of
from dispatcher.members.erase import EraseJob
from dispatcher.members.import_job import ImportJob, leftover_folders
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.import_undo import expired_rows
from dispatcher.members.importer import (
    FINAL,
    expired_undos,
    expired_uploads,
    over_imports,
    read_import,
    unfinished_imports,
    waits,
)
from dispatcher.members.job import close_jobs
from dispatcher.records.changes import Changes, View
from dispatcher.store import Store

AT_ONCE = 2  # imports parsed at the same time; more wait
FULL_RETRY_S = 1.0
LOOK_S = 0.25  # how often the parser is told to give way, or to go on
SWEEP_S = 60.0  # files and undos that are kept no longer, uploads that were never finished
CLOSED_AT_ONCE = 1_000
ACTOR = "dispatcher"

Job = ImportJob | UndoJob | BulkJob | EraseJob

log = structlog.get_logger("imports")


class Imports:
    """Runs what is opened; `changed(tenant)` is called when one ends, for dictionaries may have grown."""

    def __init__(
        self,
        store: Store,
        works: Works,
        committer: Committer,
        nursery: trio.Nursery,
        changed: Callable[[int], None],
        *,
        row_octets_max: int,
    ) -> None:
        self._store, self._works, self._committer = store, works, committer
        self._nursery, self._changed = nursery, changed
        self._row_octets_max = row_octets_max
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._running: dict[int, Job] = {}

    def resume(self) -> None:
        """At a start: go on with what is unfinished; from then on remove what is kept no longer."""
        with self._store.snapshot() as view:
            unfinished = unfinished_imports(view)
        for tenant, import_id in unfinished:
            self.open(tenant, import_id)
        self._nursery.start_soon(self._sweep)

    def open(self, tenant: int, import_id: int) -> None:
        """Do whatever there is to do for a row of `imports`; nothing when that runs already."""
        if import_id in self._running:
            return
        with self._store.snapshot() as view:
            row = read_import(view, tenant, import_id)
        if row is None or row["state"] in FINAL or waits(row):
            return
        self._running[import_id] = self._job_of(tenant, import_id, row)
        self._nursery.start_soon(self._drive, tenant, import_id)

    def _job_of(self, tenant: int, import_id: int, row: dict[str, Any]) -> Job:
        if row["state"] == "undoing":
            return UndoJob(tenant, import_id)
        folder = Path(self._store.folder)
        edit = job_of(tenant, import_id, row)
        return edit or ImportJob(folder, tenant, import_id, row_octets_max=self._row_octets_max)

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
                while isinstance(job, ImportJob) and job.wants_child:
                    await self._parse(job)
                    job.child_ended()
                    await self._apply(job)
                with contextlib.suppress(StoreFull):
                    await fold_delta(self._works, tenant)  # updates would cost every count until the next fold
        except CommandRefused as exc:
            log.error("import_ended", id=f"{import_id:016x}", reason=str(exc))
        except OSError as exc:
            log.error("import_stopped", id=f"{import_id:016x}", reason=str(exc))
        finally:
            job.close()
            del self._running[import_id]
            self._changed(tenant)
        log.info("import_over", id=f"{import_id:016x}", tenant=tenant)
        if job.finished:
            self.open(tenant, import_id)  # an undo, or a dry run's commit, that was asked for in the meantime

    async def _sweep(self) -> None:
        while True:
            now_ms = time.time_ns() // 1_000_000
            uploads, undos, leftover, over = await trio.to_thread.run_sync(self._kept_no_longer, now_ms)
            with contextlib.suppress(StoreFull):
                if over:
                    await self._works.do(partial(_close, jobs=over[:CLOSED_AT_ONCE]))
                for tenant, import_id in uploads:
                    await self._cancel(tenant, import_id, now_ms)
                for import_id in undos:
                    await self._drop_undo(import_id)
            for folder in leftover:
                if int(folder.name, 16) not in self._running:
                    await trio.to_thread.run_sync(shutil.rmtree, folder, True)
            await trio.sleep(SWEEP_S)

    def _kept_no_longer(
        self, now_ms: int
    ) -> tuple[list[tuple[int, int]], list[int], list[Path], list[tuple[int, int]]]:
        """Uploads that were never finished, undos, folders; and imports of which there is nothing of that left."""
        with self._store.snapshot() as view:
            uploads, undos = list(expired_uploads(view, now_ms)), list(expired_undos(view, now_ms))
            leftover = leftover_folders(view, Path(self._store.folder), now_ms)
            folders = {int(folder.name, 16) for folder in leftover}
            over = [one for one in over_imports(view, now_ms) if one[1] not in folders]
        return uploads, undos, leftover, over

    async def _cancel(self, tenant: int, import_id: int, now_ms: int) -> None:
        envelope = Envelope(tenant=tenant, actor=ACTOR, at_ms=now_ms, reason="the upload was never finished")

        def step(view: View) -> tuple[Changes, Any]:
            changes, reply, _ = handlers.execute(view, CancelImport(import_id=import_id), envelope, now_ms)
            return changes, reply

        with contextlib.suppress(CommandRefused):
            await self._works.do(step)

    async def _drop_undo(self, import_id: int) -> None:
        def step(view: View) -> tuple[Changes, Any]:
            changes = expired_rows(view, import_id)
            return changes, bool(changes)

        while await self._works.do(step):
            pass

    async def _parse(self, job: ImportJob) -> None:
        """One life of the parser; it dies with this task."""
        job.hold(sending(self._committer.submits_per_s))
        over = trio.CancelScope()
        child = await trio.lowlevel.open_process(job.child_argv(), stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            rest = b""
            self._nursery.start_soon(self._give_way, child.pid, job, over)
            async for octets in child.stdout:
                *lines, rest = (rest + octets).split(b"\n")
                for line in lines:
                    job.heard(line)
                await self._apply(job)
                if job.finished:
                    break
        finally:
            over.cancel()
            child.kill()
            with trio.CancelScope(shield=True):
                await child.wait()
                if child.stdout is not None:
                    await child.stdout.aclose()

    async def _give_way(self, pid: int, job: ImportJob, over: trio.CancelScope) -> None:
        """While messages are sent the parser takes what processor time nobody else wants, and keeps few runs ahead."""
        gives_way = False
        with over:
            while True:
                if (wanted := sending(self._committer.submits_per_s)) != gives_way:
                    gives_way = wanted
                    job.hold(wanted)
                    with contextlib.suppress(AttributeError, OSError):  # elsewhere, or not allowed: it goes on as it is
                        os.sched_setscheduler(pid, os.SCHED_IDLE if wanted else os.SCHED_OTHER, os.sched_param(0))
                await trio.sleep(LOOK_S)

    async def _apply(self, job: Job) -> None:
        """Commit every slice there is now, one a commit, so that none is greater than a commit may be. The faster
        messages are sent, the longer the rest after each (sharing.py)."""

        def step(view: View) -> tuple[Changes, Any]:
            changes = job.next_slice(view, time.time_ns() // 1_000_000)
            crash_point("in_undo" if isinstance(job, UndoJob) else "in_import", lambda: changes is not None)
            return (Changes(), False) if changes is None else (changes, True)

        while True:
            began = trio.current_time()
            try:
                if not await self._works.do(step):
                    return
            except StoreFull:
                await trio.sleep(FULL_RETRY_S)
            await trio.sleep(rest_s(self._committer.submits_per_s, trio.current_time() - began))


def _close(view: View, jobs: list[tuple[int, int]]) -> tuple[Changes, None]:
    """What is over stays so: nothing is begun with it again."""
    changes = Changes()
    close_jobs(changes, jobs)
    return changes, None
