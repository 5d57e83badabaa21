"""Imports into the store: what each row becomes, exact counts, and the same result over kills and cancels."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.people import write_csv
from dispatcher.cli.local_import import apply_ready, run_import_locally
from dispatcher.control.commands import AddSuppression, CancelImport, EraseMember, OpenImport, UpsertMember
from dispatcher.members import import_job, import_slice, parse
from dispatcher.members.consent import record_optout
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import fields_of
from dispatcher.members.import_files import import_folder
from dispatcher.members.import_job import DEATHS_MAX, ImportJob, leftover_folders
from dispatcher.members.importer import cancel_import, list_imports, need_import, open_import, unfinished_imports
from dispatcher.members.member import member_json, upsert_member
from dispatcher.members.suppression import add_suppression
from dispatcher.records.keys import public_id
from dispatcher.store import Store, open_store
from dispatcher.store.columns import delta_count, find_number, fold_some
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64
from tests.fakes.people import counts, everybody, people_shop, prepare, rejected, run_import, shown, spool
from tests.fakes.shop import NOW_MS, do, new_shop, refused

FIRST = 4_915_100_000_000


def csv_of(count: int, first: int = FIRST, tail: str = "", header: str = "phone,name,visits") -> bytes:
    """`count` members whose numbers descend, so that file order and number order differ."""
    rows = (f"+{first + count - 1 - i},name {i}{tail},{i}" for i in range(count))
    return "\n".join((header, *rows, "")).encode()


def one_slice(store: Store, job: ImportJob) -> bool:
    """The next slice in a transaction of its own, as the daemon's writer does it."""
    with store.begin_write() as view:
        changes = job.next_slice(view, NOW_MS)
        if changes is not None:
            view.apply(changes)
    return changes is not None


