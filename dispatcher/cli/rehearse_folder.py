"""A rehearsal's scratch folder: one a tenant, on the store's own disk, and gone afterwards, whatever happened.

    DIR/rehearsals/1/    a data folder of its own, of tenant 1; who rehearses holds its lock

Touches: that folder. Rests on: flock(2), which ends with its process: a folder that nobody has locked is a leftover of
one that was killed, and goes at the next rehearsal or start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

from config import Endpoint, Settings
from config.load import FILE_NAME
from dispatcher.errors import CommandRefused, StoreFull

FOLDER = "rehearsals"
PART_OCTETS = (
    240  # of disk a part: the simulator's line 75, the outcome log 100, the ledger 30, and what LMDB rounds up
)
SPARE_OCTETS = 64 << 20  # left free
DRAIN_S = 0.5
HERE = "127.0.0.1"
NOT_HERE = (
    "password",
    "addresses",
    "outbind_listen",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_server_name",
    "tls_pin",
)


class Scratch:
    """As a context manager: the empty folder, and nothing left of it. Raises CommandRefused 409 while another rehearsal
    of the tenant has it."""

    def __init__(self, data: Path, tenant: int, *, keep: bool = False) -> None:
        self.folder, self._keep, self._lock = data / FOLDER / str(tenant), keep, -1
        Settings(data=self.folder)  # raises SettingError where the path of its socket would be too long

    def __enter__(self) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(self.folder)
        if self._lock < 0:
            raise CommandRefused(409, "rehearsal_running", "another rehearsal of this tenant is under way")
        for left in self.folder.iterdir():
            _remove(left)
        return self.folder

    def __exit__(self, *_: object) -> None:
        if not self._keep:
            _remove(self.folder)
        os.close(self._lock)
        with contextlib.suppress(OSError):  # others rehearse, or one was kept
            self.folder.parent.rmdir()


def sweep(data: Path) -> None:
    """Remove what rehearsals that were killed left, and what was kept."""
    for folder in (data / FOLDER).glob("*"):
        if (lock := _locked(folder)) >= 0:
            _remove(folder)
            os.close(lock)
    with contextlib.suppress(OSError):
        (data / FOLDER).rmdir()


def need_room(folder: Path, rows_octets: int, parts: int) -> None:
    """Raises StoreFull where the disk has no room for a copy of so much and what sending writes."""
    disk = os.statvfs(folder)
    free, needed = disk.f_bavail * disk.f_frsize, rows_octets + PART_OCTETS * parts
    if free < needed + SPARE_OCTETS:
        what = f"a rehearsal of {parts:,} parts needs {needed:,} octets beside the store, {free:,} are free"
        raise StoreFull(f"{what}: rehearse a smaller --share, or make room")


def write_settings(folder: Path, settings: Settings, port: int) -> None:
    """The same settings, and every endpoint is the simulator."""
    text = _table("[store]", replace(settings.store, data=".")) + _table(
        "[dispatcher]", replace(settings.dispatcher, drain_s=DRAIN_S)
    )
    for endpoint in settings.endpoints:
        text += _table("[[endpoint]]", here(endpoint, port))
    for route in settings.routes:
        text += _table("[[route]]", route)
    (folder / FILE_NAME).write_text(text, "utf-8")


def here(endpoint: Endpoint, port: int) -> Endpoint:
    """The endpoint with its window, binds, rates and dialect; its address and secrets are not the real ones."""
    plain: dict[str, Any] = {item.name: item.default for item in fields(Endpoint) if item.name in NOT_HERE}
    return replace(endpoint, **plain, host=HERE, port=port)


def _table(head: str, record: Any) -> str:
    """A frozen record as TOML: what differs from its defaults."""
    told = ((item.name, getattr(record, item.name)) for item in fields(record) if _differs(record, item))
    return f"{head}\n" + "".join(f"{name} = {_value(value)}\n" for name, value in told) + "\n"


def _differs(record: Any, item: Field[Any]) -> bool:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return bool(getattr(record, item.name) != default)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _locked(folder: Path) -> int:
    """A descriptor that holds its lock; -1 when somebody else does, or it just went."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return -1
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(folder)):
            return lock
    os.close(lock)
    return -1


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
