"""The one thread that writes the store: a job is one transaction, begun and ended in commit().

Touches: the store. Rests on: DESIGN 2 (group commit, at most 4 MiB a commit), PITFALLS B2 (a full disk fails the
commit, the last one is whole). A job that fails has written nothing; whoever waits tries its journal again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lmdb
import structlog
import trio

from dispatcher.daemon.crash import crash_point
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes
from dispatcher.smpp.pump import Kind
from dispatcher.store import Snapshot, Store, ledger, log_values

FOLD_RECORDS = 65_536
MAY_WAIT_S = 0.004  # of a commit, for what may wait: some 30 messages from phones, of 140 us each

log = structlog.get_logger("writer")

Step = Callable[[Snapshot], tuple[Changes, Any]]


@dataclass(slots=True, eq=False)
class Work:
    """One room's step: its Changes are written with others', its result is told after the commit."""

    step: Step
    then: Callable[[Work], None]
    may_wait: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One transaction: the journals' values, of a Book each, some steps, perhaps a fold."""

    values: list[memoryview]
    works: list[Work]  # those that may wait at its end; what there was no time for is in `left` afterwards
    fold: bool
    done: trio.Event = field(default_factory=trio.Event)
    error: BaseException | None = None
    folded_all: bool = True
    pass_open: bool = False  # the fold goes on with the chunks that follow (store/fold.py)
    took_s: float = 0.0
    position: int = 0
    left: list[Work] = field(default_factory=list)


class Writer:
    """Owns the thread. put() from the trio thread; `job.done` is set there after the commit."""

    def __init__(self, store: Store, *, sync_delay_s: float = 0.0) -> None:
        self.store = store
        self._sync_delay_s = sync_delay_s  # a slower disk, for benchmarks
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        with store.snapshot() as view:
            self.position = ledger.next_position(view)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            began = time.perf_counter()
            try:
                self._commit(job)
                if self._sync_delay_s:
                    time.sleep(self._sync_delay_s)
            except BaseException as exc:
                job.error = exc
            job.took_s = time.perf_counter() - began
            self._token.run_sync_soon(job.done.set)

    def _commit(self, job: Job) -> None:
        position = self.position
        with self.store.begin_write() as view:
            for value in job.values:
                position = log_values.append(view, position, value)
            self._steps(view, job)
            if job.works:  # a person's settlement is a value of the log too
                position = max(position, ledger.next_position(view))
            if job.fold:
                _, job.folded_all = ledger.fold(view)
                job.pass_open = ledger.pass_open(view)
                crash_point("in_fold")
            crash_point("in_receipt_commit", lambda: _has_receipt(job))
            crash_point("before_commit", lambda: bool(job.values))
        job.position, self.position = self.position, position

    def _steps(self, view: Snapshot, job: Job) -> None:
        until = 0.0
        for index, work in enumerate(job.works):
            if work.may_wait:
                until = until or time.perf_counter() + MAY_WAIT_S
                if time.perf_counter() > until:
                    job.left, job.works[index:] = job.works[index:], []
                    return
            self._step(view, work)

    def _step(self, view: Snapshot, work: Work) -> None:
        try:
            changes, work.result = work.step(view)
        except CommandRefused as exc:
            work.error = exc
            return
        except lmdb.Error:
            raise
        except Exception as exc:
            log.exception("step_failed")
            work.error = exc
            return
        view.apply(changes)


def _has_receipt(job: Job) -> bool:
    return any(record[0] in (Kind.RECEIPT, Kind.HELD) for value in job.values for record in ledger.records(value))
