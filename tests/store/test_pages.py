"""store/pages.py and its kernel: every page of a file is in use or free, and what is free is not in a copy."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.records.changes import Changes
from dispatcher.store import Store, open_store
from dispatcher.store._pages import cleaned
from dispatcher.store.backup import open_copy, write_backup
from dispatcher.store.care import used_octets
from dispatcher.store.layout import TABLES, TENANT_U64
from dispatcher.store.pages import Meta, UnknownFormat, free_pages, meta_of

PAGE = 4_096
FREE_TABLE = struct.Struct("<4xHHQQQQQ")  # of a meta page, from octet 40 on: flags, depth, branches, leaves, long pages
SHORT, LONG = "import_rejects", "bitmaps"


@contextmanager
def a_store() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "data", write=True, create=True, sync=False) as store,
    ):
        yield store


def data_of(store: Store) -> Path:
    return store.folder / "store" / "data.mdb"


@contextmanager
def file_of(store: Store) -> Iterator[int]:
    descriptor = os.open(data_of(store), os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def meta_now(store: Store, file: int) -> Meta:
    with store.snapshot() as view:
        meta = meta_of(file, view.txn.id(), PAGE)
    assert meta is not None
    return meta


def commit(store: Store, draw: random.Random, rows: int, octets: int) -> None:
    """Rows that come, change, go."""
    changes = Changes()
    for _ in range(rows):
        key = TENANT_U64.pack(draw.randrange(3), draw.randrange(500)) + bytes(6)
        value = draw.randbytes(draw.randrange(1, octets)) if draw.random() < 0.7 else None
        changes.put(draw.choice((SHORT, LONG)), key, value) if value else changes.delete(SHORT, key)
    store.apply(changes)


commits = st.lists(st.tuples(st.integers(1, 400), st.sampled_from([40, 1_500, 5_000, 90_000])), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(commits, st.integers(0, 1 << 32))
def test_every_page_of_a_file_is_free_or_in_use_whatever_was_committed(made: list[tuple[int, int]], seed: int):
    draw = random.Random(seed)
    with a_store() as store:
        for rows, octets in made:
            commit(store, draw, rows, octets)
        with file_of(store) as file:
            meta = meta_now(store, file)
            free = free_pages(file, meta)
        _, _, branches, leaves, long, _, _ = FREE_TABLE.unpack_from(meta.octets, 40)
        assert sum(free) + branches + leaves + long == meta.last_page + 1 - used_octets(store) // PAGE


@settings(max_examples=15, deadline=None)
@given(commits, st.integers(0, 1 << 32))
def test_a_copy_has_every_row_of_every_table_and_takes_writes_like_the_store(made: list[tuple[int, int]], seed: int):
    draw = random.Random(seed)
    with a_store() as store, tempfile.TemporaryDirectory() as folder:
        for rows, octets in made:
            commit(store, draw, rows, octets)
        write_backup(store, Path(folder) / "copy", 1)
        with open_copy(Path(folder) / "copy") as copy, copy.snapshot() as view, store.snapshot() as mine:
            for table in TABLES:
                assert list(view.range(table)) == list(mine.range(table))
        (Path(folder) / "data" / "store").mkdir(parents=True)
        (Path(folder) / "copy" / "data.mdb").rename(Path(folder) / "data" / "store" / "data.mdb")
        with open_store(Path(folder) / "data", write=True, sync=False) as other:
            for rows, octets in made:
                state = draw.getstate()
                commit(store, draw, rows, octets)
                draw.setstate(state)
                commit(other, draw, rows, octets)
            with other.snapshot() as view, store.snapshot() as mine:
                for table in (SHORT, LONG):
                    assert list(view.range(table)) == list(mine.range(table))


def test_what_was_deleted_is_in_the_stores_file_and_not_in_a_copy(tmp_path: Path):
    with a_store() as store:
        secrets = [b"secret-%06d" % n for n in range(3_000)]
        for wanted in (secrets, None):
            changes = Changes()
            for n in range(0, 3_000, 1 if wanted else 3):
                key = TENANT_U64.pack(1, n) + bytes(6)
                changes.put(SHORT, key, wanted[n]) if wanted else changes.delete(SHORT, key)
            store.apply(changes)
        write_backup(store, tmp_path / "copy", 1)
        theirs, ours = data_of(store).read_bytes(), (tmp_path / "copy" / "data.mdb").read_bytes()
    assert all(secret in theirs for secret in secrets[::3]), "LMDB leaves what it no longer needs"
    assert not any(secret in ours for secret in secrets[::3])
    assert all(secret in ours for n, secret in enumerate(secrets) if n % 3)


def test_a_meta_page_counts_only_while_the_next_but_one_cannot_be_taking_its_place():
    with a_store() as store, file_of(store) as file, store.snapshot() as view:
        number = view.txn.id()
        assert meta_of(file, number, PAGE) is not None
        commit(store, random.Random(1), 3, 40)
        assert meta_of(file, number, PAGE) is None and meta_of(file, number + 1, PAGE) is not None
        commit(store, random.Random(2), 3, 40)
        assert meta_of(file, number, PAGE) is None


@pytest.mark.parametrize(
    ("at", "octets", "said"),
    [
        (16, b"\0", "magic"),
        (20, b"\2", "version 2"),
        (PAGE + 40, b"\0\0", "pages of 0 octets"),
    ],
)
def test_a_file_of_another_format_is_refused_as_such(tmp_path: Path, at: int, octets: bytes, said: str):
    with a_store() as store:
        content = bytearray(data_of(store).read_bytes())
    content[at : at + len(octets)] = octets
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, pytest.raises(UnknownFormat, match=said):
        meta_of(file.fileno(), 3, PAGE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 60))
def test_a_damaged_table_of_free_pages_is_an_error_and_never_a_crash(seed: int, damages: int):
    draw = random.Random(seed)
    with a_store() as store, tempfile.TemporaryFile() as damaged:
        for _ in range(4):
            commit(store, draw, 300, 5_000)
        with file_of(store) as file:
            meta = meta_now(store, file)
            right = free_pages(file, meta)
        content = bytearray(data_of(store).read_bytes())
        for _ in range(damages):
            content[meta.free_root * PAGE + draw.randrange(PAGE)] = draw.randrange(256)
        damaged.write(content)
        damaged.flush()
        try:
            found = free_pages(damaged.fileno(), meta)
        except UnknownFormat:
            return
        assert len(found) == len(right)


def reference(octets: bytearray, first: int, free: bytes, within: int) -> int:
    """The same, page by page."""
    for i in range(len(octets) // PAGE):
        page = memoryview(octets)[i * PAGE : (i + 1) * PAGE]
        number, flags, low, high = struct.unpack_from("<Q2xHHH", page)
        if free[first + i]:
            page[:] = bytes(PAGE)
            within = max(0, within - 1)
        elif within:
            within -= 1
        elif number == first + i and flags & 4:
            within = max(0, (low | high << 16) - 1)
        elif number == first + i and flags & 3 and not flags & 0x20 and 16 <= low <= high <= PAGE:
            page[low:high] = bytes(high - low)
    return within


heads = st.tuples(
    st.sampled_from([0, 0, 0, 1, -1]),  # beside its own number
    st.sampled_from([1, 2, 4, 8, 0x22]),
    st.sampled_from([0, 1, 3, 15, 16, 20, 700, PAGE, PAGE + 1, 65_535]),
    st.sampled_from([0, 0, 1, 900, PAGE, 65_535]),
    st.sampled_from([0, 0, 0, 1]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(heads, min_size=1, max_size=12), st.integers(0, 3), st.integers(0, 3))
def test_pages_are_cleaned_as_the_reference_cleans_them(made: list[tuple[int, ...]], first: int, within: int):
    free = bytes(first) + bytes(one[4] for one in made)
    octets = bytearray(random.Random(1).randbytes(PAGE * len(made)))
    for i, (beside, flags, low, high, _) in enumerate(made):
        struct.pack_into("<Q2xHHH", octets, i * PAGE, max(0, first + i + beside), flags, low, high)
    wanted = bytearray(octets)
    after = reference(wanted, first, free, within)
    assert cleaned(octets, PAGE, first, free, within) == after
    assert octets == wanted


def test_pages_past_the_last_one_are_refused():
    with pytest.raises(ValueError, match="pages 1 to 3 of 2"):
        cleaned(bytearray(2 * PAGE), PAGE, 1, bytes(2), 0)
