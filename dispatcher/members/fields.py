"""A tenant's fields: which attributes its members have, of which kind, and the codes of their values.

Touches: rows of `fields`. A dictionary's codes are 1-based (0 is unknown) and its values never change
places; a tag's number is its index, 8 tags to a part. So a field may grow, never shrink or change kind.
A field is its number; its name may change (field_edits.py), and a retired one keeps its members' values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.control.commands import DefineField, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store.columns import Column, ColumnKind
from dispatcher.store.layout import FIELD_FIRST, FIELD_MSISDN, FIELD_POINTS, TENANT, TENANT_U16
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

FIELDS_MAX = 200  # of a tenant; an opened block names all of them at most (kernel bound 512 columns)
NUMBERS_MAX = 1_000  # with retired ones, whose values are kept
TAGS_MAX = 256  # of a tenant, over all its tags fields
CODES_MAX_U8 = 255
TEXT_MAX = 1_000
VALUE_MAX = 100  # characters of a dictionary value or a tag
_NAME = re.compile(r"[^\W\d]\w{0,39}")
_SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
SOURCES_MAX = 32
WIDENING = b"widening"  # meta rows, drawn in widen.py
# words that an expression could not tell from a field (PRODUCT E)
# fmt: off
RESERVED = frozenset({
    "and", "or", "not", "except", "between", "in", "is", "known", "unknown", "yes", "no", "has", "lacks", "tag",
    "any", "all", "of", "contains", "starts", "ends", "with", "everyone", "limit",
    "不", "不含", "且", "介于", "但不含", "全体", "全部会员", "到", "含", "和", "在", "属于", "带有", "并且",
    "并非", "或", "或者", "所有人", "所有会员", "排除", "无", "是", "最多", "有", "没有", "而且", "至", "限", "限制",
    "除去", "除外", "非",
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
    retired: bool = False
    sources: bool = False  # whether each value's source and time are kept (provenance.py)
    source_rank: tuple[str, ...] = ()  # best first; a worse one does not overwrite a better one's value
    aliases: tuple[str, ...] = ()  # what it was called before: only a hint for whoever still says so
    merged: tuple[tuple[str, str], ...] = ()  # dict: words that stand for another of its values (apps/merge_values.py)
    narrow_from: int | None = None  # blocks from here on may still have U8 codes (widen.py); None: none has
    room: int = TAGS_MAX  # tags: how many more the tenant may have; told by fields_of, not stored

    @property
    def columns(self) -> list[Column]:
        """What open_block and put_delta call it: one column, or one a group of 8 tags (none before the first tag)."""
        parts = -(-len(self.values) // 8) if self.kind == "tags" else 1
        return [(self.number, part, self.column) for part in range(parts)]

    @property
    def most(self) -> int:
        """How many values it may have as things are: its own greatest, and for tags what others leave of TAGS_MAX."""
        return min(self.max_values, len(self.values) + self.room) if self.kind == "tags" else self.max_values

    @property
    def editable(self) -> bool:
        return self.number >= FIELD_FIRST

    def code_of(self, value: str) -> int | None:
        """The code of a dictionary's value, from 1, or of a tag, from 0; None for one it does not have. A word that was
        merged into another has that one's."""
        value = dict(self.merged).get(value, value) if self.merged else value
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
    """Every field in use by name, the system's first, then in the order they were defined."""
    fields = {**SYSTEM_FIELDS, **{field.name: field for field in every_field(view, tenant) if not field.retired}}
    return with_room(fields)


def every_field(view: View, tenant: int) -> list[Field]:
    """The tenant's own, retired ones too: for whoever moves or erases all that is known of a member."""
    return [_field(TENANT_U16.unpack(key)[1], row) for key, row in view.range("fields", TENANT.pack(tenant))]


def with_room(fields: dict[str, Field]) -> dict[str, Field]:
    """The same with `room` as their tags leave it; again after one of them grew."""
    room = max(0, TAGS_MAX - sum(len(field.values) for field in fields.values() if field.kind == "tags"))
    return {name: replace(f, room=room) if f.kind == "tags" else f for name, f in fields.items()}


def need_field(view: View, tenant: int, name: str) -> Field:
    """The tenant's own field in use, by its name or public id. Raises CommandRefused 404; 409 for the system's."""
    found = field_by(fields_of(view, tenant), name)
    if not found.editable:
        raise CommandRefused(409, "not_editable", f"every tenant has the field {name!r}; it cannot be changed")
    return found


