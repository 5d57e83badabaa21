"""Which of the oldest log values nobody needs any longer, and the message_ids that are kept of them.

Touches: outcome_log, message_ids and ledger arrays through snapshots; returns Changes. Rests on: DESIGN 8 (at most 256
values a commit). A value goes when it is old, folded, and all it speaks of is settled: a start reads claims and ids of
the rest out of the log. What it said of an id goes into a segment of store/ids_kept.py, in the same commit.
Weak spot: values go from the oldest on, so one message that is awaited for long keeps the log of all behind it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dispatcher.campaigns.campaign import LATER
from dispatcher.daemon.crash import crash_point
from dispatcher.records.batches import is_batch, is_message_batch
from dispatcher.records.changes import Changes
from dispatcher.records.states import State
from dispatcher.store import Snapshot, ids_kept, ledger
from dispatcher.store.layout import BLOCK, TENANT_U64, U64
from dispatcher.store.values import unpack

VALUES_AT_ONCE = 256
SLICE_OCTETS = 32 << 20  # of the log, read for its ids: 10 ms
MOVING = (State.CLAIMED, State.RETRY_WAIT, State.ACCEPTED, State.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Old:
    """A slice of the log that nobody needs, and what is kept of it. `positions` empty: there is none."""

    positions: list[int]
    kept: ids_kept.Kept | None


def old_values(view: Snapshot, kept_ms: int, ids_kept_ms: int, both: Collection[int], now_ms: int) -> Old:
    """The oldest log values that are older than `kept_ms` and speak only of what is settled; never the last. Of their
    message_ids a segment, unless `ids_kept_ms` is 0. both: endpoints that write ids in two forms. Nothing is written,
    so it is for a thread: some 50 ms for a slice of a full-rate log, most of it without the GIL."""
    folded, end, still = ledger.folded_to(view), ledger.next_position(view), _Still(view)
    positions: list[int] = []
    octets = records = 0
    for position, value in ledger.log_values(view):
        base_ms = ledger.value_header(value)[0]
        if now_ms - base_ms < kept_ms or position >= folded or position + len(value) // 8 == end:
            break
        octets += len(value)
        records += ledger.records_of(value)
        over = len(positions) == VALUES_AT_ONCE or octets > SLICE_OCTETS or records > ids_kept.SEGMENT_IDS
        if (positions and over) or any(still.moves(*span) for span in ledger.rank_spans(value)):
            break
        positions.append(position)
    kept = ids_kept.keep(view, positions, both, now_ms) if ids_kept_ms and positions else None
    return Old(positions, kept)


def drop_values(old: Old) -> Changes:
    """They go, their message_ids stay: one commit, so that an id is never in neither."""
    changes = Changes()
    crash_point("in_log_drop")
    for position in old.positions:
        changes.delete("outcome_log", U64.pack(position))
    if old.kept is not None:
        changes.put(ids_kept.TABLE, old.kept.key, old.kept.value)
    return changes


class _Still:
    """Whether something may still happen to messages, of which then all of the log is kept."""

    def __init__(self, view: Snapshot) -> None:
        self._view = view
        self._moving: dict[int, tuple[State, ...]] = {}
        self._asks: dict[int, bool] | None = None  # campaign -> whether it asked for receipts

    def moves(self, id: int, first: int, last: int) -> bool:
        """Any of these ranks of a campaign or batch. A batch is never over, but its old positions are."""
        moving = self._moving.get(id)
        if moving is None:
            moving = self._moving[id] = self._states(id)
        if not moving:
            return False
        settled = bytes(set(range(256)) - set(moving))
        for chunk in range(first // BLOCK, last // BLOCK + 1):
            states = ledger.read_array(self._view, id, "state", chunk)
            begin, end = max(first - chunk * BLOCK, 0), last + 1 - chunk * BLOCK
            if states is not None and bytes(states[begin:end]).translate(None, settled):
                return True
        return False

    def _states(self, id: int) -> tuple[State, ...]:
        """In which something of it is, and may come out of. Accepted is final where no receipt was asked for."""
        counts = ledger.read_counts(self._view, id)
        found = tuple(state for state in MOVING if counts.state(state))
        if State.ACCEPTED in found and not self._asks_for_receipts(id):
            found = tuple(state for state in found if state is not State.ACCEPTED)
        return found

    def _asks_for_receipts(self, id: int) -> bool:
        if is_batch(id):
            return is_message_batch(id)
        if self._asks is None:
            rows = self._view.range("campaigns")
            self._asks = {TENANT_U64.unpack(key)[1]: bool((LATER | unpack(octets))["receipts"]) for key, octets in rows}
        return self._asks.get(id, True)
