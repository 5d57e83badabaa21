"""Single messages as people see them: what was asked, what was decided, what became of it.

Touches: one Snapshot: table `outbox`, ledger arrays of a batch, the outcome log for message_ids. The ledger is behind
what happens by a fold, about a second.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from dispatcher.apps.messages import WAITING, parse_message_id
from dispatcher.campaigns.recipients import MessageIds
from dispatcher.clock import rfc3339
from dispatcher.members.msisdn import international
from dispatcher.records.batches import message_batch, message_id
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.store import Snapshot, ledger
from dispatcher.store.layout import BLOCK, U64, U64_U32
from dispatcher.store.values import unpack

CANCELLED, SKIPPED, TOO_LATE = "cancelled", "skipped", "expired"  # beside the states of a message, and waiting
STATUS_BITS = 0xFFFFFF  # of a receipt's error; above them stands how it was matched


def get_message(view: Snapshot, tenant: int, id_: str, now_ms: int) -> dict[str, Any] | None:
    """{id, to, purpose, text, sender, ref, state, decision, why, parts, tries, message_id, created_at, expires_at,
    submitted_at, final_at}; None when the tenant has no such message. message_id is the first part's."""
    found = parse_message_id(id_)
    if found is None:
        return None
    row = view.get("outbox", U64_U32.pack(message_batch(tenant, found[1]), found[0]))
    return None if row is None else _shown(view, tenant, found[1], found[0], unpack(row), now_ms)


def list_messages(
    view: Snapshot, tenant: int, limit: int, now_ms: int, *, before: int | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """The newest first, below position `before`: (position, as get_message)."""
    rows = heapq.merge(*(_newest(view, tenant, purpose, before) for purpose in Purpose), key=lambda row: -row[0])
    return [
        (position, _shown(view, tenant, purpose, position, unpack(octets), now_ms))
        for (position, purpose, octets), _ in zip(rows, range(limit), strict=False)
    ]


def _newest(view: Snapshot, tenant: int, purpose: Purpose, before: int | None) -> Iterator[tuple[int, Purpose, bytes]]:
    batch = message_batch(tenant, purpose)
    after = None if before is None else U64_U32.pack(batch, before)
    for key, row in view.range("outbox", U64.pack(batch), after=after, reverse=True):
        yield U64_U32.unpack(key)[1], purpose, row


def _shown(
    view: Snapshot, tenant: int, purpose: Purpose, position: int, row: dict[str, Any], now_ms: int
) -> dict[str, Any]:
    batch = message_batch(tenant, purpose)
    chunk, r = divmod(position, BLOCK)

    def at(name: str, width: int = 1) -> int:
        array = ledger.read_array(view, batch, name, chunk)
        return 0 if array is None else int.from_bytes(array[width * r : width * (r + 1)], "little")

    decision = Decision(at("decision") or row["decision"] or Decision.SENT)
    state, error = State(at("state")), at("error", 4)
    waits = decision is Decision.SENT and state is State.UNSENT and row.get("due_ms", 0) > now_ms
    waits = waits and not row["cancelled_ms"]
    return {
        "id": message_id(position, purpose),
        "to": international(row["to"]),
        "purpose": purpose.value,
        "sender": row["from"],
        "text": row["text"],
        "ref": row["ref"] or None,
        "decision": WAITING if waits else decision.word,
        "state": WAITING if waits else _word(row, decision, state, now_ms),
        "due_at": rfc3339(row["due_ms"]) if row.get("due_ms") else None,
        "why": _why(row, decision, state, error, now_ms),
        "parts": row["parts"],
        "billed": row.get("billed", row["parts"]),
        "options": row.get("options") or {},
        "tries": at("tries"),
        "message_id": MessageIds(view, batch).of(at("log_no", 4)),
        "created_at": rfc3339(row["created_ms"]),
        "expires_at": rfc3339(row["expiry_ms"]),
        "submitted_at": _instant(at("submit_s", 4)),
        "final_at": _instant(at("final_s", 4)),
    }


def _word(row: dict[str, Any], decision: Decision, state: State, now_ms: int) -> str:
    if row["cancelled_ms"]:
        return CANCELLED
    if decision is not Decision.SENT:
        return SKIPPED
    return TOO_LATE if state is State.UNSENT and row["expiry_ms"] <= now_ms else state.word


def _why(row: dict[str, Any], decision: Decision, state: State, error: int, now_ms: int) -> str | None:
    """What keeps it from being delivered, None when nothing does."""
    if row["cancelled_ms"]:
        return "cancelled before it was claimed"
    if decision is not Decision.SENT:
        return decision.word
    if state is State.UNSENT:
        return "its validity ended before it could leave" if row["expiry_ms"] <= now_ms else None
    if state in (State.RETRY_WAIT, State.FAILED, State.EXPIRED, State.UNKNOWN) and error:
        return f"error 0x{error & STATUS_BITS:X}"
    return "its answer was lost with the connection" if state is State.UNCERTAIN else None


def _instant(seconds: int) -> str | None:
    return rfc3339(seconds * 1000) if seconds else None
