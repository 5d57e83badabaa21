"""`volley route load-ported | undo-ported | ported`: the table of ported numbers, loaded, turned back, shown.

Touches: the file, a spool in the data folder, the control socket or the store under the writer's lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from dispatcher.cli.common import Call, common
from dispatcher.cli.talk import ask, send
from dispatcher.clock import SystemClock, rfc3339
from dispatcher.control.commands import Envelope, TurnPorted, UndoPorted
from dispatcher.errors import StoreLocked
from dispatcher.routes.ported import (
    READ_OCTETS,
    Ported,
    Read,
    Reader,
    before_ported,
    get_ported,
    write_all,
    wrong_lines,
)
from dispatcher.store import open_store

SHOWN = 10  # lines of those that are wrong


@click.command("load-ported")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Read the file and say what is wrong; change nothing.")
@common
def load_command(call: Call, file: Path, dry_run: bool) -> int:
    """Load the table of ported numbers from lines `number,network`, in place of what was there.

    Lines that cannot be read are passed over, counted, and kept to be shown (the first thousand); exit status 1 when
    there are any. The table before stays: undo-ported turns back to it. 16 octets of memory a line.

    \b
    volley route load-ported ported.csv
    volley route load-ported ported.csv --dry-run --json
    volley route undo-ported
    """
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[told]}")
    with Progress(*columns, transient=True, disable=call.json) as progress:
        task = progress.add_task("reading", total=file.stat().st_size, told="")
        reader = Reader()
        for some in _octets(file):
            reader.feed(some)
            progress.update(task, completed=reader.octets, told=f"{reader.lines:,} lines, {reader.rejected:,} wrong")
        read = reader.finish()
        if not dry_run:
            spool = call.settings.data / f"ported.{os.getpid()}.spool"
            try:
                spool.write_bytes(read.entries)
                progress.update(task, description="writing", total=None)
                _turn(call, turning(read, file.name, spool), read.entries)
            finally:
                spool.unlink(missing_ok=True)
    if call.json:
        click.echo(json.dumps(read.as_json(file.name) | {"dry_run": dry_run}, ensure_ascii=False))
    else:
        told = ", nothing is changed (--dry-run)" if dry_run else ""
        click.echo(f"{read.count:,} ported numbers, {len(read.networks)} networks{told}")
        for one in read.wrong[:SHOWN]:
            click.echo(f"{file.name}: {one}", err=True)
        if read.rejected > SHOWN:
            click.echo(f"{read.rejected:,} lines are wrong in all: volley route ported --wrong", err=True)
    return int(bool(read.rejected))


@click.command("undo-ported")
@common
def undo_command(call: Call) -> None:
    """Use the table of ported numbers from before the last load again; a second time: the loaded one.

    \b
    volley route undo-ported
    volley route undo-ported --json
    """
    reply = send(call.settings, UndoPorted(), _envelope())
    click.echo(json.dumps(reply) if call.json else f"in use again: {_line(Ported(**reply | {'networks': ()}))}")


@click.command("ported")
@click.option("--wrong", is_flag=True, help="The lines of its file that could not be read, the first thousand.")
@common
def show_command(call: Call, wrong: bool) -> None:
    """Which table of ported numbers is in use, and which one undo turns to.

    \b
    volley route ported
    volley route ported --wrong --json
    """
    with call.reading() as view:
        now, before, lines = get_ported(view), before_ported(view), wrong_lines(view)
    if wrong:
        call.show_rows(("line", "field", "value", "rule"), [{"file": now.file, **asdict(one)} for one in lines])
    elif call.json:
        click.echo(json.dumps(now.as_json() | {"before": None if before is None else before.as_json()}))
    else:
        click.echo(f"in use: {_line(now)}")
        if before is not None:
            click.echo(f"undo turns to: {_line(before)}")


def turning(read: Read, file: str, spool: Path) -> TurnPorted:
    """The command for what was read, its entries spooled."""
    wrong = [[one.line, one.field, one.value, one.rule] for one in read.wrong]
    return TurnPorted(
        count=read.count, networks=read.networks, file=file, spool=spool.name, lines=read.lines,
        rejected=read.rejected, wrong=wrong,
    )  # fmt: skip


def _turn(call: Call, command: TurnPorted, entries: bytearray) -> None:
    """By the running dispatcher, or here under the writer's lock."""
    if ask(call.settings, command, _envelope()) is not None:
        return
    try:
        with open_store(call.settings.data, write=True) as store:
            write_all(store, entries)
    except StoreLocked:
        raise click.ClickException("a dispatcher is just starting or stopping: try again") from None
    send(call.settings, command, _envelope())


def _envelope() -> Envelope:
    return Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms())


def _octets(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while some := stream.read(READ_OCTETS):
            yield some


def _line(ported: Ported) -> str:
    if not ported.count:
        return "none"
    loaded = f"loaded {rfc3339(ported.at_ms)}, {ported.rejected:,} lines wrong"
    return f"{ported.count:,} ported numbers of {ported.file}, {loaded}"
