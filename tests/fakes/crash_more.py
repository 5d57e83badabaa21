"""What else is killed: a store of an earlier schema while it is brought on, and numbers on their way to their table."""

from __future__ import annotations

import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

from dispatcher.control import commands as c
from dispatcher.daemon.handlers import run_locally
from dispatcher.errors import StoreError
from dispatcher.records.changes import Changes
from dispatcher.store import open_store, phones
from dispatcher.store.layout import MEMBER_NO, SCHEMA, TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.store.verify import verify
from tests.fakes.crash_run import Run
from tests.store import make_schema_1

LARGE = 20_000
START_S = 0.6  # in which a start is over; a kill's share is of it


def prepare_schema(folder: Path) -> Path:
    """The data folder that schema 1 wrote."""
    shutil.copytree(make_schema_1.FOLDER, folder)
    return folder


class SchemaRun(Run):
    """Killed so many parts of START_S after a start began."""

    waits_for_an_answer = False

    def done_share(self) -> float:
        return (time.monotonic() - self.started) / START_S

    def is_settled(self) -> bool:
        """A store of an earlier schema opens for nobody but its dispatcher."""
        with suppress(StoreError), open_store(self.folder) as store, store.snapshot() as view:
            row = view.get("meta", b"schema")
            return row is not None and unpack(row)["schema"] == SCHEMA
        return False

    def problems(self) -> list[str]:
        """What does not add up, or is not as the earlier version wrote it."""
        with open_store(self.folder) as store, store.snapshot() as view:
            found = list(verify(view)["problems"])
            if view.get("tenants", TENANT.pack(1)) is None:
                found.append("its tenant is gone")
            return found


def prepare_move(folder: Path) -> Path:
    """Numbers in the large table, and as many in the small one as a move begins with."""
    picked = random.Random(1).sample(range(10**9), LARGE + phones.MERGE_FROM)
    rows = [(TENANT_U64.pack(1, number), MEMBER_NO.pack(at)) for at, number in enumerate(picked)]
    with open_store(folder, write=True, create=True, sync=False) as store:
        run_locally(store, c.CreateTenant(title="Shop"), c.Envelope(tenant=0, actor="test", at_ms=1), 1)
        changes = Changes()
        changes.put_many(phones.LARGE, sorted(rows[:LARGE]))
        changes.put_many(phones.NEW, sorted(rows[LARGE:]))
        store.apply(changes)
    return folder


def numbers_of(folder: Path) -> tuple[dict[bytes, bytes], int]:
    """Every row of the two tables, and how many wait in the small one."""
    with open_store(folder) as store, store.snapshot() as view:
        rows = list(view.range("phones"))
        assert len(dict(rows)) == len(rows)
        return dict(rows), phones.waiting(view)


class MoveRun(Run):
    """Killed in the middle of a move; what is left is below the number a move begins with, so it stays."""

    def done_share(self) -> float:
        return 1 - numbers_of(self.folder)[1] / phones.MERGE_FROM

    def is_settled(self) -> bool:
        return numbers_of(self.folder)[1] < phones.MERGE_FROM
