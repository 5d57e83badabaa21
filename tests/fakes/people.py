"""Members and imports of plausible shape: bench/people.py's file, and small ones written in the test."""

from __future__ import annotations

import zlib
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack

from bench import people
from dispatcher.cli.local_import import apply_ready
from dispatcher.control.commands import CreateTenant, DefineField, EndImportBody, OpenImport
from dispatcher.members import parse
from dispatcher.members.fields import KINDS, SYSTEM_FIELDS, define_field
from dispatcher.members.import_files import Job, JobField, finish_body, import_folder, read_job, run_folder, write_job
from dispatcher.members.import_job import ImportJob
from dispatcher.members.importer import end_body, import_json, list_rejects, open_import
from dispatcher.members.member import live_members, member_json
from dispatcher.store import Store
from dispatcher.store.columns import find_number
from dispatcher.store.layout import TENANT
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import do

PHONE = JobField(name="phone", number=2, kind="phone", column=int(KINDS["phone"]), label="Phone")


def people_shop(store: Store, region: str = "", tags: bool = False) -> int:
    """A tenant with the fields of bench/people.py."""
    tenant = int(do(store, create_tenant, CreateTenant(title="People", region=region), tenant=0)["tenant"])
    for body in people.define_fields(tags):
        do(store, define_field, DefineField(**body), tenant=tenant)
    return tenant


def job_field(name: str, kind: str, **rest: Any) -> JobField:
    """A field for a parser without a store; its number comes from its name."""
    system = SYSTEM_FIELDS.get(name)
    number = system.number if system else 16 + zlib.crc32(name.encode()) % 10_000
    return JobField(name=name, number=number, kind=kind, column=int(KINDS[kind]), **rest)


def parsed(
    folder: Path, body: bytes, *fields: JobField, region: str = "", **bounds: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """(outcome, accepted rows in order, rejects by line) of a body."""
    folder.mkdir(exist_ok=True)
    (folder / "body").write_bytes(body)
    finish_body(folder, len(body))
    write_job(folder, Job(region=region, fields=[PHONE, *fields], **{"runs_ahead": 1_000, **bounds}))
    outcome = parse.parse(folder, read_job(folder))
    return outcome, rows_of(folder, outcome), rejects_of(folder, outcome)


def rows_of(folder: Path, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """What the runs' files say: a dict a row with the cells it gave, and its line."""
    rows: list[dict[str, Any]] = []
    header = parse.json.loads((folder / "header.json").read_bytes())
    for number in range(outcome["runs"]):
        run = run_folder(folder, number)
        lines = _array(run / "line", "I")
        given = _array(run / "given", "Q")
        found: list[dict[str, Any]] = [{"line": line} for line in lines]
        for column in header.get("columns", []):
            cells = _cells(run, column)
            for row, cell, bits in zip(found, cells, given, strict=True):
                if bits >> column["bit"] & 1:
                    row[column["field"]] = cell
        rows += found
        order, ordered = _array(run / "order", "I"), _array(run / "sorted", "Q")
        assert [found[row]["phone"] for row in order] == list(ordered) == sorted(ordered)
    return rows


def _array(path: Path, code: str) -> array[Any]:
    return array(code, path.read_bytes() if path.exists() else b"")


def _cells(run: Path, column: dict[str, Any]) -> list[Any]:
    name = f"f{column['number']}"
    if column["kind"] in ("text", "tags"):
        ends = _array(run / f"{name}.ends", "I")
        heap = (run / f"{name}.heap").read_bytes() if column["kind"] == "text" else _array(run / f"{name}.heap", "H")
        spans = [heap[a:b] for a, b in pairwise(ends)]
        return [span.decode() if isinstance(span, bytes) else list(span) for span in spans]
    return list(_array(run / name, {1: "B", 2: "H", 3: "i", 4: "q", 5: "Q"}[column["column"]]))


def rejects_of(folder: Path, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(outcome["runs"]):
        path = run_folder(folder, number) / "rejects"
        if path.exists():
            with open(path, "rb") as file:
                found += msgpack.Unpacker(file)
    return sorted(found, key=lambda reject: reject["line"])


# -- imports into a store, the parser run in this process --------------------------------------------


def spool(store: Store, import_id: int, body: bytes | Path, *, tenant: int = 1, **command: Any) -> ImportJob:
    """An opened import whose body is whole, and its job."""
    folder = import_folder(Path(store.folder), import_id)
    folder.mkdir(parents=True)
    octets = body if isinstance(body, bytes) else body.read_bytes()
    (folder / "body").write_bytes(octets)
    finish_body(folder, len(octets))
    do(store, open_import, OpenImport(import_id=import_id, **command), tenant=tenant)
    do(store, end_body, EndImportBody(import_id=import_id, octets=len(octets)), tenant=tenant)
    return ImportJob(Path(store.folder), tenant, import_id)


def prepare(store: Store, job: ImportJob) -> None:
    """Parse the whole body; nothing is applied yet."""
    with store.snapshot() as view:
        job.prepare(view)
    if job.wants_child:
        parse.parse(job.folder, read_job(job.folder))


def run_import(store: Store, import_id: int, body: bytes | Path, *, tenant: int = 1, **command: Any) -> dict[str, Any]:
    """An import from its body to its end; what import_json shows then."""
    job = spool(store, import_id, body, tenant=tenant, **command)
    prepare(store, job)
    apply_ready(store, job)
    return shown(store, job)


def shown(store: Store, job: ImportJob) -> dict[str, Any]:
    with store.snapshot() as view:
        found = import_json(view, job.tenant, job.import_id)
    assert found is not None
    return found


def counts(row: dict[str, Any]) -> tuple[int, int, int, int]:
    """(read, imported, updated, rejected); they add up at any moment."""
    assert row["rows_read"] == row["members_imported"] + row["rows_updated"] + row["rows_rejected"]
    return row["rows_read"], row["members_imported"], row["rows_updated"], row["rows_rejected"]


def everybody(store: Store, tenant: int = 1) -> dict[int, dict[str, Any]]:
    """Number -> member as the API shows it, without its id."""
    found: dict[int, dict[str, Any]] = {}
    with store.snapshot() as view:
        for member_no in live_members(view, tenant):
            member = member_json(view, tenant, member_no)
            assert member is not None
            number = int(member.pop("msisdn"))
            assert number not in found, "one number, two members"
            assert find_number(view, tenant, number) == member_no
            found[number] = {key: value for key, value in member.items() if key != "id"}
        assert sum(1 for _ in view.range("phones", TENANT.pack(tenant))) == len(found)
    return found


def rejected(store: Store, import_id: int, tenant: int = 1) -> list[dict[str, Any]]:
    with store.snapshot() as view:
        return list_rejects(view, tenant, import_id, limit=1_000_000)
