"""Which campaign a redeemed code came with: the newest of its pool that was sent to one of some members.

Touches: rows of `coupon_campaigns` and `campaigns`, frozen audiences, ledger arrays, the log's unfolded end; read-only.
Weak spot: of an archived campaign the arrays are gone (apps/archive.py), so what is redeemed after that is nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dispatcher.coupons.pool import campaigns_of
from dispatcher.records.changes import View
from dispatcher.records.states import Decision
from dispatcher.segments.runs import Run
from dispatcher.store import Snapshot, ledger
from dispatcher.store.layout import BLOCK, TENANT_U64
from dispatcher.store.values import unpack


class Sent(NamedTuple):
    campaign: int
    member_no: int  # to whom, as the campaign's audience has it


def newest_sent(view: View, tenant: int, pool: int, members: Sequence[int]) -> Sent | None:
    """The newest campaign of the pool that was sent to one of `members`, and to whom; None: none was."""
    for campaign in campaigns_of(view, tenant, pool):
        asked = [member_no for member_no in members if _is_in(Run(view, campaign, {}), member_no)]
        octets = view.get("campaigns", TENANT_U64.pack(tenant, campaign)) if asked else None
        row = unpack(octets) if octets is not None else {}
        if row.get("coupon_pool") != pool or row["started_ms"] is None:
            continue
        run = Run(view, campaign, row)
        for member_no in asked:
            if _was_sent(view, campaign, _rank(run, member_no)):
                return Sent(campaign, member_no)
    return None


def _is_in(run: Run, member_no: int) -> bool:
    """Whether the frozen audience has the member: a look that spares reading the campaign's row."""
    block, slot = divmod(member_no, BLOCK)
    audience = run.audience(block)
    return slot >> 3 < len(audience) and bool(audience[slot >> 3] >> (slot & 7) & 1)


def _rank(run: Run, member_no: int) -> int:
    """The place in the frozen audience of a member who is in it."""
    block, slot = divmod(member_no, BLOCK)
    before = int.from_bytes(run.audience(block), "little") & (1 << slot) - 1
    return run.blocks[block][0] + before.bit_count()


def _was_sent(view: View, campaign: int, rank: int) -> bool:
    chunk, at = divmod(rank, BLOCK)
    decisions = ledger.read_array(view, campaign, "decision", chunk)
    decision = decisions[at] if decisions is not None and at < len(decisions) else Decision.UNDECIDED
    if decision != Decision.UNDECIDED:
        return bool(decision == Decision.SENT)
    return _claimed_since_the_fold(view, campaign, rank)


def _claimed_since_the_fold(view: View, campaign: int, rank: int) -> bool:
    """Of what is not in the arrays yet: a second or so of the log."""
    assert isinstance(view, Snapshot)
    folded = ledger.folded_to(view)
    for _, value in ledger.log_values(view, after=folded - 1 if folded else None):
        if campaign not in ledger.value_header(value)[1]:
            continue
        for _, of, _, first, _, parts, _, _ in ledger.records(value, claims_only=True):
            if of == campaign and first <= rank < first + len(parts) and parts[rank - first] < ledger.SKIPPED:
                return True
    return False
