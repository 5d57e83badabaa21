"""Where a member's value came from, and when: kept for fields that ask for it, and who may overwrite whom.

Touches: rows of `provenance`, a row a member and field. A source is a word such as api, cli, survey or till_2; what
follows a colon ("import:imp_...") says which one and does not count for its rank. Of a field with `source_rank` a
source that stands behind the one that gave the value does not overwrite it; those that are not named stand last.
An import or a merge that changes nothing about a value leaves its source as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.members.fields import Field, every_field
from dispatcher.records.changes import Changes, View
from dispatcher.store.values import pack, unpack

PROVENANCE_KEY = struct.Struct(">HIH")  # tenant, member_no, field
_MEMBER = struct.Struct(">HI")


def note(
    changes: Changes, view: View, tenant: int, member_no: int, fields: Iterable[Field], source: str, at_ms: int
) -> None:
    """`source` gave these fields of a member their values; those that keep no sources are passed over."""
    value = pack({"source": source, "at_ms": at_ms})
    for field in fields:
        if field.sources:
            changes.put("provenance", PROVENANCE_KEY.pack(tenant, member_no, field.number), value)


def note_many(changes: Changes, tenant: int, given: Mapping[int, Sequence[int]], source: str, at_ms: int) -> None:
    """As note, for a slice of an import: field number -> member numbers. The caller picks fields with `sources`."""
    value = pack({"source": source, "at_ms": at_ms})
    for number, members in given.items():
        for member_no in members:
            changes.put("provenance", PROVENANCE_KEY.pack(tenant, member_no, number), value)


def allowed(view: View, tenant: int, member_no: int, field: Field, source: str) -> bool:
    """Whether `source` may give the field a value: it ranks no worse than who gave the one that is there."""
    if not field.source_rank:
        return True
    row = view.get("provenance", PROVENANCE_KEY.pack(tenant, member_no, field.number))
    return row is None or rank(field, source) <= rank(field, unpack(row)["source"])


def rank(field: Field, source: str) -> int:
    """0 is best; a source that the field does not name is behind all that it names."""
    word = source.partition(":")[0]
    return field.source_rank.index(word) if word in field.source_rank else len(field.source_rank)


def of(view: View, tenant: int, member_no: int) -> dict[str, dict[str, Any]]:
    """{field: {source, at}} of a member, fields in use only."""
    names = {field.number: field.name for field in every_field(view, tenant) if not field.retired}
    found: dict[str, dict[str, Any]] = {}
    for key, row in view.range("provenance", _MEMBER.pack(tenant, member_no)):
        name, value = names.get(PROVENANCE_KEY.unpack(key)[2]), unpack(row)
        if name is not None:
            found[name] = {"source": value["source"], "at": rfc3339(value["at_ms"])}
    return found


def forget(view: View, changes: Changes, tenant: int, member_no: int) -> None:
    """For who is erased, and who is merged into another."""
    for key, _ in view.range("provenance", _MEMBER.pack(tenant, member_no)):
        changes.delete("provenance", key)
