"""An archive: the file has it all, the store keeps what questions need, and a kill at any point changes nothing."""

from __future__ import annotations

import json
from datetime import date

import pytest
import zstandard

from dispatcher.apps.archive import (
    DAY_MS,
    ask_archive,
    drop_some,
    keep,
    kept,
    next_to_archive,
    recipients_anywhere,
    write,
)
from dispatcher.apps.reports.campaign import report
from dispatcher.apps.reports.days import days
from dispatcher.apps.reports.story import messages
from dispatcher.campaigns.campaign import create_campaign, load, mark_done
from dispatcher.campaigns.effect import effect
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.progress import progress
from dispatcher.campaigns.recipients import recipients
from dispatcher.control.commands import (
    ArchiveCampaign,
    CreateCampaign,
    EraseMember,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.daemon.backup import restore
from dispatcher.errors import StoreError
from dispatcher.members.erase import erase_member
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, State
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import member_numbers
from dispatcher.store import ledger, open_store
from dispatcher.store.backup import write_backup
from dispatcher.store.endpoints import number_endpoints
from dispatcher.store.layout import ARCHIVE_FOLDER
from dispatcher.store.verify_ledger import CHECKS
from tests.campaigns.log import ACCEPTED, RECEIPT, REFUSED, by, claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do, refused
from tests.segments.crowd import new_crowd, settle

MEMBERS = 5_000
DAY = date(2026, 9, 21)


@pytest.fixture
def store(store):
    tenant = new_crowd(store)
    people = {no: {"phone": 4915100000000 + no, "live": True} for no in range(MEMBERS)}
    settle(store, tenant, people, {}, MEMBERS)
    with store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    return store


@pytest.fixture
def campaign(store) -> int:
    shown = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP"))
    campaign = parse_public_id("cmp", shown["id"])
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign))["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token))
    log_begins(store, campaign)
    log(store, campaign, NOW_MS, claim(0, [1] * 2 + [2] + [1] * (MEMBERS - 4) + [Decision.OPTED_OUT]))
    log(
        store, campaign, NOW_MS + 1_000,
        *(record(ACCEPTED, rank, message_id=b"%d" % rank) for rank in range(MEMBERS - 1) if rank != 7),
        record(ACCEPTED, 2, part=1, message_id=b"2b"), record(REFUSED, 7, status=0x0B),
    )  # fmt: skip
    receipts = [record(RECEIPT, rank, state=State.DELIVERED) for rank in range(MEMBERS - 1) if rank != 7]
    log(store, campaign, NOW_MS + 5_000, *receipts, record(RECEIPT, 2, part=1, state=State.DELIVERED))
    with store.begin_write() as view:
        view.apply(mark_done(view, 1, campaign, NOW_MS + 9_000))
    return campaign


def archived(store, campaign: int, now_ms: int = NOW_MS + 10_000):
    written = write(store.snapshot, store.folder, 1, campaign, now_ms)
    with store.begin_write() as view:
        view.apply(keep(view, 1, campaign, written, now_ms))
    slices, at = 0, b""
    while at is not None:
        with store.begin_write() as view:
            changes, at = drop_some(view, at)
            view.apply(changes)
        slices += 1
    return written


def told(store, campaign: int, member_no: int):
    """What every question about the campaign answers."""
    with store.snapshot() as view:
        row = load(view, 1, campaign)
        found = {
            "progress": progress(view, 1, campaign),
            "report": report(view, 1, campaign, NOW_MS + 10**6),
            "effect": effect(view, 1, campaign, row, NOW_MS + 10**6),
            "days": days(view, 1, DAY, DAY, NOW_MS + 10**6),
            "recipients": recipients_anywhere(view, 1, campaign, folder=store.folder, limit=MEMBERS),
            "failed": recipients_anywhere(view, 1, campaign, folder=store.folder, state=State.FAILED),
            "story": messages(view, 1, member_no, NOW_MS + 10**6, folder=store.folder)["data"],
            "segment": list(
                member_numbers(view, 1, compile_text(view, 1, 'received campaign "Spring"', as_of_ms=NOW_MS + 10**6))
            ),
        }
    return found


def test_every_question_is_answered_as_before(store, campaign):
    before = told(store, campaign, 4_500)
    with store.snapshot() as view:
        octets = sum(len(value) for _, value in view.buffers("ledger"))
    written = archived(store, campaign)
    after = told(store, campaign, 4_500)
    for name in before:
        assert after[name] == before[name], name
    assert written["recipients"] == MEMBERS
    with store.snapshot() as view:
        assert sum(len(value) for _, value in view.buffers("ledger")) < octets * 0.5
        assert [problem for check in CHECKS for problem in check(view)] == []
        assert load(view, 1, campaign)["history"][-1]["reason"].startswith("archived: 5,000 recipients in cmp_")


def test_the_file_is_what_any_zstd_reads_and_names_nobody(store, campaign):
    written = archived(store, campaign)
    octets = (store.folder / ARCHIVE_FOLDER / written["file"]).read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(octets, read_across_frames=True).read()
    lines = [json.loads(line) for line in text.splitlines()]
    assert by(lines, "rank") == list(range(MEMBERS))
    assert (lines[7]["error"], lines[1]["message_id"], lines[-1]["decision"]) == (0x0B, "1", "opted_out")
    assert b"msisdn" not in text and b"+4915" not in text
    do(store, erase_member, EraseMember(member_no=3))
    with store.snapshot() as view:
        (line,) = recipients_anywhere(view, 1, campaign, folder=store.folder, after_rank=2, limit=1)
    assert (line["msisdn"], line["message_id"]) == (None, "3")


def test_a_kill_between_file_and_commit_or_in_mid_drop_changes_nothing(store, campaign):
    before = told(store, campaign, 0)
    write(store.snapshot, store.folder, 1, campaign, NOW_MS)  # and killed: nobody knows of it
    assert told(store, campaign, 0) == before
    written = write(store.snapshot, store.folder, 1, campaign, NOW_MS)
    with store.begin_write() as view:
        view.apply(keep(view, 1, campaign, written, NOW_MS))
    assert told(store, campaign, 0)["recipients"] == before["recipients"], "before anything is dropped"
    with store.begin_write() as view:
        assert not keep(view, 1, campaign, written, NOW_MS), "once"
    archived(store, campaign)
    assert told(store, campaign, 0)["recipients"] == before["recipients"]


def test_a_damaged_file_is_said_and_not_hidden(store, campaign):
    written = archived(store, campaign)
    path = store.folder / ARCHIVE_FOLDER / written["file"]
    path.write_bytes(b"x" * written["octets"])
    with store.snapshot() as view, pytest.raises(StoreError, match=written["file"]):
        recipients_anywhere(view, 1, campaign, folder=store.folder, limit=1)


def test_a_late_receipt_counts_in_what_is_archived(store, campaign):
    archived(store, campaign)
    log(store, campaign, NOW_MS + 20_000, record(RECEIPT, 1, state=State.DELIVERED))
    with store.snapshot() as view:
        assert ledger.read_counts(view, campaign).receipts_repeated == 1
        assert [problem for check in CHECKS for problem in check(view)] == []


def test_only_what_is_over_and_awaits_nothing_is_archived_when_asked_or_old(store, campaign):
    with store.snapshot() as view:
        assert next_to_archive(view, NOW_MS + 30 * DAY_MS, 0) is None
        assert next_to_archive(view, NOW_MS + DAY_MS, 30) is None
        assert next_to_archive(view, NOW_MS + 31 * DAY_MS, 30) == (1, campaign)
    shown = do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    assert shown["archived_at"] is None
    with store.snapshot() as view:
        assert next_to_archive(view, NOW_MS, 0) == (1, campaign)
    archived(store, campaign)
    again = do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    assert (again["archived_at"], again["version"]) == ("2026-09-21T14:13:30.000Z", shown["version"] + 1)
    with store.snapshot() as view:
        assert next_to_archive(view, NOW_MS + 31 * DAY_MS, 30) is None
        assert kept(view, 1, campaign)["recipients"] == len(recipients(view, 1, campaign, limit=MEMBERS))
    draft = parse_public_id("cmp", do(store, create_campaign, CreateCampaign(title="x", text="Hi"))["id"])
    assert refused(store, ask_archive, ArchiveCampaign(campaign=draft)).status == 409


def test_a_backup_and_what_is_restored_of_it_have_the_archive(store, campaign, tmp_path):
    archived(store, campaign)
    before = told(store, campaign, 0)["recipients"]
    write_backup(store, tmp_path / "backup", NOW_MS)
    restore(tmp_path / "backup", tmp_path / "restored", NOW_MS)
    with open_store(tmp_path / "restored") as again, again.snapshot() as view:
        assert recipients_anywhere(view, 1, campaign, folder=again.folder, limit=MEMBERS) == before
