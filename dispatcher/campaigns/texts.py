"""Real texts of a frozen audience, rendered by the kernel for a few members and read back: samples, the longest, and
which values make a message dearer.

Touches: the members' blocks, through the View that the audience was frozen in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import accumulate, islice
from typing import Any

from dispatcher.campaigns.freeze import Frozen
from dispatcher.campaigns.render import Renderer, clear_through
from dispatcher.campaigns.template import Reference, Template
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.records.batch import ROW
from dispatcher.records.changes import View
from dispatcher.records.keys import public_member_id
from dispatcher.records.states import Decision
from dispatcher.store.columns import BlockView, open_block
from dispatcher.store.layout import BLOCK
from dispatcher.text.alphabet import DATA_CODING_UCS2, outside_gsm7

SAMPLES = 10
CULPRITS_READ = 20  # members whose text is read to say why UCS-2 is needed
DEARER_READ = 100  # members with more parts than most whose values are tried one by one
DEARER_NAMED = 10
ROWS = 4_096  # rendered at a time
# octets of a part_row, records/batch.h
_PART, _PARTS, _DATA_CODING, _DECISION, _SLOT = 22, 23, 25, 26, 28


class Texts:
    """Of one frozen audience; `renderers` one an arm."""

    def __init__(self, view: View, tenant: int, renderers: Sequence[Renderer], names: Sequence[str], frozen: Frozen):
        self._view, self._tenant, self._frozen = view, tenant, frozen
        self._renderers, self._names = renderers, names
        self._columns = list(dict.fromkeys(column for one in renderers for column in one.columns))

    def samples(self) -> list[dict[str, Any]]:
        """Of those who will be sent to, SAMPLES evenly spread in member order; all of them when they are fewer."""
        upto = list(accumulate(counts.decisions[Decision.SENT] for counts in self._frozen.counts))
        will_send = self._frozen.will_send
        spread = min(SAMPLES, will_send)
        found = []
        for i in range(spread):
            nth = (2 * i + 1) * will_send // (2 * spread)
            index = bisect_right(upto, nth)
            block = self._frozen.blocks[index][0]
            columns = self._open(block)
            place = self._nth_sent(columns, self._frozen.passed[index], nth - (upto[index - 1] if index else 0))
            if place is not None:
                found.append(self._shown(columns, block, *place))
        return found

    def longest(self) -> list[dict[str, Any]]:
        """Those with the most parts, then octets."""
        found = []
        for one in self._frozen.total.longest:
            block, slot = divmod(one.member_no, BLOCK)
            found.append(self._shown(self._open(block), block, slot, self._arm_of(block, slot)))
        return found

    def culprits(self) -> tuple[list[str], bool]:
        """(characters outside GSM 7-bit that members' values bring, whether every member concerned was looked at)."""
        characters: dict[str, None] = {}
        read = 0
        for columns, arm, slot in self._those(lambda counts: counts.ucs2, _DATA_CODING, (DATA_CODING_UCS2,)):
            read += 1
            characters |= dict.fromkeys(outside_gsm7(self._renderers[arm].sample(columns, slot).text or ""))
            if read == CULPRITS_READ:
                break
        return list(characters), read == self._frozen.total.ucs2

    def dearer(self) -> list[dict[str, Any]]:
        """Values that push a message into another part: {field, value, parts, without, members}; `members` of the first
        DEARER_READ of those that have more parts than most."""
        of_parts = self._frozen.total.parts
        usual = max(of_parts, key=lambda parts: (of_parts[parts], -parts), default=0)
        dear = tuple(parts for parts in of_parts if parts > usual and of_parts[parts])
        if not dear:
            return []
        found: Counter[tuple[str, str, int, int]] = Counter()
        without = [_without_each(one) for one in self._renderers]
        many = self._those(lambda counts: sum(counts.parts[parts] for parts in dear), _PARTS, dear)
        for columns, arm, slot in islice(many, DEARER_READ):
            parts = self._renderers[arm].sample(columns, slot).parts
            for name, less, value in without[arm]:
                short = less.sample(columns, slot).parts
                if short < parts:
                    found[name, value.sample(columns, slot).text or "", parts, short] += 1
        return [
            {"field": name, "value": value, "parts": parts, "without": short, "members": n}
            for (name, value, parts, short), n in found.most_common(DEARER_NAMED)
        ]

    def _nth_sent(self, columns: BlockView, passed: list[int], nth: int) -> tuple[int, int] | None:
        """(slot, arm) of the n-th message of a block, from 0, in the order of slots; None where only another endpoint
        takes so many texts."""
        arms = [arm for arm, bits in enumerate(passed) if bits]
        if len(arms) > 1:
            sent = merge(*(self._sent(columns, arm, passed[arm]) for arm in arms))
            return next(islice(sent, nth, None), None)
        arm = arms[0]
        slot = next(self._where(columns, arm, passed[arm], _DECISION, Decision.SENT, skip=nth), None)
        return None if slot is None else (slot, arm)

    def _sent(self, columns: BlockView, arm: int, bits: int) -> Iterator[tuple[int, int]]:
        return ((slot, arm) for slot in self._where(columns, arm, bits, _DECISION, Decision.SENT))

    def _those(self, many: Any, octet: int, values: Sequence[int]) -> Iterator[tuple[BlockView, int, int]]:
        """(block, arm, slot) of messages whose first part's row has one of `values` at `octet`, in the blocks of which
        `many` says that they have some."""
        for (block, _, _), counts, passed in zip(
            self._frozen.blocks, self._frozen.counts, self._frozen.passed, strict=True
        ):
            if many(counts):
                columns = self._open(block)
                for arm, bits in enumerate(passed):
                    for value in values:
                        for slot in self._where(columns, arm, bits, octet, value):
                            yield columns, arm, slot

    def _arm_of(self, block: int, slot: int) -> int:
        index = bisect_right(self._frozen.blocks, block, key=lambda one: one[0]) - 1
        return next((arm for arm, bits in enumerate(self._frozen.passed[index]) if bits >> slot & 1), 0)

    def _open(self, block: int) -> BlockView:
        return open_block(self._view, self._tenant, block, self._columns)

    def _where(
        self, columns: BlockView, arm: int, bits: int, octet: int, value: int, skip: int = 0
    ) -> Iterator[int]:  # fmt: skip
        """Slots, ascending, of messages of an arm whose first part's row has `value` at `octet`; `skip`: not the first
        so many."""
        if not bits:
            return
        audience = bits.to_bytes(BITMAP_OCTETS, "little")
        left = bytearray(audience)
        while (batch := self._renderers[arm].render(columns, 0, left, audience, 0, ROWS)).count:
            clear_through(left, batch.last_slot)
            wanted, parts = batch.rows[octet :: ROW.size], batch.rows[_PART :: ROW.size]
            if skip and not any(parts) and (many := wanted.count(value)) <= skip:
                skip -= many
                continue
            at = wanted.find(value)
            while at >= 0:
                if parts[at] == 0 and skip:
                    skip -= 1
                elif parts[at] == 0:
                    yield int.from_bytes(batch.rows[at * ROW.size + _SLOT : at * ROW.size + _SLOT + 4], "little")
                at = wanted.find(value, at + 1)

    def _shown(self, columns: BlockView, block: int, slot: int, arm: int) -> dict[str, Any]:
        sample = self._renderers[arm].sample(columns, slot)
        shown = {
            "member": public_member_id(block * BLOCK + slot),
            "text": sample.text,
            "parts": sample.parts,
            "alphabet": "ucs2" if sample.data_coding == DATA_CODING_UCS2 else "gsm7",
        }
        return shown | ({"arm": self._names[arm]} if len(self._names) > 1 else {})


def _without_each(renderer: Renderer) -> list[tuple[str, Renderer, Renderer]]:
    """(field's name, the text without it, its value alone) of each field of a text."""
    pieces, found = renderer.template.pieces, []
    for at, piece in enumerate(pieces):
        if isinstance(piece, Reference):
            rest = tuple(one for i, one in enumerate(pieces) if i != at)
            found.append((piece.field.name, _like(renderer, rest), _like(renderer, (piece,))))
    return found


def _like(renderer: Renderer, pieces: tuple[str | Reference, ...]) -> Renderer:
    return Renderer(Template("", pieces), renderer.purpose, renderer.max_parts, renderer.encoder.coding)
