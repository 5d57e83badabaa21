"""What is claimed next: what was born alone, then running campaigns by purpose, as far as the credit goes. Plain calls.

Touches: the Book's pools and a View. Rests on: DESIGN 3 (the way of a chunk) and 6 (claim, commit, write; lanes).
The committer calls fill() just before it cuts the journal, so that a claim waits for one commit and no more.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from config import Endpoint
from dispatcher.apps.messages import VALIDITY_S_MAX
from dispatcher.campaigns.due import Gate, gate_of
from dispatcher.campaigns.expand import NEVER_NS, Expansion, Repeat
from dispatcher.daemon.lanes import FLOOR, LANE, Turns
from dispatcher.daemon.replies import Replies
from dispatcher.daemon.retries import next_try
from dispatcher.daemon.runs import NO_RUN, Runs
from dispatcher.outbox.entry import REPLY_VALIDITY_S
from dispatcher.records.batch import Batch
from dispatcher.records.batches import CONFIRMATIONS_BIT, is_batch, is_message_batch, purpose_of_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose, State
from dispatcher.smpp.pump import Book, Kind

CLAIM_ROWS = 4_096  # of one campaign in its turn: a fraction of a commit

log = structlog.get_logger("feeder")


@dataclass(slots=True)
class Campaign:
    """A campaign that this process sends or has sent: its run in the Book and, while it is running, its expansion."""

    tenant: int
    id: int
    run: int  # NO_RUN: let go of while receipts were awaited; run_of() opens another
    purpose: Purpose
    sender: str
    validity_s: int
    receipts: bool
    expansion: Expansion | None = None
    paused: bool = False
    waiting: int = 0  # uncertain messages that will be resent after the holding time
    gate: Gate | None = None  # its window of the day and its spread; None: nothing holds it
    ended_ns: int = 0  # when all of it was seen final for the first time


class Feeder:
    """Everything that can still make messages."""

    def __init__(self, book: Book, endpoint: Endpoint, retry_s: float) -> None:
        self.book = book
        self.endpoint = endpoint
        self.campaigns: dict[int, Campaign] = {}
        self.runs = Runs(book, endpoint, self._make_room)
        self.replies = Replies(book, self._open_batch)
        self._running: dict[int, Campaign] = {}  # those with an expansion
        self._by_run: dict[int, Campaign] = {}
        self._retry_ns = int(retry_s * 1e9)
        self._tenants: dict[Purpose, Turns] = defaultdict(Turns)
        self._of_tenant: dict[tuple[Purpose, int], Turns] = defaultdict(Turns)

    # ---- what there is

    def open_campaign(self, tenant: int, campaign: int, row: dict[str, Any], *, run: bool = True) -> Campaign:
        """Make its run known to the Book: for sending, and for receipts of what was sent. run: False leaves that to
        run_of()."""
        known = self.campaigns.get(campaign)
        if known is None:
            sender, validity_s = row["sender"] or self.endpoint.source_addr, int(row["validity_s"])
            purpose = Purpose(row["purpose"])
            known = Campaign(tenant, campaign, NO_RUN, purpose, sender, validity_s, bool(row["receipts"]))
            self.campaigns[campaign] = known
        if run and known.run == NO_RUN:
            self._open(known)
        return known

    def _open(self, known: Campaign) -> int:
        known.run = self.runs.open(
            known.id, known.tenant, known.sender,
            receipts=known.receipts, stop=known.purpose.honours_stop, validity=known.validity_s,
        )  # fmt: skip
        self._by_run[known.run] = known
        return known.run

    def start(self, view: View, tenant: int, campaign: int, row: dict[str, Any]) -> Campaign:
        """Begin, or go on, expanding a campaign."""
        known = self.open_campaign(tenant, campaign, row)
        known.paused = False
        known.gate = gate_of(row)  # anew after a pause: what is spread ends later, not in a burst
        known.ended_ns = 0
        self.book.stop_run(known.run, False)
        if known.expansion is None:
            known.expansion = Expansion(view, tenant, campaign, row)
        self._running[campaign] = known
        return known

    def pause(self, campaign: int) -> None:
        """Nothing more of it is claimed; what is claimed and has not left is given back."""
        known = self.campaigns.get(campaign)
        if known is not None:
            known.paused = True
            self._stop_run(known)

    def stop(self, campaign: int) -> None:
        """Cancelled or done: forget what is unsent, fail what waited for another try. Its run stays for receipts."""
        known = self.campaigns.get(campaign)
        if known is not None:
            for item in known.expansion.give_up() if known.expansion is not None else ():
                for part in range(item.parts.bit_length()) if item.fails else ():
                    if item.parts >> part & 1:
                        self.give_up(known.run, item.rank, part)
            known.expansion = None
            self._running.pop(campaign, None)
            known.waiting = 0
            self._stop_run(known)

    def _stop_run(self, known: Campaign) -> None:
        if known.run != NO_RUN:
            self.book.stop_run(known.run, True)

    def let_go(self, known: Campaign, *, whole: bool) -> bool:
        """Its run's number may be given to another. whole: nothing of it is awaited any more. False: something of it is
        still on its way."""
        if known.expansion is not None or (known.run != NO_RUN and not self.book.close_run(known.run)):
            return False
        self._by_run.pop(known.run, None)
        known.run = NO_RUN
        if whole:
            del self.campaigns[known.id]
        return True

    def _make_room(self) -> None:
        """No run is free: the oldest campaigns that only await receipts let go of theirs."""
        idle = [known for known in self.campaigns.values() if known.expansion is None and known.run != NO_RUN]
        for known in idle[: max(1, len(idle) // 8)]:
            self.let_go(known, whole=False)

    def give_up(self, run: int, rank: int, part: int) -> None:
        """A part that was refused for now, or whose message is out in part, and that nobody sends any more."""
        self.book.log(Kind.SETTLED, part, State.FAILED, rank, run, 0)

    def of_run(self, run: int) -> Campaign | None:
        return self._by_run.get(run)

    def refresh(self, view: View, tenant: int, rows: dict[int, dict[str, Any]]) -> None:
        """A tenant's fields or dictionaries changed: compile its running templates anew."""
        for campaign, row in rows.items():
            known = self.campaigns.get(campaign)
            if known is not None and known.tenant == tenant and known.expansion is not None:
                known.expansion.refresh(view, row)

    def run_of(self, id: int) -> int | None:
        """The run of a campaign or batch that is known here, opened anew where it was let go of."""
        if is_batch(id):
            batch = self.replies.batches.get(id)
            return None if batch is None else batch.run
        known = self.campaigns.get(id)
        if known is None:
            return None
        return self._open(known) if known.run == NO_RUN else known.run

    def id_of_run(self, run: int) -> int | None:
        """The campaign or batch of a run."""
        known = self._by_run.get(run)
        return self.replies.batch_of_run(run) if known is None else known.id

    def purpose_of(self, id: int) -> Purpose | None:
        """Of a campaign that is still sent or of a batch; None when nothing more of it goes out by itself."""
        if is_batch(id):
            return None if id & CONFIRMATIONS_BIT else purpose_of_batch(id)
        known = self.campaigns.get(id)
        return None if known is None or known.expansion is None else known.purpose

    def _open_batch(self, batch: int, sender: str, validity_s: int) -> int:
        stop = not batch & CONFIRMATIONS_BIT and purpose_of_batch(batch).honours_stop
        return self.runs.open(
            batch, batch & 0xFFFF, sender or self.endpoint.source_addr,
            receipts=is_message_batch(batch), stop=stop, validity=validity_s,
        )  # fmt: skip

    # ---- claiming

    def wants(self, least: int) -> bool:
        """Something can be claimed now; `least` is the smallest claim of a campaign that is worth a commit."""
        now = time.monotonic_ns()
        if self.replies.wants(now):
            return True
        if self.book.credit - self.book.open_parts < least:
            return False
        return any(self._room(LANE[c.purpose]) >= least for c in self._wanting(now))

    def next_due_ns(self) -> int | None:
        """The earliest instant at which a repeat falls due."""
        active = (c.expansion for c in self._running.values() if c.expansion is not None and not c.paused)
        first = min((expansion.next_due_ns for expansion in active), default=NEVER_NS)
        first = min(first, self.replies.due_ns)
        return None if first == NEVER_NS else first

    def _wanting(self, now_ns: int) -> Iterator[Campaign]:
        """Campaigns that could be claimed from now."""
        now_ms = time.time_ns() // 1_000_000
        for known in self._running.values():
            if known.expansion is None or known.paused or not known.expansion.wants(now_ns):
                continue
            if known.gate is None or known.gate.room(now_ms) or known.expansion.due(now_ns):
                yield known

    def _room(self, lane: int) -> int:
        """For campaigns, which never go past the credit."""
        return max(0, min(self.book.room(lane), self.book.credit - self.book.open_parts))

    def fill(self, view: View, least: int, now_ms: int) -> int:
        """Claim into the Book's pools; returns the rows claimed. They are in the journal, not yet on disk."""
        now = time.monotonic_ns()
        made = self.replies.fill(view, now_ms, now)
        wanting: dict[Purpose, dict[int, dict[int, Campaign]]] = {}
        for known in self._wanting(now):
            if self._room(LANE[known.purpose]) >= least:
                wanting.setdefault(known.purpose, {}).setdefault(known.tenant, {})[known.id] = known
        for purpose in (purpose for purpose in Purpose if purpose in wanting):
            room = self._room(LANE[purpose])
            tenants = wanting.pop(purpose)
            floor = room // FLOOR if wanting else 0

            made += self._fill_purpose(view, purpose, tenants, room - floor, now)
        return made

    def _fill_purpose(
        self, view: View, purpose: Purpose, tenants: dict[int, dict[int, Campaign]], room: int, now_ns: int
    ) -> int:
        def of_tenant(tenant: int, most: int) -> int:
            mine = tenants[tenant]
            turns = self._of_tenant[purpose, tenant]
            return turns.serve(mine, most, lambda id, most: self._fill_campaign(view, mine[id], most, now_ns))

        return self._tenants[purpose].serve(tenants, room, of_tenant)

    def _fill_campaign(self, view: View, campaign: Campaign, most: int, now_ns: int) -> int:
        expansion, lane = campaign.expansion, LANE[campaign.purpose]
        assert expansion is not None
        made = 0
        if expansion.due(now_ns):
            for batch in expansion.again(view, max(1, most // 4), now_ns):
                made += self._claim(lane, campaign.run, batch)
        limit, gate = min(self._room(lane), most - made), campaign.gate
        if gate is not None:
            limit = min(limit, gate.room(time.time_ns() // 1_000_000))
        while limit > 0:
            batch_ = expansion.next(view, min(limit, CLAIM_ROWS))
            if batch_ is None or batch_.count == 0:
                break
            made += self._claim(lane, campaign.run, batch_)
            limit = min(self._room(lane), limit - batch_.count)
            if gate is not None:
                gate.took(batch_.members)
        return made

    def _claim(self, lane: int, run: int, batch: Batch) -> int:
        self.book.claim(lane, run, batch.rows, batch.count, batch.octets)
        return batch.count

    # ---- what came back

    def returned(self, items: list[tuple[int, ...]], now_ns: int) -> list[tuple[int, ...]]:
        """Decide on what the pump gave back; returns the uncertain ones, for whoever settles those."""
        uncertain = []
        for item in items:
            kind, run, rank, part, parts, slot, _, status, tries, since_s = item
            if kind == Kind.UNCERTAIN:
                uncertain.append(item)
                continue
            if kind == Kind.SKIPPED:
                continue
            campaign, batch = self._by_run.get(run), self.replies.batch_of_run(run)
            valid_s = campaign.validity_s if campaign is not None else REPLY_VALIDITY_S
            if batch is not None and is_message_batch(batch):
                valid_s = VALIDITY_S_MAX  # its own is looked at when it is claimed again
            again = next_try(kind, status, tries, since_s, now_ns, retry_ns=self._retry_ns, validity_s=valid_s)
            fails = kind == Kind.RETRY or parts > 1
            if campaign is None and batch is not None and again is not None:
                self.replies.send_again(batch, rank, 1 << part, again.tries, again.due_ns, again.since_s)
            elif campaign is not None and campaign.expansion is not None and again is not None:
                repeat = Repeat(again.due_ns, rank, slot, 1 << part, again.tries, fails, again.since_s)
                campaign.expansion.repeat(repeat)
            elif fails and (campaign is not None or batch is not None):
                self.give_up(run, rank, part)
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
            and self.book.run_open(c.run) == 0
        ]
