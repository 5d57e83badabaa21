"""A dictionary that outgrew 255 values: its blocks of 8-bit codes become blocks of 16-bit codes, slice by slice.

Touches: rows of `blocks` and `fields`, through a View. Rests on store/blocks.py: codes of either width read the
same, so a field is U16 from the commit of the command on, no reader waits and a kill between slices is nothing.
Until the last slice a scan copies what it finds narrow; that is all that widening hurries.
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.members.fields import every_field, put_field
from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import blocks_of, next_member_no, stored_array, stored_kind, write_block
from dispatcher.store.columns import COMMIT_OCTETS, ColumnKind


def widen_some(view: View, tenant: int, max_octets: int = COMMIT_OCTETS) -> Changes:
    """The next slice, at most about `max_octets` dirtied; empty when no field is being widened."""
    changes = Changes()
    field = next((f for f in every_field(view, tenant) if f.narrow_from is not None), None)
    if field is None or field.narrow_from is None:
        return changes
    end, block = blocks_of(next_member_no(view, tenant)), field.narrow_from
    while block < end and changes.octets < max_octets:
        if stored_kind(view, tenant, block, field.number, 0) == ColumnKind.U8:
            stored = stored_array(view, tenant, block, (field.number, 0, ColumnKind.U16))
            assert stored is not None
            write_block(changes, tenant, field.number, 0, block, ColumnKind.U16, *stored)
        block += 1
    put_field(changes, tenant, replace(field, narrow_from=block if block < end else None))
    return changes
