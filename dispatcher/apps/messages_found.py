"""Whose a message_id of the SMSC is: what support is asked when an operator names one.

Touches: one Snapshot: kept message_ids and the log behind them, the ledger, what recipients.py and archives say.
Rests on: an id is known for log_kept_days + ids_kept_days after it was given; of several messages that were given the
same one by an endpoint the last is told. Another tenant's are not told.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from dispatcher.apps.archive import filled_one
from dispatcher.apps.messages_shown import get_message
from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.recipients import recipients
from dispatcher.records.batches import is_batch, is_message_batch, message_id, purpose_of_batch
from dispatcher.records.keys import public_id
from dispatcher.store import Snapshot, ledger
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.ids_kept import Known, key_of, look_up_all

OCTETS_MAX = 64  # of an id; SMPP allows 64
TOLD = ("member", "msisdn", "rank", "group", "tries", "error", "submitted_at", "final_at")
Found = dict[str, Any]


def who_had(
    view: Snapshot, tenant: int, text: str, two_forms: Collection[str], now_ms: int, *, folder: Path | None = None
) -> list[Found]:
    """Messages of the tenant that were given this id, one an endpoint: {message_id, endpoint, kind, campaign or id,
    part, state, ...}. two_forms: names of endpoints that write ids in two forms, of which it may be either."""
    octets = text.encode("latin-1", "replace")[:OCTETS_MAX]
    numbers = endpoint_numbers(view)
    both = {numbers[name] for name in two_forms if name in numbers}
    plain, other = key_of(octets, False), key_of(octets, True)
    known = look_up_all(view, [plain, other], both)
    found = []
    for name, number in numbers.items():
        had = known.get((number, plain)) or (known.get((number, other)) if number in both else None)
        about = None if had is None else _told(view, tenant, had, now_ms, folder)
        if had is not None and about is not None:
            state = ledger.state_of(view, had.id, had.rank, had.part).word
            found.append({"message_id": text, "endpoint": name, **about, "part": had.part + 1, "state": state})
    return found


def _told(view: Snapshot, tenant: int, had: Known, now_ms: int, folder: Path | None) -> Found | None:
    """Of whom it was; None for another tenant's."""
    if is_batch(had.id):
        if had.id & 0xFFFF != tenant:
            return None
        if not is_message_batch(had.id):
            return {"kind": "answer"}
        id = message_id(had.rank, purpose_of_batch(had.id))
        shown = get_message(view, tenant, id, now_ms) or {}
        return {"kind": "message", "id": id, **{name: shown.get(name) for name in ("to", "purpose", "ref", "final_at")}}
    row = load(view, tenant, had.id)
    if row is None:
        return None
    (of,) = recipients(view, tenant, had.id, after_rank=had.rank - 1 if had.rank else None, limit=1)
    of, _ = filled_one(view, tenant, had.id, of, folder)
    about = {"kind": "campaign", "campaign": public_id("cmp", had.id), "title": row["title"]}
    return about | {name: of[name] for name in TOLD}
