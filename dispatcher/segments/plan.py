"""A segment's text to what runs: the tree, its tests, the kernel's program and the columns it reads.

Touches: the tenant's fields and named segments, through a View. `compile_text` is the one entry for others.
A text that was compiled before is taken as it was, while fields, saved segments and, where it asks for one, the day
are the same: counting while one types parses each text once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.clock import SystemClock
from dispatcher.fastmatch import Program
from dispatcher.members.fields import Field
from dispatcher.records.changes import View
from dispatcher.segments.column_tests import Every, Test
from dispatcher.segments.estimate import shares_of
from dispatcher.segments.program import LIVE, Columns, assemble
from dispatcher.segments.rule import Rule
from dispatcher.segments.typed import typing_of
from dispatcher.store.columns import BlockView, Column
from dispatcher.store.layout import TENANT
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import get_tenant

COMPILED_KEPT = 256  # texts a tenant


@dataclass(frozen=True, slots=True)
class Compiled:
    """A segment ready to run over any block of its tenant, until the tenant's fields change."""

    rule: Rule
    text: str  # canonical: equal segments have equal text
    test: Test  # without LIVE, top and limit
    program: Program  # with LIVE
    columns: tuple[Column | Hashable, ...]  # what the program reads, in its order; no tuple: a key of `given`
    limit: int | None
    fields: tuple[Field, ...]  # named in the text, or in a segment it names
    warnings: tuple[str, ...]
    top: tuple[int, Field] | None
    given: tuple[Hashable, ...]  # what engagement.py is asked for
    as_of_ms: int
    shares: dict[Test, float]  # estimated, of the conditions


def compile_text(
    view: View, tenant: int, text: str, *, as_of_ms: int | None = None, within: tuple[str, ...] = ()
) -> Compiled:
    """Parse, type and plan. Raises CommandRefused 422 segment_syntax or unknown_field, with the place.

    as_of_ms: the instant that relative dates mean; None is now. within: titles of saved segments that `text` must not
    come back to (the one being saved).
    """
    at_ms = SystemClock().epoch_ms() if as_of_ms is None else as_of_ms
    kept, key = _kept(view, tenant, text, at_ms, within)
    found = kept.get(key)
    if found is None:
        found = _compile(view, tenant, text, at_ms, within)
        if not found.given:
            if len(kept) >= COMPILED_KEPT:
                kept.pop(next(iter(kept), None), None)
            kept[key] = found
    return found if found.as_of_ms == at_ms else replace(found, as_of_ms=at_ms)


def _kept(
    view: View, tenant: int, text: str, at_ms: int, within: tuple[str, ...]
) -> tuple[dict[Hashable, Compiled], Hashable]:
    """Compiled texts of the tenant, and the key that says all that this one follows from."""
    if not isinstance(view, Snapshot) or view.kept is None:
        return {}, None
    prefix = TENANT.pack(tenant)
    rows = tuple(row for table in ("fields", "segments") for _, row in view.range(table, prefix))
    calendar: tuple[Any, ...] = ()
    if found := get_tenant(view, tenant):
        calendar = (found.zone, found.leap_rule, datetime.fromtimestamp(at_ms / 1000, ZoneInfo(found.zone)).toordinal())
    return view.kept.setdefault(("compiled", tenant), {}), (text, calendar, within, rows)


def _compile(view: View, tenant: int, text: str, as_of_ms: int, within: tuple[str, ...]) -> Compiled:
    typing = typing_of(view, tenant, as_of_ms, within)
    rule = typing.parse(text)
    test, top = typing.test(rule), typing.top(rule)
    columns = Columns()
    shares = shares_of(view, tenant, test)
    program = assemble(Every((LIVE, test)), columns, shares)
    given = tuple(column for column in columns.asked if not isinstance(column, tuple))
    used, warnings = tuple(typing.used.values()), tuple(dict.fromkeys(typing.warnings))
    return Compiled(
        rule, str(rule), test, program, columns.asked, rule.limit, used, warnings, top, given, as_of_ms, shares
    )


def saved(view: View, tenant: int) -> Iterable[tuple[bytes, dict[str, Any]]]:
    """Rows of the tenant's saved segments, oldest first."""
    return ((key, unpack(row)) for key, row in view.range("segments", TENANT.pack(tenant)))


def arrays_of(block: BlockView, columns: Iterable[Any]) -> list[Any]:
    """The list of buffers that match_block takes, in the order Columns numbered them."""
    arrays: list[Any] = []
    for column in columns:
        found = block.arrays[column[:2]]
        if isinstance(found, tuple):
            arrays += found
        else:
            arrays.append(found)
    return arrays
