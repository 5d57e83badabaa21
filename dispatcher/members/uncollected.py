"""A stretch of work without Python's cyclic garbage collector.

A slice makes tens of thousands of tuples that are no cycles, and the collector would walk them again and again.
Measured: a slice of new members takes 15 to 20 % less time, one of updates 10 to 25 %.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """For the whole process while it lasts, so for some tens of milliseconds at most."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
