"""Changes to a field that is in use: name, label, bounds, words. Its number and its members' values stay.

Touches: rows of `fields`; reads `imports`. What else names a field (segments, campaigns) is the matter of
campaigns/field_uses.py, which calls `edited` and `retired`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.control.commands import Envelope, RestoreField
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import (
    CODES_MAX_U8,
    FIELDS_MAX,
    SYSTEM_FIELDS,
    TEXT_MAX,
    VALUE_MAX,
    Field,
    check_room,
    every_field,
    fields_of,
    name_rule,
    put_field,
    rank_rule,
    shown,
    unknown_field,
    with_values,
    word_fits,
)
from dispatcher.members.importer import FINAL
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.store.columns import ColumnKind
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import need_tenant

ALIASES_MAX = 16  # former names that are still told
LABEL_MAX = 200
EDITABLE = (
    "title",
    "label",
    "pii",
    "closed",
    "max_values",
    "max_length",
    "sources",
    "source_rank",
    "add_values",
    "rename_values",
)


def edited(fields: Mapping[str, Field], field: Field, changes: Mapping[str, Any]) -> Field:
    """The field as it would be. Raises CommandRefused 422 with every part that is wrong, 409 for a taken name."""
    if errors := [_problem(name, *rule) for name, rule in _wrong(field, changes)]:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    wanted = dict(changes)
    title = wanted.pop("title", field.name)
    if title != field.name and title in fields:
        raise CommandRefused(409, "state_conflict", f"there is a field {title!r} already")
    renamed = wanted.pop("rename_values", {})
    values = [renamed.get(value, value) for value in field.values]
    more = wanted.pop("add_values", [])
    merged = tuple((renamed.get(a, a), renamed.get(b, b)) for a, b in field.merged)
    made = replace(
        field, values=tuple(values), merged=merged, **{name: _stored(value) for name, value in wanted.items()}
    )
    if title != field.name:
        former = [field.name, *(name for name in field.aliases if name not in (field.name, title))]
        made = replace(made, name=title, aliases=tuple(former[:ALIASES_MAX]))
    if "source_rank" in wanted and "sources" not in wanted:
        made = replace(made, sources=field.sources or bool(made.source_rank))
    made = with_values(made, [value for value in dict.fromkeys(more) if value not in values])
    if made.kind == "dict" and made.column == ColumnKind.U8 and made.max_values > CODES_MAX_U8:
        made = replace(made, column=ColumnKind.U16, narrow_from=0)
    check_room(fields, made)
    return made


def restore_field(view: View, command: RestoreField, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A retired field back in use with all its values. Of several under one name the newest, unless told by id."""
    need_tenant(view, envelope.tenant)
    fields = fields_of(view, envelope.tenant)
    number = parse_public_id("fld", command.title)
    own = every_field(view, envelope.tenant)
    found = [f for f in own if f.retired and (f.number == number or f.name == command.title)]
    if not found:
        if command.title in fields or any(f.number == number for f in own):
            raise CommandRefused(409, "state_conflict", f"field {command.title!r} is not retired")
        missing = unknown_field(command.title, [f.name for f in own if f.retired])
        raise CommandRefused(404, "not_found", f"no retired {missing.detail[12:]}", extra=missing.extra)
    field = found[-1]
    title = command.new_title or field.name
    if rule := name_rule(title):
        error = _problem("new_title" if command.new_title else "title", rule[0], f"name {title!r}: {rule[1]}")
        raise CommandRefused(422, "invalid_value", error["detail"], errors=[error])
    if title in fields:
        raise CommandRefused(409, "state_conflict", f"there is a field {title!r} by now: restore it under another name")
    if len(fields) - len(SYSTEM_FIELDS) >= FIELDS_MAX:
        raise CommandRefused(409, "state_conflict", f"there are {FIELDS_MAX} fields, the most a tenant has")
    restored = replace(field, name=title, retired=False)
    check_room(fields, restored)
    changes = Changes()
    put_field(changes, envelope.tenant, restored)
    return changes, shown(restored)


def retired_fields(view: View, tenant: int) -> list[Field]:
    return [field for field in every_field(view, tenant) if field.retired]


