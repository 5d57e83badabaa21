"""Messages whose answer died with their connection, and the receipts that may still tell (DESIGN 8).

Touches: nothing; a table in memory by subscriber, rebuilt at start from the ledger's uncertain ranks. Bounded by what
may be uncertain: claim_credit a kill, a window a broken bind.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Uncertain:
    """One part that may have been accepted."""

    campaign: int  # or the batch of an answer
    endpoint: int  # by which it went, by its number; -1: nobody knows any more
    rank: int
    part: int
    member_no: int
    number: int
    of: int = 1  # parts of the message


class UncertainSet:
    """By number: a receipt settles the one candidate; several stay as they are."""

    def __init__(self) -> None:
        self._by_number: dict[int, list[Uncertain]] = {}
        self._by_part: dict[tuple[int, int, int], Uncertain] = {}  # the newest, where a member's number changed
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<UncertainSet {self._count} parts, {len(self._by_number)} numbers>"

    def add(self, item: Uncertain) -> None:
        mine = self._by_number.setdefault(item.number, [])
        if all((other.campaign, other.rank, other.part) != (item.campaign, item.rank, item.part) for other in mine):
            mine.append(item)
            self._by_part[item.campaign, item.rank, item.part] = item
            self._count += 1

    def of(self, number: int) -> list[Uncertain]:
        return list(self._by_number.get(number, ()))

    def find(self, campaign: int, rank: int, part: int) -> Uncertain | None:
        return self._by_part.get((campaign, rank, part))

    def remove(self, item: Uncertain) -> None:
        mine = self._by_number.get(item.number)
        if mine and item in mine:
            mine.remove(item)
            self._count -= 1
            if self._by_part.get((item.campaign, item.rank, item.part)) == item:
                del self._by_part[item.campaign, item.rank, item.part]
            if not mine:
                del self._by_number[item.number]
