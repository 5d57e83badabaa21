"""Who of a block may be sent to now, who never and why, and who must wait: the guards beyond those in the kernel.

Touches: a block's columns, ledgers (caps.py) and suppressions by signature, through the View of the moment; time is an
argument. preview.py asks it for what would be, expand.py before each claim.
Rests on: DESIGN 6, the order of the guards. The rendering kernel has no valid number, suppressed and opted out; here
are suppressed for a signature, no consent, frequency cap, quiet calendar, over budget and quota. Holdout is arms.py's.

Each is data: the market profile, the tenant's row and the campaign's say which there are. A guard that the kernel asks
first is never answered here, so a recipient has the same decision whoever asks.
Weak spot: what one campaign has been given and not claimed counts against the caps of others until it is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.campaigns.arms import Arms, arms_of
from dispatcher.campaigns.price import Bill
from dispatcher.campaigns.quiet import Calendar, Quiet
from dispatcher.campaigns.schedule import recipient_ms
from dispatcher.campaigns.wording import signed
from dispatcher.fastmatch import BITMAP_OCTETS, Kind, Program, match_block, merge_ranges
from dispatcher.members.fields import Field, fields_of
from dispatcher.members.suppression import signature_numbers, signatures_version
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.caps import Claims, Counted, claims_of
from dispatcher.segments.column_tests import InRanges
from dispatcher.segments.program import Columns, assemble
from dispatcher.segments.runs import Run
from dispatcher.store.columns import FLAGS, BlockView, Column, ColumnKind, open_block
from dispatcher.store.layout import (
    BLOCK,
    CONSENT_GROUPS,
    FIELD_MSISDN,
    OPTOUT_GROUPS,
    PLANE_SUPPRESSED,
)
from dispatcher.tenants.rules import Rules, rules_of
from dispatcher.tenants.tenant import need_tenant

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
ASK_AGAIN_MS = 1_000  # a verdict holds so long at most: caps, consents and lists may change in between

Octets = bytes | bytearray


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a block's recipients that were asked about: who is skipped, in guard order, and who waits; all others may go
    to the kernel until `until_ms`. `clear`: those of them that no guard of the kernel holds back either."""

    skips: list[tuple[Decision, bytearray]]
    clear: bytearray
    waits: bytearray | None
    opens_ms: int | None  # when the first of the waiting may go
    until_ms: int


@dataclass(frozen=True, slots=True)
class Limit:
    """What all messages of a campaign together may come to: micro-units or billed parts."""

    decision: Decision
    most: int
    of: Callable[[Bill], int]


@dataclass(slots=True)
class _Spent:
    """What a limit has been used for: settled is claimed, held is let pass by block and not claimed yet."""

    settled: int = 0
    held: dict[int, int] = field(default_factory=dict)