def imports_under_way(view: View, tenant: int, name: str | None = None) -> list[str]:
    """Public ids of imports that are not over: of those that fill the field `name`, or may yet."""
    found = []
    for key, value in view.range("imports", TENANT.pack(tenant)):
        row = unpack(value)
        if row["state"] in FINAL:
            continue
        told = row.get("columns")
        named = None if told is None else {column["field"] for column in told}
        if row.get("kind") == "bulk":
            named = set(row.get("changes") or ())
        if name is None or named is None or name in named:
            found.append(public_id("imp", TENANT_U64.unpack(key)[1]))
    return found


def _stored(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _problem(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "code": code, "detail": detail}


def _wrong(field: Field, changes: Mapping[str, Any]) -> Any:
    """(part, (code, sentence)) of each part that cannot be; a sentence names the part, its value and the rule."""

    def says(name: str, rule: str, code: str = "wrong_value") -> tuple[str, tuple[str, str]]:
        return name, (code, f"{name} {str(changes.get(name))[:60]!r} of field {field.name!r}: {rule}")

    for name in changes:
        if name not in EDITABLE:
            yield says(name, f"one of {', '.join(EDITABLE)}", "unknown")
    title = changes.get("title", field.name)
    if not isinstance(title, str):
        yield says("title", "a name")
    elif title != field.name and (rule := name_rule(title)):
        yield says("title", rule[1], rule[0])
    label = changes.get("label", "")
    if not isinstance(label, str) or len(label) > LABEL_MAX or not (label.isprintable() or not label):
        yield says("label", f"at most {LABEL_MAX} printable characters")
    for name in ("pii", "closed", "sources"):
        if not isinstance(changes.get(name, False), bool):
            yield says(name, "true or false")
    if (rank := rank_rule(changes.get("source_rank", ()))) is not None:
        yield says("source_rank", rank)
    elif changes.get("source_rank") and changes.get("sources") is False:
        yield says("sources", "ranked sources are kept sources")
    yield from _wrong_bounds(field, changes, says)
    yield from _wrong_words(field, changes, says)


def _wrong_bounds(field: Field, changes: Mapping[str, Any], says: Any) -> Any:
    if "max_length" in changes:
        most = changes["max_length"]
        if field.kind != "text":
            yield says("max_length", "only a text field has it")
        elif not _is_whole(most) or not field.max_length <= most <= TEXT_MAX:
            yield says("max_length", f"{field.max_length} (it never shrinks) to {TEXT_MAX} characters")
    if "max_values" in changes:
        most = changes["max_values"]
        greatest = 0xFFFF if field.kind == "dict" else 256
        if field.kind not in ("dict", "tags"):
            yield says("max_values", "only a dict or tags field has it")
        elif not _is_whole(most) or not max(1, len(field.values)) <= most <= greatest:
            yield says("max_values", f"{max(1, len(field.values))} (values it has) to {greatest:,}")


def _wrong_words(field: Field, changes: Mapping[str, Any], says: Any) -> Any:
    for name in ("closed", "add_values", "rename_values"):
        if changes.get(name) and field.kind not in ("dict", "tags"):
            yield says(name, "only a dict or tags field has values")
            return
    more, renamed = changes.get("add_values", []), changes.get("rename_values", {})
    rule = f"1 to {VALUE_MAX} printable characters, no blanks around"
    if not isinstance(more, list) or not all(isinstance(word, str) and word_fits(word) for word in more):
        yield says("add_values", f"a list of words, each {rule}")
        more = []
    if not isinstance(renamed, dict) or not all(isinstance(v, str) and word_fits(v) for v in renamed.values()):
        yield says("rename_values", f"{{old: new}}, each new word {rule}")
        return
    for old in renamed:
        if old not in field.values:
            yield "rename_values", ("not_in_dictionary", f"field {field.name!r} has no value {str(old)[:60]!r}")
    left = [renamed.get(value, value) for value in field.values]
    if twice := [value for value in left if left.count(value) > 1] if renamed else []:
        yield says("rename_values", f"{twice[0]!r} would stand for two values; values are not merged")
    if changes.get("closed") and field.kind == "dict" and not (field.values or more):
        yield says("closed", "a closed dictionary needs its values")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
