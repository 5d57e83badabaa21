"""The meaning of campaigns/_arms and of a deal: sort everybody by their place, and cut."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference.fastmatch import mix64

MASK = (1 << 64) - 1


def place(member_no: int, seed: int) -> int:
    return min(mix64(member_no + seed & MASK), MASK - 1)


def group_of(member_no: int, held_seed: int, seed: int, bounds: Sequence[int]) -> int:
    """0 held out, 1 .. n an arm, n + 1 the rest; bounds: [held, arm, ...]."""
    if bounds[0] and place(member_no, held_seed) < bounds[0]:
        return 0
    mine = place(member_no, seed)
    return next((group for group, bound in enumerate(bounds[1:], 1) if mine < bound), len(bounds))


def dealt(members: Sequence[int], sizes: Sequence[int], held_seed: int, seed: int) -> dict[int, int]:
    """member_no -> group, with exactly `sizes`: those with the least places by the holdout's seed, then by the arms'."""
    by_held = sorted(members, key=lambda no: place(no, held_seed))
    found = dict.fromkeys(by_held[: sizes[0]], 0)
    left = sorted(by_held[sizes[0] :], key=lambda no: place(no, seed))
    at = 0
    for group, size in enumerate(sizes[1:], 1):
        found |= dict.fromkeys(left[at : at + size], group)
        at += size
    return found


def counted(
    audience: Sequence[int], chosen: set[int], decisions: Sequence[int], states: Sequence[int]
) -> tuple[dict[int, int], dict[int, int]]:
    """(members by decision, of those sent by state) of the chosen; audience in order of rank."""
    of_decision: dict[int, int] = {}
    of_state: dict[int, int] = {}
    for rank, slot in enumerate(audience):
        if slot in chosen:
            known = rank < min(len(decisions), len(states))
            decision, state = (decisions[rank], states[rank]) if known else (0, 0)
            of_decision[decision] = of_decision.get(decision, 0) + 1
            if decision == 1:
                of_state[state] = of_state.get(state, 0) + 1
    return of_decision, of_state
