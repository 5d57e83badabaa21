"""volley import list, status, rejects, commit, undo, cancel: one import after its file was taken.

Touches: the control socket or the store, read-only for what only shows.
"""

from __future__ import annotations

import csv
import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.import_shown import Watch, bar, show_import, show_undo
from dispatcher.cli.local_import import run_import_locally
from dispatcher.clock import SystemClock
from dispatcher.control.commands import CancelImport, CommitImport, Envelope, UndoImport
from dispatcher.errors import StoreLocked
from dispatcher.members.import_files import import_folder
from dispatcher.members.importer import FINAL, import_json, keeps_body, list_imports, list_rejects, need_import
from dispatcher.store import open_store

LOOK_S = 0.1  # how often a dispatcher's work is looked at
SHOWN_REJECTS = 10
REJECTS_AT_ONCE = 5_000
COLUMNS = ("line", "column", "value", "code", "hint", "detail")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # PITFALLS 4: cells that a spreadsheet would run
LISTED = (
    "id",
    "state",
    "filename",
    "mode",
    "dry_run",
    "rows_read",
    "members_imported",
    "rows_updated",
    "rows_rejected",
)


@click.command("list", epilog="volley import list --limit 5 --json")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest so many.")
@of_tenant
@common
def list_command(call: Call, tenant: str | None, limit: int) -> int:
    """Imports, the newest first."""
    number = call.tenant(tenant)
    with call.reading() as view:
        call.show_rows(LISTED, list_imports(view, number, limit=limit))
    return 0


def verb(name: str, example: str) -> Callable[[Callable[..., int]], click.Command]:
    """A verb about one import: called with the tenant's number and the import's."""

    def made(function: Callable[..., int]) -> click.Command:
        @click.command(name, epilog=example)
        @click.argument("import_id", metavar="ID")
        @of_tenant
        @common
        @functools.wraps(function)
        def run(call: Call, tenant: str | None, import_id: str, **options: Any) -> int:
            return function(call, call.tenant(tenant), id_of("imp", import_id, "ID"), **options)

        return run

    return made


@verb("status", "volley import status imp_01J...")
def status_command(call: Call, number: int, which: int) -> int:
    """How far an import or its undo is, and what it did."""
    with call.reading() as view:
        need_import(view, number, which)
        row = import_json(view, number, which)
    assert row is not None
    if row.get("undo") and not call.json:
        show_undo(call, row)
    elif row.get("kind"):  # a bulk edit
        call.show(row)
    else:
        _show_with_rejects(call, number, which, row)
    return 0


@verb("rejects", "volley import rejects imp_01J... > rejects.csv")
def rejects_command(call: Call, number: int, which: int) -> int:
    """Every row that was not taken, as CSV (with --json one object a line); safe to open in a spreadsheet."""
    writer = csv.writer(sys.stdout)
    if not call.json:
        writer.writerow(COLUMNS)
    line = 0
    while True:
        with call.reading() as view:
            rows = list_rejects(view, number, which, after_line=line, limit=REJECTS_AT_ONCE)
        if not rows:
            return 0
        line = rows[-1]["line"]
        for row in rows:
            if call.json:
                click.echo(json.dumps(row, ensure_ascii=False))
            else:
                writer.writerow([_cell(row.get(name)) for name in COLUMNS])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


@verb("commit", "volley import commit imp_01J...")
def commit_command(call: Call, number: int, which: int) -> int:
    """Do what a dry run has shown, with the file it was shown for (kept 24 hours)."""
    row = _run(call, number, which, CommitImport(import_id=which))
    _show_with_rejects(call, number, which, row)
    return 0 if row["state"] == "done" else 1


@verb("undo", "volley import undo imp_01J...")
@click.option("--skip-changed", is_flag=True, help="Undo the others although later changes touched some.")
def undo_command(call: Call, number: int, which: int, skip_changed: bool) -> int:
    """Give every member the values from before; all of it or, when later changes are in the way, nothing (7 days)."""
    row = _run(call, number, which, UndoImport(import_id=which, skip_changed=skip_changed))
    show_undo(call, row)
    return 0 if row["state"] == "undone" else 1


@verb("cancel", "volley import cancel imp_01J...")
def cancel_command(call: Call, number: int, which: int) -> int:
    """Stop an import; what was applied stays, and undo takes it back. Of a dry run the kept file goes."""
    reply = call.do(CancelImport(import_id=which), tenant=number)
    with call.reading() as view:
        kept = keeps_body(need_import(view, number, which), SystemClock().epoch_ms())
    if not kept:
        shutil.rmtree(import_folder(call.settings.data, which), ignore_errors=True)
    call.show(reply, f"import {reply['id']} {reply['state']}")
    return 0


def _show_with_rejects(call: Call, tenant: int, import_id: int, row: dict[str, Any]) -> None:
    with call.reading() as view:
        rejects = list_rejects(view, tenant, import_id, limit=SHOWN_REJECTS)
    show_import(call, row, rejects)


def _run(call: Call, tenant: int, import_id: int, command: Any) -> dict[str, Any]:
    """The command and the work it begins, by the dispatcher when it runs, else here; the row in the end."""
    from dispatcher.daemon.handlers import run_locally  # every room: only when it is needed

    with bar(call) as watch:
        try:
            with open_store(call.settings.data, write=True, sync=call.settings.store.sync) as store:
                now_ms = SystemClock().epoch_ms()
                run_locally(store, command, Envelope(tenant=tenant, actor="cli", at_ms=now_ms), now_ms)
                return run_import_locally(store, tenant, import_id, watch, **bounds(call))
        except StoreLocked:
            call.do(command, tenant=tenant)
            return follow(call, tenant, import_id, watch)


def follow(call: Call, tenant: int, import_id: int, watch: Watch) -> dict[str, Any]:
    """Look on while a dispatcher works on it; the row in the end."""
    while True:
        with call.reading() as view:
            row = import_json(view, tenant, import_id)
        assert row is not None
        if row["state"] in FINAL:
            return row
        watch(row)
        time.sleep(LOOK_S)


def bounds(call: Call) -> dict[str, int]:
    return {"row_octets_max": call.settings.limits.import_line_octets_max}


VERBS: dict[str, click.Command] = {
    command.name: command
    for command in (list_command, status_command, rejects_command, commit_command, undo_command, cancel_command)
    if command.name
}
