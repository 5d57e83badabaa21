"""volley import: members from a CSV file, by the dispatcher when it runs, else here under the writer's lock.

Touches: the file, the import's folder in the data folder, the control socket or the store.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from admin.spool import applied_share
from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.local_import import run_import_locally
from dispatcher.cli.talk import NoAnswer
from dispatcher.clock import SystemClock
from dispatcher.control.commands import CancelImport, EndImportBody, Envelope, OpenImport
from dispatcher.errors import CommandRefused, StoreLocked
from dispatcher.members.import_files import BODY, finish_body, import_folder
from dispatcher.members.import_job import ImportStatistics
from dispatcher.members.importer import FINAL, MODES, import_json, list_rejects
from dispatcher.records.keys import new_id
from dispatcher.store import Store, open_store

LOOK_S = 0.1  # how often a dispatcher's import is looked at
SHOWN_REJECTS = 10


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--mode", type=click.Choice(MODES), default="upsert", show_default=True, help="What a row may do.")
@click.option("--map", "pairs", multiple=True, metavar="COLUMN=FIELD", help="A column whose title is no field's name.")
@click.option("--delimiter", default="", help="Found out when not given.")
@click.option("--dry-run", is_flag=True, help="Count what would be new, changed and rejected; change nothing.")
@of_tenant
@common
def import_command(
    call: Call, tenant: str | None, file: BinaryIO, mode: str, pairs: tuple[str, ...], delimiter: str, dry_run: bool
) -> int:
    """Import members from FILE, a CSV with a header line (- is stdin).

    Numbers go to the column phone, msisdn, mobile or number; other columns go to the field of the same
    name or label. A number that is known is updated by the cells that are not empty.
    """
    number = call.tenant(tenant)
    import_id = new_id(SystemClock().epoch_ms(), random.getrandbits(16))
    name = Path(str(file.name)).name if file is not sys.stdin.buffer else ""
    command = OpenImport(
        import_id=import_id, mode=mode, mapping=_mapping(pairs), dry_run=dry_run, delimiter=delimiter, filename=name
    )
    with _bar(call) as watch:
        try:
            with open_store(call.settings.data, write=True, sync=call.settings.store.sync) as store:
                row, rejects = _import_here(call, store, number, command, file, watch)
        except StoreLocked:
            row, rejects = _import_by_dispatcher(call, number, command, file, watch)
    _show(call, row, rejects)
    return 0 if row["state"] == "done" else 1


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        column, equals, field = pair.rpartition("=")
        if not equals or not column:
            raise click.UsageError(f"--map {pair!r}: write COLUMN=FIELD (COLUMN= to ignore it)")
        mapping[column] = field
    return mapping


def _envelope(tenant: int) -> Envelope:
    return Envelope(tenant=tenant, actor="cli", at_ms=SystemClock().epoch_ms())


def _import_here(
    call: Call, store: Store, tenant: int, command: OpenImport, file: BinaryIO, watch: Watch
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from dispatcher.daemon.handlers import run_locally  # every room: only when it is needed

    def do(what: Any) -> None:
        run_locally(store, what, _envelope(tenant), SystemClock().epoch_ms())

    do(command)
    try:
        size = _spool(call.settings.data, command.import_id, file)
        do(EndImportBody(import_id=command.import_id, octets=size))
        row = run_import_locally(store, tenant, command.import_id, watch, **_bounds(call))
    except BaseException:
        with contextlib.suppress(CommandRefused):
            do(CancelImport(import_id=command.import_id))
        shutil.rmtree(import_folder(call.settings.data, command.import_id), ignore_errors=True)
        raise
    with store.snapshot() as view:
        return row, list_rejects(view, tenant, command.import_id, limit=SHOWN_REJECTS)


def _import_by_dispatcher(
    call: Call, tenant: int, command: OpenImport, file: BinaryIO, watch: Watch
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = import_folder(call.settings.data, command.import_id)
    folder.mkdir(parents=True, mode=0o770)
    (folder / BODY).touch(mode=0o660)
    try:
        call.do(command, tenant=tenant)  # from here on it is parsed as it arrives
    except (CommandRefused, NoAnswer):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        size = _spool(call.settings.data, command.import_id, file)
        call.do(EndImportBody(import_id=command.import_id, octets=size), tenant=tenant)
        while True:
            with call.reading() as view:
                row = import_json(view, tenant, command.import_id)
                assert row is not None
                if row["state"] in FINAL:
                    return row, list_rejects(view, tenant, command.import_id, limit=SHOWN_REJECTS)
            watch(row)
            time.sleep(LOOK_S)
    except (KeyboardInterrupt, OSError):
        with contextlib.suppress(CommandRefused, NoAnswer):
            call.do(CancelImport(import_id=command.import_id), tenant=tenant)
        raise


def _bounds(call: Call) -> dict[str, int]:
    return {"row_octets_max": call.settings.limits.import_line_octets_max}


def _spool(data: Path, import_id: int, file: BinaryIO) -> int:
    """The file into the import's folder, on disk when this returns; its size."""
    folder = import_folder(data, import_id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o770)
    with open(folder / BODY, "wb") as body:
        shutil.copyfileobj(file, body, 1 << 20)
        body.flush()
        os.fsync(body.fileno())
        size = body.tell()
    finish_body(folder, size)
    return size


