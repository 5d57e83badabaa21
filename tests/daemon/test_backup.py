"""A backup in the middle of a broadcast, brought back: everything adds up, and nothing goes out by itself."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from config import Settings
from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.recipients import recipients
from dispatcher.control import commands as c
from dispatcher.daemon import backup
from dispatcher.daemon.backup import Restored, restore, restores
from dispatcher.daemon.handlers import run_locally
from dispatcher.daemon.recovery import recoveries
from dispatcher.members.importer import read_import
from dispatcher.outbox.entry import add_entry, entries
from dispatcher.records.batches import batch_of
from dispatcher.records.changes import Changes
from dispatcher.records.states import Purpose
from dispatcher.store import Store, audit, ledger, open_store
from dispatcher.store.backup import BackupRefused, write_backup
from dispatcher.store.verify import find_problems
from tests.fakes.crash_stores import prepare_campaign, prepare_import
from tests.fakes.house import House, in_house


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def back_up(house: House) -> Path:
    """A backup of the store that the dispatcher in this loop is writing to."""
    assert house.store is not None
    folder = house.settings.data.with_name("copy")
    await trio.to_thread.run_sync(partial(write_backup, house.store, folder, now_ms()))
    return folder


@in_house(4_000, delay_ms=20, dispatcher={"claim_ahead_max": 300})
async def test_a_backup_in_mid_send_is_restored_paused_adds_up_and_repeats_nothing_unawares(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 500)
    copy = await back_up(house)
    house.smsc.change(delay_ms=0)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 4_000, "the backup was no hindrance"
    await house.stop()

    restored = await start_restored(house, copy)
    assert house.store is not None
    await house.until(lambda: bound(house))
    await trio.sleep(0.5)
    assert list(find_problems_of(house.store)) == []
    counts = house.counts(campaign)
    assert counts["audience"] == 4_000 and not counts["states"]["claimed"]
    assert 500 <= counts["sent"] < 4_000, "as of that moment"
    assert counts["states"]["uncertain"] == restored.uncertain > 0, "claimed then, and in no state since"
    assert house.state(campaign) == "paused" and restored.paused == 1
    with house.store.snapshot() as view:
        row = load(view, 1, campaign)
        assert row is not None and row["history"][-1]["reason"].startswith("restored from a backup of 20")
        assert len(recipients(view, 1, campaign, after_rank=None, limit=4_000)) == 4_000
        assert [each["paused"] for each in restores(view)] == [1]
        found = [(each["same_boot"], each["uncertain"]) for each in recoveries(view)][-2:]
        assert found == [(False, restored.uncertain), (True, 0)], "of the restore, of the start after it"
        last = next(iter(audit.newest_first(view, limit=1)[0]))[1]
        assert last["command"] == "store.restore"
    assert len(house.lines()) == 4_000, "nothing goes out by itself"
    await house.do(c.ResumeCampaign(campaign=campaign))
    await house.until(lambda: house.state(campaign) == "done")
    after = house.counts(campaign)
    assert after["unsent"] == 0 and after["states"]["uncertain"] <= restored.uncertain
    assert len(house.lines()) == 4_000 + counts["unsent"], "the unsent of then, and nobody else"


@in_house(2_000, delay_ms=20, dispatcher={"claim_ahead_max": 300})
async def test_after_a_restore_no_uncertain_message_of_a_purpose_that_resends_goes_again_by_itself(house: House):
    campaign = await house.send(purpose="transactional")
    await house.until(lambda: house.smsc.summary()["accepted"] >= 200)
    copy = await back_up(house)
    await house.stop()
    again = await start_restored(house, copy)
    lines = len(house.lines())
    await house.until(lambda: bound(house))
    await trio.sleep(1.5)
    assert again.uncertain > 0 and len(house.lines()) == lines
    assert house.counts(campaign)["states"]["uncertain"] == again.uncertain


@in_house(3_000, process=True, delay_ms=20)
async def test_the_command_backs_up_what_a_dispatcher_of_another_process_is_sending(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    copy = house.settings.data.with_name("copy")
    for words in (
        ["backup", str(copy), "--data", str(house.settings.data), "--max-mb-s", "200", "--json"],
        ["backup", "verify", str(copy)],
    ):
        done = await trio.run_process([sys.executable, "-m", "dispatcher.cli", *words], capture_stdout=True)
        assert done.returncode == 0, done.stdout
    house.smsc.change(delay_ms=0)
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 3_000
    with house.store.snapshot() as view:
        assert [row["command"] for _, row in audit.newest_first(view, command="backup.")[0]] == ["backup.note"]


async def start_restored(house: House, copy: Path) -> Restored:
    """The house goes on with what a backup of it became."""
    if house.store is not None:
        house.store.close()
        house.store = None
    again = house.settings.data.with_name("again")
    restored = await trio.to_thread.run_sync(restore, copy, again, now_ms())
    old = house.settings
    house.settings = Settings(data=again, store=old.store, dispatcher=old.dispatcher, endpoints=old.endpoints)
    await house.start()
    return restored


async def bound(house: House) -> bool:
    return any(bind["state"] == "bound" for bind in (await house.status())["binds"])


def find_problems_of(store: Store) -> list[str]:
    with store.snapshot() as view:
        return [str(problem) for problem in find_problems(view)]


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Path, int]:
    """A running campaign, an import of which half the body came, and an answer that has not gone."""
    prepare = prepare_campaign(tmp_path / "data", 300)
    with open_store(tmp_path / "data", write=True, sync=False) as store:
        run_locally(store, c.OpenImport(import_id=77), c.Envelope(tenant=1, actor="test", at_ms=now_ms()), now_ms())
        with store.begin_write() as view:
            changes = Changes()
            add_entry(
                changes, view, 1, to=8_613_000_000_000, sender="1069", text="You have 5 points",
                purpose=Purpose.SERVICE, now_ms=now_ms(), expiry_ms=now_ms() + 3_600_000,
            )  # fmt: skip
            view.apply(changes)
        write_backup(store, tmp_path / "copy", now_ms())
    return tmp_path, prepare.campaign


def test_messages_that_waited_are_withdrawn_and_imports_without_their_file_have_failed(prepared: tuple[Path, int]):
    folder, campaign = prepared
    at_ms = now_ms()
    restored = restore(folder / "copy", folder / "again", at_ms)
    assert (restored.paused, restored.messages_withdrawn, restored.imports_failed, restored.uncertain) == (1, 1, 1, 0)
    with open_store(folder / "again", write=True) as store:
        with store.snapshot() as view:
            assert [entry.expiry_ms for entry in entries(view, batch_of(1))] == [at_ms]
            row = read_import(view, 1, 77)
            assert row is not None and (row["state"], row["problem"]["code"]) == ("failed", "file_not_in_backup")
            assert ledger.read_counts(view, campaign).summary(300)["unsent"] == 300
        assert find_problems_of(store) == []
        envelope = c.Envelope(tenant=1, actor="test", at_ms=at_ms)
        assert run_locally(store, c.ResumeCampaign(campaign=campaign), envelope, at_ms)["state"] == "running"


def test_a_restore_replaces_nothing(prepared: tuple[Path, int]):
    folder, _ = prepared
    with pytest.raises(BackupRefused, match="not empty"):
        restore(folder / "copy", folder / "data", now_ms())
    (folder / "file").write_text("")
    with pytest.raises(BackupRefused, match="not empty"):
        restore(folder / "copy", folder / "file", now_ms())


def test_a_restore_that_is_killed_is_done_again_from_the_start(prepared: tuple[Path, int], monkeypatch):
    folder, _ = prepared
    again = folder / "again"

    def killed(store: Store, manifest: object, now_ms: int) -> Restored:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_settle", killed)
        patched.setattr(backup.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            restore(folder / "copy", again, now_ms())
    assert (again / backup.PARTIAL / "store" / "data.mdb").exists() and not (again / "store").exists()
    restore(folder / "copy", again, now_ms())
    assert {path.name for path in again.iterdir()} == {"store", "marks"}
    assert again.stat().st_mode & 0o007 == (again / "store" / "data.mdb").stat().st_mode & 0o007 == 0


def test_a_damaged_backup_leaves_no_data_folder(prepared: tuple[Path, int]):
    folder, _ = prepared
    with (folder / "copy" / "data.mdb").open("r+b") as file:
        file.seek(9_000)
        file.write(b"\xff")
    with pytest.raises(BackupRefused, match="sha256"):
        restore(folder / "copy", folder / "again", now_ms())
    assert not any((folder / "again").iterdir())


def test_an_import_that_was_being_applied_has_failed_and_the_members_it_had_made_are_sound(tmp_path: Path):
    prepare_import(tmp_path / "data", 5_000)
    with open_store(tmp_path / "data", write=True, sync=False) as store:
        write_backup(store, tmp_path / "copy", now_ms())
    assert restore(tmp_path / "copy", tmp_path / "again", now_ms()).imports_failed == 1
    with open_store(tmp_path / "again") as store:
        assert find_problems_of(store) == []
