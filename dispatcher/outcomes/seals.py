"""What was heard already: the SMSC's own repeats of a message from a phone count once, a person's second one counts.

Touches: table mo_seals, by View and Changes. Three rules, for a deliver_sm has no id:
- the same octets between the same numbers within REPEAT_MS are a repeat (a Recent, in memory, filled from the store);
- what was heard within REPEAT_MS before its connection ended, or before a kill, may come again for a day, once: nobody
  knows whether the answer arrived (`doubt`);
- a part of a long message, which carries its reference, is known for a day.
Weak spot: `doubt` takes every message of the endpoint's last 30 s, not of the one bind; who says the same again within
a day of one of them is not heard that once.
"""

from __future__ import annotations

import hashlib
import struct

from dispatcher.records.changes import Changes, View
from dispatcher.records.events import Delivered
from dispatcher.store.layout import TENANT
from dispatcher.store.values import unpack
from dispatcher.tenants.tenant import tenant_numbers

REPEAT_MS = 30_000
RECENT_MAX = 200_000  # seals remembered; a flood of more hides a repeat, then the person is answered twice
LATE_MAX = 20_000  # of them put on disk when a connection ends: half a megabyte
OPERATOR = 0
KNOWN_MS = 86_400_000
_HALF = KNOWN_MS // 2  # a generation: two are looked in beside the current one, so a day at least
_KEY = struct.Struct(">I16s")
DOUBT, PART = b"d", b"p"
PRUNED_AT_ONCE = 1_000


def seal_of(message: Delivered) -> bytes:
    """The same octets between the same numbers have the same."""
    place = [message.tlvs.get(tag) for tag in (0x020C, 0x020E, 0x020F)]  # of a part told by SAR
    said = (message.source_addr, message.destination_addr, message.octets, *(place if any(place) else ()))
    return hashlib.sha256(repr(said).encode()).digest()[:16]


class Recent:
    """Seals of the last REPEAT_MS, in the order heard, and of those before the last start. One an endpoint."""

    def __init__(self) -> None:
        self._at_ms: dict[bytes, int] = {}
        self._left: dict[bytes, None] = {}  # heard just before the start, and to be put on disk as doubted
        self._before: dict[bytes, None] = {}  # the same, once that is under way
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

    def doubted(self, view: View, changes: Changes, seal: bytes, now_ms: int) -> bool:
        """Whether it was heard within a day and may be the SMSC's own repeat. Ask after `heard`."""
        for left in list(self._left)[-LATE_MAX:]:
            keep(changes, left, now_ms, DOUBT)
        if self._left:
            self._before, self._left = self._left, {}
        known = _known(view, changes, seal, now_ms)
        if seal in self._before:  # its row may be in these very changes
            del self._before[seal]
            _drop(changes, seal, now_ms)
            return True
        return known

    def forget(self, seal: bytes) -> None:
        """It is not on disk after all, and will come again."""
        self._at_ms.pop(seal, None)

    def doubt(self, now_ms: int) -> Changes:
        """A connection ended: what was heard of late may come again, for a day."""
        changes = Changes()
        late = [seal for seal, at_ms in self._at_ms.items() if at_ms >= now_ms - REPEAT_MS]
        for seal in late[-LATE_MAX:]:
            keep(changes, seal, now_ms, DOUBT)
        return changes

    def _load(self, view: View, now_ms: int) -> None:
        found: list[tuple[int, bytes]] = []
        for tenant in (OPERATOR, *tenant_numbers(view)):
            newest = None
            for _, octets in view.range("inbound", TENANT.pack(tenant), reverse=True):
                row = unpack(octets)
                newest = row["at_ms"] if newest is None else newest
                if row["at_ms"] < newest - REPEAT_MS or len(found) >= RECENT_MAX:
                    break
                found.append((row["at_ms"], row["seal"]))
        for at_ms, seal in sorted(found):
            if at_ms >= now_ms - REPEAT_MS:
                self._at_ms[seal] = at_ms
            if at_ms >= now_ms - KNOWN_MS:
                self._left[seal] = None
        self._loaded = True


def keep(changes: Changes, seal: bytes, now_ms: int, what: bytes) -> None:
    """Known for a day from now; a DOUBT once."""
    changes.put("mo_seals", _KEY.pack(now_ms // _HALF, seal), what)


def prune(view: View, changes: Changes, now_ms: int) -> int:
    """Forget what is older than a day, some at once; returns how many."""
    oldest = _KEY.pack(now_ms // _HALF - 2, bytes(16))
    pruned = 0
    for key, _ in view.range("mo_seals"):
        if key >= oldest or pruned == PRUNED_AT_ONCE:
            break
        changes.delete("mo_seals", key)
        pruned += 1
    return pruned


def _known(view: View, changes: Changes, seal: bytes, now_ms: int) -> bool:
    """A doubt has served with that: the person may say the same again."""
    found = False
    for generation in range(now_ms // _HALF, now_ms // _HALF - 3, -1):
        key = _KEY.pack(generation, seal)
        what = view.get("mo_seals", key)
        if what == DOUBT:
            changes.delete("mo_seals", key)
        found |= what is not None
    return found


def _drop(changes: Changes, seal: bytes, now_ms: int) -> None:
    changes.delete("mo_seals", _KEY.pack(now_ms // _HALF, seal))