def field_by(fields: Mapping[str, Field], name: str) -> Field:
    """One of them by its name or public id. Raises CommandRefused 404, with the nearest."""
    number = parse_public_id("fld", name)
    found = fields.get(name) or next((f for f in fields.values() if f.number == number), None)
    if found is None:
        missing = unknown_field(name, fields)
        raise CommandRefused(404, "not_found", missing.detail, extra=missing.extra)
    return found


def did_you_mean(name: str, known: Mapping[str, Field] | Iterable[str]) -> str | None:
    """The nearest name to a wrong one: what a field is called now, else one spelt like it."""
    if isinstance(known, Mapping):
        for field in known.values():
            if name in field.aliases:
                return field.name
    return next(iter(difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)), None)


def unknown_field(name: str, known: Mapping[str, Field] | Iterable[str], pointer: str = "") -> CommandRefused:
    near = did_you_mean(name, known)
    detail = f"there is no field {name[:64]!r}" + (f"; did you mean {near!r}?" if near else "")
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
        numbers = [field.number for field in every_field(view, envelope.tenant)]
        if len(fields) - len(SYSTEM_FIELDS) >= FIELDS_MAX:
            raise CommandRefused(409, "state_conflict", f"there are {FIELDS_MAX} fields, the most a tenant has")
        if len(numbers) >= NUMBERS_MAX:
            raise CommandRefused(
                409, "state_conflict", f"there are {NUMBERS_MAX} fields with the retired ones, the most a tenant has"
            )
        field = _from_command(max([FIELD_FIRST - 1, *numbers]) + 1, command)
    else:
        wanted = _from_command(known.number, command)
        if not known.editable or known.kind != wanted.kind or not _same_column(known, wanted):
            raise CommandRefused(
                409, "state_conflict", f"field {known.name!r} exists and is {known.kind} ({known.column.name})"
            )
        field = replace(known, label=wanted.label or known.label)
        field = with_values(field, [value for value in wanted.values if value not in known.values])
    check_room(fields, field)
    changes = Changes()
    if field != known:
        put_field(changes, envelope.tenant, field)
    return changes, shown(field)


def with_values(field: Field, values: list[str]) -> Field:
    """The field with these values behind those it has. Raises CommandRefused 422 where there is no room for them."""
    if len(field.values) + len(values) > field.max_values:
        more = len(field.values) + len(values)
        raise CommandRefused(
            422, "invalid_value", f"field {field.name!r}: {more} values, at most {field.max_values} (max_values)"
        )
    return replace(field, values=(*field.values, *values))


def check_room(fields: Mapping[str, Field], field: Field) -> None:
    """Raises CommandRefused 422 when `field` as it would be gives the tenant more tags than it may have."""
    if field.kind != "tags":
        return
    others = sum(len(f.values) for f in fields.values() if f.kind == "tags" and f.number != field.number)
    if others + len(field.values) > TAGS_MAX:
        detail = f"field {field.name!r}: the tenant would have {others + len(field.values)} tags, at most {TAGS_MAX}"
        raise CommandRefused(422, "too_many_tags", detail)


def put_field(changes: Changes, tenant: int, field: Field) -> None:
    row = {name: getattr(field, name) for name in Field.__slots__ if name not in ("number", "room")}
    key = TENANT_U16.pack(tenant, field.number)
    changes.put("fields", key, pack({**row, "column": int(field.column)}))
    if field.narrow_from is not None:
        changes.put("meta", WIDENING + key, b"")


def with_value(field: Field, value: str) -> Field | None:
    """The field with one more value; None when it is closed or full."""
    if field.closed or len(field.values) >= field.most or not word_fits(value):
        return None
    return replace(field, values=(*field.values, value), room=field.room - 1)


def word_fits(value: str) -> bool:
    """Whether a word may be a dictionary's value or a tag: printable, no blanks around it, not too long."""
    return 1 <= len(value) <= VALUE_MAX and value == value.strip() and value.isprintable()


