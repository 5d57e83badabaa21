"""kill -9 inside an import and inside its undo, of a real process: in an open transaction, also one that moves numbers
from the small table to the large one, and just after a commit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.local_import import run_import_locally
from dispatcher.control.commands import UndoImport
from dispatcher.members.fields import fields_of
from dispatcher.members.importer import undo_import
from dispatcher.store import open_store
from dispatcher.store.verify import find_problems
from tests.fakes.people import counts, everybody, run_import, spool
from tests.fakes.shop import do, new_shop

FIRST = 4_915_100_000_000
CHILD = """
import os, signal, sys
from dispatcher.cli.local_import import run_import_locally
from dispatcher.members import import_restore, import_slice
from dispatcher.store import open_store, phones
from dispatcher.store.snapshot import Snapshot
import_slice.WINDOW, import_restore.REMOVED_AT_ONCE, import_restore.CHECKED_AT_ONCE = 40, 30, 1
left, when = int(sys.argv[2]), sys.argv[3]
if when == "moving":
    phones.MERGE_AT_ONCE, phones.ROWS_A_SLICE = 30, 16
    phones.place_for = lambda view, tenant, numbers, count, room: (phones.NEW, count)

def die(*_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

if when in ("open", "moving"):
    apply = Snapshot.apply
    def applied(self, changes):
        apply(self, changes)
        die()
    Snapshot.apply = applied
with open_store(sys.argv[1], write=True) as store:
    run_import_locally(store, 1, 2, die if when == "committed" else None, run_rows=100)
"""


def kill(folder: Path, commits: int, when: str) -> None:
    died = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(commits), when], check=False)
    assert died.returncode == -signal.SIGKILL


def first_body() -> bytes:
    rows = (f"+{FIRST + i},name {i},Ulm,a;b,{i}" for i in range(120))
    return "\n".join(("phone,name,city,tags,points", *rows, "")).encode()


def second_body() -> bytes:
    """Updates, new members, repeats, new words, bad rows."""
    rows = (
        f"+{FIRST + 60 + i * 7 % 240},other {i},{('Rom', 'Ulm', '')[i % 3]},{'c;d' if i % 2 else ''},5"
        for i in range(300)
    )
    return "\n".join(("phone,name,city,tags,points", *rows, "bad,x,,,", "")).encode()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Any], dict[int, Any], tuple[int, ...]]:
    """A folder with one import done and one spooled; the members before and after the second, and its counts."""
    folder = tmp_path_factory.mktemp("kill")
    with open_store(folder / "a", write=True, create=True, sync=False) as store:
        new_shop(store)
        run_import(store, 1, first_body())
        before = everybody(store)
        row = run_import(store, 2, second_body())
        after = everybody(store)
    return folder, before, after, counts(row)


def fresh(folder: Path, name: str) -> Path:
    data = folder / name
    with open_store(data, write=True, create=True, sync=False) as store:
        new_shop(store)
        run_import(store, 1, first_body())
        spool(store, 2, second_body())
    return data


@pytest.mark.parametrize("when", ["open", "committed", "moving"])
def test_a_killed_import_and_a_killed_undo_end_as_if_nobody_had_killed_them(prepared: Any, when: str):
    folder, before, after, expected = prepared
    data = fresh(folder, when)
    for commits in (1, 2, 4):
        kill(data, commits, when)
    with open_store(data, write=True) as store:
        row = run_import_locally(store, 1, 2)
        assert (row["state"], counts(row)) == ("done", expected)
        assert everybody(store) == after
        with store.snapshot() as view:
            assert set(fields_of(view, 1)["city"].values) == {"Ulm", "Rom"}
        do(store, undo_import, UndoImport(import_id=2), at_ms=row["updated_ms"])
    for commits in (1, 2, 3):
        kill(data, commits, when)
    with open_store(data, write=True) as store:
        row = run_import_locally(store, 1, 2)
        assert (row["state"], row["undo"]["conflicts_found"]) == ("undone", 0)
        assert everybody(store) == before
        with store.snapshot() as view:
            assert list(find_problems(view)) == []
