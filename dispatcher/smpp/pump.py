"""The pump's names for others: Book and Pump with their constants, and the fixed octets of a campaign's submit_sm.

Touches: nothing. Rests on: SMPP v3.4 4.4.1 (submit_sm's order of fields), SMPP_FACTS 3 for what a status means.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.endpoint import STATUSES_MAX
from dispatcher.smpp.consts import STATUSES, TELLS_OF_CONFIGURATION, Action

try:
    from dispatcher.smpp._book import Book
    from dispatcher.smpp._pace import Pace
    from dispatcher.smpp._pump import BLOCKED, BROKEN, CLOSED, OFF_PATH, Pump, may_be_refused, set_opt_outs
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
    "actions_with",
    "may_be_refused",
    "set_opt_outs",
    "submit_head",
    "submit_mid",
]

POOLS = BULK, REPLIES, URGENT = 0, 1, 2  # of a Book: lanes, the greater leaves first

_ORDER = (Action.DONE, Action.THROTTLED, Action.LATER, Action.BOUNDED, Action.FAIL, Action.CLOSE, Action.HOLD)
ACTION_OTHER = _ORDER.index(Action.BOUNDED)  # SMPP_FACTS 3: any value not listed
_USUAL = {
    status: Action.HOLD if status in TELLS_OF_CONFIGURATION else action for status, (_, action) in STATUSES.items()
}
ACTIONS = bytes(_ORDER.index(_USUAL[s]) if s in _USUAL else ACTION_OTHER for s in range(STATUSES_MAX))
# the words of an endpoint's `statuses`
WORDS = {
    "throttle": Action.THROTTLED, "later": Action.LATER, "retry": Action.BOUNDED, "fail": Action.FAIL,
    "hold": Action.HOLD, "close": Action.CLOSE,
}  # fmt: skip


def actions_with(statuses: Mapping[str, str]) -> bytes:
    """The table of an endpoint: ACTIONS with what its configuration says otherwise, as {"0x45": "retry"}."""
    table = bytearray(ACTIONS)
    for status, word in statuses.items():
        table[int(status, 0)] = _ORDER.index(WORDS[word])
    return bytes(table)


def action_of(status: int, actions: bytes = ACTIONS) -> Action:
    """What the sender must do on a command_status (SMPP_FACTS 3), by the table of an endpoint."""
    return _ORDER[actions[status] if status < len(actions) else ACTION_OTHER]


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
