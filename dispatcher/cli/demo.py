"""volley demo: its options, its folder and its end; the run itself is in demo_run.py.

Touches: a data folder of its own, made and removed. The last line of stdout is one JSON object, whatever happens.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from dispatcher.cli.demo_report import Report
from dispatcher.cli.demo_run import Demo, Options
from dispatcher.errors import DispatcherError

SCRATCH = Path("/var/tmp")  # on a disk, where /tmp may be memory (FHS 5.15): the figures are those of real syncs


def _host_port(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise click.BadParameter(f"{value!r}: HOST:PORT, such as 127.0.0.1:2775")
    return host.strip("[]"), int(port)


@click.command("demo")
@click.option("--members", type=click.IntRange(100), default=1_000_000, show_default=True, metavar="N")
@click.option("--seed", type=click.IntRange(0), default=2, show_default=True, help="The same seed, the same members.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="An empty folder, or one to be made.")
@click.option("--keep", is_flag=True, help="Leave the data folder, and say how to look into it.")
@click.option("--no-kill", is_flag=True, help="Let the dispatcher live.")
@click.option("--kills", type=click.IntRange(0, 50), default=2, show_default=True, metavar="K", help="So many kill -9.")
@click.option("--smsc", callback=_host_port, metavar="HOST:PORT", help="Send to this SMSC instead of the simulator.")
@click.option("--system-id", default="volley", show_default=True)
@click.option("--password", default="volley", show_default=True)
@click.option("--smsc-log", type=click.Path(path_type=Path, dir_okay=False), help="Its log, as `volley smsc --log`.")
@click.option("--purpose", type=click.Choice(["marketing", "transactional"]), default="marketing", show_default=True)
@click.option("--binds", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--window", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option(
    "--rate", type=click.IntRange(0), metavar="R",
    help="Parts a second, 0: no limit. Unless given: no limit from 200,000 recipients on, below that audience / 10 s.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on stdout; the rest on stderr.")
def demo_command(no_kill: bool, kills: int, data: Path | None, keep: bool, as_json: bool, **rest: Any) -> int:
    """A million members, one broadcast, approved, stopped for some, killed twice, and every message accounted for.

    The last line of stdout is one JSON object; the exit status is 0 only when its `ok` is true. Its msgs_per_s is over
    the time from the start to the last acceptance, less the restarts. A run that went wrong leaves its data folder.
    """
    began = time.monotonic()
    options = Options(kills=0 if no_kill else kills, **rest)
    if options.smsc_log and not options.smsc:
        raise click.UsageError("--smsc-log is the log of the SMSC that --smsc names")
    report = Report(as_json)
    with _ended_by_sigterm(), _folder(data) as (folder, leave):
        demo = Demo(options, folder, report, began)
        try:
            result = demo.run()
        except DispatcherError as exc:
            report.bad(str(exc))
            demo.figures.troubles.append(str(exc))
            result = demo.figures.result(cut_short=True)
        if not result["ok"]:
            demo.autopsy()
        if keep or (not result["ok"] and demo.has_store):
            leave()
            demo.how_to_look()
    click.echo(json.dumps(result))
    return 0 if result["ok"] else 1


@contextmanager
def _folder(wanted: Path | None) -> Iterator[tuple[Path, Callable[[], None]]]:
    """An empty folder, and a call that lets it stay; else it is removed, or emptied where it was there before."""
    was_there = wanted is not None and wanted.exists()
    if wanted is None:
        parent = None if tempfile.gettempdir() != "/tmp" or not SCRATCH.is_dir() else SCRATCH
        folder = Path(tempfile.mkdtemp(prefix="volley-demo-", dir=parent))
    else:
        folder = wanted.absolute()
        if was_there and any(folder.iterdir()):
            raise click.UsageError(f"--data {wanted}: is not empty; the demo wants a folder for itself")
        folder.mkdir(parents=True, exist_ok=True)
    stays = False

    def leave() -> None:
        nonlocal stays
        stays = True

    try:
        yield folder, leave
    finally:
        if not stays:
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if not was_there:
                folder.rmdir()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, with its children."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
