"""Measure alternately, keep the best, print a ratio; machines differ, ratios travel."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any


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
