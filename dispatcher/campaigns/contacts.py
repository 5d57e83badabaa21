"""One member through all campaigns: which audiences they were in, and what became of their message in each.

Touches: rows of `campaigns`, frozen audiences in `bitmaps`, and what recipients.py reads.
Weak spot: every campaign's row is read, some 20 us each; only those with the member in the audience cost more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from dispatcher.campaigns.campaign import bitmap_key
from dispatcher.campaigns.expand import WHICH_AUDIENCE, WHICH_RANKS
from dispatcher.campaigns.recipients import recipients
from dispatcher.campaigns.states import PLANNED
from dispatcher.records.keys import public_id
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64
from dispatcher.store.ledger import popcount
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack


def messages_of(view: Snapshot, tenant: int, member_no: int) -> Iterator[dict[str, Any]]:
    """What recipients() says of the member, with campaign, title and purpose: newest campaign first, of those that
    began, or were held or cancelled first."""
    for key, octets in view.range("campaigns", TENANT.pack(tenant), reverse=True):
        campaign = TENANT_U64.unpack(key)[1]
        rank = rank_of(view, campaign, member_no)
        if rank is None:
            continue
        row = unpack(octets)
        if row["state"] in PLANNED:
            continue
        for found in recipients(view, tenant, campaign, after_rank=rank - 1 if rank else None, limit=1):
            about = {"campaign": public_id("cmp", campaign), "title": row["title"], "purpose": row["purpose"]}
            yield {**about, **found, "at_ms": row["started_ms"] or row["created_ms"]}


def rank_of(view: Snapshot, campaign: int, member_no: int) -> int | None:
    """A member's place in a frozen audience; None for one who is not in it."""
    block, slot = divmod(member_no, BLOCK)
    bitmap = view.get("bitmaps", bitmap_key(campaign, WHICH_AUDIENCE, block))
    if bitmap is None or not bitmap[slot >> 3] >> (slot & 7) & 1:
        return None
    table = view.get("bitmaps", bitmap_key(campaign, WHICH_RANKS, 0)) or b""
    base = dict(struct.iter_unpack("<II", table)).get(block)
    if base is None:
        return None
    before = bytearray(bitmap)
    before[slot >> 3] &= (1 << (slot & 7)) - 1
    before[(slot >> 3) + 1 :] = bytes(len(before) - (slot >> 3) - 1)
    return int(base) + popcount(bytes(before))
