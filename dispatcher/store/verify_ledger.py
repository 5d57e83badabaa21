"""Checks of what was sent: frozen audiences, ledger arrays and their counters, the outcome log that both come from.

Touches: campaigns, bitmaps, ledger, campaign_counts, outcome_log, read-only; memory is one chunk's log positions.
Rests on: layout.ARRAYS, records/outcome_log.h, campaigns/preview.py for what `bitmaps` and a campaign's row hold.
Weak spot: every record of the log becomes a tuple once, some 2 s for a million recipients with their receipts.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from dispatcher.records.changes import View
from dispatcher.records.keys import BATCH_BIT
from dispatcher.records.states import CampaignState, Decision, State
from dispatcher.store import ledger
from dispatcher.store.blocks import next_member_no
from dispatcher.store.layout import (
    ARRAYS,
    BLOCK,
    BLOCK_WORDS,
    ENDED,
    ENDED_KEY,
    HEADER,
    LEDGER_KEY,
    SNAPSHOT,
    TENANT_U64,
    U64,
    UNDER_WAY,
)
from dispatcher.store.problem import Check, Problem
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

AUDIENCE, RANKS = 0, 2  # `which` of table bitmaps
_OTHERS = (3, 4, SNAPSHOT)  # of bulk edits under way (members/bulk.py), and of segments
_RANK_PAIR = struct.Struct("<II")
_CHUNK = struct.Struct("<IB3xI")  # slots, array, octets a rank
_RECORD = struct.Struct("<BBBBIHHI")
_RUN = struct.Struct("<QHH4x")
_LOG = struct.Struct("<HHIQI4x")
_ACCEPTED = 2  # kind of a record
_FLAG_ACCEPTED = 0x80  # in part_state: ESME_ROK came
_LOG_NO_MAX = 0xFFFFFFFF  # stands for every position that 32 bits do not hold
_PART_STATE = ARRAYS["part_state"][0]
_PLANNED = (CampaignState.DRAFT, CampaignState.AWAITING_APPROVAL, CampaignState.APPROVED)
_OVER = (CampaignState.DONE, CampaignState.CANCELLED)
_ANY = bytes([0]) + bytes([1]) * 255  # translates what is not zero to 1
_SENT = bytes(decision == Decision.SENT for decision in range(256))
_SEVERAL = bytes(parts > 1 for parts in range(256))


def audiences_are_whole(view: View) -> Iterator[Problem]:
    """A frozen audience has as many members as its campaign says, all given, and ranks that count them in order; a
    snapshot as many as its segment says."""
    rule = "audiences_are_whole"
    frozen = {key[:8] for key, _ in view.range("bitmaps") if key[8] not in _OTHERS}
    for key, octets in view.range("campaigns"):
        tenant, campaign = TENANT_U64.unpack(key)
        row, place = unpack(octets), f"campaign {campaign}"
        frozen.discard(U64.pack(campaign))
        blocks, highest = [], -1
        for name, bitmap in view.range("bitmaps", LEDGER_KEY.pack(campaign, AUDIENCE, 0)[:9]):
            block = LEDGER_KEY.unpack(name)[2]
            word = int.from_bytes(bitmap, "little")
            blocks.append((block, word.bit_count()))
            highest = max(highest, block * BLOCK + word.bit_length() - 1)
            if len(bitmap) != 8 * BLOCK_WORDS or not word:
                yield Problem(rule, f"{place}, block {block}", f"{len(bitmap)} octets, {word.bit_count()} members")
        total = sum(count for _, count in blocks)
        previewed = row["preview"]["audience"] if row["preview"] else 0
        if total != previewed:
            yield Problem(rule, place, f"{total} members in its bitmaps, its preview counted {previewed}")
        if row["audience"] != total and (row["state"] != "draft" or row["audience"]):
            yield Problem(rule, place, f"{total} members in its bitmaps, it says {row['audience']}")
        if highest >= (no := next_member_no(view, tenant)):
            yield Problem(rule, place, f"member {highest}, members given are {no}")
        firsts = accumulate((count for _, count in blocks), initial=0)
        ranks = b"".join(_RANK_PAIR.pack(block, first) for (block, _), first in zip(blocks, firsts, strict=False))
        if (view.get("bitmaps", LEDGER_KEY.pack(campaign, RANKS, 0)) or b"") != ranks:
            yield Problem(rule, place, "its table of ranks is not what its bitmaps count to")
    for name in frozen:
        yield Problem(rule, f"campaign {U64.unpack(name)[0]}", "an audience without a campaign")
    for segment, detail in _snapshots(view):
        yield Problem(rule, f"segment {segment}", detail)


def _snapshots(view: View) -> Iterator[tuple[int, str]]:
    """What is wrong with the members that segments keep."""
    kept = Counter[int]()
    for key, bitmap in view.range("bitmaps"):
        segment, which, _ = LEDGER_KEY.unpack(key)
        if which == SNAPSHOT:
            kept[segment] += int.from_bytes(bitmap, "little").bit_count()
    for key, octets in view.range("segments"):
        segment, frozen = TENANT_U64.unpack(key)[1], unpack(octets).get("frozen")
        found = kept.pop(segment, 0)
        if found != (frozen["count"] if frozen else 0):
            yield segment, f"{found} members in its bitmaps, it says {frozen['count'] if frozen else 'it keeps none'}"
    yield from ((segment, "members of a snapshot without a segment") for segment in kept)


def what_runs_is_found(view: View) -> Iterator[Problem]:
    """A campaign that waits for its time or is sent is among those that a start goes on with; one that ran and is over
    among those that have ended."""
    if view.get("meta", UNDER_WAY) is None:
        return  # no start of this version has noted them yet
    for key, octets in view.range("campaigns"):
        row, (tenant, campaign) = unpack(octets), TENANT_U64.unpack(key)
        if row["state"] in _PLANNED:
            continue
        if row["state"] not in _OVER:
            found = view.get("meta", UNDER_WAY + key) == row["state"].encode()
        else:
            ended = ENDED + ENDED_KEY.pack(tenant, row["finished_ms"], campaign)
            found = row["started_ms"] is None or view.get("meta", ended) is not None
        if not found:
            detail = f"no row of meta says that it is {row['state']}"
            yield Problem("what_runs_is_found", f"campaign {campaign}", detail)


def counters_are_the_ledgers(view: Snapshot) -> Iterator[Problem]:
    """A campaign's counters are what its arrays hold; sent means a state; none is decided beyond the audience."""
    rule = "counters_are_the_ledgers"
    campaigns = {TENANT_U64.unpack(key)[1]: unpack(row) for key, row in view.range("campaigns")}
    counted = _counted(view)
    for campaign in {LEDGER_KEY.unpack(key)[0] for key, _ in view.buffers("ledger")}.difference(counted):
        yield Problem(rule, f"campaign {campaign}", "a ledger without counters")
    for campaign in counted:
        place, row = f"campaign {campaign}", campaigns.get(campaign)
        if row is None and not campaign & BATCH_BIT:
            yield Problem(rule, place, "counters without a campaign")
        found = _Tally()
        for chunk in ledger.chunks(view, campaign):
            arrays, first = _arrays(view, campaign, chunk), chunk * BLOCK
            if isinstance(arrays, str):
                yield Problem(rule, f"{place}, chunk {chunk}", arrays)
                continue
            found.add(arrays)
            has_state, sent = arrays["state"].translate(_ANY), arrays["decision"].translate(_SENT)
            if has_state != sent:
                rank = first + next(i for i in range(BLOCK) if has_state[i] != sent[i])
                yield Problem(rule, f"{place}, rank {rank}", "sent without a state, or a state without being sent")
            if row is not None and any(arrays["decision"][max(row["audience"] - first, 0) :]):
                yield Problem(rule, f"{place}, chunk {chunk}", f"decided beyond the audience, {row['audience']}")
        counts = ledger.read_counts(view, campaign)
        for word, said, held in (
            *((decision.word, counts.values[decision], found.decisions[decision]) for decision in Decision if decision),
            *((state.word, counts.state(state), found.states[state]) for state in State if state),
            ("sent by state", sum(counts.state(state) for state in State), counts.sent),
            ("accepted", counts.accepted, found.accepted),
        ):
            if word == "accepted" and row is not None and (row.get("archive") or {}).get("at_ms"):
                continue  # which parts were is in its file
            if said != held:
                yield Problem(rule, place, f"{word}: counter {said}, ledger {held}")


