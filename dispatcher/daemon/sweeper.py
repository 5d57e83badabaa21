"""Time settles the rest: receipts that never came, uncertain messages nobody could settle, answers nobody needs.

Touches: the ledger through snapshots, the journals by the feeder, tables outbox and audit through steps of the writer.
Rests on: DESIGN 4 (uncertain at validity + 24 h ends as unknown, accepted without a receipt by then as no_receipt).
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns.campaign import DAEMON
from dispatcher.daemon.feeder import Feeder
from dispatcher.outbox.entry import batches, entries, read_entry
from dispatcher.records.batches import is_message_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import BATCH_BIT, public_id
from dispatcher.records.states import State
from dispatcher.smpp.pump import Kind
from dispatcher.store import Snapshot, audit, ledger
from dispatcher.store.layout import BLOCK, U64_U32

RECORDS_AT_ONCE = 10_000
ENTRIES_AT_ONCE = 2_000  # of the outbox, half a kilobyte each
BATCH_IS = 20  # entries: what a look at a batch takes, however few are in it
BY_TIME = {State.ACCEPTED: State.NO_RECEIPT, State.UNCERTAIN: State.UNKNOWN}


Swept = dict[tuple[int, int], dict[str, int]]  # (tenant, campaign) -> parts by the state that they end in


def settle_by_time(view: Snapshot, feeder: Feeder, now_ms: int, wait_s: float) -> Swept:
    """Journal the end of what is past its campaign's validity and the wait; returns the parts settled in this call."""
    done, swept = 0, Swept()
    for known in list(feeder.campaigns.values()):
        row = campaigns.load(view, known.tenant, known.id)
        if row is None or not row["started_ms"]:
            continue
        if now_ms < row["started_ms"] + int((row["validity_s"] + wait_s) * 1000):
            continue
        counts = ledger.read_counts(view, known.id)
        for state, end in BY_TIME.items() if row["receipts"] else [(State.UNCERTAIN, State.UNKNOWN)]:
            parts = _settle(view, feeder, known.id, state, end, RECORDS_AT_ONCE - done) if counts.state(state) else 0
            if parts:
                swept.setdefault((known.tenant, known.id), {})[end.word] = parts
            done += parts
            if done >= RECORDS_AT_ONCE:
                return swept
    return swept


def note_swept(view: View, of: tuple[int, int], parts: dict[str, int], now_ms: int) -> tuple[Changes, None]:
    """The audit's entry of what time has ended in a campaign."""
    changes, (tenant, campaign) = Changes(), of
    why = "its validity and the wait for receipts are over"
    audit.note(view, changes, DAEMON, "campaign.swept", tenant, now_ms, public_id("cmp", campaign), why, parts=parts)
    return changes, None


def settle_answers_by_time(view: Snapshot, feeder: Feeder, now_ms: int, wait_s: float) -> int:
    """The same of single messages, past their expiry and the wait; answers and confirmations ask for no receipt."""
    done = 0
    for batch in list(feeder.replies.batches):
        counts = ledger.read_counts(view, batch)
        for state, end in BY_TIME.items() if is_message_batch(batch) else [(State.UNCERTAIN, State.UNKNOWN)]:
            if counts.state(state):
                done += _settle_entries(view, feeder, batch, state, end, now_ms - int(wait_s * 1000))
    return done


def _settle_entries(view: Snapshot, feeder: Feeder, batch: int, state: State, end: State, expired_ms: int) -> int:
    done = 0
    for chunk in ledger.chunks(view, batch):
        states = ledger.read_array(view, batch, "state", chunk)
        assert states is not None
        for position in ledger.ranks_in_state(states, state, chunk * BLOCK):
            if done >= RECORDS_AT_ONCE:
                return done
            entry = read_entry(view, batch, position)
            if entry is not None and expired_ms < entry.expiry_ms:
                continue
            for part in ledger.parts_in_state(view, batch, position, state):
                feeder.log(batch, Kind.SETTLED, part, end, position)
                done += 1
    return done


def drop_old_answers(view: Snapshot, kept_ms: int, now_ms: int, after: tuple[int, int]) -> tuple[Changes, Any]:
    """Delete entries of the outbox older than `kept_ms` with which nothing can happen any more, from (batch, position)
    `after` on; the last of a batch stays, for the next is numbered from it. Result: where to go on, None at the end.
    """
    changes, looked = Changes(), 0
    for batch in batches(view, max(after[0], BATCH_BIT)):
        if looked >= ENTRIES_AT_ONCE:
            return changes, (batch, 0)
        looked += BATCH_IS
        earlier: int | None = None  # deleted once there is one behind it
        for entry in entries(view, batch, after[1] if batch == after[0] else 0):
            if earlier is not None:
                changes.delete("outbox", U64_U32.pack(batch, earlier))
                earlier = None
            if now_ms - entry.created_ms < kept_ms or entry.expiry_ms >= now_ms:
                break
            if looked >= ENTRIES_AT_ONCE:
                return changes, (batch, entry.position)
            looked += 1
            open_ = (State.CLAIMED, State.RETRY_WAIT, State.UNCERTAIN)
            if not any(ledger.parts_in_state(view, batch, entry.position, state) for state in open_):
                earlier = entry.position
    return changes, None


def _settle(view: Snapshot, feeder: Feeder, campaign: int, state: State, end: State, room: int) -> int:
    done = 0
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        for rank in ledger.ranks_in_state(states, state, chunk * BLOCK):
            if done >= room:
                return done
            for part in ledger.parts_in_state(view, campaign, rank, state):
                feeder.log(campaign, Kind.SETTLED, part, end, rank)
                done += 1
    return done
