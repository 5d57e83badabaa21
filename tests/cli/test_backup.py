import hashlib
import json
import shutil

import pytest

from dispatcher.cli.common import Call
from dispatcher.errors import StoreFull
from dispatcher.store import audit
from dispatcher.store.backup import MANIFEST, open_copy
from dispatcher.store.layout import SCHEMA
from tests.store.make_schema_1 import FOLDER


@pytest.fixture
def copy(volley, data, tmp_path):
    volley("tenant", "create", "Shop", "--data", data)
    said = volley("backup", tmp_path / "copy", "--data", data)
    assert said.status == 0, said.err
    return tmp_path / "copy"


def test_a_backup_is_made_and_found_whole(volley, data, tmp_path):
    made = volley("backup", tmp_path / "copy", "--data", data, "--json", "--max-mb-s", "500").json
    assert (made["schema"], made["tables"]["keys"]) == (SCHEMA, 1)
    said = volley("backup", "verify", tmp_path / "copy", "--json")
    assert (said.status, said.json["problems"], said.json["sha256"]) == (0, [], made["sha256"])
    assert volley("backup", "verify", tmp_path / "copy", "--quick").status == 0
    assert volley("backup", tmp_path / "copy", "--data", data).status == 1, "it is there already"


def test_who_takes_a_backup_is_in_the_audit_and_in_the_backup(volley, data, tmp_path):
    volley("backup", tmp_path / "copy", "--data", data, "--reason", "weekly")
    last = volley("audit", "list", "--limit", "1", "--data", data, "--json").rows[0]
    assert (last["command"], last["actor"], last["reason"]) == ("backup.note", "cli", "weekly")
    with open_copy(tmp_path / "copy") as copy, copy.snapshot() as view:
        assert (
            audit.check(view).seq
            == last["seq"]
            == json.loads((tmp_path / "copy" / MANIFEST).read_text())["audit"]["seq"]
        )


def test_a_store_that_takes_no_line_of_the_audit_is_copied_all_the_same(volley, data, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise StoreFull("the disk is full")

    monkeypatch.setattr(Call, "do", full)
    said = volley("backup", tmp_path / "copy", "--data", data)
    assert said.status == 0 and "not in the audit: the disk is full" in said.err


def test_what_is_not_whole_is_told_with_status_1(volley, copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["tables"]["tenants"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    said = volley("backup", "verify", copy)
    assert said.status == 1 and "table tenants: 1 rows, the manifest says 2" in said.out
    (copy / "data.mdb").write_bytes(b"nothing")
    said = volley("backup", "verify", copy)
    assert said.status == 1 and "its manifest says" in said.err


def test_a_restore_says_what_it_means_and_does_nothing_until_it_is_told_to(volley, copy, tmp_path):
    said = volley("restore", copy, "--data", tmp_path / "again")
    assert said.status == 2
    assert "recipients count as unsent" in said.err and "--yes" in said.err
    assert not (tmp_path / "again").exists()


def test_a_restored_folder_is_a_data_folder(volley, data, copy, tmp_path):
    said = volley("restore", copy, "--data", tmp_path / "again", "--yes", "--json")
    assert (said.status, said.json["problems"], said.json["paused"]) == (0, [], 0), said.err
    assert volley("verify", "--data", tmp_path / "again").status == 0
    assert [row["title"] for row in volley("tenant", "list", "--data", tmp_path / "again", "--json").rows] == ["Shop"]
    assert volley("restore", copy, "--data", tmp_path / "again", "--yes").status == 1
    assert volley("restore", data, "--data", tmp_path / "third", "--yes").status == 1, "no backup there"


def test_a_backup_of_the_schema_before_is_verified_and_brought_on_by_its_restore(volley, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(FOLDER / "store" / "data.mdb", copy / "data.mdb")
    octets = (copy / "data.mdb").read_bytes()
    with open_copy(copy) as old, old.snapshot() as view:
        tables = {table: view.count(table) for table in view.tables}
    manifest = {
        "format": 1, "schema": 1, "at": "2026-09-21T14:13:20Z", "at_ms": 1_790_000_000_000, "octets": len(octets),
        "sha256": hashlib.sha256(octets).hexdigest(), "outcome_log_position": 0, "tables": tables,
    }  # fmt: skip
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert volley("backup", "verify", copy).status == 0
    said = volley("restore", copy, "--data", tmp_path / "again", "--yes", "--json")
    assert (said.status, said.json["problems"]) == (0, []), said.err
    assert volley("verify", "--data", tmp_path / "again").status == 0
