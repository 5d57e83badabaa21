"""Who was sent to, who got it, who answered: conditions on what happened, as a bitmap a block.

Touches: campaigns' ledgers through runs.py, messages from phones through replies.py, coupons through redemptions.py,
the history of consent through consents.py, rows of `merges`; through one View. Of a campaign one chunk is in memory at
a time, whatever its audience.

    sent         the message was claimed for sending; its time is the last submit
    received     the state is delivered, at its final time
    undelivered  failed or expired, at its final time: also what was rejected, or could not be delivered
    held_out     held back on purpose to compare with; its time is the campaign's start
    replied      a message from the member's number, the campaign the last that was sent to it, at most 72 h before
    redeemed     a coupon that the campaign brought, when the till took it (redemptions.py)

A merged member has what happened to those it took over. Weak spot: where two of them got two campaigns, a reply
answers the last of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from dispatcher.errors import CommandRefused
from dispatcher.members.aliases import taken_over
from dispatcher.records.changes import View
from dispatcher.segments.consents import changed
from dispatcher.segments.given import ConsentChanged, Engaged, FrozenMembers, Key, MessagesIn
from dispatcher.segments.redemptions import redeemed
from dispatcher.segments.replies import replied
from dispatcher.segments.runs import BITMAP_OCTETS, DEEDS, NO_TIME, kernel, runs, seconds
from dispatcher.store.columns import blocks_of, next_member_no
from dispatcher.store.layout import BLOCK, LEDGER_KEY, SNAPSHOT

Bitmaps = dict[int, bytearray]  # block -> BITMAP_OCTETS; an absent block is nobody

_COUNT_MAX = 0xFFFF  # messages that are counted of one member


def evaluate(view: View, tenant: int, keys: Iterable[Key], as_of_ms: int) -> dict[Key, Bitmaps]:
    """Each key's members. What came after `as_of_ms` is not seen; the members of a bitmap need not be live any more.

    Raises CommandRefused 422 for a word that nothing is kept about yet.
    """
    found: dict[Key, Bitmaps] = {}
    merged = taken_over(view, tenant)
    for key in dict.fromkeys(keys):
        match key:
            case ConsentChanged():
                found[key] = changed(view, tenant, key, as_of_ms)
            case FrozenMembers(segment):
                held = view.range("bitmaps", LEDGER_KEY.pack(segment, SNAPSHOT, 0)[:9])
                bitmaps = {LEDGER_KEY.unpack(at)[2]: bytearray(bitmap) for at, bitmap in held}
                found[key] = _handed_on(bitmaps, merged)
            case MessagesIn():
                found[key] = _messages(view, tenant, key, as_of_ms, merged)
            case Engaged(verb="replied"):
                found[key] = _handed_on(replied(view, tenant, key, as_of_ms, merged), merged)
            case Engaged(verb=verb) if verb in DEEDS:
                found[key] = _handed_on(_deeds(view, tenant, key, as_of_ms), merged)
            case Engaged(verb="redeemed"):
                found[key] = _handed_on(redeemed(view, tenant, key, as_of_ms), merged)
            case _:
                raise _not_yet(str(key), "nothing is kept about this")
    return found


def _deeds(view: View, tenant: int, key: Engaged, as_of_ms: int) -> Bitmaps:
    deed, since_ms, found = DEEDS[key.verb], key.since_ms or 0, Bitmaps()
    low_s, high_s = seconds(since_ms, as_of_ms)
    for run in runs(view, tenant, key.campaign, since_ms, as_of_ms, late=deed.follows):
        if not run.has(deed):
            continue
        if deed.times is None:
            if run.row["started_ms"] < since_ms:
                continue
            low_s, high_s = 0, NO_TIME
        for block in run.blocks:
            bits, first = run.bits(deed, block, low_s, high_s)
            if any(bits):
                kernel.deposit(run.audience(block), bits, first, found.setdefault(block, bytearray(BITMAP_OCTETS)))
    return found


def _messages(view: View, tenant: int, key: MessagesIn, as_of_ms: int, merged: dict[int, int]) -> Bitmaps:
    """Block by block over all campaigns: one block's counts and a chunk's bits a campaign are in memory."""
    deed, found = DEEDS["sent"], Bitmaps()
    low, high = min(max(key.low, 0), _COUNT_MAX + 1), min(key.high, _COUNT_MAX)
    if low > high:
        return found
    low_s, high_s = seconds(key.since_ms, as_of_ms)
    ran = [run for run in runs(view, tenant, None, key.since_ms, as_of_ms, late=False) if run.has(deed)]
    counts = array("H", bytes(2 * BLOCK))
    watched = dict.fromkeys((*merged, *merged.values()), 0)
    for block in range(blocks_of(next_member_no(view, tenant))):
        met = False
        for run in ran:
            if block not in run.blocks:
                continue
            bits, first = run.bits(deed, block, low_s, high_s)
            if any(bits):
                if not met:
                    counts, met = array("H", bytes(2 * BLOCK)), True
                kernel.tally(run.audience(block), bits, first, counts)
        bitmap = bytearray(BITMAP_OCTETS)
        if met:
            kernel.within(counts, low, high, bitmap)
        elif low == 0:  # nobody of the block had a message
            bitmap = bytearray(b"\xff" * BITMAP_OCTETS)
        if any(bitmap):
            found[block] = bitmap
        if met and watched:
            watched |= {no: counts[no % BLOCK] for no in watched if no // BLOCK == block}
    for loser, winner in merged.items():
        watched[winner] += watched[loser]
    for winner in set(merged.values()):
        _mark(found, winner, low <= watched[winner] <= high)
    return found


def _handed_on(found: Bitmaps, merged: dict[int, int]) -> Bitmaps:
    """What happened to a member that was merged away happened to the one who took it over."""
    for loser, winner in merged.items():
        block, slot = divmod(loser, BLOCK)
        if block in found and found[block][slot >> 3] >> (slot & 7) & 1:
            _mark(found, winner, True)
    return found


def _mark(found: Bitmaps, member_no: int, on: bool) -> None:
    block, slot = divmod(member_no, BLOCK)
    bitmap = found.setdefault(block, bytearray(BITMAP_OCTETS))
    bitmap[slot >> 3] = bitmap[slot >> 3] & ~(1 << (slot & 7)) | on << (slot & 7)


def _not_yet(word: str, why: str) -> CommandRefused:
    detail = f"`{word}`: {why}"
    errors = [{"pointer": "/expr", "code": "not_available", "detail": detail}]
    return CommandRefused(422, "not_available", detail, errors=errors)
