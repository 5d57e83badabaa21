"""What an import says of itself, dry or done; its commit; sources, limits of dictionaries, numbers that were erased."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.control.commands import (
    AddSuppression,
    CommitImport,
    DefineField,
    EraseMember,
    OpenImport,
    UndoImport,
    UpsertMember,
)
from dispatcher.members import import_slice, provenance
from dispatcher.members.consent import record_optout
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import define_field, fields_of
from dispatcher.members.import_files import import_folder
from dispatcher.members.import_job import ImportJob
from dispatcher.members.import_restore import UndoJob
from dispatcher.members.importer import commit_import, import_json, open_import, undo_import
from dispatcher.members.member import upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.records.keys import public_id
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number
from tests.fakes.people import apply_ready, counts, everybody, prepare, rejected, run_import, spool
from tests.fakes.shop import NOW_MS, do, new_shop, refused

FIRST = 4_915_100_000_000
FINER = (
    "members_imported",
    "rows_updated",
    "unchanged",
    "repeated",
    "unreachable",
    "changed",
    "lost",
    "rejected_codes",
)


def finer(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in FINER}


def test_a_dry_run_says_what_would_be_new_changed_lost_and_rejected(store: Store):
    new_shop(store)
    with store.begin_write() as view:
        view.apply(record_optout(view, 1, FIRST + 5, ["marketing"], NOW_MS, "STOP"))
    do(store, add_suppression, AddSuppression(numbers=[f"+{FIRST + 5}", f"+{FIRST + 6}"]))
    run_import(
        store, 1, f"phone,name,vip,tags\n+{FIRST},Ann,yes,a;b\n+{FIRST + 1},Bob,no,a\n+{FIRST + 2},Cyd,,\n".encode()
    )
    body = (
        "phone,name,vip,tags\n"
        f"+{FIRST},Anna,no,b\n"  # name, vip yes -> no, tag a lost
        f"+{FIRST + 1},Bob,no,a\n"  # nothing
        f"+{FIRST + 2},Cyd,yes,c\n"
        f"+{FIRST + 2},Cydney,,c\n"  # the same member again
        f"+{FIRST + 5},Stop,,\n+{FIRST + 6},Suppressed,,\nbad,x,,\n"
    )
    row = run_import(store, 2, body.encode(), mode="replace_tags", dry_run=True)
    assert finer(row) == {
        "members_imported": 2,
        "rows_updated": 4,
        "unchanged": 1,
        "repeated": 1,
        "unreachable": 2,
        "changed": {"name": 2, "vip": 2, "tags": 2},
        "lost": {"vip": 1, "tags": 1},
        "rejected_codes": row["rejected_codes"],
    }
    assert sum(row["rejected_codes"].values()) == row["rows_rejected"] == 1
    assert len(everybody(store)) == 3


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), mode=st.sampled_from(["insert", "update", "upsert", "replace_tags"]))
def test_a_dry_run_counts_exactly_what_its_commit_then_does(tmp_path_factory: Any, data: st.DataObject, mode: str):
    lines = st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(["", "x", "x;y"])), max_size=25
    )

    def body() -> bytes:
        cells = (f"+{FIRST + number},{name},{tags}" for number, name, tags in data.draw(lines))
        return "\n".join(("phone,name,tags", *cells, "bad,,", "")).encode()

    with open_store(tmp_path_factory.mktemp("dry"), write=True, create=True, sync=False) as store:
        new_shop(store)
        run_import(store, 1, body())
        with pytest.MonkeyPatch().context() as patch:
            patch.setattr(import_slice, "WINDOW", 1_000)  # a number that repeats stays in one slice
            dry = run_import(store, 2, body(), mode=mode, dry_run=True)
            do(store, commit_import, CommitImport(import_id=2), at_ms=dry["updated_ms"])
            job = ImportJob(store.folder, 1, 2)
            prepare(store, job)
            apply_ready(store, job)
            job.close()
        with store.snapshot() as view:
            row = import_json(view, 1, 2)
        assert row is not None and (row["state"], row["dry_run"]) == ("done", False)
        assert (finer(row), counts(row)) == (finer(dry), counts(dry))
        assert row["checked"]["changed"] == dry["changed"]
        assert not import_folder(store.folder, 2).exists()


def test_a_number_is_a_repeat_however_far_it_stands_from_the_first(store: Store, monkeypatch: pytest.MonkeyPatch):
    new_shop(store)
    monkeypatch.setattr(import_slice, "WINDOW", 3)
    body = "phone\n" + "".join(f"+{FIRST + i % 10}\n" for i in range(35))
    for import_id, dry_run in ((1, True), (2, False)):
        job = spool(store, import_id, body.encode(), dry_run=dry_run)
        job = ImportJob(store.folder, 1, import_id, run_rows=8)
        prepare(store, job)
        apply_ready(store, job)
        with store.snapshot() as view:
            row = import_json(view, 1, import_id)
        assert row is not None and (row["members_imported"], row["repeated"], row["rows_updated"]) == (10, 25, 25)


def test_only_a_dry_run_that_is_done_is_committed_and_only_while_its_file_is_kept(store: Store):
    new_shop(store)
    run_import(store, 1, b"phone\n")
    assert refused(store, commit_import, CommitImport(import_id=1)).code == "state_conflict"
    dry = run_import(store, 2, b"phone\n", dry_run=True)
    with pytest.raises(Exception, match="kept no longer"):
        do(store, commit_import, CommitImport(import_id=2), at_ms=dry["body_until"])
    first = do(store, commit_import, CommitImport(import_id=2), at_ms=dry["updated_ms"])
    assert do(store, commit_import, CommitImport(import_id=2), at_ms=dry["body_until"]) == first


def test_what_the_dry_run_rejected_is_not_rejected_twice(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},x\n".encode())
    dry = run_import(store, 2, f"phone,name\n+{FIRST},Ann\nbad,x\n".encode(), mode="insert", dry_run=True)
    assert next(reject["code"] for reject in rejected(store, 2)) == "exists"
    with store.snapshot() as view:
        member_no = find_number(view, 1, FIRST)
    assert member_no is not None
    do(store, erase_member, EraseMember(member_no=member_no))
    do(store, commit_import, CommitImport(import_id=2), at_ms=dry["updated_ms"])
    job = ImportJob(store.folder, 1, 2)
    apply_ready(store, job)
    prepare(store, job)
    apply_ready(store, job)
    assert [reject["line"] for reject in rejected(store, 2)] == [3]
    assert everybody(store)[FIRST]["suppressed"], "the number was erased once: it may never be sent to again"


def test_a_dictionary_that_is_full_rejects_and_does_not_grow(store: Store):
    new_shop(store)
    do(store, define_field, DefineField(title="colour", kind="dict", max_values=3))
    do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST + 99}", values={"colour": "red"}))
    body = "phone,colour\n" + "".join(f"+{FIRST + i},colour {i}\n" for i in range(50))
    row = run_import(store, 1, body.encode())
    assert (row["members_imported"], row["rows_rejected"]) == (2, 48)
    assert set(row["rejected_codes"]) == {"dictionary_full"}
    with store.snapshot() as view:
        assert fields_of(view, 1)["colour"].values == ("red", "colour 0", "colour 1")


def test_a_word_that_found_no_room_while_the_file_was_parsed_is_unknown(store: Store):
    new_shop(store)
    do(store, define_field, DefineField(title="colour", kind="dict", max_values=2))
    job = spool(store, 1, f"phone,colour\n+{FIRST},red\n+{FIRST + 1},blue\n".encode())
    prepare(store, job)
    do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST + 99}", values={"colour": "green"}))
    apply_ready(store, job)
    found = everybody(store)
    assert [found[FIRST + i]["values"]["colour"] for i in (0, 1)] == ["red", None]


def test_values_keep_their_source_and_a_worse_one_overwrites_no_better(store: Store):
    new_shop(store)
    do(store, define_field, DefineField(title="job", kind="text", sources=True, source_rank=["api", "import"]))
    do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST}", values={"job": "cook"}, source="api"))
    run_import(store, 7, f"phone,job\n+{FIRST},baker\n+{FIRST + 1},smith\n".encode())
    members = everybody(store)
    assert [members[FIRST + i]["values"]["job"] for i in (0, 1)] == ["cook", "smith"]
    with store.snapshot() as view:
        member_no = find_number(view, 1, FIRST + 1)
        assert member_no is not None
        assert provenance.of(view, 1, member_no)["job"]["source"] == f"import:{public_id('imp', 7)}"
    do(store, undo_import, UndoImport(import_id=7), at_ms=NOW_MS)
    apply_ready(store, UndoJob(1, 7))
    with store.snapshot() as view:
        assert provenance.of(view, 1, member_no) == {}


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (OpenImport(import_id=1, format="xlsx"), "/format"),
        (OpenImport(import_id=1, compression="rar"), "/compression"),
        (OpenImport(import_id=1, charset="klingon"), "/charset"),
        (OpenImport(import_id=1, mode="delete"), "/mode"),
        (OpenImport(import_id=1, delimiter="::"), "/delimiter"),
        (OpenImport(import_id=1, mapping={"a": {"field": "name", "colour": 1}}), "/mapping/a"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_before_a_body_comes(store: Store, wrong: OpenImport, pointer: str):
    new_shop(store)
    refusal = refused(store, open_import, wrong)
    assert refusal.status == 422
    assert refusal.errors[0]["pointer"].startswith(pointer)
