"""What two to eight segments share: every pair's members, each one's own, all together.

Touches: column blocks and deltas, read through one View.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import View
from dispatcher.segments.answers.chosen import choose

LEAST, MOST = 2, 8


def overlap(view: View, tenant: int, texts: Sequence[str], as_of_ms: int) -> dict[str, Any]:
    """{segments: [{text, matched, only}], shared: [[n]], union, every, as_of, warnings, ms}.

    shared[i][j] are members of both i and j, so shared[i][i] is matched; only: in no other; union: in any; every: in
    all. Raises CommandRefused as compile_text, with the place of the text in the list.
    """
    if not LEAST <= len(texts) <= MOST:
        raise _wrong("/exprs", f"{len(texts)} segments: {LEAST} to {MOST} can be compared")
    chosen = []
    for index, text in enumerate(texts):
        try:
            chosen.append(choose(view, tenant, text, as_of_ms))
        except CommandRefused as exc:
            errors = [{"pointer": f"/exprs/{index}", "code": exc.code, "detail": exc.detail}]
            extra = {**exc.extra, "segment": index}
            raise CommandRefused(exc.status, exc.code, exc.detail, errors=errors, extra=extra) from exc
    n = len(chosen)
    shared = [[0] * n for _ in range(n)]
    only, union, every = [0] * n, 0, 0
    bits: dict[int, list[int]] = {}
    for index, one in enumerate(chosen):
        for block, bitmap, _ in one.blocks:
            bits.setdefault(block, [0] * n)[index] = int.from_bytes(bitmap, "little")
    for words in bits.values():
        once = twice = 0  # members of at least one, of at least two
        common = -1
        for i, word in enumerate(words):
            twice |= once & word
            once |= word
            common &= word
            for j in range(i + 1):
                shared[i][j] += (word & words[j]).bit_count()
        for i, word in enumerate(words):
            only[i] += (word & ~twice).bit_count()
        union += once.bit_count()
        every += common.bit_count()
    for i in range(n):
        for j in range(i):
            shared[j][i] = shared[i][j]
    told = [one.told() for one in chosen]
    return {
        "segments": [
            {"text": said["text"], "matched": one.matched, "only": only[i]}
            for i, (one, said) in enumerate(zip(chosen, told, strict=True))
        ],
        "shared": shared,
        "union": union,
        "every": every,
        "as_of": told[0]["as_of"],
        "warnings": [warning for said in told for warning in said["warnings"]],
        "ms": told[0]["ms"],
    }


def _wrong(pointer: str, detail: str) -> CommandRefused:
    return CommandRefused(
        422, "invalid_value", detail, errors=[{"pointer": pointer, "code": "wrong_value", "detail": detail}]
    )
