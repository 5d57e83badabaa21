"""An erasure: nobody finds the member, nothing says their number, it stays suppressed, and the accounts add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.apps.merge import merge_members
from dispatcher.apps.messages import send_messages
from dispatcher.apps.points.account import add_points, statement
from dispatcher.control.commands import (
    AddPoints,
    AddSuppression,
    Envelope,
    EraseMember,
    MergeMembers,
    RemoveSuppression,
    SendMessages,
)
from dispatcher.daemon.handlers import execute
from dispatcher.members.aliases import alias_of
from dispatcher.members.consent import erased, history, number_hash, record_optout, suppressed_numbers
from dispatcher.members.edit_jobs import job_of, unfinished_edits
from dispatcher.members.erase import EraseJob, erase_member
from dispatcher.members.import_undo import unpack_record
from dispatcher.members.member import member_json
from dispatcher.members.suppression import add_suppression, remove_suppression
from dispatcher.outbox.entry import add_entry
from dispatcher.outcomes.inbound import Recent, hear
from dispatcher.records.changes import Changes
from dispatcher.records.events import Delivered
from dispatcher.records.states import Purpose
from dispatcher.store import Store
from dispatcher.store.columns import fold_some
from dispatcher.store.layout import TABLES, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.store.verify import find_problems
from tests.fakes.people import run_import
from tests.fakes.shop import NOW_MS, do, new_member, new_shop, refused

ONE, TWO, THREE = 4915100000001, 4915100000002, 4915100000003
SENDER = "10690000"


@pytest.fixture
def shop(store: Store) -> Store:
    new_shop(store)
    return store


def erase(store: Store, member_no: int = 0, now_ms: int = NOW_MS + 86_400_000) -> None:
    """The command, and its job to the end."""
    job = EraseJob(1, do(store, erase_member, EraseMember(member_no=member_no))["job"])
    drive(store, job, now_ms)


def drive(store: Store, job: EraseJob, now_ms: int) -> int:
    slices = 0
    while True:
        with store.begin_write() as view:
            changes = job.next_slice(view, now_ms)
            if changes is None:
                return slices
            view.apply(changes)
        slices += 1


def whole(store: Store) -> bytes:
    """Every key and value there is, after a fold."""
    with store.begin_write() as view:
        view.apply(fold_some(view, 1))
    with store.snapshot() as view:
        return b"\n".join(key + b"=" + value for table in TABLES for key, value in view.range(table))


def problems(store: Store) -> list[str]:
    with store.snapshot() as view:
        return [str(problem) for problem in find_problems(view)]


def say(store: Store, text: str, number: int = ONE, at_ms: int = NOW_MS) -> None:
    message = Delivered(source_addr=str(number), destination_addr=SENDER, octets=text.encode())
    with store.begin_write() as view:
        view.apply(hear(view, message, at_ms, Recent())[0])


def test_every_value_is_gone_and_the_slot_stays_empty(shop: Store):
    new_member(shop, ONE, name="Ada Erased", city="Bonn", tags=["hotpot"], serial=1234567890123)
    erase(shop)
    with shop.snapshot() as view:
        assert member_json(view, 1, 0) is None
    assert b"Ada Erased" not in whole(shop)
    assert new_member(shop, TWO) == 1, "the slot is never given again"
    assert refused(shop, erase_member, EraseMember(member_no=0)).status == 404
    assert problems(shop) == []


def test_the_number_is_a_salted_hash_and_whoever_gets_it_is_suppressed(shop: Store):
    new_member(shop, ONE)
    with shop.snapshot() as view:
        assert number_hash(view, 1, ONE) is None and suppressed_numbers(view, 1, [ONE]) == set()
    erase(shop)
    with shop.snapshot() as view:
        assert erased(view, 1, ONE) and not erased(view, 1, TWO)
        assert suppressed_numbers(view, 1, [ONE, TWO]) == {ONE}
        (key,) = [key for key, _ in view.range("erased_numbers")]
        assert key[2:] == number_hash(view, 1, ONE) and len(key) == 34
    again = new_member(shop, ONE)
    with shop.snapshot() as view:
        member = member_json(view, 1, again)
    assert member is not None and member["suppressed"] and problems(shop) == []


def test_two_tenants_hash_alike_numbers_to_different_words(shop: Store):
    new_shop(shop, "Other Shop")
    for tenant in (1, 2):
        new_member(shop, ONE, tenant=tenant)
        do(shop, erase_member, EraseMember(member_no=0), tenant=tenant)
    with shop.snapshot() as view:
        assert number_hash(view, 1, ONE) != number_hash(view, 2, ONE)


def test_an_import_of_an_erased_number_makes_a_suppressed_member(shop: Store):
    new_member(shop, ONE)
    erase(shop)
    run_import(shop, 5, f"phone,name\n+{ONE},Ada\n+{TWO},Bea\n".encode())
    with shop.snapshot() as view:
        rows = [member_json(view, 1, no) for no in (1, 2)]
    assert [(row["msisdn"], row["suppressed"]) for row in rows if row] == [(f"+{ONE}", True), (f"+{TWO}", False)]
    assert problems(shop) == []


def test_taking_a_number_off_the_list_does_not_make_an_erased_one_reachable(shop: Store):
    new_member(shop, ONE)
    erase(shop)
    again = new_member(shop, ONE)
    do(shop, add_suppression, AddSuppression(numbers=[f"+{ONE}"]))
    do(shop, remove_suppression, RemoveSuppression(numbers=[f"+{ONE}"]))
    with shop.snapshot() as view:
        member = member_json(view, 1, again)
    assert member is not None and member["suppressed"] and problems(shop) == []


def test_nothing_in_the_store_says_the_number_any_more(shop: Store):
    new_member(shop, ONE, name="Ada")
    do(shop, add_points, AddPoints(member_no=0, delta=5, source="till", key=f"till-{ONE}", why=f"to {ONE}"))
    say(shop, f"my number is {ONE}")
    say(shop, "STOP", at_ms=NOW_MS + 60_000)
    do(shop, add_suppression, AddSuppression(numbers=[f"+{ONE}"]))
    run_import(shop, 5, f"phone,visits\n+{ONE},many\n+{TWO},1\n".encode())
    with shop.begin_write() as view:
        changes = Changes()
        add_entry(
            changes, view, 1, to=ONE, sender=SENDER, text=f"Hello {ONE}", purpose=Purpose.SERVICE, now_ms=NOW_MS,
            expiry_ms=NOW_MS + 1,
        )  # fmt: skip
        view.apply(changes)
    one = {"to": f"+{ONE}", "text": f"Your code, {ONE}", "purpose": "otp", "ref": f"for {ONE}", "validity_s": 60}
    do(shop, send_messages, SendMessages(messages=[one]), at_ms=NOW_MS - 120_000)
    octets = ONE.to_bytes(8, "big")
    before = whole(shop)
    assert octets in before and str(ONE).encode() in before
    erase(shop)
    after = whole(shop)
    assert octets not in after and octets[::-1] not in after and str(ONE).encode() not in after
    with shop.snapshot() as view:
        (entry,) = statement(view, 1, 0)
        assert history(view, 1, ONE) == []
    assert (entry["delta"], entry["source"], entry["reason"], entry["key"]) == (5, "till", "", "")
    assert problems(shop) == []


def test_an_answer_that_may_still_go_out_keeps_the_job_open_until_it_is_expired(shop: Store):
    new_member(shop, ONE)
    with shop.begin_write() as view:
        changes = Changes()
        add_entry(
            changes, view, 1, to=ONE, sender=SENDER, text="Hello", purpose=Purpose.SERVICE, now_ms=NOW_MS,
            expiry_ms=NOW_MS + 5_000,
        )  # fmt: skip
        view.apply(changes)
    job = EraseJob(1, do(shop, erase_member, EraseMember(member_no=0))["job"])
    drive(shop, job, NOW_MS)
    assert not job.finished
    with shop.snapshot() as view:
        ((tenant, job_id),) = unfinished_edits(view)
        row = view.get("imports", TENANT_U64.pack(tenant, job_id))
        assert row is not None
        again = job_of(tenant, job_id, unpack(row))
    assert isinstance(again, EraseJob)
    drive(shop, again, NOW_MS + 5_001)
    assert again.finished and str(ONE).encode() not in whole(shop)


def test_others_rows_are_left_alone(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number, name=f"M{number}")
        say(shop, f"hello from {number}", number)
        with shop.begin_write() as view:
            view.apply(record_optout(view, 1, number, "care", NOW_MS, "by post"))
    do(shop, add_points, AddPoints(member_no=1, delta=5, source="till", key="k", why="tea"))
    erase(shop)
    with shop.snapshot() as view:
        member = member_json(view, 1, 1)
        assert member is not None and member["opted_out"] == ["care"] and len(history(view, 1, TWO)) == 1
        assert statement(view, 1, 1)[0]["reason"] == "tea"
        texts = [unpack(row)["text"] for _, row in view.range("inbound")]
    assert texts == [None, f"hello from {TWO}"]


def test_the_number_of_a_merged_member_is_erased_with_the_winner(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number, name=f"Ada {number}")
    do(shop, merge_members, MergeMembers(winner=0, loser=1))
    refusal = refused(shop, erase_member, EraseMember(member_no=1))
    assert refusal.status == 404 and "merged_into" in refusal.extra
    erase(shop)
    with shop.snapshot() as view:
        assert suppressed_numbers(view, 1, [ONE, TWO]) == {ONE, TWO}
        assert alias_of(view, 1, TWO) is None
    assert str(TWO).encode() not in whole(shop) and problems(shop) == []


def test_a_job_killed_between_any_two_slices_goes_on(shop: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("dispatcher.members.erase.CHANGED_A_SLICE", 2)
    monkeypatch.setattr("dispatcher.members.erase.LOOKED_AT_A_SLICE", 3)
    new_member(shop, ONE)
    for at in range(7):
        say(shop, f"text {at} of {ONE}", at_ms=NOW_MS + at * 60_000)
        do(shop, add_points, AddPoints(member_no=0, delta=1, source="till", key=str(at), why="secret"))
    job_id = do(shop, erase_member, EraseMember(member_no=0))["job"]
    slices = 0
    while True:
        job = EraseJob(1, job_id)  # a new process each time
        with shop.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            if changes is None:
                break
            view.apply(changes)
        slices += 1
    assert slices > 10 and job.finished
    text = whole(shop)
    assert str(ONE).encode() not in text and b"secret" not in text and problems(shop) == []


def test_what_a_merge_answered_is_kept_without_values(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number, name=f"Ada {number}")
    envelope = Envelope(tenant=1, actor="test", at_ms=NOW_MS, request_key="k", fingerprint="f")
    with shop.begin_write() as view:
        view.apply(execute(view, MergeMembers(winner=0, loser=1), envelope, NOW_MS)[0])
    erase(shop)
    with shop.snapshot() as view:
        ((_, octets),) = view.range("requests")
    assert b"Ada" not in octets and unpack(octets)["reply"]["points_moved"] == 0
    assert b"Ada" not in whole(shop)


def test_what_imports_and_edits_replaced_is_forgotten_and_others_can_still_be_undone(shop: Store):
    for number in (ONE, TWO):
        new_member(shop, number, name=f"Ada {number}")
    run_import(shop, 5, f"phone,name\n+{ONE},Bea\n+{TWO},Bea\n".encode())
    erase(shop)
    with shop.snapshot() as view:
        ((_, octets),) = view.range("import_undo", (5).to_bytes(8, "big"))
    record = unpack_record(octets)
    assert list(record.slots) == [1] and len(record.before) == len(record.seals) == 1
    assert f"Ada {TWO}".encode() in record.before[0]
