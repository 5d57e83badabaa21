"""Columns read into memory after a start: which, in what order, within what bound; and that nothing waits for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dispatcher.control.commands import SaveSegment
from dispatcher.records.changes import Changes
from dispatcher.segments.segment import save_segment
from dispatcher.segments.warmup import CHUNK, Warmup, free_octets, regions
from dispatcher.store import _scan, open_store
from dispatcher.store.blocks import ColumnKind, block_value
from dispatcher.store.layout import BLOCK, BLOCK_KEY, FIELD_FLAGS, FIELD_POINTS
from tests.fakes.shop import do
from tests.segments.crowd import new_crowd

PAGE = 4_096


def put_blocks(store, field: int, kind: ColumnKind, width: int, blocks: int = 3, tenant: int = 1) -> None:
    changes = Changes()
    for block in range(blocks):
        array = os.urandom(BLOCK * width)
        changes.put("blocks", BLOCK_KEY.pack(tenant, field, 0, block), block_value(kind, BLOCK, array))
    store.apply(changes)


def wanted(store, most: int) -> tuple[list[tuple[int, int]], int]:
    with store.snapshot() as view:
        return regions(view, most)


def test_places_say_where_in_the_file_each_block_lies(store):
    new_crowd(store)
    put_blocks(store, 900, ColumnKind.U16, 2)
    octets = (Path(store.folder) / "store" / "data.mdb").read_bytes()
    with store.snapshot() as view:
        found = _scan.places(view.record("blocks"), PAGE, 5, 0)
        expected = [bytes(value) for _, value in view.buffers("blocks", BLOCK_KEY.pack(1, 900, 0, 0)[:5])]
    assert found is not None
    here = b"".join(octets[offset : offset + size] for offset, size in found[BLOCK_KEY.pack(1, 900, 0, 0)[:5]])
    assert all(value in here for value in expected) and len(expected) == 3


def test_blocks_that_lie_near_each_other_are_read_in_one_go(store):
    put_blocks(store, 900, ColumnKind.U16, 2, blocks=8)
    with store.snapshot() as view:
        apart = _scan.places(view.record("blocks"), PAGE, 5, 0)
        together = _scan.places(view.record("blocks"), PAGE, 5, 1 << 20)
    assert apart is not None and together is not None
    assert len(together[BLOCK_KEY.pack(1, 900, 0, 0)[:5]]) == 1 <= len(apart[BLOCK_KEY.pack(1, 900, 0, 0)[:5]])


def test_what_segments_ask_for_comes_first_and_the_greatest_last(store):
    new_crowd(store)
    put_blocks(store, 901, ColumnKind.I64, 8)
    put_blocks(store, FIELD_FLAGS, ColumnKind.PLANES, 1)
    put_blocks(store, FIELD_POINTS, ColumnKind.I64, 8)
    put_blocks(store, 900, ColumnKind.U16, 2)
    do(store, save_segment, SaveSegment(title="Rich", expr="points > 1000"))
    with store.snapshot() as view:
        found = _scan.places(view.record("blocks"), PAGE, 5, 256 << 10)
    assert found is not None
    order, left_out = wanted(store, 1 << 40)
    columns = [BLOCK_KEY.pack(1, field, 0, 0)[:5] for field in (FIELD_FLAGS, FIELD_POINTS, 900, 901)]
    assert order == [run for column in columns for run in found[column]] and left_out == 0


def test_a_column_that_does_not_fit_is_left_out_and_said(store):
    new_crowd(store)
    put_blocks(store, 900, ColumnKind.U16, 2)
    put_blocks(store, 901, ColumnKind.I64, 8)
    order, left_out = wanted(store, 200_000)
    assert 90_000 < sum(octets for _, octets in order) <= 200_000
    assert left_out > 8 * BLOCK * 3


def test_a_warmup_reads_all_that_it_wanted_and_says_so(tmp_path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        new_crowd(store)
        put_blocks(store, 901, ColumnKind.I64, 8, blocks=12)
        with Warmup(store) as warmup:
            warmup._thread.join(10)
        said = warmup.statistics()
        assert said.done and said.octets == said.wanted > CHUNK and said.left_out == 0


def test_a_warmup_that_is_stopped_ends_at_once(tmp_path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        warmup = Warmup(store, most_octets=0)
        warmup._stop.set()
        warmup.start()
        warmup.stop()
        assert warmup.statistics().octets == 0


def test_the_machine_says_what_memory_is_free():
    assert free_octets() >= 1 << 24


@pytest.mark.parametrize("record", [b"", b"\0" * 47])
def test_no_record_of_a_table_gives_no_places(record: bytes):
    assert _scan.places(record, PAGE, 5, 0) is None
