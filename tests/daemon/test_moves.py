"""Numbers that wait in the small table are moved by a dispatcher that is idle, also one that is killed in the middle."""

from __future__ import annotations

import random
from pathlib import Path

from dispatcher.control import commands as c
from dispatcher.daemon.handlers import run_locally
from dispatcher.records.changes import Changes
from dispatcher.store import open_store, phones
from dispatcher.store.layout import MEMBER_NO, TENANT_U64
from tests.fakes.crash_run import Run, Scenario

LARGE = 20_000


def numbers_of(folder: Path) -> tuple[dict[bytes, bytes], int]:
    """Every row of the two tables, and how many wait in the small one."""
    with open_store(folder) as store, store.snapshot() as view:
        rows = list(view.range("phones"))
        assert len(dict(rows)) == len(rows)
        return dict(rows), phones.waiting(view)


def prepare(folder: Path) -> dict[bytes, bytes]:
    picked = random.Random(1).sample(range(10**9), LARGE + phones.MERGE_FROM)
    rows = [(TENANT_U64.pack(1, number), MEMBER_NO.pack(at)) for at, number in enumerate(picked)]
    with open_store(folder, write=True, create=True, sync=False) as store:
        run_locally(store, c.CreateTenant(title="Shop"), c.Envelope(tenant=0, actor="test", at_ms=1), 1)
        changes = Changes()
        changes.put_many(phones.LARGE, sorted(rows[:LARGE]))
        changes.put_many(phones.NEW, sorted(rows[LARGE:]))
        store.apply(changes)
    return dict(rows)


def test_a_kill_in_the_middle_of_a_move_loses_no_number_and_the_next_start_ends_it(tmp_path: Path):
    rows = prepare(tmp_path / "made")
    with Run(tmp_path / "made", tmp_path / "run", "", Scenario(kills=())) as run:
        run.die("in_move:3")
        held, waiting = numbers_of(run.folder)
        assert held == rows and 0 < waiting < phones.MERGE_FROM
        with open_store(run.folder, write=True) as store:  # as many wait again as a move begins with
            more = {TENANT_U64.pack(2, at): MEMBER_NO.pack(at) for at in range(phones.MERGE_FROM)}
            changes = Changes()
            changes.put_many(phones.NEW, sorted(more.items()))
            store.apply(changes)
        run.start()
        run.wait(lambda: numbers_of(run.folder)[1] == 0)
        run._alive().terminate()
        run._alive().wait(60)
        assert numbers_of(run.folder)[0] == rows | more
