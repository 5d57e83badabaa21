"""An import as a row of the store: opened, its body ended, cancelled, shown.

Touches: rows of `imports` and `import_rejects`. What its runs write is in import_slice.py, the driving of
it in import_job.py. States: receiving -> applying -> done, failed or cancelled. A cancelled or failed
import keeps what it had applied; its counts say how much that was.
"""

from __future__ import annotations

from typing import Any

from dispatcher.control.commands import CancelImport, EndImportBody, Envelope, OpenImport
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of, unknown_field
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

MODES = ("upsert", "insert", "update")
FINAL = frozenset({"done", "failed", "cancelled"})
COUNTS = ("rows_read", "members_imported", "rows_updated", "rows_rejected", "points_ignored")
_POSITION = {"run": 0, "at": 0, "rejects_at": 0, "rejects_seen": 0, "words_of_run": -1}


def open_import(view: View, command: OpenImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Begin an import whose body is, or will be, spooled to its folder. Safe to repeat with the same id."""
    tenant = envelope.tenant
    need_tenant(view, tenant)
    found = read_import(view, tenant, command.import_id)
    if found is not None:
        return Changes(), _reply(command.import_id, found)
    fields = fields_of(view, tenant)
    for title, name in command.mapping.items():
        if name and name not in fields:
            raise unknown_field(name, fields, pointer=f"/mapping/{title}")
    if command.mode not in MODES:
        raise CommandRefused(422, "invalid_value", f"mode {command.mode!r}: one of {', '.join(MODES)}")
    mark = command.delimiter
    if mark and (len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0'):
        raise CommandRefused(422, "invalid_value", f"delimiter {mark!r}: one ASCII character, no quote")
    if not 0 < command.import_id < 1 << 63:
        raise CommandRefused(422, "invalid_value", f"import id {command.import_id}: 1 to 2^63 - 1")
    row: dict[str, Any] = {
        "state": "receiving",
        "mode": command.mode,
        "dry_run": command.dry_run,
        "mapping": command.mapping,
        "delimiter": command.delimiter,
        "filename": command.filename[:200],
        "actor": envelope.actor,
        "created_ms": envelope.at_ms,
        "updated_ms": envelope.at_ms,
        "body_octets": None,
        "columns": None,
        "ignored": [],
        "problem": None,
        "rejects_kept": 0,
        **dict.fromkeys(COUNTS, 0),
        **_POSITION,
    }
    changes = Changes()
    put_import(changes, tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def end_body(view: View, command: EndImportBody, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The whole body is on disk. Safe to repeat."""
    row = need_import(view, envelope.tenant, command.import_id)
    changes = Changes()
    if row["state"] == "receiving":
        row |= {"state": "applying", "body_octets": command.octets, "updated_ms": envelope.at_ms}
        put_import(changes, envelope.tenant, command.import_id, row)
    return changes, _reply(command.import_id, row)


def cancel_import(view: View, command: CancelImport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Stop after the slice that is being written. What was applied stays. Safe to repeat."""
    row = need_import(view, envelope.tenant, command.import_id)
    changes = Changes()
    if row["state"] not in FINAL:
        row |= {"state": "cancelled", "updated_ms": envelope.at_ms}
        put_import(changes, envelope.tenant, command.import_id, row)
    elif row["state"] != "cancelled":
        raise CommandRefused(409, "state_conflict", f"the import is {row['state']} already")
    return changes, _reply(command.import_id, row)


def read_import(view: View, tenant: int, import_id: int) -> dict[str, Any] | None:
    row = view.get("imports", TENANT_U64.pack(tenant, import_id)) if 0 <= import_id < 1 << 64 else None
    return unpack(row) if row else None


def need_import(view: View, tenant: int, import_id: int) -> dict[str, Any]:
    row = read_import(view, tenant, import_id)
    if row is None:
        raise CommandRefused(404, "not_found", f"import {public_id('imp', import_id)} does not exist")
    return row


def put_import(changes: Changes, tenant: int, import_id: int, row: dict[str, Any]) -> None:
    changes.put("imports", TENANT_U64.pack(tenant, import_id), pack(row))


def unfinished_imports(view: View) -> list[tuple[int, int]]:
    """(tenant, import id) of those that a starting dispatcher goes on with, oldest first."""
    rows = [TENANT_U64.unpack(key) for key, value in view.range("imports") if unpack(value)["state"] not in FINAL]
    return sorted(rows, key=lambda found: found[1])


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
        shown.append(_shown(TENANT_U64.unpack(key)[1], unpack(row)))
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
    hidden = {*_POSITION, "created_ms", "updated_ms", "actor", *COUNTS}
    counts = {name: row[name] for name in COUNTS}
    return {
        "id": public_id("imp", import_id),
        **{name: value for name, value in row.items() if name not in hidden},
        **counts,
        "created_ms": row["created_ms"],
        "updated_ms": row["updated_ms"],
    }


def _reply(import_id: int, row: dict[str, Any]) -> dict[str, Any]:
    return {"id": public_id("imp", import_id), "import_id": import_id, "state": row["state"]}
