"""A data folder that an earlier version wrote, copied and opened as a dispatcher opens it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dispatcher.store import Store, open_store


@contextmanager
def opened_copy(of: Path, to: Path) -> Iterator[Store]:
    """`of` stays as it was written; `to` is a folder for the copy."""
    shutil.copytree(of, to / "data")
    with open_store(to / "data", write=True, sync=False) as store:
        yield store
