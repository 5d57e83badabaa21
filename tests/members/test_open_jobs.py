"""What looks every minute for something to do about imports and edits reads none that is over."""

import pytest

from dispatcher.members.edit_jobs import unfinished_edits
from dispatcher.members.import_files import import_folder
from dispatcher.members.import_job import leftover_folders
from dispatcher.members.import_undo import KEPT_MS, expired_rows
from dispatcher.members.importer import (
    expired_undos,
    expired_uploads,
    note_open_imports,
    over_imports,
    read_import,
    unfinished_imports,
)
from dispatcher.members.job import close_jobs, open_jobs
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from dispatcher.store.layout import TENANT_U64
from tests.fakes.people import run_import
from tests.fakes.shop import NOW_MS, new_shop

LONG_AFTER_MS = 4 * NOW_MS  # imports in tests take the time of day
CSV = b"phone,name\n+4915100000001,Ann\n"


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    note_open_imports(store, NOW_MS)
    return store


def known(store: Store) -> list[tuple[int, int]]:
    with store.snapshot() as view:
        return [(tenant, job) for tenant, job, _ in open_jobs(view)]


def tidy(store: Store, now_ms: int) -> list[tuple[int, int]]:
    """As the dispatcher does; the jobs that were closed."""
    with store.begin_write() as view:
        for job in list(expired_undos(view, now_ms)):
            view.apply(expired_rows(view, job))
        changes, over = Changes(), over_imports(view, now_ms)
        close_jobs(changes, over)
        view.apply(changes)
    return over


def test_an_import_is_looked_at_until_its_undo_is_kept_no_longer(shop):
    run_import(shop, 1, CSV)
    (one,) = known(shop)
    with shop.snapshot() as view:
        row = read_import(view, *one)
    assert row is not None and row["undo_until"] == row["updated_ms"] + KEPT_MS
    assert tidy(shop, row["undo_until"] - 1) == [] and known(shop) == [one]
    assert tidy(shop, row["undo_until"]) == [one] and known(shop) == []
    with shop.snapshot() as view:
        assert view.count("import_undo") == 0 and read_import(view, *one) == row


def test_an_import_of_long_ago_that_nobody_can_read_holds_up_nothing(shop):
    run_import(shop, 1, CSV)
    ((tenant, job),) = tidy(shop, LONG_AFTER_MS)
    changes = Changes()
    changes.put("imports", TENANT_U64.pack(tenant, job), b"\xc1")
    shop.apply(changes)
    run_import(shop, 2, CSV.replace(b"1,Ann", b"2,Ben"))
    with shop.snapshot() as view:
        assert list(expired_undos(view, LONG_AFTER_MS)) == [2]
        assert leftover_folders(view, shop.folder, LONG_AFTER_MS) == [import_folder(shop.folder, 2)]
        for looked in (unfinished_imports(view), unfinished_edits(view), list(expired_uploads(view, LONG_AFTER_MS))):
            assert looked == []


def test_imports_of_an_earlier_version_are_all_read_until_a_start_has_looked_at_them(store):
    new_shop(store)
    run_import(store, 1, CSV)
    ((tenant, job),) = known(store)
    changes = Changes()
    close_jobs(changes, [(tenant, job)])
    store.apply(changes)
    assert known(store) == [(tenant, job)]
    note_open_imports(store, NOW_MS)
    assert known(store) == [(tenant, job)], "its undo is kept"
