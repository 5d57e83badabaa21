"""The import parser, a process of its own: a body of any format to runs of column files and rejects. Opens no store.

    python -m dispatcher.members.parse_process FOLDER

Touches: the folder of one import (import_files.py), stdout. Reads `body` while it still grows. Writes a
line of JSON when a header, a run or the whole is done, and twice a second in between.
The same body and job give the same runs however the body arrived and wherever parsing was broken off.
The ways in, by reading order: parse_found.py (what the body is), parse_body.py, parse_unpack.py and
parse_charset.py (octets), parse_text.py or parse_parquet.py (rows), parse_columns.py (values).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dispatcher.members.import_files import (
    HEADER,
    HOLD,
    OUTCOME,
    REJECTS_KEPT,
    Job,
    RunRecord,
    read_job,
    read_run,
    run_folder,
    write_json,
)
from dispatcher.members.parse_body import BodyBroken, Spooled
from dispatcher.members.parse_columns import NumberColumn, columns_of
from dispatcher.members.parse_found import Source, open_source
from dispatcher.members.parse_header import FileRefused, Header, Titles
from dispatcher.members.parse_mapping import MappingRefused, read_rules
from dispatcher.members.parse_run import RunWriter
from dispatcher.store.layout import BLOCK

SAY_S = 0.5
FIRST_RUN_ROWS = 2 * BLOCK
# Octets of memory that the process may ask for, a third of it in use with a file as they are: one that makes a library
# ask for more, as a Parquet page of some GiB does, fails.
DATA_MAX = 384 << 20

Say = Callable[[dict[str, Any]], None]


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    with open(folder / "parser.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one that a killed dispatcher left behind ends by itself
        try:
            outcome = parse(folder, read_job(folder), _print)
        except BrokenPipeError:
            return 1
        except MemoryError:
            _print(
                {"event": "failed", "code": "too_large", "detail": f"the file needs over {DATA_MAX >> 20} MiB at once"}
            )
            return 1
        except OSError as exc:
            code = "disk_full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "disk_failed"
            _print({"event": "failed", "code": code, "detail": f"the parser cannot write its runs: {exc.strerror}"})
            return 1
    return 0 if "problem" not in outcome else 3


def bound_memory() -> None:
    """Of this whole process, from now on."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own reserves 1 GiB at once
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_MAX, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _print(message: dict[str, Any]) -> None:
    print(json.dumps(message, ensure_ascii=False), flush=True)


def parse(folder: Path, job: Job, say: Say = lambda message: None) -> dict[str, Any]:
    """Parse the body, from the first run that is not whole; returns what outcome.json holds."""
    line = 0
    spooled = Spooled(folder, job)
    try:
        titles = Titles(job, read_rules(job.mapping, {f.name: f.kind for f in job.fields}))
        source, found = open_source(spooled, folder, job, titles)
        header = source if isinstance(source, FileRefused) else source.header()
        if isinstance(header, FileRefused) or isinstance(source, FileRefused):
            assert isinstance(header, FileRefused)
            outcome = _refused(folder, header.as_json(), found)
        else:
            shown = header.as_json(found)
            write_json(folder / HEADER, shown)
            say({"event": "header", **shown})
            parser = _Parser(folder, job, header, source, spooled, say)
            try:
                outcome = parser.run_all()
            finally:
                line = source.line
                parser.run.discard()
    except MappingRefused as exc:
        outcome = _refused(folder, {"code": "invalid_value", **exc.errors[0]}, {})
    except BodyBroken as exc:
        problem = {"code": exc.code, "detail": str(exc), "line": line}
        if not (folder / HEADER).exists():
            write_json(folder / HEADER, {"problem": problem})
        outcome = {"problem": problem, **_totals(list(_whole_runs(folder)))}
    finally:
        spooled.close()
    write_json(folder / OUTCOME, outcome)
    say({"event": "done", **outcome})
    return outcome


