"""Who was in the audience and what became of each, by rank: read from the ledger as of its last fold.

Touches: one Snapshot: the frozen audience, ledger arrays, the msisdn column, the outcome log for message_ids.
Rests on: records/outcome_log.h (log_no is 1 + the position of the first part's ESME_ROK from the campaign's first).
Weak spot: a filter that few recipients pass looks at every chunk, some 0.1 ms each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.campaign import CANCELLED, bitmap_key, load
from dispatcher.campaigns.expand import WHICH_AUDIENCE, members_of_ranks
from dispatcher.clock import rfc3339
from dispatcher.errors import CommandRefused
from dispatcher.members.msisdn import international
from dispatcher.records.keys import public_member_id
from dispatcher.records.states import Decision, State
from dispatcher.store import ledger
from dispatcher.store.columns import BlockView, Column, ColumnKind, open_block
from dispatcher.store.layout import ARRAYS, BLOCK, FIELD_MSISDN
from dispatcher.store.part_ids import id_text
from dispatcher.store.snapshot import Snapshot

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
READ = ("decision", "state", "error", "parts", "tries", "submit_s", "final_s", "log_no")
SLICE = 1_024  # ranks whose members are looked up at a time
_U64 = struct.Struct("<Q")
_ID_OCTETS_AT, _ID_AT = 3, 16  # of a log record


@dataclass(frozen=True, slots=True)
class Chunk:
    """The arrays of BLOCK ranks; one never folded, or shorter than asked, is zero: undecided, unsent."""

    first_rank: int
    arrays: dict[str, memoryview | None]

    def at(self, name: str, rank: int) -> int:
        array = self.arrays[name]
        index = rank - self.first_rank
        return int(array[index]) if array is not None and index < len(array) else 0

    def octets(self, name: str) -> bytes:
        """A whole array of one octet a rank."""
        array = self.arrays[name]
        return (b"" if array is None else bytes(array)).ljust(BLOCK, b"\0")


def recipients(
    view: Snapshot,
    tenant: int,
    campaign: int,
    *,
    after_rank: int | None = None,
    limit: int = 100,
    state: State | None = None,
    decision: Decision | None = None,
    group: str | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` recipients above `after_rank` in order of rank, of one state, decision or group where asked.

    {member, msisdn, rank, group, decision, state, parts, tries, error, submitted_at, final_at, message_id}: msisdn as
    it is now, null once erased; group an arm's name, holdout or rest, null in a campaign of one text; error the last
    command_status or receipt's code, message_id the first part's, null without. Raises CommandRefused 422 for a group
    that there is not.
    Of a cancelled campaign the undecided are `cancelled`. Empty when the tenant has no such campaign.
    """
    row = load(view, tenant, campaign)
    if row is None:
        return []
    undecided = Decision.CANCELLED if row["state"] == CANCELLED else Decision.UNDECIDED
    groups = Groups(view, row, campaign)
    wanted = groups.number(group)
    chosen: list[tuple[int, Chunk]] = []
    begin = 0 if after_rank is None else after_rank + 1
    for first in range(begin // BLOCK * BLOCK, row["audience"], BLOCK):
        if len(chosen) == limit:
            break
        chunk = _read(view, campaign, first)
        ranks = range(max(begin, first), min(first + BLOCK, row["audience"]))
        matching = _matching(chunk, ranks, state, decision, undecided)
        for rank in matching if wanted is None else groups.only(matching, wanted):
            if len(chosen) == limit:
                break
            chosen.append((rank, chunk))
    members = members_of_ranks(view, campaign, [rank for rank, _ in chosen])
    numbers, ids = _Numbers(view, tenant), MessageIds(view, campaign)
    return [
        {
            "member": public_member_id(members[rank]),
            "msisdn": numbers.of(members[rank]),
            "rank": rank,
            "group": groups.word(members[rank]),
            "decision": (Decision(chunk.at("decision", rank)) or undecided).word,
            "state": State(chunk.at("state", rank)).word,
            "parts": chunk.at("parts", rank),
            "tries": chunk.at("tries", rank),
            "error": chunk.at("error", rank) or None,
            "submitted_at": _instant(chunk.at("submit_s", rank)),
            "final_at": _instant(chunk.at("final_s", rank)),
            "message_id": ids.of(chunk.at("log_no", rank)),
        }
        for rank, chunk in chosen
    ]


class Groups:
    """Which group of a dealt campaign a member is in; one block at a time is kept."""

    def __init__(self, view: Snapshot, row: dict[str, Any], campaign: int) -> None:
        self._view, self._campaign = view, campaign
        self._arms = arms_of(row, campaign)
        self._at = -1
        self._bits: list[bytearray] = []

    def number(self, word: str | None) -> int | None:
        """The group of a word; None without one. Raises CommandRefused 422."""
        if word is None:
            return None
        words = [self._arms.word(group) for group in range(len(self._arms.names) + 2)] if self._arms else []
        if word not in words:
            there = f"one of {', '.join(words)}" if words else "the campaign has one text and no holdout"
            raise CommandRefused(422, "unknown_group", f"group {word!r}: {there}")
        return words.index(word)

    def only(self, ranks: Iterable[int], wanted: int) -> Iterator[int]:
        """Those of ascending ranks who are in a group."""
        for slice_ in batched(ranks, SLICE):
            members = members_of_ranks(self._view, self._campaign, list(slice_))
            yield from (rank for rank in slice_ if self._group(members[rank]) == wanted)

    def word(self, member_no: int) -> str | None:
        return None if self._arms is None else self._arms.word(self._group(member_no))

    def _group(self, member_no: int) -> int:
        block, slot = divmod(member_no, BLOCK)
        if block != self._at:
            assert self._arms is not None
            bitmap = self._view.get("bitmaps", bitmap_key(self._campaign, WHICH_AUDIENCE, block)) or b""
            self._at, self._bits = block, self._arms.groups(self._view, block, bitmap)
        at, bit = slot >> 3, 1 << (slot & 7)
        return next(group for group, bits in enumerate(self._bits) if bits[at] & bit)


def batched(items: Iterable[int], size: int) -> Iterator[list[int]]:
    found = iter(items)
    while some := list(islice(found, size)):
        yield some


def _read(view: Snapshot, campaign: int, first_rank: int) -> Chunk:
    arrays: dict[str, memoryview | None] = {}
    for name in READ:
        array = ledger.read_array(view, campaign, name, first_rank // BLOCK)
        arrays[name] = array.cast("I") if array is not None and ARRAYS[name][1] == 4 else array
    return Chunk(first_rank, arrays)


def _matching(
    chunk: Chunk, ranks: range, state: State | None, decision: Decision | None, undecided: Decision
) -> Iterator[int]:
    """Those of `ranks` in `state` and of `decision`, where given."""
    if state is None and decision is None:
        yield from ranks
        return
    decisions = chunk.octets("decision").replace(b"\0", bytes([undecided]))
    octets, value = (decisions, decision) if state is None else (chunk.octets("state"), state)
    at, end = ranks.start - chunk.first_rank, ranks.stop - chunk.first_rank
    while (at := octets.find(bytes([value or 0]), at, end)) >= 0:
        if decision is None or decisions[at] == decision:
            yield chunk.first_rank + at
        at += 1


@lru_cache(4_096)  # a slice of a list has few seconds, and each is 3 us
def _instant(seconds: int) -> str | None:
    return rfc3339(seconds * 1000) if seconds else None


class _Numbers:
    """Numbers of members asked for in order: one block is open at a time."""

    def __init__(self, view: Snapshot, tenant: int) -> None:
        self._view = view
        self._tenant = tenant
        self._at = -1
        self._block: BlockView | None = None

    def of(self, member_no: int) -> str | None:
        block, slot = divmod(member_no, BLOCK)
        if self._block is None or block != self._at:
            self._at, self._block = block, open_block(self._view, self._tenant, block, [MSISDN])
        number: int = _U64.unpack_from(self._block.array(FIELD_MSISDN), 8 * slot)[0]
        return international(number)


class MessageIds:
    """message_ids from the outcome log: log_no leads to the record of the first part's ESME_ROK."""

    def __init__(self, view: Snapshot, campaign: int) -> None:
        self._view = view
        self._base = ledger.log_base(view, campaign)
        self._begin, self._value = 0, memoryview(b"")

    def of(self, log_no: int) -> str | None:
        """None when nothing was accepted, or its part of the log is gone."""
        if not log_no:
            return None
        position = self._base + log_no - 1
        if not self._begin <= position < self._begin + len(self._value) // 8:
            found = next(ledger.log_values(self._view, reverse=True, after=position + 1), None)
            if found is None:
                return None
            self._begin, self._value = found  # the next one asked for is often in it too
        at = 8 * (position - self._begin)
        if at + _ID_AT > len(self._value):
            return None
        return id_text(bytes(self._value[at + _ID_AT : at + _ID_AT + self._value[at + _ID_OCTETS_AT]]))