def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of at most 40 numbers, so that a small file has many."""
    monkeypatch.setattr(import_slice, "WINDOW", 40)


# -- what rows become ----------------------------------------------------------------------------------


def test_a_new_number_makes_a_member_with_everything_its_row_gave(store: Store):
    new_shop(store)
    header = "phone,name,tier,city,visits,serial,joined,birthday,vip,spend,tags,points"
    body = f"{header}\n0151 12345678,Ann,gold,Ulm,-3,9,2020-02-29,02-29,yes,12.50,a;b,70\n+4915100000001,,,,,,,,,,,\n"
    assert counts(run_import(store, 1, body.encode())) == (2, 2, 0, 0)
    members = everybody(store)
    assert members[4915112345678]["values"] == {
        "name": "Ann",
        "tier": "gold",
        "city": "Ulm",
        "visits": -3,
        "serial": 9,
        "joined": "2020-02-29",
        "birthday": "02-29",
        "vip": True,
        "spend": 12_500_000,
        "tags": ["a", "b"],
    }
    assert (members[4915112345678]["points"], members[4915100000001]["points"]) == (70, 0)
    assert not any(members[4915100000001]["values"].values())


def test_a_known_number_is_updated_by_its_given_cells_only(store: Store):
    new_shop(store)
    run_import(store, 1, f"phone,name,city,tags,points\n+{FIRST},Ann,Ulm,a;b,5\n".encode())
    row = run_import(store, 2, f"phone,name,city,tags,points\n+{FIRST},,Bonn,c,99\n".encode())
    assert counts(row) == (1, 0, 1, 0)
    assert row["points_ignored"] == 1
    member = everybody(store)[FIRST]
    assert (member["values"]["name"], member["values"]["city"]) == ("Ann", "Bonn")
    assert (member["values"]["tags"], member["points"]) == (["a", "b", "c"], 5)


def test_a_number_repeated_in_the_file_is_created_once_and_then_updated_in_file_order(store: Store):
    new_shop(store)
    body = f"phone,name,visits\n+{FIRST},one,1\n+{FIRST + 1},other,1\n+{FIRST},two,\n+{FIRST},,3\n"
    assert counts(run_import(store, 1, body.encode())) == (4, 2, 2, 0)
    assert everybody(store)[FIRST]["values"] | {"name": "two", "visits": 3} == everybody(store)[FIRST]["values"]


@pytest.mark.parametrize(
    ("mode", "expected", "code"),
    [("upsert", (4, 2, 2, 0), None), ("insert", (4, 2, 0, 2), "exists"), ("update", (4, 0, 1, 3), "not_found")],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_the_mode_says_what_a_row_may_do(
    store: Store, mode: str, expected: tuple[int, ...], code: str | None, dry_run: bool
):
    new_shop(store)
    run_import(store, 1, f"phone,name\n+{FIRST},old\n".encode())
    body = f"phone,name\n+{FIRST + 1},a\n+{FIRST},b\n+{FIRST + 2},c\n+{FIRST + 1},d\n"
    assert counts(run_import(store, 2, body.encode(), mode=mode, dry_run=dry_run)) == expected
    assert {reject["code"] for reject in rejected(store, 2)} == ({code} if code else set())
    assert len(everybody(store)) == (1 if dry_run else 1 + expected[1])


def test_a_dry_run_counts_as_the_import_would_and_changes_no_member(store: Store, monkeypatch: pytest.MonkeyPatch):
    new_shop(store)
    small_slices(monkeypatch)
    body = csv_of(100) + csv_of(100)[len("phone,name,visits\n") :] + b"bad\n+4915,x,1\n"
    run_import(store, 1, csv_of(30))
    before = everybody(store)
    job = spool(store, 2, body, dry_run=True)
    job = ImportJob(Path(store.folder), 1, 2, run_rows=60)
    prepare(store, job)
    apply_ready(store, job)
    dry = counts(shown(store, job))
    assert everybody(store) == before
    assert dry == (202, 70, 130, 2) == counts(run_import(store, 3, body))
    assert rejected(store, 2) == rejected(store, 3)


def test_opt_outs_and_suppressions_by_number_hold_for_members_that_an_import_makes(store: Store):
    new_shop(store)
    with store.begin_write() as view:
        view.apply(record_optout(view, 1, FIRST + 3, ["marketing", "care"], NOW_MS, "STOP"))
    do(store, add_suppression, AddSuppression(numbers=[f"+{FIRST + 5}"]))
    do(store, add_suppression, AddSuppression(numbers=[f"+{FIRST + 6}"]), tenant=0)
    run_import(store, 1, csv_of(10))
    members = everybody(store)
    assert {n - FIRST: m["opted_out"] for n, m in members.items() if m["opted_out"]} == {3: ["marketing", "care"]}
    assert [n - FIRST for n, m in members.items() if m["suppressed"]] == [5, 6]


def test_an_import_over_several_blocks_reads_back_as_it_was_written(store: Store):
    new_shop(store)
    do(store, upsert_member, UpsertMember(msisdn="+4912345678", values={"name": "before", "visits": 1}))
    assert counts(run_import(store, 1, csv_of(BLOCK - 100)))[1] == BLOCK - 100
    assert counts(run_import(store, 2, csv_of(BLOCK + 300, first=FIRST + 10**6)))[1] == BLOCK + 300
    with store.snapshot() as view:
        for i in (0, 1, 77, 98, 99, 100, 101, 5_000, BLOCK + 299):
            member_no = find_number(view, 1, FIRST + 10**6 + BLOCK + 299 - i)
            assert member_no is not None
            member = member_json(view, 1, member_no)
            assert member and (member["values"]["name"], member["values"]["visits"]) == (f"name {i}", i)
        first = member_json(view, 1, 0)
    assert first and first["values"]["name"] == "before"


def test_many_updates_of_one_block_rewrite_it_and_few_go_to_the_delta(store: Store):
    new_shop(store)
    run_import(store, 1, csv_of(6_000))
    run_import(store, 2, csv_of(6_000, tail="!", header="phone,name,serial"))
    with store.snapshot() as view:
        assert delta_count(view) == 0
    run_import(store, 3, csv_of(20, tail="?"))
    with store.snapshot() as view:
        assert delta_count(view) == 20
    members = everybody(store)
    assert members[FIRST]["values"] | {"name": "name 19?", "visits": 19, "serial": 5_999} == members[FIRST]["values"]
    assert members[FIRST + 20]["values"]["name"] == "name 5979!"


def test_what_lies_in_the_delta_survives_a_fold_after_an_import_into_the_same_block(store: Store):
    new_shop(store)
    run_import(store, 1, csv_of(10))
    do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST}", values={"name": "changed"}))
    run_import(store, 2, csv_of(2_000, first=FIRST + 100))
    before = everybody(store)
    with store.begin_write() as view:
        view.apply(fold_some(view, 1))
    assert everybody(store) == before
    assert before[FIRST]["values"]["name"] == "changed"


def test_new_words_join_the_tenants_even_when_others_came_in_between(store: Store):
    new_shop(store)
    body = f"phone,city,tags\n+{FIRST},Ulm,x\n+{FIRST + 1},Rom,y;x\n"
    job = spool(store, 1, body.encode())
    prepare(store, job)
    do(store, upsert_member, UpsertMember(msisdn="+4912345678", values={"city": "Bonn", "tags": ["y"]}))
    apply_ready(store, job)
    members = everybody(store)
    assert [members[FIRST + i]["values"]["city"] for i in (0, 1)] == ["Ulm", "Rom"]
    assert [set(members[FIRST + i]["values"]["tags"]) for i in (0, 1)] == [{"x"}, {"x", "y"}]
    run_import(store, 2, f"phone,city,tags\n+{FIRST},Rom,y\n".encode(), mode="replace_tags")
    assert everybody(store)[FIRST]["values"] | {"city": "Rom", "tags": ["y"]} == everybody(store)[FIRST]["values"]
    with store.snapshot() as view:
        assert fields_of(view, 1)["city"].values == ("Bonn", "Ulm", "Rom")


def test_the_demo_file_imports_with_exactly_the_counts_it_was_made_with(store: Store, tmp_path: Path):
    people_shop(store, region="CN", tags=True)
    expected = write_csv(tmp_path / "people.csv", 20_000, seed=3, tags=True)
    row = run_import(store, 1, tmp_path / "people.csv")
    assert counts(row) == (expected.rows, expected.members, expected.updated, expected.rejected)
    by_code: dict[str, int] = {}
    for reject in rejected(store, 1):
        by_code[reject["code"]] = by_code.get(reject["code"], 0) + 1
    assert by_code == expected.by_code
    again = run_import(store, 2, tmp_path / "people.csv")
    assert counts(again) == (expected.rows, 0, expected.members + expected.updated, expected.rejected)


# -- files that cannot be taken ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "empty_file"), (b"+4915100000001,Ann\n", "no_header"), (b"name\nAnn\n", "no_phone_column")]
)
def test_a_file_that_is_refused_fails_the_import_with_its_reason(store: Store, body: bytes, code: str):
    new_shop(store)
    row = run_import(store, 1, body)
    assert (row["state"], row["problem"]["code"], counts(row)) == ("failed", code, (0, 0, 0, 0))


def test_a_file_of_a_header_alone_is_done_with_no_rows(store: Store):
    new_shop(store)
    row = run_import(store, 1, b"phone;colour")
    assert (row["state"], row["delimiter"], row["ignored"], counts(row)) == ("done", ";", ["colour"], (0, 0, 0, 0))


def test_an_import_is_opened_once_and_refused_with_a_wrong_mapping_mode_or_delimiter(store: Store):
    new_shop(store)
    wrong = refused(store, open_import, OpenImport(import_id=1, mapping={"Vorname": "nmae"}))
    assert (wrong.code, wrong.extra["did_you_mean"]) == ("unknown_field", "name")
    assert refused(store, open_import, OpenImport(import_id=1, mode="replace")).code == "invalid_value"
    assert refused(store, open_import, OpenImport(import_id=1, delimiter='"')).code == "invalid_value"
    first = do(store, open_import, OpenImport(import_id=1))
    assert do(store, open_import, OpenImport(import_id=1)) == first
    assert first["id"] == public_id("imp", 1)


def test_more_rejects_than_are_kept_are_still_counted(store: Store, monkeypatch: pytest.MonkeyPatch):
    new_shop(store)
    monkeypatch.setattr(parse, "REJECTS_KEPT", 5)
    monkeypatch.setattr(import_job, "REJECTS_KEPT", 5)
    row = run_import(store, 1, b"phone\n" + b"bad\n" * 20 + b"+4915100000001\n")
    assert counts(row) == (21, 1, 0, 20)
    assert [reject["line"] for reject in rejected(store, 1)] == [2, 3, 4, 5, 6]


# -- kills, cancels, commands in between ---------------------------------------------------------------


def long_body() -> bytes:
    """300 new numbers, 40 of them twice, 20 bad rows."""
    body = csv_of(300) + b"bad,x,1\n" * 20
    return body + csv_of(340, tail="!", first=FIRST - 300)[len("phone,name,visits\n") :]


def test_a_job_made_anew_before_every_slice_gives_the_same_as_one_that_was_never_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    small_slices(monkeypatch)
    new_shop(store)
    new_shop(store)
    whole = run_import(store, 1, long_body(), tenant=1)
    job = spool(store, 2, long_body(), tenant=2)
    killed = ImportJob(Path(store.folder), 2, 2, run_rows=150)
    prepare(store, killed)
    slices = 0
    while one_slice(store, killed):
        slices += 1
        counts(shown(store, job))
        killed = ImportJob(Path(store.folder), 2, 2)
    assert slices > 15
    assert counts(shown(store, killed)) == counts(whole) == (660, 600, 40, 20)
    assert {n: m["values"] for n, m in everybody(store, 2).items()} == {
        n: m["values"] for n, m in everybody(store, 1).items()
    }
    assert rejected(store, 2, 2) == rejected(store, 1, 1)


def test_rows_that_a_power_cut_tore_are_parsed_again_to_the_same_result(store: Store, monkeypatch: pytest.MonkeyPatch):
    small_slices(monkeypatch)
    new_shop(store)
    job = spool(store, 1, long_body())
    job = ImportJob(Path(store.folder), 1, 1, run_rows=150)
    prepare(store, job)
    while True:
        assert one_slice(store, job)
        with store.snapshot() as view:
            row = need_import(view, 1, 1)
        if row["run"] == 1 and row["at"] > 0:
            break
    torn = import_folder(Path(store.folder), 1) / "run-001" / "sorted"
    torn.write_bytes(torn.read_bytes()[:100])
    job = ImportJob(Path(store.folder), 1, 1)
    prepare(store, job)
    apply_ready(store, job)
    assert counts(shown(store, job)) == (660, 600, 40, 20)
    assert len(everybody(store)) == 600


def test_a_real_kill_in_the_middle_loses_and_doubles_nothing(tmp_path: Path):
    with open_store(tmp_path, write=True, create=True, sync=False) as store:
        new_shop(store)
        spool(store, 1, long_body())
    script = (
        "import os, signal, sys\n"
        "from dispatcher.cli.local_import import run_import_locally\n"
        "from dispatcher.members import import_slice\n"
        "from dispatcher.store import open_store\n"
        "import_slice.WINDOW = 40\n"
        "left = [int(sys.argv[2])]\n"
        "def watch(row):\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run_import_locally(open_store(sys.argv[1], write=True), 1, 1, watch)\n"
    )
    for commits in (1, 4, 9):
        died = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(commits)], check=False)
        assert died.returncode == -signal.SIGKILL
        with open_store(tmp_path) as store, store.snapshot() as view:
            assert unfinished_imports(view) == [(1, 1)]
        with open_store(tmp_path) as store:
            job = ImportJob(Path(tmp_path), 1, 1)
            assert counts(shown(store, job))[1] == len(everybody(store))
    with open_store(tmp_path, write=True, sync=False) as store:
        assert counts(run_import_locally(store, 1, 1)) == (660, 600, 40, 20)
        assert len(everybody(store)) == 600
        assert not import_folder(Path(tmp_path), 1).exists(), "a finished import leaves no customer data behind"
        with store.snapshot() as view:
            assert unfinished_imports(view) == []


def test_members_made_changed_and_erased_between_slices_are_met_as_they_are_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    small_slices(monkeypatch)
    new_shop(store)
    job = spool(store, 1, csv_of(200))
    prepare(store, job)
    for _ in range(2):
        assert one_slice(store, job)
    made = do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST + 150}", values={"city": "Ulm"}))
    do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST + 5}", values={"name": "edited"}))
    do(
        store,
        erase_member,
        EraseMember(member_no=do(store, upsert_member, UpsertMember(msisdn=f"+{FIRST + 6}"))["member_no"]),
    )
    apply_ready(store, job)
    members = everybody(store)
    assert counts(shown(store, job)) == (200, 199, 1, 0)
    assert made["created"] and members[FIRST + 150]["values"]["city"] == "Ulm"
    assert members[FIRST + 150]["values"]["name"] == "name 49"
    assert members[FIRST + 5]["values"]["name"] == "edited"
    assert sorted(members) == [FIRST + i for i in range(200) if i != 6]


def test_a_cancelled_import_stops_at_a_slice_and_says_exactly_what_it_did(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    small_slices(monkeypatch)
    new_shop(store)
    job = spool(store, 1, csv_of(200))
    prepare(store, job)
    for _ in range(2):
        assert one_slice(store, job)
    do(store, cancel_import, CancelImport(import_id=1))
    assert not one_slice(store, job)
    assert job.finished
    row = shown(store, job)
    assert (row["state"], counts(row)) == ("cancelled", (80, 80, 0, 0))
    assert len(everybody(store)) == 80
    assert do(store, cancel_import, CancelImport(import_id=1))["state"] == "cancelled"
    with store.snapshot() as view:
        assert leftover_folders(view, Path(store.folder), NOW_MS) == [job.folder]
    job.close()
    assert not job.folder.exists()


def test_a_parser_that_keeps_dying_fails_the_import(store: Store):
    new_shop(store)
    job = spool(store, 1, csv_of(5))
    with store.snapshot() as view:
        job.prepare(view)
    for _ in range(DEATHS_MAX):
        assert job.wants_child
        assert not one_slice(store, job)
        job.child_ended()
    assert not job.wants_child
    assert one_slice(store, job)
    assert shown(store, job)["problem"]["code"] == "parser_died"


def test_a_parser_that_was_killed_once_is_started_again(store: Store):
    new_shop(store)
    job = spool(store, 1, csv_of(2_000))
    with store.snapshot() as view:
        job.prepare(view)
    with subprocess.Popen(job.child_argv(), stdout=subprocess.DEVNULL) as child:
        os.kill(child.pid, signal.SIGKILL)
    shutil.rmtree(job.folder / "run-000", ignore_errors=True)
    (job.folder / "outcome.json").unlink(missing_ok=True)
    job.child_ended()
    assert job.wants_child
    assert counts(run_import_locally(store, 1, 1)) == (2_000, 2_000, 0, 0)


def test_no_slice_dirties_more_than_a_commit_may(store: Store, tmp_path: Path):
    people_shop(store)
    write_csv(tmp_path / "people.csv", 120_000, seed=5)
    for import_id in (1, 2):
        job = spool(store, import_id, tmp_path / "people.csv")
        prepare(store, job)
        while True:
            with store.begin_write() as view:
                changes = job.next_slice(view, NOW_MS)
                if changes is None:
                    break
                assert changes.octets < 4 << 20
                view.apply(changes)
    with store.snapshot() as view:
        assert view.count("phones") == 119_760
        assert view.get("tenants", TENANT.pack(1))


def test_imports_are_listed_newest_first_for_their_tenant_only(store: Store):
    new_shop(store)
    new_shop(store)
    for import_id, tenant in ((5, 1), (9, 1), (7, 2)):
        run_import(store, import_id, b"phone\n", tenant=tenant)
    with store.snapshot() as view:
        assert [row["id"] for row in list_imports(view, 1)] == [public_id("imp", 9), public_id("imp", 5)]
        assert [row["id"] for row in list_imports(view, 1, before=9)] == [public_id("imp", 5)]
        assert view.get("imports", TENANT_U64.pack(2, 5)) is None