class Guards:
    """One campaign's. Not thread-safe; a preview makes its own."""

    def __init__(
        self, view: View, tenant: int, row: dict[str, Any], campaign: int = 0, *, rules: Rules | None = None,
        since_ms: int = 0,
    ) -> None:  # fmt: skip
        """since_ms: when it began, or will; 0: the row's start. Raises CommandRefused as market_of."""
        of = need_tenant(view, tenant)
        self.tenant, self.campaign = tenant, campaign
        self.rules = rules or rules_of(of, row["purpose"], row["caps"])
        self._since_ms = since_ms or int(row["started_ms"] or 0)
        self._first = 1 << PLANE_SUPPRESSED  # planes that the kernel asks
        group = OPTOUT_GROUPS.get(Purpose(row["purpose"]).value)
        if group is not None:
            self._first |= 1 << group
        self._consent = CONSENT_GROUPS[self.rules.purpose] if self.rules.consent else None
        self._signature = signed(of, row, row["text"])
        self._stops_version: bytes | None = None
        self._stopped: Program | None = None  # members whose number is suppressed for the signature
        self._read_stops(view)
        self.quiet = _quiet(view, tenant, of.zone_field, self.rules, row)
        self._sorts_out = bool(row["holdout"] or row["winner"])  # who is clear is held out, or waits for a text
        self._arms: Arms | None = arms_of(row, campaign)
        self._claims: Claims | None = None
        self._runs: list[Run] = []  # campaigns that the caps count, and when they were looked for
        self._runs_ms = -ASK_AGAIN_MS
        self.limits: list[Limit] = []
        self._spent: list[_Spent] = []
        self._bill: Callable[[View, BlockView, int, int], Bill] | None = None
        self.columns = list(dict.fromkeys([FLAGS, MSISDN, *(self.quiet.columns if self.quiet else ())]))

    def __repr__(self) -> str:
        return (
            f"<Guards of {self.campaign:x} {self.rules.purpose} caps={len(self.rules.caps)} quiet={bool(self.quiet)}>"
        )

    @property
    def idle(self) -> bool:
        """It would never say anything."""
        said = self._consent or self.rules.caps or self.quiet or self._signature or self.limits
        return not (said or self._sorts_out)

    def limit(
        self, limits: list[Limit], spent: list[int], bill: Callable[[View, BlockView, int, int], Bill],
        columns: list[Column],
    ) -> None:  # fmt: skip
        """Hold the campaign to these; spent: what is used of each already. bill: of recipients of a block."""
        self.limits, self._spent, self._bill = limits, [_Spent(one) for one in spent], bill
        self.columns = list(dict.fromkeys([*self.columns, *columns]))

    def of_block(self, view: View, block: int, todo: Octets, now_ms: int) -> Verdict:
        """What is to become of the recipients in `todo`, a bitmap of slots. Whom it lets pass is reserved for this
        campaign: other campaigns' caps count them from here on, until claimed() or the next call for the block."""
        columns = open_block(view, self.tenant, block, self.columns)
        if self.rules.caps:
            self._claims = claims_of(view, self.tenant, self.rules.purpose)
        return self.judge(view, columns, block, todo, now_ms, self._counted(view, now_ms), reserve=True)

    def of_repeats(self, view: View, block: int, todo: Octets, now_ms: int) -> Verdict:
        """The same of recipients who were claimed before and go (again): they do not count against themselves, and
        what the limits let pass once is not taken again."""
        columns = open_block(view, self.tenant, block, self.columns)
        return self.judge(view, columns, block, todo, now_ms, self.counted(view, now_ms), again=True)

    def counted(self, view: View, now_ms: int) -> Counted | None:
        """What the caps know at an instant, for many blocks of one snapshot."""
        if self.rules.caps:
            self._claims = claims_of(view, self.tenant, self.rules.purpose)
        return self._counted(view, now_ms)

    def judge(
        self, view: View, columns: BlockView, block: int, todo: Octets, now_ms: int, counted: Counted | None,
        *, reserve: bool = False, again: bool = False,
    ) -> Verdict:  # fmt: skip
        """of_block over columns and counts at hand; without reserve it leaves no trace. again: as of_repeats."""
        skips: list[tuple[Decision, bytearray]] = []
        left = int.from_bytes(todo, "little")
        until_ms, opens_ms, waits = now_ms + ASK_AGAIN_MS, None, 0

        def skip(decision: Decision, who: int) -> None:
            nonlocal left
            if who:
                skips.append((decision, _bitmap(who)))
                left &= ~who

        left &= _matched(_HAS_NUMBER, columns)
        flags = _planes(columns)
        self._read_stops(view)
        if self._stopped is not None:
            skip(Decision.SUPPRESSED, left & ~flags[PLANE_SUPPRESSED] & _matched(self._stopped, columns))
        for plane in range(8):
            if self._first >> plane & 1:
                left &= ~flags[plane]
        if self._consent is not None:
            skip(Decision.NO_CONSENT, left & ~flags[self._consent])
        if counted is not None and left:
            skip(Decision.FREQUENCY_CAP, left & counted.over(block))
        if self.quiet is not None:
            since_ms = self._since_ms or now_ms
            until_ms = min(until_ms, self.quiet.until_ms(view, now_ms, since_ms))
            found = self.quiet.waits(view, columns, left, now_ms, since_ms)
            skip(Decision.QUIET, found.never)
            waits, opens_ms = found.waiting, found.opens_ms
            left &= ~waits
        goes = left & ~self._not_now(view, block, left) if reserve else left
        for limit, spent in zip(self.limits, self._spent, strict=True) if not again else ():
            within = self._within(view, columns, block, goes, limit, spent, reserve=reserve)
            skip(limit.decision, goes & ~within)
            goes = within
        if reserve and self._claims is not None:
            self._claims.reserve(self.campaign, block, goes)
        return Verdict(skips, _bitmap(left), _bitmap(waits) if waits else None, opens_ms, until_ms)

    def claimed(self, view: View, block: int, sent: Octets, now_ms: int) -> None:
        """These were claimed as sent."""
        bits = int.from_bytes(sent, "little")
        if self._claims is not None:
            self._claims.claim(self.campaign, block, bits)
        if self.limits and self._bill is not None and bits:
            bill = self._bill(view, open_block(view, self.tenant, block, self.columns), block, bits)
            for limit, spent in zip(self.limits, self._spent, strict=True):
                used = limit.of(bill)
                spent.settled += used
                spent.held[block] = max(0, spent.held.get(block, 0) - used)

    def close(self) -> None:
        """It takes no more for now: what was reserved for it and not claimed is free."""
        if self._claims is not None:
            self._claims.release(self.campaign)
        for spent in self._spent:
            spent.held.clear()

    def _read_stops(self, view: View) -> None:
        version = signatures_version(view, self.tenant)
        if version != self._stops_version:
            numbers = signature_numbers(view, self.tenant, self._signature) if self._signature else []
            self._stopped = _on_number([(number, number) for number in numbers]) if numbers else None
            self._stops_version = version

    def _not_now(self, view: View, block: int, bits: int) -> int:
        """Those of a block who are held out, or wait for the text that wins: no message is on its way to them."""
        if self._arms is None or not bits:
            return 0
        split = self._arms.split(view, self.tenant, block, _bitmap(bits))
        return int.from_bytes(split.holdout or b"", "little") | int.from_bytes(split.waits or b"", "little")

    def _counted(self, view: View, now_ms: int) -> Counted | None:
        caps = self.rules.caps
        if not caps:
            return None
        known = self._runs if self._runs_ms <= now_ms < self._runs_ms + ASK_AGAIN_MS else None
        made = Counted(view, self.tenant, caps, now_ms, campaign=self.campaign, claims=self._claims, known=known)
        self._runs, self._runs_ms = made.known, self._runs_ms if known is not None else now_ms
        return made

    def _within(
        self, view: View, columns: BlockView, block: int, bits: int, limit: Limit, spent: _Spent, *, reserve: bool
    ) -> int:
        """The lowest slots of `bits` that the limit still has room for."""
        assert self._bill is not None
        room = limit.most - spent.settled - sum(used for other, used in spent.held.items() if other != block)
        cost = limit.of(self._bill(view, columns, block, bits)) if bits else 0
        if cost > room:
            low, high = 0, bits.bit_length()  # of slots from 0 that fit
            while low < high:
                middle = (low + high + 1) // 2
                some = bits & (1 << middle) - 1
                if limit.of(self._bill(view, columns, block, some)) <= room:
                    low = middle
                else:
                    high = middle - 1
            bits &= (1 << low) - 1
            cost = limit.of(self._bill(view, columns, block, bits)) if bits else 0
        if reserve:
            spent.held[block] = cost
        return bits


