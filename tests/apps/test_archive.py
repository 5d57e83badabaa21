"""An archive: the file has it all, the store keeps what questions need, and a kill at any point changes nothing."""

from __future__ import annotations

import json
import time
from datetime import date

import pytest
import zstandard

from dispatcher.apps import archive as archive_room
from dispatcher.apps.archive import (
    DAY_MS,
    ask_archive,
    drop_some,
    keep,
    kept,
    next_asked,
    next_old,
    recipients_anywhere,
    undropped,
    write,
)
from dispatcher.apps.reports.campaign import report
from dispatcher.apps.reports.days import days
from dispatcher.apps.reports.story import messages
from dispatcher.apps.subject import subject
from dispatcher.apps.timeline import timeline
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
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, State
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import member_numbers
from dispatcher.store import ledger, open_store
from dispatcher.store.backup import write_backup
from dispatcher.store.endpoints import number_endpoints
from dispatcher.store.layout import ARCHIVE_FOLDER, ARRAYS, HEADER, LEDGER_KEY, TENANT_U64, U64
from dispatcher.store.verify_archives import archives_are_whole
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
    with store.snapshot() as view:
        assert undropped(view) == [(1, campaign)]
    more = True
    while more:
        with store.begin_write() as view:
            changes, more = drop_some(view, 1, campaign)
            view.apply(changes)
    with store.snapshot() as view:
        assert undropped(view) == []
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
        assert sum(len(value) for _, value in view.buffers("ledger")) < octets * 0.51, "states of parts stay"
        assert [problem for check in CHECKS for problem in check(view)] == []
        assert load(view, 1, campaign)["history"][-1]["reason"].startswith("archived: 5,000 recipients in cmp_")


def test_the_file_is_what_any_zstd_reads_and_names_nobody(store, campaign):
    written = archived(store, campaign)
    octets = (store.folder / ARCHIVE_FOLDER / written["file"]).read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(octets, read_across_frames=True).read()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["rank"] for line in lines if "message_ids" in line] == [2]
    assert lines[2]["message_ids"] == ["2", "2b"]
    assert by(lines, "rank") == list(range(MEMBERS))
    assert (lines[7]["error"], lines[1]["message_id"], lines[-1]["decision"]) == (0x0B, "1", "opted_out")
    assert b"msisdn" not in text and b"+4915" not in text
    do(store, erase_member, EraseMember(member_no=3))
    with store.snapshot() as view:
        (line,) = recipients_anywhere(view, 1, campaign, folder=store.folder, after_rank=2, limit=1)
    assert (line["msisdn"], line["message_id"]) == (None, "3")


def story_of(store, member_no: int):
    """Its one campaign, with the log gone."""
    changes = Changes()
    with store.snapshot() as view:
        for key, _ in view.range("outcome_log"):
            changes.delete("outcome_log", key)
    store.apply(changes)
    with store.snapshot() as view:
        (found,) = messages(view, 1, member_no, NOW_MS + 10**6, folder=store.folder)["data"]
    return found


def test_the_ids_of_all_parts_outlive_the_log_and_a_story_tells_them(store, campaign):
    archived(store, campaign)
    assert by(story_of(store, 2)["parts"], "message_id") == ["2", "2b"]


def test_a_file_of_before_has_the_first_parts_id_and_is_read_as_ever(store, campaign, monkeypatch):
    monkeypatch.setattr(archive_room, "_tell_parts", lambda view, ids, rows: None)
    archived(store, campaign)
    assert by(story_of(store, 2)["parts"], "message_id") == ["2", None]


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
        assert next_asked(view) is None
        assert next_old(view, NOW_MS - 29 * DAY_MS, None) == (None, None)
        assert next_old(view, NOW_MS + DAY_MS, None) == ((1, campaign), TENANT_U64.pack(1, campaign))
    shown = do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    assert shown["archived_at"] is None
    with store.snapshot() as view:
        assert next_asked(view) == (1, campaign)
    archived(store, campaign)
    again = do(store, ask_archive, ArchiveCampaign(campaign=campaign))
    assert (again["archived_at"], again["version"]) == ("2026-09-21T14:13:30.000Z", shown["version"] + 1)
    with store.snapshot() as view:
        assert next_asked(view) is None and next_old(view, NOW_MS + DAY_MS, None) == (None, None)
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


