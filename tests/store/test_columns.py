"""Column blocks and their delta: what is read is what was written, before, during and after a fold."""

from __future__ import annotations

import random
import struct
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.errors import StoreError
from dispatcher.records.changes import Changes
from dispatcher.store import Store, _columns, open_store
from dispatcher.store.blocks import NUMBER, UNKNOWN, WIDTH
from dispatcher.store.columns import (
    FLAGS,
    Column,
    ColumnKind,
    blocks_of,
    default_array,
    delta_count,
    find_number,
    fold_block,
    fold_some,
    folded_to,
    next_member_no,
    number_slot,
    open_block,
    pack_delta,
    plane_entry,
    put_delta,
    read_member,
    read_slot,
    slots_of,
    text_array,
    unpack_delta,
    write_block,
)
from dispatcher.store.layout import BLOCK, BLOCK_KEY, DELTA_KEY, MEMBER_NO, PLANE_LIVE, TENANT, TENANT_U64
from dispatcher.store.values import pack
from tests.reference import columns as reference

K = ColumnKind
COLUMNS: list[Column] = [
    FLAGS,
    (16, 0, K.U8),
    (17, 0, K.U16),
    (18, 0, K.I32),
    (19, 0, K.I64),
    (20, 0, K.U64),
    (21, 0, K.PLANES),
    (21, 1, K.PLANES),
    (22, 0, K.TEXT),
    (23, 0, K.TEXT),
]


def members(store: Store, count: int, tenant: int = 1) -> None:
    changes = Changes()
    changes.put("tenants", TENANT.pack(tenant), pack({"next_member_no": count}))
    store.apply(changes)


def put(store: Store, member_no: int, entries: dict[Column, bytes], tenant: int = 1) -> None:
    changes = Changes()
    with store.begin_write() as view:
        put_delta(changes, view, tenant, member_no, entries)
        view.apply(changes)


def fold(store: Store, tenant: int = 1) -> int:
    """Commits until nothing is left."""
    commits = 0
    while True:
        with store.begin_write() as view:
            changes = fold_some(view, tenant)
            view.apply(changes)
        if not changes:
            return commits
        commits += 1


def test_a_block_has_its_used_slots_rounded_up_to_1024_and_16320_at_most():
    assert [slots_of(no, 0) for no in (0, 1, 1024, 1025, 16_000, 16_320, 20_000)] == [
        *(0, 1024, 1024, 2048),
        *(16_320, 16_320, 16_320),
    ]
    assert slots_of(16_321, 1) == 1024
    assert [blocks_of(no) for no in (0, 1, 16_320, 16_321)] == [0, 1, 1, 2]


def test_a_column_without_a_value_is_unknown_in_every_slot(store: Store):
    members(store, 2000)
    with store.snapshot() as view:
        block = open_block(view, 1, 0, COLUMNS)
        assert block.slots == 2048
        assert bytes(block.array(18)) == struct.pack("<i", -(1 << 31)) * 2048
        assert bytes(block.array(21, 1)) == bytes(2048)
        starts, ends, heap = block.text(22)
        assert (bytes(starts), bytes(ends), bytes(heap)) == (bytes(8192), bytes(8192), b"")
        assert set(read_slot(view, 1, 1999, COLUMNS[1:6]).values()) == {None}


def test_a_large_array_that_no_delta_row_touches_is_read_in_place(store: Store):
    members(store, BLOCK)
    changes = Changes()
    write_block(changes, 1, 20, 0, 0, K.U64, BLOCK, struct.pack(f"<{BLOCK}Q", *range(BLOCK)))
    write_block(changes, 1, 16, 0, 0, K.U8, BLOCK, b"\x07" * BLOCK)
    store.apply(changes)
    put(store, 5, {(16, 0, K.U8): b"\x09"})
    with store.snapshot() as view:
        block = open_block(view, 1, 0, [(20, 0, K.U64), (16, 0, K.U8)])
        assert block.array(20).readonly and not block.array(16).readonly
        assert block.array(20).cast("Q")[4711] == 4711
        assert bytes(block.array(16)[4:7]) == b"\x07\x09\x07"


