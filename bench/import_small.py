"""A file of a few thousand new numbers into a large tenant: the octets that each commit writes, with the small table of
numbers and, as before it, without. `bench_import --small`.

Counted by what this process hands to write() (/proc/self/io), which is LMDB's dirty pages.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Figure
from dispatcher.store import Store, phones

LARGE_ROWS, SMALL_ROWS, FILES = 5_000_000, 20_000, 3
MOST_MIB = 4.0  # DESIGN 2
Import = Callable[[Store, int, Path, Callable[[], object]], None]


@dataclass(slots=True)
class _Commits:
    """Octets and seconds of each commit."""

    octets: list[int]
    took_s: float = 0.0
    _at: int = 0

    def begin(self) -> None:
        self._at = written()

    def note(self) -> None:
        now = written()
        self.octets.append(now - self._at)
        self._at = now

    @property
    def most_mib(self) -> float:
        return round(max(self.octets) / (1 << 20), 2)


def measure(store: Store, folder: Path, bring: Import) -> Iterator[Figure]:
    """`bring(store, import_id, csv, watch)` imports a file. The store holds a tenant without members."""
    numbers = random.Random(7).sample(range(10**10), LARGE_ROWS + (FILES + 1) * SMALL_ROWS)
    bring(store, 10, _file(folder, numbers[:LARGE_ROWS]), lambda: None)
    _move(store, _Commits([]))
    with store.snapshot() as view:
        yield Figure("members there", view.count("phones"))
    files = [numbers[at : at + SMALL_ROWS] for at in range(LARGE_ROWS, len(numbers), SMALL_ROWS)]
    place_for, phones.place_for = phones.place_for, lambda view, tenant, numbers, count, room: (phones.LARGE, count)
    yield from _bring(store, folder, 11, files[0], bring, "into one table", None)
    phones.place_for = place_for
    for at, each in enumerate(files[1:]):
        yield from _bring(store, folder, 12 + at, each, bring, f"file {at + 1} into two", MOST_MIB)
    moved = _Commits([])
    with store.snapshot() as view:
        waiting = phones.waiting(view)
    _move(store, moved)
    yield Figure(f"{waiting:,} numbers moved in", len(moved.octets), "commits")
    yield Figure("moved, in all", round(moved.took_s, 2), "s")
    yield Figure.of("moved, at most a commit", moved.most_mib, "MiB", most=MOST_MIB)


def _bring(
    store: Store, folder: Path, import_id: int, numbers: list[int], bring: Import, what: str, most: float | None
) -> Iterator[Figure]:
    commits, path = _Commits([]), _file(folder, numbers)
    commits.begin()
    began = time.perf_counter()
    bring(store, import_id, path, commits.note)
    yield Figure(f"{SMALL_ROWS:,} random new numbers {what}", round(time.perf_counter() - began, 2), "s")
    yield Figure.of(f"  {what}: at most a commit", commits.most_mib, "MiB", most=most)
    yield Figure(f"  {what}: in all", round(sum(commits.octets) / (1 << 20), 1), "MiB")


def _move(store: Store, commits: _Commits) -> None:
    began, moving = time.perf_counter(), True
    while moving:
        commits.begin()
        with store.begin_write() as view:
            changes = phones.merge_some(view)
            view.apply(changes)
        moving = bool(changes)
        if moving:
            commits.note()
    commits.took_s = time.perf_counter() - began


def _file(folder: Path, numbers: list[int]) -> Path:
    path = folder / "numbers.csv"
    path.unlink(missing_ok=True)
    path.write_text("phone\n" + "".join(f"+86{number:010d}\n" for number in numbers))
    return path


def written() -> int:
    """Octets that this process has handed to write() so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
