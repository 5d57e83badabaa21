"""The store as a whole: who may open it, which schema it has, what a snapshot's ranges give."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.errors import NewerSchema, StoreError, StoreLocked
from dispatcher.records.changes import Changes
from dispatcher.store import Store, open_store
from dispatcher.store.ids import next_id
from dispatcher.store.layout import SCHEMA, SINCE_5, TABLES
from dispatcher.store.values import pack, unpack


def test_a_second_writer_is_refused_at_once_and_may_open_after_the_first(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True):
        with pytest.raises(StoreLocked, match="another dispatcher"):
            open_store(tmp_path, write=True)
        other = f"from dispatcher.store import open_store; open_store({str(tmp_path)!r}, write=True)"
        ran = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode != 0 and "StoreLocked" in ran.stderr
    with open_store(tmp_path, write=True) as store:
        assert store.writable


def test_a_writer_that_was_killed_leaves_no_lock(tmp_path: Path):
    code = (
        "import os, signal; from dispatcher.store import open_store\n"
        f"open_store({str(tmp_path)!r}, write=True, create=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert ran.returncode == -9
    open_store(tmp_path, write=True).close()


def test_a_reader_in_another_process_opens_beside_the_writer_and_cannot_write(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True) as store:
        changes = Changes()
        changes.put("tenants", b"\0\1", b"one")
        store.apply(changes)
        code = (
            "from dispatcher.store import open_store\n"
            f"store = open_store({str(tmp_path)!r})\n"
            "with store.snapshot() as view: print(view.get('tenants', bytes([0, 1])))\n"
            "store.begin_write()"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.strip() == "b'one'"
    assert "StoreError: this process opened the store read-only" in ran.stderr


def test_a_folder_without_a_store_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match="volley init"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="volley init"):
        open_store(tmp_path, write=True)


def test_a_newer_schema_is_refused_and_the_lock_let_go(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True) as store:
        changes = Changes()
        changes.put("meta", b"schema", pack({"schema": SCHEMA + 1, "map_size": 1}))
        store.apply(changes)
    for write in (True, False, True):
        with pytest.raises(NewerSchema, match=f"schema {SCHEMA + 1}"):
            open_store(tmp_path, write=write)


def test_a_store_of_schema_4_gets_the_tables_of_coupons_when_a_dispatcher_opens_it(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True) as store:
        changes = Changes()
        changes.put("meta", b"schema", pack({"schema": 4, "map_size": 1}))
        changes.put("tenants", b"\0\1", b"one")
        store.apply(changes)
        with store.env.begin(write=True) as txn:
            for table in SINCE_5:
                txn.drop(store.tables[table])
    with pytest.raises(StoreError, match="start the dispatcher once"):
        open_store(tmp_path)
    with open_store(tmp_path, write=True) as store, store.snapshot() as view:
        assert unpack(view.get("meta", b"schema") or b"") == {"schema": SCHEMA, "map_size": 1}
        assert view.get("tenants", b"\0\1") == b"one"
        assert [view.count(table) for table in SINCE_5] == [0] * len(SINCE_5)
    with open_store(tmp_path) as store:
        assert not store.writable


def test_a_new_store_has_every_table_and_its_schema(store: Store):
    with store.snapshot() as view:
        row = view.get("meta", b"schema")
        assert row is not None and unpack(row)["schema"] == SCHEMA
        assert {table: view.count(table) for table in TABLES if table != "meta"} == dict.fromkeys(
            set(TABLES) - {"meta"}, 0
        )


def test_an_exception_in_a_write_block_leaves_the_store_as_it_was(store: Store):
    changes = Changes()
    changes.put("tenants", b"\0\1", b"one")
    with contextlib.suppress(RuntimeError), store.begin_write() as view:
        view.apply(changes)
        assert view.get("tenants", b"\0\1") == b"one"
        raise RuntimeError
    with store.snapshot() as view:
        assert view.get("tenants", b"\0\1") is None


def test_a_snapshot_does_not_see_what_is_committed_after_it_began(store: Store):
    changes = Changes()
    changes.put("tenants", b"\0\1", b"one")
    with store.snapshot() as view:
        store.apply(changes)
        assert view.get("tenants", b"\0\1") is None
    changes.delete("tenants", b"\0\1")
    store.apply(changes)
    store.apply(changes)  # deleting what is gone is no error
    with store.snapshot() as view:
        assert list(view.range("tenants")) == []


KEYS = st.binary(min_size=1, max_size=3).map(lambda key: bytes(octet % 3 * 127 for octet in key))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    keys=st.sets(KEYS, max_size=12),
    prefix=st.just(b"") | KEYS,
    after=st.none() | KEYS,
    reverse=st.booleans(),
)
def test_a_range_gives_the_rows_of_a_prefix_in_order(
    store: Store, keys: set[bytes], prefix: bytes, after: bytes | None, reverse: bool
):
    start = None if after is None else prefix + after
    changes = Changes()
    for key in keys:
        changes.put("tenants", key, key * 2)
    view = store.begin_write()
    view.apply(changes)
    found = list(view.range("tenants", prefix, after=start, reverse=reverse))
    view.txn.abort()
    expected = sorted((key for key in keys if key.startswith(prefix)), reverse=reverse)
    if start is not None:
        expected = [key for key in expected if (key < start if reverse else key > start)]
    assert found == [(key, key * 2) for key in expected]


def test_ids_of_one_millisecond_differ_and_sort_by_time(store: Store):
    ids = []
    for at_ms in (1000, 1000, 1000, 1001):
        with store.begin_write() as view:
            changes = Changes()
            ids += [next_id(changes, view, at_ms), next_id(changes, view, at_ms)]
            view.apply(changes)
    assert len(set(ids)) == 8 and max(ids[:6]) < min(ids[6:])
