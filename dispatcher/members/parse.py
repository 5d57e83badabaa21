"""The import parser, a process of its own: a CSV body to runs of column files and rejects. Opens no store.

    python -m dispatcher.members.parse FOLDER

Touches: the folder of one import (import_files.py), stdout. Reads `body` while it still grows. Writes a
line of JSON when a header, a run or the whole is done, and twice a second in between.
Rests on: RFC 4180, with four delimiters, and lines that end in LF or CRLF. The same body and job give
the same runs however the body arrived and wherever parsing was broken off.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dispatcher.members import parse_header
from dispatcher.members.import_files import (
    BODY,
    HEADER,
    OUTCOME,
    REJECTS_KEPT,
    Job,
    RunRecord,
    body_octets,
    read_job,
    read_run,
    run_folder,
    write_json,
)
from dispatcher.members.parse_columns import LINE_TOO_LONG, Chunk, NumberColumn, columns_of
from dispatcher.members.parse_header import FileRefused, Header
from dispatcher.members.parse_run import RunWriter

CHUNK_ROWS = 16_384
READ_OCTETS = 1 << 20
POLL_S = 0.02  # how often a body that still arrives is looked at
SAY_S = 0.5

Say = Callable[[dict[str, Any]], None]


class Body:
    """The body as far as it has arrived. `data[at:end]` is what was read and not yet taken."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._file = open(folder / BODY, "rb", buffering=0)  # noqa: SIM115
        self._stall_s = job.stall_s
        self._read = 0
        self._parent = os.getppid()
        self.data = bytearray(2 * READ_OCTETS + job.row_octets_max)
        self.at = self.end = 0
        self.final = False

    @property
    def octet(self) -> int:
        """Where in the body data[at] lies."""
        return self._read - (self.end - self.at)

    def go_to(self, octet: int) -> None:
        """Go on from there, forgetting what was read."""
        self._file.seek(octet)
        self._read, self.at, self.end, self.final = octet, 0, 0, False

    def fill(self) -> None:
        """More octets, waiting for them while the body grows; `final` when there are no more."""
        self.data[: self.end - self.at] = self.data[self.at : self.end]
        self.at, self.end = 0, self.end - self.at
        give_up = time.monotonic() + self._stall_s
        while not self.final:
            size = body_octets(self._folder)
            room = min(READ_OCTETS, len(self.data) - self.end)
            count = self._file.readinto(memoryview(self.data)[self.end : self.end + room])
            if count:
                self._read += count
                self.end += count
                return
            if size is not None:
                if self._read != size:
                    raise BodyBroken(f"the body has {self._read} octets, {size} were announced")
                self.final = True
            elif time.monotonic() > give_up:
                raise BodyBroken(f"the body did not grow for {self._stall_s:.0f} s")
            else:
                self.wait()

    def wait(self) -> None:
        """A moment. Ends the process when whoever started it is gone."""
        if os.getppid() != self._parent:
            raise SystemExit("the dispatcher is gone")
        time.sleep(POLL_S)

    def find_line_end(self) -> int:
        """Just past the next LF in what was read; -1 when there is none."""
        return self.data.find(b"\n", self.at, self.end) + 1 or -1

    def close(self) -> None:
        self._file.close()


