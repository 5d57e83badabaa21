"""Taking an import back: the same values, tags, points, planes and counts as before; whole, or not at all, or what is left."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.apps.points.account import add_points
from dispatcher.control.commands import (
    AddPoints,
    AddSuppression,
    CancelImport,
    DefineField,
    EraseMember,
    UndoImport,
    UpsertMember,
)
from dispatcher.members import import_restore, import_slice
from dispatcher.members.consent import record_optout
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import define_field
from dispatcher.members.import_job import ImportJob
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.import_undo import expired_rows, forget
from dispatcher.members.importer import FINAL, cancel_import, expired_undos, import_json, need_import, undo_import
from dispatcher.members.member import upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.segments.count import count
from dispatcher.store import Store
from dispatcher.store.columns import find_number, fold_some
from dispatcher.store.verify import find_problems
from tests.fakes.people import counts, everybody, run_import, spool
from tests.fakes.people import prepare as parse_whole
from tests.fakes.shop import NOW_MS, do, new_shop, refused

FIRST = 4_915_100_000_000
SEGMENTS = ('tier = "gold"', "visits > 3", 'has tag "a"', 'city = "Ulm" or vip is yes', "points >= 10", "everyone")


def undo(store: Store, import_id: int, *, skip_changed: bool = False, tenant: int = 1) -> dict[str, Any]:
    """To its end, a job made anew before each slice as after a kill; the row as the API shows it."""
    do(store, undo_import, UndoImport(import_id=import_id, skip_changed=skip_changed), tenant=tenant)
    while True:
        job = UndoJob(tenant, import_id)
        with store.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            if changes is not None:
                view.apply(changes)
        if changes is None:
            break
    with store.snapshot() as view:
        found = import_json(view, tenant, import_id)
        assert list(find_problems(view)) == []
    assert found is not None
    return found


def answers(store: Store) -> list[tuple[int, int]]:
    with store.snapshot() as view:
        found = [count(view, 1, text) for text in SEGMENTS]
    return [(each["matched"], each["reachable"]) for each in found]


def change(store: Store, number: int, **values: Any) -> int:
    command = UpsertMember(msisdn=f"+{number}", values=values)
    return int(do(store, upsert_member, command, at_ms=NOW_MS + 5)["member_no"])


def member_of(store: Store, number: int) -> int | None:
    with store.snapshot() as view:
        return find_number(view, 1, number)


HEADER = "phone,name,tier,city,visits,joined,vip,tags,points"
WORDS = ["", "Ulm", "Rom", "Bonn", "Köln"]


def body_of(rng: random.Random, rows: int, numbers: int) -> bytes:
    """Rows about few numbers, so that some repeat; most cells given."""
    lines = [HEADER]
    for _ in range(rows):
        cells = [
            f"+{FIRST + rng.randrange(numbers)}",
            rng.choice(["", "Ann", "Bob", "x" * 39, "Zoë"]),
            rng.choice(["", "basic", "gold"]),
            rng.choice(WORDS),
            rng.choice(["", str(rng.randrange(-9, 9))]),
            rng.choice(["", "2020-02-29", "1999-01-01"]),
            rng.choice(["", "yes", "no"]),
            rng.choice(["", "a", "a;b", "c;d;e;f;g;h;i;j"]),
            rng.choice(["", "5", "70"]),
        ]
        lines.append(",".join(cells))
    return "\n".join([*lines, ""]).encode()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1 << 30), mode=st.sampled_from(["insert", "update", "upsert", "replace_tags"]), data=st.data()
)
def test_an_import_undone_leaves_everything_as_it_was(tmp_path_factory: Any, seed: int, mode: str, data: st.DataObject):
    from dispatcher.store import open_store

    rng = random.Random(seed)
    with open_store(tmp_path_factory.mktemp("undo"), write=True, create=True, sync=False) as store:
        new_shop(store)
        with store.begin_write() as view:
            view.apply(record_optout(view, 1, FIRST + 3, ["marketing"], NOW_MS, "STOP"))
        run_import(store, 1, body_of(rng, data.draw(st.integers(0, 60)), 40))
        for _ in range(data.draw(st.integers(0, 4))):  # some of it in the delta
            change(store, FIRST + rng.randrange(40), name="changed", tags=["b", "z"], visits=rng.randrange(9))
        if data.draw(st.booleans()):
            with store.begin_write() as view:
                view.apply(fold_some(view, 1))
        before, counted = everybody(store), answers(store)
        keep = pytest.MonkeyPatch()
        with keep.context() as patch:
            patch.setattr(import_slice, "WINDOW", data.draw(st.sampled_from([7, 40, 32_640])))
            patch.setattr(import_slice, "UPDATES", data.draw(st.sampled_from([5, 8_192])))
            patch.setattr(import_restore, "REMOVED_AT_ONCE", data.draw(st.sampled_from([3, 4_096])))
            patch.setattr(import_restore, "FOLD_FROM", data.draw(st.sampled_from([1, 4_096])))
            job = spool(store, 2, body_of(rng, 80, 60), mode=mode)
            job = ImportJob(Path(store.folder), 1, 2, run_rows=data.draw(st.sampled_from([20, 1 << 20])))
            parse_whole(store, job)
            apply_some(store, job, data.draw(st.sampled_from([2, 1_000])))
            if data.draw(st.booleans()):
                with store.begin_write() as view:
                    view.apply(fold_some(view, 1))
            row = undo(store, 2)
        assert (row["state"], row["undo"]["conflicts"]) == ("undone", [])
        assert everybody(store) == before
        assert answers(store) == counted
        with store.snapshot() as view:
            assert view.count("import_undo") == len([1 for _ in view.range("import_undo", (1).to_bytes(8, "big"))])


def apply_some(store: Store, job: ImportJob, slices: int) -> None:
    """At most so many slices; an import that is not over then is cancelled."""
    for _ in range(slices):
        with store.begin_write() as view:
            changes = job.next_slice(view, NOW_MS)
            if changes is not None:
                view.apply(changes)
        if changes is None:
            return
    with store.snapshot() as view:
        over = need_import(view, job.tenant, job.import_id)["state"] in FINAL
    if not over:
        do(store, cancel_import, CancelImport(import_id=job.import_id))


def test_a_later_change_refuses_the_undo_whole_and_says_whose_and_what(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name,visits\n+{FIRST},Ann,1\n+{FIRST + 1},Bob,1\n".encode())
    run_import(store, 2, f"phone,name,visits\n+{FIRST},Anna,2\n+{FIRST + 1},Bobby,2\n+{FIRST + 2},Cyd,3\n".encode())
    change(store, FIRST, visits=9)
    change(store, FIRST + 2, tier="gold")
    before = everybody(store)
    row = undo(store, 2)
    assert (row["state"], row["undo"]["phase"], row["undo"]["conflicts_found"]) == ("done", "refused", 2)
    said = {conflict["msisdn"]: conflict["fields"] for conflict in row["undo"]["conflicts"]}
    assert said == {f"+{FIRST}": ["visits"], f"+{FIRST + 2}": ["tier"]}
    assert everybody(store) == before
    row = undo(store, 2, skip_changed=True)
    assert (row["state"], row["undo"]["restored"], row["undo"]["conflicts_found"]) == ("undone", 1, 2)
    after = everybody(store)
    assert after[FIRST + 1]["values"]["name"] == "Bob"
    assert {number: after[number] for number in (FIRST, FIRST + 2)} == {n: before[n] for n in (FIRST, FIRST + 2)}


def test_a_change_that_was_taken_back_by_hand_does_not_hinder(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},Ann\n".encode())
    run_import(store, 2, f"phone,name\n+{FIRST},Anna\n".encode())
    change(store, FIRST, name="x")
    change(store, FIRST, name="Anna")
    assert undo(store, 2)["state"] == "undone"
    assert everybody(store)[FIRST]["values"]["name"] == "Ann"


def test_of_two_imports_the_later_is_undone_first(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},Ann\n".encode())
    run_import(store, 2, f"phone,name\n+{FIRST},Anna\n".encode())
    assert undo(store, 1)["undo"]["conflicts"][0]["fields"] == ["name"]
    assert undo(store, 2)["state"] == "undone"
    assert undo(store, 1)["state"] == "undone"
    assert everybody(store) == {}


def test_a_change_between_two_slices_of_the_import_is_a_later_change(store: Store, monkeypatch: pytest.MonkeyPatch):
    new_shop(store)
    monkeypatch.setattr(import_slice, "WINDOW", 2)
    run_import(store, 1, f"phone,name\n+{FIRST},Ann\n".encode())
    body = f"phone,name\n+{FIRST},Anna\n+{FIRST + 1},x\n+{FIRST + 2},x\n+{FIRST + 3},x\n"
    job = spool(store, 2, body.encode())
    parse_whole(store, job)
    assert apply_one(store, job)
    change(store, FIRST, name="Dora")
    while apply_one(store, job):
        pass
    assert undo(store, 2)["undo"]["conflicts"][0]["fields"] == ["name"]
    assert everybody(store)[FIRST]["values"]["name"] == "Dora"


def apply_one(store: Store, job: ImportJob) -> bool:
    with store.begin_write() as view:
        changes = job.next_slice(view, NOW_MS)
        if changes is not None:
            view.apply(changes)
    return changes is not None


def test_points_that_moved_keep_a_new_member_and_unmoved_ones_go(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,points\n+{FIRST},5\n+{FIRST + 1},6\n".encode())
    member_no = member_of(store, FIRST)
    assert member_no is not None
    for key, delta in (("a", 3), ("b", -3)):
        do(store, add_points, AddPoints(member_no=member_no, delta=delta, source="pos", key=key))
    row = undo(store, 1)
    assert row["undo"]["conflicts"] == [
        {"member": row["undo"]["conflicts"][0]["member"], "msisdn": f"+{FIRST}", "fields": ["points"]}
    ]
    assert undo(store, 1, skip_changed=True)["undo"]["removed"] == 1
    assert [(number, member["points"]) for number, member in everybody(store).items()] == [(FIRST, 5)]


def test_what_a_phone_said_since_stays_and_does_not_hinder(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},Ann\n".encode())
    run_import(store, 2, f"phone,name\n+{FIRST},Anna\n+{FIRST + 1},Bob\n".encode())
    for number in (FIRST, FIRST + 1):
        with store.begin_write() as view:
            view.apply(record_optout(view, 1, number, ["marketing"], NOW_MS, "STOP"))
    do(store, add_suppression, AddSuppression(numbers=[f"+{FIRST + 1}"]))
    assert undo(store, 2)["state"] == "undone"
    assert everybody(store)[FIRST]["opted_out"] == ["marketing"]
    run_import(store, 3, f"phone\n+{FIRST + 1}\n".encode())
    again = everybody(store)[FIRST + 1]
    assert (again["opted_out"], again["suppressed"]) == (["marketing"], True)


def test_a_member_erased_since_stays_erased_and_the_undo_keeps_nothing_of_it(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},Ann\n".encode())
    run_import(store, 2, f"phone,name\n+{FIRST},Anna\n".encode())
    member_no = member_of(store, FIRST)
    assert member_no is not None
    do(store, erase_member, EraseMember(member_no=member_no))
    with store.begin_write() as view:
        from dispatcher.records.changes import Changes

        changes = Changes()
        forget(view, changes, 1, member_no)
        view.apply(changes)
    assert undo(store, 2)["state"] == "undone"
    assert everybody(store) == {}


def test_slots_and_codes_that_an_undone_import_took_stay_used_and_its_numbers_are_free(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,city,tags\n+{FIRST},Ulm,x\n+{FIRST + 1},Rom,y\n".encode())
    assert undo(store, 1)["state"] == "undone"
    assert member_of(store, FIRST) is None
    assert change(store, FIRST, city="Bonn") == 2
    with store.snapshot() as view:
        from dispatcher.members.fields import fields_of

        assert fields_of(view, 1)["city"].values == ("Ulm", "Rom", "Bonn")


def test_a_field_that_came_later_and_is_known_keeps_a_new_member(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone\n+{FIRST}\n+{FIRST + 1}\n".encode())
    do(store, define_field, DefineField(title="shoe", kind="int"))
    change(store, FIRST, shoe=43)
    row = undo(store, 1)
    assert row["undo"]["conflicts"][0]["fields"] == ["shoe"]
    assert undo(store, 1, skip_changed=True)["undo"]["removed"] == 1


def test_an_undo_is_refused_for_dry_runs_for_what_runs_and_after_its_time(store: Store):
    new_shop(store)
    run_import(store, 1, b"phone\n", dry_run=True)
    assert refused(store, undo_import, UndoImport(import_id=1)).code == "state_conflict"
    spool(store, 2, b"phone\n")
    assert refused(store, undo_import, UndoImport(import_id=2)).code == "state_conflict"
    late = run_import(store, 3, f"phone\n+{FIRST}\n".encode())["undo_until"]
    with store.snapshot() as view:
        assert list(expired_undos(view, late - 1)) == []
        assert list(expired_undos(view, late)) == [3]
        assert len(expired_rows(view, 3).rows) == 1
    with pytest.raises(Exception, match="kept no longer"):
        do(store, undo_import, UndoImport(import_id=3), at_ms=late)


def test_nothing_is_written_or_kept_of_rows_that_change_nothing(store: Store):
    new_shop(store)
    body = f"phone,name,tags\n+{FIRST},Ann,a;b\n+{FIRST + 1},,\n"
    run_import(store, 1, body.encode())
    with store.snapshot() as view:
        kept = view.count("import_undo")
    row = run_import(store, 2, body.encode())
    assert (counts(row), row["unchanged"], row["changed"]) == ((2, 0, 2, 0), 2, {})
    with store.snapshot() as view:
        assert (view.count("import_undo"), view.count("delta")) == (kept, 0)
