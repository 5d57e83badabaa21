"""Tags put on a member or taken off, the others left alone: which bits that is.

Touches: nothing; a field that grows is the caller's to write.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.errors import CommandRefused
from dispatcher.members.attributes import Wrong, encode
from dispatcher.members.fields import Field, unknown_field
from dispatcher.store.columns import Column

TAGS_A_TIME = 256  # as many as a tenant can have


def tags_field(fields: dict[str, Field], name: str) -> Field:
    """The tags field called `name`; "": the only one there is. Raises CommandRefused 422."""
    if name:
        field = fields.get(name)
        if field is None:
            raise unknown_field(name, fields, "/field")
        if field.kind != "tags":
            raise _refused("wrong_kind", f"field {name!r} is of kind {field.kind}, not tags")
        return field
    found = [field for field in fields.values() if field.kind == "tags"]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _refused("missing", "this tenant has no field of kind tags")
    raise _refused("missing", f"say which tags field: one of {', '.join(field.name for field in found)}")


def tag_entries(field: Field, add: Sequence[str], remove: Sequence[str]) -> tuple[Field, dict[Column, bytes]]:
    """(the field, grown by tags that are new to it; entries that set and clear just these tags).

    A tag to be removed that the field never had is nobody's: nothing is done for it. Raises CommandRefused 422.
    """
    if len(add) + len(remove) > TAGS_A_TIME:
        raise _refused("too_many", f"{len(add) + len(remove)} tags: at most {TAGS_A_TIME} at a time")
    if both := sorted(set(add) & set(remove)):
        raise _refused("invalid_value", f"tag {both[0]!r}: to be added and removed")
    grown = encode(field, list(dict.fromkeys(add)))
    if isinstance(grown, Wrong):
        raise _refused(grown.code, grown.detail)
    field = grown[0]
    bits: dict[int, list[int]] = {}  # part -> [mask, set]
    for tags, on in ((add, True), (remove, False)):
        for tag in tags:
            code = field.code_of(tag)
            if code is not None:
                part = bits.setdefault(code // 8, [0, 0])
                part[0] |= 1 << code % 8
                part[1] |= on << code % 8
    return field, {field.columns[part]: bytes(pair) for part, pair in sorted(bits.items())}


def _refused(code: str, detail: str) -> CommandRefused:
    error = {"pointer": "/tags", "code": code, "detail": detail}
    return CommandRefused(422, "invalid_value", detail, errors=[error])
