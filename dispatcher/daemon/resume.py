"""What a start makes known again: what is running, refused for now or uncertain; answers; ids that await their receipt.

Touches: the ledger and the log through one snapshot, the channels' Books. After recovery.py, before any task runs.
Rests on: DESIGN 8. Ids are looked for in the log newest first, each endpoint's in its own values; what an endpoint that
is configured no more has accepted stays in the ledger until it is swept, or until it is configured again.
By which endpoint a message went, its claim in the log tells: a receipt of that account alone settles an uncertain one,
and what is out in part goes on there. Weak spot: nobody knows it of a claim that lies more than 1 GiB of log back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from dispatcher.campaigns.campaign import ACTIVE, LATER
from dispatcher.campaigns.expand import members_of_ranks
from dispatcher.campaigns.repeats import ANY, Repeat
from dispatcher.campaigns.underway import under_way
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.runs import VERY_FEW
from dispatcher.outbox.entry import batches, entries
from dispatcher.outcomes.uncertain import Uncertain
from dispatcher.records.batches import is_batch, is_message_batch
from dispatcher.records.changes import View
from dispatcher.records.states import State
from dispatcher.smpp.pump import Settled
from dispatcher.store import Snapshot, Store, ledger
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.columns import read_slot
from dispatcher.store.layout import BLOCK, FIELD_MSISDN
from dispatcher.store.trail import endpoints_of
from dispatcher.tenants.tenant import tenant_numbers

if TYPE_CHECKING:
    from dispatcher.daemon.channel import Channel

OPEN = (State.ACCEPTED, State.UNCERTAIN, State.RETRY_WAIT)  # something may still happen to them
NOBODY_KNOWS = ANY  # by which endpoint it went
LOG_OCTETS = 1 << 30  # looked through for that: a quarter of a second

Note = Callable[[Uncertain, bool, int], None]  # what is uncertain, whether for the first time, since when (ms)

log = structlog.get_logger("recovery")


def resume(store: Store, feeder: Feeder, note: Note, holding_s: float, now_ms: int) -> None:
    """Open what is running, known or awaited: expansions, repeats, uncertain messages, replies, the index of ids."""
    found: list[tuple[Uncertain, bool, int]] = []
    with store.snapshot() as view:
        for tenant in tenant_numbers(view):
            feeder.paces.read(view, tenant)
        for tenant, campaign, kept in under_way(view):
            row = LATER | kept
            counts = ledger.read_counts(view, campaign)
            active = row["state"] in ACTIVE
            if not active and not any(map(counts.state, OPEN)):
                continue
            feeder.open_campaign(tenant, campaign, row)
            if active:
                feeder.start(view, tenant, campaign, row)
                if row["state"] in ("paused", "held"):
                    feeder.pause(campaign)
                _repeats(view, feeder, campaign)
            elif counts.state(State.RETRY_WAIT):
                _give_up(view, feeder, campaign)
            if counts.state(State.UNCERTAIN):
                found += _uncertain(view, feeder, campaign)
        found += _replies(view, feeder, now_ms)
        went_by = _endpoints(view, [(item.campaign, item.rank) for item, *_ in found])
        for item, first, since_ms in found:
            note(replace(item, endpoint=went_by.get((item.campaign, item.rank), NOBODY_KNOWS)), first, since_ms)
        index(view, feeder.channels, feeder, now_ms - int(2 * holding_s * 1000) - 60_000)


def _endpoints(view: Snapshot, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    return endpoints_of(view, wanted, LOG_OCTETS) if wanted else {}


def _repeats(view: Snapshot, feeder: Feeder, campaign: int) -> None:
    """Ranks that were refused for now: their parts that are not out yet go again at once, by the endpoint of those
    that are."""
    expansion = feeder.campaigns[campaign].expansion
    assert expansion is not None
    refused = list(_refused_for_now(view, campaign))
    went_by = _endpoints(view, [(campaign, rank) for rank, _, mask, _, of in refused if mask != (1 << of) - 1])
    for rank, member_no, mask, tries, of in refused:
        endpoint = went_by.get((campaign, rank), ANY)
        expansion.repeat(Repeat(0, rank, member_no, mask, tries, fails=True, endpoint=endpoint, of=of))


def _give_up(view: Snapshot, feeder: Feeder, campaign: int) -> None:
    """The same of a campaign that was cancelled: the process before ended before it could say so."""
    for rank, _, mask, *_ in _refused_for_now(view, campaign):
        for part in range(mask.bit_length()):
            if mask >> part & 1:
                feeder.give_up(campaign, rank, part)


def _refused_for_now(view: Snapshot, campaign: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(rank, member_no, bits of the parts that are not out, tries, parts of the message)"""
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        ranks = ledger.ranks_in_state(states, State.RETRY_WAIT, chunk * BLOCK)
        members = members_of_ranks(view, campaign, ranks)
        for rank, mask, tries, of in _masks(view, campaign, chunk, ranks, (State.UNSENT, State.RETRY_WAIT)):
            yield rank, members[rank], mask, tries, of


