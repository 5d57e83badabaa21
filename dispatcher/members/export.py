"""Members as a file: CSV, NDJSON or Parquet, a block at a time, so that memory does not grow with the answer.

Touches: column blocks through the View of the moment; who is meant was frozen before, as bitmaps a block. A member who
is erased meanwhile is left out; a value is as of the moment its block is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dispatcher.control.commands import Envelope, NoteExport
from dispatcher.errors import CommandRefused
from dispatcher.members.bulk import slots_in
from dispatcher.members.export_cells import csv_cells, hide, json_cells, values_of
from dispatcher.members.fields import Field, fields_of, unknown_field
from dispatcher.records.changes import Changes, View
from dispatcher.store.columns import FLAGS, open_block
from dispatcher.store.layout import PLANE_LIVE
from dispatcher.tenants.tenant import need_tenant

FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


class Sheet(Protocol):
    """One format: what comes first, a block's rows, what comes last."""

    def head(self) -> bytes: ...

    def rows(self, fields: Sequence[Field], columns: list[list[Any]]) -> bytes: ...

    def tail(self) -> bytes: ...


class Csv:
    """RFC 4180: a header, CRLF, quotes where they are needed."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._names = [field.name for field in fields]

    def head(self) -> bytes:
        return (",".join(self._names) + "\r\n").encode()

    def rows(self, fields: Sequence[Field], columns: list[list[Any]]) -> bytes:
        cells = [csv_cells(field, values) for field, values in zip(fields, columns, strict=True)]
        lines = map(",".join, zip(*cells, strict=True)) if len(cells) > 1 else [cell or '""' for cell in cells[0]]
        return ("\r\n".join(lines) + "\r\n").encode()

    def tail(self) -> bytes:
        return b""


class Ndjson:
    """One object a line, every field in each."""

    def head(self) -> bytes:
        return b""

    def rows(self, fields: Sequence[Field], columns: list[list[Any]]) -> bytes:
        cells = [json_cells(field, values) for field, values in zip(fields, columns, strict=True)]
        return ("{" + "}\n{".join(map(",".join, zip(*cells, strict=True))) + "}\n").encode()

    def tail(self) -> bytes:
        return b""


class Export:
    """One export from its first octet to its last: head(), block() for each block that matched, tail()."""

    def __init__(self, view: View, tenant: int, names: Sequence[str], format: str, *, masked: bool) -> None:
        """`names` empty: every field. Raises CommandRefused 422 for an unknown field or format."""
        need_tenant(view, tenant)
        self.tenant, self.masked = tenant, masked
        self.fields = _chosen(view, tenant, names)
        self.members = 0  # written so far
        self._sheet = _sheet(format, self.fields)

    @property
    def tells_who(self) -> bool:
        """Whether it holds what tells who somebody is: then a reason is asked for."""
        return not self.masked and any(field.pii for field in self.fields)

    def need_reason(self, reason: str) -> None:
        """Raises CommandRefused 422 when one is asked for and there is none."""
        if self.tells_who and not reason.strip():
            names = ", ".join(field.name for field in self.fields if field.pii)
            detail = f"reason: these fields tell who somebody is, so say what for: {names}"
            error = {"pointer": "/reason", "code": "missing", "detail": detail}
            raise CommandRefused(422, "reason_missing", detail, errors=[error])

    def head(self) -> bytes:
        return self._sheet.head()

    def block(self, view: View, block: int, bitmap: bytes | bytearray) -> bytes:
        """The rows of a block's matched members, those who still live."""
        now = fields_of(view, self.tenant)
        fields = [now.get(field.name, field) for field in self.fields]  # a dictionary may have grown
        opened = open_block(view, self.tenant, block, [FLAGS, *(c for field in fields for c in field.columns)])
        live = int.from_bytes(opened.plane(FLAGS[0], PLANE_LIVE), "little")
        slots = list(slots_in(int.from_bytes(bitmap, "little") & live))
        if not slots:
            return b""
        self.members += len(slots)
        columns = [values_of(opened, field, slots) for field in fields]
        if self.masked:
            columns = [hide(f, values) if f.pii else values for f, values in zip(fields, columns, strict=True)]
        return self._sheet.rows(fields, columns)

    def tail(self) -> bytes:
        return self._sheet.tail()


def audit_reason(reason: str, command: NoteExport) -> str:
    """What the audit keeps of an export: why, what, of whom."""
    what = command.format + (", masked" if command.masked else "")
    return f"{reason.strip() or 'no reason given'} [{what}: {', '.join(command.fields)}; {command.expr}]"


def note_export(view: View, command: NoteExport, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Nothing but the line in the audit, which is on disk before the first octet leaves."""
    need_tenant(view, envelope.tenant)
    return Changes(), {"noted": True}


def _chosen(view: View, tenant: int, names: Sequence[str]) -> list[Field]:
    fields = fields_of(view, tenant)
    for i, name in enumerate(names):
        if name not in fields:
            raise unknown_field(name, fields, f"/fields/{i}")
    return [fields[name] for name in dict.fromkeys(names)] or list(fields.values())


def _sheet(format: str, fields: Sequence[Field]) -> Sheet:
    if format == "csv":
        return Csv(fields)
    if format == "ndjson":
        return Ndjson()
    if format == "parquet":
        from dispatcher.members.export_parquet import Parquet  # an extra: only where it is asked for

        return Parquet(fields)
    detail = f"format {format[:40]!r}: one of {', '.join(FORMATS)}"
    errors = [{"pointer": "/format", "code": "unknown", "detail": detail}]
    raise CommandRefused(422, "invalid_value", detail, errors=errors)
