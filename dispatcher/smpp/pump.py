"""The pump's names for others: Book and Pump with their constants, and the fixed octets of a campaign's submit_sm.

Touches: nothing. Rests on: SMPP v3.4 4.4.1 (submit_sm's order of fields), SMPP_FACTS 3 for what a status means.
"""

from __future__ import annotations

from dispatcher.smpp.consts import STATUSES, Action

try:
    from dispatcher.smpp._book import Book
    from dispatcher.smpp._pace import Pace
    from dispatcher.smpp._pump import BLOCKED, BROKEN, CLOSED, OFF_PATH, Pump
    from dispatcher.smpp._settled import Settled
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernels of smpp/ are not built: run `make build`") from exc

__all__ = [
    "ACTIONS",
    "ACTION_OTHER",
    "BLOCKED",
    "BROKEN",
    "BULK",
    "CLOSED",
    "OFF_PATH",
    "POOLS",
    "REPLIES",
    "URGENT",
    "Book",
    "Kind",
    "Pace",
    "Pump",
    "Settled",
    "action_of",
    "submit_head",
    "submit_mid",
]

POOLS = BULK, REPLIES, URGENT = 0, 1, 2  # of a Book: lanes, the greater leaves first

_ORDER = (Action.DONE, Action.THROTTLED, Action.LATER, Action.BOUNDED, Action.FAIL, Action.CLOSE)
ACTION_OTHER = _ORDER.index(Action.BOUNDED)  # SMPP_FACTS 3: any value not listed
ACTIONS = bytes(_ORDER.index(STATUSES[s][1]) if s in STATUSES else ACTION_OTHER for s in range(512))


def action_of(status: int) -> Action:
    """What the sender must do on a command_status (SMPP_FACTS 3)."""
    return STATUSES[status][1] if status in STATUSES else Action.BOUNDED


class Kind:
    """Kinds of outcome-log records (records/outcome_log.h)."""

    CLAIM = 1
    ACCEPTED = 2
    REFUSED = 3
    RETRY = 4
    RELEASED = 5
    UNCERTAIN = 6
    RECEIPT = 7
    HELD = 8
    SKIPPED = 9
    SETTLED = 10


def submit_head(source_addr: str, source_ton: int, source_npi: int, dest_ton: int, dest_npi: int) -> bytes:
    """submit_sm from its header to dest_addr_npi; length, sequence_number and the rest are the pump's."""
    sender = source_addr.encode("latin-1", "replace")[:20]
    if sender and not sender.isdigit():
        source_ton, source_npi = 5, 0  # alphanumeric (SMPP_FACTS 5)
    header = bytes(4) + (4).to_bytes(4, "big") + bytes(8)
    return header + b"\0" + bytes((source_ton, source_npi)) + sender + b"\0" + bytes((dest_ton, dest_npi))


def submit_mid(
    *,
    validity_s: int = 0,
    receipts: bool = True,
    priority: int = 0,
    protocol_id: int = 0,
    registered: int | None = None,
    valid_until: str = "",
    deliver_at: str = "",
) -> bytes:
    """protocol_id to replace_if_present_flag; validity as a relative time (SMPP_FACTS 6), 0 = the SMSC's own, or until
    the absolute time `valid_until`. `registered`: registered_delivery, where `receipts` does not say enough."""
    validity = valid_until.encode() or (_relative(validity_s) if validity_s else b"")
    registered = int(receipts) if registered is None else registered
    times = deliver_at.encode() + b"\0" + validity + b"\0"
    return bytes((protocol_id, priority)) + times + bytes((registered, 0))


def _relative(seconds: int) -> bytes:
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    months, d = divmod(days, 30)
    return f"00{min(months, 99):02d}{d:02d}{h:02d}{m:02d}{s:02d}000R".encode()
