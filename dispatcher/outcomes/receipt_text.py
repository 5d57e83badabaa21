"""Receipts that the pump left aside: any order, any case, odd lengths, TLVs only (SMPP_FACTS 10).

Touches: nothing. Parses octets by label: a value runs to the next known label, the first occurrence wins, all after
`text:` is text. What has no id or no state anybody knows is None: the caller keeps it with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.records.events import Delivered
from dispatcher.records.states import State

TAG_RECEIPTED_MESSAGE_ID = 0x001E
TAG_MESSAGE_STATE = 0x0427

_LABEL = re.compile(rb"(?i)(?:^|(?<=[\s,;]))(id|sub|dlvrd|submit date|done date|stat|err|text)\s*:")

STATES: dict[str, State | None] = {  # None: not final
    "DELIVRD": State.DELIVERED, "DELIVERED": State.DELIVERED, "EXPIRED": State.EXPIRED, "DELETED": State.FAILED,
    "UNDELIV": State.FAILED, "UNDELIVERABLE": State.FAILED, "REJECTD": State.FAILED, "REJECTED": State.FAILED,
    "FAILED": State.FAILED, "DND_REJECTED": State.FAILED, "SKIPPED": State.FAILED, "UNKNOWN": State.UNKNOWN,
    "ACCEPTD": None, "ACCEPTED": None, "ENROUTE": None, "ACKED": None, "BUFFERD": None, "BUFFRED": None,
    "SCHEDLD": None,
}  # fmt: skip
BY_TLV: dict[int, State | None] = {
    0: None, 1: None, 2: State.DELIVERED, 3: State.EXPIRED, 4: State.FAILED, 5: State.FAILED, 6: None,
    7: State.UNKNOWN, 8: State.FAILED, 9: State.FAILED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says. `state` None: not final. `err` is 0 when absent or not a number."""

    message_id: bytes
    state: State | None
    err: int
    subscriber: int


def read_receipt(message: Delivered) -> Receipt | None:
    """The receipt in a deliver_sm whose esm_class says it is one; None when it names no id or no known state."""
    octets = message.octets
    if message.udhi and octets:
        octets = octets[octets[0] + 1 :]
    if message.data_coding == 8:
        octets = octets.decode("utf-16-be", "replace").encode("latin-1", "replace")
    found = read_labels(octets)
    message_id = message.tlvs.get(TAG_RECEIPTED_MESSAGE_ID, b"").split(b"\0")[0] or found.get("id", b"").split(b" ")[0]
    tlv = message.tlvs.get(TAG_MESSAGE_STATE, b"")
    word = found.get("stat", b"").decode("latin-1").upper()
    if tlv and tlv[0] in BY_TLV:
        state = BY_TLV[tlv[0]]
    elif word in STATES:
        state = STATES[word]
    else:
        return None
    if not message_id:
        return None
    if message.esm_class & 0x3C == 0x20:
        state = None  # an intermediate notification is never final
    err = found.get("err", b"")
    subscriber = re.sub(r"\D", "", message.source_addr)
    return Receipt(
        message_id[:64], state, int(err) if err.isdigit() and len(err) < 7 else 0, int(subscriber or 0) & (1 << 64) - 1
    )


def read_labels(octets: bytes) -> dict[str, bytes]:
    """Each known label of a receipt's text, in lower case, and its value; all after `text:` is text."""
    octets = octets.rstrip(b"\0")
    found: dict[str, bytes] = {}
    labels = list(_LABEL.finditer(octets))
    for index, label in enumerate(labels):
        name = label[1].decode().lower()
        end = labels[index + 1].start() if index + 1 < len(labels) and name != "text" else len(octets)
        if name not in found:
            found[name] = octets[label.end() : end].strip(b" \t\r\n,;\0")
        if name == "text":
            break
    return found
