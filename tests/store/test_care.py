"""The two limits: an alarm at 70 %, no new work at 90 %, room again after tidying up; and who reads for long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Store as Limits
from dispatcher.records.changes import Changes
from dispatcher.store import Store, care
from dispatcher.store.layout import TENANT_U64

MB = 1 << 20
PAGE = 4_096


def fill(store: Store, octets: int) -> None:
    changes = Changes()
    for row in range(octets // (13 * PAGE)):
        changes.put("import_rejects", TENANT_U64.pack(0, row) + bytes(6), bytes(13 * PAGE - 16))  # with LMDB's header
    store.apply(changes)


def empty(store: Store) -> None:
    changes = Changes()
    with store.snapshot() as view:
        for key, _ in view.range("import_rejects"):
            changes.delete("import_rejects", key)
    store.apply(changes)


@pytest.mark.parametrize(("used_mb", "state"), [(5, "ok"), (7.5, "alarm"), (9.5, "full")])
def test_a_store_near_its_limit_raises_an_alarm_and_then_takes_no_new_work(store: Store, used_mb: float, state: str):
    fill(store, int(used_mb * MB))
    found = care.look(store, Limits(store_max_octets=10 * MB))
    assert (found.state, found.said is None) == (state, state == "ok")
    assert found.store_percent == pytest.approx(10 * used_mb, abs=5)


def test_a_full_store_that_was_tidied_up_has_room_though_its_file_is_as_long(store: Store):
    limits = Limits(store_max_octets=10 * MB)
    fill(store, 12 * MB)
    file_octets = care.look(store, limits).file_octets
    empty(store)
    found = care.look(store, limits)
    assert found.state == "ok" and found.file_octets >= file_octets > 10 * MB


@pytest.mark.parametrize(
    ("free_gb", "whole_gb", "state"),
    [(8, 10, "ok"), (2, 10, "alarm"), (0.9, 10, "full"), (7, 900, "ok"), (5, 900, "alarm"), (1.9, 900, "full")],
)
def test_the_disk_has_the_same_limits_but_a_great_one_need_not_keep_a_tenth_free(
    store: Store, monkeypatch: pytest.MonkeyPatch, free_gb: float, whole_gb: int, state: str
):
    blocks, free = whole_gb << 18, int(free_gb * (1 << 18))
    disk = os.statvfs_result([4096, 4096, blocks, free, free, 1, 1, 1, 0, 255])
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert care.look(store, Limits()).state == state


def test_open_readers_are_counted_with_how_far_behind_the_oldest_is(store: Store):
    with store.snapshot():
        for _ in range(3):
            fill(store, MB)
        found = care.look(store, Limits())
    assert (found.readers, found.reader_behind) == (1, 3)
    assert care.look(store, Limits()).readers == 0


def test_the_slot_of_a_reader_that_was_killed_is_cleared_and_counted(store: Store):
    code = f"""
import os, signal
from dispatcher.store import open_store
store = open_store({str(store.folder)!r})
view = store.snapshot()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    fill(store, MB)
    assert care.look(store, Limits()).readers == 1, "LMDB does not know that it is dead"
    assert store.env.reader_check() == 1
    assert care.look(store, Limits()).readers == 0
