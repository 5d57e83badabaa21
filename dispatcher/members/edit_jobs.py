"""Long works on members besides imports: rows of `imports` with a kind, driven slice by slice as an import's runs are.

Touches: rows of `imports`.
"""

from __future__ import annotations

from typing import Any

from dispatcher.members.bulk import KIND as BULK
from dispatcher.members.bulk import BulkJob
from dispatcher.members.erase import KIND as ERASE
from dispatcher.members.erase import EraseJob
from dispatcher.members.job import open_jobs
from dispatcher.records.changes import View

ENDED = frozenset({"done", "failed", "cancelled", "undone"})


def job_of(tenant: int, job_id: int, row: dict[str, Any]) -> BulkJob | EraseJob | None:
    """The job of a row of `imports`; None for an import of a file, and for a bulk edit that is being undone."""
    kind = row.get("kind")
    if kind == ERASE:
        return EraseJob(tenant, job_id)
    return BulkJob(tenant, job_id) if kind == BULK and row["state"] != "undoing" else None


def unfinished_edits(view: View) -> list[tuple[int, int]]:
    """(tenant, job id) of those that a start, and housekeeping, go on with."""
    edits = (one for one in open_jobs(view) if one[2].get("kind") in (BULK, ERASE))
    return [(tenant, job) for tenant, job, row in edits if row["state"] not in ENDED]
