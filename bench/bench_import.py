"""Importing members from each format and packing: the parser alone and its memory, then file to members on the disk.

Ten columns: the number, a name, two small dictionaries, a larger one, two dates, points, an integer, tags. CSV bodies
have one bad row in a thousand; every import must count exactly what was written, and some members are read back.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import zstandard

from bench import import_beside, import_small, people
from bench.harness import Figure, disk_figures, face, print_figures
from dispatcher.cli.local_import import run_import_locally
from dispatcher.control.commands import CreateTenant, DefineField, EndImportBody, Envelope, OpenImport
from dispatcher.members import parse_cells
from dispatcher.members.fields import define_field
from dispatcher.members.import_files import finish_body, import_folder, read_job, write_job
from dispatcher.members.import_job import ImportJob
from dispatcher.members.importer import end_body, open_import
from dispatcher.members.member import member_json
from dispatcher.store import Store, open_store
from dispatcher.store.columns import find_number
from dispatcher.tenants.tenant import create_tenant

MODES = ("csv", "ndjson", "parquet", "gzip", "zstd")
LEAST = {"csv": 500_000, "parquet": 1_000_000}  # rows a second asked for, end to end on 2 cores
MEMORY_MIB = 300  # that the parser may take, whatever the size
SAMPLE = 500
REFERENCE_ROWS = 20_000
_ALONE = """
import json, sys, time
from dispatcher.members import parse
parse.bound_memory()
began = time.perf_counter()
code = parse.main(sys.argv[1:])
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([time.perf_counter() - began, int(peak[0])]))
sys.exit(code)
"""


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    with tempfile.TemporaryDirectory(prefix="bench-import-", dir=options.data) as name:
        folder = Path(name)
        print_figures(disk_figures(folder), options.json)
        if options.beside:
            _write_csv(folder / "people.csv", options.rows, options.seed, bad=False)
            print_figures(import_beside.measure(folder, folder / "people.csv", options.rows), options.json)
            return 0
        if options.small:
            print_figures(_small(folder), options.json)
            return 0
        for mode in options.modes:
            print_figures(_measure(folder / mode, mode, options), options.json)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = face("import", __doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--modes", type=lambda text: text.split(","), default=MODES, help=",".join(MODES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sync-delay-ms", type=float, default=0.0, help="as if each commit's sync took this longer")
    parser.add_argument("--updates", action="store_true", help="import each file a second time, over its members")
    parser.add_argument("--beside", action="store_true", help="instead: how much an import slows a broadcast")
    parser.add_argument("--small", action="store_true", help="instead: octets a commit of small files, 5 M members")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    if wrong := [mode for mode in options.modes if mode not in MODES]:
        parser.error(f"--modes {wrong[0]!r}: of {', '.join(MODES)}")
    return options


def _measure(folder: Path, mode: str, options: argparse.Namespace) -> Iterator[Figure]:
    folder.mkdir()
    plain, rows = folder / "people.csv", options.rows
    expected = _write_csv(plain, rows, options.seed, bad=mode not in ("ndjson", "parquet"))
    body = _write(folder, mode, plain)
    yield Figure(f"{mode}: the file", round(body.stat().st_size / rows, 1), "octets/row")
    with open_store(folder / "data", write=True, create=True) as store:
        _do(store, create_tenant, CreateTenant(title="bench"), tenant=0)
        for field in [*people.define_fields(tags=True), {"title": "visits", "kind": "int"}]:
            _do(store, define_field, DefineField(**field))  # type: ignore[arg-type]
        took_s, peak_kib = _parse_alone(store, body)
        yield Figure(f"{mode}: parser alone", round(rows / took_s), "rows/s")
        yield Figure.of(f"{mode}: parser's memory at most", peak_kib >> 10, "MiB", most=MEMORY_MIB)
        if mode == "csv":
            yield Figure(
                "csv: parser alone, plain Python = 1", round(rows / took_s * _reference_s_a_row(plain), 1), "x"
            )
        counts = (expected.rows, expected.members, expected.updated, expected.rejected)
        speed = _import(store, 2, body, counts, options.sync_delay_ms)
        yield Figure.of(f"{mode}: file to members", speed, "rows/s", least=LEAST.get(mode))
        _check_sample(store, plain, options.seed)
        if options.updates:
            counts = (expected.rows, 0, expected.members + expected.updated, expected.rejected)
            speed = _import(store, 3, body, counts, options.sync_delay_ms)
            yield Figure(f"{mode}: file over its members", speed, "rows/s")
            _check_sample(store, plain, options.seed)
        yield Figure(f"{mode}: store", round(store.size_octets() / expected.members, 1), "octets/member")


def _small(folder: Path) -> Iterator[Figure]:
    def bring(store: Store, import_id: int, path: Path, watch: Callable[[], object]) -> None:
        _open(store, import_id, path)
        row = run_import_locally(store, 1, import_id, lambda *_: watch())
        assert row["state"] == "done" and not row["rows_rejected"], row

    with open_store(folder / "data", write=True, create=True) as store:
        _do(store, create_tenant, CreateTenant(title="bench"), tenant=0)
        yield from import_small.measure(store, folder, bring)


def _write_csv(path: Path, rows: int, seed: int, bad: bool) -> people.Expected:
    """bench/people.py's file with one column more."""
    narrow = path.with_suffix(".narrow")
    expected = people.write_csv(narrow, rows, seed, bad=bad, tags=True)
    with open(narrow, "rb") as file, open(path, "wb", buffering=1 << 20) as to:
        to.write(next(file).rstrip() + b",visits\r\n")
        to.writelines(b"%b,%d\r\n" % (line.rstrip(b"\r\n"), at * 7_919 % 10_007) for at, line in enumerate(file))
    narrow.unlink()
    return expected


