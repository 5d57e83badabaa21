"""A backup is one moment of the store, knows when it is not whole, and gives up rather than let the store grow."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from dispatcher.errors import NewerSchema
from dispatcher.records.changes import Changes
from dispatcher.store import Store, open_store
from dispatcher.store.backup import (
    BESIDE_OCTETS_S,
    FILE,
    MANIFEST,
    BackupRefused,
    Pace,
    check_file,
    copy_file,
    open_copy,
    read_manifest,
    write_backup,
)
from dispatcher.store.layout import TABLES, TENANT_U64, U64
from dispatcher.store.verify import verify
from tests.fakes.shop import NOW_MS, new_member, new_shop

ROWS = 60


@pytest.fixture
def full(tmp_path: Path):
    """A store with a shop, and 12 MB of rows whose value says which commit wrote them."""
    with open_store(tmp_path / "data", write=True, create=True, sync=False) as store:
        new_shop(store)
        new_member(store)
        rewrite(store, 0)
        yield store


def rewrite(store: Store, number: int) -> None:
    """One commit that replaces every row of the crowd."""
    changes = Changes()
    for row in range(ROWS):
        changes.put("import_rejects", TENANT_U64.pack(0, row) + bytes(6), number.to_bytes(8, "big") * 25_000)
    store.apply(changes)


def test_a_backup_is_the_store_of_one_commit_while_a_writer_goes_on(full: Store, tmp_path: Path):
    commits = iter(range(1, 10_000))
    pace = Pace(progress=lambda done, of: rewrite(full, next(commits)))
    manifest = write_backup(full, tmp_path / "copy", NOW_MS, pace)
    assert next(commits) > 10
    with open_copy(tmp_path / "copy") as copy, copy.snapshot() as view:
        assert verify(view)["problems"] == []
        assert {value[:8] for _, value in view.range("import_rejects")} == {bytes(8)}
        assert manifest["tables"] == {table: view.count(table) for table in TABLES}
    check_file(tmp_path / "copy", read_manifest(tmp_path / "copy"))


def test_its_manifest_says_what_it_is_and_its_free_pages_take_no_room(full: Store, tmp_path: Path):
    for number in range(5):
        rewrite(full, number)
    emptied = Changes()
    for row in range(ROWS // 2):
        emptied.delete("import_rejects", TENANT_U64.pack(0, row) + bytes(6))
    full.apply(emptied)
    told: list[tuple[int, int]] = []
    manifest = write_backup(full, tmp_path / "copy", NOW_MS, Pace(progress=lambda done, of: told.append((done, of))))
    assert manifest == read_manifest(tmp_path / "copy")
    file = (tmp_path / "copy" / FILE).stat()
    assert manifest["octets"] == file.st_size == full.size_octets()
    assert manifest["room_octets"] == file.st_blocks * 512 < file.st_size // 2
    assert told[-1] == (file.st_blocks * 512, file.st_blocks * 512), "how much it will take is known before"
    copy_file(tmp_path / "copy", tmp_path / "target", manifest)
    assert (tmp_path / "target").read_bytes() == (tmp_path / "copy" / FILE).read_bytes()
    assert (tmp_path / "target").stat().st_blocks * 512 < file.st_size // 2, "nor where they are brought back"
    assert manifest["at"] == "2026-09-21T14:13:20Z" and manifest["tables"]["phones"] == 1
    assert not (tmp_path / "copy.partial").exists()
    assert (tmp_path / "copy" / FILE).stat().st_mode & 0o077 == 0, "members' data is the owner's alone"


def test_it_is_given_up_when_the_store_grows_too_much_meanwhile_and_leaves_nothing(full: Store, tmp_path: Path):
    told: list[str] = []
    commits = iter(range(1, 10_000))
    pace = Pace(growth_octets_max=20 << 20, progress=lambda done, of: rewrite(full, next(commits)), warn=told.append)
    with pytest.raises(BackupRefused, match=r"grew by .*--growth-max-mb"):
        write_backup(full, tmp_path / "copy", NOW_MS, pace)
    assert len(told) == 1 and "has grown" in told[0]
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    slots = [line.split() for line in full.env.readers().splitlines()[1:]]
    assert all(txn == "-" for _, _, txn in slots), "no slot holds a transaction any more"
    write_backup(full, tmp_path / "copy", NOW_MS)


def test_while_messages_are_sent_it_goes_at_a_rate_that_they_hardly_feel():
    now, pauses, sent = [0.0], list[float](), [False]

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    pace = Pace(sending=lambda: sent[0], pause=pause, clock=lambda: now[0])
    pace.keep(10**9)
    assert pauses == []
    sent[0], now[0] = True, 2.0
    pace.keep(2 * 10**9)
    pace.keep(2 * 10**9 + BESIDE_OCTETS_S // 2)
    assert pauses == [0.5]
    sent[0], now[0] = False, 4.0
    pace.keep(10**10)
    assert pauses == [0.5]


def test_what_a_slow_disk_took_is_not_caught_up_with():
    now, pauses = [0.0], list[float]()
    pace = Pace(octets_s=1_000, pause=pauses.append, clock=lambda: now[0])
    pace.keep(0)
    now[0] = 60.0  # of which the disk took 59
    pace.keep(1_000)
    pace.keep(3_000)
    assert pauses == [2.0]


def test_it_goes_no_faster_than_it_is_told(full: Store, tmp_path: Path):
    pauses: list[float] = []
    manifest = write_backup(full, tmp_path / "copy", NOW_MS, Pace(octets_s=1_000_000, pause=pauses.append))
    assert pauses[-1] == pytest.approx(manifest["octets"] / 1e6, rel=0.2)


def test_a_folder_with_something_in_it_and_a_disk_without_room_are_refused(
    full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter").write_text("dear")
    with pytest.raises(BackupRefused, match="not empty"):
        write_backup(full, tmp_path / "used", NOW_MS)
    real = os.statvfs(tmp_path)
    little = os.statvfs_result([*real[:3], 10, 10, *real[5:10]])
    monkeypatch.setattr(os, "statvfs", lambda path: little)
    with pytest.raises(BackupRefused, match="40,960 free"):
        write_backup(full, tmp_path / "copy", NOW_MS)
    assert not (tmp_path / "copy.partial").exists()


def test_what_a_backup_that_was_killed_left_is_no_hindrance(full: Store, tmp_path: Path):
    (tmp_path / "copy.partial").mkdir()
    (tmp_path / "copy.partial" / FILE).write_bytes(bytes(90 << 20))
    manifest = write_backup(full, tmp_path / "copy", NOW_MS)
    assert (tmp_path / "copy" / FILE).stat().st_size == manifest["octets"] < 90 << 20


@pytest.mark.parametrize(
    "what", ["octet", "shorter", "longer", "gone", "manifest gone", "manifest cut", "a member gone"]
)
def test_a_backup_that_is_not_whole_is_told(full: Store, tmp_path: Path, what: str):
    folder = tmp_path / "copy"
    write_backup(full, folder, NOW_MS)
    file, manifest = folder / FILE, folder / MANIFEST
    octets = bytearray(file.read_bytes())
    if what == "octet":
        octets[len(octets) // 2] ^= 1
        file.write_bytes(octets)
    elif what in ("shorter", "longer"):
        file.write_bytes(octets[:-4096] if what == "shorter" else octets + bytes(4096))
    elif what == "gone":
        file.unlink()
    elif what == "manifest gone":
        manifest.unlink()
    elif what == "manifest cut":
        manifest.write_text(manifest.read_text()[:40])
    else:
        manifest.write_text(json.dumps({"format": 1}))
    with pytest.raises(BackupRefused):
        copy_file(folder, tmp_path / "target", read_manifest(folder))


def test_a_backup_of_a_later_version_is_refused_as_such(full: Store, tmp_path: Path):
    write_backup(full, tmp_path / "copy", NOW_MS)
    manifest = json.loads((tmp_path / "copy" / MANIFEST).read_text())
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(manifest | {"schema": 99}))
    with pytest.raises(NewerSchema, match="schema 99"):
        read_manifest(tmp_path / "copy")


def test_no_dispatcher_can_be_started_on_a_backup_by_mistake(full: Store, tmp_path: Path):
    write_backup(full, tmp_path / "copy", NOW_MS)
    assert not (tmp_path / "copy" / "store").exists()


def test_a_backup_lies_well_on_a_medium_that_takes_no_writes(full: Store, tmp_path: Path):
    write_backup(full, tmp_path / "copy", NOW_MS)
    with open_copy(tmp_path / "copy") as copy, copy.snapshot() as view:
        assert view.get("meta", b"schema") is not None
        assert view.get("outcome_log", U64.pack(0)) is None
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {FILE, MANIFEST}, "no lock file was made"
    shutil.rmtree(tmp_path / "copy")
