"""A backup becomes a data folder again, and nothing in it may act as if no time had passed since.

Touches: a new data folder, its store and marks; no task, no socket. Rests on: store/backup.py; recovery.py, whose rule
for a power cut is true of a restore too: what was claimed and unsettled then may have been sent, so it is uncertain.

What happened between the backup and now is unknown to the restored store: messages sent, receipts, opt-outs, erasures,
repeats of request keys. So whatever would act by itself is held, until a person decides: campaigns that were running
are paused, scheduled ones are drafts again, single messages not yet sent are withdrawn, imports without their file have
failed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns.states import remember
from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, NoteBackup
from dispatcher.daemon import recovery
from dispatcher.daemon.marks import open_marks
from dispatcher.errors import CommandRefused
from dispatcher.members.importer import FINAL, finish, put_import, read_import
from dispatcher.outbox.entry import batches
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import CampaignState, State
from dispatcher.store import Snapshot, Store, audit, ledger, open_store
from dispatcher.store.backup import BackupRefused, Progress, copy_archives, copy_file, read_manifest, sync_folder
from dispatcher.store.layout import TENANT_U64, U64, U64_U32
from dispatcher.store.values import pack, unpack

PARTIAL, MARKS = "restore.partial", "marks"
LEFT_OVER = {PARTIAL, MARKS}  # of a restore that was killed: the store comes last
ACTOR = "restore"
RUNNING = (CampaignState.RUNNING, CampaignState.FINISHING, CampaignState.HELD)
PAUSED, SCHEDULED, DRAFT = CampaignState.PAUSED, CampaignState.SCHEDULED, CampaignState.DRAFT

MEANING = """\
The store as it was at {at}. Whatever happened since is unknown to it:
 - messages sent since: their recipients count as unsent here. Campaigns that were running are paused, with this
   reason; resuming one sends to its unsent again. Before that, compare with the SMSC's records, or cancel it.
 - messages claimed and not settled at that moment are uncertain (as after a power cut): listed, settled by receipt or
   by hand, never sent again by themselves while their campaign is paused.
 - STOP words, consent, suppressions, erasures, new members and points since: bring them in before anything is sent.
 - campaigns started since stand as they stood (draft, approved), scheduled ones are drafts again: a start sends all
   of it.
 - single messages and answers that were waiting are withdrawn; imports that were not done have failed, send their
   files again.
 - request keys since: the same key would act again.
Not in a backup: volley.toml (put yours into the folder), files of imports, exports, logs."""


@dataclass(slots=True)
class Restored:
    """What a restore did, kept in meta `restores`."""

    at_ms: int
    backup_at_ms: int
    outcome_log_position: int
    paused: int = 0  # campaigns
    drafts: int = 0  # campaigns that were scheduled
    messages_withdrawn: int = 0  # single ones, answers among them
    imports_failed: int = 0
    uncertain: int = 0  # members


def meaning(manifest: dict[str, Any]) -> str:
    """What an operator has to know before a restore."""
    return MEANING.format(at=rfc3339(manifest["at_ms"]))


def check_target(data: Path) -> None:
    """Raises BackupRefused unless `data` is absent or empty; what a restore that was killed left does not count."""
    if data.exists() and (not data.is_dir() or {path.name for path in data.iterdir()} - LEFT_OVER):
        raise BackupRefused(f"{data} is not empty; a restore makes a data folder of its own and replaces none")


def restore(folder: Path, data: Path, now_ms: int, progress: Progress = lambda done, total: None) -> Restored:
    """Make `data` of the backup in `folder`. Nothing is there under its name until all of it is on disk.

    Raises BackupRefused, NewerSchema. Folds and recovers as a start after a power cut does.
    """
    manifest = read_manifest(folder)
    check_target(data)
    partial = data / PARTIAL
    data.mkdir(parents=True, exist_ok=True, mode=0o750)
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "store").mkdir(parents=True)
    try:
        copy_file(folder, partial / "store" / "data.mdb", manifest, progress)
        with open_store(partial, write=True) as store:
            restored = _settle(store, manifest, now_ms)
        (partial / "store" / "lock.mdb").unlink(missing_ok=True)
        sync_folder(partial / "store")
        copy_archives(folder, data)
        os.rename(partial / MARKS, data / MARKS)
        os.rename(partial / "store", data / "store")  # the last: a folder with a store is a restored one
        sync_folder(data)
        sync_folder(data.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return restored


def note_backup(view: View, command: NoteBackup, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Nothing but the line in the audit, which is on disk before the first octet is copied."""
    if envelope.tenant:
        raise CommandRefused(403, "operator_only", "a backup holds every tenant's members: it is the operator's")
    return Changes(), {"folder": command.folder}


