"""volley import: members from a file, by the dispatcher when it runs, else here under the writer's lock.

Touches: the file, the import's folder in the data folder, the control socket or the store. `volley import FILE` and
the verbs on an import (import_verbs.py) share one word: a first argument that is no verb is the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.cli.import_shown import Watch, bar, show_import
from dispatcher.cli.import_verbs import SHOWN_REJECTS, VERBS, bounds, follow
from dispatcher.cli.local_import import run_import_locally
from dispatcher.cli.talk import NoAnswer
from dispatcher.clock import SystemClock
from dispatcher.control.commands import CancelImport, EndImportBody, Envelope, OpenImport
from dispatcher.errors import CommandRefused, StoreLocked
from dispatcher.members.import_files import BODY, finish_body, import_folder
from dispatcher.members.importer import MODES, list_rejects
from dispatcher.members.parse_found import FORMATS
from dispatcher.members.parse_unpack import COMPRESSIONS
from dispatcher.records.keys import new_id
from dispatcher.store import Store, open_store

EPILOG = """\b
  volley import members.csv
  volley import kunden.csv.gz --map Tel=phone --dry-run, then volley import commit imp_...
  volley import list | status ID | rejects ID | commit ID | undo ID | cancel ID
"""


@click.command("import", epilog=EPILOG)
@click.argument("file", type=click.File("rb"))
@click.option("--mode", type=click.Choice(MODES), default="upsert", show_default=True, help="What a row may do.")
@click.option("--map", "pairs", multiple=True, metavar="COLUMN=FIELD", help="A column whose title is no field's name.")
@click.option("--mapping", type=click.File("rb"), help='JSON: {"column": "field" or {"field", "date_format", ...}}.')
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Found out when not given.")
@click.option("--compression", type=click.Choice(COMPRESSIONS), help="Found out when not given.")
@click.option("--charset", default="", help="utf-8, gb18030, utf-16, latin-1, ...; found out when not given.")
@click.option("--delimiter", default="", help="Found out when not given.")
@click.option("--dry-run", is_flag=True, help="Count what would be new, changed and rejected; change nothing.")
@of_tenant
@common
def import_file(
    call: Call,
    tenant: str | None,
    file: BinaryIO,
    mode: str,
    pairs: tuple[str, ...],
    mapping: BinaryIO | None,
    kind: str | None,
    compression: str | None,
    charset: str,
    delimiter: str,
    dry_run: bool,
) -> int:
    """Import members from FILE: CSV, NDJSON or Parquet, plain, gzip or zstd (- is stdin).

    Numbers go to the column phone, msisdn, mobile or number; other columns go to the field of the same
    name or label. A number that is known is updated by the cells that are not empty; tags join the ones that are
    there, and take their place with --mode replace_tags.
    """
    number = call.tenant(tenant)
    import_id = new_id(SystemClock().epoch_ms(), random.getrandbits(16))
    name = Path(str(file.name)).name if file is not sys.stdin.buffer else ""
    command = OpenImport(
        import_id=import_id,
        mode=mode,
        mapping=_mapping(pairs, mapping),
        dry_run=dry_run,
        format=kind or "",
        compression=compression or "",
        charset=charset,
        delimiter=delimiter,
        filename=name,
    )
    with bar(call) as watch:
        try:
            with open_store(call.settings.data, write=True, sync=call.settings.store.sync) as store:
                row, rejects = _import_here(call, store, number, command, file, watch)
        except StoreLocked:
            row, rejects = _import_by_dispatcher(call, number, command, file, watch)
    show_import(call, row, rejects)
    return 0 if row["state"] == "done" else 1


class ImportGroup(click.Group):
    """`volley import VERB ...`, or `volley import FILE ...`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return import_file.make_context(info_name, args, parent, **extra)


import_command = ImportGroup("import", commands=VERBS, help=import_file.help)


def _mapping(pairs: tuple[str, ...], file: BinaryIO | None) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    if file is not None:
        try:
            mapping = json.load(file)
        except ValueError as exc:
            raise click.UsageError(f"--mapping {file.name}: not JSON: {exc}") from exc
        if not isinstance(mapping, dict):
            raise click.UsageError(f"--mapping {file.name}: an object of column to field")
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
        row = run_import_locally(store, tenant, command.import_id, watch, **bounds(call))
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
        row = follow(call, tenant, command.import_id, watch)
    except (KeyboardInterrupt, OSError):
        with contextlib.suppress(CommandRefused, NoAnswer):
            call.do(CancelImport(import_id=command.import_id), tenant=tenant)
        raise
    with call.reading() as view:
        return row, list_rejects(view, tenant, command.import_id, limit=SHOWN_REJECTS)


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
