"""store/leaf_walk.h against the cursor: the same rows of any table, whatever its depth, neighbours and long values."""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.store import Store, _aside, _scan, open_store
from dispatcher.store.blocks import ColumnKind, block_value
from dispatcher.store.delta import pack_delta
from dispatcher.store.layout import BLOCK, BLOCK_KEY, DELTA_KEY, TENANT
from tests.reference.columns import laid as reference_laid

NOTE = (20, 0, ColumnKind.TEXT)
PAGE = 4_096
COPY_ALL = 1 << 62


def rows_of(store: Store, tenant: int, *, walked: bool) -> list[tuple[int, bytes]]:
    """(member_no, note) of a tenant's delta rows, in the order the kernel found them."""
    with store.snapshot() as view:
        prefix = TENANT.pack(tenant)
        table = view.record("delta") if walked else list(view.range("delta", prefix))
        made = _aside.changed_rows(table, prefix, PAGE if walked else 0, None)
        assert made is not None, "a page that the walk does not know"
        rows, numbers, _ = made
        records, _, memory = _aside.gathered(bytearray(), ColumnKind.TEXT, NOTE[0] << 8, False, rows, None, None)
        head, found = 4 * (BLOCK + 1), []
        for n in range(rows.count):
            block, slot = divmod(n, BLOCK)
            base = sum(int.from_bytes(records[48 * k + 8 : 48 * k + 16], "little") for k in range(block))
            start, end = struct.unpack_from("<II", memory, base + 4 * slot)
            found.append((struct.unpack_from("<I", numbers, 4 * n)[0], memory[base + head + start : base + head + end]))
        return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32), count=st.sampled_from([0, 1, 5, 120, 300, 9_000]), long=st.booleans())
def test_a_walk_finds_the_rows_that_a_cursor_finds(seed: int, count: int, long: bool):
    draw = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder), write=True, create=True, sync=False) as store,
    ):
        for _ in range(2):  # the second time pages that were freed come back
            changes = Changes()
            for _ in range(count):
                note = draw.randbytes(draw.choice((2, 40, 5_000 if long and count < 1_000 else 3)))
                key = DELTA_KEY.pack(draw.randrange(1, 4), draw.randrange(30), draw.randrange(BLOCK))
                changes.put("delta", key, pack_delta({NOTE: note}))
            with store.snapshot() as view:
                for key, _ in view.range("delta"):
                    if draw.random() < 0.3:
                        changes.delete("delta", key)
            store.apply(changes)
            for tenant in (1, 2, 3, 4):
                assert rows_of(store, tenant, walked=True) == rows_of(store, tenant, walked=False)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32), blocks=st.sampled_from([0, 1, 3, 200]))
def test_a_walk_finds_the_blocks_that_a_cursor_finds(seed: int, blocks: int):
    draw = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder), write=True, create=True, sync=False) as store,
    ):
        changes = Changes()
        for field in (19, 20, 21):
            for block in range(blocks):
                slots = draw.choice((64, 1_024, 4_096))
                array = bytes(slots * 2) if draw.random() < 0.5 else draw.randbytes(slots * 2)
                changes.put("blocks", BLOCK_KEY.pack(1, field, 0, block), block_value(ColumnKind.U16, slots, array))
        store.apply(changes)
        for field in (18, 19, 20, 21, 22):
            prefix = BLOCK_KEY.pack(1, field, 0, 0)[:-4]
            with store.snapshot() as view:
                walked = _scan.column_rows(view.record("blocks"), prefix, ColumnKind.U16, blocks, COPY_ALL, PAGE)
                asked = _scan.column_rows(view.buffers("blocks", prefix), prefix, ColumnKind.U16, blocks, COPY_ALL)
            assert walked is not None and asked is not None
            assert walked[1:] == asked[1:] and len(walked[0]) == len(asked[0])


def test_what_is_no_record_of_a_table_ends_the_walk_instead_of_being_followed(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store, store.snapshot() as view:
        assert _aside.changed_rows(view.record("delta")[:40], b"\0\1", PAGE, None) is None
        assert _scan.column_rows(view.record("blocks")[:40], b"\0\1\0\1\0", ColumnKind.U8, 1, PAGE, PAGE) is None


COLUMNS = st.sampled_from(
    [(5, 0, 1), (5, 0, 2), (6, 0, 3), (6, 1, 6), (7, 0, 6), (8, 0, 7), (700, 0, 4)]  # one dictionary of both widths
)


def a_value(column: tuple[int, int, int], octets: bytes) -> bytes:
    size = {1: 1, 2: 2, 3: 4, 4: 8, 6: 2, 7: len(octets)}[column[2]]
    return octets[:size].ljust(size, b"\x5a")


ENTRIES = st.dictionaries(COLUMNS, st.binary(max_size=20), max_size=6).map(
    lambda found: {column: a_value(column, octets) for column, octets in found.items()}
)


@given(before=st.lists(ENTRIES, max_size=3), entries=ENTRIES)
def test_compiled_and_reference_lay_the_same_entries_over_a_row(before: list[dict], entries: dict):
    from dispatcher.store._columns import laid

    by_column = {column[:2]: column for column in entries}
    entries = {column: entries[column] for column in by_column.values()}  # of two widths one
    row = None
    for each in before:
        row = laid(row, {column: each[column] for column in {column[:2]: column for column in each}.values()})
    assert laid(row, entries) == reference_laid(row, entries)


@pytest.mark.parametrize("row", [b"\1", b"\1\0\0\1\2\0\7"])
def test_a_row_that_is_no_row_is_refused_and_nothing_is_laid_over_it(row: bytes):
    from dispatcher.store._columns import laid

    with pytest.raises(ValueError, match="no row"):
        laid(row, {(1, 0, 1): b"\1"})
