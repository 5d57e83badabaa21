import shutil

import pytest

from dispatcher.records.changes import Changes
from dispatcher.store import open_store
from tests.store.make_schema_1 import FOLDER, number


@pytest.fixture
def used(tmp_path):
    """A folder that a real campaign, replies and an import went through, brought to the schema of today."""
    folder = shutil.copytree(FOLDER, tmp_path / "data")
    open_store(folder, write=True).close()
    return folder


def test_a_used_folder_has_no_problem_and_its_tables_are_counted(volley, used):
    said = volley("verify", "--data", used)
    assert said.status == 0, said.out
    assert said.out.startswith("0 problems\n")
    found = volley("verify", "--data", used, "--json").json
    assert (found["problems"], found["tables"]["campaigns"]) == ([], 2)
    assert {"numbers_add_up", "counters_are_the_ledgers", "the_outcome_log_is_whole"} <= set(found["checks"])


def test_what_does_not_add_up_is_listed_with_status_1(volley, used):
    with open_store(used, write=True) as store:
        with store.snapshot() as view:
            first = next(key for key, _ in view.range("phones"))
        changes = Changes()
        changes.delete("phones", first)
        store.apply(changes)
    said = volley("verify", "--data", used)
    assert said.status == 1
    assert f"member 0: not found by +{number(0)}" in said.out
