"""Some members of a segment, to look at: one from each equal stretch of it in member order, by a seed.

Touches: column blocks and deltas, read through one View.
The same seed over the same members draws the same ones; drawn evenly, so old and new members are met alike.
"""

from __future__ import annotations

import random
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.segments.answers.chosen import choose

MOST = 1_000


def sample(view: View, tenant: int, text: str, n: int, seed: str, as_of_ms: int) -> dict[str, Any]:
    """{members: [member_no] ascending, matched, seed, text, as_of, warnings, ms}; all when they are at most n."""
    if not 1 <= n <= MOST:
        detail = f"n {n}: 1 to {MOST:,} members can be drawn"
        errors = [{"pointer": "/n", "code": "wrong_value", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)
    chosen = choose(view, tenant, text, as_of_ms)
    members = chosen.at(strata(chosen.matched, n, seed))
    return {"members": members, "matched": chosen.matched, "seed": seed, **chosen.told()}


def strata(of: int, n: int, seed: str) -> list[int]:
    """One rank from each of n stretches of `of` ranks as equal as can be, ascending."""
    n = min(of, n)
    draw = random.Random(f"volley sample {seed}")  # a text's hash there is its sha512: the same on every machine
    edges = [i * of // n for i in range(n)] + [of]
    return [draw.randrange(edges[i], edges[i + 1]) for i in range(n)]
