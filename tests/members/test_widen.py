"""A dictionary that outgrows 255 values on a live store: no reader sees half of it, a kill at any slice is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.campaigns.field_uses import edit_field
from dispatcher.control.commands import EditField, OpenImport
from dispatcher.members.attributes import decode
from dispatcher.members.fields import Field, fields_of
from dispatcher.members.importer import open_import
from dispatcher.members.widen import looked_at_all, widen_some, widening
from dispatcher.records.changes import Changes, View
from dispatcher.segments.count import count
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store import Store, open_store
from dispatcher.store.blocks import recoded, stored_kind
from dispatcher.store.columns import (
    BLOCK,
    Column,
    ColumnKind,
    delta_rows,
    fold_some,
    open_block,
    put_delta,
    read_member,
    unpack_delta,
)
from dispatcher.store.verify import verify
from tests.fakes.people import run_import
from tests.fakes.shop import do, new_member, new_shop, refused
from tests.members.test_import_undo import undo

CITIES = [f"c{i}" for i in range(255)]


def city(view: View) -> Field:
    return fields_of(view, 1)["city"]


def widened(store: Store, most: int = 1_000) -> None:
    do(store, edit_field, EditField(title="city", changes={"max_values": most}))


def fold(store: Store) -> None:
    while True:
        with store.begin_write() as view:
            changes = fold_some(view, 1)
            view.apply(changes)
        if not changes:
            return


def widen(store: Store, slices: int = 1_000, octets: int = 1) -> int:
    """Slices done, of one block each."""
    for done in range(slices):
        with store.begin_write() as view:
            changes = widen_some(view, 1, octets)
            view.apply(changes)
        if not changes:
            return done
    return slices


def cities(store: Store) -> list[str | None]:
    """Every member's city: by its slot, which a scan of its block must confirm."""
    with store.snapshot() as view:
        field = city(view)
        column = field.columns[0]
        found: list[str | None] = []
        for member_no in range(200):
            read = read_member(view, 1, member_no, [column])
            if read is None:
                break
            found.append(decode(field, read))
            opened = open_block(view, 1, member_no // BLOCK, [column])
            wide = opened.array(field.number).cast("H" if column[2] == ColumnKind.U16 else "B")
            assert decode(field, {column: wide[member_no % BLOCK]}) == found[-1]
        return found


def looked_at(store: Store) -> list[int]:
    """Tenants that housekeeping widens this minute."""
    with store.begin_write() as view:
        found = widening(view)
        view.apply(looked_at_all(view)[0])
    return found


@pytest.fixture
def shop(store: Store) -> Store:
    """Members 0 to 2 with cities: 0 and 1 in a block, 2 in the delta."""
    new_shop(store)
    for i in range(2):
        new_member(store, 4915100000001 + i, city=CITIES[i])
    fold(store)
    new_member(store, 4915100000003, city=CITIES[2])
    return store


def test_only_tenants_with_a_field_that_is_being_widened_are_looked_at(shop: Store):
    other = new_shop(shop, "Other Shop")
    assert looked_at(shop) == [1, other], "whatever an earlier version left"
    assert looked_at(shop) == []
    do(shop, edit_field, EditField(title="city", changes={"max_values": 1_000}))
    assert looked_at(shop) == [1]
    widen(shop)
    assert looked_at(shop) == []


def test_it_takes_the_256th_value_from_the_next_commit_on(shop: Store):
    do(shop, edit_field, EditField(title="city", changes={"add_values": CITIES[3:]}))
    widened(shop)
    assert new_member(shop, 4915100000004, city="the 256th") == 3
    with shop.snapshot() as view:
        assert (city(view).column, len(city(view).values)) == (ColumnKind.U16, 256)
    assert cities(shop) == ["c0", "c1", "c2", "the 256th"]


@pytest.mark.parametrize("steps", [("fold", "widen"), ("widen", "fold"), ("fold",), ("widen",), ()])
def test_values_are_the_same_before_amid_and_after(shop: Store, steps: tuple[str, ...]):
    before = cities(shop)
    widened(shop)
    assert cities(shop) == before
    for step in steps:
        fold(shop) if step == "fold" else widen(shop)
        assert cities(shop) == before
    with shop.snapshot() as view:
        assert verify(view)["problems"] == []


def test_a_reader_of_before_sees_what_was(shop: Store):
    with shop.snapshot() as old:
        held = city(old)
        widened(shop)
        new_member(shop, 4915100000001, city="new")
        fold(shop)
        widen(shop)
        assert held.column == city(old).column == ColumnKind.U8
        assert open_block(old, 1, 0, held.columns).array(held.number)[:3] == b"\1\2\3"
    assert cities(shop) == ["new", "c1", "c2"]


def test_a_field_held_from_before_reads_new_codes_as_unknown(shop: Store):
    """What a feeder does until it is told: it has no word for them either."""
    with shop.snapshot() as view:
        held = city(view)
    do(shop, edit_field, EditField(title="city", changes={"add_values": CITIES[3:]}))
    widened(shop)
    new_member(shop, 4915100000001, city="the 256th")
    for step in (lambda: None, lambda: fold(shop)):
        step()
        with shop.snapshot() as view:
            assert open_block(view, 1, 0, held.columns).array(held.number)[:3] == b"\0\2\3"
            read = read_member(view, 1, 0, held.columns)
            assert read is not None and read[held.columns[0]] is None


def test_an_old_entry_laid_over_a_wide_block_does_not_narrow_it(shop: Store):
    """An undo may bring entries from before."""
    do(shop, edit_field, EditField(title="city", changes={"add_values": CITIES[3:]}))
    widened(shop)
    new_member(shop, 4915100000002, city="the 256th")
    fold(shop)
    with shop.begin_write() as view:
        changes, number = Changes(), city(view).number
        put_delta(changes, view, 1, 0, {(number, 0, ColumnKind.U8): b"\7"})
        view.apply(changes)
    assert cities(shop) == ["c6", "the 256th", "c2"]
    fold(shop)
    assert cities(shop) == ["c6", "the 256th", "c2"]
    with shop.snapshot() as view:
        assert stored_kind(view, 1, 0, city(view).number, 0) == ColumnKind.U16


def test_a_member_changed_amid_has_one_entry(shop: Store):
    widened(shop)
    new_member(shop, 4915100000003, city="c0")
    with shop.snapshot() as view:
        (row,) = [unpack_delta(row) for key, row in delta_rows(view, 1, 0) if key.endswith(b"\0\2")]
        kinds: list[Column] = [column for column in row if column[0] == city(view).number]
    assert [kind for _, _, kind in kinds] == [ColumnKind.U16]


def test_slices_end_and_say_so(shop: Store):
    widened(shop)
    with shop.snapshot() as view:
        assert city(view).narrow_from == 0
    assert widen(shop) == 1
    with shop.snapshot() as view:
        assert city(view).narrow_from is None
        assert stored_kind(view, 1, 0, city(view).number, 0) == ColumnKind.U16
    assert widen(shop) == 0


def test_it_is_refused_while_an_import_is_under_way(shop: Store):
    do(shop, open_import, OpenImport(import_id=7))
    error = refused(shop, edit_field, EditField(title="city", changes={"max_values": 1_000}))
    assert (error.status, error.code, len(error.extra["used_by"])) == (409, "field_in_use", 1)


CHILD = """
import os, signal, sys
from dispatcher.store import open_store
from dispatcher.members.widen import widen_some
with open_store(sys.argv[1], write=True) as store:
    for i in range(int(sys.argv[2])):
        with store.begin_write() as view:
            view.apply(widen_some(view, 1, 1))
    with store.begin_write() as view:
        view.apply(widen_some(view, 1, 1))
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("slices", [0, 1])
def test_a_kill_in_the_middle_leaves_every_value(tmp_path: Path, slices: int):
    folder = tmp_path / "data"
    with open_store(folder, write=True, create=True) as store:
        new_shop(store)
        for i in range(5):
            new_member(store, 4915100000001 + i, city=CITIES[i])
        fold(store)
        widened(store)
    killed = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(slices)], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    with open_store(folder, write=True) as store:
        assert cities(store) == CITIES[:5]
        widen(store)
        assert cities(store) == CITIES[:5]
        with store.snapshot() as view:
            assert city(view).narrow_from is None and verify(view)["problems"] == []


@given(st.lists(st.integers(0, 0xFFFF), max_size=200))
def test_codes_of_either_width_read_as_the_other(codes: list[int]):
    wide = b"".join(code.to_bytes(2, "little") for code in codes)
    narrow = bytes(code if code < 256 else 0 for code in codes)
    assert recoded(wide, ColumnKind.U8) == narrow
    assert recoded(narrow, ColumnKind.U16) == b"".join(code.to_bytes(2, "little") for code in narrow)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["set", "fold", "widen", "grow"]), st.integers(0, 3), st.integers(0, 400))))
def test_any_order_of_changes_folds_and_slices_keeps_each_members_city(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
):
    with open_store(tmp_path_factory.mktemp("any") / "data", write=True, create=True) as store:
        new_shop(store)
        do(store, edit_field, EditField(title="city", changes={"add_values": CITIES}))
        model: list[str | None] = []
        for member in range(4):
            new_member(store, 4915100000001 + member)
            model.append(None)
        wide = False
        for what, member, value in steps:
            if what == "set":
                model[member] = f"c{value if wide else value % 255}"
                new_member(store, 4915100000001 + member, city=model[member])
            elif what == "grow":
                widened(store)
                wide = True
            else:
                fold(store) if what == "fold" else widen(store, 1)
            assert cities(store) == model


def test_a_rule_counts_the_same_whichever_blocks_are_wide(store: Store):
    new_shop(store)
    rows = (f"+{4915100000001 + i},c{i % 250}" for i in range(2 * BLOCK + 1_000))
    run_import(store, 1, "\n".join(["phone,city", *rows, ""]).encode())

    def counts() -> tuple[int, int]:
        with store.snapshot() as view:
            compiled = compile_text(view, 1, 'city = "c7" or city = "the 256th"')
            scanned = sum(found for _, _, found in select(view, 1, compiled))
            return scanned, count(view, 1, 'city in ("c7", "c8")')["matched"]

    before = counts()
    do(store, edit_field, EditField(title="city", changes={"max_values": 1_000, "add_values": CITIES[250:]}))
    assert counts() == before
    new_member(store, 4915100000001, city="c7")
    new_member(store, 4915100000002, city="the 256th")
    after = (before[0] + 2, before[1] + 1)
    for step in (lambda: None, lambda: widen(store, 1), lambda: fold(store), lambda: widen(store)):
        step()
        assert counts() == after


@pytest.mark.parametrize("steps", [(), ("fold",), ("widen",), ("fold", "widen")])
def test_an_import_from_before_is_taken_back_to_the_value(store: Store, steps: tuple[str, ...]):
    new_shop(store)
    numbers = [f"+{4915100000001 + i}" for i in range(20)]
    run_import(store, 1, "\n".join(["phone,city", *(f"{n},c{i}" for i, n in enumerate(numbers)), ""]).encode())
    before = cities(store)
    run_import(store, 2, "\n".join(["phone,city", *(f"{n},d{i}" for i, n in enumerate(numbers[5:])), ""]).encode())
    widened(store)
    for step in steps:
        fold(store) if step == "fold" else widen(store)
    assert undo(store, 2)["state"] == "undone"
    assert cities(store) == before
