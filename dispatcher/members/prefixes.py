"""Numbers by the longest prefix they begin with, as ranges of numbers that the matching kernel can search.

Touches: nothing. A number is at most 15 digits (E.164) without its plus; one of every length has its own range.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from dispatcher.fastmatch import GREATEST, Kind, merge_ranges

T = TypeVar("T", bound=Hashable)
Ranges = list[tuple[int, int]]

DIGITS_MAX = 15
DIGITS_LEAST = 5  # shorter numbers are nobody's phone: they have no prefix


def ranges_by(of_prefix: Mapping[str, T]) -> dict[T, Ranges]:
    """What each number's longest prefix says -> sorted ranges of the numbers (both ends inside). "" is every number;
    without it some numbers are in no range."""
    found: dict[T, Ranges] = {}
    below: dict[str, list[str]] = {}
    for prefix in sorted(of_prefix):
        parent = next((prefix[:end] for end in range(len(prefix) - 1, -1, -1) if prefix[:end] in of_prefix), None)
        if parent is not None:
            below.setdefault(parent, []).append(prefix)
    for prefix, said in of_prefix.items():
        mine = found.setdefault(said, [])
        for digits in range(max(len(prefix), DIGITS_LEAST), DIGITS_MAX + 1):
            mine += _without(_span(prefix, digits), [_span(one, digits) for one in below.get(prefix, ())])
    return {said: merge_ranges(Kind.U64, ranges) for said, ranges in found.items()}


def outside(ranges: Iterable[Ranges]) -> Ranges:
    """Numbers from 1 that are in none of `ranges`."""
    left, at = Ranges(), 1
    for low, high in merge_ranges(Kind.U64, [one for each in ranges for one in each]):
        if at < low:
            left.append((at, low - 1))
        at = max(at, high + 1)
    if at <= GREATEST[Kind.U64]:
        left.append((at, GREATEST[Kind.U64]))
    return left


def _span(prefix: str, digits: int) -> tuple[int, int]:
    """The numbers of so many digits that begin with `prefix`."""
    if not prefix:
        return 10 ** (digits - 1), 10**digits - 1
    if digits < len(prefix):
        return 1, 0
    scale = 10 ** (digits - len(prefix))
    return int(prefix) * scale, (int(prefix) + 1) * scale - 1


def _without(span: tuple[int, int], holes: list[tuple[int, int]]) -> Ranges:
    left, at = Ranges(), span[0]
    for low, high in sorted(holes):
        if low > high:
            continue
        if at < low:
            left.append((at, low - 1))
        at = max(at, high + 1)
    if at <= span[1]:
        left.append((at, span[1]))
    return left
