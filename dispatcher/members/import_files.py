"""The folder of one import: what the parser (a child process) and the importer hand each other.

    <data>/imports/<import id as 16 hex>/
        body            the file as it arrives; `body.size` (decimal octets) appears when it is whole
        job.json        what the parser needs to know of the tenant; never changes once written
        unpacked        a compressed Parquet body's file, while it is read
        header.json     what the file was found to be and how its columns were understood, or why it is refused
        run-000/        one run of at most run_rows accepted rows; whole once its run.json is there
            given       u64 a row: bit i = column i of header.json has a value
            line        u32 a row: where it stood in the body
            sorted      u64 the rows' numbers ascending; `order` u32: the row of each
            f<field>    the column, as wide as in the store; text and tags: `f<field>.ends` u32[rows + 1]
                        and `f<field>.heap`, UTF-8 or tag codes u16
            rejects     msgpack maps {line, column, value, code, detail, hint}, one after the other
            run.json    counts, the crc32 of each file, where in the body the next run begins, new values
        outcome.json    totals: the whole body was parsed
        hold            there while messages are sent: the parser keeps two runs ahead at most

Numbers are little-endian. Row files are not fsynced: after a power cut a run whose crc32 is wrong is
parsed again, from the state that the run before it ended in, with the same result.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BODY, BODY_SIZE, JOB, HEADER, OUTCOME = "body", "body.size", "job.json", "header.json", "outcome.json"
HOLD = "hold"
RUN_ROWS = 1 << 20
ROW_OCTETS_MAX = 1 << 16
REJECTS_KEPT = 100_000  # of one import; the count stays exact past it
COLUMNS_MAX = 64  # that map to a field: bits of `given`


@dataclass(frozen=True, slots=True, kw_only=True)
class JobField:
    """A field as the parser sees it; `column` is a ColumnKind's number."""

    name: str
    number: int
    kind: str
    column: int
    label: str = ""
    values: list[str] = field(default_factory=list)
    closed: bool = False
    max_values: int = 255
    max_length: int = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for. "" = the parser finds it out and states it in header.json."""

    region: str
    fields: list[JobField]
    format: str = ""  # csv, ndjson, parquet
    compression: str = ""  # none, gzip, zstd
    charset: str = ""  # a name of parse_charset.CHARSETS
    delimiter: str = ""  # one ASCII character
    filename: str = ""  # as the customer called it; its ending helps to tell the format
    mapping: dict[str, Any] = field(default_factory=dict)  # column -> field or a map: parse_mapping.py
    run_rows: int = RUN_ROWS
    row_octets_max: int = ROW_OCTETS_MAX  # a longer row is rejected, however long it is
    runs_ahead: int = 16  # whole runs that may wait to be applied; bounds the disk that parsing takes
    stall_s: float = 600.0  # a body that stops growing this long is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """run.json. Counts are of this run; the others are running totals. `octet` is how far the body was read,
    `decoded` where the next row begins: octets of its text (unpacked, in UTF-8), or rows of a Parquet file."""

    rows: int
    rejected: int
    octet: int
    decoded: int
    line: int
    rejects_kept: int
    new_values: dict[str, list[str]]  # field name -> values the tenant did not have, oldest first
    files: dict[str, int]  # name -> crc32


def import_folder(data: Path, import_id: int) -> Path:
    return data / "imports" / f"{import_id:016x}"


def run_folder(folder: Path, run: int) -> Path:
    return folder / f"run-{run:03d}"


def finish_body(folder: Path, octets: int) -> None:
    """Say that the body is whole. The body itself must be on disk already."""
    write_whole(folder / BODY_SIZE, str(octets).encode())


def body_octets(folder: Path) -> int | None:
    """The size of the whole body; None while it still arrives."""
    try:
        return int((folder / BODY_SIZE).read_bytes())
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, ensure_ascii=False).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The whole file, or None when it is not there (write_json never leaves half of one)."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def write_whole(path: Path, octets: bytes) -> None:
    """Write, fsync and rename: after a crash the file is the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_job(folder: Path, job: Job) -> None:
    write_json(folder / JOB, asdict(job))


def read_job(folder: Path) -> Job:
    value = read_json(folder / JOB)
    assert value is not None, f"{folder}: no job"
    return Job(**{**value, "fields": [JobField(**f) for f in value["fields"]]})


def read_run(folder: Path, run: int) -> RunRecord | None:
    """The record of a run that is whole."""
    value = read_json(run_folder(folder, run) / "run.json")
    return RunRecord(**{"decoded": value["octet"], **value}) if value else None


def run_is_intact(folder: Path, run: int, record: RunRecord) -> bool:
    """Whether every file of the run is what the parser wrote."""
    for name, crc in record.files.items():
        path = run_folder(folder, run) / name
        if not path.exists() or zlib.crc32(path.read_bytes()) != crc:
            return False
    return True
