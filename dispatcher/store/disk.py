"""The disk of a folder: what one small durable write costs there, and its file system. For benches and check."""

from __future__ import annotations

import os
import time
from pathlib import Path

SYNCS = 50
SYNC_OCTETS = 16_384  # of a small commit


def sync_times_ms(folder: Path) -> list[float]:
    """Milliseconds of each of SYNCS writes with their fdatasync. Raises OSError where the folder takes no writes."""
    probe, took_ms = folder / f".fdatasync-{os.getpid()}", []
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, bytes(SYNC_OCTETS))
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took_ms.append(1e3 * (time.perf_counter() - began))
    finally:
        os.close(descriptor)
        probe.unlink()
    return took_ms


def file_system(folder: Path) -> str:
    """By /proc/mounts: that of the longest mount point above; "unknown" where there is none to read."""
    best, kind, place = "", "unknown", folder.resolve()
    if Path("/proc/mounts").exists():
        for line in Path("/proc/mounts").read_text().splitlines():
            _, at, found, *_ = line.split()
            if place.is_relative_to(at) and len(at) >= len(best):
                best, kind = at, found
    return kind