def test_a_shorter_block_is_lengthened_by_unknowns_plane_by_plane(store: Store):
    members(store, 1024)
    changes = Changes()
    write_block(changes, 1, 21, 0, 0, K.PLANES, 1024, b"".join(bytes([1 << i]) * 128 for i in range(8)))
    write_block(changes, 1, 19, 0, 0, K.I64, 1024, struct.pack("<1024q", *range(1024)))
    write_block(changes, 1, 22, 0, 0, K.TEXT, 1024, text_array([b"ab", b"", b"c"], 1024))
    store.apply(changes)
    members(store, 1025)
    put(store, 1024, {(22, 0, K.TEXT): b"new"})
    with store.snapshot() as view:
        block = open_block(view, 1, 0, [(21, 0, K.PLANES), (19, 0, K.I64), (22, 0, K.TEXT)])
        for i in range(8):
            assert bytes(block.plane(21, i)) == bytes([1 << i]) * 128 + bytes(128)
        assert block.array(19).cast("q")[1023:1026].tolist() == [1023, -(1 << 63), -(1 << 63)]
        starts, ends, heap = (part for part in block.text(22))
        texts = [bytes(heap[a:b]) for a, b in zip(starts.cast("I"), ends.cast("I"), strict=True)]
        assert texts[:4] == [b"ab", b"", b"c", b""] and texts[1024] == b"new" and len(texts) == 2048


def test_delta_rows_of_one_member_merge_and_planes_merge_bit_by_bit(store: Store):
    members(store, 10)
    put(store, 3, {FLAGS: plane_entry({0: True, 2: True}), (16, 0, K.U8): b"\x01"})
    put(store, 3, {FLAGS: plane_entry({2: False, 4: True}), (17, 0, K.U16): b"\x02\x00"})
    with store.snapshot() as view:
        row = view.get("delta", DELTA_KEY.pack(1, 0, 3))
        assert row is not None
        assert unpack_delta(row) == {
            FLAGS: bytes((0b10101, 0b10001)),
            (16, 0, K.U8): b"\x01",
            (17, 0, K.U16): b"\x02\x00",
        }
        assert read_slot(view, 1, 3, [FLAGS, (16, 0, K.U8)]) == {FLAGS: 0b10001, (16, 0, K.U8): 1}
        assert delta_count(view) == 1


def test_two_puts_into_the_same_changes_merge(store: Store):
    members(store, 10)
    changes = Changes()
    with store.begin_write() as view:
        put_delta(changes, view, 1, 3, {(16, 0, K.U8): b"\x01"})
        put_delta(changes, view, 1, 3, {(17, 0, K.U16): b"\x02\x00"})
        view.apply(changes)
    with store.snapshot() as view:
        assert read_slot(view, 1, 3, COLUMNS[1:3]) == {COLUMNS[1]: 1, COLUMNS[2]: 2}


def test_a_fold_drops_the_delta_rows_and_readers_see_the_same(store: Store):
    members(store, 3 * BLOCK)
    for member_no in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK - 1):
        put(store, member_no, {(22, 0, K.TEXT): b"m%d" % member_no, (19, 0, K.I64): struct.pack("<q", member_no)})
    with store.snapshot() as view:
        before = [read_slot(view, 1, no, COLUMNS) for no in (0, 1, 2, BLOCK - 1, BLOCK, 3 * BLOCK - 1)]
    assert fold(store) >= 1
    with store.snapshot() as view:
        assert delta_count(view) == 0
        assert [read_slot(view, 1, no, COLUMNS) for no in (0, 1, 2, BLOCK - 1, BLOCK, 3 * BLOCK - 1)] == before
        assert view.get("blocks", BLOCK_KEY.pack(1, 19, 0, 1)) is not None


