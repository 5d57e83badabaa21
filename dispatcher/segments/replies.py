"""Who replied: messages from members' phones, and which campaign each of them answers.

Touches: rows of `inbound` and `phones`, campaigns' ledgers through runs.py.
Rests on: PRODUCT F: a message answers the last campaign that was sent to the member, at most 72 h before it.
Weak spots: a member is found by the number it has now; a message is read one by one, some 10 us each: a million
replies make a condition on them slow.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dispatcher.members.aliases import alias_of
from dispatcher.records.changes import View
from dispatcher.records.states import Decision
from dispatcher.segments.given import Engaged
from dispatcher.segments.runs import BITMAP_OCTETS, kernel, runs
from dispatcher.store.columns import number_slot
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.tenants.market import plain

REACH_MS = 72 * 3_600_000
NOBODY: Mapping[int, int] = MappingProxyType({})


def replied(
    view: View, tenant: int, key: Engaged, as_of_ms: int, merged: Mapping[int, int] = NOBODY
) -> dict[int, bytearray]:
    """Members who answered a campaign, or any, by block; with a text only those who wrote just that.

    merged: members taken over by others (members/aliases.py); what their numbers said may answer what any of them got.
    """
    since_ms, until_ms = key.since_ms or 0, as_of_ms
    wanted = next(runs(view, tenant, key.campaign, 0, as_of_ms, late=True), None)
    if wanted is None:
        return {}
    if key.campaign is not None:
        since_ms = max(since_ms, wanted.row["started_ms"])
        if wanted.row["finished_ms"] is not None:
            until_ms = min(until_ms, wanted.row["finished_ms"] + REACH_MS)
    text = None if key.text is None else plain(key.text)
    heard = _inbound(view, tenant, since_ms, until_ms, text, merged)
    if not heard:
        return {}
    earliest_ms = 1_000 * min(min(block.at_s) for block in heard.values()) - REACH_MS
    best = {block: array("I", bytes(4 * len(one.slots))) for block, one in heard.items()}
    whose = {block: array("I", bytes(4 * len(one.slots))) for block, one in heard.items()}
    mine = 0
    for number, run in enumerate(runs(view, tenant, None, earliest_ms, until_ms, late=False), 1):
        mine = number if run.campaign == key.campaign else mine
        for block, one in heard.items():
            if block in run.blocks:
                decisions, submits = run.ranks("decision", 1, block), run.ranks("submit_s", 4, block)
                kernel.claim_replies(
                    run.audience(block), decisions, submits, Decision.SENT,
                    one.slots, one.at_s, best[block], whose[block], number, REACH_MS // 1_000,
                )  # fmt: skip
    return _answered(heard, whose, None if key.campaign is None else mine)


@dataclass(slots=True)
class _Heard:
    """Messages from one block's members, and the campaign that each answers."""

    slots: array[int] = field(default_factory=lambda: array("I"))
    at_s: array[int] = field(default_factory=lambda: array("I"))


def _answered(heard: dict[int, _Heard], whose: dict[int, array[int]], campaign: int | None) -> dict[int, bytearray]:
    """Members of whom a message answers `campaign` (any: None); nobody's number is 0."""
    found: dict[int, bytearray] = {}
    for block, one in heard.items():
        slots = [
            slot for slot, number in zip(one.slots, whose[block], strict=True) if number and campaign in (None, number)
        ]
        for slot in slots:
            found.setdefault(block, bytearray(BITMAP_OCTETS))[slot >> 3] |= 1 << (slot & 7)
    return found


def _inbound(
    view: View, tenant: int, since_ms: int, until_ms: int, text: str | None, merged: Mapping[int, int]
) -> dict[int, _Heard]:
    """Messages of members between the two instants, a block's in order of slot; with `text` only those that say it."""
    met: dict[int, list[tuple[int, int]]] = {}
    losers: dict[int, list[int]] = {}
    for loser, winner in merged.items():
        losers.setdefault(winner, []).append(loser)
    start = TENANT_U64.pack(tenant, max(since_ms << 16, 1) - 1)  # ids begin with the time they were made (keys.py)
    for _, octets in view.range("inbound", TENANT.pack(tenant), after=start):
        row = unpack(octets)
        if row["at_ms"] > until_ms:
            break
        if text is not None and plain(row["text"] or "") != text:
            continue
        digits = row["from"].lstrip("+")
        number = int(digits) if digits.isdecimal() and len(digits) < 16 else 0  # a name is nobody's phone
        member_no = number_slot(view, tenant, number) if number else None
        if member_no is None and number and merged:
            member_no = alias_of(view, tenant, number)
        if member_no is not None:
            for one in (member_no, *losers.get(member_no, ())):
                met.setdefault(one // BLOCK, []).append((one % BLOCK, row["at_ms"] // 1_000))
    heard: dict[int, _Heard] = {}
    for block, pairs in sorted(met.items()):
        pairs.sort()
        heard[block] = _Heard(array("I", [slot for slot, _ in pairs]), array("I", [at for _, at in pairs]))
    return heard