def test_the_file_is_on_disk_whole_before_anybody_may_say_so(store, campaign, synced):
    written = write(store.snapshot, store.folder, 1, campaign, NOW_MS)
    names = [name for name, _ in synced]
    assert (f"{written['file']}.part", written["octets"]) in synced
    assert ARCHIVE_FOLDER in names[names.index(f"{written['file']}.part") :], "its name in the folder, after its octets"


def test_what_is_unsettled_is_not_archived(store, campaign):
    log(store, campaign, NOW_MS + 6_000, claim(MEMBERS - 1, [1]))
    with store.snapshot() as view:
        assert next_asked(view) is None and next_old(view, NOW_MS + DAY_MS, None) == (None, None)
    assert "awaited" in refused(store, ask_archive, ArchiveCampaign(campaign=campaign)).detail


@pytest.fixture
def awaited(store, campaign) -> int:
    """The campaign, but rank 11's receipt never came and time has said so."""
    with store.begin_write() as view:
        value = bytearray(view.get("ledger", LEDGER_KEY.pack(campaign, ARRAYS["state"][0], 0)))
        counts = bytearray(view.get("campaign_counts", U64.pack(campaign)))
        value[HEADER + 11] = State.NO_RECEIPT
        for state, by_ in ((State.DELIVERED, -1), (State.NO_RECEIPT, 1)):
            at = 8 * (32 + state)
            counts[at : at + 8] = (int.from_bytes(counts[at : at + 8], "little") + by_).to_bytes(8, "little")
        view.txn.put(LEDGER_KEY.pack(campaign, ARRAYS["state"][0], 0), bytes(value), db=view.tables["ledger"])
        view.txn.put(U64.pack(campaign), bytes(counts), db=view.tables["campaign_counts"])
    return campaign


def test_a_receipt_later_than_the_archive_shows_its_error_to_the_person_and_in_the_report(store, awaited):
    archived(store, awaited)
    before = told(store, awaited, 11)
    log(store, awaited, NOW_MS + 86_400_000, record(RECEIPT, 11, state=State.FAILED, status=99))
    with store.begin_write() as view:
        assert drop_some(view, 1, awaited) == (Changes(), False), "what came later stays"
    after = told(store, awaited, 11)
    (message,) = before["story"]
    assert (message["state"], message["error"]) == ("no_receipt", None)
    (message,) = after["story"]
    assert (message["state"], message["error"], message["parts"][0]["message_id"]) == ("failed", 99, "11")
    assert {"state": "failed", "error": 99, "recipients": 1} in after["report"]["errors"]
    assert {"state": "failed", "error": 0x0B, "recipients": 1} in after["report"]["errors"]
    assert after["days"][0]["late"] == before["days"][0]["late"] + 1
    with store.snapshot() as view:
        assert [problem for check in CHECKS for problem in check(view)] == []


def test_an_archive_of_before_without_states_of_parts_takes_late_receipts_of_each(store, awaited):
    written = archived(store, awaited)
    assert written["recipients"] == MEMBERS
    with store.begin_write() as view:  # as it was dropped once, and its message of two parts was awaited
        key = LEDGER_KEY.pack(awaited, ARRAYS["state"][0], 0)
        value = bytearray(view.get("ledger", key))
        value[HEADER + 2] = State.NO_RECEIPT
        view.txn.put(key, bytes(value), db=view.tables["ledger"])
        view.txn.delete(LEDGER_KEY.pack(awaited, ARRAYS["part_state"][0], 0), db=view.tables["ledger"])
    log(store, awaited, NOW_MS + 10**8, record(RECEIPT, 2, part=1, state=State.DELIVERED))
    with store.snapshot() as view:
        assert [ledger.state_of(view, awaited, 2, part) for part in (0, 1)] == [State.NO_RECEIPT, State.DELIVERED]
    log(store, awaited, NOW_MS + 10**8, record(RECEIPT, 2, state=State.DELIVERED))
    with store.snapshot() as view:
        (line,) = recipients(view, 1, awaited, after_rank=1, limit=1)
        assert line["state"] == "delivered"


