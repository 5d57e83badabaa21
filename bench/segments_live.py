"""The rest of a segment's life, of a store that is on disk: sizes, the first count, waterfalls, updates beside scans.

Touches: stores of half and of all the members in a temporary folder. What 100 M members would take is reckoned from
the two.
"""

from __future__ import annotations

import logging
import os
import random
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import structlog

from bench import segments_members as made
from bench.harness import Figure, best_of
from dispatcher.records.changes import Changes
from dispatcher.segments.count import count, matched
from dispatcher.segments.plan import compile_text
from dispatcher.segments.warmup import Warmup
from dispatcher.store import Store, open_store
from dispatcher.store.columns import ColumnKind, fold_some, folded_to, put_delta
from dispatcher.store.layout import FIELD_POINTS
from dispatcher.store.scan import OCTETS, warm

FAR = 100_000_000
ASKED = 50_000  # updates a second, which a scan beside them must bear
TIMES = 40
POINTS = (FIELD_POINTS, 0, ColumnKind.I64)


def figures(folder: Path, members: int) -> Iterator[Figure]:
    sizes = (members // 2, members)
    taken: list[dict[str, float]] = []
    for size in sizes:
        place = folder / str(size)
        build(place, size)
        here: dict[str, float] = {}
        yield from _one(place, size, here)
        taken.append(here)
    for name in taken[0]:
        slope = (taken[1][name] - taken[0][name]) / (sizes[1] - sizes[0])
        far = taken[1][name] + slope * (FAR - sizes[1])
        if name.startswith("octets"):
            what = f"{name}, {FAR:,} members reckoned"
            yield Figure.of(what, round(far / FAR, 1), "B/member", most=90 if "disk" in name else None)
        else:
            yield Figure(f"{name}, {FAR:,} members reckoned", round(far, 1), "ms")
    yield from _updates(folder / str(members), members)


def build(place: Path, members: int) -> None:
    """Made members in a new store in `place`, with their numbers."""
    with open_store(place, write=True, create=True, sync=False) as store:
        made.define(store, members)
        first = 0
        for part in made.parts(members):
            made.fill(store, first, part, members)
            first += len(part["id"])
        made.put_numbers(store, members)
        store.env.sync(True)


def _one(place: Path, members: int, taken: dict[str, float]) -> Iterator[Figure]:
    yield from _cold(place, members)
    with open_store(place) as store:
        taken["octets on disk"] = float(store.size_octets())
        began = time.perf_counter()
        _count(store, "S4")
        first_ms = 1e3 * (time.perf_counter() - began)
        yield Figure.of(f"first count after opening, {members:,} members", round(first_ms, 1), "ms", most=1_000)
        yield Figure(f"octets on disk, {members:,} members", round(store.size_octets() / members, 1), "B/member")
        for segment in made.SEGMENTS:
            warmed(store, lambda: _matched(store, segment))  # noqa: B023
            (best_s,) = best_of(9, lambda: _matched(store, segment))  # noqa: B023
            taken[f"{segment} count"] = 1e3 * best_s
            yield Figure(f"{segment} count, {members:,} members", round(1e3 * best_s, 2), "ms")
            took = sorted(_timed(lambda: _count(store, segment)) for _ in range(TIMES))  # noqa: B023
            p95 = took[int(0.95 * TIMES)]
            yield Figure.of(f"{segment} count with waterfall p95, {members:,} members", round(p95, 2), "ms", most=100)
        derived = float(store.snapshot().kept[OCTETS])  # type: ignore[index]
        taken["octets in memory beside the map"] = derived
        yield Figure(f"octets derived in memory, {members:,} members", round(derived / members, 1), "B/member")


def _cold(place: Path, members: int) -> Iterator[Figure]:
    """The first count where nothing of the store is in memory, and the same after the warm-up of a start."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # figures alone are said
    _drop(place)
    with open_store(place) as store:
        cold_ms = _timed(lambda: _count(store, "S4"))
    yield Figure(f"first count from a cold disk, {members:,} members", round(cold_ms, 1), "ms")
    _drop(place)
    with open_store(place) as store, Warmup(store) as warmup:
        while not warmup.statistics().done:
            time.sleep(0.01)
        said = warmup.statistics()
        yield Figure(f"warm-up of {said.octets >> 20:,} MiB, {members:,} members", round(1e3 * said.s, 1), "ms")
        first_ms = _timed(lambda: _count(store, "S4"))
    yield Figure.of(f"first count after a warm-up, {members:,} members", round(first_ms, 1), "ms", most=1_000)


def _drop(place: Path) -> None:
    fd = os.open(place / "store" / "data.mdb", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def warmed(store: Store, work: Callable[[], object]) -> None:
    """As after some minutes of use: whatever `work` reads is mapped, and what is derived of it has been derived."""
    for _ in range(2):
        work()
    with store.snapshot() as view:
        warm(view)


def _updates(place: Path, members: int) -> Iterator[Figure]:
    """Durable point updates, each commit synced, alone and beside scans; the delta folded at the end."""
    draw = random.Random(7)
    with open_store(place, write=True) as store:
        for batch, commits, least in ((100, 100, 50_000), (10_000, 10, 150_000)):
            drawn = [_drawn(draw, members, batch) for _ in range(commits)]
            began = time.perf_counter()
            for updates in drawn:
                _update(store, updates)
            rate = batch * commits / (time.perf_counter() - began)
            yield Figure.of(f"durable updates, commits of {batch:,}", round(rate), "/s", least=least)
            _fold(store)
    for per_s in (ASKED, 0):
        slower = _beside(place, members, per_s)
        word = f"{per_s:,} updates/s" if per_s else "as many updates as go"
        yield Figure.of(f"S1 count beside {word}, times alone", round(slower, 2), "x", most=1.5 if per_s else None)


def _beside(place: Path, members: int, per_s: int) -> float:
    """How much longer S1 takes while another process updates so many members a second, 0: as many as it can."""
    writer = get_context("spawn").Process(target=_write, args=(str(place), members, per_s), daemon=True)
    with open_store(place) as store:  # as the admin process reads beside the dispatcher
        warmed(store, lambda: _matched(store, "S1"))
        alone = statistics.median(_timed(lambda: _matched(store, "S1")) for _ in range(TIMES))
        before = _edits(store)
        writer.start()
        while _edits(store) == before and writer.is_alive():
            time.sleep(0.01)
        meanwhile = [_timed(lambda: _matched(store, "S1")) for _ in range(5 * TIMES)]
        writer.terminate()
        writer.join()
    return statistics.median(meanwhile) / alone


def _write(place: str, members: int, per_s: int) -> None:
    """Updates until the process is ended, a slice folded after every twenty commits as housekeeping does."""
    draw, after, count_, began = random.Random(8), -1, 0, time.monotonic()
    with open_store(place, write=True) as store:
        while True:
            for _ in range(20):
                _update(store, _drawn(draw, members, 100))
                count_ += 100
                if per_s:
                    time.sleep(max(0.0, began + count_ / per_s - time.monotonic()))
            with store.begin_write() as view:
                changes = fold_some(view, made.TENANT, after=after)
                after = folded_to(changes)  # -1 when the last block has been folded: from the first again
                view.apply(changes)


def _edits(store: Store) -> int:
    with store.snapshot() as view:
        return view.count("delta")


def _drawn(draw: random.Random, members: int, batch: int) -> list[tuple[int, bytes]]:
    """Members and points that they are to have."""
    return [(draw.randrange(members), struct.pack("<q", draw.randrange(1_725))) for _ in range(batch)]


def _update(store: Store, updates: list[tuple[int, bytes]]) -> None:
    with store.begin_write() as view:
        changes = Changes()
        for member_no, points in updates:
            put_delta(changes, view, made.TENANT, member_no, {POINTS: points})
        view.apply(changes)


def _fold(store: Store) -> None:
    while True:
        with store.begin_write() as view:
            changes = fold_some(view, made.TENANT)
            view.apply(changes)
        if not changes:
            return


def _matched(store: Store, segment: str) -> int:
    with store.snapshot() as view:
        compiled = compile_text(view, made.TENANT, made.SEGMENTS[segment][0], as_of_ms=made.AS_OF_MS)
        return matched(view, made.TENANT, compiled)


def _count(store: Store, segment: str) -> dict[str, object]:
    with store.snapshot() as view:
        return count(view, made.TENANT, made.SEGMENTS[segment][0], as_of_ms=made.AS_OF_MS)


def _timed(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return 1e3 * (time.perf_counter() - began)
