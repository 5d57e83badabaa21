"""What a campaign reads of the members its segment matched: number, name and points in member order, up to octets.

Touches: a store of made members in the folder it is given. The columns are opened, read and rendered by the code of
campaigns/; what comes out is held against plain reading of the same columns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench import segments_members as made
from bench.harness import Figure, best_of
from dispatcher.campaigns.render import Renderer, clear_through
from dispatcher.campaigns.written import compile_text as compile_message
from dispatcher.fastmatch import slots_of
from dispatcher.records.batch import octets_of, read_rows
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.plan import compile_text
from dispatcher.segments.select import Selected, select
from dispatcher.store import Store, open_store
from dispatcher.store.columns import open_block
from dispatcher.store.layout import BLOCK, FIELD_FLAGS, FIELD_MSISDN, FIELD_POINTS, PLANE_OPTOUT_MARKETING

TEXT = "{name|friend} {points|0}"
CLAIM_ROWS = 1_024  # a batch, as daemon/feeder.py takes them
ROUNDS = 5
CHECKED = 2  # blocks of each segment are read by plain Python
MOST = 3_000_000  # members: names are made one by one


def figures(folder: Path, members: int) -> Iterator[Figure]:
    members = min(members, MOST)
    with open_store(folder, write=True, create=True, sync=False) as store:
        made.define(store, members, name=True)
        first = 0
        for part in made.parts(members):
            made.fill(store, first, part, members, name=True)
            first += len(part["id"])
        for segment in ("S1", "S3"):
            yield from _one(store, segment, members)


def _one(store: Store, segment: str, members: int) -> Iterator[Figure]:
    with store.snapshot() as view:
        renderer = Renderer(compile_message(view, made.TENANT, TEXT, 1), Purpose.MARKETING, 1)
        compiled = compile_text(view, made.TENANT, made.SEGMENTS[segment][0], as_of_ms=made.AS_OF_MS)
        found = list(select(view, made.TENANT, compiled))
        matched = sum(count for _, _, count in found)
        right = all(_plain(view, renderer, each) == _rendered(view, renderer, each) for each in found[:CHECKED])
        read_s, render_s = best_of(
            ROUNDS,
            lambda: _read(view, renderer, found),
            lambda: _render(view, renderer, found),
            clock=time.process_time,
        )
        right &= _render(view, renderer, found) == _read(view, renderer, found) == matched
    named = f"{segment}, {matched:,} of {members:,} members"
    yield Figure.of(f"{named}: read in member order", round(matched / read_s), "members/s", least=5_000_000)
    yield Figure(f"{named}: and rendered to rows and octets", round(matched / render_s), "members/s")
    yield Figure("check: as plain reading of the columns says", "yes" if right else "NO", "", "yes", right)


def _read(view: View, renderer: Renderer, found: list[Selected]) -> int:
    """Guards, number, name and points of each, measured as a preview does."""
    total = 0
    for block, bitmap, _ in found:
        columns = open_block(view, made.TENANT, block, renderer.columns)
        total += renderer.count_parts(columns, block * BLOCK, bitmap).decisions.total()
    return total


def _render(view: View, renderer: Renderer, found: list[Selected]) -> int:
    """As campaigns/expand.py goes through a block, up to the batches that a Book is given."""
    rank = 0
    for block, bitmap, count in found:
        todo, left = bytearray(bitmap), count
        while left:
            columns = open_block(view, made.TENANT, block, renderer.columns)
            batch = renderer.render(columns, block * BLOCK, todo, bitmap, rank, CLAIM_ROWS)
            clear_through(todo, batch.last_slot)
            left -= batch.members
        rank += count
    return rank


def _rendered(view: View, renderer: Renderer, each: Selected) -> list[tuple[int, str]]:
    block, bitmap, count = each
    columns = open_block(view, made.TENANT, block, renderer.columns)
    batch = renderer.render(columns, block * BLOCK, bitmap, bitmap, 0, count)
    rows = [row for row in read_rows(batch) if row.decision == Decision.SENT]
    return [
        (row.destination, renderer.sample(columns, row.slot - block * BLOCK).text or str(octets_of(batch, row)))
        for row in rows
    ]


def _plain(view: View, renderer: Renderer, each: Selected) -> list[tuple[int, str]]:
    block, bitmap, _ = each
    columns = open_block(view, made.TENANT, block, renderer.columns)
    (name,) = (number for number, _, _ in renderer.columns if number > FIELD_POINTS)
    numbers, points = columns.array(FIELD_MSISDN).cast("Q"), columns.array(FIELD_POINTS).cast("q")
    stopped = columns.plane(FIELD_FLAGS, PLANE_OPTOUT_MARKETING)
    starts, ends, heap = columns.text(name)
    starts, ends = memoryview(bytes(starts)).cast("I"), memoryview(bytes(ends)).cast("I")
    return [
        (numbers[slot], f"{bytes(heap[starts[slot] : ends[slot]]).decode()} {points[slot]}")
        for slot in slots_of(bitmap)
        if not stopped[slot // 8] >> slot % 8 & 1
    ]
