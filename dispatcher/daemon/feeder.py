"""What is claimed next: replies first, then running campaigns in turn, as far as the credit goes. Plain calls, no task.

Touches: the Book's pools and a View. Rests on: DESIGN 3 (the way of a chunk) and 6 (claim, commit, write).
The committer calls fill() just before it cuts the journal, so that a claim waits for one commit and no more.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import structlog

from config import Endpoint
from dispatcher.campaigns.expand import NEVER_NS, Expansion, Repeat
from dispatcher.campaigns.render import mark_again, render_singles
from dispatcher.outbox.entry import CONFIRMATIONS_BIT, Entry, read_entry, withdrawn
from dispatcher.records.batch import ROW, Batch
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.smpp.pump import BULK, REPLIES, Book, Kind, submit_head, submit_mid

CLAIM_ROWS = 4_096  # of one campaign in its turn: a fraction of a commit
REPLIES_AT_ONCE = 512
REPLY_PARTS = 16  # of one answer: more is no answer
THROTTLED_ACTION = frozenset({0x58, 0x14, 0x64, 0x102})  # wait without using up a try (SMPP_FACTS 3)

log = structlog.get_logger("feeder")


@dataclass(slots=True)
class Campaign:
    """A campaign that this process sends or has sent: its run in the Book and, while it is running, its expansion."""

    tenant: int
    id: int
    run: int
    purpose: Purpose
    sender: str
    expansion: Expansion | None = None
    paused: bool = False
    waiting: int = 0  # uncertain messages that will be resent after the holding time


@dataclass(slots=True)
class ReplyBatch:
    """A tenant's answers or confirmations waiting to be claimed."""

    run: int
    sender: str
    entries: deque[Entry] = field(default_factory=deque)


@dataclass(slots=True)
class Again:
    """Parts of an answer that go once more: refused for now, or given back."""

    due_ns: int
    parts: int  # bit a part
    tries: int


