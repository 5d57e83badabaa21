"""What a person sees of an import: a bar while it runs, and in the end what became of the rows.

Touches: stdout and stderr; the import's folder, for how far it is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from admin.spool import applied_share
from dispatcher.cli.common import Call

SHOWN_CONFLICTS = 20


class Watch:
    """A bar on a terminal's stderr; nothing elsewhere."""

    def __init__(self, data: Path, progress: Progress | None) -> None:
        self._data, self._progress = data, progress
        self._task = progress.add_task("import", total=1.0, rate="", rows="") if progress else None
        self._began = time.monotonic()

    def __call__(self, row: dict[str, Any]) -> None:
        if self._progress is None or self._task is None:
            return
        share, took = applied_share(self._data, row) or 0.0, max(1e-3, time.monotonic() - self._began)
        if row["state"] in ("undoing", "undone"):
            done = row["undo"]["removed"] + row["undo"]["restored"]
            self._progress.update(self._task, completed=share, rows=f"{done:,} members", rate=row["undo"]["phase"])
            return
        rows = row.get("rows_read", row.get("done", 0))  # a bulk edit counts members
        self._progress.update(self._task, completed=share, rows=f"{rows:,} rows", rate=f"{rows / took:,.0f} rows/s")


@contextlib.contextmanager
def bar(call: Call) -> Iterator[Watch]:
    console = Console(stderr=True)
    if call.json or not console.is_terminal:
        yield Watch(call.settings.data, None)
        return
    columns = (BarColumn(), TextColumn("{task.fields[rows]}  {task.fields[rate]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Watch(call.settings.data, progress)


def show_import(call: Call, row: dict[str, Any], rejects: list[dict[str, Any]]) -> None:
    if call.json:
        call.show({**row, "rejects": rejects})
        return
    problem = f": {row['problem']['detail']}" if row["problem"] else ""
    click.echo(f"import {row['id']} {'(dry run) ' if row['dry_run'] else ''}{row['state']}{problem}")
    seconds = max(1, row["updated_ms"] - row["created_ms"]) / 1000
    changed = row["rows_updated"] - row["unchanged"]
    click.echo(
        f"{row['rows_read']:,} rows: {row['members_imported']:,} new, {changed:,} changed, "
        f"{row['rows_rejected']:,} rejected, in {seconds:.1f} s"
    )
    for line in _finer(row):
        click.echo(line)
    show_rejects(row, rejects)
    if row["dry_run"] and row["state"] == "done":
        click.echo(f"nothing is written; to do it: volley import commit {row['id']}")


def _finer(row: dict[str, Any]) -> Iterator[str]:
    if row["unchanged"]:
        yield f"{row['unchanged']:,} members have every value already"
    if row["changed"]:
        yield "members whose value changes: " + _counts(row["changed"])
    if row["lost"] or row["unreachable"]:
        lost = [f"{row['unreachable']:,} new members said stop before or are suppressed"] if row["unreachable"] else []
        lost += [f"{count:,} lose a tag or a yes of {name}" for name, count in row["lost"].items()]
        yield "consent: " + ", ".join(lost)
    if row["repeated"]:
        yield f"{row['repeated']:,} rows repeat a number of the file"
    found = {name: row["found"].get(name) for name in ("format", "compression", "charset", "delimiter")}
    if any(found.values()):
        yield "read as: " + ", ".join(
            f"{name} {value!r}" for name, value in found.items() if value not in (None, "", "none")
        )
    if row["columns"]:
        yield "columns: " + ", ".join(f"{c['title']} -> {c['field']}" for c in row["columns"])
    if row["ignored"]:
        yield "ignored columns: " + ", ".join(row["ignored"])
    if row["points_ignored"]:
        yield f"points of {row['points_ignored']:,} rows ignored: a balance comes with a new member only"
    if row["rejected_codes"]:
        yield "rejected: " + _counts(row["rejected_codes"])


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(found.items(), key=lambda pair: -pair[1]))


def show_rejects(row: dict[str, Any], rejects: list[dict[str, Any]]) -> None:
    for reject in rejects:
        where = f"line {reject['line']}" + (f", {reject['column']}" if reject["column"] else "")
        hint = f"; {reject['hint']}" if reject.get("hint") else ""
        click.echo(f"  {where}: {reject['value']!r}: {reject['detail']} [{reject['code']}]{hint}")
    if row["rows_rejected"] > len(rejects):
        click.echo(f"  ... {row['rows_rejected'] - len(rejects):,} more: volley import rejects {row['id']}")


def show_undo(call: Call, row: dict[str, Any]) -> None:
    if call.json:
        call.show(row)
        return
    undo = row["undo"]
    if undo["phase"] == "refused":
        click.echo(f"import {row['id']} is not undone: {undo['conflicts_found']:,} of its members have changed since")
    else:
        click.echo(
            f"import {row['id']} {row['state']}: {undo['removed']:,} members gone, {undo['restored']:,} as before"
        )
        if undo["conflicts_found"]:
            click.echo(f"{undo['conflicts_found']:,} members have changed since and stay as they are")
    for conflict in undo["conflicts"][:SHOWN_CONFLICTS]:
        click.echo(f"  {conflict['member']} {conflict['msisdn'] or ''}: {', '.join(conflict['fields'])}")
    if undo["conflicts_found"] > SHOWN_CONFLICTS:
        click.echo(f"  ... {undo['conflicts_found'] - SHOWN_CONFLICTS:,} more, see --json")
    if undo["phase"] == "refused":
        click.echo(f"to undo the others: volley import undo {row['id']} --skip-changed")
