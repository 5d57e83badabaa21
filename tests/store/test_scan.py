"""A scan sees what open_block sees, block by block, in every snapshot: through writes, folds, growth, reopening; on every
instruction set; whether the blocks' places were just found or are those kept from an earlier snapshot of the same version.
"""

from __future__ import annotations

import random
import struct
import tempfile
from array import array
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.errors import StoreError
from dispatcher.fastmatch import BITMAP_OCTETS, Op, isas, match_block, use_isa
from dispatcher.records.changes import Changes, View
from dispatcher.segments.column_tests import (
    Complement,
    Every,
    Given,
    InRanges,
    OnPlanes,
    OnText,
    Sampled,
    Some,
    Test,
)
from dispatcher.segments.given import Engaged
from dispatcher.segments.match import open_scan, run
from dispatcher.segments.plan import arrays_of
from dispatcher.segments.program import LIVE, Columns, assemble
from dispatcher.store import Store, open_store
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import (
    FLAGS,
    Column,
    ColumnKind,
    blocks_of,
    fold_block,
    next_member_no,
    open_block,
    plane_entry,
    put_delta,
    slots_of,
    text_array,
    write_block,
)
from dispatcher.store.layout import BLOCK, BLOCK_KEY, DELTA_KEY, TENANT
from dispatcher.store.scan import block_version, scan
from dispatcher.store.values import pack

K = ColumnKind
U8, U16, I32, I64, U64 = ((16 + n, 0, kind) for n, kind in enumerate((K.U8, K.U16, K.I32, K.I64, K.U64)))
TAGS, TEXT = (21, 1, K.PLANES), (22, 0, K.TEXT)
COLUMNS: list[Column] = [FLAGS, U8, U16, I32, I64, U64, TAGS, TEXT]
TENANT_NO, OTHER = 1, 2
CAMPAIGN = Engaged("sent", 7)
WORDS = [b"", b"Anna", b"na", "李雷".encode()]
TESTS: list[Test] = [
    LIVE,
    Every((LIVE, InRanges(I64, ((-3, 2),)))),
    Every((LIVE, InRanges(U16, tuple((n, n) for n in range(1, 30, 3))), InRanges(U8, ((2, 5),)))),
    Every((LIVE, Some((InRanges(I32, ((0, 1), (4, 9))), Complement(OnPlanes(((TAGS, 0b110),)))), ))),
    Every((LIVE, OnText(TEXT, Op.TEXT_CONTAINS, (b"na",)), Complement(InRanges(U64, ((1, 4),))))),
    Every((LIVE, InRanges(U8, ((250, 255),)), InRanges(I64, ((3, 3),)), OnPlanes(((TAGS, 1),)))),
    Every((LIVE, Sampled(b"x", 0, 4_000), Given(CAMPAIGN), InRanges(I32, tuple((n, n) for n in range(-9, 12, 2))))),
]  # fmt: skip


def new_store(folder: str, next_no: int) -> Store:
    store = open_store(folder, write=True, create=True, sync=False)
    for tenant in (TENANT_NO, OTHER):
        grow(store, tenant, next_no)
    return store


def grow(store: Store, tenant: int, next_no: int) -> None:
    changes = Changes()
    changes.put("tenants", TENANT.pack(tenant), pack({"next_member_no": next_no}))
    store.apply(changes)


def values(column: Column, slots: int, seed: int) -> bytes:
    draw = random.Random(seed)
    if column[2] == K.TEXT:
        return text_array(draw.choices(WORDS, k=slots - 5), slots)
    if column[2] == K.PLANES:
        return draw.randbytes(slots)
    few = draw.choice([[1], [0, 1, 2, 3, 4, 5], [3, 7, 251]])
    if column[2] in (K.I32, K.I64):
        few = [*few, -2, -(1 << (31 if column[2] == K.I32 else 63))]
    code = NUMBER[column[2]].format[1:]
    return struct.pack(f"<{slots}{code}", *draw.choices(few, k=slots))


def entry(column: Column, draw: random.Random) -> bytes:
    if column[2] == K.TEXT:
        return draw.choice(WORDS)
    if column[2] == K.PLANES:
        return plane_entry({plane: draw.random() < 0.5 for plane in draw.sample(range(8), 3)})
    return NUMBER[column[2]].pack(draw.randrange(9))


