"""An import, its undo or a bulk edit without a dispatcher: done here, slice by slice under the writer's lock.

Touches: the store it is given, opened for writing; the import's folder; the parser, a child process.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dispatcher.clock import SystemClock
from dispatcher.members.edit_jobs import job_of
from dispatcher.members.import_job import ImportJob
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.importer import import_json, need_import
from dispatcher.records.changes import Changes, View
from dispatcher.store.environment import Store

Watch = Callable[[dict[str, Any]], object]


class Job(Protocol):
    """What a row of `imports` is driven by."""

    tenant: int
    import_id: int

    def next_slice(self, view: View, now_ms: int) -> Changes | None: ...


def run_import_locally(
    store: Store, tenant: int, import_id: int, watch: Watch | None = None, **bounds: int
) -> dict[str, Any]:
    """Drive an opened import, an undo or a bulk edit to its end; answers its row as import_json shows it.

    `watch` is called after each commit. A KeyboardInterrupt leaves it unfinished: calling this again with the
    same id goes on. `bounds`: row_octets_max, run_rows (ImportJob).
    """
    with store.snapshot() as view:
        row = need_import(view, tenant, import_id)
    edit = UndoJob(tenant, import_id) if row["state"] == "undoing" else job_of(tenant, import_id, row)
    if edit is not None:
        apply_ready(store, edit, watch)
    else:
        _run_import(store, ImportJob(Path(store.folder), tenant, import_id, **bounds), watch)
    return _shown(store, tenant, import_id)


def _run_import(store: Store, job: ImportJob, watch: Watch | None) -> None:
    with store.snapshot() as view:
        job.prepare(view)
    apply_ready(store, job, watch)  # what a killed one left whole, or a cancelled one
    while job.wants_child:
        with subprocess.Popen(job.child_argv(), stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    job.heard(line)
                    apply_ready(store, job, watch)
                    if job.finished:
                        break
            finally:
                child.terminate()
        job.child_ended()
        apply_ready(store, job, watch)
    job.close()


def apply_ready(store: Store, job: Job, watch: Watch | None = None) -> None:
    """Commit every slice there is now, one transaction each."""
    clock = SystemClock()
    while True:
        with store.begin_write() as view:
            changes = job.next_slice(view, clock.epoch_ms())
            if changes is not None:
                view.apply(changes)
        if changes is None:
            return
        if watch is not None:
            watch(_shown(store, job.tenant, job.import_id))


def _shown(store: Store, tenant: int, import_id: int) -> dict[str, Any]:
    with store.snapshot() as view:
        shown = import_json(view, tenant, import_id)
    assert shown is not None
    return shown
