"""Ledger blocks and the outcome log, drawn and read: what became of every recipient, by rank in the frozen audience.

Everything that happens to a message is first a record of the append-only outcome log (records/outcome_log.h); fold()
(fold.py) brings records into arrays of BLOCK ranks a chunk, with the folded-up-to position in the same transaction.
Readers see the ledger as of the last fold, a second or so old; a start folds the rest first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision, State
from dispatcher.store._ledger import popcount, rank_spans, ranks_in_state, records, slots_of_ranks, todo_bitmap
from dispatcher.store.fold import fold, has_log_base, log_base, pass_open
from dispatcher.store.layout import ARRAYS, BLOCK, CHUNK_HEADER, HEADER, LEDGER_KEY, U64
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

__all__ = [
    "Counts",
    "chunks",
    "claim_tail",
    "claimed_parts",
    "every_count",
    "fold",
    "folded_to",
    "has_log_base",
    "log_base",
    "log_values",
    "next_position",
    "parts_in_state",
    "pass_open",
    "popcount",
    "rank_spans",
    "ranks_in_state",
    "read_array",
    "read_counts",
    "records",
    "records_of",
    "slots_of_ranks",
    "state_of",
    "todo_bitmap",
    "value_header",
]

SKIPPED = 128  # in a claim: 128 + Decision
_COUNTS = struct.Struct("<64Q")
_LOG_HEADER = struct.Struct("<HHIQII")  # records/outcome_log.h
_LOG_RUN = struct.Struct("<QHHI")
_PART_STATE = ARRAYS["part_state"][0]


@dataclass(frozen=True, slots=True)
class Counts:
    """A campaign's counters, as of the last fold. Recipients unless it says parts."""

    values: tuple[int, ...]

    @property
    def sent(self) -> int:
        return self.values[Decision.SENT]

    @property
    def skipped(self) -> dict[str, int]:
        return {d.word: self.values[d] for d in Decision if d > Decision.SENT and self.values[d]}

    def state(self, state: State) -> int:
        """Recipients sent to whose message is in this state."""
        return self.values[32 + state]

    @property
    def accepted(self) -> int:
        """Recipients all of whose parts were answered ESME_ROK; cumulative."""
        return self.values[48]

    @property
    def parts_sent(self) -> int:
        return self.values[49]

    @property
    def parts_accepted(self) -> int:
        return self.values[50]

    @property
    def retries(self) -> int:
        return self.values[51]

    @property
    def by_number(self) -> int:
        return self.values[52]

    @property
    def resent(self) -> int:
        return self.values[53]

    @property
    def receipts(self) -> int:
        return self.values[54]

    @property
    def receipts_repeated(self) -> int:
        return self.values[55]

    def summary(self, audience: int) -> dict[str, Any]:
        """For the API: audience = unsent + skipped + sent, at any moment."""
        skipped = self.skipped
        return {
            "audience": audience,
            "unsent": audience - self.sent - sum(skipped.values()),
            "skipped": skipped,
            "sent": self.sent,
            "states": {s.word: self.state(s) for s in State if s is not State.UNSENT},
            "accepted": self.accepted,
            "parts_sent": self.parts_sent,
            "parts_accepted": self.parts_accepted,
            "retries": self.retries,
            "settled_by_number": self.by_number,
            "resent": self.resent,
            "receipts": self.receipts,
            "receipts_repeated": self.receipts_repeated,
        }


def read_counts(view: View, campaign: int) -> Counts:
    row = view.get("campaign_counts", U64.pack(campaign))
    return Counts(_COUNTS.unpack(row) if row else (0,) * 64)


def every_count(view: View) -> Iterator[tuple[int, Counts]]:
    """(campaign or batch, its counters) of all of which something was folded."""
    for key, row in view.range("campaign_counts"):
        yield U64.unpack(key)[0], Counts(_COUNTS.unpack(row))


def read_array(view: View, campaign: int, name: str, chunk: int) -> memoryview | None:
    """One array of a chunk, after its header, zero-copy; None when nothing was folded there.
    Octets a rank: layout.ARRAYS; of part_state: part_width()."""
    value = view.buffer("ledger", LEDGER_KEY.pack(campaign, ARRAYS[name][0], chunk))
    return None if value is None else value[HEADER:]


def part_width(view: View, campaign: int, chunk: int) -> int:
    """Greatest number of parts in a chunk; 1 when no message of it has several."""
    value = view.buffer("ledger", LEDGER_KEY.pack(campaign, _PART_STATE, chunk))
    return 1 if value is None else int(CHUNK_HEADER.unpack_from(value)[2])


def chunks(view: Snapshot, campaign: int) -> list[int]:
    """Chunks of a campaign that have been folded into, ascending."""
    prefix = LEDGER_KEY.pack(campaign, ARRAYS["state"][0], 0)[:9]
    return [LEDGER_KEY.unpack(key)[2] for key, _ in view.buffers("ledger", prefix)]


