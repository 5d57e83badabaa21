"""volley export: members who match, as a file.

Touches: the store, read-only, a block a snapshot; command export.note before the first octet; the file it writes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dispatcher.cli.common import Call, common, of_tenant
from dispatcher.clock import SystemClock
from dispatcher.control.commands import NoteExport
from dispatcher.store import open_store


@click.command("export")
@click.argument("expression", default="everyone", metavar="[EXPR]")
@click.option("--format", type=click.Choice(["csv", "ndjson", "parquet"]), default="csv", show_default=True)
@click.option("--fields", default="", metavar="NAME,...", help="In this order; every field unless given.")
@click.option("--masked", is_flag=True, help="Hide what tells who somebody is.")
@click.option("--reason", default="", help="What for; needed with pii fields that are not masked. In the audit log.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; else stdout.")
@of_tenant
@common
def export_command(
    call: Call, tenant: str | None, expression: str, format: str, fields: str, masked: bool, reason: str,
    output: Path | None,
) -> None:  # fmt: skip
    """Members whom EXPR matches (everyone unless given), a row each; what is written can be imported again.

    Example: volley export 'tier = "gold"' --fields phone,name,points --reason "mailing of May" -o gold.csv
    """
    from dispatcher.members.export import Export, audit_reason
    from dispatcher.segments.plan import compile_text
    from dispatcher.segments.select import select

    number = call.tenant(tenant)
    output = None if output == Path("-") else output
    if output is None and format == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: give -o FILE")
    names = [name.strip() for name in fields.split(",") if name.strip()]
    began = time.monotonic()
    with call.reading() as view:
        export = Export(view, number, names, format, masked=masked)
        export.need_reason(reason)
        compiled = compile_text(view, number, expression, as_of_ms=SystemClock().epoch_ms())
        blocks = list(select(view, number, compiled))
    note = NoteExport(expr=compiled.text, fields=[field.name for field in export.fields], format=format, masked=masked)
    call.do(note, tenant=number, reason=audit_reason(reason, note))
    total = sum(count for _, _, count in blocks)
    if output is None:
        octets = _write(sys.stdout.buffer, _pieces(call, export, blocks), export, total)
    else:
        part = output.with_name(output.name + ".part")  # a file of the name is whole
        try:
            with part.open("wb") as file:
                octets = _write(file, _pieces(call, export, blocks), export, total)
            os.replace(part, output)
        finally:
            part.unlink(missing_ok=True)
    seconds = time.monotonic() - began
    record = {"members": export.members, "octets": octets, "file": str(output or "-"), "seconds": round(seconds, 3)}
    if output is not None:
        call.show(record, f"{export.members:,} members, {octets:,} octets in {seconds:.1f} s: {output}")
    elif call.json:
        click.echo(json.dumps(record), err=True)


def _pieces(call: Call, export: Any, blocks: list[Any]) -> Iterator[bytes]:
    yield export.head()
    with open_store(call.settings.data) as store:
        for block, bitmap, _ in blocks:
            with store.snapshot() as view:
                yield export.block(view, block, bitmap)
    yield export.tail()


def _write(file: BinaryIO, pieces: Iterator[bytes], export: Any, total: int) -> int:
    """Octets written, with a bar on stderr."""
    octets = 0
    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False, emoji=False), transient=True) as bar:
        task = bar.add_task("", total=total)
        for piece in pieces:
            octets += file.write(piece)
            bar.update(task, completed=export.members)
    file.flush()
    return octets