# -- what a person sees ----------------------------------------------------------------------------------


class Watch:
    """A bar on a terminal's stderr; nothing elsewhere."""

    def __init__(self, data: Path, progress: Progress | None) -> None:
        self._data, self._progress = data, progress
        self._task = progress.add_task("import", total=1.0, rate="", rows="") if progress else None
        self._began = time.monotonic()

    def __call__(self, row: dict[str, Any], _: ImportStatistics | None = None) -> None:
        if self._progress is None or self._task is None:
            return
        rows, took = row["rows_read"], max(1e-3, time.monotonic() - self._began)
        share, rate = applied_share(self._data, row) or 0.0, rows / took
        self._progress.update(self._task, completed=share, rows=f"{rows:,} rows", rate=f"{rate:,.0f} rows/s")


@contextlib.contextmanager
def _bar(call: Call) -> Iterator[Watch]:
    console = Console(stderr=True)
    if call.json or not console.is_terminal:
        yield Watch(call.settings.data, None)
        return
    columns = (BarColumn(), TextColumn("{task.fields[rows]}  {task.fields[rate]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Watch(call.settings.data, progress)


def _show(call: Call, row: dict[str, Any], rejects: list[dict[str, Any]]) -> None:
    if call.json:
        call.show({**row, "rejects": rejects})
        return
    problem = f": {row['problem']['detail']}" if row["problem"] else ""
    click.echo(f"import {row['id']} {'(dry run) ' if row['dry_run'] else ''}{row['state']}{problem}")
    seconds = max(1, row["updated_ms"] - row["created_ms"]) / 1000
    click.echo(
        f"{row['rows_read']:,} rows: {row['members_imported']:,} new, {row['rows_updated']:,} changed, "
        f"{row['rows_rejected']:,} rejected, in {seconds:.1f} s"
    )
    if row["columns"]:
        click.echo("columns: " + ", ".join(f"{c['title']} -> {c['field']}" for c in row["columns"]))
    if row["ignored"]:
        click.echo("ignored columns: " + ", ".join(row["ignored"]))
    if row["points_ignored"]:
        click.echo(f"points of {row['points_ignored']:,} rows ignored: a balance comes with a new member only")
    for reject in rejects:
        where = f"line {reject['line']}" + (f", {reject['column']}" if reject["column"] else "")
        click.echo(f"  {where}: {reject['value']!r}: {reject['detail']} [{reject['code']}]")
    if row["rows_rejected"] > len(rejects):
        click.echo(f"  ... {row['rows_rejected'] - len(rejects):,} more: GET /v1/imports/{row['id']}/rejects")
