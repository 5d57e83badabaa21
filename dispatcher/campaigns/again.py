"""What is asked and marked of messages that go (again): whether the guards are for it still, which parts are meant.

Touches: what the guards read and the ledger, through the View of the moment. Rests on: DESIGN 6 (a guard is evaluated
again at claim); expand.py, which takes the repeats and renders them.

A message of which nothing is out goes as it reads now. One that is partly out goes only if it still reads the same,
else its rest is given up; no cap holds that rest, for it is counted already. In quiet hours both wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.render import mark_again
from dispatcher.campaigns.repeats import ALL_PARTS, Repeat
from dispatcher.records.batch import ROW, Batch, Row
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, State
from dispatcher.store import ledger
from dispatcher.store.layout import BLOCK, BLOCK_WORDS

_DECISION_AT = 26  # part_row, records/batch.h


def asked_again(
    guards: Guards | None, view: View, block: int, items: dict[int, Repeat], now_ms: int
) -> tuple[dict[int, Decision], dict[int, int]]:
    """Of a block's repeats by rank: (those that the guards are against by now, those that must wait until when)."""
    stopped, waits = dict[int, Decision](), dict[int, int]()
    if guards is None:
        return stopped, waits
    verdict = guards.of_repeats(view, block, slots_of(items.values()), now_ms)
    opens_ms = verdict.opens_ms if verdict.opens_ms is not None else verdict.until_ms
    skips = [(decision, int.from_bytes(bits, "little")) for decision, bits in verdict.skips]
    waiting = int.from_bytes(verdict.waits or b"", "little")
    for rank, item in items.items():
        slot, whole = item.member_no % BLOCK, item.parts in (ALL_PARTS, (1 << item.of) - 1)
        if waiting >> slot & 1:
            waits[rank] = opens_ms
        for decision, gone in skips:
            if gone >> slot & 1 and (whole or decision is not Decision.FREQUENCY_CAP):
                stopped[rank] = decision
    return stopped, waits


def without_settled(view: View, campaign: int, item: Repeat) -> Repeat | None:
    """Less the parts that were uncertain when the repeat was planned and are not any more: by a receipt, or by a person
    while it waited; as of the last fold. None when nothing is left."""
    for part in range(item.uncertain.bit_length()):
        if item.uncertain >> part & 1 and ledger.state_of(view, campaign, item.rank, part) != State.UNCERTAIN:
            item.parts &= ~(1 << part)
    return item if item.parts else None


def marked(view: View, campaign: int, batch: Batch, items: dict[int, Repeat], stopped: dict[int, Decision]) -> Batch:
    """Only the parts that are wanted, with their tries."""
    wanted = {item.rank: (item.parts, item.tries, item.since_s) for item in items.values()}
    for at in range(0, batch.count * ROW.size, ROW.size):
        row = Row(*ROW.unpack_from(batch.rows, at))
        mine, tries, since_s = wanted[row.rank]
        parts, text_hash = _sent_as(view, campaign, row.rank)
        if mine in (ALL_PARTS, (1 << parts) - 1):
            wanted[row.rank] = ALL_PARTS, tries, since_s
        elif parts and row.decision == Decision.SENT and (row.parts, row.text_hash) != (parts, text_hash):
            batch.rows[at + _DECISION_AT] = Decision.TEXT_GREW
        if row.decision == Decision.SENT and row.rank in stopped:
            batch.rows[at + _DECISION_AT] = stopped[row.rank]
        elif row.decision == Decision.SENT and items[row.rank].no_route:
            batch.rows[at + _DECISION_AT] = Decision.NO_ROUTE
    mark_again(batch, wanted)
    return batch


def _sent_as(view: View, campaign: int, rank: int) -> tuple[int, int]:
    """Parts and text_hash of a message's last claim, as of the last fold; 0 parts: not folded yet."""
    chunk, r = divmod(rank, BLOCK)
    parts = ledger.read_array(view, campaign, "parts", chunk)
    hashes = ledger.read_array(view, campaign, "text_hash", chunk)
    if parts is None or hashes is None or r >= len(parts) or 4 * r >= len(hashes):
        return 0, 0
    return parts[r], int.from_bytes(hashes[4 * r : 4 * r + 4], "little")


def slots_of(items: Iterable[Repeat]) -> bytearray:
    """The members of some repeats of one block, as a bitmap."""
    todo = bytearray(8 * BLOCK_WORDS)
    for item in items:
        slot = item.member_no % BLOCK
        todo[slot // 8] |= 1 << slot % 8
    return todo