def the_outcome_log_is_whole(view: Snapshot) -> Iterator[Problem]:
    """Each value begins where the one before it ended and has the records its header counts; the fold is not ahead."""
    rule, end = "the_outcome_log_is_whole", -1
    for position, value in ledger.log_values(view):
        place = f"position {position}"
        if end not in (-1, position):
            yield Problem(rule, place, f"the value before it ends at {end}")
        end = position + len(value) // 8
        try:
            read = len(ledger.records(value))
        except (ValueError, IndexError) as exc:
            yield Problem(rule, place, str(exc) or "empty")
            continue
        if len(value) % 8 or read != _LOG.unpack_from(value)[2]:
            yield Problem(rule, place, f"{len(value)} octets, {read} records, header {_LOG.unpack_from(value)[2]}")
    folded = view.get("meta", b"folded")
    if folded and unpack(folded)["key"] > max(end, 0):
        yield Problem(rule, "folded", f"up to {unpack(folded)['key']}, the log ends at {max(end, 0)}")


def accepted_lead_to_their_records(view: Snapshot) -> Iterator[Problem]:
    """log_no of each accepted recipient is the place of its ESME_ROK, unless that part of the log was dropped."""
    rule = "accepted_lead_to_their_records"
    begins = [position for position, _ in ledger.log_values(view)]
    for campaign in _counted(view):
        base = ledger.log_base(view, campaign)
        for chunk in ledger.chunks(view, campaign):
            arrays = _arrays(view, campaign, chunk)
            if isinstance(arrays, str):
                continue  # told by counters_are_the_ledgers
            wanted = sorted(
                (base + log_no - 1, chunk * BLOCK + index)
                for index, log_no in enumerate(memoryview(arrays["log_no"]).cast("I"))
                if log_no not in (0, _LOG_NO_MAX)
            )
            for position, rank, found in _not_there(view, campaign, wanted, begins):
                place = f"campaign {campaign}, rank {rank}"
                yield Problem(rule, place, f"position {position} of the log {found}")


