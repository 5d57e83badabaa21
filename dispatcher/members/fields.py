"""A tenant's fields: which attributes its members have, of which kind, and the codes of their values.

Touches: rows of `fields`. A dictionary's codes are 1-based (0 is unknown) and its values never change
places; a tag's number is its index, 8 tags to a part. So a field may grow, never shrink or change kind.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dispatcher.control.commands import DefineField, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.columns import Column, ColumnKind
from dispatcher.store.layout import FIELD_FIRST, FIELD_MSISDN, FIELD_POINTS, TENANT, TENANT_U16
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

FIELDS_MAX = 200  # of a tenant; an opened block names all of them at most (kernel bound 512 columns)
TAGS_MAX = 255
TEXT_MAX = 1_000
VALUE_MAX = 100  # characters of a dictionary value or a tag
_NAME = re.compile(r"[^\W\d]\w{0,39}")
# words that an expression could not tell from a field (PRODUCT E)
# fmt: off
RESERVED = frozenset({
    "and", "or", "not", "except", "between", "in", "is", "known", "unknown", "yes", "no", "has", "lacks", "tag",
    "any", "all", "of", "contains", "starts", "ends", "with", "everyone", "limit",
})
# fmt: on

KINDS: dict[str, ColumnKind] = {
    "dict": ColumnKind.U8,
    "int": ColumnKind.I64,
    "date": ColumnKind.I32,  # days since 1970-01-01 in the tenant's calendar
    "month_day": ColumnKind.U16,  # month x 32 + day
    "bool": ColumnKind.U8,  # 1 no, 2 yes
    "money": ColumnKind.I64,  # micro-units
    "tags": ColumnKind.PLANES,
    "text": ColumnKind.TEXT,
    "phone": ColumnKind.U64,
    "points": ColumnKind.I64,
}


@dataclass(frozen=True, slots=True)
class Field:
    number: int
    name: str
    kind: str
    column: ColumnKind
    values: tuple[str, ...] = ()
    closed: bool = False
    max_values: int = 255
    max_length: int = 160
    label: str = ""
    pii: bool = False

    @property
    def columns(self) -> list[Column]:
        """What open_block and put_delta call it: one column, or one a group of 8 tags (none before the first tag)."""
        parts = -(-len(self.values) // 8) if self.kind == "tags" else 1
        return [(self.number, part, self.column) for part in range(parts)]

    @property
    def editable(self) -> bool:
        return self.number >= FIELD_FIRST

    def code_of(self, value: str) -> int | None:
        """The code of a dictionary's value, from 1, or of a tag, from 0; None for one it does not have."""
        try:
            return self.values.index(value) + (self.kind == "dict")
        except ValueError:
            return None

    def value_of(self, code: int) -> str | None:
        """The word behind a code; None for unknown."""
        index = code - (self.kind == "dict")
        return self.values[index] if 0 <= index < len(self.values) else None


SYSTEM_FIELDS = {
    "phone": Field(FIELD_MSISDN, "phone", "phone", ColumnKind.U64, label="Phone", pii=True),
    "points": Field(FIELD_POINTS, "points", "points", ColumnKind.I64, label="Points"),
}


def fields_of(view: View, tenant: int) -> dict[str, Field]:
    """Every field by name, the system's first, then in the order they were defined."""
    own = (_field(TENANT_U16.unpack(key)[1], row) for key, row in view.range("fields", TENANT.pack(tenant)))
    return {**SYSTEM_FIELDS, **{field.name: field for field in own}}


def did_you_mean(name: str, known: Iterable[str]) -> list[str]:
    """Names near a wrong one, nearest first."""
    return difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)


def unknown_field(name: str, known: Iterable[str], pointer: str = "") -> CommandRefused:
    near = did_you_mean(name, known)
    detail = f"there is no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    errors = [{"pointer": pointer or f"/{name}", "code": "unknown_field", "detail": detail}]
    return CommandRefused(422, "unknown_field", detail, errors=errors, extra={"field": name, "did_you_mean": near})