class Feeder:
    """Everything that can still make messages."""

    def __init__(self, book: Book, endpoint: Endpoint, retry_s: float) -> None:
        self.book = book
        self.endpoint = endpoint
        self.campaigns: dict[int, Campaign] = {}
        self.batches: dict[int, ReplyBatch] = {}
        self._by_run: dict[int, Campaign] = {}
        self._batch_of_run: dict[int, int] = {}
        self._again: dict[tuple[int, int], Again] = {}  # by batch and position
        self._again_ns = NEVER_NS  # when the first of them is due
        self._retry_ns = int(retry_s * 1e9)
        self._turn = 0

    # ---- what there is

    def open_campaign(self, tenant: int, campaign: int, row: dict[str, Any]) -> Campaign:
        """Make its run known to the Book: for sending, and for receipts of what was sent."""
        known = self.campaigns.get(campaign)
        if known is not None:
            return known
        purpose = Purpose(row["purpose"])
        sender = row["sender"] or self.endpoint.source_addr
        run = self._open_run(
            campaign,
            tenant,
            sender,
            receipts=bool(row["receipts"]),
            stop=purpose.honours_stop,
            validity=int(row["validity_s"]),
        )
        made = Campaign(tenant, campaign, run, purpose, sender)
        self.campaigns[campaign] = made
        self._by_run[run] = made
        return made

    def start(self, view: View, tenant: int, campaign: int, row: dict[str, Any]) -> Campaign:
        """Begin, or go on, expanding a campaign."""
        known = self.open_campaign(tenant, campaign, row)
        known.paused = False
        self.book.stop_run(known.run, False)
        if known.expansion is None:
            known.expansion = Expansion(view, tenant, campaign, row)
        return known

    def pause(self, campaign: int) -> None:
        """Nothing more of it is claimed; what is claimed and has not left is given back."""
        known = self.campaigns.get(campaign)
        if known is not None:
            known.paused = True
            self.book.stop_run(known.run, True)

    def stop(self, campaign: int) -> None:
        """Cancelled or done: forget what is unsent, fail what waited for another try. Its run stays for receipts."""
        known = self.campaigns.get(campaign)
        if known is not None:
            for item in known.expansion.give_up() if known.expansion is not None else ():
                for part in range(item.parts.bit_length()) if item.fails else ():
                    if item.parts >> part & 1:
                        self.give_up(known.run, item.rank, part)
            known.expansion = None
            known.waiting = 0
            self.book.stop_run(known.run, True)

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

    def add_reply(self, entry: Entry) -> None:
        """Queue a single message that is on disk."""
        self.open_batch(entry.batch, entry.sender).entries.append(entry)

    def open_batch(self, batch: int, sender: str) -> ReplyBatch:
        """The run of a tenant's answers or confirmations; the octets of the sender are those of the next claim."""
        known = self.batches.get(batch)
        if known is None or known.sender != sender:
            run = self._open_run(
                batch, batch & 0xFFFF, sender, receipts=False, stop=not batch & CONFIRMATIONS_BIT, validity=3_600
            )
            if known is None:
                known = self.batches[batch] = ReplyBatch(run, sender)
                self._batch_of_run[run] = batch
            known.sender = sender
        return known

    def _open_run(self, id: int, tenant: int, sender: str, *, receipts: bool, stop: bool, validity: int) -> int:
        e = self.endpoint
        head = submit_head(sender, e.source_ton, e.source_npi, e.dest_ton, e.dest_npi)
        mid = submit_mid(validity_s=validity, receipts=receipts)
        return int(self.book.open_run(id, tenant, 0, head, mid, receipts=receipts, honours_stop=stop))

    # ---- claiming

    @property
    def replies_waiting(self) -> int:
        return sum(len(batch.entries) for batch in self.batches.values()) + len(self._again)

    def wants(self, least: int) -> bool:
        """Something can be claimed now; `least` is the smallest claim of bulk that is worth a commit."""
        now = time.monotonic_ns()
        waiting = self._again_ns <= now or any(batch.entries for batch in self.batches.values())
        if waiting and self.book.room(REPLIES) > 0:
            return True
        if self.book.room(BULK) < least:
            return False
        return any(c.expansion is not None and not c.paused and c.expansion.wants(now) for c in self.campaigns.values())

    def next_due_ns(self) -> int | None:
        """The earliest instant at which a repeat falls due."""
        active = [c.expansion for c in self.campaigns.values() if c.expansion is not None and not c.paused]
        first = min((each.next_due_ns for each in active), default=NEVER_NS)
        first = min(first, self._again_ns)
        return None if first == NEVER_NS else first

    def fill(self, view: View, least: int, now_ms: int) -> int:
        """Claim into the Book's pools; returns the rows claimed. They are in the journal, not yet on disk."""
        made = self._fill_replies(view, now_ms)
        active = [c for c in self.campaigns.values() if c.expansion is not None and not c.paused]
        if not active:
            return made
        self._turn += 1
        now = time.monotonic_ns()
        for campaign in active[self._turn % len(active) :] + active[: self._turn % len(active)]:
            room = self.book.room(BULK)
            if room < least:
                break
            made += self._fill_campaign(view, campaign, room, now)
        return made

    def _fill_campaign(self, view: View, campaign: Campaign, room: int, now_ns: int) -> int:
        expansion = campaign.expansion
        assert expansion is not None
        made = 0
        if expansion.due(now_ns):
            for batch in expansion.again(view, max(1, room // 4), now_ns):
                made += self._claim(BULK, campaign.run, batch)
            room = self.book.room(BULK)
        limit = min(room, CLAIM_ROWS)
        while limit > 0:
            batch_ = expansion.next(view, limit)
            if batch_ is None or batch_.count == 0:
                break
            made += self._claim(BULK, campaign.run, batch_)
            limit = min(self.book.room(BULK), limit - batch_.count)
        return made

    def _claim(self, pool: int, run: int, batch: Batch) -> int:
        self.book.claim(pool, run, batch.rows, batch.count, batch.octets)
        return batch.count

    def _fill_replies(self, view: View, now_ms: int) -> int:
        made = 0
        now = time.monotonic_ns()
        if self._again_ns <= now:
            for batch, position in [key for key, item in self._again.items() if item.due_ns <= now][:REPLIES_AT_ONCE]:
                entry = read_entry(view, batch, position)
                if entry is not None and entry.expiry_ms > now_ms:
                    if self.book.room(REPLIES) < REPLY_PARTS:
                        break
                    made += self._claim_reply(view, entry, self._again[batch, position])
                del self._again[batch, position]
            self._again_ns = min((item.due_ns for item in self._again.values()), default=NEVER_NS)
        for waiting in self.batches.values():
            while waiting.entries and self.book.room(REPLIES) >= REPLY_PARTS:
                entry = waiting.entries.popleft()
                if entry.expiry_ms > now_ms:  # else it stays unsent in its ledger
                    made += self._claim_reply(view, entry, None)
        return made

    def _claim_reply(self, view: View, entry: Entry, item: Again | None) -> int:
        batch = self.open_batch(entry.batch, entry.sender)
        rendered = render_singles([(entry.text, entry.to, entry.position, entry.position)], entry.tenant)
        if withdrawn(view, entry) or rendered.count > REPLY_PARTS:
            why = Decision.TEXT_GREW if rendered.count > REPLY_PARTS else Decision.OPTED_OUT
            row = ROW.pack(entry.to, entry.position, 0, 0, 0, 0, 0, 0, 0, why, 0, entry.position, 0)
            rendered = Batch(bytearray(row), bytearray(), 1, entry.position, 1)
        elif item is not None:
            mark_again(rendered, {entry.position: (item.parts, item.tries)})
        return self._claim(REPLIES, batch.run, rendered)

    # ---- what came back

    def returned(self, items: list[tuple[int, ...]], now_ns: int) -> list[tuple[int, ...]]:
        """Decide on what the pump gave back; returns the uncertain ones, for whoever settles those."""
        uncertain = []
        for item in items:
            kind, run, rank, part, parts, slot, _, status, tries = item
            campaign = self._by_run.get(run)
            if kind == Kind.UNCERTAIN:
                uncertain.append(item)
                continue
            if campaign is None:
                self._reply_returned(kind, run, rank, part, status, tries, now_ns)
                continue
            if kind == Kind.SKIPPED:
                continue
            fails = kind == Kind.RETRY or parts > 1
            if campaign.expansion is None:
                if fails:
                    self.give_up(run, rank, part)
                continue
            due = now_ns if kind == Kind.RELEASED else now_ns + self._retry_ns
            used = tries if kind == Kind.RELEASED or status in THROTTLED_ACTION else tries + 1
            campaign.expansion.repeat(Repeat(due, rank, slot, 1 << part, used, fails))
        return uncertain

    def _reply_returned(
        self, kind: int, run: int, position: int, part: int, status: int, tries: int, now_ns: int
    ) -> None:
        batch = self._batch_of_run.get(run)
        if batch is None or kind not in (Kind.RETRY, Kind.RELEASED):
            return
        due = now_ns if kind == Kind.RELEASED else now_ns + self._retry_ns
        used = tries if kind == Kind.RELEASED or status in THROTTLED_ACTION else tries + 1
        self.send_again(batch, position, 1 << part, used, due)

    def send_again(self, batch: int, position: int, parts: int, tries: int, due_ns: int) -> None:
        """Some parts (bit a part) of an answer, not before `due_ns`."""
        item = self._again.setdefault((batch, position), Again(due_ns, 0, tries))
        item.parts |= parts
        self._again_ns = min(self._again_ns, item.due_ns)

    def finished(self) -> list[Campaign]:
        """Running campaigns with nothing unsent, in flight or waiting for a repeat."""
        return [
            c
            for c in self.campaigns.values()
            if c.expansion is not None
            and not c.paused
            and c.expansion.expanded
            and not c.expansion.repeats
            and not c.waiting
            and self.book.run_open(c.run) == 0
        ]
