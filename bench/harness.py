"""Measure alternately, keep the best, print a ratio; machines differ, ratios travel.

Touches: the standard output; a probe file in the folder whose disk is asked about.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SYNCS = 50
SYNC_OCTETS = 16_384  # of a small commit


def best_of(times: int, *functions: Callable[[], Any]) -> list[float]:
    """The least seconds of each function over `times` rounds, the functions taking turns."""
    least = [float("inf")] * len(functions)
    for _ in range(times):
        for no, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            least[no] = min(least[no], time.perf_counter() - begin)
    return least


def report(bench: str, figures: dict[str, Any], as_json: bool) -> None:
    """One JSON line, or one line a figure."""
    if as_json:
        print(json.dumps({"bench": bench, **figures}))
        return
    for name, figure in figures.items():
        print(
            f"{bench}: {name.replace('_', ' ')} {figure:,}"
            if isinstance(figure, int | float)
            else f"{bench}: {name} {figure}"
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value beside its target, as "< 5" or ">= 150,000"; `ok` None where there is no target."""

    figure: str
    value: float | str | bool
    unit: str = ""
    target: str = ""
    ok: bool | None = None

    @classmethod
    def of(cls, figure: str, value: float, unit: str, least: float | None = None, most: float | None = None) -> Figure:
        """At least `least` or below `most`."""
        if least is not None:
            return cls(figure, value, unit, f">= {least:,}", value >= least)
        return cls(figure, value, unit, "" if most is None else f"< {most:,}", None if most is None else value < most)


def print_figures(figures: Iterable[Figure], as_json: bool) -> None:
    """A JSON line each, or a table whose last column says where a target was missed."""
    for each in figures:
        if as_json:
            print(json.dumps(asdict(each)), flush=True)
            continue
        value = f"{each.value:,}" if isinstance(each.value, int | float) else each.value
        verdict = {True: "ok", False: "MISSED", None: ""}[each.ok]
        print(f"{each.figure:60} {value:>12} {each.unit:12} {each.target:>14}  {verdict}".rstrip(), flush=True)


def disk_figures(folder: Path) -> list[Figure]:
    """What a small commit costs on the disk of `folder`, and whether that is a disk at all."""
    probe, took_ms = folder / "fdatasync.probe", []
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, bytes(SYNC_OCTETS))
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took_ms.append(1e3 * (time.perf_counter() - began))
    finally:
        os.close(descriptor)
        probe.unlink()
    return [
        Figure("fdatasync p50 of the data folder", round(statistics.median(took_ms), 3), "ms"),
        Figure("data folder's file system", _file_system(folder), "", "not tmpfs", _file_system(folder) != "tmpfs"),
    ]


def _file_system(folder: Path) -> str:
    """By /proc/mounts: that of the longest mount point above; "unknown" where there is none to read."""
    best, kind, place = "", "unknown", folder.resolve()
    if Path("/proc/mounts").exists():
        for line in Path("/proc/mounts").read_text().splitlines():
            _, at, found, *_ = line.split()
            if place.is_relative_to(at) and len(at) >= len(best):
                best, kind = at, found
    return kind
