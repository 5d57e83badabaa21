"""How the members of a segment are spread over one field: as a field's own statistics, of the matched alone.

Touches: column blocks and deltas, read through one View.
Rests on: members/field_stats.py, which says what is told of each kind; matched = known + unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.members.field_stats import BINS, TOP, TOP_MAX, stats_inside
from dispatcher.members.fields import fields_of, unknown_field
from dispatcher.records.changes import View
from dispatcher.segments.answers.chosen import choose
from dispatcher.store.columns import BlockView, Column, next_member_no, open_block

BINS_MAX = 200


def histogram(
    view: View, tenant: int, text: str, name: str, as_of_ms: int, *, bins: int = BINS, top: int = TOP
) -> dict[str, Any]:
    """{field, kind, matched, known, unknown, text, as_of, warnings, ms} and what stats_inside() tells of the kind:

    histogram [{from, to, count}] with `to` outside of it, min and max; top [{value, count}], most first, at most `top`.
    Raises CommandRefused as compile_text, and 422 unknown_field.
    """
    for what, value, most in (("bins", bins, BINS_MAX), ("top", top, TOP_MAX)):
        if not 1 <= value <= most:
            detail = f"{what} {value}: 1 to {most:,}"
            errors = [{"pointer": f"/{what}", "code": "wrong_value", "detail": detail}]
            raise CommandRefused(422, "invalid_value", detail, errors=errors)
    fields = fields_of(view, tenant)
    field = fields.get(name)
    if field is None:
        raise unknown_field(name, fields, "/field")
    chosen = choose(view, tenant, text, as_of_ms)
    next_no = next_member_no(view, tenant)

    def each(*columns: Column) -> Iterator[tuple[int, BlockView, memoryview]]:
        for block, bitmap, _ in chosen.blocks:
            opened = open_block(view, tenant, block, columns, next_no=next_no)
            yield block, opened, memoryview(bitmap)[: opened.slots // 8]

    found = stats_inside(view, tenant, field, each, bins=bins, top=top)
    head = {"field": name, "kind": field.kind, "matched": chosen.matched}
    return {**head, **found, "unknown": chosen.matched - found["known"], **chosen.told()}