def given_bitmaps(blocks: int) -> dict[Any, dict[int, bytes]]:
    return {CAMPAIGN: {block: random.Random(block).randbytes(BITMAP_OCTETS) for block in range(0, blocks, 2)}}


def expected(view: View, test: Test, tenant: int = TENANT_NO) -> list[bytes]:
    """A block at a time, delta rows patched in."""
    columns = Columns()
    program = assemble(test, columns)
    found, no = [], next_member_no(view, tenant)
    for block in range(blocks_of(no)):
        stored = [column for column in columns.asked if isinstance(column, tuple)]
        opened = open_block(view, tenant, block, stored)
        arrays = arrays_of(opened, stored)
        for key in columns.asked:
            if not isinstance(key, tuple):
                bitmap = given_bitmaps(blocks_of(no))[key].get(block, bytes(BITMAP_OCTETS))
                # one plane of `slots`: the kernel reads planes slots / 8 octets apart
                arrays.insert(columns.position(key), bitmap[: opened.slots // 8].ljust(opened.slots, b"\0"))
        out = bytearray(BITMAP_OCTETS)
        match_block(program, arrays, opened.slots, out, first_no=block * BLOCK)
        found.append(bytes(out))
    return found


def scanned(view: View, test: Test, tenant: int = TENANT_NO, threads: int = 1) -> list[bytes]:
    columns = Columns()
    program = assemble(test, columns)
    blocks = blocks_of(next_member_no(view, tenant))
    over = open_scan(view, tenant, columns.asked, 0, given_bitmaps(blocks))
    assert over.blocks == blocks
    whole = bytearray(b"\xff" * BITMAP_OCTETS * blocks)
    count = run(program, over, 0, blocks, bitmaps=whole, threads=threads)
    assert count == int.from_bytes(whole, "little").bit_count()
    return [bytes(whole[n * BITMAP_OCTETS : (n + 1) * BITMAP_OCTETS]) for n in range(blocks)]


class Scans(RuleBasedStateMachine):
    """Writes of every kind; a few snapshots stay open, and each must go on answering for its own moment."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.next_no = BLOCK + 300
        self.store = new_store(self.folder.name, self.next_no)
        self.open: list[tuple[Any, list[list[bytes]]]] = []

    @rule(column=st.sampled_from(COLUMNS), block=st.integers(0, 2), seed=st.integers(0, 1 << 20), short=st.booleans())
    def write(self, column: Column, block: int, seed: int, short: bool) -> None:
        slots = slots_of(self.next_no, block)
        if not slots:
            return
        slots = min(slots, 1_024) if short else slots  # as if written when the block had fewer members
        changes = Changes()
        write_block(changes, TENANT_NO, *column[:2], block, column[2], slots, values(column, slots, seed))
        self.store.apply(changes)

    @rule(tenant=st.sampled_from([TENANT_NO, OTHER]), many=st.sampled_from([1, 5, 40]), seed=st.integers(0, 1 << 20))
    def edit(self, tenant: int, many: int, seed: int) -> None:
        draw = random.Random(seed)
        with self.store.begin_write() as view:
            for _ in range(many):
                changes = Changes()
                columns = draw.sample(COLUMNS, 2)
                no = draw.randrange(self.next_no)
                put_delta(changes, view, tenant, no, {column: entry(column, draw) for column in columns})
                view.apply(changes)

    @rule(block=st.integers(0, 2), most=st.sampled_from([None, 40_000]))
    def fold(self, block: int, most: int | None) -> None:
        with self.store.begin_write() as view:
            changes = Changes()
            fold_block(view, TENANT_NO, block, changes, max_octets=most)
            view.apply(changes)

    @rule(column=st.sampled_from(COLUMNS), block=st.integers(0, 2))
    def drop(self, column: Column, block: int) -> None:
        changes = Changes()
        changes.delete("blocks", BLOCK_KEY.pack(TENANT_NO, *column[:2], block))
        self.store.apply(changes)

    @rule()
    def abort(self) -> None:
        with pytest.raises(ZeroDivisionError), self.store.begin_write() as view:
            changes = Changes()
            slots = slots_of(self.next_no, 0)
            write_block(changes, TENANT_NO, 16, 0, 0, K.U8, slots, b"\xfb" * slots)
            view.apply(changes)
            assert scanned(view, TESTS[2]) == expected(view, TESTS[2])  # what is not committed is seen by its own
            raise ZeroDivisionError

    @rule(by=st.sampled_from([1, 900, BLOCK]))
    def new_members(self, by: int) -> None:
        self.next_no = min(self.next_no + by, 3 * BLOCK)
        grow(self.store, TENANT_NO, self.next_no)

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def snapshot(self) -> None:
        view = self.store.snapshot()
        self.open.append((view, [expected(view, test) for test in TESTS]))

    @precondition(lambda self: self.open)
    @rule()
    def end_snapshot(self) -> None:
        self.open.pop(0)[0].__exit__(None, None, None)

    @rule()
    def reopen(self) -> None:
        for view, _ in self.open:
            view.__exit__(None, None, None)
        self.open = []
        self.store.close()
        self.store = open_store(self.folder.name, write=True, sync=False)

    @invariant()
    def every_snapshot_answers_for_its_moment(self) -> None:
        for view, answers in self.open:
            assert [scanned(view, test) for test in TESTS] == answers
        with self.store.snapshot() as view:
            for test in TESTS:
                assert scanned(view, test) == expected(view, test)

    def teardown(self) -> None:
        for view, _ in self.open:
            view.__exit__(None, None, None)
        self.store.close()
        self.folder.cleanup()


Scans.TestCase.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestScans = Scans.TestCase


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three blocks, and delta rows enough that the gathered overflow once."""
    next_no = 3 * BLOCK - 1_000
    store = new_store(str(tmp_path_factory.mktemp("filled")), next_no)
    draw = random.Random(5)
    for block in range(3):
        changes = Changes()
        for column in COLUMNS:
            slots = slots_of(next_no, block)
            write_block(
                changes, TENANT_NO, *column[:2], block, column[2], slots, values(column, slots, draw.randrange(99))
            )
        store.apply(changes)
    with store.begin_write() as view:
        for no in draw.sample(range(next_no), 5_000):
            changes = Changes()
            columns = draw.sample(COLUMNS, 2)
            put_delta(changes, view, TENANT_NO, no, {column: entry(column, draw) for column in columns})
            view.apply(changes)
    yield store
    store.close()


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("threads", [1, 2])
def test_thousands_of_changed_members_are_seen_on_every_instruction_set(filled: Store, isa: str, threads: int) -> None:
    before = use_isa(isa)
    try:
        with filled.snapshot() as view:
            for test in TESTS:
                assert scanned(view, test, threads=threads) == expected(view, test)
    finally:
        use_isa(before)


def test_tallies_count_changed_members_once(filled: Store) -> None:
    from dispatcher.fastmatch import Assembler
    from dispatcher.segments.program import emit

    columns, to = Columns(), Assembler()
    emit(TESTS[1], to, columns)
    to.tally(0)
    tallies = array("Q", [0])
    with filled.snapshot() as view:
        over = open_scan(view, TENANT_NO, columns.asked, 0)
        count = run(to.program(), over, 0, over.blocks, tallies=tallies)
        assert tallies[0] == count == sum(int.from_bytes(one, "little").bit_count() for one in expected(view, TESTS[1]))


def test_places_are_kept_until_a_block_of_the_tenant_is_written(tmp_path: Any) -> None:
    store = new_store(str(tmp_path), BLOCK)

    def write(tenant: int, octet: bytes) -> None:
        changes = Changes()
        write_block(changes, tenant, 16, 0, 0, K.U8, BLOCK, octet * BLOCK)
        store.apply(changes)

    write(TENANT_NO, b"\1")
    with store.snapshot() as view:
        version, first = block_version(view, TENANT_NO, U8), scan(view, TENANT_NO, [U8]).columns[0]
        assert scan(view, TENANT_NO, [U8]).columns[0] is first
    write(OTHER, b"\1")
    with store.begin_write() as view:
        changes = Changes()
        put_delta(changes, view, TENANT_NO, 3, {U8: b"\7"})
        view.apply(changes)
    with store.snapshot() as view:
        assert block_version(view, TENANT_NO, U8) == version
        assert scan(view, TENANT_NO, [U8]).columns[0] is first
    write(TENANT_NO, b"\2")
    with store.snapshot() as view:
        assert block_version(view, TENANT_NO, U8) == version + 1
        assert scan(view, TENANT_NO, [U8]).columns[0] is not first
    store.close()


@pytest.mark.parametrize("value", [b"short", bytes(48), b"\1\2\0\0" + struct.pack("<I", 128) + bytes(40 + 64)])
def test_a_damaged_block_is_named(tmp_path: Any, value: bytes) -> None:
    with new_store(str(tmp_path), BLOCK) as store:
        changes = Changes()
        changes.put("blocks", BLOCK_KEY.pack(TENANT_NO, 16, 0, 0), value)
        store.apply(changes)
        with (
            store.snapshot() as view,
            pytest.raises(StoreError, match="block 0 of tenant 1, field 16, part 0: not a U8"),
        ):
            scan(view, TENANT_NO, [U8])


@pytest.mark.parametrize(
    "row", [b"\20", struct.pack("<HBBH", 16, 0, 1, 9) + b"1", struct.pack("<HBBH", 16, 0, 3, 4) + b"1234"]
)
def test_a_damaged_delta_row_is_an_error(tmp_path: Any, row: bytes) -> None:
    with new_store(str(tmp_path), BLOCK) as store:
        changes = Changes()
        changes.put("delta", DELTA_KEY.pack(TENANT_NO, 0, 5), row)
        store.apply(changes)
        with store.snapshot() as view, pytest.raises(StoreError, match="delta row"):
            scanned(view, TESTS[2])


def test_codes_of_a_dictionary_that_was_widened_read_alike(tmp_path: Any) -> None:
    with new_store(str(tmp_path), BLOCK) as store:
        changes = Changes()
        write_block(changes, TENANT_NO, 17, 0, 0, K.U8, BLOCK, bytes(range(1, 65)) * (BLOCK // 64))
        write_block(changes, TENANT_NO, *FLAGS[:2], 0, K.PLANES, BLOCK, b"\xff" * BLOCK)
        changes.put("delta", DELTA_KEY.pack(TENANT_NO, 0, 1), struct.pack("<HBBHB", 17, 0, 1, 1, 9))
        store.apply(changes)
        test = Every((LIVE, InRanges(U16, ((9, 9),))))
        with store.snapshot() as view:
            assert scanned(view, test) == expected(view, test)
            assert sum(one.bit_count() for one in scanned(view, test)[0]) == BLOCK // 64 + 1


def test_a_row_of_many_pages_in_the_delta_is_read_whole(tmp_path: Any) -> None:
    """LMDB keeps such a value outside the leaf page that the walk reads."""
    with new_store(str(tmp_path), BLOCK) as store:
        text = "é".encode() * 4_000
        with store.begin_write() as view:
            changes = Changes()
            for no in (3, 4, 5):
                entries = {FLAGS: plane_entry({0: True}), TEXT: text + (b"na" if no == 4 else b"")}
                put_delta(changes, view, TENANT_NO, no, entries)
            view.apply(changes)
        with store.snapshot() as view:
            (found,) = scanned(view, Every((LIVE, OnText(TEXT, Op.TEXT_ENDS, (b"na",)))))
            assert int.from_bytes(found, "little") == 1 << 4


def test_changed_members_are_gathered_once_a_version_of_the_delta_and_column(tmp_path: Any) -> None:
    store = new_store(str(tmp_path), BLOCK)

    def commit(no: int, column: Column, tenant: int = TENANT_NO) -> None:
        with store.begin_write() as view:
            changes = Changes()
            put_delta(changes, view, tenant, no, {column: NUMBER[column[2]].pack(7)})
            view.apply(changes)

    def gathered() -> list[Any]:
        with store.snapshot() as view:
            found = scan(view, TENANT_NO, [U8, I64])
            assert found.changed == 3
            return found.aside

    for no in (3, 4, 9):
        commit(no, U8)
    first = gathered()
    commit(5, U8, OTHER)
    assert all(one is other for one, other in zip(first, gathered(), strict=True))
    commit(4, I64)
    assert gathered()[0] is not first[0]
    second = gathered()
    changes = Changes()
    write_block(changes, TENANT_NO, 16, 0, 0, K.U8, BLOCK, b"\5" * BLOCK)
    store.apply(changes)
    third = gathered()
    assert third[0] is not second[0] and third[1] is second[1]  # blocks of one column were written
    store.close()
