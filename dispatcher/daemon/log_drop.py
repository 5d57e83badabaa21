"""Which of the oldest log values nobody needs any longer.

Touches: outcome_log and ledger arrays through snapshots; returns Changes. Rests on: DESIGN 8 (at most 256 values a
commit, when one had up to 4 MiB: now it has 16 KiB, store/log_values.py). A value goes when it is old, folded, all it
speaks of is settled, and its message_ids are kept (store/ids_kept.py): a start reads claims and ids of the rest out of
the log.
Weak spot: values go from the oldest on, so one message that is awaited for long keeps the log of all behind it.
"""

from __future__ import annotations

from dispatcher.campaigns.campaign import find_campaign
from dispatcher.daemon.crash import crash_point
from dispatcher.records.batches import is_batch, is_message_batch
from dispatcher.records.changes import Changes
from dispatcher.records.states import State, moving
from dispatcher.store import Snapshot, ids_kept, ledger
from dispatcher.store.layout import BLOCK, U64

VALUES_AT_ONCE = 4_096


def old_values(view: Snapshot, kept_ms: int, now_ms: int, *, ids_kept_too: bool = True) -> list[int]:
    """Positions of the oldest log values that are older than `kept_ms` and speak only of what is settled; never the
    last. ids_kept_too: nor one whose message_ids are in no segment yet."""
    end, still = ledger.next_position(view), _Still(view)
    until = min(ledger.folded_to(view), ids_kept.upto(view)) if ids_kept_too else ledger.folded_to(view)
    positions: list[int] = []
    for position, value in ledger.log_values(view):
        base_ms = ledger.value_header(value)[0]
        if now_ms - base_ms < kept_ms or position >= until or position + len(value) // 8 == end:
            break
        if len(positions) == VALUES_AT_ONCE or any(still.moves(*span) for span in ledger.rank_spans(value)):
            break
        positions.append(position)
    return positions


def drop_values(positions: list[int]) -> Changes:
    """They go."""
    changes = Changes()
    crash_point("in_log_drop")
    for position in positions:
        changes.delete("outcome_log", U64.pack(position))
    return changes


class _Still:
    """Whether something may still happen to messages, of which then all of the log is kept."""

    def __init__(self, view: Snapshot) -> None:
        self._view = view
        self._moving: dict[int, tuple[State, ...]] = {}

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
        found = tuple(filter(counts.state, moving(receipts=True)))
        if State.ACCEPTED in found and not self._asks_for_receipts(id):
            found = tuple(state for state in found if state is not State.ACCEPTED)
        return found

    def _asks_for_receipts(self, id: int) -> bool:
        if is_batch(id):
            return is_message_batch(id)
        found = find_campaign(self._view, id)
        return found is None or bool(found[1]["receipts"])
