"""The meaning of apps/reports/_report, one recipient at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

SENT, DELIVERED, EXPIRED, FAILED = 1, 4, 5, 6
EXACT_S = 3_600


class One(NamedTuple):
    decision: int
    state: int
    error: int
    parts: int
    submit_s: int
    final_s: int


def span(people: Sequence[One]) -> tuple[int, int, int]:
    sent = [one for one in people if one.decision == SENT]
    submits = [one.submit_s for one in sent if one.submit_s]
    if not submits:
        return 0, 0, max((one.final_s for one in sent), default=0)
    return min(submits), max(submits), max(one.final_s for one in sent)


def delay_place(seconds: int, places: int) -> int:
    place = seconds if seconds < EXACT_S else EXACT_S + (seconds - EXACT_S) // 60
    return min(place, places - 1)


def tally(
    people: Sequence[One], begin_s: int, bucket_s: int, buckets: int, places: int, since_s: int
) -> tuple[list[list[int]], Counter[int], Counter[tuple[int, int]], int]:
    """(line, delays, errors by (state, error), changed)"""

    def bucket(at: int) -> int:
        return min(max(0, at - begin_s) // bucket_s, buckets - 1)

    line = [[0, 0, 0] for _ in range(buckets)]
    delays: Counter[int] = Counter()
    errors: Counter[tuple[int, int]] = Counter()
    changed = 0
    for one in people:
        if one.decision != SENT:
            continue
        line[bucket(one.submit_s)][0] += 1
        changed += bool(one.final_s) and one.final_s >= since_s
        if one.state == DELIVERED:
            line[bucket(one.final_s)][1] += 1
            delays[delay_place(max(0, one.final_s - one.submit_s), places)] += 1
        elif one.state in (EXPIRED, FAILED):
            line[bucket(one.final_s or one.submit_s)][2] += 1
        if one.error:
            errors[one.state, one.error] += 1
    return line, delays, errors, changed


def day(people: Sequence[One], begin_s: int, end_s: int, since_s: int) -> tuple[list[int], int]:
    counts, last = [0] * 19, 0
    for one in people:
        if one.decision == SENT and begin_s <= one.submit_s < end_s:
            counts[one.state & 15] += 1
            counts[16] += one.parts
            counts[17] += one.final_s >= end_s
            counts[18] += bool(one.final_s) and one.final_s >= since_s
            last = max(last, one.final_s)
    return counts, last