def _write(folder: Path, mode: str, plain: Path) -> Path:
    """The body of a mode from the CSV file."""
    body = folder / f"people.{mode}"
    match mode:
        case "csv":
            return plain
        case "gzip":
            with open(plain, "rb") as file, gzip.open(body, "wb", compresslevel=6) as packed:
                while piece := file.read(1 << 20):
                    packed.write(piece)
        case "zstd":
            with open(plain, "rb") as file, open(body, "wb") as packed:
                zstandard.ZstdCompressor(level=3).copy_stream(file, packed)
        case "ndjson":
            with open(plain, newline="", encoding="utf-8") as file, open(body, "w", encoding="utf-8") as lines:
                for row in csv.DictReader(file):
                    typed = {**row, "points": int(row["points"]), "visits": int(row["visits"])}
                    typed |= {"tags": row["tags"].split(";") if row["tags"] else [], "sex": row["sex"] or None}
                    lines.write(json.dumps(typed, ensure_ascii=False, separators=(",", ":")) + "\n")
        case "parquet":
            import pyarrow as pa
            from pyarrow import csv as arrow_csv
            from pyarrow import parquet

            types = {"phone": pa.string(), "birthday": pa.date32(), "joined": pa.date32()}
            options = arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True)
            parquet.write_table(arrow_csv.read_csv(plain, convert_options=options), body, row_group_size=1 << 18)
    return body


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


def _parse_alone(store: Store, path: Path) -> tuple[float, int]:
    """(seconds, KiB at most) of the parser in a process of its own, its start not counted."""
    _open(store, 1, path)
    job = ImportJob(Path(store.folder), 1, 1)
    with store.snapshot() as view:
        job.prepare(view)
    write_job(job.folder, replace(read_job(job.folder), runs_ahead=1_000_000))  # nobody takes them
    done = subprocess.run([sys.executable, "-c", _ALONE, str(job.folder)], capture_output=True, check=True)
    took_s, peak_kib = json.loads(done.stdout.splitlines()[-1])
    job.finished = True
    job.close()
    return took_s, peak_kib


def _reference_s_a_row(path: Path) -> float:
    """Seconds a row of the csv module and parse_cells, nothing written."""
    with open(path, newline="", errors="replace") as file:
        lines = list(islice(file, REFERENCE_ROWS + 1))
    codes: dict[str, int] = {}
    began = time.perf_counter()
    for row in csv.reader(lines[1:]):
        if len(row) == len(people.FIELDS) + 2:
            parse_cells.phone_of(row[0], "")
            parse_cells.clean_text_of(row[1].encode(), people.NAME_MAX)
            for word in (row[2], row[4], row[5], *row[8].split(";")):
                codes.setdefault(word, len(codes))
            parse_cells.date_of(row[3])
            parse_cells.points_of(row[6])
            parse_cells.date_of(row[7])
            parse_cells.int_of(row[9], 8)
    return (time.perf_counter() - began) / REFERENCE_ROWS


def _check_sample(store: Store, path: Path, seed: int) -> None:
    """Some members read back as the file's last row about them says; points as the first."""
    rng = random.Random(seed)
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(islice(csv.DictReader(file), 100_000))
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
            values = {name: value for name, value in member["values"].items() if value not in (None, [])}
            told |= {"visits": int(told["visits"]), "tags": told["tags"].split(";") if "tags" in told else []}
            assert values == {name: told[name] for name in values}, (values, told)
            checked += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
