"""A campaign's audience, lazily: what is undecided becomes the next Batch, what came back is rendered again.

Touches: the View it is given, for as long as a call takes. Never a queue of recipients: its memory is one block's
bitmap, whatever the audience. Rests on: DESIGN 6; ranks are the order of member_no in the frozen audience.
A repeat is rendered anew: a message of which nothing is out goes as it reads now, one that is partly out only if it
still reads the same, else its rest is given up (two halves of two texts help nobody).
Weak spot: repeats of one block are rendered together, so a repeat costs about a claim each when they are scattered.
"""

from __future__ import annotations

import heapq
import struct
from dataclasses import dataclass, field
from typing import Any

from dispatcher.campaigns.campaign import bitmap_key, compile_text
from dispatcher.campaigns.render import Renderer, clear_through, mark_again
from dispatcher.records.batch import ROW, Batch, Row
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.store import ledger
from dispatcher.store.columns import open_block
from dispatcher.store.layout import BLOCK, BLOCK_WORDS

WHICH_AUDIENCE, WHICH_RANKS = 0, 2
_DECISION_AT = 26  # part_row, records/batch.h
_ALL_PARTS = (1 << 255) - 1
REPEATS_AT_ONCE = 512
NEVER_NS = 1 << 63


@dataclass(order=True, slots=True)
class Repeat:
    """A message, or some parts of one, to be sent (again): refused for now, given back, or uncertain and resent."""

    due_ns: int
    rank: int
    member_no: int = field(compare=False)
    parts: int = field(compare=False)  # bit per part; all bits of the message: the whole
    tries: int = field(compare=False)
    fails: bool = field(compare=False, default=False)  # it is sent in part or was refused: failed if it goes no more
    since_s: int = field(compare=False, default=0)  # monotonic: when it was refused for now for the first time


