"""A change to everybody whom an expression matches: the audience is frozen, the work is members/bulk.py's.

Touches: what segments read; rows of `imports`, `bitmaps` and `fields`.
Weak spot: the audience is matched and frozen in one commit: at worst 33 M members, picked at random, are 4 MiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.control.commands import EditMembers, Envelope
from dispatcher.members.bulk import Edit, compare_block, freeze, put_job, read_edit
from dispatcher.members.fields import put_field
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store.ids import next_id
from dispatcher.tenants.tenant import need_tenant

Matched = tuple[int, bytearray, int]  # block, bitmap, how many
DRY_BLOCKS = 16  # a snapshot of a dry run


def edit_members(view: View, command: EditMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Freeze who is meant and begin."""
    tenant = need_tenant(view, envelope.tenant).number
    edit, text, blocks = meant(view, tenant, command, envelope.at_ms)
    changes = Changes()
    job_id = next_id(changes, view, envelope.at_ms)
    freeze(changes, job_id, blocks)
    for field in edit.grown:
        put_field(changes, tenant, field)
    matched = sum(count for _, _, count in blocks)
    row = {
        "expr": text,
        "of": matched,
        "actor": envelope.actor,
        "reason": envelope.reason,
        "created_ms": envelope.at_ms,
        "updated_ms": envelope.at_ms,
    }
    put_job(changes, tenant, job_id, row, edit)
    return changes, {"id": public_id("imp", job_id), "job": job_id, "state": "applying", "matched": matched}


def meant(view: View, tenant: int, command: EditMembers, as_of_ms: int) -> tuple[Edit, str, list[Matched]]:
    """The change, the canonical expression, and whom it matches. Raises CommandRefused 422."""
    edit = read_edit(view, tenant, command)
    compiled = compile_text(view, tenant, command.expr, as_of_ms=as_of_ms)
    return edit, compiled.text, list(select(view, tenant, compiled))


def would_change(view: View, tenant: int, edit: Edit, blocks: Sequence[Matched]) -> int:
    """How many of these members the change would alter: a dry run, some blocks a snapshot, by a reader."""
    return sum(len(compare_block(view, tenant, block, bitmap, edit).slots) for block, bitmap, _ in blocks)