def define_field(view: View, command: DefineField, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A new field, or more values for one that exists with the same kind. Safe to repeat."""
    need_tenant(view, envelope.tenant)
    fields = fields_of(view, envelope.tenant)
    known = fields.get(command.title)
    if errors := list(_errors(command)):
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    if known is None:
        if len(fields) - len(SYSTEM_FIELDS) >= FIELDS_MAX:
            raise CommandRefused(409, "state_conflict", f"there are {FIELDS_MAX} fields, the most a tenant has")
        number = max([FIELD_FIRST - 1, *(field.number for field in fields.values())]) + 1
        field = _from_command(number, command)
    else:
        wanted = _from_command(known.number, command)
        if not known.editable or (known.kind, known.column) != (wanted.kind, wanted.column):
            raise CommandRefused(
                409, "state_conflict", f"field {known.name!r} exists and is {known.kind} ({known.column.name})"
            )
        more = tuple(value for value in wanted.values if value not in known.values)
        field = _replace(known, values=known.values + more, label=wanted.label or known.label)
        if len(field.values) > field.max_values:
            raise CommandRefused(
                422, "invalid_value", f"field {known.name!r}: {len(field.values)} values, at most {field.max_values}"
            )
    changes = Changes()
    if field != known:
        put_field(changes, envelope.tenant, field)
    return changes, {"id": public_id("fld", field.number), **field_json(field)}


def put_field(changes: Changes, tenant: int, field: Field) -> None:
    row = {name: getattr(field, name) for name in Field.__slots__ if name != "number"}
    changes.put("fields", TENANT_U16.pack(tenant, field.number), pack({**row, "column": int(field.column)}))


def with_value(field: Field, value: str) -> Field | None:
    """The field with one more value; None when it is closed or full."""
    if field.closed or len(field.values) >= field.max_values or not word_fits(value):
        return None
    return _replace(field, values=(*field.values, value))


def word_fits(value: str) -> bool:
    """Whether a word may be a dictionary's value or a tag: printable, no blanks around it, not too long."""
    return 1 <= len(value) <= VALUE_MAX and value == value.strip() and value.isprintable()


def field_json(field: Field) -> dict[str, Any]:
    """As the API shows it."""
    shown: dict[str, Any] = {"name": field.name, "kind": field.kind, "label": field.label, "pii": field.pii}
    if field.kind in ("dict", "tags"):
        shown |= {"values": list(field.values), "closed": field.closed, "max_values": field.max_values}
    if field.kind == "text":
        shown["max_length"] = field.max_length
    if field.kind == "int":
        shown["bits"] = 32 if field.column == ColumnKind.I32 else 64
    return shown


def _replace(field: Field, **changed: Any) -> Field:
    return Field(**{name: changed.get(name, getattr(field, name)) for name in Field.__slots__})


def _field(number: int, row: bytes) -> Field:
    value = unpack(row)
    known = {name: value[name] for name in Field.__slots__ if name in value}
    return Field(number=number, **{**known, "column": ColumnKind(value["column"]), "values": tuple(value["values"])})


def _from_command(number: int, command: DefineField) -> Field:
    column = KINDS[command.kind]
    if command.kind == "dict" and command.max_values > 255:
        column = ColumnKind.U16
    elif command.kind == "int" and command.bits == 32:
        column = ColumnKind.I32
    most = min(command.max_values, TAGS_MAX) if command.kind == "tags" else command.max_values
    return Field(
        number=number,
        name=command.title,
        kind=command.kind,
        column=column,
        values=tuple(dict.fromkeys(command.values)) if command.kind in ("dict", "tags") else (),
        closed=command.closed,
        max_values=most,
        max_length=command.max_length,
        label=command.label,
        pii=command.pii,
    )


def _errors(command: DefineField) -> Any:
    def wrong(name: str, code: str, rule: str, value: Any = None) -> dict[str, str]:
        shown = getattr(command, name.partition("/")[0]) if value is None else value
        return {"pointer": f"/{name}", "code": code, "detail": f"{name} {shown!r}: {rule}"}

    kinds = [kind for kind in KINDS if kind not in SYSTEM_FIELDS]
    if not _NAME.fullmatch(command.title) or command.title != command.title.lower():
        yield wrong("title", "wrong_name", "a letter, then letters, digits and _, in lower case, at most 40")
    elif command.title in RESERVED:
        yield wrong("title", "reserved_name", "a word of the segment language")
    elif command.title in SYSTEM_FIELDS:
        yield wrong("title", "reserved_name", "every tenant has this field already")
    if command.kind not in kinds:
        yield wrong("kind", "unknown_kind", f"one of {', '.join(kinds)}")
    if command.bits not in (32, 64):
        yield wrong("bits", "wrong_value", "32 or 64")
    if not 1 <= command.max_length <= TEXT_MAX:
        yield wrong("max_length", "wrong_value", f"1 to {TEXT_MAX} characters")
    if not 1 <= command.max_values <= 0xFFFF:
        yield wrong("max_values", "wrong_value", "1 to 65,535")
    if command.kind not in ("dict", "tags") and command.values:
        yield wrong("values", "wrong_value", "only a dict or tags field has values")
    most = min(command.max_values, TAGS_MAX) if command.kind == "tags" else command.max_values
    if len(set(command.values)) > most:
        yield wrong("values", "too_many_values", f"at most {most}", len(set(command.values)))
    if command.kind == "dict" and command.closed and not command.values:
        yield wrong("values", "missing", "a closed dictionary needs its values")
    for i, value in enumerate(command.values):
        if not word_fits(value):
            rule = f"1 to {VALUE_MAX} printable characters, no blanks around"
            yield wrong(f"values/{i}", "wrong_value", rule, value)
