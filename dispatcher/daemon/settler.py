"""[trio] What is uncertain, and what settles it: a late answer, a receipt by id in the log or by number, a resend.

Touches: the channels' journals, the ledger through snapshots. tick() is called once a second by a task of run.py; the
log is walked in a thread. Rests on: DESIGN 4 (what an uncertain message of each purpose is) and 8 (held receipts after
the holding time). A one-time code goes again while its validity lasts, which a restart counts from its last claim.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

from dispatcher.campaigns.campaign import find_campaign
from dispatcher.campaigns.repeats import Repeat
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.resume import NOBODY_KNOWS
from dispatcher.outcomes.uncertain import Uncertain, UncertainSet
from dispatcher.records.batches import is_batch, is_message_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose, State
from dispatcher.smpp.pump import Kind, Settled
from dispatcher.store import Store, ids_kept, ledger
from dispatcher.store.layout import BLOCK

Held = tuple[int, int, int, int, int]  # a receipt's key, number, state, status, at_ms
BY_NUMBER = 1 << 24  # in a receipt record's status: how it was matched
FEW_AT_ONCE = 100  # resends of an endpoint that is configured no more or that nobody knows: the usual window

log = structlog.get_logger("settler")


@dataclass(slots=True)
class Counters:
    """Since this start."""

    held_matched_in_log: int = 0
    by_number: int = 0
    several_candidates: int = 0
    unmatched: int = 0
    resent: int = 0


class Settler:
    """Owns the set of uncertain parts of this process."""

    def __init__(self, store: Store, feeder: Feeder, holding_s: float) -> None:
        self.store, self.feeder, self.holding_s = store, feeder, holding_s
        self.uncertain = UncertainSet()
        self.counters = Counters()
        self._resend: list[tuple[int, int, Uncertain, int]] = []
        self._resent: dict[tuple[int, int, int], int] = {}  # campaign or batch, rank, part; when it was first uncertain
        self._number = 0
        self._due: list[tuple[Uncertain, int]] = []  # looked at once what is in the journal is in the ledger
        self.fold: Callable[[], None] = lambda: None  # asks for that; set by dispatcher.py

    def returned(self, channel: Channel, items: list[tuple[int, ...]], now_ms: int, now_ns: int) -> None:
        """Parts that a channel's pump has just made uncertain."""
        for _, run, rank, part, of, member_no, number, *_ in items:
            id = channel.runs.id_of(run)
            if id is not None:
                first_ms = self._resent.get((id, rank, part))
                item = Uncertain(id, channel.number, rank, part, member_no, number, of)
                self.note(item, first_ms is None, now_ms if first_ms is None else first_ms, now_ns)

    def note(self, item: Uncertain, first: bool, first_ms: int, now_ns: int | None = None) -> None:
        """Hold it; of a purpose that resends, plan the one resend (a one-time code goes each time, while it is valid:
        `first_ms` is when it became uncertain for the first time)."""
        self.uncertain.add(item)
        purpose = self.feeder.purpose_of(item.campaign)
        otp = purpose is Purpose.OTP
        if purpose is not None and purpose.resends_uncertain and (first or otp):
            holding_ns = 0 if otp else int(self.holding_s * 1e9)
            self._number += 1
            due = (time.monotonic_ns() if now_ns is None else now_ns) + holding_ns
            heapq.heappush(self._resend, (due, self._number, item, first_ms))
            if item.campaign in self.feeder.campaigns:
                self.feeder.campaigns[item.campaign].waiting += 1

    def resend_by_hand(self, parts: list[list[int]], now_ms: int, now_ns: int) -> None:
        """A person wants these sent again: [campaign or batch, rank, part, member_no]."""
        for id_, rank, part, member_no in parts:
            item = self.uncertain.find(id_, rank, part) or Uncertain(id_, NOBODY_KNOWS, rank, part, member_no, 0)
            self._again(item, now_ns)
            self.uncertain.remove(item)
            self._resent[id_, rank, part] = now_ms

    def _again(self, item: Uncertain, now_ns: int) -> None:
        """Once more, by the endpoint that may have had it: its texts are that one's, and so are its receipts."""
        campaign = self.feeder.campaigns.get(item.campaign)
        if campaign is not None and campaign.expansion is not None:
            part = 1 << item.part
            campaign.expansion.repeat(
                Repeat(now_ns, item.rank, item.member_no, part, 1, endpoint=item.endpoint, of=item.of, uncertain=part)
            )
        elif is_batch(item.campaign):
            self.feeder.replies.resend_uncertain(
                item.campaign, item.rank, item.part, now_ns, endpoint=item.endpoint, of=item.of
            )

    async def tick(self, now_ms: int, now_ns: int) -> None:
        """Held receipts past the holding time, then resends that are due, after the receipts held for their numbers."""
        due, self._due = self._due, []
        numbers = {item.number for item, _ in due}
        held: list[tuple[Channel, Held]] = []
        for channel in self.feeder.channels:
            mine = channel.book.take_held(max(0, now_ms - int(self.holding_s * 1000))) + _held_for(channel, numbers)
            held += [(channel, one) for one in mine]
        known = await trio.to_thread.run_sync(self._in_log, held) if held else {}
        if held or due:
            with self.store.snapshot() as view:
                self._settle_held(view, held, known)
                for item, first_ms in due:
                    self._resend_one(view, item, first_ms, now_ms, now_ns)
        self._due = self._take_due(now_ns)
        if self._due:  # the next tick decides on them: what may have settled them meanwhile is folded by then
            self.fold()

    def _take_due(self, now_ns: int) -> list[tuple[Uncertain, int]]:
        """Of each endpoint as many as its windows hold, the others a second later: one that is ill doubles little."""
        room = {c.number: c.endpoint.binds * c.endpoint.window for c in self.feeder.channels}
        taken, later = [], []
        while self._resend and self._resend[0][0] <= now_ns and any(room.values()):
            planned = heapq.heappop(self._resend)
            item = planned[2]
            if room.setdefault(item.endpoint, FEW_AT_ONCE):
                room[item.endpoint] -= 1
                taken.append(planned[2:])
            else:
                later.append(planned)
        for planned in later:
            heapq.heappush(self._resend, planned)
        return taken

    def _settle_held(
        self, view: View, held: list[tuple[Channel, Held]], known: dict[tuple[int, int], tuple[int, int, int]]
    ) -> None:
        for channel, (key, number, state, status, at_ms) in held:
            found = known.get((channel.number, key))
            if found is not None:
                self.counters.held_matched_in_log += 1
                campaign, rank, part = found
                if ledger.state_of(view, campaign, rank, part) not in (state, State.DELIVERED):
                    run = self._run_of(view, channel, campaign)
                    if run is not None:
                        channel.book.log(Kind.RECEIPT, part, state, rank, run, status)
                continue
            mine = [item for item in self.uncertain.of(number) if item.endpoint in (channel.number, NOBODY_KNOWS)]
            states = [ledger.state_of(view, item.campaign, item.rank, item.part) for item in mine]
            if any(now in (State.UNSENT, State.CLAIMED) for now in states):  # the ledger does not know it yet
                channel.book.hold(key, number, at_ms, status, state)
                continue
            fits = [
                item
                for item, now in zip(mine, states, strict=True)
                if now == State.UNCERTAIN and self._claimed_s(view, item) <= at_ms // 1000
            ]
            asked = [item for item in fits if not is_batch(item.campaign) or is_message_batch(item.campaign)]
            fits = asked or fits  # an answer asks for no receipt
            run = self._run_of(view, channel, fits[0].campaign) if len(fits) == 1 else None
            if run is not None:
                item = fits[0]
                channel.book.log(Kind.RECEIPT, item.part, state, item.rank, run, (status & 0xFFFFFF) | BY_NUMBER)
                self.uncertain.remove(item)
                self.counters.by_number += 1
            elif fits:
                self.counters.several_candidates += 1
            else:
                self.counters.unmatched += 1

    def _run_of(self, view: View, channel: Channel, campaign: int) -> int | None:
        """Of one that was let go of when all of it was final, too: a receipt may be days late."""
        run = self.feeder.run_in(channel, campaign)
        if run is not None or is_batch(campaign):
            return run
        if (found := find_campaign(view, campaign)) is None:
            return None
        tenant, row = found
        self.feeder.open_campaign(tenant, campaign, row)
        return self.feeder.run_in(channel, campaign)

    def _in_log(self, held: list[tuple[Channel, Held]]) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Where the index has forgotten an id, the log still has it, and what is kept of the log before: repeats of old
        receipts end here. By endpoint and key: (campaign, rank, part). In a thread, for that is an hour of the log."""
        wanted: dict[int, tuple[Channel, Settled]] = {}
        for channel, (key, *_) in held:
            wanted.setdefault(channel.number, (channel, Settled()))[1].put(key)
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        with self.store.snapshot() as view:
            upto = ids_kept.upto(view)
            for _, value in ledger.log_values(view, after=upto - 1 if upto else None):
                trio.from_thread.check_cancelled()
                _, _, endpoint = ledger.value_header(value)
                if endpoint in wanted:
                    channel, keys = wanted[endpoint]
                    for key, campaign, rank, part in channel.book.find_ids(value, keys):
                        found[endpoint, key] = (campaign, rank, part)
            missing = [key for channel, (key, *_) in held if (channel.number, key) not in found]
            known = ids_kept.look_up(view, missing) if missing else {}
        return {**known, **found}

    def _claimed_s(self, view: View, item: Uncertain) -> int:
        """When it was last claimed, epoch seconds: a receipt from before that is of another message."""
        chunk, r = divmod(item.rank, BLOCK)
        times = ledger.read_array(view, item.campaign, "submit_s", chunk)
        return int.from_bytes(times[4 * r : 4 * r + 4], "little") if times is not None else 0

    def _resend_one(self, view: View, item: Uncertain, first_ms: int, now_ms: int, now_ns: int) -> None:
        campaign = self.feeder.campaigns.get(item.campaign)
        if campaign is not None:
            campaign.waiting = max(0, campaign.waiting - 1)
        purpose = self.feeder.purpose_of(item.campaign)
        if purpose is None or item not in self.uncertain.of(item.number):
            return  # its campaign has ended, or it was settled by number meanwhile
        if ledger.state_of(view, item.campaign, item.rank, item.part) != State.UNCERTAIN:
            self.uncertain.remove(item)
            return
        if campaign is not None and purpose is Purpose.OTP and now_ms >= first_ms + campaign.validity_s * 1000:
            return
        self._again(item, now_ns)
        self.uncertain.remove(item)
        self._resent[item.campaign, item.rank, item.part] = first_ms
        self.counters.resent += 1


def _held_for(channel: Channel, numbers: set[int]) -> list[Held]:
    """A channel's receipts held for these numbers, however young."""
    mine = []
    for key, number, state, status, at_ms in channel.book.take_held((1 << 63) - 1) if numbers else ():
        if number in numbers:
            mine.append((key, number, state, status, at_ms))
        else:
            channel.book.hold(key, number, at_ms, status, state)
    return mine
