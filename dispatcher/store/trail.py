"""One message in the outcome log: every claim, answer and receipt of it, without an index of messages.

Touches: table `outcome_log`, through one Snapshot.
Rests on: the ledger's arrays say when a message was last claimed, when it became final, and where its first ESME_ROK
stands; values of the log are in order of time, so an instant is found by halving. What lies between the two instants is
looked through by a kernel at some 4 GB/s; where that is too much, the value with the answer is read alone.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.store.layout import U64
from dispatcher.store.ledger import value_header
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store._trail import of_kind, trail
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_trail is not built: run `make build`") from exc

__all__ = ["BUDGET_OCTETS", "Step", "Trail", "endpoints_of", "newest_of_kind", "settled_value", "trail"]

BUDGET_OCTETS = 64 << 20  # of one answer: 15 ms from memory
NEAR_VALUES = 64  # after the one with the first ESME_ROK: the other parts' are there or never
CLAIM, ACCEPTED, REFUSED, RETRY, RELEASED, UNCERTAIN, RECEIPT, _, SKIPPED, SETTLED = range(1, 11)
_PAD_MS = 2_000  # a record's own time is up to a commit later than its value's


BY_HAND = 2 << 24  # in the status of a settlement: it holds only of what is uncertain still
_HEADER = struct.Struct("<HHIQII")
_RECORD = struct.Struct("<BBBBIHHI")
_RUN = struct.Struct("<QHHI")
_MAGIC = 0x564F


def settled_value(campaign: int, parts: Sequence[tuple[int, int]], state: int, at_ms: int) -> bytes:
    """A value of the log that settles parts (rank, part) of one campaign by a person's word."""
    body = b"".join(_RECORD.pack(SETTLED, part, state, 0, rank, 0, 0, BY_HAND) for rank, part in parts)
    return _HEADER.pack(_MAGIC, 1, len(parts), at_ms, len(body), 0) + body + _RUN.pack(campaign, 0, 0, 0)


def newest_of_kind(
    view: Snapshot, kind: int, wanted: Collection[tuple[int, int]], octets: int
) -> tuple[dict[tuple[int, int], tuple[int, int, int, int]], bool]:
    """Of (campaign, rank) the newest record of a kind: (state, status, at_ms, endpoint). The log is read from its end
    until all are found; whether that was so within `octets`."""
    missing = set(wanted)
    found: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for _, value in view.buffers("outcome_log", reverse=True):
        if not missing or octets < 0:
            break
        octets -= len(value)
        for campaign, rank, _, state, status, at_ms in reversed(of_kind(value, kind)):
            if campaign is not None and (campaign, rank) in missing:
                missing.discard((campaign, rank))
                found[campaign, rank] = state, status, at_ms, value_header(value)[2]
    return found, not missing


def endpoints_of(view: Snapshot, wanted: Collection[tuple[int, int]], octets: int) -> dict[tuple[int, int], int]:
    """By which endpoint messages (campaign, rank) were claimed last, by its number. The log is read from its end until
    all are found, or `octets` of it: those that are missing were claimed before that."""
    missing: dict[int, list[int]] = {}
    for campaign, rank in sorted(set(wanted)):
        missing.setdefault(campaign, []).append(rank)
    found: dict[tuple[int, int], int] = {}
    for _, value in view.buffers("outcome_log", reverse=True):
        if not missing or octets < 0:
            break
        octets -= len(value)
        endpoint = value_header(value)[2]
        for of, first, _, _, count, _ in reversed(of_kind(value, CLAIM)):  # a claim's count is where a status is
            if of is not None and (ranks := missing.get(of)):
                begin, end = bisect_left(ranks, first), bisect_right(ranks, first + count - 1)
                found.update(((of, rank), endpoint) for rank in ranks[begin:end])
                del ranks[begin:end]
        missing = {campaign: ranks for campaign, ranks in missing.items() if ranks}
    return found


class Step(NamedTuple):
    """One record of a message. kind and state: records/outcome_log.h."""

    kind: int
    part: int
    state: int
    status: int
    id: bytes
    at_ms: int
    endpoint: int


@dataclass(slots=True)
class Trail:
    """Looks for messages, newest first, until the budget is used up."""

    view: Snapshot
    left: int = BUDGET_OCTETS

    def of(
        self, campaign: int, rank: int, *, since_ms: int, until_ms: int | None, most: int = BUDGET_OCTETS
    ) -> tuple[list[Step], bool]:
        """(its records in log order, whether the log between the instants was looked through: not when that is more
        than `most` octets or than is left). until_ms None: the end of the log."""
        first = self._journal_of(self.position_at(since_ms - _PAD_MS))
        last = None if until_ms is None else self.position_at(until_ms + _PAD_MS)
        octets = 8 * ((self._end() if last is None else last) - first)
        if octets > min(most, self.left):
            return [], False
        self.left -= max(0, octets)
        return self._between(campaign, rank, first, last), True

    def near(self, campaign: int, rank: int, answered_at: int) -> list[Step]:
        """Its records in the value with its first ESME_ROK, which stands at this log position, and in the next ones."""
        steps: list[Step] = []
        for number, (position, value) in enumerate(self._values(self._at_or_before(answered_at))):
            if number > NEAR_VALUES or len(value) > self.left:
                break
            self.left -= len(value)
            steps += self._of_value(position, value, campaign, rank)
        return steps

    def position_at(self, at_ms: int) -> int:
        """The last value that may have a record of this instant: the one before the first made after it."""
        low = self._made_from(at_ms)
        return self._at_or_before(low - 1) if low > self._first() else low

    def _journal_of(self, position: int) -> int:
        """From where on the log has what was cut from one journal with the value at a position (log_values.py)."""
        made = next((value_header(value)[0] for _, value in self._values(position)), None)
        return position if made is None else min(position, self._made_from(made))

    def _made_from(self, at_ms: int) -> int:
        """From where on values were made at at_ms or later."""
        low, high = self._first(), self._end()
        while low < high:  # the least position whose value, the first at or after it, was made at at_ms or later
            middle = (low + high) // 2
            found = next(self._values(middle), None)
            if found is None or value_header(found[1])[0] >= at_ms:
                high = middle
            else:
                low = max(middle + 1, found[0] + 1)
        return low

    def _between(self, campaign: int, rank: int, first: int, last: int | None) -> list[Step]:
        steps: list[Step] = []
        for position, value in self._values(first):
            if last is not None and position > last:
                break
            steps += self._of_value(position, value, campaign, rank)
        return steps

    def _of_value(self, position: int, value: memoryview, campaign: int, rank: int) -> list[Step]:
        records = trail(value, campaign, rank)
        if not records:
            return []
        endpoint = value_header(value)[2]
        return [Step(*record, endpoint) for record in records]

    def _values(self, position: int) -> Iterator[tuple[int, memoryview]]:
        """From the first value at or after a position."""
        after = U64.pack(position - 1) if position else None
        for key, value in self.view.buffers("outcome_log", after=after):
            yield U64.unpack(key)[0], value

    def _first(self) -> int:
        return next((position for position, _ in self._values(0)), 0)

    def _end(self) -> int:
        for key, value in self.view.buffers("outcome_log", reverse=True):
            return int(U64.unpack(key)[0]) + len(value) // 8
        return 0

    def _at_or_before(self, position: int) -> int:
        for key, _ in self.view.buffers("outcome_log", after=U64.pack(position + 1), reverse=True):
            return int(U64.unpack(key)[0])
        return 0
