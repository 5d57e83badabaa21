"""An import as a row of the store: opened, its body ended, cancelled, committed after a dry run, undone, shown.

Touches: rows of `imports` and `import_rejects`. What its runs write is in import_slice.py, the driving of
it in import_job.py, its undo in import_restore.py. States:

    receiving -> applying -> done, failed or cancelled -> undoing -> undone, or back when later changes forbid it

A cancelled or failed import keeps what it had applied; its counts say how much that was, and an undo takes it
back. A dry run that is done keeps its body for BODY_KEPT_MS and can be committed or cancelled until then.
Bulk edits and erasures (edit_jobs.py) have rows here too, with a `kind`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.control.commands import CancelImport, CommitImport, EndImportBody, Envelope, OpenImport, UndoImport
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of
from dispatcher.members.import_undo import KEPT_MS, blocks_between
from dispatcher.members.job import are_noted, are_open, open_jobs, put_job_row
from dispatcher.members.parse_charset import stated
from dispatcher.members.parse_found import FORMATS
from dispatcher.members.parse_mapping import MappingRefused, read_rules
from dispatcher.members.parse_unpack import COMPRESSIONS
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store import Store
from dispatcher.store.layout import TENANT, TENANT_U64, U64
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import need_tenant

MODES = ("upsert", "insert", "update", "replace_tags")
FINAL = frozenset({"done", "failed", "cancelled", "undone"})
UNDOABLE = frozenset({"done", "failed", "cancelled"})
BODY_KEPT_MS = 86_400_000  # of a dry run, and of an upload that was never finished
COUNTS = ("rows_read", "members_imported", "rows_updated", "rows_rejected", "points_ignored")
FINER = ("unchanged", "repeated", "unreachable")
_POSITION = {"run": 0, "at": 0, "rejects_at": 0, "rejects_seen": 0, "words_of_run": -1}
_HIDDEN = {"first_no", "slices", "slice", "stale_rejects", "entries", *_POSITION}


def _new_row() -> dict[str, Any]:
    """What a row has, for those of an earlier version too."""
    return {
        **dict.fromkeys(("format", "compression", "charset", "delimiter"), ""),
        "found": {},
        "resumable": False,
        "committed": False,
        "checked": None,
        "stale_rejects": False,
        "body_until": None,
        "undo_until": None,
        "undo": None,
        "body_octets": None,
        "slices": 0,
        **_nothing_done(),
    }


def _nothing_done() -> dict[str, Any]:
    return {
        "columns": None,
        "ignored": [],
        "problem": None,
        "rejects_kept": 0,
        "first_no": None,
        "changed": {},
        "lost": {},
        "rejected_codes": {},
        **dict.fromkeys((*COUNTS, *FINER), 0),
        **_POSITION,
    }


def open_import(view: View, command: OpenImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Begin an import whose body is, or will be, spooled to its folder. Safe to repeat with the same id."""
    tenant = envelope.tenant
    need_tenant(view, tenant)
    found = read_import(view, tenant, command.import_id)
    if found is not None:
        return Changes(), _reply(command.import_id, found)
    _check(view, tenant, command)
    row = {
        **_new_row(),
        "state": "receiving",
        "mode": command.mode,
        "dry_run": command.dry_run,
        "mapping": command.mapping,
        "format": command.format,
        "compression": command.compression,
        "charset": command.charset,
        "delimiter": command.delimiter,
        "filename": command.filename[:200],
        "resumable": command.resumable,
        "actor": envelope.actor,
        "created_ms": envelope.at_ms,
        "updated_ms": envelope.at_ms,
    }
    changes = Changes()
    put_import(changes, tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def _check(view: View, tenant: int, command: OpenImport) -> None:
    kinds = {name: field.kind for name, field in fields_of(view, tenant).items()}
    try:
        read_rules(command.mapping, kinds)
    except MappingRefused as exc:
        first = exc.errors[0]
        raise CommandRefused(
            422, first["code"], first["detail"], errors=exc.errors, extra={"did_you_mean": first["did_you_mean"]}
        ) from exc
    for name, value, allowed in (
        ("mode", command.mode, MODES),
        ("format", command.format or "csv", FORMATS),
        ("compression", command.compression or "none", COMPRESSIONS),
    ):
        if value not in allowed:
            raise _wrong(name, f"{name} {value!r}: one of {', '.join(allowed)}")
    if command.charset and stated(command.charset) is None:
        raise _wrong("charset", f"charset {command.charset[:40]!r}: such as utf-8, utf-16, gb18030 or latin-1")
    mark = command.delimiter
    if mark and (len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0'):
        raise _wrong("delimiter", f"delimiter {mark!r}: one ASCII character, no quote")
    if not 0 < command.import_id < 1 << 63:
        raise _wrong("import_id", f"import id {command.import_id}: 1 to 2^63 - 1")


def _wrong(name: str, detail: str) -> CommandRefused:
    errors = [{"pointer": f"/{name}", "code": "invalid_value", "detail": detail}]
    return CommandRefused(422, "invalid_value", detail, errors=errors)


def end_body(view: View, command: EndImportBody, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The whole body is on disk. Safe to repeat."""
    row = need_import(view, envelope.tenant, command.import_id)
    changes = Changes()
    if row["state"] == "receiving":
        row |= {"state": "applying", "body_octets": command.octets, "updated_ms": envelope.at_ms}
        put_import(changes, envelope.tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def cancel_import(view: View, command: CancelImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Stop after the slice that is being written; what was applied stays, and import.undo takes it back. Of a dry run
    that is done the kept body goes. Safe to repeat."""
    row = need_import(view, envelope.tenant, command.import_id)
    changes = Changes()
    if row["state"] == "undoing":
        raise CommandRefused(409, "state_conflict", "it is being undone; an undo runs to its end")
    if row["state"] not in FINAL or (row["state"] == "done" and row.get("dry_run")):
        finish(row, "cancelled", envelope.at_ms)
        put_import(changes, envelope.tenant, command.import_id, row)
    elif row["state"] != "cancelled":
        raise CommandRefused(409, "state_conflict", f"the import is {row['state']} already")
    return changes, _reply(command.import_id, row)


def commit_import(view: View, command: CommitImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Do what a dry run has shown: its body is parsed again, for the members as they are by then. Safe to repeat."""
    row = need_import(view, envelope.tenant, command.import_id)
    if row["committed"]:
        return Changes(), _reply(command.import_id, row)
    if not row["dry_run"] or row["state"] != "done":
        what = "a dry run" if row["dry_run"] else "no dry run"
        detail = f"the import is {what} and {row['state']}; a dry run that is done can be committed"
        raise CommandRefused(409, "state_conflict", detail)
    if envelope.at_ms >= row["body_until"]:
        raise CommandRefused(410, "import_expired", "the file of this dry run is kept no longer; send it again")
    checked = {name: row[name] for name in (*COUNTS, *FINER, "changed", "lost", "rejected_codes")}
    row |= _nothing_done()
    row |= {
        "state": "applying",
        "dry_run": False,
        "committed": True,
        "checked": checked,
        "body_until": None,
        "stale_rejects": True,
        "updated_ms": envelope.at_ms,
    }
    changes = Changes()
    put_import(changes, envelope.tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def undo_import(view: View, command: UndoImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Begin to take back what was written; the row's `undo` says how far that is and what stands in its way. Safe to
    repeat; an undo that was refused is looked at anew."""
    row = need_import(view, envelope.tenant, command.import_id)
    if row["state"] in ("undoing", "undone"):
        return Changes(), _reply(command.import_id, row)
    if row["state"] not in UNDOABLE or row.get("dry_run"):
        what = "a dry run, which wrote nothing" if row.get("dry_run") else row["state"]
        raise CommandRefused(409, "state_conflict", f"the import is {what}; what is over can be undone")
    until = row.get("undo_until")
    if envelope.at_ms >= (until or (row["updated_ms"] + KEPT_MS if row.get("kind") else 0)):
        raise CommandRefused(410, "undo_expired", "what was replaced is kept no longer")
    row["undo"] = {
        "phase": "undo" if command.skip_changed else "check",
        "skip_changed": command.skip_changed,
        "was": row["state"],
        "at": 0,
        "blocks": None,
        "blocks_done": 0,
        "restored": 0,
        "removed": 0,
        "conflicts": [],
        "conflicts_found": 0,
    }
    row |= {"state": "undoing", "updated_ms": envelope.at_ms}
    changes = Changes()
    put_import(changes, envelope.tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def finish(row: dict[str, Any], state: str, now_ms: int) -> None:
    """The end of an import: how long its body, or what it replaced, is kept."""
    row |= {"state": state, "updated_ms": now_ms, "body_until": None}
    if row.get("dry_run"):
        row["body_until"] = now_ms + BODY_KEPT_MS if state == "done" else None
    else:
        row["undo_until"] = now_ms + KEPT_MS


def keeps_body(row: dict[str, Any], now_ms: int) -> bool:
    """Whether the import's folder is still needed."""
    return row["state"] not in FINAL or (row["state"] == "done" and now_ms < (row.get("body_until") or 0))


def read_import(view: View, tenant: int, import_id: int) -> dict[str, Any] | None:
    row = view.get("imports", TENANT_U64.pack(tenant, import_id)) if 0 <= import_id < 1 << 64 else None
    return _load(row) if row else None


def _load(octets: bytes) -> dict[str, Any]:
    row = unpack(octets)
    return row if row.get("kind") else {**_new_row(), **row}


def need_import(view: View, tenant: int, import_id: int) -> dict[str, Any]:
    row = read_import(view, tenant, import_id)
    if row is None:
        raise CommandRefused(404, "not_found", f"import {public_id('imp', import_id)} does not exist")
    return row


def put_import(changes: Changes, tenant: int, import_id: int, row: dict[str, Any]) -> None:
    put_job_row(changes, tenant, import_id, row)


def unfinished_imports(view: View) -> list[tuple[int, int]]:
    """(tenant, import id) of those that a starting dispatcher goes on with, oldest first."""
    found = [(tenant, job) for tenant, job, row in open_jobs(view) if row["state"] not in FINAL and not waits(row)]
    return sorted(found, key=lambda key: key[1])


def waits(row: dict[str, Any]) -> bool:
    """Whether nothing is to be done before more of the body comes: nobody parses an upload that may rest for hours."""
    return row["state"] == "receiving" and bool(row.get("resumable"))


def expired_uploads(view: View, now_ms: int) -> Iterator[tuple[int, int]]:
    """(tenant, import id) of uploads that were never finished and rest too long."""
    for tenant, import_id, row in open_jobs(view):
        if waits(row) and now_ms - row["updated_ms"] >= BODY_KEPT_MS:
            yield tenant, import_id


def expired_undos(view: View, now_ms: int) -> Iterator[int]:
    """Ids of imports and bulk edits whose undo is kept no longer."""
    for _, import_id, row in open_jobs(view):
        if row["state"] in FINAL and now_ms >= _undo_until(row) and _has_undo(view, import_id):
            yield import_id


def over_imports(view: View, now_ms: int) -> list[tuple[int, int]]:
    """(tenant, import id) of which nothing is kept any more but the row, their folder aside."""
    return [(tenant, job) for tenant, job, row in open_jobs(view) if _is_over(view, job, row, now_ms)]


def note_open_imports(store: Store, now_ms: int) -> None:
    """At a dispatcher's start: those of a store from a version that read every row instead."""
    with store.snapshot() as view:
        if are_noted(view):
            return
        jobs = [(tenant, job) for tenant, job, row in open_jobs(view) if not _is_over(view, job, row, now_ms)]
    store.apply(are_open(jobs))


def _is_over(view: View, job: int, row: dict[str, Any], now_ms: int) -> bool:
    past = row["state"] in FINAL and now_ms >= _undo_until(row)
    return past and not keeps_body(row, now_ms) and not _has_undo(view, job)


def _undo_until(row: dict[str, Any]) -> int:
    return int(row.get("undo_until") or row["updated_ms"] + KEPT_MS)


def _has_undo(view: View, job: int) -> bool:
    return next(blocks_between(view, job), None) is not None


def import_json(view: View, tenant: int, import_id: int) -> dict[str, Any] | None:
    """As the API shows it; rows_read = members_imported + rows_updated + rows_rejected at any moment."""
    row = read_import(view, tenant, import_id)
    return None if row is None else _shown(import_id, row)


def list_imports(view: View, tenant: int, *, before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Newest first; `before` is an import id."""
    after = TENANT_U64.pack(tenant, before) if before is not None else None
    shown: list[dict[str, Any]] = []
    for key, row in view.range("imports", TENANT.pack(tenant), after=after, reverse=True):
        if len(shown) == limit:
            break
        shown.append(_shown(TENANT_U64.unpack(key)[1], _load(row)))
    return shown


def list_rejects(
    view: View, tenant: int, import_id: int, *, after_line: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Rejected rows by line: line, column (None: the row as a whole), value, code, detail."""
    need_import(view, tenant, import_id)
    rows: list[dict[str, Any]] = []
    for _, row in view.range("import_rejects", U64.pack(import_id), after=U64.pack(import_id) + U64.pack(after_line)):
        if len(rows) == limit:
            break
        rows.append(unpack(row))
    return rows


def _shown(import_id: int, row: dict[str, Any]) -> dict[str, Any]:
    counts = {name: row[name] for name in COUNTS if name in row}
    hidden = {*_HIDDEN, "created_ms", "updated_ms", "actor", *COUNTS}
    return {
        "id": public_id("imp", import_id),
        **{name: value for name, value in row.items() if name not in hidden},
        **counts,
        "created_ms": row["created_ms"],
        "updated_ms": row["updated_ms"],
    }


def _reply(import_id: int, row: dict[str, Any]) -> dict[str, Any]:
    return {"id": public_id("imp", import_id), "import_id": import_id, "state": row["state"]}
