"""What is derived from columns changes no answer: for any numbers and ranges, on every instruction set; and only blocks
whose contents changed are derived anew.
"""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.fastmatch import BITMAP_OCTETS, GREATEST, LEAST, Kind, isas, slots_of, use_isa
from dispatcher.records.changes import Changes
from dispatcher.segments.column_tests import Every, InRanges
from dispatcher.segments.match import open_scan, run
from dispatcher.segments.program import LIVE, Columns, assemble
from dispatcher.store import Store, open_store
from dispatcher.store.blocks import NUMBER, ColumnKind, write_block
from dispatcher.store.columns import FLAGS
from dispatcher.store.derived import EDGES_MAX, edges_of
from dispatcher.store.layout import BLOCK, TENANT
from dispatcher.store.scan import SCAN_BLOCKS, block_version, scan, warm
from dispatcher.store.values import pack

SLOTS = 1_024
KINDS = [Kind.U8, Kind.U16, Kind.I32, Kind.I64, Kind.U64]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(tmp_path_factory.mktemp("derived"), write=True, create=True, sync=False)
    changes = Changes()
    changes.put("tenants", TENANT.pack(1), pack({"next_member_no": SLOTS}))
    write_block(changes, 1, *FLAGS[:2], 0, FLAGS[2], SLOTS, b"\xff" * SLOTS)
    store.apply(changes)
    return store


def put(store: Store, kind: Kind, numbers: list[int], block: int = 0) -> None:
    changes = Changes()
    array = struct.pack(f"<{len(numbers)}{NUMBER[ColumnKind(kind)].format[1:]}", *numbers)
    write_block(changes, 1, 16 + kind, 0, block, ColumnKind(kind), len(numbers), array)
    store.apply(changes)


@st.composite
def columns_and_ranges(draw: st.DrawFn) -> tuple[Kind, list[int], list[tuple[int, int]]]:
    kind = draw(st.sampled_from(KINDS))
    low, high = LEAST[kind], GREATEST[kind]
    near = st.sampled_from([low, low + 1, 0, 1, 2, 7, high - 1, high])
    wide = draw(st.sampled_from([3, 7, 200, 1_023, 5_000, 1 << 40]))
    number = near | st.integers(max(low, -wide), min(high, wide))
    few = draw(st.lists(number, min_size=1, max_size=400))
    if draw(st.booleans()):
        few = [n for n in few if 0 <= n < 1_024] or [1]
    numbers = random.Random(draw(st.integers(0, 99))).choices(few, k=SLOTS)
    ends = st.tuples(number, number).map(sorted).map(tuple)
    return kind, numbers, draw(st.lists(ends | number.map(lambda n: (n, n)), min_size=1, max_size=9))  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", isas())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(columns_and_ranges())
def test_codes_postings_and_planes_answer_as_the_numbers_do(
    store: Store, isa: str, case: tuple[Kind, list[int], list[tuple[int, int]]]
) -> None:
    kind, numbers, ranges = case
    put(store, kind, numbers)
    expected = [slot for slot, n in enumerate(numbers) if any(low <= n <= high for low, high in ranges)]
    test = Every((LIVE, InRanges((16 + kind, 0, ColumnKind(kind)), tuple(ranges))))
    columns = Columns()
    program = assemble(test, columns)
    before = use_isa(isa)
    try:
        for _ in range(3):  # the first scan of a column derives nothing
            with store.snapshot() as view:
                over = open_scan(view, 1, columns.asked, 0)
                out = bytearray(BITMAP_OCTETS)
                assert run(program, over, 0, 1, bitmaps=out) == len(expected)
                assert slots_of(out) == expected
    finally:
        use_isa(before)


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 300), max_size=600))
def test_edges_are_sorted_few_and_cut_off_the_unknown(numbers: list[int]) -> None:
    packed = edges_of(numbers, ColumnKind.U64)
    edges = struct.unpack(f"<{len(packed) // 8}Q", packed)
    assert 1 <= len(edges) <= EDGES_MAX and edges[0] == 1
    assert all(low < high for low, high in pairwise(edges))


def test_a_number_that_is_met_often_has_a_code_of_its_own() -> None:
    numbers = [1_000] * 500 + list(range(2_000, 6_000))
    packed = edges_of(numbers, ColumnKind.U64)
    edges = struct.unpack(f"<{len(packed) // 8}Q", packed)
    assert 1_000 in edges and 1_001 in edges
    assert sum(edge % 10 == 0 for edge in edges) > len(edges) / 2  # most lie where people draw lines


def test_only_blocks_with_other_contents_are_derived_anew(tmp_path: Path) -> None:
    blocks = 5
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        changes = Changes()
        changes.put("tenants", TENANT.pack(1), pack({"next_member_no": blocks * BLOCK}))
        store.apply(changes)
        for block in range(blocks):
            put(store, Kind.I64, [block + n % 900 for n in range(BLOCK)], block)

        def derived() -> dict[int, tuple[int, bytes | None]]:
            with store.snapshot() as view:
                for _ in range(2):
                    scan(view, 1, [(20, 0, ColumnKind.I64)])
                assert view.kept is not None
                return dict(view.kept["derived", 1, 20, 0, ColumnKind.I64].blocks)

        first = derived()
        assert sorted(first) == list(range(blocks))
        put(store, Kind.I64, [3] * BLOCK, 2)
        put(store, Kind.I64, [4 + n % 900 for n in range(BLOCK)], 4)  # as it was
        second = derived()
        assert [block for block in range(blocks) if second[block] is not first[block]] == [2]


def test_a_scan_derives_a_few_blocks_and_warm_the_rest(tmp_path: Path) -> None:
    blocks = SCAN_BLOCKS + 5
    column = (20, 0, ColumnKind.I64)
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        changes = Changes()
        changes.put("tenants", TENANT.pack(1), pack({"next_member_no": blocks * BLOCK}))
        store.apply(changes)
        for block in range(blocks):
            put(store, Kind.I64, [block] * 64, block)
        with store.snapshot() as view:
            assert view.kept is not None

            def left() -> int:
                return len(view.kept[1, *column][block_version(view, 1, column)].left)  # type: ignore[index]

            scan(view, 1, [column])
            assert left() == blocks  # a column that is asked for once costs nothing more
            assert not warm(view)
            scan(view, 1, [column])
            assert left() == 5
            assert warm(view, 1, 3)
            assert left() == 2
            assert not warm(view)
            assert left() == 0