def restores(view: View) -> list[dict[str, Any]]:
    """What every restore in this store's past did, oldest first."""
    row = view.get("meta", b"restores")
    return unpack(row)["all"] if row else []


def _settle(store: Store, manifest: dict[str, Any], now_ms: int) -> Restored:
    restored = Restored(now_ms, manifest["at_ms"], manifest["outcome_log_position"])
    marks = open_marks(store.folder)
    assert not marks.same_boot, "marks that were just made speak of no boot"
    restored.uncertain = recovery.settle_claims(store, marks, now_ms).uncertain
    with store.begin_write() as view:
        changes = Changes()
        reason = f"restored from a backup of {rfc3339(restored.backup_at_ms)}: what was sent since is unknown here"
        _hold_campaigns(view, changes, restored, reason)
        _withdraw_messages(view, changes, restored)
        _fail_imports(view, changes, restored, reason)
        changes.put("meta", b"restores", pack({"all": [*restores(view), asdict(restored)]}))
        line = {"actor": ACTOR, "command": "store.restore", "reason": reason, "tenant": 0, "at_ms": now_ms}
        audit.append(view, changes, line | {"restored": asdict(restored)})
        view.apply(changes)
    return restored


def _hold_campaigns(view: View, changes: Changes, restored: Restored, reason: str) -> None:
    for key, _ in view.range("campaigns"):
        tenant, campaign = TENANT_U64.unpack(key)
        row = campaigns.load(view, tenant, campaign)
        assert row is not None
        if row["state"] in RUNNING:
            restored.paused += 1
            changes.merge(campaigns.mark(view, tenant, campaign, PAUSED, restored.at_ms, ACTOR, reason))
        elif row["state"] == SCHEDULED:  # it may have come due since; what was approved was one sending
            restored.drafts += 1
            none = {"due_ms": None, "submitted": None, "approval": None, "count": None}
            changes.merge(campaigns.mark(view, tenant, campaign, DRAFT, restored.at_ms, ACTOR, reason, **none))
        elif row["state"] == PAUSED:  # as it was, but who resumes it has to read this, and no end of a stop does it
            remember(row, restored.at_ms, ACTOR, reason)
            row["stopped"] = False
            changes.merge(campaigns.save(tenant, campaign, row))


def _withdraw_messages(view: Snapshot, changes: Changes, restored: Restored) -> None:
    """Single messages that have not expired do so now: one that went out since would go again."""
    for batch in batches(view):
        for key, octets in view.range("outbox", U64.pack(batch)):
            row, position = unpack(octets), U64_U32.unpack(key)[1]
            if row["expiry_ms"] > restored.at_ms and _may_go(view, batch, position):
                changes.put("outbox", key, pack(row | {"expiry_ms": restored.at_ms}))
                restored.messages_withdrawn += 1


def _may_go(view: Snapshot, batch: int, position: int) -> bool:
    """Whether a start would send something of a single message: all of it, or what is left of it."""
    if ledger.state_of(view, batch, position, 0) is State.UNSENT:
        return True
    return any(ledger.parts_in_state(view, batch, position, state) for state in (State.RETRY_WAIT, State.UNCERTAIN))


def _fail_imports(view: View, changes: Changes, restored: Restored, reason: str) -> None:
    """Imports whose file would still be needed. Undos, bulk edits and erasures have all they need in the store."""
    for key, _ in view.range("imports"):
        tenant, import_id = TENANT_U64.unpack(key)
        row = read_import(view, tenant, import_id)
        if row is None or row.get("kind") or row["state"] == "undoing":
            continue
        if row["state"] not in FINAL:
            finish(row, "failed", restored.at_ms)
            row["problem"] = {"code": "file_not_in_backup", "detail": reason}
            restored.imports_failed += 1
        elif (row["body_until"] or 0) > restored.at_ms:  # a dry run: its file is gone
            row["body_until"] = restored.at_ms
        else:
            continue
        put_import(changes, tenant, import_id, row)
