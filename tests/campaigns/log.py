"""Outcome log values as records/outcome_log.h draws them, written and folded: what became of a campaign's messages."""

from __future__ import annotations

import struct
from typing import Any

from dispatcher.records.changes import Changes
from dispatcher.records.states import Decision
from dispatcher.store import Store, ledger
from dispatcher.store.layout import U64

CLAIM, ACCEPTED, REFUSED, RETRY, RELEASED, UNCERTAIN, RECEIPT = range(1, 8)
SETTLED = 10
_HEADER = struct.Struct("<HHIQI4x")
_RUN = struct.Struct("<QHH4x")
_RECORD = struct.Struct("<BBBBIHHI")
_CLAIM = struct.Struct("<BBHIHHIQ")


def padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 8)


def claim(first_rank: int, parts: list[int | Decision], claim_no: int = 0, again: int = 0) -> bytes:
    """Recipients from `first_rank` on: a number of parts, or the Decision that skips one; `again`: bits of the last one's
    parts when only some are claimed."""
    octets = bytes(128 + n if isinstance(n, Decision) else n for n in parts)
    hashes = bytes(4 * len(parts))
    return _CLAIM.pack(CLAIM, 0, again, first_rank, 0, 0, len(parts), claim_no) + padded(octets) + padded(hashes)


def record(kind: int, rank: int, *, part: int = 0, state: int = 0, status: int = 0, message_id: bytes = b"") -> bytes:
    return _RECORD.pack(kind, part, state, len(message_id), rank, 0, 0, status) + padded(message_id)


def log(store: Store, campaign: int, at_ms: int, *records: bytes) -> None:
    """One commit's value, appended and folded."""
    with store.begin_write() as view:
        body = b"".join(records)
        value = _HEADER.pack(0x564F, 1, len(records), at_ms, len(body)) + body + _RUN.pack(campaign, 0, 1)
        changes = Changes()
        changes.put("outcome_log", U64.pack(ledger.next_position(view)), value)
        view.apply(changes)
        while not ledger.fold(view)[1]:
            pass


def log_begins(store: Store, campaign: int) -> None:
    """The daemon's first step at a start: where the campaign's log begins."""
    changes = Changes()
    with store.snapshot() as view:
        ledger.set_log_base(changes, campaign, ledger.next_position(view))
    store.apply(changes)


def by(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]