def _refused(folder: Path, problem: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    write_json(folder / HEADER, {"problem": problem, "found": found})
    return {"problem": problem, **_totals([])}


def _totals(done: list[RunRecord]) -> dict[str, Any]:
    return {"runs": len(done), "rows": sum(r.rows for r in done), "rejected": sum(r.rejected for r in done)}


def _whole_runs(folder: Path) -> Iterator[RunRecord]:
    run = 0
    while (record := read_run(folder, run)) is not None:
        yield record
        run += 1


class _Parser:
    """The source's rows to runs, one chunk at a time."""

    def __init__(self, folder: Path, job: Job, header: Header, source: Source, spooled: Spooled, say: Say) -> None:
        self.folder, self.job, self.source, self.spooled, self.say = folder, job, source, spooled, say
        done = list(_whole_runs(folder))
        self.totals = _totals(done)
        if done:
            source.go_to(done[-1].decoded, done[-1].line)
        self.rejects_kept = done[-1].rejects_kept if done else 0
        self.new_values = {name: list(words) for name, words in done[-1].new_values.items()} if done else {}
        self.columns = columns_of(header, job.region, self.new_values)
        self.phone = next(c for c in self.columns if isinstance(c, NumberColumn) and c.field.kind == "phone")
        self.texts = [column.name for column in self.columns if column.field.kind in ("text", "tags")]
        self.run = self._new_run()
        self.said = time.monotonic()

    def _new_run(self) -> RunWriter:
        return RunWriter(self.folder, self.totals["runs"], self.texts)

    def _run_rows(self) -> int:
        """Of the run at hand. The first are short, so that their rows are applied while the next are parsed; later ones
        are long, so that their numbers, sorted, lie close together among those that are there."""
        return min(self.job.run_rows, max(FIRST_RUN_ROWS, int(self.totals["rows"])))

    def run_all(self) -> dict[str, Any]:
        while self._take():
            if self.run.rows == self._run_rows():
                self._seal()
            if time.monotonic() - self.said > SAY_S:
                self._progress()
        if self.run.rows or self.run.rejected:
            self._seal()
        return self.totals | ({"ignored_later": self.source.later[:100]} if self.source.later else {})

    def _take(self) -> bool:
        """Read one chunk; False at the end of the source."""
        run = self.run
        chunk = self.source.next_chunk(self._run_rows() - run.rows)
        if chunk is None:
            return False
        for column in self.columns:
            column.take(chunk)
        for column in self.columns:
            column.write(chunk, run)
        chunk.write_rows(self.phone.numbers, run)
        if chunk.rejects:
            run.reject(chunk.rejects, REJECTS_KEPT - self.rejects_kept)
            self.rejects_kept = min(REJECTS_KEPT, self.rejects_kept + len(chunk.rejects))
            chunk.rejects.clear()
        return True

    def _seal(self) -> None:
        source = self.source
        record = self.run.seal(source.octet, source.position, source.line, self.rejects_kept, self.new_values)
        run = self.totals["runs"]
        self.totals["runs"] += 1
        self.totals["rows"] += record.rows
        self.totals["rejected"] += record.rejected
        self.say({"event": "run", "run": run, "rows": record.rows, "rejected": record.rejected})
        self._wait_for_room()
        self.run = self._new_run()

    def _wait_for_room(self) -> None:
        """While too many whole runs wait to be applied; the importer removes their row files."""
        while self.totals["runs"] >= (ahead := self._runs_ahead()):
            if not (run_folder(self.folder, self.totals["runs"] - ahead) / "order").exists():
                break
            self.spooled.wait()

    def _runs_ahead(self) -> int:
        return min(self.job.runs_ahead, 2) if (self.folder / HOLD).exists() else self.job.runs_ahead

    def _progress(self) -> None:
        self.said = time.monotonic()
        rows = self.totals["rows"] + self.run.rows
        rejected = self.totals["rejected"] + self.run.rejected
        self.say({"event": "progress", "octets": self.source.octet, "rows": rows, "rejected": rejected})
