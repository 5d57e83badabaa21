"""volley verify, volley doctor: is what is stored sound, and is this machine fit for it."""

from __future__ import annotations

import importlib
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import dispatcher
from config import Settings
from dispatcher.cli.common import Call, common
from dispatcher.errors import DispatcherError
from dispatcher.store import care, open_store
from dispatcher.store.disk import file_system, sync_times_ms

SLOW_SYNC_MS = 20.0  # a commit every 20 ms still moves claim_credit x 50 / 3 parts a second (DESIGN 6)
FREE_OCTETS_MIN = 1 << 30
READER_BEHIND = 10_000  # commits: at 200 a second most of a minute, so a backup or something that hangs
OLDEST_CLOCK_S = 1_760_000_000  # this program is not older than that
MARKS = {True: ("ok  ", "green"), False: ("BAD ", "red"), None: ("note", None)}


@click.command("verify")
@common
def verify_command(call: Call) -> int:
    """Walk the store and the files of archives; exit status 1 when something does not add up.

    Each problem names its rule, its place and what was found: of an archive the file, and whether it is missing or
    damaged. The index of message_ids is made anew from the log, and each id that awaits a receipt looked up in it.
    Reads only, also beside a running dispatcher.
    """
    from dispatcher.daemon.verify_ids import live_ids_are_found_once
    from dispatcher.store.verify import verify

    with call.reading() as view:
        found: dict[str, Any] = verify(view, call.settings.data, [live_ids_are_found_once])
    problems = found["problems"]
    counts = "".join(f"\n  {name:20} {n:>14,}" for name, n in found.get("tables", {}).items())
    said = "".join(f"\n  {problem}" for problem in problems)
    call.show(found, f"{len(problems)} problems{said}{counts}")
    return 1 if problems else 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: `ok` None means worth knowing, neither good nor bad."""

    name: str
    ok: bool | None
    said: str


@click.command("doctor")
@common
def doctor_command(call: Call) -> int:
    """Look at the kernels, the data folder, the disk, the clock, the ports; exit status 1 when one is unfit."""
    findings = [finding for check in CHECKS for finding in check(call.settings)]
    if call.json:
        call.show_rows([], [{"name": f.name, "ok": f.ok, "said": f.said} for f in findings])
    else:
        for f in findings:
            word, colour = MARKS[f.ok]
            click.echo(f"{click.style(word, fg=colour)} {f.name:14} {f.said}")
    return 1 if any(f.ok is False for f in findings) else 0


def kernels(settings: Settings) -> Iterator[Finding]:
    """Every `_*.pyx` beside the code has its compiled module."""
    root = Path(dispatcher.__file__).parent
    names = [".".join(("dispatcher", *p.relative_to(root).with_suffix("").parts)) for p in sorted(root.rglob("_*.pyx"))]
    unfit = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as exc:  # whatever it is, it is what the dispatcher would end with
            unfit.append(f"{name} ({exc})")
    if unfit:
        yield Finding("kernels", False, f"{'; '.join(unfit)}: `make build`, or `pip install .` again")
    else:
        yield Finding("kernels", True, f"{len(names)} load")
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])


def folder(settings: Settings) -> Iterator[Finding]:
    """The data folder takes writes, has a store that opens, and its disk syncs in reasonable time."""
    place = settings.data
    try:
        took_ms = sync_times_ms(place)
    except OSError as exc:
        yield Finding("data folder", False, f"{place} cannot be written: {exc}")
        return
    yield Finding("data folder", True, str(place))
    p50 = statistics.median(took_ms)
    kind = file_system(place)
    if kind == "tmpfs":
        yield Finding("fdatasync", None, f"p50 {p50:.3f} ms on tmpfs: nothing here survives a power cut")
    else:
        yield Finding(
            "fdatasync", p50 <= SLOW_SYNC_MS, f"p50 {p50:.2f} ms, slowest of {len(took_ms)} {max(took_ms):.2f} ms"
        )
    try:
        with open_store(place) as store:
            yield Finding("store", True, f"{store.size_octets():,} octets in use")
    except DispatcherError as exc:
        yield Finding("store", False, str(exc))


def disk(settings: Settings) -> Iterator[Finding]:
    """Room left on the disk and in the store, against the limits of [store]; who reads the store for long."""
    try:
        with open_store(settings.data) as store:
            found = care.look(store, settings.store)
    except DispatcherError:
        return  # folder() has told it
    said = f"{found.disk_free_octets / (1 << 30):.1f} GiB free, {found.disk_percent:.0f} % used"
    if found.store_percent is not None:
        said += f"; the store takes {found.store_percent:.0f} % of store_max_octets"
    if found.state == care.FULL:
        yield Finding("disk", False, f"{said}: new work is refused ({found.said})")
    elif found.state == care.ALARM or found.disk_free_octets < FREE_OCTETS_MIN:
        yield Finding("disk", None, f"{said}: little" + (f" ({found.said})" if found.said else ""))
    else:
        yield Finding("disk", True, said)
    behind = f", the oldest {found.reader_behind:,} commits behind" if found.readers else ""
    late = found.reader_behind > READER_BEHIND
    yield Finding("readers", None if late else True, f"{found.readers} transactions open{behind}")


def clock(settings: Settings) -> Iterator[Finding]:
    """Ids and times are taken from the wall clock; one that runs behind what is stored makes ids go back."""
    now_s = time.time()
    store = settings.data / "store" / "data.mdb"
    written_s = store.stat().st_mtime if store.exists() else 0.0
    if now_s < max(OLDEST_CLOCK_S, written_s - 1):
        yield Finding("clock", False, f"{_utc(now_s)} is before the store's last write; set the clock first")
    else:
        yield Finding("clock", True, _utc(now_s))


def ports(settings: Settings) -> Iterator[Finding]:
    """The API's port is free or ours; each SMSC takes a connection."""
    running = (settings.data / "run.json").exists()
    family = socket.AF_INET6 if ":" in settings.api.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.api.host, settings.api.port))
            yield Finding("api port", True, f"{settings.api.port} is free")
        except OSError as exc:
            yield Finding("api port", None if running else False, f"{settings.api.port}: {exc.strerror or exc}")
    if not settings.endpoints:
        yield Finding("endpoint", None, "none set: nothing can be sent")
    for endpoint in settings.endpoints:
        try:
            socket.create_connection((endpoint.host, endpoint.port), timeout=2.0).close()
            yield Finding("endpoint", True, f"{endpoint.name}: {endpoint.host}:{endpoint.port} takes connections")
        except OSError as exc:
            said = f"{endpoint.name}: {endpoint.host}:{endpoint.port}: {exc.strerror or exc}"
            yield Finding("endpoint", None, f"{said} (its SMSC may be down for now)")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (kernels, folder, disk, clock, ports)


def _utc(now_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
