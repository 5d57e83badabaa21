"""Who replied: messages from members' phones, and which campaign each of them answers.

Touches: rows of `replies` (of an earlier time `inbound` and `phones`), campaigns' ledgers through runs.py.
Rests on: PRODUCT F: a message answers the last campaign that was sent to the member, at most 72 h before it.
A message belongs to the member who had its number when it came. Weak spot: those from before there was the table are
read one by one, some 10 us each, and belong to whoever has the number now.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dispatcher.errors import StoreError
from dispatcher.members.aliases import writer_of
from dispatcher.records.changes import View
from dispatcher.records.states import Decision
from dispatcher.segments.given import Engaged
from dispatcher.segments.runs import BITMAP_OCTETS, kernel, runs
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64
from dispatcher.store.replies import first_reply, text_mark
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack
from dispatcher.tenants.market import plain

try:
    from dispatcher.segments import _replies as rows
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel segments/_replies is not built: run `make build`") from exc

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


@dataclass(frozen=True, slots=True)
class _Heard:
    """Messages from one block's members: their slots, ascending, and when."""

    slots: array[int]
    at_s: array[int]


def _answered(heard: dict[int, _Heard], whose: dict[int, array[int]], campaign: int | None) -> dict[int, bytearray]:
    """Members of whom a message answers `campaign` (any: None); nobody's number is 0."""
    found: dict[int, bytearray] = {}
    for block, one in heard.items():
        bitmap = bytearray(BITMAP_OCTETS)
        if rows.mark_answers(one.slots, whose[block], campaign, bitmap):
            found[block] = bitmap
    return found


def _inbound(
    view: View, tenant: int, since_ms: int, until_ms: int, text: str | None, merged: Mapping[int, int]
) -> dict[int, _Heard]:
    """Messages of members between the two instants, a block's in order of slot; with `text` only those that say it."""
    start = max(since_ms << 16, 1) - 1  # ids begin with the time they were made (keys.py)
    kept_from = first_reply(view, tenant)
    pairs = array("Q")
    if kept_from is None or start < kept_from:
        pairs.extend(_older(view, tenant, start, kept_from, until_ms, text))
    if kept_from is not None:
        kept = _kept(view, TENANT_U64.pack(tenant, start + 1), until_ms, text)
        pairs = array("Q", sorted((*pairs, *array("Q", kept)))) if pairs else array("Q", kept)
    if merged:
        pairs = _of_merged(pairs, merged)
    heard: dict[int, _Heard] = {}
    for block, slots, seconds in rows.by_block(pairs.tobytes(), BLOCK):
        heard[block] = _Heard(array("I", slots), array("I", seconds))
    return heard


def _kept(view: View, first: bytes, until_ms: int, text: str | None) -> bytes:
    mark = None if text is None else text_mark(text)
    found = None
    try:
        if isinstance(view, Snapshot) and view.kept is not None:
            found = rows.pairs_between(view.record("replies"), first, view.page_octets, until_ms, mark)
        if found is None:
            after = int.from_bytes(first, "big") - 1
            table = view.range("replies", first[:2], after=after.to_bytes(len(first), "big"))
            found = rows.pairs_between(table, first, 0, until_ms, mark)
    except ValueError as exc:
        raise StoreError(f"row {exc.args[0].hex()} of `replies`: not a reply") from exc
    assert found is not None
    return found


def _older(view: View, tenant: int, start: int, end: int | None, until_ms: int, text: str | None) -> Iterator[int]:
    """Those of a time before the table: by the number that wrote, read one by one. Numbers merged away lead on."""
    for key, octets in view.range("inbound", TENANT.pack(tenant), after=TENANT_U64.pack(tenant, start)):
        row = unpack(octets)
        if row["at_ms"] > until_ms or (end is not None and TENANT_U64.unpack(key)[1] >= end):
            break
        if text is not None and plain(row["text"] or "") != text:
            continue
        member_no = writer_of(view, tenant, row["from"])
        if member_no is not None:
            yield member_no << 32 | row["at_ms"] // 1_000


def _of_merged(pairs: array[int], merged: Mapping[int, int]) -> array[int]:
    """What one of a merged group wrote may answer what any of it got: each of them is said to have written it."""
    groups: dict[int, set[int]] = {}
    for loser, winner in merged.items():
        groups.setdefault(winner, {winner}).add(loser)
    said = sorted(pairs)
    more: set[int] = set()
    for group in groups.values():
        seconds = set()
        for member_no in group:
            first, after = bisect_left(said, member_no << 32), bisect_left(said, member_no + 1 << 32)
            seconds |= {pair & 0xFFFFFFFF for pair in said[first:after]}
        more |= {member_no << 32 | second for member_no in group for second in seconds}
    return array("Q", sorted({*said, *more})) if more else array("Q", said)
