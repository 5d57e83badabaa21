"""volley backup DIR, volley backup verify DIR, volley restore DIR: the store kept elsewhere, and brought back.

Touches: the store, read-only, beside a running dispatcher or without one; the backup's folder; a new data folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import lmdb
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from config import Settings
from dispatcher.cli.common import Call, common
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, Envelope, NoteBackup
from dispatcher.daemon.sharing import sending
from dispatcher.errors import DispatcherError
from dispatcher.store import Store, open_store
from dispatcher.store.backup import (
    BESIDE_OCTETS_S,
    GROWTH_OCTETS_MAX,
    Pace,
    check_file,
    check_folder,
    open_copy,
    read_manifest,
    write_backup,
)
from dispatcher.store.courtesy import give_way
from dispatcher.store.layout import SCHEMA

MB = 1_000_000
FOLDER = click.Path(path_type=Path, file_okay=False)

EPILOG = """\b
  volley backup /backup/monday              beside a running dispatcher, or without one
  volley backup /backup/monday --max-mb-s 100
  volley backup verify /backup/monday
  volley restore /backup/monday --data /srv/volley-new
"""


@click.command("backup", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--max-mb-s",
    type=click.FloatRange(0.1),
    help=f"Go no faster, in MB/s: a slow disk is shared.  [default: {BESIDE_OCTETS_S // MB} while messages are sent]",
)
@click.option(
    "--growth-max-mb",
    type=click.IntRange(1),
    help="Give up when the store grows more than this meanwhile: what it lets go is held back for so long.  "
    f"[default: {GROWTH_OCTETS_MAX // MB}, or half of the store]",
)
@click.option("--hurry", is_flag=True, help="As fast as it goes: do not give way to those who send.")
@click.option("--reason", default="", help="Kept in the audit log.")
@common
def write_command(
    call: Call, folder: Path, max_mb_s: float | None, growth_max_mb: int | None, hurry: bool, reason: str
) -> None:
    """Copy the store, as of one moment, into DIR, which must be new or empty; sending goes on.

    DIR has data.mdb and manifest.json. Not in it: volley.toml, the files of imports that are not done, exports, logs.
    It holds members' data and the keys' hashes: keep it as you keep the store. A line in the audit says who took it.
    """
    folder = folder.absolute()
    check_folder(folder)
    if not hurry:
        give_way()
    try:
        call.do(NoteBackup(folder=str(folder)), tenant=0, reason=reason)
    except (DispatcherError, OSError, lmdb.Error) as exc:  # a full disk, a dispatcher of another version: no hindrance
        click.echo(f"not in the audit: {exc}", err=True)
    with bar("copying") as (progress, say), open_store(call.settings.data) as store:
        pace = Pace(int((max_mb_s or 0) * MB), (growth_max_mb or 0) * MB, progress=progress, warn=say)
        if not hurry:
            pace.sending = lambda: _sending(call)
        manifest = write_backup(store, folder, SystemClock().epoch_ms(), pace)
    call.show({"backup": str(folder), **manifest}, _line(folder, manifest))


def _sending(call: Call) -> bool:
    """Whether a dispatcher on this folder sends at a rate that a backup would be felt at."""
    try:
        status = ask(call.settings, AskStatus(), Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms()))
    except (DispatcherError, OSError):
        return False
    return status is not None and sending(status["rates"]["submits_per_s"])


@click.command("verify", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--quick", is_flag=True, help="The file's sum only, not what is in it.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def verify_command(folder: Path, quick: bool, as_json: bool) -> int:
    """Whether DIR is a whole backup: its sum, its counts, and all that `volley verify` looks at. Status 1 if not."""
    manifest = read_manifest(folder)
    with bar("reading") as (progress, say):
        check_file(folder, manifest, progress)
        if not quick:
            say("the file is as it was written; looking at what is in it")
        problems = [] if quick else _problems(folder, manifest)
    said = "".join(f"\n  {problem}" for problem in problems)
    record = {"backup": str(folder), **manifest, "problems": problems}
    Call(Settings(data=folder), as_json).show(record, f"{_line(folder, manifest)}\n{len(problems)} problems{said}")
    return 1 if problems else 0


@click.command("restore", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--data", required=True, metavar="NEW", type=FOLDER, help="The data folder to make: new or empty.")
@click.option("--yes", is_flag=True, help="What a restore means is known; do it.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def restore_command(folder: Path, data: Path, yes: bool, as_json: bool) -> int:
    """Make the data folder NEW of the backup DIR, with everything held that would act by itself.

    Without --yes it says what that means and does nothing (exit status 2).
    """
    from dispatcher.daemon.backup import check_target, meaning, restore  # every room: only when it is needed

    data = data.absolute()
    manifest = read_manifest(folder)
    check_target(data)
    Settings(data=data)  # a path too long for the control socket is refused before anything is made
    if not yes:
        click.echo(meaning(manifest), err=True)
        raise click.UsageError("nothing was done; with --yes it will be")
    began = time.monotonic()
    with bar("restoring") as (progress, _):
        restored = restore(folder, data, SystemClock().epoch_ms(), progress)
    with open_store(data) as store:
        problems = _found(store)
    record = {"data": str(data), **asdict(restored), "problems": problems, "took_s": round(time.monotonic() - began, 3)}
    said = "".join(f"\n  {problem}" for problem in problems)
    Call(Settings(data=data), as_json).show(
        record,
        f"{meaning(manifest)}\n\n{data}: {restored.paused:,} campaigns paused, {restored.drafts:,} drafts again, "
        f"{restored.uncertain:,} recipients uncertain, {restored.messages_withdrawn:,} messages withdrawn, "
        f"{restored.imports_failed:,} imports failed; {len(problems)} problems{said}",
    )
    return 1 if problems else 0


class BackupGroup(click.Group):
    """`volley backup verify DIR`, or `volley backup DIR`: a first argument that is no verb is the folder."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return write_command.make_context(info_name, args, parent, **extra)


backup_command = BackupGroup("backup", commands={"verify": verify_command}, help=write_command.help)


@contextmanager
def bar(word: str) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """A bar on stderr: (progress(done, total), say(a line above it))."""
    columns = (
        TextColumn(word),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True, highlight=False, emoji=False), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield (
            lambda done, total: shown.update(task, completed=done, total=total),
            lambda text: shown.console.print(text, markup=False),
        )


def _problems(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """What does not add up in a backup's file: its counts by the manifest, then every check of this version."""
    with open_copy(folder) as store:
        with store.snapshot() as view:
            counts = {table: view.count(table) for table in view.tables}
        told = manifest["tables"]
        problems = [
            f"table {table}: {counts.get(table, 0):,} rows, the manifest says {told.get(table, 0):,}"
            for table in sorted({*counts, *told})
            if counts.get(table, 0) != told.get(table, 0)
        ]
        return problems if manifest["schema"] < SCHEMA else problems + _found(store)


def _found(store: Store) -> list[str]:
    from dispatcher.store.verify import verify

    with store.snapshot() as view:
        found: list[str] = verify(view, store.folder)["problems"]
    return found


def _line(folder: Path, manifest: dict[str, Any]) -> str:
    tables = manifest["tables"]
    room = manifest.get("room_octets", manifest["octets"])  # not in those of LMDB's own copy
    return (
        f"{folder}: {manifest['octets'] / MB:,.1f} MB that take {room / MB:,.1f} as of {manifest['at']}, schema "
        f"{manifest['schema']}, {tables.get('phones', 0):,} numbers, {tables.get('campaigns', 0):,} campaigns, "
        f"outcome log to {manifest['outcome_log_position']:,}"
    )
