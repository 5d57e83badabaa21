"""An audience frozen: who is matched, what the guards say of each, and exactly what the others would get and cost.

Touches: the members' blocks, ledgers for caps, through one View that must stay the same; time is an argument.
Rests on: render.py, which counts with the loop that also renders at claim; guards.py, asked again at claim; arms.py.

    bitmaps: campaign:8 which:1 block:4   which 0: 255 words, the block's audience; only blocks that have any
                                          which 2, block 0: (block u32, rank of its first recipient u32), ascending

Weak spot: the frozen bitmaps are one commit, which passes 4 MiB at 33 M members.
"""

from __future__ import annotations

import struct
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.arms import WHICH_EXCEPTIONS, Dealt, arms_of, deal, put_deal
from dispatcher.campaigns.campaign import bitmap_key, drop_audience
from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.money import meter_of
from dispatcher.campaigns.price import Bill, Meter
from dispatcher.campaigns.render import PartCounts
from dispatcher.campaigns.written import compile_of
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision
from dispatcher.routes.router import Router
from dispatcher.segments.caps import Counted
from dispatcher.segments.plan import Compiled
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.segments.select import select
from dispatcher.store.columns import BlockView, next_member_no, open_block
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.coding import Coding

AUDIENCE, RANKS = 0, 2
THREADS = 2  # the kernel counts without the GIL
UNKNOWN_ROUTE = "(no endpoint)"
RANK_PAIR = struct.Struct("<II")

Row = dict[str, Any]


@dataclass(slots=True)
class Frozen:
    """An audience, block by block in member order, and what sending to it would give."""

    blocks: list[tuple[int, int, bytearray]] = field(default_factory=list)  # block, rank of its first, bitmap
    counts: list[PartCounts] = field(default_factory=list)  # one a block, of those who go to the kernel
    passed: list[list[int]] = field(default_factory=list)  # one a block: by arm, a bitmap of those who do
    total: PartCounts = field(default_factory=PartCounts)  # every decision, the guards' too
    bill: Bill = field(default_factory=Bill)
    matched: int = 0
    by_arm: Counter[int] = field(default_factory=Counter)  # arm -> messages
    waiting: Counter[int] = field(default_factory=Counter)  # when -> how many of those who will be sent to wait for it
    undealt: int = 0  # of those who will be sent to, whose text is not known before the winner is
    deal: Dealt | None = None
    prices: str = ""  # their digest; "" without any
    starts_ms: int = 0

    @property
    def will_send(self) -> int:
        return self.total.decisions[Decision.SENT]


def freeze_row(
    view: View, tenant: int, row: Row, as_of_ms: int, campaign: int = 0, coding: Coding | None = None,
    router: Router | None = None,
) -> Frozen:  # fmt: skip
    """A campaign's audience as of now. Raises CommandRefused when its segment or text holds no more."""
    compiled = compile_segment(view, tenant, row["expr"], as_of_ms=as_of_ms)
    for text in (row["text"], *(arm["text"] for arm in row["arms"] if arm["text"])):
        compile_of(view, tenant, row, text)
    return freeze(view, need_tenant(view, tenant), row, compiled, as_of_ms, campaign, coding, router)


def freeze(
    view: View, tenant: Tenant, row: Row, compiled: Compiled, as_of_ms: int, campaign: int,
    coding: Coding | None = None, router: Router | None = None,
) -> Frozen:  # fmt: skip
    """Who is matched, and every one's decision, parts and alphabet, as they would be at the start.

    coding: how endpoints take texts; None: as most do. router: where numbers lead; None: it is not known.
    """
    frozen = Frozen(starts_ms=start_of(row, as_of_ms))
    row = {**row, "local_at": row["local_at"] or schedules.local_at(row["schedule"], row["due_ms"])}
    for block, bitmap, matched in select(view, tenant.number, compiled):
        frozen.blocks.append((block, frozen.matched, bitmap))
        frozen.matched += matched
    frozen.deal = deal(view, tenant.number, row, frozen.blocks)
    arms = arms_of({**row, "deal": frozen.deal.row if frozen.deal else None, "won": None}, campaign)
    seen = _Dealt(view, frozen.deal, campaign)
    meter = meter_of(view, tenant, {**row, "started_ms": frozen.starts_ms, "quote": None}, coding=coding, router=router)
    guards = Guards(view, tenant.number, row, campaign, since_ms=frozen.starts_ms)
    counted = guards.counted(view, frozen.starts_ms)
    columns = list(dict.fromkeys([*guards.columns, *meter.columns]))
    next_no = next_member_no(view, tenant.number)
    bills: list[Future[_Billed]] = []
    with ThreadPoolExecutor(THREADS, "preview") as pool:
        for block, _, bitmap in frozen.blocks:
            opened = open_block(view, tenant.number, block, columns, next_no=next_no)
            left, clear, opening = _guarded(view, frozen, guards, opened, block, bitmap, counted)
            of_arm, rest = [left], 0
            if arms is not None:
                split = arms.split(seen, tenant.number, block, left.to_bytes(BITMAP_OCTETS, "little"))
                of_arm, rest = [_int(one) for one in split.arms], _int(split.waits)
                held = _int(split.holdout)
                frozen.total.decisions[Decision.HOLDOUT] += (held & clear).bit_count()
                of_arm[0] |= held & ~clear  # the kernel says why they get nothing
            bills.append(pool.submit(_bill, meter, opened, block, of_arm, rest, opening))
        for bill in bills:
            one = bill.result()
            frozen.passed.append(one.passed)
            frozen.counts.append(one.total.counts)
            frozen.bill += one.total
            frozen.by_arm.update(one.by_arm)
            frozen.waiting.update(one.waiting)
            frozen.undealt += one.undealt
    frozen.total += frozen.bill.counts
    frozen.prices = meter.prices.digest if meter.prices else ""
    return frozen


