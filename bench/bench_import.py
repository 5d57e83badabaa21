"""Importing members: parser child and importer end to end, again as updates, and the parser against plain Python."""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import people
from bench.harness import report
from dispatcher.cli.local_import import run_import_locally
from dispatcher.control.commands import CreateTenant, DefineField, EndImportBody, Envelope, OpenImport
from dispatcher.members import parse, parse_cells
from dispatcher.members.fields import define_field
from dispatcher.members.import_files import finish_body, import_folder, read_job
from dispatcher.members.import_job import ImportJob
from dispatcher.members.importer import end_body, open_import
from dispatcher.members.member import member_json
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number
from dispatcher.tenants.tenant import create_tenant

SAMPLE = 500
REFERENCE_ROWS = 20_000
SYNCS = 50


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    with tempfile.TemporaryDirectory(prefix="bench-import-", dir=options.data) as name:
        folder = Path(name)
        path = folder / "people.csv"
        began = time.perf_counter()
        expected = people.write_csv(path, options.rows, options.seed)
        figures: dict[str, Any] = {
            "rows": options.rows,
            "csv_written_rows_a_second": round(options.rows / (time.perf_counter() - began)),
            "fdatasync_p50_ms": round(fdatasync_p50_ms(folder), 3),
            "sync_delay_ms": options.sync_delay_ms,
        }
        with open_store(folder / "data", write=True, create=True) as store:
            _do(store, create_tenant, CreateTenant(title="bench"), tenant=0)
            for body in people.define_fields():
                _do(store, define_field, DefineField(**body))  # type: ignore[arg-type]
            figures["parser_rows_a_second"] = round(options.rows / _parse_alone(store, path))
            figures["parser_times_reference"] = round(figures["parser_rows_a_second"] * _reference_s_a_row(path), 1)
            counts = (expected.rows, expected.members, expected.updated, expected.rejected)
            figures["import_rows_a_second"] = _import(store, 2, path, counts, options.sync_delay_ms)
            _check_sample(store, path, options.seed)
            counts = (expected.rows, 0, expected.members + expected.updated, expected.rejected)
            figures["update_rows_a_second"] = _import(store, 3, path, counts, options.sync_delay_ms)
            _check_sample(store, path, options.seed)
            figures["store_octets_a_member"] = round(store.size_octets() / expected.members, 1)
        report("import", figures, options.json)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="volley bench import", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sync-delay-ms", type=float, default=0.0, help="as if each commit's sync took this longer")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def _do(store: Store, handler: Callable[..., Any], command: Any, tenant: int = 1) -> None:
    with store.begin_write() as view:
        changes, _ = handler(view, command, Envelope(tenant=tenant, actor="bench", at_ms=time.time_ns() // 1_000_000))
        view.apply(changes)


def _open(store: Store, import_id: int, path: Path) -> None:
    folder = import_folder(Path(store.folder), import_id)
    folder.mkdir(parents=True)
    os.link(path, folder / "body")
    size = path.stat().st_size
    finish_body(folder, size)
    _do(store, open_import, OpenImport(import_id=import_id))
    _do(store, end_body, EndImportBody(import_id=import_id, octets=size))


def _import(store: Store, import_id: int, path: Path, counts: tuple[int, ...], delay_ms: float) -> int:
    """Rows a second from the first look at the spooled body to the commit of the last slice."""
    _open(store, import_id, path)
    began = time.perf_counter()
    row = run_import_locally(store, 1, import_id, lambda *_: time.sleep(delay_ms / 1e3) if delay_ms else None)
    took = time.perf_counter() - began
    found = tuple(row[name] for name in ("rows_read", "members_imported", "rows_updated", "rows_rejected"))
    assert row["state"] == "done" and found == counts, f"{found} instead of {counts}: {row['problem']}"
    return round(counts[0] / took)


def _parse_alone(store: Store, path: Path) -> float:
    """Seconds of the parser by itself, in this process."""
    _open(store, 1, path)
    job = ImportJob(Path(store.folder), 1, 1)
    with store.snapshot() as view:
        job.prepare(view)
    began = time.perf_counter()
    outcome = parse.parse(job.folder, read_job(job.folder))
    took = time.perf_counter() - began
    assert outcome["runs"] >= 1
    job.finished = True
    job.close()
    return took


def _reference_s_a_row(path: Path) -> float:
    """Seconds a row of the csv module and parse_cells, nothing written."""
    with open(path, newline="", errors="replace") as file:
        lines = [line for line, _ in zip(file, range(REFERENCE_ROWS + 1), strict=False)]
    codes: dict[str, int] = {}
    began = time.perf_counter()
    for row in csv.reader(lines[1:]):
        if len(row) == len(people.FIELDS):
            parse_cells.phone_of(row[0], "")
            parse_cells.clean_text_of(row[1].encode(), people.NAME_MAX)
            for word in (row[2], row[4], row[5]):
                codes.setdefault(word, len(codes))
            parse_cells.date_of(row[3])
            parse_cells.points_of(row[6])
            parse_cells.date_of(row[7])
    return (time.perf_counter() - began) / REFERENCE_ROWS


def _check_sample(store: Store, path: Path, seed: int) -> None:
    """Some members read back as the file's last row about them says; points as the first."""
    rng = random.Random(seed)
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    by_number: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_number.setdefault(row["phone"], []).append(row)
    checked = 0
    with store.snapshot() as view:
        while checked < min(SAMPLE, len(rows) // 2):
            number = rng.choice(rows)["phone"]
            member_no = find_number(view, 1, int(number)) if number[1:].isdecimal() and len(number) == 14 else None
            if member_no is None:
                continue
            member = member_json(view, 1, member_no)
            assert member is not None and member["msisdn"] == number
            told: dict[str, Any] = {}
            for row in by_number[number]:
                told |= {name: value for name, value in row.items() if value}
            assert member["points"] == int(by_number[number][0]["points"])
            values = {name: value for name, value in member["values"].items() if value is not None}
            assert values == {name: told[name] for name in values}, (values, told)
            checked += 1


def fdatasync_p50_ms(folder: Path) -> float:
    """What one small durable write costs in this folder."""
    took = []
    probe = folder / "fdatasync"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, bytes(16_384))
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took.append(1e3 * (time.perf_counter() - began))
    finally:
        os.close(descriptor)
        probe.unlink()
    return statistics.median(took)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
