"""A campaign's audience, lazily: what is undecided becomes the next Batch of an endpoint, what came back is rendered
again.

Touches: the View it is given, for as long as a call takes. Never a queue of recipients: its memory is a bitmap a block
that is begun and not ended (share.py). Rests on: DESIGN 6; ranks are the order of member_no in the frozen audience.

A block's undecided recipients are split once: guards skip some and let some wait, arms divide the rest, routes give
each an endpoint. Each endpoint then takes its share of block after block by a cursor of its own, so one that is down
or full stops nobody. Who is left of a block is known here exactly, from the ledger when it is first touched and from
what was taken since; when routes turn, only the split is made anew.
A repeat is rendered anew, and the guards are asked again: a message of which nothing is out goes as it reads now, one
that is partly out only if it still reads the same, else its rest is given up (two halves of two texts help nobody); no
cap holds that rest, for it is counted. In quiet hours repeats wait.
Weak spot: repeats of one block are rendered together, so a repeat costs about a claim each when they are scattered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from dispatcher.campaigns._sent import sent_slots
from dispatcher.campaigns.again import asked_again, marked, slots_of, without_settled
from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.campaign import bitmap_key
from dispatcher.campaigns.coupon_pool import key_of
from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.money import guards_of
from dispatcher.campaigns.render import MSISDN, Renderer, clear_through, skip_rows
from dispatcher.campaigns.repeats import ANY, NEVER_NS, Repeat, Repeats
from dispatcher.campaigns.share import FOREVER_MS, Begun, Share, Split
from dispatcher.campaigns.written import compile_of
from dispatcher.members.guards import held_back
from dispatcher.records.batch import Batch
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.routes.plan import NO_ROUTE, WAIT, Plan
from dispatcher.routes.ported import ported_values
from dispatcher.routes.router import Context, Router
from dispatcher.store import ledger
from dispatcher.store.columns import FLAGS, open_block
from dispatcher.store.layout import BLOCK, BLOCK_WORDS
from dispatcher.text.coding import Coding
from dispatcher.text.options import Options

WHICH_AUDIENCE, WHICH_RANKS = 0, 2
_DECISION_AT = 26  # part_row, records/batch.h
_OCTETS = 8 * BLOCK_WORDS
REPEATS_AT_ONCE = 512
BLOCKS_AT_ONCE = 16  # looked at in one call where nothing is the endpoint's: a millisecond or two
WAIT_NS = 500_000_000  # before a repeat whose endpoints are not there is looked at again

CodingOf = Callable[[int], Coding]


def _plain(_: int) -> Coding:
    return Coding()


class Expansion:
    """One running campaign: `next` gives an endpoint recipients not yet decided, `again` what is due for a repeat."""

    def __init__(
        self, view: View, tenant: int, campaign: int, row: dict[str, Any], router: Router | None = None,
        coding_of: CodingOf = _plain,
    ) -> None:  # fmt: skip
        """router: None for one endpoint, number 0. coding_of: how an endpoint takes texts."""
        self.tenant = tenant
        self.campaign = campaign
        self.audience = int(row["audience"])
        self.ref_seed = int(row["ref_seed"])
        self.purpose = Purpose(row["purpose"])
        self.router = router or Router({"main": (0, 1)})
        ranks = view.get("bitmaps", bitmap_key(campaign, WHICH_RANKS, 0)) or b""
        self._bases: list[tuple[int, int]] = list(struct.iter_unpack("<II", ranks))
        self._base_of = dict(self._bases)
        self._begun = Begun()
        self._repeats = Repeats()
        self._coding_of = coding_of
        self._guards: Guards | None = None
        self._plan: Plan | None = None
        self._opens_ms = FOREVER_MS  # when the first of those who wait may go
        self._through: set[int] = set()  # endpoints with nothing more for now
        self.refresh(view, row)

    def __repr__(self) -> str:
        return f"<Expansion {self.campaign:x} {self._begun!r} of {len(self._bases)} repeats={len(self._repeats)}>"

    def refresh(self, view: View, row: dict[str, Any]) -> None:
        """The tenant's fields, the guards or the arms may be others: compile the texts and split the blocks anew."""
        self._row = row
        self._context = Context(self.purpose, self.tenant, row["sender"])
        self._arms = arms_of(row, self.campaign)
        texts = self._arms.texts if self._arms is not None else [row["text"]]
        self._templates = [compile_of(view, self.tenant, row, text) for text in texts]
        self._coupon_key = key_of(view, self.tenant, row)
        self._renderers: dict[tuple[int, Coding], Renderer] = {}
        self._codings: dict[int, Coding] = {}
        self._close_guards()
        self._guards = guards_of(view, self.tenant, row, self.campaign, self.router)
        self._again_from_the_first()

    # ---- what there is

    @property
    def expanded(self) -> bool:
        """Every recipient has been decided on at least once."""
        return self._begun.front >= len(self._bases) and not self._begun

    @property
    def repeats(self) -> int:
        return len(self._repeats)

    @property
    def waiting(self) -> int:
        """Recipients of the blocks reached who may not be sent to for now: quiet hours, a test without its winner."""
        return self._begun.waiting

    @property
    def opens_ms(self) -> int | None:
        """When the first of them may go; None: nobody waits for a time."""
        return self._opens_ms if self._opens_ms < FOREVER_MS else None

    @property
    def next_due_ns(self) -> int:
        """When the first repeat falls due; NEVER_NS when there is none."""
        return self._repeats.next_due_ns

    def due(self, now_ns: int, endpoint: int = 0) -> bool:
        """A repeat may leave now by this endpoint, or by one that is not known yet."""
        repeats = self._repeats
        return repeats.stray or repeats.due(endpoint, now_ns) or repeats.due(ANY, now_ns)

    def wants(self, now_ns: int, now_ms: int = 0, endpoint: int = 0) -> bool:
        """Something may be taken for this endpoint now; a look may find that it is nothing."""
        self._look(now_ms)
        return (not self.expanded and endpoint not in self._through) or self.due(now_ns, endpoint)

    def repeat(self, item: Repeat) -> None:
        self._repeats.push(item)
        if item.endpoint != ANY and not self.router.is_up(item.endpoint):
            self._repeats.stray = True

    def give_up(self) -> list[Repeat]:
        """Every repeat that has not gone out; none is left, and nobody else is taken."""
        self._close_guards()
        return self._repeats.take_all()

    # ---- the next recipients

    def next(self, view: View, endpoint: int, max_rows: int, now_ms: int) -> Batch | None:
        """The next recipients' rows of an endpoint, at most `max_rows`, of one block; None when there is nothing for
        it in the blocks that were looked at (`wants` says whether there are more)."""
        self._look(now_ms)
        for _ in range(BLOCKS_AT_ONCE):
            index = self._begun.next_of(endpoint, len(self._bases))
            if index is None:
                self._through.add(endpoint)
                return None
            split = self._begun.open_at(index)
            if split is None or split.until_ms <= now_ms:
                split = self._split(view, index, now_ms)
            batch = self._take(view, split, endpoint, max_rows, now_ms)
            if not split.has(endpoint):
                self._begun.passed(endpoint, index)
            self._begun.end(split)
            if batch is not None:
                return batch
        return None

    def _look(self, now_ms: int) -> None:
        """Whether routes turned, or a time has come that somebody waits for."""
        plan = self.router.plan(self._context, now_ms)
        if plan is not self._plan:
            self._plan = plan
            self._repeats.stray = self._repeats.next_due_ns < NEVER_NS
            self._again_from_the_first()
        elif now_ms >= self._opens_ms:
            self._again_from_the_first()

    def _again_from_the_first(self) -> None:
        self._begun.turned()
        self._codings.clear()  # a reload may have changed them
        self._through.clear()
        self._opens_ms = FOREVER_MS

    def _split(self, view: View, index: int, now_ms: int) -> Split:
        """What is to become of a block's rest: skipped, waiting, or an endpoint's in an arm."""
        block, base = self._bases[index]
        bitmap = self._audience(view, block)
        if self._begun.open_at(index) is not None:
            self._begun.park(index)
        todo = self._undecided(view, bitmap, base) if index >= self._begun.front else self._begun.rest_of(index)
        split = Split(index, bitmap)
        clear = -1  # those whom no guard skips, the kernel's included
        if self._guards is not None and any(todo):
            verdict = self._guards.of_block(view, block, todo, now_ms)
            split.skips += verdict.skips
            split.until_ms, clear = verdict.until_ms, _number(verdict.clear)
            split.waits |= _number(verdict.waits)
            if verdict.opens_ms is not None:
                self._opens_ms = min(self._opens_ms, verdict.opens_ms)
            gone = split.waits
            for _, bits in verdict.skips:
                gone |= _number(bits)
            todo = _bits(_number(todo) & ~gone)
        arms = [todo]
        if self._arms is not None and any(todo):
            dealt = self._arms.split(view, self.tenant, block, todo)
            held, rest = _number(dealt.holdout), _number(dealt.waits)
            if held & clear:
                split.skips.append((Decision.HOLDOUT, _bits(held & clear)))
            split.waits |= rest & clear
            arms = [_bits(_number(dealt.arms[0]) | (held | rest) & ~clear), *dealt.arms[1:]]  # the kernel says why not
        for arm, bits in enumerate(arms):
            if any(bits):
                self._route(view, split, block, arm, bits)
        self._begun.begin(split)
        return split

    def _route(self, view: View, split: Split, block: int, arm: int, bits: bytearray) -> None:
        plan = self._plan
        assert plan is not None
        shares = plan.split(self._numbers(view, block), bits, self._ported(view))
        for endpoint, mine in shares.of.items():
            split.shares.setdefault(endpoint, []).append(Share(arm, mine, ledger.popcount(mine)))
        split.waits |= _number(shares.waits)
        if nowhere := _number(shares.no_route):
            columns = open_block(view, self.tenant, block, [FLAGS, MSISDN])
            for decision, held in held_back(columns, self.purpose, nowhere):
                split.skips.append((decision, _bits(held)))
                nowhere &= ~held
            split.skips.append((Decision.NO_ROUTE, _bits(nowhere)))

    def _take(self, view: View, split: Split, endpoint: int, max_rows: int, now_ms: int) -> Batch | None:
        block, base = self._bases[split.index]
        if split.skips:
            decision, bits = split.skips[0]
            batch = skip_rows(bits, split.bitmap, base, block * BLOCK, decision, max_rows)
            clear_through(bits, batch.last_slot)
            if not any(bits):
                split.skips.pop(0)
            return batch
        for share in split.shares.get(endpoint, ()):
            if not share.left:
                continue
            batch = self._render(view, block, share.arm, endpoint, share.bits, split.bitmap, base, max_rows)
            if batch.last_slot < 0:
                share.left = 0
                continue
            clear_through(share.bits, batch.last_slot)
            share.left -= batch.members
            if self._guards is not None:
                sent = bytearray(len(split.bitmap))
                sent_slots(batch.rows, batch.count, block * BLOCK, sent)
                self._guards.claimed(view, block, sent, now_ms)
            return batch
        return None

    def _undecided(self, view: View, bitmap: bytes, base: int) -> bytearray:
        """The block's recipients whose decision is still open, by the ledger (folded up to this process's start)."""
        count = ledger.popcount(bitmap)
        decisions = bytearray()
        for chunk in range(base // BLOCK, (base + count - 1) // BLOCK + 1):
            array = ledger.read_array(view, self.campaign, "decision", chunk)
            first = max(base - chunk * BLOCK, 0)
            last = min(base + count - chunk * BLOCK, BLOCK)
            got = bytes(array[first:last]) if array is not None else b""
            decisions += got + bytes(last - first - len(got))
        todo = bytearray(_OCTETS)
        ledger.todo_bitmap(bitmap, bytes(decisions), todo)
        return todo

    # ---- repeats

    def again(self, view: View, endpoint: int, max_rows: int, now_ns: int, now_ms: int = 0) -> list[Batch]:
        """Batches of an endpoint's repeats that are due, by block; parts that are out already are marked skip."""
        self._look(now_ms)
        if self._repeats.stray:
            self._repeats.free(self.router.is_up, lambda one: one in self.router.standing)
        if self._repeats.due(ANY, now_ns):
            self._route_repeats(view, endpoint, now_ns)
        due: dict[int, dict[int, Repeat]] = {}
        for taken in self._repeats.take(endpoint, now_ns, min(max_rows, REPEATS_AT_ONCE)):
            if (item := without_settled(view, self.campaign, taken)) is not None:
                due.setdefault(item.member_no // BLOCK, {})[item.rank] = item
        made: list[Batch] = []
        for block, items in sorted(due.items()):
            stopped, waits = asked_again(self._guards, view, block, items, now_ms)
            for rank, opens_ms in waits.items():
                item, due_ns = items[rank], now_ns + max(WAIT_NS, (opens_ms - now_ms) * 1_000_000)
                if item.since_s and due_ns / 1e9 - item.since_s >= self._row["validity_s"]:
                    stopped[rank] = Decision.QUIET  # it would be valid no more
                    continue
                item.due_ns = due_ns
                self._repeats.push(items.pop(rank))
            if items:
                made += self._again(view, block, endpoint, items, stopped)
        return made

    def _route_repeats(self, view: View, asking: int, now_ns: int) -> None:
        """Find the endpoints of those that go by the route."""
        plan = self._plan
        assert plan is not None
        blocks: dict[int, list[Repeat]] = {}
        for item in self._repeats.take(ANY, now_ns, REPEATS_AT_ONCE):
            blocks.setdefault(item.member_no // BLOCK, []).append(item)
        for block, items in blocks.items():
            todo = slots_of(items)
            shares = plan.split(self._numbers(view, block), todo, self._ported(view))
            ends = {**shares.of, WAIT: shares.waits or b"", NO_ROUTE: shares.no_route or b""}
            for item in items:
                at, bit = divmod(item.member_no % BLOCK, 8)
                end = next(end for end, bits in ends.items() if at < len(bits) and bits[at] >> bit & 1)
                if end == WAIT:
                    item.due_ns = now_ns + WAIT_NS
                else:
                    item.no_route = end == NO_ROUTE
                    item.endpoint = asking if item.no_route else end
                self._repeats.push(item)

    def _again(
        self, view: View, block: int, endpoint: int, items: dict[int, Repeat], stopped: dict[int, Decision]
    ) -> list[Batch]:
        bitmap = self._audience(view, block)
        todo = slots_of(items.values())
        arms = [todo]
        if self._arms is not None:
            arms = self._arms.groups(view, block, todo)[1:]
            if (extra := arms.pop()) and any(extra):  # the rest of a test, which had the winner's text
                won = self._arms.won or 0
                arms[won] = _bits(_number(arms[won]) | _number(extra))
        made = []
        for arm, bits in enumerate(arms):
            if any(bits):
                batch = self._render(
                    view, block, arm, endpoint, bits, bitmap, self._base_of[block], len(items) * self._row["max_parts"]
                )
                made.append(marked(view, self.campaign, batch, items, stopped))
        return made

    # ---- what it reads

    def _render(
        self, view: View, block: int, arm: int, endpoint: int, todo: bytes | bytearray, bitmap: bytes, base: int,
        max_rows: int,
    ) -> Batch:  # fmt: skip
        renderer = self._renderer(arm, endpoint)
        columns = open_block(view, self.tenant, block, renderer.columns)
        return renderer.render(columns, block * BLOCK, todo, bitmap, base, max_rows, self.ref_seed)

    def _renderer(self, arm: int, endpoint: int) -> Renderer:
        coding = self._codings.get(endpoint)
        if coding is None:
            coding = self._codings[endpoint] = self._coding_of(endpoint)
        renderer = self._renderers.get((arm, coding))
        if renderer is None:
            asked = Options.of(self._row.get("options"))
            renderer = Renderer(
                self._templates[arm], self.purpose, self._row["max_parts"], coding,
                message_class=asked.message_class, transliterate=asked.transliterate, coupon_key=self._coupon_key,
            )  # fmt: skip
            self._renderers[arm, coding] = renderer
        return renderer

    def _audience(self, view: View, block: int) -> bytes:
        return view.get("bitmaps", bitmap_key(self.campaign, WHICH_AUDIENCE, block)) or bytes(_OCTETS)

    def _numbers(self, view: View, block: int) -> memoryview | bytes:
        """Telephone numbers by slot, where the plan looks at them."""
        assert self._plan is not None
        if self._plan.only is not None:
            return b""
        return open_block(view, self.tenant, block, [MSISDN]).array(*MSISDN[:2])

    def _ported(self, view: View) -> list[memoryview]:
        assert self._plan is not None
        return ported_values(view, self.router.generation) if self._plan.asks_networks else []

    def _close_guards(self) -> None:
        if self._guards is not None:
            self._guards.close()


def _number(bits: bytes | bytearray | None) -> int:
    return int.from_bytes(bits, "little") if bits is not None else 0


def _bits(number: int) -> bytearray:
    return bytearray(number.to_bytes(_OCTETS, "little"))


def members_of_ranks(view: View, campaign: int, ranks: list[int]) -> dict[int, int]:
    """member_no of each rank (ascending list) of a frozen audience."""
    table = list(struct.iter_unpack("<II", view.get("bitmaps", bitmap_key(campaign, WHICH_RANKS, 0)) or b""))
    found: dict[int, int] = {}
    at = 0
    for index, (block, base) in enumerate(table):
        end = table[index + 1][1] if index + 1 < len(table) else 1 << 32
        mine = []
        while at < len(ranks) and ranks[at] < end:
            mine.append(ranks[at])
            at += 1
        if mine:
            bitmap = view.get("bitmaps", bitmap_key(campaign, WHICH_AUDIENCE, block)) or b""
            slots = ledger.slots_of_ranks(bitmap, [rank - base for rank in mine])
            found.update(zip(mine, (block * BLOCK + slot for slot in slots), strict=True))
    return found