def test_no_slice_of_the_fold_passes_the_commit_limit(store: Store):
    members(store, 40 * BLOCK)
    changes = Changes()
    with store.begin_write() as view:
        for block in range(40):
            put_delta(changes, view, 1, block * BLOCK, {column: b"\x01" * WIDTH[column[2]] for column in COLUMNS[1:6]})
        view.apply(changes)
    largest = commits = 0
    while True:
        with store.begin_write() as view:
            part = fold_some(view, 1)
            view.apply(part)
        if not part:
            break
        commits, largest = commits + 1, max(largest, part.octets)
    assert commits > 3 and largest <= 4 << 20


def test_a_block_whose_columns_pass_the_limit_is_folded_a_few_columns_a_commit(store: Store):
    members(store, BLOCK)
    put(store, 7, {column: b"\x01" * WIDTH[column[2]] for column in COLUMNS[1:6]})
    with store.snapshot() as view:
        before = read_slot(view, 1, 7, COLUMNS)
    slices = 0
    while True:
        with store.begin_write() as view:
            part = fold_some(view, 1, 200_000)
            view.apply(part)
        if not part:
            break
        slices += 1
        with store.snapshot() as view:
            assert read_slot(view, 1, 7, COLUMNS) == before
    assert slices >= 2


def test_a_fold_goes_on_behind_its_last_block_while_the_first_get_new_rows(tmp_path):
    column = (16, 0, ColumnKind.U8)
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        changes = Changes()
        changes.put("tenants", TENANT.pack(1), pack({"next_member_no": 4 * BLOCK}))
        store.apply(changes)
        seen, after = [], -1
        for _ in range(5):
            with store.begin_write() as view:
                changes = Changes()
                for block in range(4) if not seen else range(1):
                    put_delta(changes, view, 1, block * BLOCK + 7, {column: b"\3"})
                view.apply(changes)
            with store.begin_write() as view:
                changes = fold_some(view, 1, 1, after=after)
                after = folded_to(changes)
                view.apply(changes)
            seen.append(after)
        assert seen == [0, 1, 2, 3, -1]


def test_extra_rows_are_folded_over_the_stored_ones(store: Store):
    members(store, 100)
    put(store, 1, {(16, 0, K.U8): b"\x01"})
    changes = Changes()
    with store.begin_write() as view:
        extra = [(slot, pack_delta({(16, 0, K.U8): bytes([slot + 40])})) for slot in (1, 2)]
        assert fold_block(view, 1, 0, changes, extra) == 3
        view.apply(changes)
    with store.snapshot() as view:
        assert bytes(open_block(view, 1, 0, [(16, 0, K.U8)]).array(16)[:4]) == bytes([0, 41, 42, 0])
        assert delta_count(view) == 0


def test_tenants_do_not_meet(store: Store):
    members(store, 10, tenant=1)
    members(store, 10, tenant=2)
    put(store, 3, {(16, 0, K.U8): b"\x01"}, tenant=1)
    put(store, 3, {(16, 0, K.U8): b"\x02"}, tenant=2)
    fold(store, tenant=1)
    with store.snapshot() as view:
        assert read_slot(view, 1, 3, COLUMNS[1:2]) == {COLUMNS[1]: 1}
        assert read_slot(view, 2, 3, COLUMNS[1:2]) == {COLUMNS[1]: 2}
        assert delta_count(view) == 1


def test_a_number_that_an_import_only_reserved_is_not_found(store: Store):
    members(store, 10)
    changes = Changes()
    changes.put("phones", TENANT_U64.pack(1, 4915100000001), MEMBER_NO.pack(4))
    store.apply(changes)
    with store.snapshot() as view:
        assert number_slot(view, 1, 4915100000001) == 4
        assert find_number(view, 1, 4915100000001) is None
        assert read_member(view, 1, 4, []) is None
    put(store, 4, {FLAGS: plane_entry({PLANE_LIVE: True})})
    with store.snapshot() as view:
        assert find_number(view, 1, 4915100000001) == 4


@pytest.mark.parametrize("octets", [b"", b"\x01" * 47, b"\x01" + bytes(2000)])
def test_a_damaged_block_is_named_and_not_read(store: Store, octets: bytes):
    members(store, 10)
    changes = Changes()
    changes.put("blocks", BLOCK_KEY.pack(1, 16, 0, 0), octets)
    store.apply(changes)
    with store.snapshot() as view, pytest.raises(StoreError, match="field 16"):
        open_block(view, 1, 0, [(16, 0, K.U8)])


