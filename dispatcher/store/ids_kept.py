"""message_ids of an outcome log that is gone: sorted, packed into segments, findable for as long as the operator wants.

Touches: table `message_ids`; reads `outcome_log`. Rests on: ids_kept.h (a segment, drawn).

    message_ids: segment:8, the instant (ms) it was begun, or the one after the last -> ids_kept.h

An id is kept as the 64 bits that the index knows it by (wrong match: once in 10^10 receipts of unknown ids at 10^9
kept), with campaign or batch, endpoint, rank and part. Of sorted keys only the bits below their bucket's are stored, of
ranks those above the segment's lowest, bit by bit: 8.8 octets an id, decimal, hexadecimal or random alike. No number,
no text, no member.
A slice of the sweeper writes one segment in the commit that deletes its log values: the last one with more in it, while
it is small and of the same day, else a new one. A look-up goes through all of them, a microsecond each.
Weak spots: ids of an endpoint are kept in the forms of its `receipt_ids` at that moment; a look-up touches three pages
of each segment, so the first of a day may wait for the disk.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.records.changes import Changes
from dispatcher.store.layout import U64
from dispatcher.store.ledger import value_header
from dispatcher.store.problem import Check, Problem
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store._ids_kept import Ids, check, entries, find, find_in_table
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_ids_kept is not built: run `make build`") from exc

__all__ = ["CHECKS", "Kept", "Known", "Segment", "drop_old", "entries", "keep", "kept_ids", "look_up"]

TABLE = "message_ids"
SEGMENT_IDS = 200_000  # 1.8 MB: a commit that writes one, and deletes what it was made of, stays below 4 MiB
DAY_MS = 86_400_000
DROPPED_AT_ONCE = 8  # segments: their pages are touched
_HEADER = struct.Struct("<HBBBBBBIIQQII")


class Known(NamedTuple):
    """What a message_id was given to. id: campaign or batch."""

    id: int
    rank: int
    part: int


@dataclass(frozen=True, slots=True)
class Segment:
    """What its header says."""

    entries: int
    owners: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A segment to be written: beside the log values it was made of, in the commit that deletes them."""

    key: bytes
    value: bytes | bytearray
    added: int


def keep(view: Snapshot, positions: Iterable[int], both: Collection[int], now_ms: int) -> Kept | None:
    """The ids of these log values, with those of the last segment where it has room. both: endpoints that write ids in
    two forms. None: there are none. Some 40 ms for SEGMENT_IDS; nothing is written."""
    ids = Ids()
    for position in positions:
        value = view.buffer("outcome_log", U64.pack(position))
        assert value is not None
        ids.add(value, value_header(value)[2] in both)
    added = ids.count
    if not added:
        return None
    key, first_ms = U64.pack(now_ms), now_ms
    last = next(view.buffers(TABLE, reverse=True), None)
    if last is not None:
        was = _header(last[1])
        if was.entries + added <= SEGMENT_IDS and now_ms - was.first_ms < DAY_MS:
            key, first_ms = last[0], was.first_ms
            ids.add_segment(last[1])
        else:
            key = U64.pack(max(now_ms, U64.unpack(last[0])[0] + 1))
    return Kept(key, ids.pack(first_ms, now_ms), added)


def look_up(view: Snapshot, keys: Collection[int]) -> dict[tuple[int, int], Known]:
    """By endpoint and key, of those that are kept: the message that was given the id last."""
    wanted = array("Q", keys)
    found: dict[tuple[int, int], Known] = {}
    told = find_in_table(view.record(TABLE), view.page_octets, wanted) if view.kept is not None else None
    if told is None:
        told = [one for _, value in view.buffers(TABLE) for one in find(value, wanted)]
    for key, id, endpoint, rank, part in told:  # newer ones replace what older ones say
        found[endpoint, key] = Known(id, rank, part)
    return found


def drop_old(view: Snapshot, kept_ms: int, now_ms: int) -> Changes:
    """Delete a few segments nothing of which has to be found any longer; no changes: there are none."""
    changes = Changes()
    for key, value in view.buffers(TABLE):
        if now_ms - _header(value).last_ms < kept_ms or len(changes.rows) == DROPPED_AT_ONCE:
            break
        changes.delete(TABLE, key)
    return changes


def kept_ids(view: Snapshot) -> list[Segment]:
    """What there is, the oldest first."""
    return [_header(value) for _, value in view.buffers(TABLE)]


def _header(value: memoryview) -> Segment:
    entries, owners, first_ms, last_ms = _HEADER.unpack_from(value)[7:11]
    return Segment(entries, owners, first_ms, last_ms)


def kept_ids_are_whole(view: Snapshot) -> Iterator[Problem]:
    """Every segment of message_ids is as it was written, and in order."""
    for key, value in view.buffers(TABLE):
        try:
            check(value)
        except ValueError as exc:
            yield Problem("kept_ids_are_whole", f"message_ids {U64.unpack(key)[0]}", str(exc))


CHECKS: list[Check] = [kept_ids_are_whole]