def field_json(field: Field) -> dict[str, Any]:
    """As the API shows it."""
    shown: dict[str, Any] = {"name": field.name, "kind": field.kind, "label": field.label, "pii": field.pii}
    if field.kind in ("dict", "tags"):
        shown |= {"values": list(field.values), "closed": field.closed, "max_values": field.max_values}
    if field.kind == "dict":
        shown |= {"bits": 8 if field.column == ColumnKind.U8 else 16, "merged": dict(field.merged)}
    if field.kind == "text":
        shown["max_length"] = field.max_length
    if field.kind == "int":
        shown["bits"] = 32 if field.column == ColumnKind.I32 else 64
    shown |= {"sources": field.sources, "source_rank": list(field.source_rank), "aliases": list(field.aliases)}
    return {**shown, "retired": field.retired}


def shown(field: Field) -> dict[str, Any]:
    """field_json with its public id: what commands and routes answer."""
    return {"id": public_id("fld", field.number), **field_json(field)}


def _field(number: int, row: bytes) -> Field:
    value = unpack(row)
    known = {name: value[name] for name in Field.__slots__ if name in value}
    known |= {name: tuple(known[name]) for name in ("values", "source_rank", "aliases") if name in known}
    known["merged"] = tuple((word, meaning) for word, meaning in known.get("merged", ()))
    return Field(number=number, **{**known, "column": ColumnKind(value["column"])})


def _same_column(known: Field, wanted: Field) -> bool:
    """Whether a definition may stand for a field that exists; a dictionary may have been widened since."""
    return wanted.max_values <= known.max_values if known.kind == "dict" else known.column == wanted.column


def _from_command(number: int, command: DefineField) -> Field:
    column = KINDS[command.kind]
    if command.kind == "dict" and command.max_values > CODES_MAX_U8:
        column = ColumnKind.U16
    elif command.kind == "int" and command.bits == 32:
        column = ColumnKind.I32
    return Field(
        number=number,
        name=command.title,
        kind=command.kind,
        column=column,
        values=tuple(dict.fromkeys(command.values)) if command.kind in ("dict", "tags") else (),
        closed=command.closed,
        max_values=_most(command),
        max_length=command.max_length,
        label=command.label,
        pii=command.pii,
        sources=command.sources or bool(command.source_rank),
        source_rank=tuple(command.source_rank),
    )


def _most(command: DefineField) -> int:
    """A dictionary's bound, or that of tags, for whom a dictionary's default of 255 means all that there may be."""
    if command.kind != "tags":
        return command.max_values
    return TAGS_MAX if command.max_values >= CODES_MAX_U8 else command.max_values


def _errors(command: DefineField) -> Any:
    def wrong(name: str, code: str, rule: str, value: Any = None) -> dict[str, str]:
        shown = getattr(command, name.partition("/")[0]) if value is None else value
        return {"pointer": f"/{name}", "code": code, "detail": f"{name} {shown!r}: {rule}"}

    kinds = [kind for kind in KINDS if kind not in SYSTEM_FIELDS]
    if why := name_rule(command.title):
        yield wrong("title", *why)
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
    most = _most(command)
    if len(set(command.values)) > most:
        yield wrong("values", "too_many_values", f"at most {most}", len(set(command.values)))
    if command.kind == "dict" and command.closed and not command.values:
        yield wrong("values", "missing", "a closed dictionary needs its values")
    for i, value in enumerate(command.values):
        if not word_fits(value):
            rule = f"1 to {VALUE_MAX} printable characters, no blanks around"
            yield wrong(f"values/{i}", "wrong_value", rule, value)
    if wanted := rank_rule(command.source_rank):
        yield wrong("source_rank", "wrong_value", wanted)


def name_rule(name: str) -> tuple[str, str] | None:
    """Why a field cannot be called so, as (code, rule); None when it can."""
    if not _NAME.fullmatch(name) or name != name.lower():
        return "wrong_name", "a letter, then letters, digits and _, in lower case, at most 40"
    if name in RESERVED:
        return "reserved_name", "a word of the segment language"
    if name in SYSTEM_FIELDS:
        return "reserved_name", "every tenant has this field already"
    return None


def rank_rule(words: Any) -> str | None:
    """Why these cannot be ranked sources; None when they can."""
    whole = isinstance(words, list | tuple) and all(isinstance(word, str) and _SOURCE.fullmatch(word) for word in words)
    if not whole or len(set(words)) != len(words) or len(words) > SOURCES_MAX:
        return f"at most {SOURCES_MAX} different words such as api or till_2, best first"
    return None
