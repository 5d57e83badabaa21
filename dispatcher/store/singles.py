"""Messages of the API that frequency caps count: one row each of a purpose that can be capped.

Touches: table `singles` through View and Changes.

    singles: tenant:2 group:1 who:8 at_ms:8 -> batch:8 position:4
    group: the purpose's number; who: the member's number, or for a stranger the top bit and 63 of a hash
    at_ms: when it may leave at the earliest; of two in one millisecond the second moves on by one

A row is written with the message and goes when that is cancelled, else when no cap can look back so far.
Weak spot: a stranger who becomes a member later begins anew.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Purpose
from dispatcher.store.columns import find_number
from dispatcher.store.layout import BLOCK, TENANT_U64, U64_U32

SINGLE_KEY = struct.Struct(">HBQQ")
_OF_ONE = struct.Struct(">HBQ")
_GROUP = struct.Struct(">HB")
STRANGER = 1 << 63
KEPT_MS = 92 * 86_400_000  # the longest window of a cap (tenants/profile.py)
LOOKED_AT = 2_000  # rows a step


def of_group(tenant: int, group: str) -> bytes:
    """What the keys of a purpose begin with."""
    return _GROUP.pack(tenant, Purpose(group).number)


def who_of(view: View, tenant: int, number: int) -> int:
    """Whose a number is."""
    member_no = find_number(view, tenant, number)
    if member_no is not None:
        return member_no
    return STRANGER | int.from_bytes(hashlib.sha256(TENANT_U64.pack(tenant, number)).digest()[:8], "big")


def put_single(
    changes: Changes, view: View, tenant: int, purpose: Purpose, who: int, at_ms: int, batch: int, position: int
) -> None:
    """One more message that caps count."""
    key = SINGLE_KEY.pack(tenant, purpose.number, who, at_ms)
    while changes.rows.get(("singles", key)) is not None or view.get("singles", key) is not None:
        at_ms += 1
        key = SINGLE_KEY.pack(tenant, purpose.number, who, at_ms)
    changes.put("singles", key, U64_U32.pack(batch, position))


def drop_single(
    changes: Changes, view: View, tenant: int, purpose: Purpose, who: int, batch: int, position: int
) -> None:
    """A message that will not go."""
    place = U64_U32.pack(batch, position)
    for key, value in view.range("singles", _OF_ONE.pack(tenant, purpose.number, who)):
        if value == place:
            changes.delete("singles", key)


def singles_of(view: View, tenant: int, group: str, who: int, since_ms: int) -> Iterator[tuple[int, int, int]]:
    """(at_ms, batch, position) of somebody's messages from an instant on, oldest first."""
    prefix = _OF_ONE.pack(tenant, Purpose(group).number, who)
    after = prefix + (since_ms - 1).to_bytes(8, "big") if since_ms > 0 else None
    for key, value in view.range("singles", prefix, after=after):
        batch, position = U64_U32.unpack(value)
        yield SINGLE_KEY.unpack(key)[3], batch, position


def singles_in(view: View, tenant: int, group: str, block: int) -> list[tuple[int, int]]:
    """(slot, at_ms) of every message to a block's members that is still kept."""
    prefix, first = of_group(tenant, group), block * BLOCK
    after = SINGLE_KEY.pack(*_GROUP.unpack(prefix), first - 1, (1 << 64) - 1) if first else None
    found = []
    for key, _ in view.range("singles", prefix, after=after):
        _, _, who, at_ms = SINGLE_KEY.unpack(key)
        if who >= first + BLOCK:
            break
        found.append((who - first, at_ms))
    return found


def drop_old_singles(view: View, now_ms: int, after: bytes | None) -> tuple[Changes, bytes | None]:
    """Delete what no cap looks back to, among LOOKED_AT rows behind key `after`; also where to go on, None at the
    end."""
    changes = Changes()
    for looked, (key, _) in enumerate(view.range("singles", after=after)):
        if looked == LOOKED_AT:
            return changes, after
        after = key
        if SINGLE_KEY.unpack(key)[3] < now_ms - KEPT_MS:
            changes.delete("singles", key)
    return changes, None
