"""Receipts that the pump left aside: any order, any case, odd lengths, TLVs only (SMPP_FACTS 10).

Touches: nothing. Parses octets by label: a value runs to the next known label, the first occurrence wins, all after
`text:` is text. What has no id or no state anybody knows is None: the caller keeps it with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.records.events import Delivered
from dispatcher.records.states import State
from dispatcher.text.decode import unpacked

TAG_RECEIPTED_MESSAGE_ID = 0x001E
TAG_MESSAGE_STATE = 0x0427

_LABEL = re.compile(rb"(?i)(?:^|(?<=[\s,;]))(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|text)\s*:")

# the words of vendors, by what they mean: add here what receipt_unread shows in the log
_WORDS: dict[State | None, str] = {
    State.DELIVERED: "DELIVRD DELIVERED DELIVERD DELIVRED",
    State.EXPIRED: "EXPIRED EXPIRD",
    State.FAILED: "UNDELIV UNDELIVERABLE UNDELIVERED UNDELIVRD REJECTD REJECTED REJECT DELETED FAILED DND_REJECTED"
    " SKIPPED BLOCKED CANCELED CANCELLED",
    State.UNKNOWN: "UNKNOWN",
    None: "ACCEPTD ACCEPTED ENROUTE ACKED BUFFERD BUFFRED BUFFERED SCHEDLD SCHEDULED QUEUED SENT PENDING",  # not final
}
STATES: dict[str, State | None] = {word: state for state, words in _WORDS.items() for word in words.split()}
BY_TLV: dict[int, State | None] = {
    0: None, 1: None, 2: State.DELIVERED, 3: State.EXPIRED, 4: State.FAILED, 5: State.FAILED, 6: None,
    7: State.UNKNOWN, 8: State.FAILED, 9: State.FAILED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says. `state` None: not final. `err` is 0 when absent or not a number.

    `other_id`: that of the text, where a TLV says another: some SMSCs write one of them in another radix.
    """

    message_id: bytes
    state: State | None
    err: int
    subscriber: int
    other_id: bytes = b""


def read_receipt(message: Delivered, default_alphabet: str = "gsm") -> Receipt | None:
    """The receipt in a deliver_sm whose esm_class says it is one; None when it names no id or no known state.

    `default_alphabet`: an endpoint that packs septets may pack those of its receipts."""
    header = message.octets[0] + 1 if message.udhi and message.octets else 0
    octets = message.octets[header:]
    if not read_labels(octets):
        octets = unpacked(message.data_coding, octets, header, default_alphabet)
    if message.data_coding == 8:
        octets = octets.decode("utf-16-be", "replace").encode("latin-1", "replace")
    found = read_labels(octets)
    text_id = found.get("id", b"").split(b" ")[0]
    message_id = message.tlvs.get(TAG_RECEIPTED_MESSAGE_ID, b"").split(b"\0")[0] or text_id
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
    subscriber = int(re.sub(r"\D", "", message.source_addr) or 0) & (1 << 64) - 1
    number = int(err) if err.isdigit() and len(err) < 7 else 0
    return Receipt(message_id[:64], state, number, subscriber, text_id[:64] if text_id != message_id else b"")


def read_labels(octets: bytes) -> dict[str, bytes]:
    """Each known label of a receipt's text, in lower case, and its value; all after `text:` is text."""
    octets = octets.rstrip(b"\0")
    found: dict[str, bytes] = {}
    labels = list(_LABEL.finditer(octets))
    for index, label in enumerate(labels):
        name = re.sub(r"[ _]?date$", " date", label[1].decode().lower())
        end = labels[index + 1].start() if index + 1 < len(labels) and name != "text" else len(octets)
        if name not in found:
            found[name] = octets[label.end() : end].strip(b" \t\r\n,;\0")
        if name == "text":
            break
    return found
