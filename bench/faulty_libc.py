"""A machine with faults for what is started on it: a clock that jumps, a disk that answers EIO; else the real calls."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class Faults:
    """What the C side reads at every call. `environment`: what a process is started with to have them."""

    def __init__(self, mapped: mmap.mmap, environment: dict[str, str]) -> None:
        self._mapped, self.environment = mapped, environment

    def shift_clock(self, seconds: int) -> None:
        self._mapped[0:8] = struct.pack("<q", seconds * 1_000_000_000)

    def fail_fdatasync(self, failing: bool) -> None:
        self._mapped[8:16] = struct.pack("<q", failing)


@contextmanager
def faulty_libc(folder: Path) -> Iterator[Faults]:
    """Processes started inside have the faults that its Faults says."""
    with faults_in(folder) as faults:
        os.environ.update(faults.environment)
        try:
            yield faults
        finally:
            for name in faults.environment:
                del os.environ[name]


@contextmanager
def faults_in(folder: Path) -> Iterator[Faults]:
    """For processes that are started with its environment."""
    library, place = folder / "faulty_libc.so", folder / "faults"
    cc = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)], check=True)
    place.write_bytes(bytes(16))
    with place.open("r+b") as file, mmap.mmap(file.fileno(), 16) as mapped:
        yield Faults(mapped, {"LD_PRELOAD": str(library), "FAULTY_LIBC": str(place)})
