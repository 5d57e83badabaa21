"""A slice's rows about members who are there already -> delta rows, or a rewritten block where many fall into one.

Touches: rows of blocks and delta, and of provenance where a field asks for it, through a View. Only what differs from
what a member holds is written, counted, and recorded for an undo; rows of one slice about one member become one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from dispatcher.members.import_provenance import Provenance
from dispatcher.members.import_run import Run, RunColumn
from dispatcher.members.import_undo import Recorder
from dispatcher.records.changes import Changes, View
from dispatcher.store import gather
from dispatcher.store.blocks import WIDTH, ColumnKind
from dispatcher.store.columns import fold_block, put_delta
from dispatcher.store.compare import Compared, Held, compare_rows, merged_row
from dispatcher.store.delta import unpack_delta
from dispatcher.store.layout import BLOCK, DELTA_KEY

FOLD_FROM = BLOCK // 4  # this many updates in one block: rewriting it is less than their delta rows
Fresh = dict[tuple[int, int], Held]  # (field, part) -> array of a block that the slice writes whole
Pairs: TypeAlias = "tuple[array[int], array[int], int]"  # rows of the run, the member_no each is about, and how many


class Updates:
    """The updates of one run. Members from `first_no` on are the import's own: what they get is not counted."""

    def __init__(
        self, tenant: int, run: Run, columns: list[RunColumn], *,
        first_no: int, adds_tags: bool, source: str, at_ms: int,
    ) -> None:  # fmt: skip
        self.tenant, self.run, self._first_no = tenant, run, first_no
        self._columns = [column for held in columns for column in held.field.columns]
        self._cells = [_cells(column, adds_tags) for column in columns]
        self._yes_no = [column.field.number for column in columns if column.field.kind == "bool"]
        tags = [column for column in columns if column.kind == ColumnKind.PLANES]
        self._always = 0 if adds_tags else sum(1 << column.bit for column in tags)
        sourced = [column for column in columns if column.field.sources]
        self._provenance = Provenance(tenant, run, sourced, source, at_ms) if sourced else None

    def count(self, view: View, pairs: Pairs, next_no: int) -> Iterator[Compared]:
        """What the rows would change of members who are there; nothing is written."""
        end = min(next_no, self._first_no)
        for block, updates in self._by_block(pairs).items():
            known = [(slot, row) for slot, row in updates if block * BLOCK + slot < end]
            if known:
                yield self._compare(view, block, known, None)

    def write(
        self, view: View, changes: Changes, pairs: Pairs, next_no: int, new: int, fresh: dict[int, Fresh],
        recorder: Recorder,
    ) -> Iterator[Compared]:  # fmt: skip
        """Write what differs; yields what changed of members who were there before the import."""
        for block, updates in self._by_block(pairs).items():
            fold = list[tuple[int, bytes]]()
            first = self._first_no - block * BLOCK  # slots from here on are the import's own
            for own in (False, True):
                if 0 < first < BLOCK:
                    rows = [(slot, row) for slot, row in updates if own == (slot >= first)]
                else:
                    rows = updates if own == (first <= 0) else []
                if not rows:
                    continue
                compared = self._compare(view, block, rows, fresh.get(block))
                recorder.add_changed(block, compared)
                fold += zip(compared.slots, compared.rows, strict=True)
                if self._provenance is not None:
                    self._provenance.note_changed(view, changes, recorder, block, compared)
                if not own:
                    yield compared
            if len(fold) >= FOLD_FROM and block not in fresh:
                fold_block(view, self.tenant, block, changes, fold, next_no=next_no + new)
            else:
                self._put(view, changes, block, fold)

    def note_new(self, view: View, changes: Changes, recorder: Recorder, rows: Sequence[int], first_no: int) -> None:
        if self._provenance is not None:
            self._provenance.note_new(view, changes, recorder, rows, first_no)

    def _put(self, view: View, changes: Changes, block: int, rows: list[tuple[int, bytes]]) -> None:
        for slot, row in rows:
            key = DELTA_KEY.pack(self.tenant, block, slot)
            if view.get("delta", key) is not None:
                put_delta(changes, view, self.tenant, block * BLOCK + slot, unpack_delta(row))
            else:
                changes.put("delta", key, row)

    def _compare(self, view: View, block: int, rows: list[tuple[int, bytes]], fresh: Fresh | None) -> Compared:
        if self._provenance is not None:
            rows = self._provenance.allowed(view, block, rows)
        return compare_rows(view, self.tenant, block, rows, self._columns, yes_no=self._yes_no, fresh=fresh)

    def _by_block(self, pairs: Pairs) -> dict[int, list[tuple[int, bytes]]]:
        """Block -> (slot, one delta row of all that the slice's rows say), in the order of slots."""
        at, member_nos, count = pairs
        rows, nos = gather.deltas(at, count, self.run.given, self._cells, self._always), member_nos[:count]
        said = dict(zip(nos, rows, strict=True))
        if len(said) < count:
            said.clear()
            for member_no, row in zip(nos, rows, strict=True):
                said[member_no] = merged_row(said[member_no], row) if member_no in said else row
        ascending, low = sorted(said), 0
        blocks: dict[int, list[tuple[int, bytes]]] = {}
        while low < len(ascending):
            block = ascending[low] // BLOCK
            first, high = block * BLOCK, bisect_left(ascending, (block + 1) * BLOCK, low)
            blocks[block] = [(member_no - first, said[member_no]) for member_no in ascending[low:high]]
            low = high
        return blocks


def _cells(column: RunColumn, adds_tags: bool) -> tuple[object, ...]:
    planes = column.kind == ColumnKind.PLANES
    parts, width = len(column.field.columns) if planes else 0, WIDTH.get(column.kind, 1)
    adds = planes and adds_tags
    return (
        column.bit, column.field.number, int(column.kind), width, parts, column.data, column.heap, column.codes, adds,
    )  # fmt: skip
