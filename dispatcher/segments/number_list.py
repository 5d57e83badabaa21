"""Numbers that somebody brings, as members: whom they mean, and why the rest mean nobody.

Touches: the tenant's numbers and merges by View. snapshot.py keeps what is found as a segment, for a campaign of an
ad-hoc list: the three guards that only such a list needs are asked here, before anybody is in an audience.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import BITMAP_OCTETS
from dispatcher.members.aliases import alias_of
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.changes import View
from dispatcher.store.columns import number_slot
from dispatcher.store.layout import BLOCK
from dispatcher.tenants.tenant import Tenant

NUMBERS_MAX = 20_000  # of one list: some 0.2 s in a thread, and well inside a JSON body
LEFT_OUT_SHOWN = 1_000


class LeftOut(StrEnum):
    """Why a number of the list is not in the segment."""

    NO_VALID_NUMBER = "no_valid_number"
    DUPLICATE_NUMBER = "duplicate_number"
    NOT_A_MEMBER = "not_a_member"


@dataclass(slots=True)
class Listed:
    """`left_out` says of which place in the list what is wrong, never the number: it may be nobody's we know."""

    given: int
    bitmaps: dict[int, bytearray] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    @property
    def members(self) -> int:
        return self.given - self.skipped.total()

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        return ((block, bytes(self.bitmaps[block])) for block in sorted(self.bitmaps))

    def counts(self) -> dict[str, Any]:
        return {"given": self.given, "skipped": dict(sorted(self.skipped.items()))}


def listed_members(view: View, tenant: Tenant, texts: Sequence[str]) -> Listed:
    """Each member once, by the first number that means it. Raises CommandRefused 422 for a list that is too long."""
    if len(texts) > NUMBERS_MAX:
        detail = f"numbers: 1 to {NUMBERS_MAX:,} of them, got {len(texts):,}; longer lists are an import"
        errors = [{"pointer": "/numbers", "code": "too_many", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)
    found = Listed(len(texts))
    for index, (why, detail) in enumerate(_placed(view, tenant, texts, found.bitmaps)):
        if why is None:
            continue
        found.skipped[why.value] += 1
        if len(found.left_out) < LEFT_OUT_SHOWN:
            found.left_out.append({"index": index, "code": why.value, "detail": detail})
    return found


def _placed(
    view: View, tenant: Tenant, texts: Iterable[str], bitmaps: dict[int, bytearray]
) -> Iterator[tuple[LeftOut | None, str]]:
    """Of each number why it is left out; None for one whose member is in `bitmaps` from then on."""
    for text in texts:
        number = normalise(text, tenant.region)
        if isinstance(number, Unparsed):
            yield LeftOut.NO_VALID_NUMBER, number.reason.replace("_", " ")
            continue
        member_no = number_slot(view, tenant.number, number)
        member_no = alias_of(view, tenant.number, number) if member_no is None else member_no
        if member_no is None:
            yield LeftOut.NOT_A_MEMBER, "no member has this number: import it first"
            continue
        block, slot = divmod(member_no, BLOCK)
        bitmap, bit = bitmaps.setdefault(block, bytearray(BITMAP_OCTETS)), 1 << (slot & 7)
        if bitmap[slot >> 3] & bit:
            yield LeftOut.DUPLICATE_NUMBER, "its member is in the list already"
            continue
        bitmap[slot >> 3] |= bit
        yield None, ""


def told(counts: dict[str, Any]) -> str:
    """What of a list is left out, as a sentence; "" when nothing is."""
    left = sum(counts["skipped"].values())
    why = ", ".join(f"{many:,} {word.replace('_', ' ')}" for word, many in counts["skipped"].items())
    return f"Of the list's {counts['given']:,} numbers {left:,} are left out: {why}." if left else ""
