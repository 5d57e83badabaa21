"""Messages from phones: opt-out words first, then keywords, else the inbox. Each kept before it is answered.

Touches: tables inbound and optouts (through members/consent), by View and Changes. What is answered is apps/'s.
Rests on: PRODUCT F (the fixed order), SMPP_FACTS 12. A repeat of the same octets between the same numbers within
REPEAT_MS is the SMSC's own (an answer that died with its connection): nothing twice. Those are known by a Recent.
Weak spot: long messages are kept part by part, not put together yet.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from dispatcher.members.consent import lift_optout, opted_out, record_optout
from dispatcher.records.changes import Changes, View
from dispatcher.records.events import Delivered
from dispatcher.store.ids import next_id
from dispatcher.store.layout import OPTOUT_GROUPS, TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants import market
from dispatcher.tenants.market import plain
from dispatcher.tenants.tenant import Tenant, list_tenants
from dispatcher.text.decode import decode

REPEAT_MS = 30_000
RECENT_MAX = 200_000  # seals remembered; a flood of more hides a repeat, then the person is answered twice
OPERATOR = 0
_NUMBER = re.compile(r"\+?[0-9]{1,15}")  # a sender with letters is nobody's phone


class Recent:
    """Seals of the last REPEAT_MS, in the order heard. Begins with those of the store: a restart forgets none."""

    def __init__(self) -> None:
        self._at_ms: dict[bytes, int] = {}
        self._loaded = False

    def __len__(self) -> int:
        return len(self._at_ms)

    def heard(self, view: View, seal: bytes, now_ms: int) -> bool:
        """Whether it was heard within REPEAT_MS; if not, it is from now on."""
        if not self._loaded:
            self._load(view, now_ms)
        while self._at_ms:
            oldest = next(iter(self._at_ms))
            if self._at_ms[oldest] >= now_ms - REPEAT_MS and len(self._at_ms) < RECENT_MAX:
                break
            del self._at_ms[oldest]
        if seal in self._at_ms:
            return True
        self._at_ms[seal] = now_ms
        return False

    def forget(self, seal: bytes) -> None:
        """It is not on disk after all, and will come again."""
        self._at_ms.pop(seal, None)

    def _load(self, view: View, now_ms: int) -> None:
        found: list[tuple[int, bytes]] = []
        for tenant in (OPERATOR, *(tenant.number for tenant in list_tenants(view))):
            for _, octets in view.range("inbound", TENANT.pack(tenant), reverse=True):
                row = unpack(octets)
                if row["at_ms"] < now_ms - REPEAT_MS or len(found) >= RECENT_MAX:
                    break
                found.append((row["at_ms"], row["seal"]))
        self._at_ms = {seal: at_ms for at_ms, seal in sorted(found)}
        self._loaded = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a message was. `answer_from` is the number that was written to."""

    what: str  # stop, start, points, inbox, repeat
    tenant: int
    number: int  # 0: not a phone number
    answer_from: str
    first: bool = False  # of a stop: the number was not opted out before


def seal_of(message: Delivered) -> bytes:
    """The same octets between the same numbers have the same."""
    return hashlib.sha256(repr((message.source_addr, message.destination_addr, message.octets)).encode()).digest()[:16]


def hear(view: View, message: Delivered, now_ms: int, recent: Recent) -> tuple[Changes, Heard]:
    """One message from a phone: its rows and what it was. Octets that no alphabet reads are kept as octets.

    `recent` has its seal from then on: whoever fails to commit the rows takes it out again.
    """
    number = int(message.source_addr.lstrip("+")) if _NUMBER.fullmatch(message.source_addr) else 0
    text = decode(message.data_coding, message.octets, message.udhi)
    word = plain(text or "")
    tenant = _tenant_of(view, message.destination_addr)
    owner = tenant.number if tenant is not None else OPERATOR
    seal = seal_of(message)
    changes = Changes()
    if recent.heard(view, seal, now_ms):
        return changes, Heard(what="repeat", tenant=owner, number=number, answer_from="")
    what, first = "inbox", False
    if tenant is not None and number:
        if is_stop(word):
            what = "stop"
            first = not all(opted_out(view, tenant.number, number, group) for group in OPTOUT_GROUPS)
            changes.merge(record_optout(view, tenant.number, number, tuple(OPTOUT_GROUPS), now_ms, f"SMS: {text}"))
        elif word in market.START_ALONE:
            what = "start"
            changes.merge(lift_optout(view, tenant.number, number, tuple(OPTOUT_GROUPS), now_ms, f"SMS: {text}"))
        elif word in market.POINTS_WORDS:
            what = "points"
    row = {
        "from": message.source_addr,
        "to": message.destination_addr,
        "text": text,
        "octets": bytes(message.octets),
        "data_coding": message.data_coding,
        "esm_class": message.esm_class,
        "what": what,
        "at_ms": now_ms,
        "seal": seal,
        "probable_opt_out": what == "inbox" and word.split(" ")[0] in market.STOP_FIRST | market.STOP_ALONE,
    }
    changes.put("inbound", TENANT_U64.pack(owner, next_id(changes, view, now_ms)), pack(row))
    return changes, Heard(what=what, tenant=owner, number=number, answer_from=message.destination_addr, first=first)


def is_stop(word: str) -> bool:
    """Whether a plain text opts out: a stop word alone, or first in a sentence without digits ("stop, thanks")."""
    if word in market.STOP_FIRST or word in market.STOP_ALONE:
        return True
    first = re.split(r"[\s,.;:!]+", word, maxsplit=1)[0] if word else ""
    return first in market.STOP_FIRST and not any(c.isdigit() for c in word)


def _tenant_of(view: View, destination: str) -> Tenant | None:
    """Whose number was written to: the tenant with that sender, or the only tenant there is."""
    tenants = list_tenants(view)
    for tenant in tenants:
        if tenant.sender and tenant.sender == destination:
            return tenant
    return tenants[0] if len(tenants) == 1 else None
