"""The face of a long work on members: a row of `imports`, driven slice by slice by the daemon or a command-line verb.

Touches: nothing by itself; a job touches what its next_slice says.
"""

from __future__ import annotations

from dispatcher.records.changes import View


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
