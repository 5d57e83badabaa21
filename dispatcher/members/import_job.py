"""One import from its folder to the store: the parser to run, and the slices that its runs become.

A dry run goes the same way and writes nothing but its counts; committed, the kept body is parsed again.

Touches: the import's folder; the store through the View it is given. Runs no process and no transaction:
whoever drives it (the daemon, cli/local_import.py) starts child_argv(), passes each line it says to
heard(), tells child_ended(), and calls next_slice() in its writer between foreground commits until it
answers None, each time there was a line.

All state that counts is in the import's row, in the transaction of the slice it speaks of, so an
ImportJob made anew after a kill goes on where the last commit ended.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dispatcher.members.fields import SYSTEM_FIELDS, Field, every_field, fields_of, put_field, with_room
from dispatcher.members.import_files import (
    BODY,
    BODY_SIZE,
    HEADER,
    HOLD,
    JOB,
    OUTCOME,
    REJECTS_KEPT,
    ROW_OCTETS_MAX,
    RUN_ROWS,
    Job,
    JobField,
    import_folder,
    read_job,
    read_json,
    read_run,
    run_folder,
    run_is_intact,
    write_job,
)
from dispatcher.members.import_run import Run, map_file
from dispatcher.members.import_slice import MODES, Slice, Slicer
from dispatcher.members.importer import FINAL, finish, keeps_body, need_import, put_import
from dispatcher.members.job import open_jobs
from dispatcher.members.uncollected import uncollected
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store import phones
from dispatcher.store.columns import ColumnKind
from dispatcher.store.layout import U64
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import need_tenant, put_next_member_no

COMMITTED = "committed"  # in a folder: what a dry run made is gone, its body is being imported
CODES_MAX_U8 = 255
REJECTS_AT_ONCE = 4_096  # of a dry run, deleted a commit
DEATHS_MAX = 2  # the parser dies this often without an outcome: the import has failed


@dataclass(frozen=True, slots=True)
class ImportStatistics:
    """What a progress bar needs; parsed_* are ahead of the counts in the import's row."""

    parsed_octets: int
    parsed_rows: int
    parsed_rejected: int
    whole: bool  # the body is parsed to its end


def leftover_folders(view: View, data: Path, now_ms: int) -> list[Path]:
    """Folders of imports that are over, which nobody was there to remove: for a starting dispatcher."""
    if not any((data / "imports").glob("*")):
        return []
    over = (job for _, job, row in open_jobs(view) if not keeps_body(row, now_ms))
    return [folder for import_id in over if (folder := import_folder(data, import_id)).exists()]


