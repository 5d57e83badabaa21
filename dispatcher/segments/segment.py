"""Saved segments: a title and a rule, checked when saved, written canonically; every version of it is kept.

Touches: rows of `segments` and `segment_versions`; reads `campaigns`, and drops `segment_counts` with its segment.

    segments          tenant:2 segment:8 -> {name, description, expr, version, created_ms, changed_ms}
    segment_versions  tenant:2 segment:8 version:4 -> {name, expr, at_ms, actor}: who wrote that version, and when

A title is what other rules name, so a rename rewrites the segments that name it. A campaign's rule is its writer's,
so neither rename nor delete is done while an open campaign names the segment. A snapshot is one too (snapshot.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.control.commands import DeleteSegment, EditSegment, Envelope, SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState
from dispatcher.segments.names import rename_in, segments_in, with_segment_renamed
from dispatcher.segments.parse import parse
from dispatcher.segments.plan import compile_text
from dispatcher.segments.rule import quote
from dispatcher.store.ids import next_id
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

TITLE_MAX = 100
DESCRIPTION_MAX = 1_000
SEGMENTS_MAX = 1_000  # of a tenant: whoever names one has all their titles read
EDITABLE = ("title", "expr", "description")
CLOSED = (CampaignState.DONE, CampaignState.CANCELLED)
VERSION_KEY = struct.Struct(">HQI")

Row = dict[str, Any]


def save_segment(view: View, command: SaveSegment, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A new segment, or the next version of the one with this title. Raises CommandRefused as compile_text."""
    tenant = envelope.tenant
    need_tenant(view, tenant)
    title = _title(command.title)
    known = segment_called(view, tenant, title)
    changes = Changes()
    if known is None:
        _, row = new_segment(view, tenant, title, None, envelope.at_ms)
        key = TENANT_U64.pack(tenant, next_id(changes, view, envelope.at_ms))
    else:
        key, row = known
        _refuse_frozen(row)
    if command.description is not None:
        row["description"] = _description(command.description)
    return _write(view, changes, key, row, command.expr, envelope)


