"""An import without a dispatcher: the parser beside us, its slices applied under the writer's lock.

Touches: the store it is given, opened for writing; the import's folder; one child process.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dispatcher.clock import SystemClock
from dispatcher.members.import_job import ImportJob, ImportStatistics
from dispatcher.members.importer import import_json
from dispatcher.store.environment import Store

Watch = Callable[[dict[str, Any], ImportStatistics], None]


def run_import_locally(
    store: Store, tenant: int, import_id: int, watch: Watch | None = None, **bounds: int
) -> dict[str, Any]:
    """Drive an opened import to its end; answers its row as import_json shows it.

    `watch` is called after each commit. A KeyboardInterrupt leaves the import unfinished: calling this
    again with the same id goes on. `bounds`: row_octets_max, run_rows (ImportJob).
    """
    job = ImportJob(Path(store.folder), tenant, import_id, **bounds)
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
    with store.snapshot() as view:
        shown = import_json(view, tenant, import_id)
    job.close()
    assert shown is not None
    return shown


def apply_ready(store: Store, job: ImportJob, watch: Watch | None = None) -> None:
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
            with store.snapshot() as view:
                shown = import_json(view, job.tenant, job.import_id)
            assert shown is not None
            watch(shown, job.statistics())
