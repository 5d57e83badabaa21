"""Messages born alone: confirmations, answers, those of POST /v1/messages. A batch is its own small ledger by position
(DESIGN 6).

Touches: table `outbox` through View and Changes. An entry is durable before anybody is told that it will go.
Seven batches a tenant: answers (purpose service, honour STOP); confirmations of an opt-out (exempt from it, never sent
twice by us: uncertain, they are held); messages, one batch a purpose, whose positions count on across the five.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.members.consent import group_of, opted_out_since, suppressed
from dispatcher.records.batches import CONFIRMATIONS_BIT, batch_of, tenant_of_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import BATCH_BIT
from dispatcher.records.states import Decision, Purpose
from dispatcher.store.layout import U64, U64_U32
from dispatcher.store.values import pack, unpack
from dispatcher.text.options import PLAIN, Options

REPLY_VALIDITY_S = 3_600


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
    validity_s: int = REPLY_VALIDITY_S  # what the SMSC is told
    decision: Decision = Decision.UNDECIDED  # of the gate at acceptance, when it is against sending
    cancelled: bool = False
    options: Options = PLAIN
    due_ms: int = 0  # it may not leave before
    proof: bool = False  # a test to a listed phone
    via: int = -1  # the endpoint, by its number, of the message that it answers; -1: none

    @property
    def tenant(self) -> int:
        return tenant_of_batch(self.batch)

    @property
    def confirmation(self) -> bool:
        return bool(self.batch & CONFIRMATIONS_BIT)


def add_entry(
    changes: Changes, view: View, tenant: int, *, to: int, sender: str, text: str, purpose: Purpose, now_ms: int,
    expiry_ms: int, confirmation: bool = False, via: int = -1,
) -> Entry:  # fmt: skip
    """Write the next entry of the tenant's batch; one a Changes for each batch (positions come from the View)."""
    batch = batch_of(tenant, confirmations=confirmation)
    position = next((U64_U32.unpack(key)[1] + 1 for key, _ in view.range("outbox", U64.pack(batch), reverse=True)), 0)
    entry = Entry(
        batch=batch, position=position, to=to, sender=sender, text=text, purpose=purpose,
        expiry_ms=expiry_ms, created_ms=now_ms, via=via,
    )  # fmt: skip
    row = {
        "to": to,
        "from": sender,
        "text": text,
        "purpose": purpose.value,
        "expiry_ms": expiry_ms,
        "created_ms": now_ms,
    }
    if via >= 0:
        row["via"] = via
    changes.put("outbox", U64_U32.pack(batch, position), pack(row))
    return entry


def withdrawn(view: View, entry: Entry) -> Decision:
    """Why it may not go though it might when it was made: the person opted out of its purpose since, or nothing may go
    to the number any more. What they asked for since then may go. UNDECIDED: it may go."""
    if entry.confirmation:
        return Decision.UNDECIDED
    if suppressed(view, entry.tenant, entry.to):
        return Decision.SUPPRESSED
    group = group_of(entry.purpose)
    since_ms = opted_out_since(view, entry.tenant, entry.to, group) if group is not None else None
    return Decision.OPTED_OUT if since_ms is not None and since_ms >= entry.created_ms else Decision.UNDECIDED


def read_entry(view: View, batch: int, position: int) -> Entry | None:
    row = view.get("outbox", U64_U32.pack(batch, position))
    return None if row is None else _entry(batch, position, row)


def entries(view: View, batch: int, first: int = 0) -> Iterator[Entry]:
    """A batch's entries from position `first` on."""
    after = U64_U32.pack(batch, first - 1) if first else None
    for key, row in view.range("outbox", U64.pack(batch), after=after):
        yield _entry(batch, U64_U32.unpack(key)[1], row)


def rows_from(view: View, batch: int, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(position, row as it is kept) of a batch's entries from position `first` on."""
    after = U64_U32.pack(batch, first - 1) if first else None
    for key, row in view.range("outbox", U64.pack(batch), after=after):
        yield U64_U32.unpack(key)[1], unpack(row)


def entries_of(changes: Changes) -> list[Entry]:
    """The entries that are among these Changes."""
    made = []
    for (table, key), row in changes.rows.items():
        if table == "outbox" and row is not None:
            batch, position = U64_U32.unpack(key)
            made.append(_entry(batch, position, bytes(row)))
    return made


def batches(view: View, first: int = BATCH_BIT) -> Iterator[int]:
    """Every batch from `first` on that has an entry, by skipping from one to the next."""
    after = U64_U32.pack(first, 0)
    while (key := next((key for key, _ in view.range("outbox", after=after)), None)) is not None:
        batch = U64_U32.unpack(key)[0]
        yield batch
        after = U64_U32.pack(batch, 0xFFFFFFFF)


def _entry(batch: int, position: int, octets: bytes) -> Entry:
    row = unpack(octets)
    return Entry(
        batch=batch, position=position, to=row["to"], sender=row["from"], text=row["text"],
        purpose=Purpose(row["purpose"]), expiry_ms=row["expiry_ms"], created_ms=row["created_ms"],
        validity_s=row.get("validity_s", REPLY_VALIDITY_S), decision=Decision(row.get("decision", 0)),
        cancelled=bool(row.get("cancelled_ms")), options=Options.of(row.get("options")), via=row.get("via", -1),
        due_ms=row.get("due_ms", 0), proof=row.get("proof", False),
    )  # fmt: skip
