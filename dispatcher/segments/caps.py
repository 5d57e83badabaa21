"""Frequency caps: how many messages of a purpose group each member got in a rolling window, and who has had enough.

Touches: ledger arrays and frozen audiences of the tenant's campaigns through segments/runs.py, a block at a time; rows
of `singles`, the messages of the API; and what this process claimed since (`Claims`, kept with the open store).

A message counts from the second of its last submit. What is claimed and not folded into the ledger yet counts as sent
now, and so does whom another running campaign has been given and not claimed yet (`reserve`): so two campaigns never
pass one cap together, at whatever moment a claim or a fold comes. A restart folds the log first, so nothing is missed.
A message of the API counts at the instant at which it may leave, as soon as it is accepted: one that waits for an
instant further ahead than a window is long is no reason to hold another one back now. Answers do not count.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.records.batches import message_id, purpose_of_batch
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision
from dispatcher.segments.runs import BITMAP_OCTETS, NO_TIME, Run, kernel, runs
from dispatcher.store.columns import blocks_of, next_member_no
from dispatcher.store.layout import BLOCK, U64
from dispatcher.store.ledger import read_array
from dispatcher.store.singles import STRANGER, singles_in, singles_of
from dispatcher.store.snapshot import Snapshot
from dispatcher.tenants.profile import Cap

COUNT_MAX = 0xFFFF
MINUTE_MS = 60_000
Bitmaps = dict[int, bytearray]  # block -> BITMAP_OCTETS; an absent block is nobody
_SENT = bytes(octet == Decision.SENT for octet in range(256))
_DECIDED = bytes(octet != Decision.UNDECIDED for octet in range(256))
_EVERYBODY = b"\xff" * BITMAP_OCTETS
EVERYBODY = (1 << BLOCK) - 1
_NO_TIMES = b""


@dataclass(slots=True)
class Claims:
    """What this process let out of one tenant's campaigns of one group and the ledger may not know yet, by campaign and
    block: bitmaps of slots as ints."""

    claimed: dict[int, dict[int, int]] = field(default_factory=dict)
    reserved: dict[int, dict[int, int]] = field(default_factory=dict)

    def others(self, campaign: int, block: int) -> dict[int, int]:
        """Campaign -> its claimed or reserved recipients of a block, but for one campaign."""
        found: dict[int, int] = {}
        for of in (self.claimed, self.reserved):
            for other, blocks in of.items():
                if other != campaign and (bits := blocks.get(block)):
                    found[other] = found.get(other, 0) | bits
        return found

    def reserve(self, campaign: int, block: int, bits: int) -> None:
        self.reserved.setdefault(campaign, {})[block] = bits

    def claim(self, campaign: int, block: int, bits: int) -> None:
        mine = self.claimed.setdefault(campaign, {})
        mine[block] = mine.get(block, 0) | bits
        held = self.reserved.get(campaign, {})
        if left := held.get(block, 0) & ~bits:
            held[block] = left
        else:
            held.pop(block, None)

    def settle(self, campaign: int, block: int, decided: int) -> None:
        """The ledger has these."""
        mine = self.claimed.get(campaign, {})
        if left := mine.get(block, 0) & ~decided:
            mine[block] = left
        else:
            mine.pop(block, None)

    def release(self, campaign: int) -> None:
        """It takes no more; what it claimed stays until the ledger has it."""
        self.reserved.pop(campaign, None)


def claims_of(view: View, tenant: int, group: str) -> Claims:
    """Those of this process; none in a write transaction or over another kind of View."""
    kept = view.kept if isinstance(view, Snapshot) else None
    if kept is None:
        return Claims()
    found: Claims = kept.setdefault(("claims", tenant, group), Claims())
    return found


class Counted:
    """A group's campaigns as of one instant and snapshot; asked for blocks, ascending or not."""

    def __init__(
        self,
        view: View,
        tenant: int,
        caps: Sequence[Cap],
        at_ms: int,
        *,
        campaign: int = 0,
        claims: Claims | None = None,
        known: Sequence[Run] | None = None,
    ) -> None:
        """campaign: the one that asks; what it sent itself does not count against it. known: the `known` of another,
        a second old at most: what began since is in `claims`."""
        self.caps = sorted(caps, key=lambda cap: -cap.within_s)
        self._view, self._at_ms, self._campaign = view, at_ms, campaign
        self._claims = claims or Claims()
        self._tenant, self._group = tenant, (group := self.caps[0].group)
        assert all(cap.group == group for cap in self.caps)
        since_ms = at_ms - 1000 * self.caps[0].within_s
        if known is None:
            found = runs(view, tenant, None, since_ms, NO_TIME * 1000, late=False)
            known = [run for run in found if run.campaign != campaign and run.row["purpose"] == group]
        self._runs = {run.campaign: replace(run, view=view, _bits={}) for run in known}
        self._bits: dict[tuple[int, int, int], bytearray] = {}
        self._singles: tuple[int, list[tuple[int, int]]] = (-1, [])  # those of the block that was asked for last

    @property
    def known(self) -> list[Run]:
        """What another of the same campaign and caps may be made with."""
        return list(self._runs.values())

    @property
    def campaigns(self) -> list[int]:
        """Whose messages count."""
        return list(self._runs)

    def over(self, block: int) -> int:
        """Members of a block who have had as many messages as a cap allows, as a bitmap."""
        pending = self._pending(block)
        if self._singles[0] != block:
            self._singles = block, singles_in(self._view, self._tenant, self._group, block)
        if not (pending or self._singles[1] or any(block in run.blocks for run in self._runs.values())):
            return EVERYBODY if any(cap.max == 0 for cap in self.caps) else 0
        counts: array[int] | None = None
        over, longest = 0, bytearray(BITMAP_OCTETS)
        for at, cap in enumerate(self.caps):
            if at and not kernel.within(counts, cap.max, COUNT_MAX, longest):
                continue  # not even in the longest window is there anybody
            found = self._counts(block, cap, pending)
            counts = counts or found
            kernel.within(found, cap.max, COUNT_MAX, longest)
            over |= int.from_bytes(longest, "little")
        return over

    def _counts(self, block: int, cap: Cap, pending: dict[int, int]) -> array[int]:
        counts = array("H", bytes(2 * BLOCK))
        span_ms = 1000 * cap.within_s
        low_s = max(0, (self._at_ms - span_ms) // 1000)
        for run in self._runs.values():
            if block in run.blocks:
                bits, first = self._hits(run, block, low_s)
                if any(bits):
                    kernel.tally(run.audience(block), bits, first, counts)
        for members in pending.values():
            kernel.tally(_EVERYBODY, members.to_bytes(BITMAP_OCTETS, "little"), 0, counts)
        for slot, at_ms in self._singles[1]:
            if 1000 * low_s <= at_ms < self._at_ms + span_ms:
                counts[slot] += 1
        return counts

    def _pending(self, block: int) -> dict[int, int]:
        """What other campaigns of this process let out and the ledger does not show."""
        found = self._claims.others(self._campaign, block)
        for campaign in list(found):
            run = self._runs.get(campaign)
            if run is None or block not in run.blocks:
                continue
            decided, first = self._array(run, block, _DECIDED)
            bitmap = bytearray(BITMAP_OCTETS)
            kernel.deposit(run.audience(block), decided, first, bitmap)
            known = int.from_bytes(bitmap, "little")
            self._claims.settle(campaign, block, known)
            if left := found[campaign] & ~known:
                found[campaign] = left
            else:
                del found[campaign]
        return found

    def _hits(self, run: Run, block: int, low_s: int) -> tuple[bytes | bytearray, int]:
        return self._array(run, block, _SENT, low_s)

    def _array(self, run: Run, block: int, wanted: bytes, low_s: int = -1) -> tuple[bytes | bytearray, int]:
        """(bits by rank, which of them is the block's first recipient); low_s: submitted since then."""
        first, after = run.blocks[block]
        chunk, last = first // BLOCK, (after - 1) // BLOCK
        found = [self._chunk(run, number, wanted, low_s) for number in range(chunk, last + 1)]
        return found[0] if len(found) == 1 else b"".join(found), first - chunk * BLOCK

    def _chunk(self, run: Run, chunk: int, wanted: bytes, low_s: int) -> bytearray:
        key = run.campaign, chunk, low_s
        if key not in self._bits:
            for old in [one for one in self._bits if one[0] == run.campaign and one[1] < chunk]:
                del self._bits[old]
            bits = bytearray(BITMAP_OCTETS)
            octets = read_array(self._view, run.campaign, "decision", chunk)
            if octets is not None:
                times = read_array(self._view, run.campaign, "submit_s", chunk) if low_s >= 0 else None
                kernel.hits(octets, wanted, times or _NO_TIMES, _NO_TIMES, max(0, low_s), NO_TIME, bits)
            self._bits[key] = bits
        return self._bits[key]


def over_caps(view: View, tenant: int, caps: Sequence[Cap], as_of_ms: int) -> Bitmaps:
    """Everybody who has had enough, by block, as of the minute's beginning: for counts while somebody types. What was
    found is kept with the open store until the minute is over or a fold moved a campaign of the group."""
    at_ms = as_of_ms - as_of_ms % MINUTE_MS
    counted = Counted(view, tenant, caps, at_ms)
    folds = tuple(view.get("campaign_counts", U64.pack(one)) for one in counted.campaigns)
    stamp = (at_ms, tuple(caps), folds, view.count("singles"))
    kept = view.kept if isinstance(view, Snapshot) else None
    name = ("capped", tenant, caps[0].group)
    if kept is not None and name in kept and kept[name][0] == stamp:
        known: Bitmaps = kept[name][1]
        return known
    found: Bitmaps = {}
    for block in range(blocks_of(next_member_no(view, tenant))):
        if over := counted.over(block):
            found[block] = bytearray(over.to_bytes(BITMAP_OCTETS, "little"))
    if kept is not None:
        kept[name] = stamp, found
    return found


def sent_to(
    view: View, tenant: int, group: str, who: int, since_ms: int, at_ms: int, but: tuple[int, int] = (0, 0),
    *, ahead_ms: int = 0,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """What of a group somebody was sent since then, oldest first: {campaign, title, at_ms} or, of the API, {message,
    title, at_ms}. who: as store/singles.py has it. but: batch and position of one that does not count. ahead_ms: also
    those that wait and leave less than this after `at_ms`."""
    found: list[dict[str, Any]] = [
        {"message": message_id(position, purpose_of_batch(batch)), "title": "", "at_ms": when_ms}
        for when_ms, batch, position in singles_of(view, tenant, group, who, since_ms)
        if (batch, position) != but and (when_ms <= at_ms or when_ms < at_ms + ahead_ms)
    ]
    if who & STRANGER:
        return iter(found)
    pending = claims_of(view, tenant, group).others(0, who // BLOCK)
    for run in runs(view, tenant, None, since_ms, at_ms, late=False):
        if run.row["purpose"] != group:
            continue
        decision, submit_ms = _decided(view, run, who)
        if not decision and pending.get(run.campaign, 0) >> who % BLOCK & 1:
            decision, submit_ms = Decision.SENT, at_ms  # claimed, or about to be, and not in the ledger yet
        if decision == Decision.SENT and submit_ms >= since_ms:
            found.append({"campaign": run.campaign, "title": run.row["title"], "at_ms": submit_ms})
    return iter(sorted(found, key=lambda one: one["at_ms"]))


def _decided(view: View, run: Run, member_no: int) -> tuple[int, int]:
    """(decision, instant of the last submit) of a member in a campaign, as of the last fold; 0: none."""
    block, slot = divmod(member_no, BLOCK)
    if block not in run.blocks:
        return 0, 0
    audience = int.from_bytes(run.audience(block), "little")
    if not audience >> slot & 1:
        return 0, 0
    chunk, at = divmod(run.blocks[block][0] + (audience & (1 << slot) - 1).bit_count(), BLOCK)
    decisions, times = (read_array(view, run.campaign, name, chunk) for name in ("decision", "submit_s"))
    if decisions is None or times is None or at >= len(decisions):
        return 0, 0
    return decisions[at], 1000 * int.from_bytes(times[4 * at : 4 * at + 4], "little")


def capped_by(
    view: View, tenant: int, caps: Sequence[Cap], who: int, at_ms: int, *, campaign: int = 0,
    but: tuple[int, int] = (0, 0), ahead: bool = False,
) -> dict[str, Any] | None:  # fmt: skip
    """Why somebody is capped, for a person: {cap, by: [{campaign or message, title, at}], until}; None when no cap
    holds now. campaign, but: what does not count: a campaign, or a message by batch and position. ahead: those
    that wait count too, where one window may hold them and one of now."""
    for cap in sorted(caps, key=lambda cap: -cap.within_s):
        span_ms = 1000 * cap.within_s
        found = sent_to(view, tenant, cap.group, who, at_ms - span_ms, at_ms, but, ahead_ms=span_ms * ahead)
        sent = [one for one in found if not campaign or one.get("campaign") != campaign]
        if len(sent) >= cap.max:
            until = sent[len(sent) - cap.max]["at_ms"] + 1000 * cap.within_s if cap.max else None
            return {"cap": str(cap), "by": [_shown(one) for one in sent], "until": rfc3339(until)}
    return None


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    of = {"campaign": public_id("cmp", one["campaign"])} if "campaign" in one else {"message": one["message"]}
    return {**of, "title": one["title"], "at": rfc3339(one["at_ms"])}