class ImportJob:
    """Drives one import. Not shared between threads; calls never wait."""

    def __init__(
        self,
        data: Path,
        tenant: int,
        import_id: int,
        *,
        row_octets_max: int = ROW_OCTETS_MAX,
        run_rows: int = RUN_ROWS,
    ) -> None:
        self.tenant, self.import_id = tenant, import_id
        self.folder = import_folder(Path(data), import_id)
        self.finished = False
        self._bounds: dict[str, Any] = {"row_octets_max": row_octets_max, "run_rows": run_rows}
        self._job: Job | None = None
        self._run: Run | None = None
        self._slicer: Slicer | None = None
        self._sole = phones.Sole(tenant)
        self._merging = False  # numbers are on their way from the small table to the large one
        self._deaths = 0
        self._failure = {"code": "parser_died", "detail": f"the parser ended {DEATHS_MAX} times without a result"}
        self._dropped = 0  # runs before this one have no row files any more
        self._octets = self._rows = self._rejected = 0
        self._keeps_body = False

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"run {self._run.number if self._run else '-'}"
        return f"<ImportJob {self.import_id:016x} {state}, {self._rows} rows parsed>"

    def statistics(self) -> ImportStatistics:
        return ImportStatistics(self._octets, self._rows, self._rejected, (self.folder / OUTCOME).exists())

    # -- the parser ----------------------------------------------------------------------------------

    def prepare(self, view: View) -> None:
        """Write down what the parser needs, once; after a restart check what it had made. Before child_argv()."""
        row = need_import(view, self.tenant, self.import_id)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / BODY).touch()
        if row["committed"] and not (self.folder / COMMITTED).exists():
            self._forget_dry_run()
        if not (self.folder / JOB).exists():
            write_job(self.folder, self._new_job(view, row))
        self._job = read_job(self.folder)
        number = row["run"]
        while (record := read_run(self.folder, number)) is not None:
            if not run_is_intact(self.folder, number, record):
                (self.folder / OUTCOME).unlink(missing_ok=True)
                while run_folder(self.folder, number).exists():
                    shutil.rmtree(run_folder(self.folder, number))
                    number += 1
                break
            number += 1

    def _forget_dry_run(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (BODY, BODY_SIZE):
                path.unlink()
        (self.folder / COMMITTED).touch()

    def _new_job(self, view: View, row: dict[str, Any]) -> Job:
        fields = [
            JobField(
                name=f.name,
                number=f.number,
                kind=f.kind,
                column=int(ColumnKind.U16 if f.kind == "dict" and f.most > CODES_MAX_U8 else f.column),
                label=f.label,
                values=list(f.values),
                closed=f.closed,
                max_values=f.most,
                max_length=f.max_length,
            )
            for f in fields_of(view, self.tenant).values()
        ]
        asked = {name: row[name] for name in ("format", "compression", "charset", "delimiter", "mapping", "filename")}
        return Job(region=need_tenant(view, self.tenant).region, fields=fields, **asked, **self._bounds)

    @property
    def wants_child(self) -> bool:
        """Whether the parser must run (again): it has not told an outcome yet."""
        return not self.finished and self._deaths < DEATHS_MAX and not (self.folder / OUTCOME).exists()

    def child_argv(self) -> list[str]:
        return [sys.executable, "-m", "dispatcher.members.parse_process", str(self.folder)]

    def hold(self, wanted: bool) -> None:
        """Whether the parser should keep few runs ahead."""
        with contextlib.suppress(FileNotFoundError):  # the folder of one that has just ended is gone
            if wanted:
                (self.folder / HOLD).touch()
            else:
                (self.folder / HOLD).unlink()

    def heard(self, line: bytes) -> None:
        """A line of the parser's stdout."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # a traceback's line: child_ended tells the rest
        if said.get("event") == "progress":
            self._octets, self._rows, self._rejected = said["octets"], said["rows"], said["rejected"]
        elif said.get("event") == "failed":
            self._failure = {"code": said["code"], "detail": said["detail"]}
        elif said.get("event") == "done":
            self._rows, self._rejected = said["rows"], said["rejected"]

    def child_ended(self) -> None:
        """The parser is gone. See wants_child; a parser that keeps dying ends the import as failed."""
        if not (self.folder / OUTCOME).exists():
            self._deaths += 1

    # -- slices --------------------------------------------------------------------------------------

    def next_slice(self, view: View, now_ms: int) -> Changes | None:
        """What to commit next, in the transaction of `view`; None when there is nothing now (see `finished`)."""
        with uncollected():
            return self._next_slice(view, now_ms)

    def _next_slice(self, view: View, now_ms: int) -> Changes | None:
        row = need_import(view, self.tenant, self.import_id)
        self.finished = row["state"] in FINAL
        if self.finished:
            self._keeps_body = keeps_body(row, now_ms)
            return None
        if row["stale_rejects"]:
            return self._drop_rejects(view, row, now_ms)
        if self._job is None:
            self.prepare(view)
        changes = Changes()
        if row["columns"] is None and not self._read_header(row):
            return self._end(row, now_ms, changes) if self._over(row) else None
        self._drop_files(row)
        run = self._open(row["run"])
        if run is None:
            return self._end(row, now_ms, changes) if self._over(row) else None
        if row["words_of_run"] < run.number:
            self._take_words(view, row, run, changes)
        if not changes and row["at"] < run.rows:
            if not row["dry_run"] and (moved := self._move_numbers(view)):
                return moved
            self._take_rows(view, row, run, changes, now_ms)
            if row["at"] == run.rows and not run.record.rejected:
                self._take_rejects(row, run, changes)  # none: the run is done in the same commit
        elif not changes:
            self._take_rejects(row, run, changes)
        self._put(changes, row, now_ms)
        return changes

    def _drop_rejects(self, view: View, row: dict[str, Any], now_ms: int) -> Changes:
        """What a dry run rejected, before the import rejects anything itself."""
        changes, prefix = Changes(), U64.pack(self.import_id)
        for key, _ in islice(view.range("import_rejects", prefix), REJECTS_AT_ONCE):
            changes.delete("import_rejects", key)
        row["stale_rejects"] = len(changes.rows) == REJECTS_AT_ONCE
        self._put(changes, row, now_ms)
        return changes

    def _put(self, changes: Changes, row: dict[str, Any], now_ms: int) -> None:
        row["rows_read"] = row["members_imported"] + row["rows_updated"] + row["rows_rejected"]
        row["updated_ms"] = now_ms
        put_import(changes, self.tenant, self.import_id, row)

    def _read_header(self, row: dict[str, Any]) -> bool:
        header = read_json(self.folder / HEADER)
        if header is None or "problem" in header:
            return False
        row["columns"] = [{"title": c["title"], "field": c["field"]} for c in header["columns"]]
        row["ignored"], row["found"] = header["ignored"], header.get("found", {})
        row["delimiter"] = header.get("delimiter", "")
        return True

    def _over(self, row: dict[str, Any]) -> bool:
        """Whether every run was applied and no more will come."""
        outcome = read_json(self.folder / OUTCOME)
        return self._deaths >= DEATHS_MAX if outcome is None else bool(row["run"] >= outcome["runs"])

    def _end(self, row: dict[str, Any], now_ms: int, changes: Changes) -> Changes:
        outcome = read_json(self.folder / OUTCOME)
        row["problem"] = self._failure if outcome is None else outcome.get("problem")
        if row["problem"] and not row["found"]:
            row["found"] = (read_json(self.folder / HEADER) or {}).get("found", {})
        finish(row, "failed" if row["problem"] else "done", now_ms)
        self._put(changes, row, now_ms)
        return changes

    def _open(self, number: int) -> Run | None:
        if self._run is None or self._run.number != number:
            self._run = self._slicer = None
            if read_run(self.folder, number) is None:
                return None
            self._run = Run(self.folder, number)
        return self._run

    def _move_numbers(self, view: View) -> Changes | None:
        """Room for new numbers, when too many wait to be moved for a slice to touch few pages."""
        assert isinstance(view, Snapshot)
        self._merging = phones.waiting(view) > 0 if self._merging else phones.must_merge(view)
        return phones.merge_some(view) if self._merging else None

    def _take_words(self, view: View, row: dict[str, Any], run: Run, changes: Changes) -> None:
        """New words of open dictionaries and tags, before the rows that use them."""
        if not row["dry_run"]:
            fields, grown = self._grown(view, run)
            for number in grown:
                put_field(changes, self.tenant, fields[number])
        row["words_of_run"] = run.number

    def _grown(self, view: View, run: Run) -> tuple[dict[int, Field], list[int]]:
        """The fields with the run's new words as far as there is room, and which of them grew."""
        assert self._job is not None
        fields = _by_number(view, self.tenant)
        new = run.new_words(self._job, fields)
        for number, words in new.items():
            room = max(0, fields[number].most - len(fields[number].values))
            fields[number] = replace(fields[number], values=(*fields[number].values, *words[:room]))
            fields = _with_room(fields.values())
        return fields, list(new)

    def _take_rows(self, view: View, row: dict[str, Any], run: Run, changes: Changes, now_ms: int) -> None:
        next_no = need_tenant(view, self.tenant).next_member_no
        if row["first_no"] is None:
            row["first_no"] = next_no
        slicer = self._slicer_of(view, row, run, now_ms)
        if row["dry_run"]:
            done = slicer.count(view, row["at"], next_no)
        else:
            done = slicer.write(view, row["at"], next_no, row["slices"])
            changes.merge(done.changes)
            if done.created:
                put_next_member_no(changes, view, self.tenant, done.next_no)
            row["slices"] += 1
        row["at"] = done.end
        self._count(view, row, done)
        self._refuse(row, run, done.refused, changes)

    def _count(self, view: View, row: dict[str, Any], done: Slice) -> None:
        row["members_imported"] += done.created
        row["rows_updated"] += done.updated
        row["points_ignored"] += done.points_ignored
        row["rows_rejected"] += len(done.refused)
        row["unchanged"] += done.unchanged
        row["repeated"] += done.repeated
        row["unreachable"] += done.unreachable
        if done.changed or done.lost:
            names = {number: field.name for number, field in _by_number(view, self.tenant).items()}
            for kept, found in ((row["changed"], done.changed), (row["lost"], done.lost)):
                for number, count in found.items():
                    kept[names[number]] = kept.get(names[number], 0) + count

    def _slicer_of(self, view: View, row: dict[str, Any], run: Run, now_ms: int) -> Slicer:
        if self._slicer is None:
            assert self._job is not None
            # a dry run's new words are not in the store
            fields = self._grown(view, run)[0] if row["dry_run"] else _by_number(view, self.tenant)
            columns = run.columns(self._job, fields)
            earlier = [map_file(run_folder(self.folder, k) / "sorted").cast("Q") for k in range(run.number)]
            self._slicer = Slicer(
                self.tenant, run, columns, MODES[row["mode"]], import_id=self.import_id, first_no=row["first_no"],
                earlier=earlier, source=f"import:{public_id('imp', self.import_id)}", at_ms=now_ms,
                sole=self._sole,
            )  # fmt: skip
        return self._slicer

    def _refuse(self, row: dict[str, Any], run: Run, refused: list[int], changes: Changes) -> None:
        """Rows that the mode does not take."""
        if not refused:
            return
        words = {"insert": ("exists", "a member has this number"), "update": ("not_found", "no member has this number")}
        code, detail = words[row["mode"]]
        codes = row["rejected_codes"]
        codes[code] = codes.get(code, 0) + len(refused)
        column = {c["kind"]: c["number"] for c in run.header["columns"]}["phone"]
        numbers = run.file(f"f{column}").cast("Q")
        for at in refused:
            value = f"+{numbers[at]}"
            reject = {"line": run.lines[at], "column": run.phone_title, "value": value, "code": code, "detail": detail}
            self._keep(row, reject, changes)

    def _take_rejects(self, row: dict[str, Any], run: Run, changes: Changes) -> None:
        """Rejected rows of the run; the run is done with the last of them."""
        rejects, row["rejects_at"] = run.rejects(row["rejects_at"])
        codes = row["rejected_codes"]
        for reject in rejects:
            self._keep(row, reject, changes)
            codes[reject["code"]] = codes.get(reject["code"], 0) + 1
        row["rejects_seen"] += len(rejects)
        row["rows_rejected"] += len(rejects)
        if not rejects or row["rejects_seen"] == run.record.rejected:  # those past REJECTS_KEPT are only counted
            if more := run.record.rejected - row["rejects_seen"]:
                row["rows_rejected"] += more
                codes["not_kept"] = codes.get("not_kept", 0) + more
            row |= {"run": run.number + 1, "at": 0, "rejects_at": 0, "rejects_seen": 0}

    def _keep(self, row: dict[str, Any], reject: dict[str, Any], changes: Changes) -> None:
        if row["rejects_kept"] < REJECTS_KEPT:
            row["rejects_kept"] += 1
            changes.put("import_rejects", U64.pack(self.import_id) + U64.pack(reject["line"]), pack(reject))

    def _drop_files(self, row: dict[str, Any]) -> None:
        """Row files of runs whose last slice is committed; the numbers are needed to the end, to find repeats."""
        while self._dropped < row["run"]:
            for path in run_folder(self.folder, self._dropped).glob("*"):
                if path.name not in ("run.json", "sorted"):
                    path.unlink()
            self._dropped += 1

    def close(self) -> None:
        """Forget the files. A finished import's folder goes, the customer's file in it; a dry run's stays a while."""
        self._run = self._slicer = None
        if self.finished and not self._keeps_body:
            shutil.rmtree(self.folder, ignore_errors=True)


def _by_number(view: View, tenant: int) -> dict[int, Field]:
    """Every field, retired ones too: one that is retired while a file comes in still takes its values."""
    return _with_room([*SYSTEM_FIELDS.values(), *every_field(view, tenant)])


def _with_room(fields: Iterable[Field]) -> dict[int, Field]:
    return {field.number: field for field in with_room({str(field.number): field for field in fields}).values()}
