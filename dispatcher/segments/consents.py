"""Who consented or opted out, and when: the last word of each number, as the history has it.

Touches: rows of `optout_history` and `phones`, through one View.
Rests on: members/consent.py: the history is append-only, a number's words in order of time. Whether somebody is opted
out now is a plane and needs none of this; only "in the last n days" does.
Weak spot: the history is kept by number, so all of a tenant's is read, some 3 us a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from dispatcher.records.changes import View
from dispatcher.segments.given import ConsentChanged
from dispatcher.store.columns import number_slot
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64, U64
from dispatcher.store.values import unpack

_NUMBER = slice(0, TENANT_U64.size)
_AT = slice(TENANT_U64.size, TENANT_U64.size + U64.size)
_WORDS = {"opted_out": "optout", "consented": "lift"}


def changed(view: View, tenant: int, key: ConsentChanged, as_of_ms: int) -> dict[int, bytearray]:
    """Members whose last word about a group, up to `as_of_ms`, was this one and not before `since_ms`, by block."""
    found: dict[int, bytearray] = {}
    word, since_ms = _WORDS[key.what], key.since_ms or 0
    for number, said in groupby(_words(view, tenant), key=lambda one: one[0]):
        last: tuple[int, Any] | None = None
        for _, at_ms, row in said:
            if at_ms <= as_of_ms and key.group in row["groups"]:
                last = at_ms, row["what"]
        if last is None or last[0] < since_ms or last[1] != word:
            continue
        member_no = number_slot(view, tenant, number)
        if member_no is not None:
            block, slot = divmod(member_no, BLOCK)
            found.setdefault(block, bytearray(BLOCK // 8))[slot >> 3] |= 1 << (slot & 7)
    return found


def _words(view: View, tenant: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(number, at_ms, row) of every opt-out and lift, a number's oldest first."""
    for key, row in view.range("optout_history", TENANT.pack(tenant)):
        yield TENANT_U64.unpack(key[_NUMBER])[1], U64.unpack(key[_AT])[0], unpack(row)
