"""A power cut in small: the file as each fsync left it, and in between with any of the unsynced page writes missing.

Rests on: LMDB writes a commit's pages, syncs, then writes one of the two meta pages and syncs again. So what a cut can
leave is the file before the commit with some of its pages, or with all of them and the meta page.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dispatcher.records.changes import Changes
from dispatcher.store import Store, open_store
from dispatcher.store.layout import LAYERS, TABLES, U64

PAGE = 4096
META_PAGES = 2
ITS_OWN = {"meta", "block_versions", "outcome_log", *LAYERS, *LAYERS.values()}  # written by rules of their own
TABLES_USED = sorted(TABLES.keys() - ITS_OWN)
Rows = dict[tuple[str, bytes], bytes]


def test_nothing_is_opened_that_waits_less_for_the_disk(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True) as store:
        flags = store.env.flags()
    assert flags["sync"] and flags["metasync"] and not flags["writemap"] and not flags["map_async"] and flags["lock"]


@pytest.mark.parametrize("seed", range(3))
def test_after_a_power_cut_every_acknowledged_commit_is_there_and_nothing_else(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    rows: Rows = {}
    with open_store(tmp_path / "data", write=True, create=True) as store:
        rows |= content(store)
        before = image(store)
        for number in range(16):
            known = dict(rows)
            commit(store, rng, rows, number)
            after = image(store)
            assert kept(tmp_path, after) == rows
            for _ in range(3):
                assert kept(tmp_path, cut_between(before, after, rng)) == known
            before = after


def test_a_commit_that_is_cut_off_is_written_again_over_its_own_remains(tmp_path: Path):
    rng = random.Random(7)
    rows: Rows = {}
    with open_store(tmp_path / "data", write=True, create=True) as store:
        rows |= content(store)
        commit(store, rng, rows, 0)
        before, known = image(store), dict(rows)
        commit(store, rng, rows, 1)
        after = image(store)
    folder = put_back(tmp_path / "cut", cut_between(before, after, rng))
    with open_store(folder, write=True) as store:
        assert content(store) == known
        commit(store, rng, known, 2)
    with open_store(folder) as store:
        assert content(store) == known


def commit(store: Store, rng: random.Random, rows: Rows, number: int) -> None:
    """Puts, deletes, values of many pages, and one more value at the log's end, in one transaction."""
    changes = Changes()
    for _ in range(rng.randrange(1, 40)):
        table = rng.choice(TABLES_USED)
        old = [key for of, key in rows if of == table]
        if old and rng.random() < 0.4:
            key = rng.choice(old)
            changes.delete(table, key)
            rows.pop((table, key))
        else:
            key, value = rng.randbytes(rng.randrange(1, 14)), rng.randbytes(rng.choice((4, 70, 900, 5_000, 66_000)))
            changes.put(table, key, value)
            rows[table, key] = value
    log = rng.randbytes(8 * rng.randrange(3, 4_000))
    with store.begin_write() as view:
        view.apply(changes)
        view.txn.put(U64.pack(number), log, db=view.tables["outcome_log"], append=True)
    rows["outcome_log", U64.pack(number)] = log


def content(store: Store) -> Rows:
    """All rows but the versions of blocks, which a transaction adds by itself (Snapshot.apply)."""
    tables = [table for table in TABLES if table != "block_versions"]
    with store.snapshot() as view:
        return {(table, key): value for table in tables for key, value in view.range(table)}


def image(store: Store) -> bytes:
    """The file as it is; nobody writes now."""
    return (store.folder / "store" / "data.mdb").read_bytes()


def cut_between(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """`before` with some of the pages that the next commit wrote: some, none or all of them, but no meta page."""
    pages = [at for at in range(META_PAGES * PAGE, len(after), PAGE) if before[at : at + PAGE] != after[at : at + PAGE]]
    share = rng.choice((0.0, 0.3, 0.8, 1.0))
    file = bytearray(before)
    for at in pages:
        if rng.random() < share:
            file.extend(bytes(max(0, at + PAGE - len(file))))
            file[at : at + PAGE] = after[at : at + PAGE]
    return bytes(file)


def kept(folder: Path, file: bytes) -> Rows:
    """What a store opened on this file holds."""
    with open_store(put_back(folder / "cut", file)) as store:
        return content(store)


def put_back(folder: Path, file: bytes) -> Path:
    place = folder / "store"
    place.mkdir(parents=True, exist_ok=True)
    (place / "lock.mdb").unlink(missing_ok=True)
    (place / "data.mdb").write_bytes(file)
    return folder
