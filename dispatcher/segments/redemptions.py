"""Who redeemed a coupon that a campaign brought: rows of `redeemed` as a bitmap a block.

Touches: rows of `redeemed`, through one view. A redemption counts for the campaign that it was attributed to when it
was made (coupons/attribution.py), at its own time; one that was taken back counts no more, whatever instant is asked
about. One that no campaign earned (a code that staff gave) has no row here. Rows are drawn as those of `replies` are:
the same loop reads them, from the campaign's making on.
"""

from __future__ import annotations

from dispatcher.errors import StoreError
from dispatcher.records.changes import View
from dispatcher.segments.given import Engaged
from dispatcher.segments.runs import BITMAP_OCTETS
from dispatcher.store.columns import blocks_of, next_member_no
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.segments import _replies as rows
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel segments/_replies is not built: run `make build`") from exc


def redeemed(view: View, tenant: int, key: Engaged, as_of_ms: int) -> dict[int, bytearray]:
    """Recipients who redeemed what a campaign brought, or any, by block. Raises StoreError on a row that is none."""
    first_id = max((key.since_ms or 0) << 16, key.campaign or 0)  # ids begin with the time they were made
    first = TENANT_U64.pack(tenant, first_id)
    try:
        pairs = _in_the_map(view, first, as_of_ms, key.campaign)
        if pairs is None:
            after = TENANT_U64.pack(tenant, first_id - 1) if first_id else None
            table = view.range("redeemed", TENANT.pack(tenant), after=after)
            pairs = rows.pairs_between(table, first, 0, as_of_ms, key.campaign, ordered=False)
    except ValueError as exc:
        raise StoreError(f"row {exc.args[0].hex()} of `redeemed`: not a redemption") from exc
    assert pairs is not None
    marked = bytearray(BITMAP_OCTETS * blocks_of(next_member_no(view, tenant)))  # a block's bits end with an octet
    rows.mark_members(pairs, marked)
    bitmaps = (marked[at : at + BITMAP_OCTETS] for at in range(0, len(marked), BITMAP_OCTETS))
    return {block: bitmap for block, bitmap in enumerate(bitmaps) if any(bitmap)}


def _in_the_map(view: View, first: bytes, until_ms: int, campaign: int | None) -> bytes | None:
    """Without a cursor; None where the view is no read snapshot, or a page looks unknown."""
    if not isinstance(view, Snapshot) or view.kept is None:
        return None
    return rows.pairs_between(view.record("redeemed"), first, view.page_octets, until_ms, campaign, ordered=False)
