"""Members out and changed: CSV, NDJSON and Parquet of everyone, and one change to everyone.

The CSV's rows are held against what the API shows of some members first. Figures are of CPU time, one thread.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import people
from bench.harness import Figure, print_figures
from dispatcher.apps.bulk import edit_members
from dispatcher.control.commands import EditMembers
from dispatcher.members.bulk import BulkJob
from dispatcher.members.export import FORMATS, Export
from dispatcher.members.importer import read_import
from dispatcher.members.member import member_json
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import select
from dispatcher.store import Store, open_store
from tests.fakes.people import people_shop, run_import
from tests.fakes.shop import do

MEMBERS = 200_000


def main(argv: Sequence[str]) -> int:
    members = int(argv[argv.index("--members") + 1]) if "--members" in argv else MEMBERS
    with tempfile.TemporaryDirectory() as folder, open_store(folder, write=True, create=True, sync=False) as store:
        tenant = people_shop(store)
        path = Path(folder) / "people.csv"
        people.write_csv(path, members, 7)
        run_import(store, 1, path, tenant=tenant)
        _check(store, tenant)
        figures = [_export(store, tenant, format) for format in FORMATS]
        print_figures([*figures, *_edit(store, tenant)], "--json" in argv)
    return 0


def _octets(store: Store, tenant: int, format: str) -> tuple[list[bytes], int]:
    with store.snapshot() as view:
        export = Export(view, tenant, [], format, masked=False)
        blocks = list(select(view, tenant, compile_text(view, tenant, "everyone", as_of_ms=0)))
    pieces = [export.head()]
    for block, bitmap, _ in blocks:
        with store.snapshot() as view:
            pieces.append(export.block(view, block, bitmap))
    pieces.append(export.tail())
    return pieces, export.members


def _check(store: Store, tenant: int) -> None:
    pieces, count = _octets(store, tenant, "csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(pieces).decode(), newline="")))
    assert len(rows) == count
    with store.snapshot() as view:
        for member_no in range(0, count, max(1, count // 100)):
            shown = member_json(view, tenant, member_no)
            assert shown is not None and rows[member_no]["phone"] == shown["msisdn"]
            assert rows[member_no]["name"] in (shown["values"]["name"] or "", "'" + (shown["values"]["name"] or ""))


def _export(store: Store, tenant: int, format: str) -> Figure:
    began = time.process_time()
    _, count = _octets(store, tenant, format)
    rate = round(count / (time.process_time() - began))
    return Figure.of(f"export {format}", rate, "members/s", least=300_000 if format == "csv" else None)


def _edit(store: Store, tenant: int) -> list[Figure]:
    job_id = do(store, edit_members, EditMembers(expr="everyone", values={"name": "Same"}), tenant=tenant)["job"]
    job, longest, octets = BulkJob(tenant, job_id), 0.0, 0
    began = time.process_time()
    while not job.finished:
        slice_began = time.process_time()
        with store.begin_write() as view:
            changes = job.next_slice(view, 0)
            if changes is not None:
                view.apply(changes)
                octets = max(octets, changes.octets)
        longest = max(longest, time.process_time() - slice_began)
    seconds = time.process_time() - began
    with store.snapshot() as view:
        row = read_import(view, tenant, job_id)
    assert row is not None and row["done"] == row["of"] == row["members_changed"]
    return [
        Figure.of("one text value to everyone", round(row["of"] / seconds), "members/s"),
        Figure.of("longest slice", round(longest * 1e3, 1), "ms"),
        Figure.of("greatest slice", octets, "octets", most=4 << 20),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