def _quiet(view: View, tenant: int, zone_field: str, rules: Rules, row: dict[str, Any]) -> Quiet | None:
    local_at = row["local_at"]
    if row["open_hours"] or (rules.quiet is None and local_at is None):
        return None
    own: Field | None = fields_of(view, tenant).get(zone_field) if zone_field else None
    starts = None if local_at is None else (lambda zone: recipient_ms(local_at, ZoneInfo(zone)))
    calendar = Calendar(rules.quiet, rules.profile.zones, starts)
    return Quiet(tenant, calendar, own if own is not None and own.kind == "dict" else None)


def _on_number(ranges: list[tuple[int, int]]) -> Program:
    columns = Columns()
    columns.position(MSISDN)
    return assemble(InRanges(MSISDN, tuple(merge_ranges(Kind.U64, ranges))), columns)


_HAS_NUMBER = _on_number([(1, (1 << 64) - 1)])


def _matched(program: Program, columns: BlockView) -> int:
    out = bytearray(BITMAP_OCTETS)
    match_block(program, [columns.array(*MSISDN[:2])], columns.slots, out)
    return int.from_bytes(out, "little")


def _planes(columns: BlockView) -> list[int]:
    return [int.from_bytes(columns.plane(FLAGS[0], plane), "little") for plane in range(8)]


def _bitmap(bits: int) -> bytearray:
    return bytearray(bits.to_bytes(BLOCK // 8, "little"))
