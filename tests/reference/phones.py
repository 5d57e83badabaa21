"""What store/_phones means: numbers found among the rows of a table, one look-up each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def look_up(rows: Mapping[tuple[int, int], int], tenant: int, ordered: Sequence[int], found: list[int]) -> list[int]:
    """`found` for the distinct numbers of `ordered`, those that are negative replaced by the member who has it."""
    distinct = list(dict.fromkeys(ordered))
    return [rows.get((tenant, number), -1) if have < 0 else have for number, have in zip(distinct, found, strict=True)]


def fitting(pages: Sequence[int], count: int, most: int) -> tuple[int, int]:
    """`pages`: of each number in order; those of one page follow each other."""
    seen: list[int] = []
    for i in range(count):
        if not seen or pages[i] != seen[-1]:
            if len(seen) == most:
                return i, len(seen)
            seen.append(pages[i])
    return count, len(seen)


def place_of(ordered: Sequence[int], start: int, end: int, group: int) -> tuple[int, int]:
    begins = [i for i in range(start, end) if i == start or ordered[i] != ordered[i - 1]]
    if 0 <= group < len(begins):
        return begins[group], group
    return end, len(begins)
