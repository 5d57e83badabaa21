"""Numbers that wait in the small table are moved by a dispatcher that is idle, also one that is killed in the middle."""

from __future__ import annotations

from pathlib import Path

from dispatcher.records.changes import Changes
from dispatcher.store import open_store, phones
from dispatcher.store.layout import MEMBER_NO, TENANT_U64
from tests.fakes.crash_more import numbers_of, prepare_move
from tests.fakes.crash_run import Run, Scenario


def test_a_kill_in_the_middle_of_a_move_loses_no_number_and_the_next_start_ends_it(tmp_path: Path):
    prepare_move(tmp_path / "made")
    rows, _ = numbers_of(tmp_path / "made")
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
