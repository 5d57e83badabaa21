"""A dictionary that outgrew 255 values: its blocks of 8-bit codes become blocks of 16-bit codes, slice by slice.

Touches: rows of `blocks` and `fields`, and the meta rows `widening`, through a View. Rests on store/blocks.py: codes of
either width read the same, so a field is U16 from the commit of the command on, no reader waits and a kill between
slices is nothing. Until the last slice a scan copies what it finds narrow; that is all that widening hurries.

    meta: "widening" tenant:2 field:2 -> nothing, until its last block is wide (fields.put_field puts it)
          "widening" -> nothing, once every tenant's fields were looked at: until then they are, for an earlier version
                        wrote no such rows
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.members.fields import WIDENING, every_field, put_field
from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import blocks_of, next_member_no, stored_array, stored_kind, write_block
from dispatcher.store.columns import COMMIT_OCTETS, ColumnKind
from dispatcher.store.layout import TENANT_U16
from dispatcher.store.open_rows import open_rows
from dispatcher.tenants.tenant import tenant_numbers


def widening(view: View) -> list[int]:
    """Tenants with a field that is being widened; every tenant, before looked_at_all."""
    known = open_rows(view, WIDENING)
    if known is None:
        return tenant_numbers(view)
    return sorted({TENANT_U16.unpack(key)[0] for key, _ in known})


def looked_at_all(view: View) -> tuple[Changes, None]:
    """Each tenant that `widening` gave was widened."""
    changes = Changes()
    if open_rows(view, WIDENING) is None:
        changes.put("meta", WIDENING, b"")
    return changes, None


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
    if block == end:
        changes.delete("meta", WIDENING + TENANT_U16.pack(tenant, field.number))
    return changes
