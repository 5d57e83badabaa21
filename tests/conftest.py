"""The few fixtures that more than one room uses."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dispatcher.clock import FakeClock
from dispatcher.store import Store, open_store

settings.register_profile("suite", deadline=None)  # tests beside take the processor: time is no property
settings.load_profile("suite")

SLOW = ("tests/test_kill", "tests/fuzz/", "tests/daemon/", "tests/cli/", "tests/sim/", "tests/admin/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first: of two processes none is left alone with it at the end."""
    items.sort(key=lambda item: next((i for i, place in enumerate(SLOW) if item.nodeid.startswith(place)), len(SLOW)))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector need not walk it again, and comes to the tests' own sooner."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store, writable; fsync off, since a test's power is never cut."""
    with open_store(tmp_path / "data", write=True, create=True, sync=False) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(name, size) of every file or folder at each real fsync that Python asks for, in order."""
    seen: list[tuple[str, int]] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        fsync(fd)
        seen.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, os.fstat(fd).st_size))

    monkeypatch.setattr(os, "fsync", noting)
    return seen
