"""How a segment is refused: one shape for every fault, with its place, what was expected and what was meant.

Touches: nothing. Always CommandRefused 422, code segment_syntax or unknown_field, extra {position, expected,
did_you_mean}; position counts characters from 0, did_you_mean is a word or None.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from dispatcher.errors import CommandRefused

NEAREST_OF = 2_000  # names compared for did_you_mean: a guess is not worth more


def refused(
    detail: str,
    position: int,
    expected: Iterable[str] = (),
    did_you_mean: str | None = None,
    *,
    code: str = "segment_syntax",
) -> CommandRefused:
    extra = {"position": position, "expected": list(expected), "did_you_mean": did_you_mean}
    return CommandRefused(422, code, detail, extra=extra)


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The choice most like `word`, letter case aside; None when none is like it."""
    if not word or len(word) > 64:
        return None
    by_folded = {choice.casefold(): choice for choice in islice(choices, NEAREST_OF)}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None
