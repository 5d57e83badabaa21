"""Where imported values come from, for the fields that ask for it (`sources`): tested, noted, recorded for an undo.

Touches: rows of `provenance`, through members/provenance.py. A look-up a value, so only runs with such fields pay.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.members import provenance
from dispatcher.members.fields import Field
from dispatcher.members.import_run import Run, RunColumn
from dispatcher.members.import_undo import Recorder
from dispatcher.records.changes import Changes, View
from dispatcher.store.compare import Compared
from dispatcher.store.delta import pack_delta, unpack_delta
from dispatcher.store.layout import BLOCK


class Provenance:
    """The fields of one run that keep their source."""

    def __init__(self, tenant: int, run: Run, columns: list[RunColumn], source: str, at_ms: int) -> None:
        self._tenant, self._run, self._source, self._at_ms = tenant, run, source, at_ms
        self._bits = [(1 << column.bit, column.field) for column in columns]
        self._fields = {column.field.number: column.field for column in columns}

    def allowed(self, view: View, block: int, rows: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The rows without values that a better source has given already."""
        ranked = {number: field for number, field in self._fields.items() if field.source_rank}
        if not ranked:
            return rows
        kept = []
        for slot, row in rows:
            entries, member_no = unpack_delta(row), block * BLOCK + slot
            refused = {
                number
                for number in {column[0] for column in entries} & ranked.keys()
                if not provenance.allowed(view, self._tenant, member_no, ranked[number], self._source)
            }
            if refused:
                row = pack_delta({column: value for column, value in entries.items() if column[0] not in refused})
            kept.append((slot, row))
        return kept

    def note_changed(self, view: View, changes: Changes, recorder: Recorder, block: int, compared: Compared) -> None:
        for slot, row in zip(compared.slots, compared.rows, strict=True):
            numbers = {column[0] for column in unpack_delta(row)} & self._fields.keys()
            self._note(view, changes, recorder, block * BLOCK + slot, [self._fields[number] for number in numbers])

    def note_new(self, view: View, changes: Changes, recorder: Recorder, rows: Sequence[int], first_no: int) -> None:
        given = self._run.given
        for member_no, row in enumerate(rows, first_no):
            self._note(view, changes, recorder, member_no, [f for bit, f in self._bits if given[row] & bit])

    def _note(self, view: View, changes: Changes, recorder: Recorder, member_no: int, fields: list[Field]) -> None:
        for field in fields:
            key = provenance.PROVENANCE_KEY.pack(self._tenant, member_no, field.number)
            recorder.add_other(member_no, "provenance", key, view.get("provenance", key))
        if fields:
            provenance.note(changes, view, self._tenant, member_no, fields, self._source, self._at_ms)
