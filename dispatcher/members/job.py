"""A long work on members: its row of `imports`, and its face for the daemon or a command-line verb that drives it.

Touches: rows of `imports` and the meta rows `job`, through views; a job touches what its next_slice says.

    meta: "job" tenant:2 import:8 -> nothing, until it is over and nothing is kept for it: neither body nor undo
          "job" -> nothing, once a start has looked at every row; until then all of them are read

So what looks every minute for something to do reads none of the imports of years.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.open_rows import open_rows
from dispatcher.store.values import pack, unpack

_PREFIX = b"job"


def put_job_row(changes: Changes, tenant: int, job: int, row: dict[str, Any]) -> None:
    key = TENANT_U64.pack(tenant, job)
    changes.put("imports", key, pack(row))
    changes.put("meta", _PREFIX + key, b"")


def open_jobs(view: View) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(tenant, import id, row) of those for which there is, or will be, something to do."""
    known, rows = open_rows(view, _PREFIX), view.range("imports")
    if known is not None:
        rows = ((key, row) for key, _ in known if (row := view.get("imports", key)) is not None)
    for key, octets in rows:
        yield *TENANT_U64.unpack(key), unpack(octets)


def are_open(jobs: Iterable[tuple[int, int]]) -> Changes:
    """These alone: of a store from a version that read every row."""
    changes = Changes()
    for tenant, job in jobs:
        changes.put("meta", _PREFIX + TENANT_U64.pack(tenant, job), b"")
    changes.put("meta", _PREFIX, b"")
    return changes


def are_noted(view: View) -> bool:
    """Whether a start has looked at every row."""
    return open_rows(view, _PREFIX) is not None


def close_jobs(changes: Changes, jobs: Iterable[tuple[int, int]]) -> None:
    """Nothing will be done for these any more."""
    for tenant, job in jobs:
        changes.delete("meta", _PREFIX + TENANT_U64.pack(tenant, job))


class EditJob:
    """A work without a file and without a parser: a bulk edit, an erasure, an undo. Not shared between threads.

    next_slice(view, now_ms) is the work's own: what to commit next, or None when there is nothing now.
    """

    wants_child = False

    def __init__(self, tenant: int, job_id: int) -> None:
        self.tenant, self.import_id = tenant, job_id
        self.finished = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.import_id:016x} finished={self.finished}>"

    def prepare(self, view: View) -> None:
        """Nothing to prepare."""

    def child_ended(self) -> None:
        """There is none."""

    def close(self) -> None:
        """Nothing is open."""