class Expansion:
    """One running campaign: `next` gives recipients not yet decided, `again` what is due for a repeat."""

    def __init__(self, view: View, tenant: int, campaign: int, row: dict[str, Any]) -> None:
        self.tenant = tenant
        self.campaign = campaign
        self.audience = int(row["audience"])
        self.ref_seed = int(row["ref_seed"])
        self.purpose = Purpose(row["purpose"])
        ranks = view.get("bitmaps", bitmap_key(campaign, WHICH_RANKS, 0)) or b""
        self._bases: list[tuple[int, int]] = list(struct.iter_unpack("<II", ranks))
        self._base_of = dict(self._bases)
        self._at = -1
        self._bitmap = b""
        self._todo = bytearray()
        self._left = 0
        self._repeats: list[Repeat] = []
        self.refresh(view, row)

    def __repr__(self) -> str:
        at = f"block {self._at + 1}/{len(self._bases)}"
        return f"<Expansion {self.campaign:x} {at} left={self._left} repeats={len(self._repeats)}>"

    def refresh(self, view: View, row: dict[str, Any]) -> None:
        """Compile the text against the tenant's fields as they are now (a dictionary may have grown)."""
        template = compile_text(view, self.tenant, row["text"], row["max_parts"])
        self._renderer = Renderer(template, self.purpose, row["max_parts"])

    @property
    def expanded(self) -> bool:
        """Every recipient has been decided on at least once."""
        return self._left == 0 and self._at + 1 >= len(self._bases)

    @property
    def repeats(self) -> int:
        return len(self._repeats)

    @property
    def next_due_ns(self) -> int:
        """When the first repeat falls due; NEVER_NS when there is none."""
        return self._repeats[0].due_ns if self._repeats else NEVER_NS

    def due(self, now_ns: int) -> bool:
        """A repeat may leave now."""
        return bool(self._repeats) and self._repeats[0].due_ns <= now_ns

    def wants(self, now_ns: int) -> bool:
        return not self.expanded or self.due(now_ns)

    def repeat(self, item: Repeat) -> None:
        heapq.heappush(self._repeats, item)

    def next(self, view: View, max_rows: int) -> Batch | None:
        """The next recipients' rows, at most `max_rows`, of one block; None when every recipient is decided."""
        while self._left == 0:
            if self._at + 1 >= len(self._bases):
                return None
            self._at += 1
            self._load(view, *self._bases[self._at])
        block, base = self._bases[self._at]
        batch = self._render(view, block, self._todo, self._bitmap, base, max_rows)
        self._left -= batch.members
        if batch.last_slot >= 0:
            clear_through(self._todo, batch.last_slot)
        elif batch.members == 0:
            return None  # not even one message fits in max_rows
        return batch

    def give_up(self) -> list[Repeat]:
        """Every repeat that has not gone out; none is left."""
        left, self._repeats = self._repeats, []
        return left

    def again(self, view: View, max_rows: int, now_ns: int) -> list[Batch]:
        """Batches of the repeats that are due, by block; parts that are out already are marked skip."""
        due: dict[int, dict[int, Repeat]] = {}
        rows = 0
        while self._repeats and self._repeats[0].due_ns <= now_ns and rows < min(max_rows, REPEATS_AT_ONCE):
            item = heapq.heappop(self._repeats)
            mine = due.setdefault(item.member_no // BLOCK, {})
            other = mine.get(item.rank)
            if other is not None:
                item.parts |= other.parts
            mine[item.rank] = item
            rows += item.parts.bit_count()
        return [self._again(view, block, items) for block, items in sorted(due.items())]

    def _again(self, view: View, block: int, items: dict[int, Repeat]) -> Batch:
        todo = bytearray(8 * BLOCK_WORDS)
        for item in items.values():
            slot = item.member_no % BLOCK
            todo[slot // 8] |= 1 << slot % 8
        bitmap = view.get("bitmaps", bitmap_key(self.campaign, WHICH_AUDIENCE, block)) or bytes(8 * BLOCK_WORDS)
        rows = len(items) * self._renderer.max_parts
        batch = self._render(view, block, todo, bitmap, self._base_of[block], rows)
        wanted = {item.rank: (item.parts, item.tries, item.since_s) for item in items.values()}
        for at in range(0, batch.count * ROW.size, ROW.size):
            row = Row(*ROW.unpack_from(batch.rows, at))
            mine, tries, since_s = wanted[row.rank]
            parts, text_hash = self._sent_as(view, row.rank)
            if mine in (_ALL_PARTS, (1 << parts) - 1):
                wanted[row.rank] = _ALL_PARTS, tries, since_s
            elif parts and row.decision == Decision.SENT and (row.parts, row.text_hash) != (parts, text_hash):
                batch.rows[at + _DECISION_AT] = Decision.TEXT_GREW
        mark_again(batch, wanted)
        return batch

    def _sent_as(self, view: View, rank: int) -> tuple[int, int]:
        """Parts and text_hash of a message's last claim, as of the last fold; 0 parts: not folded yet."""
        chunk, r = divmod(rank, BLOCK)
        parts = ledger.read_array(view, self.campaign, "parts", chunk)
        hashes = ledger.read_array(view, self.campaign, "text_hash", chunk)
        if parts is None or hashes is None or r >= len(parts) or 4 * r >= len(hashes):
            return 0, 0
        return parts[r], int.from_bytes(hashes[4 * r : 4 * r + 4], "little")

    def _render(
        self, view: View, block: int, todo: bytes | bytearray, bitmap: bytes, base: int, max_rows: int
    ) -> Batch:
        columns = open_block(view, self.tenant, block, self._renderer.columns)
        return self._renderer.render(columns, block * BLOCK, todo, bitmap, base, max_rows, self.ref_seed)

    def _load(self, view: View, block: int, base: int) -> None:
        """The block's recipients whose decision is still open, by the ledger (folded up to this process's start)."""
        self._bitmap = view.get("bitmaps", bitmap_key(self.campaign, WHICH_AUDIENCE, block)) or bytes(8 * BLOCK_WORDS)
        count = ledger.popcount(self._bitmap)
        decisions = bytearray()
        for chunk in range(base // BLOCK, (base + count - 1) // BLOCK + 1):
            array = ledger.read_array(view, self.campaign, "decision", chunk)
            first = max(base - chunk * BLOCK, 0)
            last = min(base + count - chunk * BLOCK, BLOCK)
            got = bytes(array[first:last]) if array is not None else b""
            decisions += got + bytes(last - first - len(got))
        self._todo = bytearray(8 * BLOCK_WORDS)
        self._left = ledger.todo_bitmap(self._bitmap, bytes(decisions), self._todo)


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
