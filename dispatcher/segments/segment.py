"""Saved segments: a title and a rule, checked when saved, written canonically, versioned.

Touches: rows of `segments`.
"""

from __future__ import annotations

from typing import Any

from dispatcher.control.commands import Envelope, SaveSegment
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.plan import compile_text, saved
from dispatcher.store.ids import next_id
from dispatcher.store.layout import TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import need_tenant

TITLE_MAX = 100
SEGMENTS_MAX = 1_000  # of a tenant: each compilation reads their titles


def save_segment(view: View, command: SaveSegment, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A new segment, or the next version of the one with this title. Raises CommandRefused as compile_text."""
    tenant, title = envelope.tenant, command.title.strip()
    need_tenant(view, tenant)
    if not 1 <= len(title) <= TITLE_MAX or not title.isprintable():
        detail = f"title {command.title[:TITLE_MAX]!r}: 1 to {TITLE_MAX} printable characters"
        errors = [{"pointer": "/title", "code": "wrong_value", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)
    compiled = compile_text(view, tenant, command.expr, within=(title,))
    changes, known = Changes(), {row["name"]: (key, row) for key, row in saved(view, tenant)}
    if title in known:
        key, row = known[title]
        row["version"] += row["expr"] != compiled.text
    elif len(known) < SEGMENTS_MAX:
        key = TENANT_U64.pack(tenant, next_id(changes, view, envelope.at_ms))
        row = {"name": title, "version": 1, "created_ms": envelope.at_ms}
    else:
        raise CommandRefused(409, "state_conflict", f"there are {SEGMENTS_MAX} segments, the most a tenant has")
    row |= {"expr": compiled.text, "changed_ms": envelope.at_ms}
    changes.put("segments", key, pack(row))
    return changes, {**_shown(key, row), "warnings": list(compiled.warnings)}


def list_segments(view: View, tenant: int) -> list[dict[str, Any]]:
    """{id, title, expr, version, created_ms, changed_ms} of each, oldest first."""
    return [_shown(key, row) for key, row in saved(view, tenant)]


def get_segment(view: View, tenant: int, title_or_id: str) -> dict[str, Any] | None:
    """The one with this title or public id, as list_segments shows it."""
    return next((found for found in list_segments(view, tenant) if title_or_id in (found["title"], found["id"])), None)


def _shown(key: bytes, row: dict[str, Any]) -> dict[str, Any]:
    shown = {"id": public_id("seg", TENANT_U64.unpack(key)[1]), "title": row["name"]}
    return {**shown, **{name: row[name] for name in ("expr", "version", "created_ms", "changed_ms")}}