def _guarded(
    view: View,
    frozen: Frozen,
    guards: Guards,
    opened: BlockView,
    block: int,
    bitmap: bytearray,
    counted: Counted | None,
) -> tuple[int, int, dict[int, int]]:
    """(a block's recipients who go to the kernel, those of them that no guard of the kernel holds back either, when ->
    those whom the quiet calendar opens for then)."""
    left = int.from_bytes(bitmap, "little")
    if guards.idle:
        return left, left, {}
    at_ms = frozen.starts_ms
    verdict = guards.judge(view, opened, block, bitmap, at_ms, counted)
    for decision, who in verdict.skips:
        bits = _int(who)
        frozen.total.decisions[decision] += bits.bit_count()
        left &= ~bits
    waits, opening = _int(verdict.waits), dict[int, int]()
    if waits and guards.quiet is not None:
        opening = guards.quiet.opening(view, opened, waits, at_ms, at_ms)
    return left, _int(verdict.clear) | waits, opening


@dataclass(slots=True)
class _Billed:
    """What a block comes to."""

    passed: list[int]  # by arm who goes to the kernel
    total: Bill = field(default_factory=Bill)
    by_arm: Counter[int] = field(default_factory=Counter)  # messages
    waiting: Counter[int] = field(default_factory=Counter)  # when -> messages that wait for it
    undealt: int = 0


def _bill(
    meter: Meter, opened: BlockView, block: int, of_arm: list[int], rest: int, opening: dict[int, int]
) -> _Billed:  # fmt: skip
    """`rest` gets the text that wins, and until then counts as of the arm that is dearest for it. opening: when -> who
    waits for it. Touches buffers only."""
    found = _Billed(of_arm)
    if rest:
        bills = [meter.bill(opened, block, rest, arm) for arm in range(len(of_arm))]
        dearest = max(range(len(bills)), key=lambda arm: (bills[arm].billed, bills[arm].micros))
        found.undealt = bills[dearest].sent
        found.by_arm[dearest] -= found.undealt
        of_arm[dearest] |= rest
    for arm, mine in enumerate(of_arm):
        for at_ms, who in opening.items():
            if late := mine & who:
                one = meter.bill(opened, block, late, arm)
                if one.sent:
                    found.waiting[at_ms] += one.sent
                found.by_arm[arm] += one.sent
                found.total += one
            mine &= ~who
        if mine:
            one = meter.bill(opened, block, mine, arm)
            found.by_arm[arm] += one.sent
            found.total += one
    return found


def _int(bitmap: bytearray | None) -> int:
    return int.from_bytes(bitmap or b"", "little")


class _Dealt:
    """The View as it will be with the deal's exceptions in it, and none of an earlier preview's."""

    def __init__(self, view: View, dealt: Dealt | None, campaign: int) -> None:
        self._view = view
        found = dealt.exceptions if dealt is not None else {}
        self._rows = {bitmap_key(campaign, WHICH_EXCEPTIONS, block): octets for block, octets in found.items()}
        self._exceptions = bitmap_key(campaign, WHICH_EXCEPTIONS, 0)[:-4]  # what the keys of all blocks begin with

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def get(self, table: str, key: bytes) -> bytes | None:
        own = table == "bitmaps" and key.startswith(self._exceptions)
        return self._rows.get(key) if own else self._view.get(table, key)


def start_of(row: Row, now_ms: int) -> int:
    """When it would begin."""
    schedule = row["schedule"]
    begin_ms = schedules.first_ms(schedule, schedules.zone_of(schedule, row["zone"])) if schedule else None
    return max(now_ms, begin_ms or 0)


def counted(frozen: Frozen) -> Row:
    """audience = will_send + sum of skipped; will_send = sum of parts = sum of billed = sum of alphabet."""
    total, bill = frozen.total, frozen.bill
    return {
        "will_send": frozen.will_send,
        "skipped": {d.word: n for d, n in sorted(total.decisions.items()) if d is not Decision.SENT and n},
        "held_out": total.decisions[Decision.HOLDOUT],
        "waiting": frozen.waiting.total(),
        "parts": {str(parts): n for parts, n in sorted(total.parts.items())},
        "billed": {str(parts): n for parts, n in sorted(total.billed.items())},
        "billed_parts": bill.billed,
        "alphabet": {"gsm7": frozen.will_send - total.ucs2, "ucs2": total.ucs2},
        "by_route": {name or UNKNOWN_ROUTE: asdict(one) for name, one in sorted(bill.by_route.items())},
        "cost_micros": bill.micros if frozen.prices else None,
        "no_price": bill.no_price if frozen.prices else 0,
        "prices": frozen.prices,
    }


def put_audience(view: View, changes: Changes, campaign: int, frozen: Frozen) -> None:
    """The bitmaps, in place of those of an earlier preview."""
    drop_audience(view, changes, campaign)
    for block, _, bitmap in frozen.blocks:
        changes.put("bitmaps", bitmap_key(campaign, AUDIENCE, block), bitmap)
    ranks = b"".join(RANK_PAIR.pack(block, first) for block, first, _ in frozen.blocks)
    changes.put("bitmaps", bitmap_key(campaign, RANKS, 0), ranks)
    put_deal(changes, campaign, frozen.deal)