@pytest.mark.parametrize("row", [b"\x10", b"\x10\x00\x00\x01\x09\x00\x01", b"\x10\x00\x00\x01\x02\x00\x01\x01"])
def test_a_damaged_delta_row_is_named_and_not_read(store: Store, row: bytes):
    members(store, 10)
    changes = Changes()
    changes.put("delta", DELTA_KEY.pack(1, 0, 3), row)
    store.apply(changes)
    with store.snapshot() as view, pytest.raises(StoreError, match="delta row"):
        open_block(view, 1, 0, [(16, 0, K.U8)])


def test_a_delta_row_beyond_the_last_slot_is_an_error(store: Store):
    members(store, 10)
    put(store, 1024, {(16, 0, K.U8): b"\x01"})
    with store.snapshot() as view, pytest.raises(StoreError, match="1024 slots"):
        open_block(view, 1, 0, [(16, 0, K.U8)])


# -- the kernel against its reference ----------------------------------------------------------------

VALUES: dict[ColumnKind, st.SearchStrategy[bytes]] = {
    **{kind: st.binary(min_size=WIDTH[kind], max_size=WIDTH[kind]) for kind in NUMBER},
    K.PLANES: st.binary(min_size=2, max_size=2),
    K.TEXT: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5).map(str.encode),
}
ENTRIES = st.lists(st.sampled_from(COLUMNS), unique=True, max_size=6).flatmap(
    lambda columns: st.fixed_dictionaries({column: VALUES[column[2]] for column in columns})
)
ROWS = st.lists(st.tuples(st.integers(0, 1100), ENTRIES.map(pack_delta) | st.binary(max_size=12)), max_size=8).map(
    lambda rows: [(DELTA_KEY.pack(1, 0, slot), row) for slot, row in rows]
)


def outcome(module: Any, rows: list[tuple[bytes, bytes]], prefix: bytes, wanted: list[Column]) -> Any:
    arrays: list[Any] = []
    for column in wanted:
        zero = default_array(column[2], 1024)
        arrays.append((zero[:4096], zero[:4096], b"") if column[2] == K.TEXT else zero)
    try:
        module.patch(rows, prefix, wanted, arrays, 1024)
    except ValueError as exc:
        return exc.args
    dense = [module.dense_text(*array, 1024) if isinstance(array, tuple) else bytes(array) for array in arrays]
    try:
        return dense, module.touched(rows)
    except ValueError as exc:
        return dense, exc.args


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    rows=ROWS,
    wanted=st.lists(st.sampled_from(COLUMNS), unique=True),
    prefix=st.sampled_from([b"", b"\0\1\0\0\0\0", b"\0\2"]),
)
def test_compiled_and_reference_patch_the_same(rows: Any, wanted: list[Column], prefix: bytes):
    assert outcome(_columns, rows, prefix, wanted) == outcome(reference, rows, prefix, wanted)


# -- any history against a dictionary ----------------------------------------------------------------

SPOTS = [0, 1, 63, 64, 1023, 1024, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK + 17]
SIZES = [1, 2, 64, 1024, 1025, 5000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 100]


