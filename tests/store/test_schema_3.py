"""A data folder that schema 3 wrote (make_schema_3.py) opens with today's code, adds up, and goes on where it was."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.apps.archive import recipients_anywhere
from dispatcher.apps.reports.story import messages
from dispatcher.errors import StoreError
from dispatcher.outcomes.inbound import Recent, hear
from dispatcher.records.changes import Changes
from dispatcher.records.states import State
from dispatcher.smpp.pump import Book, Kind
from dispatcher.store import Snapshot, Store, ids_kept, ledger, open_store
from dispatcher.store.columns import find_number
from dispatcher.store.layout import SCHEMA, SINCE_4, SINCE_5
from dispatcher.store.values import pack, unpack
from dispatcher.store.verify import verify
from tests.daemon.test_log_drop import sweep
from tests.fakes.shop import NOW_MS
from tests.store import make_schema_3 as made
from tests.store.logs import Record, append, fold_all, value_of
from tests.store.make_schema_1 import LONG, number
from tests.store.stored import opened_copy

LATER_MS = 2_000_000_000_000


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with opened_copy(made.FOLDER, tmp_path) as store:
        yield store


@pytest.fixture
def view(kept: Store) -> Iterator[Snapshot]:
    with kept.snapshot() as opened:
        yield opened


def test_it_adds_up_with_its_files_and_is_of_todays_schema(kept: Store, view: Snapshot):
    found = verify(view, kept.folder)
    assert found["problems"] == []
    assert unpack(view.get("meta", b"schema") or b"")["schema"] == SCHEMA
    assert not any(found["tables"][table] for table in (*SINCE_4, *SINCE_5))
    for table in ("archives", "mo_parts", "mo_due", "consents", "suppression_hashes", "signatures", "prices", "money"):
        assert found["tables"][table], table


def test_a_reader_that_comes_before_the_dispatcher_is_told_to_wait(tmp_path: Path):
    shutil.copytree(made.FOLDER, tmp_path / "data")
    with pytest.raises(StoreError, match="start the dispatcher once"):
        open_store(tmp_path / "data")


def test_the_archive_of_then_tells_a_persons_story(kept: Store, view: Snapshot):
    campaign = made.campaign_of(kept, "Autumn")
    rows = recipients_anywhere(view, 1, campaign, folder=kept.folder, limit=100)
    assert all(row["message_id"] and row["tries"] for row in rows if row["state"] == "delivered")
    member_no = find_number(view, 1, number(LONG))
    assert member_no is not None
    (told,) = messages(view, 1, member_no, NOW_MS, folder=kept.folder)["data"]  # type: ignore[index]
    assert (told["state"], len(told["parts"]), bool(told["parts"][0]["message_id"])) == ("delivered", 2, True)


def test_a_late_receipt_of_a_part_still_counts_in_the_archive_of_then(kept: Store):
    """Its states of parts were dropped, so each begins in the message's."""
    campaign = made.campaign_of(kept, "Autumn")
    with kept.snapshot() as view:
        rows = recipients_anywhere(view, 1, campaign, folder=kept.folder, limit=100)
        rank = next(row["rank"] for row in rows if row["parts"] == 2)
    append(kept, value_of([Record(campaign, Kind.RECEIPT, rank, 1, State.DELIVERED)], LATER_MS))
    fold_all(kept)
    with kept.snapshot() as view:
        assert [ledger.state_of(view, campaign, rank, part) for part in (0, 1)] == [State.DELIVERED] * 2
        assert verify(view, kept.folder)["problems"] == []


def test_its_log_is_dropped_by_todays_rules_and_its_message_ids_stay(kept: Store):
    campaign = made.campaign_of(kept, "Autumn")
    with kept.snapshot() as view:
        rows = recipients_anywhere(view, 1, campaign, folder=kept.folder, limit=100)
        texts = {row["message_id"].encode(): row["rank"] for row in rows if row["message_id"]}
    append(kept, value_of([Record(campaign, Kind.RECEIPT, 0, 0, State.DELIVERED)], LATER_MS))
    fold_all(kept)
    sweep(kept, LATER_MS)
    book = Book(1, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=2, reply_ring=2)
    keys = {book.key_of(text): rank for text, rank in texts.items()}
    with kept.snapshot() as view:
        assert view.count("outcome_log") == 1
        found = ids_kept.look_up(view, array("Q", keys))
        assert {key: known.rank for (_, key), known in found.items()} == keys
        assert {known.id for known in found.values()} == {campaign}
        assert verify(view, kept.folder)["problems"] == []


def test_a_long_message_that_was_half_there_is_whole_with_its_other_part(kept: Store):
    with kept.begin_write() as view:
        changes, heard = hear(view, made.part(2, made.REST), made.HEARD_MS + 1, Recent())
        view.apply(changes)
        texts = [unpack(row)["text"] for _, row in view.range("inbound")]
    assert heard.what == "inbox" and (made.HALF + made.REST).decode() in texts


def test_a_reader_of_a_schema_that_lacks_no_table_is_told_the_same(tmp_path: Path):
    with opened_copy(made.FOLDER, tmp_path) as kept, kept.begin_write() as view:
        changes, row = Changes(), unpack(view.get("meta", b"schema"))
        changes.put("meta", b"schema", pack({**row, "schema": SCHEMA - 1}))
        view.apply(changes)
    with pytest.raises(StoreError, match="start the dispatcher once"):
        open_store(tmp_path / "data")
