"""Measure alternately, keep the best, print a ratio; machines differ, ratios travel.

Touches: the standard output; a probe file in the folder whose disk is asked about.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dispatcher.store.disk import file_system, sync_times_ms


def best_of(times: int, *functions: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """The least seconds of each function over `times` rounds, the functions taking turns."""
    least = [float("inf")] * len(functions)
    for _ in range(times):
        for no, function in enumerate(functions):
            begin = clock()
            function()
            least[no] = min(least[no], clock() - begin)
    return least


def face(bench: str, about: str | None) -> argparse.ArgumentParser:
    """What the command line of every bench has: its name, the first line of its module's docstring, --json."""
    parser = argparse.ArgumentParser(prog=f"volley bench {bench}", description=(about or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="a JSON line a figure")
    return parser


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
    kind = file_system(folder)
    return [
        Figure("fdatasync p50 of the data folder", round(statistics.median(sync_times_ms(folder)), 3), "ms"),
        Figure("data folder's file system", kind, "", "not tmpfs", kind != "tmpfs"),
    ]