def test_a_persons_timeline_and_export_have_what_the_file_knows(store, campaign):
    def seen():
        with store.snapshot() as view:
            return timeline(view, 1, 7, folder=store.folder), subject(view, 1, 4_000, NOW_MS, folder=store.folder)

    before = seen()
    written = archived(store, campaign)
    assert seen() == before
    assert before[1]["messages"][0]["message_id"] == "4000" and before[1]["complete"]
    (store.folder / ARCHIVE_FOLDER / written["file"]).unlink()
    (events, _), exported = seen()
    assert {event["kind"] for event in events} == {event["kind"] for event in before[0][0]}, "the rest is told"
    assert exported["messages"][0]["message_id"] is None and not exported["complete"]
    with store.snapshot() as view:
        (found,) = messages(view, 1, 4_000, NOW_MS, folder=store.folder)["data"]
        assert (found["state"], found["complete"]) == ("delivered", False)


def test_verify_says_which_file_is_missing_cut_or_changed(store, campaign, tmp_path):
    written = archived(store, campaign)
    path = store.folder / ARCHIVE_FOLDER / written["file"]
    whole = path.read_bytes()
    write_backup(store, tmp_path / "backup", NOW_MS)

    def found(folder):
        with store.snapshot() as view:
            return [str(problem) for problem in archives_are_whole(view, folder)]

    assert found(store.folder) == found(tmp_path / "backup") == []
    for octets, said in (
        (whole[:-1], f"{len(whole) - 1:,} octets, its row says {len(whole):,}"),
        (whole[:50] + bytes((whole[50] ^ 1,)) + whole[51:], "damaged: its sha256 is not what was written"),
    ):
        path.write_bytes(octets)
        (problem,) = found(store.folder)
        assert problem.startswith("archives_are_whole: tenant 1, campaign cmp_") and f"{path}: {said}" in problem
    path.unlink()
    (problem,) = found(store.folder)
    assert f"{path}: missing" in problem
    assert found(tmp_path / "backup") == [], "from where it can be put back"


def test_a_person_who_was_in_twenty_archived_campaigns_has_a_story_in_less_than_50_ms(store):
    for no in range(20):
        shown = do(store, create_campaign, CreateCampaign(title=f"No {no}", text="Hi", sender="SHOP"))
        one = parse_public_id("cmp", shown["id"])
        token = do(store, preview_campaign, PreviewCampaign(campaign=one))["token"]
        do(store, start_campaign, StartCampaign(campaign=one, token=token))
        log_begins(store, one)
        log(store, one, NOW_MS + no, claim(0, [1] * MEMBERS))
        texts = [record(ACCEPTED, rank, message_id=b"%d" % (no << 16 | rank)) for rank in range(MEMBERS)]
        log(store, one, NOW_MS + no, *texts, *(record(RECEIPT, r, state=State.DELIVERED) for r in range(MEMBERS)))
        with store.begin_write() as view:
            view.apply(mark_done(view, 1, one, NOW_MS + 9_000))
        archived(store, one)
    took_s = 1.0
    with store.begin_write() as view:
        for position, _ in list(ledger.log_values(view))[:-1]:
            view.txn.delete(U64.pack(position), db=view.tables["outcome_log"])
    for _ in range(5):
        with store.snapshot() as view:
            began = time.perf_counter()
            data = messages(view, 1, 4_321, NOW_MS + 10**6, folder=store.folder)["data"]
            took_s = min(took_s, time.perf_counter() - began)
        assert [one["parts"][0]["message_id"] for one in data] == [str(n << 16 | 4_321) for n in reversed(range(20))]
    assert took_s < 0.05