CHECKS: list[Check] = [
    audiences_are_whole,
    what_runs_is_found,
    counters_are_the_ledgers,
    the_outcome_log_is_whole,
    accepted_lead_to_their_records,
]


class _Tally:
    """What a campaign's arrays hold, chunk by chunk."""

    def __init__(self) -> None:
        self.decisions = [0] * 256
        self.states = [0] * 256
        self.accepted = 0

    def add(self, arrays: dict[str, bytes]) -> None:
        for name, tally in (("decision", self.decisions), ("state", self.states)):
            for code in set(arrays[name]):
                tally[code] += arrays[name].count(code)
        log_nos, parts, spread = memoryview(arrays["log_no"]).cast("I"), arrays["parts"], arrays["part_state"]
        self.accepted += BLOCK - log_nos.tolist().count(0)
        width = len(spread) // BLOCK
        for index in _indexes(parts.translate(_SEVERAL)):
            octets = spread[index * width : index * width + parts[index]]
            whole = len(octets) == parts[index] and all(octet & _FLAG_ACCEPTED for octet in octets)
            self.accepted += whole - (log_nos[index] != 0)


def _counted(view: View) -> list[int]:
    return [U64.unpack(key)[0] for key, _ in view.range("campaign_counts")]


def _arrays(view: View, campaign: int, chunk: int) -> dict[str, bytes] | str:
    """A chunk's arrays, zeros where nothing was folded; a sentence when one is damaged."""
    arrays: dict[str, bytes] = {}
    for name in ("decision", "state", "parts", "log_no", "part_state"):
        number, octets = ARRAYS[name]
        value = view.buffer("ledger", LEDGER_KEY.pack(campaign, number, chunk))
        if value is not None:
            slots, array, width = _CHUNK.unpack_from(value) if len(value) >= HEADER else (0, 0, 0)
            octets = octets or width
            if array != number or slots > BLOCK or len(value) != HEADER + slots * octets:
                return f"{len(value)} octets that are no array {name}"
        octets = octets or 1
        arrays[name] = bytes(value[HEADER:] if value is not None else b"").ljust(BLOCK * octets, b"\0")
    return arrays


def _not_there(
    view: View, campaign: int, wanted: list[tuple[int, int]], begins: list[int]
) -> Iterator[tuple[int, int, str]]:
    """(position, rank, what is there instead) of each `wanted` that is no ESME_ROK of that rank. Both lists ascend."""
    begin, value, runs = -1, memoryview(b""), dict[int, int]()
    for position, rank in wanted:
        if begins and position < begins[0]:
            continue  # dropped with age
        at = bisect_right(begins, position) - 1
        if at >= 0 and begins[at] != begin:
            begin = begins[at]
            value = view.buffer("outcome_log", U64.pack(begin)) or memoryview(b"")
            runs = _runs(value)
        octet = 8 * (position - begin)
        if octet + _RECORD.size > len(value):
            yield position, rank, "is beyond its end"
            continue
        kind, _, _, _, found, run, _, _ = _RECORD.unpack_from(value, octet)
        if (kind, found, runs.get(run)) != (_ACCEPTED, rank, campaign):
            yield position, rank, f"has kind {kind} of rank {found}, campaign {runs.get(run)}"


def _runs(value: memoryview) -> dict[int, int]:
    """run -> campaign of one log value; empty for one that cannot be read."""
    if len(value) < _LOG.size:
        return {}
    octets = _LOG.unpack_from(value)[4]
    table = value[_LOG.size + octets :]
    return {run: campaign for campaign, run, _ in _RUN.iter_unpack(table[: len(table) // _RUN.size * _RUN.size])}


def _indexes(mask: bytes) -> Iterator[int]:
    """Where a mask of zeros and ones is one."""
    at = mask.find(1)
    while at >= 0:
        yield at
        at = mask.find(1, at + 1)