class Columns(RuleBasedStateMachine):
    """Members grow, change and are folded in any order; a dictionary says what readers must see."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(self.folder.name, write=True, create=True, sync=False)
        self.model: dict[int, dict[Column, int | bytes]] = {}
        self.no = 1
        members(self.store, 1)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(size=st.sampled_from(SIZES))
    def grow(self, size: int) -> None:
        self.no = max(self.no, size)
        members(self.store, self.no)

    @rule(spot=st.sampled_from(SPOTS), entries=ENTRIES)
    def change(self, spot: int, entries: dict[Column, bytes]) -> None:
        if spot < self.no and entries:
            put(self.store, spot, entries)
            self.learn(spot, entries)

    @rule(spot=st.sampled_from(SPOTS), entries=ENTRIES)
    def fold_one_block_with_an_extra_row(self, spot: int, entries: dict[Column, bytes]) -> None:
        if spot < self.no:
            changes = Changes()
            with self.store.begin_write() as view:
                fold_block(view, 1, spot // BLOCK, changes, [(spot % BLOCK, pack_delta(entries))])
                view.apply(changes)
            self.learn(spot, entries)

    @precondition(lambda self: self.model)
    @rule(limit=st.sampled_from([1, 100_000, 4 << 20]))
    def fold_some(self, limit: int) -> None:
        with self.store.begin_write() as view:
            view.apply(fold_some(view, 1, limit))

    def learn(self, spot: int, entries: dict[Column, bytes]) -> None:
        member = self.model.setdefault(spot, {})
        for column, value in entries.items():
            if column[2] == K.PLANES:
                old = member.get(column, 0)
                assert isinstance(old, int)
                member[column] = old & ~value[0] | value[1] & value[0]
            else:
                member[column] = value

    def expected(self, spot: int, column: Column) -> int | str | None:
        value = self.model.get(spot, {}).get(column)
        if column[2] == K.PLANES:
            return value or 0  # type: ignore[return-value]
        if not value:
            return None
        assert isinstance(value, bytes)
        if column[2] == K.TEXT:
            return value.decode()
        number = NUMBER[column[2]].unpack(value)[0]
        return None if number == UNKNOWN[column[2]] else number  # type: ignore[no-any-return]

    @invariant()
    def every_reader_sees_the_model(self) -> None:
        with self.store.snapshot() as view:
            assert next_member_no(view, 1) == self.no
            for spot in SPOTS:
                if spot < self.no:
                    assert read_slot(view, 1, spot, COLUMNS) == {c: self.expected(spot, c) for c in COLUMNS}
            for block in range(blocks_of(self.no)):
                self.check_block(open_block(view, 1, block, COLUMNS), block)

    def check_block(self, opened: Any, block: int) -> None:
        assert opened.slots == slots_of(self.no, block)
        here = {spot % BLOCK: values for spot, values in self.model.items() if spot // BLOCK == block}
        for column in COLUMNS:
            field, part, kind = column
            if kind == K.TEXT:
                starts, ends, heap = opened.text(field)
                begin, end = starts.cast("I"), ends.cast("I")
                assert len(begin) == len(end) == opened.slots
                known = {i: bytes(heap[a:b]) for i, (a, b) in enumerate(zip(begin, end, strict=True)) if a != b}
                assert known == {slot: values[column] for slot, values in here.items() if values.get(column)}
                continue
            expected = bytearray(default_array(kind, opened.slots))
            for slot, values in here.items():
                value = values.get(column)
                if kind == K.PLANES:
                    for bit in range(8):
                        expected[bit * opened.slots // 8 + slot // 8] |= (int(value or 0) >> bit & 1) << slot % 8  # type: ignore[arg-type]
                elif value is not None:
                    assert isinstance(value, bytes)
                    expected[slot * len(value) : (slot + 1) * len(value)] = value
            assert bytes(opened.array(field, part)) == bytes(expected)


TestColumns = Columns.TestCase
TestColumns.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_twenty_thousand_random_updates_scan_and_fold_to_the_same(store: Store):
    """Large enough for several batches of the cursor and several blocks."""
    members(store, 5 * BLOCK)
    choose = random.Random(5)
    model: dict[int, int] = {}
    with store.begin_write() as view:
        changes = Changes()
        for _ in range(20_000):
            member_no, value = choose.randrange(5 * BLOCK), choose.randrange(1, 1 << 30)
            put_delta(changes, view, 1, member_no, {(18, 0, K.I32): struct.pack("<i", value)})
            model[member_no] = value
        view.apply(changes)

    def seen() -> dict[int, int]:
        with store.snapshot() as view:
            return {
                block * BLOCK + slot: value
                for block in range(5)
                for slot, value in enumerate(open_block(view, 1, block, [(18, 0, K.I32)]).array(18).cast("i"))
                if value != UNKNOWN[K.I32]
            }

    assert seen() == model
    fold(store)
    assert seen() == model