def _masks(
    view: Snapshot, campaign: int, chunk: int, ranks: list[int], wanted: tuple[State, ...]
) -> list[tuple[int, int, int, int]]:
    """(rank, bits of the parts in a wanted state, tries, parts of the message)"""
    width = ledger.part_width(view, campaign, chunk)
    counts = ledger.read_array(view, campaign, "parts", chunk)
    tries = ledger.read_array(view, campaign, "tries", chunk)
    spread = ledger.read_array(view, campaign, "part_state", chunk) if width > 1 else None
    out = []
    for rank in ranks:
        r = rank - chunk * BLOCK
        n = counts[r] if counts is not None else 1
        mask = 1
        if n > 1 and spread is not None:
            mask = sum(1 << p for p in range(n) if spread[r * width + p] & 0x7F in wanted)
        out.append((rank, mask, tries[r] if tries is not None else 0, n))
    return out


def _uncertain(view: Snapshot, feeder: Feeder, campaign: int) -> Iterator[tuple[Uncertain, bool, int]]:
    """Every part that may have been accepted, for whoever settles those. One claimed twice already is not sent again
    by itself: the ledger does not tell a resend from a retry, and a message too few is listed, one too many is not."""
    known = feeder.campaigns[campaign]
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        ranks = ledger.ranks_in_state(states, State.UNCERTAIN, chunk * BLOCK)
        members = members_of_ranks(view, campaign, ranks)
        claimed = ledger.read_array(view, campaign, "submit_s", chunk)
        assert claimed is not None
        for rank, mask, tries, of in _masks(view, campaign, chunk, ranks, (State.UNCERTAIN,)):
            number = number_of(view, known.tenant, members[rank])
            claimed_ms = int.from_bytes(claimed[4 * (rank % BLOCK) : 4 * (rank % BLOCK) + 4], "little") * 1000
            for part in range(mask.bit_length()):
                if mask >> part & 1:
                    item = Uncertain(campaign, NOBODY_KNOWS, rank, part, members[rank], number, of)
                    yield item, tries < 2, claimed_ms


def number_of(view: View, tenant: int, member_no: int) -> int:
    column = (FIELD_MSISDN, 0, ColumnKind.U64)
    return int(read_slot(view, tenant, member_no, [column])[column] or 0)


def _replies(view: Snapshot, feeder: Feeder, now_ms: int) -> Iterator[tuple[Uncertain, bool, int]]:
    """Single messages that are on disk and not out: to be claimed again; gives those that may be out."""
    for batch in batches(view):
        assert is_batch(batch)
        for entry in entries(view, batch):
            chunk, r = divmod(entry.position, BLOCK)
            states = ledger.read_array(view, batch, "state", chunk)
            state = State(states[r]) if states is not None and r < len(states) else State.UNSENT
            feeder.replies.open_batch(batch, entry.sender, entry.validity_s)
            valid = entry.expiry_ms > now_ms and not entry.cancelled
            decided = states is not None and _decision(view, batch, chunk, r)
            if state == State.UNSENT and not decided and (valid or (entry.decision and not entry.cancelled)):
                feeder.replies.add(entry)
            elif state == State.RETRY_WAIT and valid:
                for _, mask, tries, of in _masks(
                    view, batch, chunk, [entry.position], (State.UNSENT, State.RETRY_WAIT)
                ):
                    feeder.replies.send_again(batch, entry.position, mask, tries, 0, of=of)
            elif state == State.UNCERTAIN:
                for _, mask, tries, of in _masks(view, batch, chunk, [entry.position], (State.UNCERTAIN,)):
                    for part in range(mask.bit_length()):
                        if mask >> part & 1:
                            item = Uncertain(batch, NOBODY_KNOWS, entry.position, part, entry.position, entry.to, of)
                            yield item, valid and tries < 2, entry.created_ms


def _decision(view: Snapshot, batch: int, chunk: int, r: int) -> int:
    decisions = ledger.read_array(view, batch, "decision", chunk)
    return decisions[r] if decisions is not None and r < len(decisions) else 0


def index(view: Snapshot, channels: list[Channel], feeder: Feeder, held_since_ms: int) -> None:
    """Of these channels: ids accepted and without their final receipt, newest value first; then receipts still held."""
    of = {channel.number: (channel, Settled(), list[tuple[int, int, int, int, int]]()) for channel in channels}
    wanted = set(feeder.campaigns) | {batch for batch in feeder.replies.batches if is_message_batch(batch)}
    inserted = 0
    for _, value in ledger.log_values(view, reverse=True):
        _, ids, endpoint = ledger.value_header(value)
        if endpoint not in of:
            continue
        channel, settled, held = of[endpoint]
        for id in wanted.intersection(ids):
            if channel.runs.get(id) is None and channel.runs.free > VERY_FEW:
                feeder.run_in(channel, id)
        inserted += channel.book.rebuild(value, channel.runs.all(), settled)
        held += channel.book.held_in(value, held_since_ms)
    for channel, _, held in of.values():
        for key, number, at_ms, status, state in held:
            channel.book.hold(key, number, at_ms, status, state)
    if inserted:
        log.info("index_rebuilt", ids=inserted, held=sum(len(held) for *_, held in of.values()))