class BodyBroken(Exception):
    """The body stopped growing, or is not as long as it was said to be."""


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    with open(folder / "parser.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one that a killed dispatcher left behind ends by itself
        try:
            outcome = parse(folder, read_job(folder), _print)
        except BrokenPipeError:
            return 1
        except OSError as exc:
            code = "disk_full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "disk_failed"
            _print({"event": "failed", "code": code, "detail": f"the parser cannot write its runs: {exc.strerror}"})
            return 1
    return 0 if "problem" not in outcome else 3


def _print(message: dict[str, Any]) -> None:
    print(json.dumps(message, ensure_ascii=False), flush=True)


def parse(folder: Path, job: Job, say: Say = lambda message: None) -> dict[str, Any]:
    """Parse the body, from the first run that is not whole; returns what outcome.json holds."""
    done = list(_whole_runs(folder))
    body = Body(folder, job)
    try:
        header, line = _header(body, job)
        write_json(folder / HEADER, header.as_json() if isinstance(header, Header) else {"problem": asdict(header)})
        if isinstance(header, FileRefused):
            outcome: dict[str, Any] = {"problem": asdict(header), "runs": 0, "rows": 0, "rejected": 0}
        else:
            say({"event": "header", **header.as_json()})
            if done:
                body.go_to(done[-1].octet)
                line = done[-1].line
            parser = _Parser(folder, job, header, body, line, done, say)
            try:
                outcome = parser.run_all()
            finally:
                parser.run.discard()
    except BodyBroken as exc:
        done = list(_whole_runs(folder))
        totals = {"runs": len(done), "rows": sum(r.rows for r in done), "rejected": sum(r.rejected for r in done)}
        outcome = {"problem": {"code": "body_broken", "detail": str(exc)}, **totals}
    finally:
        body.close()
    write_json(folder / OUTCOME, outcome)
    say({"event": "done", **outcome})
    return outcome


def _whole_runs(folder: Path) -> Iterator[RunRecord]:
    run = 0
    while (record := read_run(folder, run)) is not None:
        yield record
        run += 1


def _header(body: Body, job: Job) -> tuple[Header | FileRefused, int]:
    """The header, and the number of the line after it. Leaves the body just past it."""
    line = 1
    body.fill()
    while body.end - body.at < 3 and not body.final:
        body.fill()
    body.at = parse_header.skip_bom(bytes(body.data[: min(3, body.end)]))
    while True:
        past = body.find_line_end()
        if past < 0 and not body.final and body.end - body.at <= parse_header.LINE_MAX:
            body.fill()
            continue
        if past < 0:
            past = body.end
        text = bytes(body.data[body.at : past]).strip(b"\r\n")
        if not text and past == body.end and body.final:
            return FileRefused("empty_file", "the file is empty"), line
        if len(text) > parse_header.LINE_MAX:
            return FileRefused("bad_header", f"the first line is longer than {parse_header.LINE_MAX} octets"), line
        body.at, line = past, line + 1
        if text.strip():
            return parse_header.read_header(text, job), line


class _Parser:
    """The body's rows to runs, one chunk at a time."""

    def __init__(
        self, folder: Path, job: Job, header: Header, body: Body, line: int, done: list[RunRecord], say: Say
    ) -> None:
        self.folder, self.job, self.header, self.say = folder, job, header, say
        self.body, self.line = body, line
        self.totals = {"runs": len(done), "rows": sum(r.rows for r in done), "rejected": sum(r.rejected for r in done)}
        self.rejects_kept = done[-1].rejects_kept if done else 0
        self.new_values = {name: list(words) for name, words in done[-1].new_values.items()} if done else {}
        self.columns = columns_of(header, job.region, self.new_values)
        self.phone = next(c for c in self.columns if isinstance(c, NumberColumn) and c.field.kind == "phone")
        self.texts = [column.name for column in self.columns if column.field.kind in ("text", "tags")]
        self.chunk = Chunk(header, CHUNK_ROWS, job.row_octets_max)
        self.run = self._new_run()
        self.said = time.monotonic()

    def _new_run(self) -> RunWriter:
        return RunWriter(self.folder, self.totals["runs"], self.texts)

    def run_all(self) -> dict[str, Any]:
        body = self.body
        while True:
            taken = self._take()
            if self.run.rows == self.job.run_rows:
                self._seal()
            if not taken:
                if body.final:
                    break
                if body.end - body.at > self.job.row_octets_max:
                    self._skip_long_line()
                body.fill()
            if time.monotonic() - self.said > SAY_S:
                self._progress()
        if self.run.rows or self.run.rejected:
            self._seal()
        return self.totals

    def _take(self) -> bool:
        """Cut and read one chunk; False when nothing more can be cut from what was read."""
        body, chunk, run = self.body, self.chunk, self.run
        start = body.at
        most = min(CHUNK_ROWS, self.job.run_rows - run.rows)
        body.at, self.line = chunk.cut(body.data, body.at, body.end, body.final, self.line, most)
        for column in self.columns:
            column.take(chunk)
        for column in self.columns:
            column.write(chunk, run)
        chunk.write_rows(self.phone, run)
        if chunk.rejects:
            run.reject(chunk.rejects, REJECTS_KEPT - self.rejects_kept)
            self.rejects_kept = min(REJECTS_KEPT, self.rejects_kept + len(chunk.rejects))
            chunk.rejects.clear()
        return body.at != start

    def _skip_long_line(self) -> None:
        """Reject the line that does not fit the buffer and go on past its end."""
        body = self.body
        start = bytes(body.data[body.at : body.at + 400])
        self.chunk.reject_row(self.line, start, *LINE_TOO_LONG)
        while (past := body.find_line_end()) < 0 and not body.final:
            body.at = body.end
            body.fill()
        body.at = past if past >= 0 else body.end
        self.line += 1

    def _seal(self) -> None:
        record = self.run.seal(self.body.octet, self.line, self.rejects_kept, self.new_values)
        run = self.totals["runs"]
        self.totals["runs"] += 1
        self.totals["rows"] += record.rows
        self.totals["rejected"] += record.rejected
        self.say({"event": "run", "run": run, "rows": record.rows, "rejected": record.rejected})
        self._wait_for_room()
        self.run = self._new_run()

    def _wait_for_room(self) -> None:
        """While too many whole runs wait to be applied; the importer removes their row files."""
        oldest = run_folder(self.folder, self.totals["runs"] - self.job.runs_ahead) / "order"
        while self.totals["runs"] >= self.job.runs_ahead and oldest.exists():
            self.body.wait()

    def _progress(self) -> None:
        self.said = time.monotonic()
        rows = self.totals["rows"] + self.run.rows
        rejected = self.totals["rejected"] + self.run.rejected
        self.say({"event": "progress", "octets": self.body.octet, "rows": rows, "rejected": rejected})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
