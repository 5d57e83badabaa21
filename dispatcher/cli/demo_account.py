"""A campaign as the store has it at the end of the demo: the ledger by rank, each part's story from the outcome log.

Touches: one Snapshot, read only. Reads the whole outcome log, some 2 s for a million records.
Rests on: records/outcome_log.h; a claim after UNCERTAIN is the resend, RELEASED says that a claim never left.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Any

from dispatcher.campaigns.campaign import bitmap_key, load
from dispatcher.campaigns.expand import WHICH_AUDIENCE, WHICH_RANKS
from dispatcher.cli.demo_judge import OPEN, RECEIPT, RESENT, ROK, UNCERTAIN, Account
from dispatcher.errors import StoreError
from dispatcher.records.states import Decision, State
from dispatcher.smpp.pump import Kind
from dispatcher.store import Snapshot, ledger
from dispatcher.store.columns import ColumnKind, open_block
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, U64


@dataclass(frozen=True, slots=True)
class Books:
    """The campaign's row, its counters, its account and what they take of the disk."""

    row: dict[str, Any]
    counts: ledger.Counts
    account: Account
    ledger_octets: int  # values of `ledger` and `bitmaps`; the outcome log apart

    def differences(self) -> list[str]:
        """Counters that are not what the ledger has recipient by recipient."""
        account, counts = self.account, self.counts
        sent = bytes(s for d, s in zip(account.decisions, account.states, strict=True) if d == Decision.SENT)
        pairs = [(d.word, account.decisions.count(d), counts.values[d]) for d in Decision if d]
        pairs += [(s.word, sent.count(s), counts.state(s)) for s in State]
        return [f"{word}: {n} in the ledger, {said} by the counter" for word, n, said in pairs if n != said]


def read_books(view: Snapshot, tenant: int, campaign: int) -> Books:
    row = load(view, tenant, campaign)
    if row is None:
        raise StoreError("the campaign is not in the store")
    audience = int(row["audience"])
    width = max(1, int(row["max_parts"]))
    account = Account(
        numbers=_numbers(view, tenant, campaign),
        parts=bytearray(_array(view, campaign, "parts", audience)),
        decisions=_array(view, campaign, "decision", audience),
        states=_array(view, campaign, "state", audience),
        text_hashes=array("I", _array(view, campaign, "text_hash", audience, 4)),
        trace=bytearray(audience * width),
        width=width,
    )
    _trace(view, campaign, account)
    octets = sum(len(value) for table in ("ledger", "bitmaps") for _, value in view.buffers(table, U64.pack(campaign)))
    return Books(row, ledger.read_counts(view, campaign), account, octets)


def _numbers(view: Snapshot, tenant: int, campaign: int) -> array[int]:
    """The number of each rank, as it is now."""
    numbers, phone = array("Q"), [(FIELD_MSISDN, 0, ColumnKind.U64)]
    table = view.get("bitmaps", bitmap_key(campaign, WHICH_RANKS, 0)) or b""
    for block, first in struct.iter_unpack("<II", table):
        assert first == len(numbers)
        bitmap = view.get("bitmaps", bitmap_key(campaign, WHICH_AUDIENCE, block)) or b""
        slots = ledger.slots_of_ranks(bitmap, list(range(ledger.popcount(bitmap))))
        column = array("Q", bytes(open_block(view, tenant, block, phone).array(FIELD_MSISDN)))
        numbers.extend([column[slot] for slot in slots])
    return numbers


def _array(view: Snapshot, campaign: int, name: str, audience: int, octets: int = 1) -> bytes:
    """One ledger array over all chunks; what was never folded is zero."""
    pieces = []
    for first in range(0, audience, BLOCK):
        wanted = octets * min(BLOCK, audience - first)
        found = ledger.read_array(view, campaign, name, first // BLOCK)
        pieces.append(bytes(found[:wanted] if found is not None else b"").ljust(wanted, b"\0"))
    return b"".join(pieces)


def _trace(view: Snapshot, campaign: int, account: Account) -> None:
    """Every record of the campaign in the order of the log, as bits of its part."""
    trace, width = account.trace, account.width
    for _, value in ledger.log_values(view):
        for record in ledger.records(value):
            if record[1] != campaign:
                continue
            if record[0] == "claim":
                if _claimed(account, record[3], record[5], record[7]):
                    account.claims_ms.append(record[6])
                continue
            kind, rank, part = record[0], record[2], record[3]
            at = rank * width + part
            if part >= width or at >= len(trace):
                raise StoreError(f"the outcome log has rank {rank} part {part}, beyond the audience")
            was = trace[at]
            if kind == Kind.ACCEPTED:
                trace[at] = (was | ROK) & ~OPEN
            elif kind in (Kind.RECEIPT, Kind.SETTLED):
                trace[at] = (was | (RECEIPT if kind == Kind.RECEIPT else 0)) & ~OPEN
            elif kind == Kind.UNCERTAIN:
                trace[at] = (was | UNCERTAIN) & ~OPEN
            elif kind in (Kind.RELEASED, Kind.SKIPPED):
                trace[at] = was & ~(OPEN | RESENT)
            elif kind == Kind.RETRY:
                trace[at] = was & ~OPEN
            elif kind == Kind.REFUSED:
                trace[at] = was & ~(OPEN | UNCERTAIN)  # refused after all: nothing is there


def _claimed(account: Account, first_rank: int, parts: bytes, again: int) -> bool:
    """Mark a claim's parts, of its last rank those of `again` alone; whether one of them had never left before."""
    trace, width, fresh = account.trace, account.width, False
    last = first_rank + len(parts) - 1
    for rank, count in enumerate(parts, first_rank):
        for part in ledger.claimed_parts(count, again if rank == last else 0):
            at = rank * width + part
            was = trace[at]
            if was & (ROK | RECEIPT):
                continue  # claimed along with another part of its message
            if was & UNCERTAIN:
                trace[at] = was | RESENT | OPEN
            else:
                trace[at] = was | OPEN
                fresh = True
    return fresh


def unlisted(account: Account) -> int:
    """Recipients of a finished campaign of whom nothing is known: without a decision, or sent and without a state."""
    undecided = account.decisions.count(Decision.UNDECIDED)
    pairs = zip(account.decisions, account.states, strict=True)
    return undecided + sum(decision == Decision.SENT and state == State.UNSENT for decision, state in pairs)
