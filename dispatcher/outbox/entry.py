"""Messages born alone: confirmations and answers. A batch is its own small ledger by position (DESIGN 6).

Touches: table `outbox` through View and Changes. An entry is durable before anybody is told that it will go.
Two batches a tenant: answers (purpose service, honour STOP) and confirmations of an opt-out (exempt from it, never
sent twice by us: uncertain, they are held).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.members.consent import group_of, opted_out_since
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import BATCH_BIT
from dispatcher.records.states import Purpose
from dispatcher.store.layout import U64, U64_U32
from dispatcher.store.values import pack, unpack

CONFIRMATIONS_BIT = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One single message. `batch` and `position` are its message_key."""

    batch: int
    position: int
    to: int
    sender: str
    text: str
    purpose: Purpose
    expiry_ms: int
    created_ms: int

    @property
    def tenant(self) -> int:
        return self.batch & 0xFFFF

    @property
    def confirmation(self) -> bool:
        return bool(self.batch & CONFIRMATIONS_BIT)


def batch_of(tenant: int, *, confirmations: bool = False) -> int:
    return BATCH_BIT | (CONFIRMATIONS_BIT if confirmations else 0) | tenant


def is_batch(campaign: int) -> bool:
    """The id is a batch of single messages, not a campaign."""
    return bool(campaign & BATCH_BIT)


def add_entry(
    changes: Changes, view: View, tenant: int, *, to: int, sender: str, text: str, purpose: Purpose, now_ms: int,
    expiry_ms: int, confirmation: bool = False,
) -> Entry:  # fmt: skip
    """Write the next entry of the tenant's batch; one a Changes for each batch (positions come from the View)."""
    batch = batch_of(tenant, confirmations=confirmation)
    position = next((U64_U32.unpack(key)[1] + 1 for key, _ in view.range("outbox", U64.pack(batch), reverse=True)), 0)
    entry = Entry(
        batch=batch, position=position, to=to, sender=sender, text=text, purpose=purpose,
        expiry_ms=expiry_ms, created_ms=now_ms,
    )  # fmt: skip
    row = {
        "to": to,
        "from": sender,
        "text": text,
        "purpose": purpose.value,
        "expiry_ms": expiry_ms,
        "created_ms": now_ms,
    }
    changes.put("outbox", U64_U32.pack(batch, position), pack(row))
    return entry


def withdrawn(view: View, entry: Entry) -> bool:
    """Whether the person opted out of its purpose after it was made. What they asked for since then may go."""
    group = group_of(entry.purpose)
    if entry.confirmation or group is None:
        return False
    since_ms = opted_out_since(view, entry.tenant, entry.to, group)
    return since_ms is not None and since_ms >= entry.created_ms


def read_entry(view: View, batch: int, position: int) -> Entry | None:
    row = view.get("outbox", U64_U32.pack(batch, position))
    return None if row is None else _entry(batch, position, row)


def entries(view: View, batch: int) -> Iterator[Entry]:
    for key, row in view.range("outbox", U64.pack(batch)):
        yield _entry(batch, U64_U32.unpack(key)[1], row)


def batches(view: View) -> list[int]:
    """Every batch that has an entry, by skipping from one to the next."""
    found: list[int] = []
    after: bytes | None = U64_U32.pack(BATCH_BIT, 0)
    while True:
        key = next((key for key, _ in view.range("outbox", after=after)), None)
        if key is None:
            return found
        batch = U64_U32.unpack(key)[0]
        found.append(batch)
        after = U64_U32.pack(batch, 0xFFFFFFFF)


def _entry(batch: int, position: int, octets: bytes) -> Entry:
    row = unpack(octets)
    return Entry(
        batch=batch, position=position, to=row["to"], sender=row["from"], text=row["text"],
        purpose=Purpose(row["purpose"]), expiry_ms=row["expiry_ms"], created_ms=row["created_ms"],
    )  # fmt: skip
