"""message_ids of the outcome log, sorted and packed into segments: findable when the log is long, and when it is gone.

Touches: table `message_ids`, meta row `ids_kept`; reads `outcome_log`. Rests on: ids_kept.h (a segment, drawn).

    message_ids: segment:8, the instant (ms) it was begun, or the one after the last -> ids_kept.h
    meta ids_kept -> msgpack {upto}: the log position before which all ids are in segments

An id is kept as the 64 bits that the index knows it by (wrong match: once in 10^10 receipts of unknown ids at 10^9
kept), with campaign or batch, endpoint, rank and part. Of sorted keys only the bits below their bucket's are stored, of
ranks those above the segment's lowest, bit by bit: 8.8 octets an id, decimal, hexadecimal or random alike. No number,
no text, no member.
A slice of the sweeper takes the next log values, an hour after they were made, and writes one segment: the last one
with more in it, while it is small and of the same day, else a new one. Log values that are dropped later were kept
before; whoever looks for an id reads the log from `upto` on, an hour of it, and goes through the segments, half a
microsecond each.
Weak spots: ids of an endpoint are kept in the forms of its `receipt_ids` at that moment; a look-up touches three pages
of each segment, so the first of a day may wait for the disk.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.records.changes import Changes, View
from dispatcher.store.layout import U64
from dispatcher.store.ledger import log_values, records_of, value_header
from dispatcher.store.problem import Check, Problem
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import pack, unpack

try:
    from dispatcher.store._ids_kept import Ids, check, entries, find, find_in_table, key_of
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_ids_kept is not built: run `make build`") from exc

__all__ = [
    "CHECKS",
    "Kept",
    "Known",
    "Segment",
    "Totals",
    "drop_old",
    "entries",
    "keep",
    "keep_no_more",
    "kept_ids",
    "key_of",
    "look_up",
    "look_up_all",
    "totals",
    "upto",
]

TABLE = "message_ids"
META = b"ids_kept"
SEGMENT_IDS = 200_000  # 1.8 MB, a commit's
SLICE_OCTETS = 32 << 20  # of the log, read for its ids: 10 ms
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
    octets: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all segments together. oldest_ms: when the first of the ids was put in; None: there is none."""

    ids: int
    segments: int
    octets: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A slice to be written. upto: how far the log's ids are kept with it. key and value: the segment, where there are
    ids. added: how many."""

    upto: int
    added: int = 0
    key: bytes = b""
    value: bytes | bytearray = b""

    def changes(self) -> Changes:
        changes = Changes()
        if self.added:
            changes.put(TABLE, self.key, self.value)
        changes.put("meta", META, pack({"upto": self.upto}))
        return changes


def upto(view: View) -> int:
    """The log position before which every id is in a segment."""
    row = view.get("meta", META)
    return int(unpack(row)["upto"]) if row else 0


def keep(view: Snapshot, age_ms: int, both: Collection[int], now_ms: int) -> Kept | None:
    """The ids of the next log values that are older than `age_ms`, with those of the last segment where it has room.
    both: endpoints that write ids in two forms. None: there are no such values. Nothing is written, so it is for a
    thread: some 50 ms for SEGMENT_IDS, most of it without the GIL."""
    ids, begin = Ids(), upto(view)
    end, octets, records = begin, 0, 0
    for position, value in log_values(view, after=begin - 1 if begin else None):
        base_ms, _, endpoint = value_header(value)
        octets, records = octets + len(value), records + records_of(value)
        if now_ms - base_ms < age_ms or (end > begin and (octets > SLICE_OCTETS or records > SEGMENT_IDS)):
            break
        ids.add(value, endpoint in both)
        end = position + len(value) // 8
    if end == begin:
        return None
    if not ids.count:
        return Kept(end)
    added, key, first_ms = ids.count, U64.pack(now_ms), now_ms
    last = next(view.buffers(TABLE, reverse=True), None)
    if last is not None:
        was = _header(last[1])
        if was.entries + added <= SEGMENT_IDS and now_ms - was.first_ms < DAY_MS:
            key, first_ms = last[0], was.first_ms
            ids.add_segment(last[1])
        else:
            key = U64.pack(max(now_ms, U64.unpack(last[0])[0] + 1))
    return Kept(end, added, key, ids.pack(first_ms, now_ms))


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


def look_up_all(view: Snapshot, keys: Collection[int], both: Collection[int]) -> dict[tuple[int, int], Known]:
    """The same, and of those whose log is too young to be kept: it is read, a second for ten million."""
    ids, since, found = Ids(), upto(view), look_up(view, keys)
    for _, value in log_values(view, after=since - 1 if since else None):
        ids.add(value, value_header(value)[2] in both)
    for key, id, endpoint, rank, part in find(ids.pack(0, 0), array("Q", keys)):
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


def keep_no_more(view: Snapshot) -> Changes:
    """The same for an operator who wants none: the log alone is read from then on, all of it. No changes: so it is."""
    changes = drop_old(view, 0, 1 << 62)
    if view.get("meta", META) is not None:
        changes.delete("meta", META)
    return changes


def kept_ids(view: Snapshot) -> list[Segment]:
    """What there is, the oldest first."""
    return [_header(value) for _, value in view.buffers(TABLE)]


def totals(view: Snapshot) -> Totals:
    """How much of it there is. A page of each segment is touched, so it is for a thread."""
    found = kept_ids(view)
    oldest_ms = min((one.first_ms for one in found), default=None)
    return Totals(sum(one.entries for one in found), len(found), sum(one.octets for one in found), oldest_ms)


def _header(value: memoryview) -> Segment:
    entries, owners, first_ms, last_ms = _HEADER.unpack_from(value)[7:11]
    return Segment(entries, owners, first_ms, last_ms, len(value))


def kept_ids_are_whole(view: Snapshot) -> Iterator[Problem]:
    """Every segment of message_ids is as it was written, and in order."""
    for key, value in view.buffers(TABLE):
        try:
            check(value)
        except ValueError as exc:
            yield Problem("kept_ids_are_whole", f"message_ids {U64.unpack(key)[0]}", str(exc))


CHECKS: list[Check] = [kept_ids_are_whole]