def edit_segment(view: View, command: EditSegment, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Change title, expr or description; `version` in the changes is the one their writer saw: 412 when it is past.

    Raises CommandRefused 404, 409 for a title that is taken or an open campaign that names the old one, 422.
    """
    wanted: Row = dict(command.changes)
    key, row = _need(view, envelope.tenant, command.segment)
    seen = wanted.pop("version", None)
    if seen is not None and seen != row["version"]:
        raise CommandRefused(412, "version_changed", f"the segment is at version {row['version']}, not {seen}")
    if unknown := [name for name in wanted if name not in EDITABLE]:
        raise _wrong(unknown[0], f"no such part of a segment: one of {', '.join(EDITABLE)}")
    for name, value in wanted.items():
        if not isinstance(value, str):
            raise _wrong(name, f"{name} {value!r}: a text")
    if "expr" in wanted:
        _refuse_frozen(row)
    changes = Changes()
    old: str = row["name"]
    if "description" in wanted:
        row["description"] = _description(wanted["description"])
    title = _title(str(wanted.get("title", old)))
    if title != old:
        if any(other["name"] == title for _, other in rows_of(view, envelope.tenant)):
            raise CommandRefused(409, "state_conflict", f"there is a segment called {quote(title)} already")
        _refuse_used(view, envelope.tenant, key, old, "renamed", by_segments=False)
        row["name"] = title
    if row.get("frozen"):  # its rule is its title
        row |= {"expr": f"in segment {quote(title)}", "changed_ms": envelope.at_ms}
        changes.put("segments", key, pack(row))
        changed, reply = changes, {**shown_segment(key, row), "warnings": []}
    else:
        expr = str(wanted.get("expr", row["expr"]))
        changed, reply = _write(view, changes, key, row, expr, envelope, also=(old,))
    if title != old:
        for other_key, other in _naming(view, envelope.tenant, key, old):
            text = str(with_segment_renamed(parse(other["expr"]), old, title))
            _put(view, changed, other_key, other, text, envelope.at_ms, envelope.actor)
    return changed, reply


def delete_segment(view: View, command: DeleteSegment, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Remove a segment, its versions and its daily counts. Raises CommandRefused 404, 409 while it is named."""
    key, row = _need(view, envelope.tenant, command.segment)
    _refuse_used(view, envelope.tenant, key, row["name"], "deleted", by_segments=True)
    changes = Changes()
    changes.delete("segments", key)
    for table, prefix in (("segment_versions", key), ("segment_counts", key), ("bitmaps", key[TENANT.size :])):
        for each, _ in view.range(table, prefix) if table != "bitmaps" or row.get("frozen") else ():
            changes.delete(table, each)
    return changes, {"id": public_id("seg", command.segment), "deleted": True}


def rename_field(
    view: View, changes: Changes, tenant: int, old: str, new: str, *, at_ms: int = 0, actor: str = ""
) -> list[str]:
    """Rewrite every segment that names a field; titles of those. Raises CommandRefused 409 when one cannot follow."""
    fields, titles = fields_of(view, tenant), []
    for key, row in rows_of(view, tenant):
        if old not in row["expr"] and old not in ("region", "birthday"):
            continue
        try:
            text = rename_in(row["expr"], old, new, fields)
        except CommandRefused as exc:
            if exc.status != 409:
                continue  # a text that no longer parses names nothing
            raise CommandRefused(409, exc.code, f"in segment {quote(row['name'])}: {exc.detail}") from exc
        if text is not None:
            _put(view, changes, key, row, text, at_ms or row["changed_ms"], actor)
            titles.append(row["name"])
    return titles


def new_segment(view: View, tenant: int, title: str, description: str | None, at_ms: int) -> tuple[str, Row]:
    """(title, a row without a rule) of one to be made. Raises CommandRefused 422, 409 where there are too many."""
    if sum(1 for _ in rows_of(view, tenant)) >= SEGMENTS_MAX:
        raise CommandRefused(409, "state_conflict", f"there are {SEGMENTS_MAX} segments, the most a tenant has")
    row: Row = {"name": _title(title), "version": 0, "created_ms": at_ms, "expr": ""}
    return row["name"], row if description is None else {**row, "description": _description(description)}


def segment_called(view: View, tenant: int, title: str) -> tuple[bytes, Row] | None:
    """The saved segment with this title: its key and row."""
    return next(((key, row) for key, row in rows_of(view, tenant) if row["name"] == title), None)


def list_segments(view: View, tenant: int) -> list[dict[str, Any]]:
    """{id, title, description, expr, version, created_ms, changed_ms} of each, oldest first."""
    return [shown_segment(key, row) for key, row in rows_of(view, tenant)]


def get_segment(view: View, tenant: int, title_or_id: str, version: int | None = None) -> dict[str, Any] | None:
    """The one with this title or public id, as list_segments shows it; with `version` as that version was."""
    for key, row in rows_of(view, tenant):
        shown = shown_segment(key, row)
        if title_or_id not in (shown["title"], shown["id"]):
            continue
        if version is None or version == row["version"]:
            return shown
        earlier = view.get("segment_versions", VERSION_KEY.pack(*TENANT_U64.unpack(key), version))
        if earlier is None:
            return None
        was = unpack(earlier)
        return {**shown, "title": was["name"], "expr": was["expr"], "version": version, "changed_ms": was["at_ms"]}
    return None


def segment_versions(view: View, tenant: int, segment: int) -> list[dict[str, Any]]:
    """{version, title, expr, at_ms, actor} of each text it had, oldest first. Raises CommandRefused 404."""
    key, row = _need(view, tenant, segment)
    kept = [(VERSION_KEY.unpack(each)[2], unpack(was)) for each, was in view.range("segment_versions", key)]
    if not kept or kept[-1][0] != row["version"]:  # saved by a store of schema 1, which kept no versions
        kept.append((row["version"], _version(row, row["changed_ms"], "")))
    return [
        {"version": number, "title": was["name"], "expr": was["expr"], "at_ms": was["at_ms"], "actor": was["actor"]}
        for number, was in kept
    ]


def _write(
    view: View, changes: Changes, key: bytes, row: Row, expr: str, envelope: Envelope, also: tuple[str, ...] = ()
) -> tuple[Changes, dict[str, Any]]:
    """Check the rule and put the row, a version later when the text is another."""
    within = tuple(dict.fromkeys((row["name"], *also)))
    compiled = compile_text(view, envelope.tenant, expr, as_of_ms=envelope.at_ms, within=within)
    _put(view, changes, key, row, compiled.text, envelope.at_ms, envelope.actor)
    return changes, {**shown_segment(key, row), "warnings": list(compiled.warnings)}


def _put(view: View, changes: Changes, key: bytes, row: Row, text: str, at_ms: int, actor: str) -> None:
    if text != row["expr"]:
        numbers = TENANT_U64.unpack(key)
        before = VERSION_KEY.pack(*numbers, row["version"])
        if row["version"] and view.get("segment_versions", before) is None:
            changes.put("segment_versions", before, pack(_version(row, row["changed_ms"], "")))
        row |= {"expr": text, "version": row["version"] + 1}
        changes.put("segment_versions", VERSION_KEY.pack(*numbers, row["version"]), pack(_version(row, at_ms, actor)))
    row["changed_ms"] = at_ms
    changes.put("segments", key, pack(row))


def _version(row: Row, at_ms: int, actor: str) -> Row:
    return {"name": row["name"], "expr": row["expr"], "at_ms": at_ms, "actor": actor}


def _refuse_used(view: View, tenant: int, key: bytes, title: str, what: str, *, by_segments: bool) -> None:
    """Raises CommandRefused 409 with the list of those who name the segment."""
    segments = [row["name"] for _, row in _naming(view, tenant, key, title)] if by_segments else []
    campaigns = []
    for each, octets in view.range("campaigns", TENANT.pack(tenant)):
        row = unpack(octets)
        if row["state"] not in CLOSED and _names(row.get("canonical") or row["expr"], title):
            campaigns.append({"id": public_id("cmp", TENANT_U64.unpack(each)[1]), "title": row["title"]})
    if segments or campaigns:
        named = [f"segment {quote(name)}" for name in segments]
        named += [f"campaign {quote(campaign['title'])}" for campaign in campaigns]
        detail = f"segment {quote(title)} cannot be {what} while {', '.join(named)[:200]} names it"
        raise CommandRefused(409, "state_conflict", detail, extra={"segments": segments, "campaigns": campaigns})


def _naming(view: View, tenant: int, key: bytes, title: str) -> list[tuple[bytes, Row]]:
    """The other segments whose rule names this title."""
    return [(each, row) for each, row in rows_of(view, tenant) if each != key and _names(row["expr"], title)]


def _names(text: str, title: str) -> bool:
    if title not in text and quote(title) not in text:
        return False
    try:
        return title in segments_in(parse(text))
    except CommandRefused:
        return False


def rows_of(view: View, tenant: int) -> Iterator[tuple[bytes, Row]]:
    return ((key, unpack(row)) for key, row in view.range("segments", TENANT.pack(tenant)))


def _need(view: View, tenant: int, segment: int) -> tuple[bytes, Row]:
    need_tenant(view, tenant)
    key = TENANT_U64.pack(tenant, segment)
    row = view.get("segments", key)
    if row is None:
        raise CommandRefused(404, "not_found", f"segment {public_id('seg', segment)} does not exist")
    return key, unpack(row)


def _refuse_frozen(row: Row) -> None:
    if row.get("frozen"):
        detail = f"{quote(row['name'])} is a snapshot: its members stay who they were, so it takes no other rule"
        raise CommandRefused(409, "state_conflict", detail)


def _title(said: str) -> str:
    title = said.strip()
    if not 1 <= len(title) <= TITLE_MAX or not title.isprintable():
        raise _wrong("title", f"title {said[:TITLE_MAX]!r}: 1 to {TITLE_MAX} printable characters")
    return title


def _description(said: str) -> str:
    if len(said) > DESCRIPTION_MAX or "\0" in said:
        raise _wrong("description", f"description: at most {DESCRIPTION_MAX} characters")
    return said


def _wrong(name: str, detail: str) -> CommandRefused:
    errors = [{"pointer": f"/{name}", "code": "wrong_value", "detail": detail}]
    return CommandRefused(422, "invalid_value", detail, errors=errors)


def shown_segment(key: bytes, row: Row) -> dict[str, Any]:
    """As list_segments shows it; of a snapshot with `frozen` {as_of, as_of_ms, count, rule, of}."""
    shown = {"id": public_id("seg", TENANT_U64.unpack(key)[1]), "title": row["name"]}
    kept = {name: row[name] for name in ("expr", "version", "created_ms", "changed_ms")}
    told = {**shown, "description": row.get("description", ""), **kept}
    if frozen := row.get("frozen"):
        told["frozen"] = {**frozen, "as_of": rfc3339(frozen["as_of_ms"])}
    return told