def parts_in_state(view: View, campaign: int, rank: int, state: State) -> list[int]:
    """Parts of one message that are in a state: [0] for a message of one part in it."""
    chunk, r = divmod(rank, BLOCK)
    counts, states = read_array(view, campaign, "parts", chunk), read_array(view, campaign, "state", chunk)
    if counts is None or states is None or r >= len(counts):
        return []
    width = part_width(view, campaign, chunk)
    spread = read_array(view, campaign, "part_state", chunk) if width > 1 and counts[r] > 1 else None
    if spread is None:
        return [0] if states[r] == state else []
    return [part for part in range(counts[r]) if spread[r * width + part] & 0x7F == state]


def state_of(view: View, campaign: int, rank: int, part: int) -> State:
    """A part's state as of the last fold."""
    chunk, r = divmod(rank, BLOCK)
    states = read_array(view, campaign, "state", chunk)
    if states is None or r >= len(states):
        return State.UNSENT
    width, counts = part_width(view, campaign, chunk), read_array(view, campaign, "parts", chunk)
    spread = read_array(view, campaign, "part_state", chunk) if width > 1 and counts and counts[r] > 1 else None
    return State(states[r] if spread is None else spread[r * width + part] & 0x7F)


def value_header(value: memoryview) -> tuple[int, list[int], int]:
    """(epoch milliseconds of a log value's beginning, ids of the campaigns and batches it speaks of, its endpoint's
    number)"""
    _, runs, _, base_ms, octets, endpoint = _LOG_HEADER.unpack_from(value)
    table = value[_LOG_HEADER.size + octets :]
    return base_ms, [_LOG_RUN.unpack_from(table, _LOG_RUN.size * i)[0] for i in range(runs)], endpoint


def records_of(value: memoryview) -> int:
    """How many records a log value has; claims of many ranks are one."""
    return int(_LOG_HEADER.unpack_from(value)[2])


def folded_to(view: View) -> int:
    """The log position before which everything is in the ledger's arrays; an open pass counts from its beginning."""
    row = view.get("meta", b"folded")
    return int(unpack(row)["key"]) if row else 0


def next_position(view: Snapshot) -> int:
    """The key of the next log value: one past the last, in units of 8 octets."""
    for key, value in view.buffers("outcome_log", reverse=True):
        return int(U64.unpack(key)[0]) + len(value) // 8
    return 0


def log_values(view: Snapshot, *, reverse: bool = False, after: int | None = None) -> Iterator[tuple[int, memoryview]]:
    """(position, value) in log order or newest first."""
    at = None if after is None else U64.pack(after)
    for key, value in view.buffers("outcome_log", after=at, reverse=reverse):
        yield U64.unpack(key)[0], value


Place = tuple[int, int]  # an endpoint's number and a lane of it: claims leave in the order of their numbers there


def claim_tail(
    view: Snapshot, marks: dict[Place, int], since: dict[Place, int]
) -> tuple[dict[Place, int], dict[tuple[int, int, int], int]]:
    """What a start needs of the claims, read newest first.

    marks: place -> first claim number never handed to a socket; since: place -> log position before which nothing of it
    is at or above its mark. Returns (place -> next free claim number, {(campaign, rank, part): claim number} of
    everything claimed at or above its place's mark, latest claim only).
    """
    following: dict[Place, int] = {}
    above: dict[tuple[int, int, int], int] = {}
    seen: set[tuple[int, int, int]] = set()
    settled: set[Place] = set()
    for position, value in log_values(view, reverse=True):
        settled |= {place for place in marks if position < since.get(place, 0)}
        if settled >= set(marks):
            break
        endpoint = value_header(value)[2]
        for record in reversed(records(value, claims_only=True)):
            _, campaign, lane, first, claim_no, parts, _, again = record
            place = endpoint, lane
            taken = [claimed_parts(n, again if index == len(parts) - 1 else 0) for index, n in enumerate(parts)]
            end = claim_no + sum(map(len, taken))
            following.setdefault(place, end)
            if end <= marks.get(place, 0):
                settled.add(place)
            number = claim_no  # below the mark too: it hides an older claim elsewhere that was given back
            for rank, mine in enumerate(taken, first):
                for part in mine:
                    if (campaign, rank, part) not in seen:
                        seen.add((campaign, rank, part))
                        if number >= marks.get(place, 0):
                            above[campaign, rank, part] = number
                    number += 1
    return following, above


def claimed_parts(parts: int, again: int) -> list[int]:
    """The parts that a claim takes of one message: `parts` of its octet, `again` of its record where it is the last."""
    if parts >= SKIPPED:
        return []
    return [part for part in range(parts) if not again or again >> min(part, 15) & 1]


def set_log_base(changes: Changes, campaign: int, position: int) -> None:
    """Where a campaign's log begins; written once, when it starts."""
    changes.put("meta", b"log_base" + U64.pack(campaign), U64.pack(position))
