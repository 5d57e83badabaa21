"""A data folder that schema 1 wrote (make_schema_1.py) opens with today's code, adds up, and says what it said then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.apps.points.account import balance, statement
from dispatcher.campaigns.campaign import list_campaigns
from dispatcher.campaigns.progress import progress
from dispatcher.campaigns.recipients import recipients
from dispatcher.control.commands import UpsertMember
from dispatcher.errors import StoreError
from dispatcher.members.consent import history, opted_out, suppressed
from dispatcher.members.fields import fields_of
from dispatcher.members.importer import list_imports, list_rejects
from dispatcher.members.member import member_json, upsert_member
from dispatcher.outbox.entry import batches, entries
from dispatcher.records.batches import batch_of
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, State
from dispatcher.segments.count import count
from dispatcher.segments.segment import list_segments
from dispatcher.store import Snapshot, Store, ledger, open_store
from dispatcher.store.columns import find_number, fold_some
from dispatcher.store.layout import SCHEMA, SINCE_2, SINCE_3, SINCE_4, SINCE_5, TABLES
from dispatcher.store.values import unpack
from dispatcher.store.verify import verify
from dispatcher.tenants.keys import find_key
from dispatcher.tenants.tenant import get_tenant
from tests.fakes.shop import NOW_MS, do
from tests.store import make_schema_1 as made
from tests.store.stored import opened_copy


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with opened_copy(made.FOLDER, tmp_path) as store:
        yield store


@pytest.fixture
def view(kept: Store) -> Iterator[Snapshot]:
    with kept.snapshot() as opened:
        yield opened


def campaign_of(view: Snapshot, title: str) -> int:
    return next(campaign for campaign, row in list_campaigns(view, 1) if row["title"] == title)


def test_it_adds_up_and_has_a_row_of_every_table(view: Snapshot):
    found = verify(view)
    assert found["problems"] == []
    assert {table for table in TABLES if not found["tables"][table]} == {*SINCE_2, *SINCE_3, *SINCE_4, *SINCE_5}


def test_it_is_brought_to_the_schema_of_today(view: Snapshot):
    row = view.get("meta", b"schema")
    assert row is not None and unpack(row)["schema"] == SCHEMA


def test_a_reader_that_comes_before_the_dispatcher_is_told_to_wait(tmp_path: Path):
    shutil.copytree(made.FOLDER, tmp_path / "data")
    with pytest.raises(StoreError, match="start the dispatcher once"):
        open_store(tmp_path / "data")


def test_its_tenant_and_its_key_are_known(view: Snapshot):
    tenant = get_tenant(view, 1)
    assert tenant is not None
    assert (tenant.title, tenant.zone, tenant.region, tenant.sender, tenant.brand, tenant.next_member_no) == (
        "Corner Shop", "Europe/Berlin", "DE", made.SENDER, "Corner", made.MEMBERS,
    )  # fmt: skip
    key = find_key(view, made.KEY_SECRET)
    assert key is not None and (key.tenant, key.title, key.scopes) == (1, "till", frozenset({"members:read"}))


def test_its_fields_are_of_every_kind(view: Snapshot):
    fields = fields_of(view, 1)
    assert {fields[field.title].kind for field in made.FIELDS} == {
        "text", "dict", "int", "date", "month_day", "bool", "money", "tags",
    }  # fmt: skip
    assert fields["tier"].values == ("basic", "gold") and fields["city"].values == (
        "City 1",
        "City 2",
        "City 0",
        "City 3",
    )


@pytest.mark.parametrize("folded", [False, True])
def test_each_member_has_its_values_before_and_after_a_fold(kept: Store, folded: bool):
    if folded:
        with kept.begin_write() as view:
            view.apply(fold_some(view, 1))
    with kept.snapshot() as view:
        assert (view.count("delta") == 0) == folded
        for member in range(made.MEMBERS):
            shown = member_json(view, 1, member)
            if member == made.ERASED:
                assert shown is None and find_number(view, 1, made.number(member)) is None
                continue
            assert shown is not None and shown["msisdn"] == f"+{made.number(member)}"
            changed = {"name": "Renamed", "tags": ["coffee"]} if member == 0 else {}
            empty = {field.title: [] if field.kind == "tags" else None for field in made.FIELDS}
            assert shown["values"] == empty | made.values(member) | changed, member
            assert shown["points"] == {1: 40}.get(member, 10 * member if member < made.IMPORTED else 0)


def test_points_are_the_opening_balance_and_the_entries(view: Snapshot):
    assert balance(view, 1, 1) == 40
    assert [(entry["delta"], entry["balance"], entry["key"]) for entry in statement(view, 1, 1, 10)] == [
        (-20, 40, "till-2"), (50, 60, "till-1"),
    ]  # fmt: skip


def test_what_people_said_still_holds(view: Snapshot):
    stopped, letter = made.number(made.STOPPED), made.number(made.SUPPRESSED)
    assert all(opted_out(view, 1, stopped, group) for group in ("marketing", "care", "service"))
    assert [said["evidence"] for said in history(view, 1, stopped)] == ["SMS: STOP"]
    assert suppressed(view, 1, letter) and not suppressed(view, 1, stopped)
    heard = [unpack(row) for _, row in view.range("inbound")]
    assert [(row["what"], row["text"]) for row in heard] == [
        ("stop", "STOP"), ("points", "POINTS"), ("inbox", "When do you open?"),
    ]  # fmt: skip


def test_segments_count_the_same_members(view: Snapshot):
    assert {segment["title"]: segment["expr"] for segment in list_segments(view, 1)} == {
        "Gold": 'tier = "gold"', "Tea": 'has tag "tea"',
    }  # fmt: skip
    found = count(view, 1, 'tier in ("basic", "gold")', as_of_ms=NOW_MS)
    assert (found["matched"], found["reachable"]) == (19, 17)
    assert (found["waterfall"]["suppressed"], found["waterfall"]["opted_out"]) == (1, 1)
    tea = sum("tea" in made.values(member).get("tags", ()) for member in range(1, made.ERASED))
    assert count(view, 1, 'has tag "tea"', as_of_ms=NOW_MS)["matched"] == tea


def test_the_import_is_shown_with_its_reject(view: Snapshot):
    (shown,) = list_imports(view, 1)
    assert (shown["state"], shown["rows_read"], shown["members_imported"], shown["rows_rejected"]) == (
        "done",
        16,
        15,
        1,
    )
    number = parse_public_id("imp", shown["id"])
    assert number is not None
    (reject,) = list_rejects(view, 1, number)
    assert (reject["line"], reject["column"], reject["code"]) == (17, "joined", "wrong_date")


def test_the_campaign_that_was_sent_has_its_outcome(view: Snapshot):
    campaign = campaign_of(view, "Autumn")
    found = progress(view, 1, campaign)
    assert found is not None and found["state"] == "done"
    assert (found["audience"], found["skipped"]) == (19, {"suppressed": 1, "opted_out": 1})
    assert (found["sent"], found["delivered"], found["failed"], found["accepted"]) == (17, 15, 2, 15)
    assert (found["parts_sent"], found["parts_accepted"]) == (18, 16)
    rows = recipients(view, 1, campaign)
    assert [row["rank"] for row in rows if row["parts"] == 2] == [made.LONG]
    assert [row["msisdn"] for row in rows] == [f"+{made.number(rank)}" for rank in range(19)]
    refused = recipients(view, 1, campaign, state=State.FAILED)
    assert [(row["error"], row["message_id"]) for row in refused] == [(0x0B, None)] * 2
    delivered = recipients(view, 1, campaign, state=State.DELIVERED)
    assert len({row["message_id"] for row in delivered} - {None}) == 15
    (stopped,) = recipients(view, 1, campaign, decision=Decision.OPTED_OUT)
    assert stopped["msisdn"] == f"+{made.number(made.STOPPED)}"


def test_replies_are_kept_with_their_own_ledgers(view: Snapshot):
    assert list(batches(view)) == [batch_of(1), batch_of(1, confirmations=True)]
    (answer,), (confirmation,) = (list(entries(view, batch)) for batch in batches(view))
    assert (answer.to, answer.text) == (made.number(made.ASKED), "Corner: you have 70 points.")
    assert confirmation.to == made.number(made.STOPPED)
    assert [ledger.read_counts(view, batch).accepted for batch in batches(view)] == [1, 1]


def test_the_outcome_log_reads_from_its_beginning(view: Snapshot):
    kinds = [record[0] for _, value in ledger.log_values(view) for record in ledger.records(value)]
    assert kinds[0] == "claim" and {2, 3, 7} < set(kinds)  # ESME_ROK, refused, receipts


def test_it_takes_new_members(kept: Store):
    reply = do(kept, upsert_member, UpsertMember(msisdn="+4915100000500", values={"tier": "gold"}))
    assert reply["member_no"] == made.MEMBERS
    with kept.snapshot() as view:
        assert verify(view)["problems"] == []
