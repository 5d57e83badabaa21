"""Time settles the rest: receipts that never came, uncertain messages nobody could settle, log values nobody needs.

Touches: the ledger through snapshots, the Book's journal, table outcome_log through a step of the writer.
Rests on: DESIGN 4 (uncertain at validity + 24 h ends as unknown, accepted without a receipt by then as no_receipt) and
8 (at most 256 values a commit). Message ids of a value that is dropped are no longer found; log_kept_days says when.
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns import campaign as campaigns
from dispatcher.daemon.feeder import Feeder
from dispatcher.records.changes import Changes
from dispatcher.records.states import State
from dispatcher.smpp.pump import Book, Kind
from dispatcher.store import Snapshot, ledger
from dispatcher.store.layout import BLOCK, U64

RECORDS_AT_ONCE = 10_000
VALUES_AT_ONCE = 256
BY_TIME = {State.ACCEPTED: State.NO_RECEIPT, State.UNCERTAIN: State.UNKNOWN}


def settle_by_time(view: Snapshot, book: Book, feeder: Feeder, now_ms: int, wait_s: float) -> int:
    """Journal the end of what is past its campaign's validity and the wait; returns the parts settled in this call."""
    done = 0
    for known in list(feeder.campaigns.values()):
        row = campaigns.load(view, known.tenant, known.id)
        if row is None or not row["started_ms"] or not row["receipts"]:
            continue
        if now_ms < row["started_ms"] + int((row["validity_s"] + wait_s) * 1000):
            continue
        counts = ledger.read_counts(view, known.id)
        for state, end in BY_TIME.items():
            if counts.state(state):
                done += _settle(view, book, known.id, known.run, state, end, RECORDS_AT_ONCE - done)
            if done >= RECORDS_AT_ONCE:
                return done
    return done


def _settle(view: Snapshot, book: Book, campaign: int, run: int, state: State, end: State, room: int) -> int:
    done = 0
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        for rank in ledger.ranks_in_state(states, state, chunk * BLOCK):
            if done >= room:
                return done
            for part in ledger.parts_in_state(view, campaign, rank, state):
                book.log(Kind.SETTLED, part, end, rank, run, 0)
                done += 1
    return done


def drop_old_values(view: Snapshot, kept_ms: int, now_ms: int) -> tuple[Changes, Any]:
    """Delete the oldest log values that are older than `kept_ms` and speak only of what is settled; never the last."""
    changes = Changes()
    end = ledger.next_position(view)
    settled: dict[int, bool] = {}
    for looked, (position, value) in enumerate(ledger.log_values(view)):
        base_ms, runs = ledger.value_header(value)
        if looked >= VALUES_AT_ONCE or now_ms - base_ms < kept_ms or position + len(value) // 8 == end:
            break
        for run in runs:
            if run not in settled:
                counts = ledger.read_counts(view, run)
                moving = (State.CLAIMED, State.RETRY_WAIT, State.ACCEPTED, State.UNCERTAIN)
                settled[run] = not any(counts.state(state) for state in moving)
        if not all(settled[run] for run in runs):
            break
        changes.delete("outcome_log", U64.pack(position))
    return changes, len(changes.rows)
