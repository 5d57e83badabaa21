"""What is claimed next: what was born alone, then running campaigns by purpose, as far as the credit goes. Plain calls.

Touches: the channels' Books and a View. Rests on: DESIGN 3 (the way of a chunk) and 6 (claim, commit, write; lanes).
The committer calls fill() for each channel just before it cuts the journals, so that a claim waits for one commit and
no more. A campaign has a run in each channel that something of it went by; its expansion is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher.apps.messages import VALIDITY_S_MAX
from dispatcher.campaigns.due import Gate, gate_of
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.repeats import NEVER_NS, Repeat
from dispatcher.daemon.going import Going
from dispatcher.daemon.lanes import FLOOR, LANE, TURN_S
from dispatcher.daemon.paces import Paces
from dispatcher.daemon.replies import Replies
from dispatcher.daemon.retries import next_try
from dispatcher.daemon.runs import FEW, KEPT_NS, LOOKED_AT, VERY_FEW
from dispatcher.outbox.entry import REPLY_VALIDITY_S
from dispatcher.records.batches import CONFIRMATIONS_BIT, is_batch, is_message_batch, purpose_of_batch, tenant_of_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose, State, moving
from dispatcher.routes.router import Router
from dispatcher.smpp.pump import Kind
from dispatcher.store import ledger
from dispatcher.text.coding import Coding
from dispatcher.text.options import PLAIN, Options

if TYPE_CHECKING:
    from dispatcher.daemon.channel import Channel

CLAIM_ROWS = 3_200  # of one campaign in its turn: a fraction of a commit, and one log value (store/log_values.py)

log = structlog.get_logger("feeder")


@dataclass(slots=True)
class Campaign:
    """A campaign that this process sends or has sent and, while it is running, its expansion."""

    tenant: int
    id: int
    purpose: Purpose
    sender: str
    validity_s: int
    receipts: bool
    options: Options = PLAIN
    expansion: Expansion | None = None
    paused: bool = False
    waiting: int = 0  # uncertain messages that will be resent after the holding time
    going: Going = field(default_factory=Going)
    gate: Gate | None = None  # its window of the day and its spread; None: nothing holds it
    ended_ns: int = 0  # when all of it was seen final for the first time


class Feeder:
    """Everything that can still make messages."""

    def __init__(self, channels: list[Channel], router: Router, retry_s: float) -> None:
        self.channels = channels  # the first keeps the journal where no other is meant
        self.router = router
        self.campaigns: dict[int, Campaign] = {}
        self.paces = Paces()
        self.replies = Replies(channels, router, self.paces)
        self._running: dict[int, Campaign] = {}  # those with an expansion
        self._retry_ns = int(retry_s * 1e9)
        self._looked_at = 0

    # ---- what there is

    def channel(self, endpoint: int) -> Channel | None:
        return next((channel for channel in self.channels if channel.number == endpoint), None)

    def open_campaign(self, tenant: int, campaign: int, row: dict[str, Any]) -> Campaign:
        """Make it known: for sending, and for receipts of what was sent."""
        known = self.campaigns.get(campaign)
        if known is None:
            known = Campaign(
                tenant, campaign, Purpose(row["purpose"]), row["sender"], int(row["validity_s"]), bool(row["receipts"]),
                Options.of(row.get("options")),
            )  # fmt: skip
            self.campaigns[campaign] = known
        return known

    def start(self, view: View, tenant: int, campaign: int, row: dict[str, Any]) -> Campaign:
        """Begin, or go on, expanding a campaign."""
        known = self.open_campaign(tenant, campaign, row)
        known.paused = False
        known.gate = gate_of(row)  # anew after a pause: what is spread ends later, not in a burst
        known.ended_ns = 0
        known.going.begin(time.monotonic_ns())
        self._stop_runs(known, False)
        self.paces.read(view, tenant)
        self.paces.set_campaign(campaign, row)
        if known.expansion is None:
            known.expansion = Expansion(view, tenant, campaign, row, self.router, self._coding_of)
        self._running[campaign] = known
        return known

    def _coding_of(self, endpoint: int) -> Coding:
        channel = self.channel(endpoint)
        return Coding() if channel is None else channel.coding

    def pause(self, campaign: int) -> None:
        """Nothing more of it is claimed; what is claimed and has not left is given back."""
        known = self.campaigns.get(campaign)
        if known is not None:
            known.paused = True
            self._stop_runs(known, True)

    def stop(self, campaign: int) -> None:
        """Cancelled or done: forget what is unsent, fail what waited for another try. Its runs stay for receipts."""
        known = self.campaigns.get(campaign)
        if known is not None:
            for item in known.expansion.give_up() if known.expansion is not None else ():
                for part in range(item.parts.bit_length()) if item.fails else ():
                    if item.parts >> part & 1:
                        self.give_up(campaign, item.rank, part)
            known.expansion = None
            self._running.pop(campaign, None)
            known.waiting = 0
            self._stop_runs(known, True)
            self.paces.forget(campaign)

    def _stop_runs(self, known: Campaign, stopped: bool) -> None:
        for channel in self.channels:
            channel.runs.stop(known.id, stopped)

    def running(self) -> Iterator[Campaign]:
        """Campaigns that are being expanded and not paused."""
        return (known for known in self._running.values() if not known.paused)

    def parts_open(self, id: int) -> int:
        """Parts of a campaign or batch claimed and unanswered, over all channels."""
        return sum(channel.runs.parts_open(id) for channel in self.channels)

    def refresh(self, view: View, tenant: int, rows: dict[int, dict[str, Any]]) -> None:
        """A tenant's fields or dictionaries changed: compile its running templates anew."""
        for campaign, row in rows.items():
            known = self.campaigns.get(campaign)
            if known is not None and known.tenant == tenant and known.expansion is not None:
                known.expansion.refresh(view, row)

    def purpose_of(self, id: int) -> Purpose | None:
        """Of a campaign that is still sent or of a batch; None when nothing more of it goes out by itself."""
        if is_batch(id):
            return None if id & CONFIRMATIONS_BIT else purpose_of_batch(id)
        known = self.campaigns.get(id)
        return None if known is None or known.expansion is None else known.purpose

    # ---- runs

    def run_in(self, channel: Channel, id: int) -> int | None:
        """The run of a campaign or batch that is known here, opened where it has none in this channel."""
        if is_batch(id):
            return self.replies.run_in(channel, id)
        known = self.campaigns.get(id)
        return None if known is None else self._open(channel, known)

    def _open(self, channel: Channel, known: Campaign) -> int:
        return channel.runs.open(
            known.id, known.tenant, known.sender, receipts=known.receipts, stop=known.purpose.honours_stop,
            validity=known.validity_s, options=known.options, paces=self.paces.of(known.tenant, known.id),
        )  # fmt: skip

    def log(self, id: int, kind: int, part: int, state: int, rank: int, status: int = 0) -> bool:
        """A record about a message that is nobody's answer: in the journal that knows it, else the first. False: nobody
        knows the campaign or batch."""
        channel = next((c for c in self.channels if c.runs.get(id) is not None), self.channels[0])
        run = self.run_in(channel, id)
        if run is None:
            return False
        channel.book.log(kind, part, state, rank, run, status)
        return True

    def give_up(self, id: int, rank: int, part: int) -> None:
        """A part that was refused for now, or whose message is out in part, and that nobody sends any more."""
        self.log(id, Kind.SETTLED, part, State.FAILED, rank)

    def let_go(self, known: Campaign, *, whole: bool) -> bool:
        """Its runs' numbers may be given to others. whole: nothing of it is awaited any more. False: something of it is
        still on its way."""
        if known.expansion is not None:
            return False
        closed = [channel.runs.close(known.id) for channel in self.channels]  # all, not up to the first that cannot
        if not all(closed):
            return False
        if whole:
            del self.campaigns[known.id]
        return True

    def make_room(self, channel: Channel) -> None:
        """No run is free there: the oldest campaigns that only await receipts let go of theirs."""
        idle = [k for k in self.campaigns.values() if k.expansion is None and channel.runs.get(k.id) is not None]
        for known in idle[: max(1, len(idle) // 8)]:
            channel.runs.close(known.id)

    def sweep_runs(self, view: View, now_ns: int) -> None:
        """Let go of what has ended, a few campaigns a call; one step of each Book's sweep. Once a second."""
        free = min(channel.runs.free for channel in self.channels)
        known = [campaign for campaign in self.campaigns.values() if campaign.expansion is None]
        looked = len(known) if free < FEW else min(len(known), LOOKED_AT)
        for i in range(looked):
            campaign = known[(self._looked_at + i) % len(known)]
            if any(map(ledger.read_counts(view, campaign.id).state, moving(campaign.receipts))):
                campaign.ended_ns = 0
                if free < VERY_FEW:
                    self.let_go(campaign, whole=False)
                continue
            campaign.ended_ns = campaign.ended_ns or now_ns
            if free < FEW or now_ns - campaign.ended_ns >= KEPT_NS:
                self.let_go(campaign, whole=True)
        self._looked_at += looked
        if free < FEW:
            self.replies.let_go(view)
        for channel in self.channels:
            channel.book.sweep_runs()

    # ---- claiming

    def wants(self, channel: Channel) -> bool:
        """Something can be claimed for a channel now."""
        now, least, book = time.monotonic_ns(), channel.least, channel.book
        if self.replies.wants(channel, now):
            return True
        if book.credit - book.open_parts < least:
            return False
        return any(_room(channel, LANE[c.purpose]) >= least for c in self._wanting(channel, now))

    def next_due_ns(self) -> int | None:
        """The earliest instant at which a repeat falls due."""
        active = (c.expansion for c in self._running.values() if c.expansion is not None and not c.paused)
        first = min((expansion.next_due_ns for expansion in active), default=NEVER_NS)
        first = min(first, self.replies.due_ns, self.paces.next_ns(self._paced()))
        return None if first == NEVER_NS else first

    def _paced(self) -> Iterator[tuple[int, int]]:
        """(tenant, campaign) of what may have to wait for a pace."""
        yield from ((c.tenant, c.id) for c in self._running.values())
        yield from (
            (tenant_of_batch(batch.id), 0)
            for batch in self.replies.batches.values()
            if batch.waiting and batch.purpose is not Purpose.OTP
        )

    def _wanting(self, channel: Channel, now_ns: int) -> Iterator[Campaign]:
        """Campaigns that could be claimed from now."""
        now_ms, endpoint = time.time_ns() // 1_000_000, channel.number
        for known in self._running.values():
            if known.expansion is None or known.paused or not known.expansion.wants(now_ns, now_ms, endpoint):
                continue
            if not self.paces.room(known.tenant, known.id, now_ns):
                continue
            if known.gate is None or known.gate.room(now_ms) or known.expansion.due(now_ns, endpoint):
                yield known

    def fill(self, view: View, channel: Channel, now_ms: int, *, campaigns: bool = True) -> int:
        """Claim into a channel's pools; returns the rows claimed. They are in the journal, not yet on disk."""
        now, least = time.monotonic_ns(), channel.least
        made = self.replies.fill(view, channel, now_ms, now)
        if not campaigns:
            return made
        wanting: dict[Purpose, dict[int, dict[int, Campaign]]] = {}
        for known in self._wanting(channel, now):
            if _room(channel, LANE[known.purpose]) >= least:
                wanting.setdefault(known.purpose, {}).setdefault(known.tenant, {})[known.id] = known
        for purpose in (purpose for purpose in Purpose if purpose in wanting):
            room = _room(channel, LANE[purpose])
            tenants = wanting.pop(purpose)
            floor = room // FLOOR if wanting else 0
            made += self._fill_purpose(view, channel, purpose, tenants, room - floor, now)
        return made

    def _fill_purpose(
        self, view: View, channel: Channel, purpose: Purpose, tenants: dict[int, dict[int, Campaign]], room: int,
        now_ns: int,
    ) -> int:  # fmt: skip
        turn = int(channel.submits_per_s * TURN_S)

        def of_tenant(tenant: int, most: int) -> int:
            mine = tenants[tenant]

            def of_campaign(id: int, most: int) -> int:
                return self._fill_campaign(view, channel, mine[id], most, now_ns)

            return channel.of_tenant[purpose, tenant].serve(mine, most, of_campaign, turn)

        return channel.tenants[purpose].serve(tenants, room, of_tenant, turn)

    def _fill_campaign(self, view: View, channel: Channel, campaign: Campaign, most: int, now_ns: int) -> int:
        expansion, lane, endpoint = campaign.expansion, LANE[campaign.purpose], channel.number
        assert expansion is not None
        made, now_ms, run = 0, time.time_ns() // 1_000_000, self._open(channel, campaign)
        most = min(most, self.paces.room(campaign.tenant, campaign.id, now_ns))
        if expansion.due(now_ns, endpoint):
            for batch in expansion.again(view, endpoint, max(1, most // 4), now_ns, now_ms):
                channel.book.claim(lane, run, batch.rows, batch.count, batch.octets)
                made += batch.count
        limit, gate = min(_room(channel, lane), most - made), campaign.gate
        if gate is not None:
            limit = min(limit, gate.room(now_ms))
        while limit > 0:
            batch_ = expansion.next(view, endpoint, min(limit, CLAIM_ROWS), now_ms)
            if batch_ is None or batch_.count == 0:
                break
            channel.book.claim(lane, run, batch_.rows, batch_.count, batch_.octets)
            made += batch_.count
            limit = min(_room(channel, lane), limit - batch_.count)
            if gate is not None:
                gate.took(batch_.members)
        campaign.going.took(made, now_ns)
        return made

    # ---- what came back

    def returned(self, channel: Channel, items: list[tuple[int, ...]], now_ns: int) -> list[tuple[int, ...]]:
        """Decide on what a channel's pump gave back; returns the uncertain ones, for whoever settles those."""
        uncertain = []
        for item in items:
            kind, run, rank, part, parts, slot, _, status, tries, since_s = item
            if kind == Kind.UNCERTAIN:
                uncertain.append(item)
                continue
            id = channel.runs.id_of(run)
            if kind == Kind.SKIPPED or id is None:
                continue
            batch = id if is_batch(id) else None
            campaign = self.campaigns.get(id) if batch is None else None
            valid_s = campaign.validity_s if campaign is not None else REPLY_VALIDITY_S
            if batch is not None and is_message_batch(batch):
                valid_s = VALIDITY_S_MAX  # its own is looked at when it is claimed again
            again = next_try(
                kind,
                status,
                tries,
                since_s,
                now_ns,
                retry_ns=self._retry_ns,
                validity_s=valid_s,
                actions=channel.actions,
            )
            fails = kind == Kind.RETRY or parts > 1
            if batch is not None and again is not None:
                self.replies.send_again(
                    batch, rank, 1 << part, again.tries, again.due_ns, again.since_s, channel.number, parts
                )
            elif campaign is not None and campaign.expansion is not None and again is not None:
                repeat = Repeat(
                    again.due_ns, rank, slot, 1 << part, again.tries, fails, again.since_s, channel.number, parts
                )
                campaign.expansion.repeat(repeat)
            elif fails:
                self.give_up(id, rank, part)
        return uncertain

    def finished(self) -> list[Campaign]:
        """Running campaigns with nothing unsent, in flight or waiting for a repeat."""
        return [
            c
            for c in self._running.values()
            if c.expansion is not None
            and not c.paused
            and c.expansion.expanded
            and not c.expansion.repeats
            and not c.waiting
            and self.parts_open(c.id) == 0
            and not any(channel.runs.holds(c.id) for channel in self.channels)
        ]


def _room(channel: Channel, lane: int) -> int:
    """For campaigns, which never go past the credit."""
    book = channel.book
    return max(0, min(book.room(lane), book.credit - book.open_parts))
