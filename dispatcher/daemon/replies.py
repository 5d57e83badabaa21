"""What is born alone on its way to the wire (answers, confirmations, single messages): a tenant's batches, and what of
them goes once more.

Touches: the Book's pools and a View, by plain calls of the feeder. Rests on: DESIGN 4 (what is uncertain of purpose
service is sent again once, a one-time code while it is valid, a confirmation of STOP never).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dispatcher.campaigns.render import mark_again, render_singles
from dispatcher.daemon.lanes import LANE, Turns
from dispatcher.outbox.entry import REPLY_VALIDITY_S, Entry, read_entry, withdrawn
from dispatcher.records.batch import ROW, Batch
from dispatcher.records.batches import is_message_batch, purpose_of_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.smpp.pump import POOLS, Book, Kind
from dispatcher.store import ledger

NEVER_NS = 1 << 63
REPLIES_AT_ONCE = 512
REPLY_PARTS = 16  # of one answer: more is no answer
MOVING = (State.CLAIMED, State.RETRY_WAIT, State.UNCERTAIN, State.ACCEPTED)


@dataclass(slots=True)
class ReplyBatch:
    """A tenant's answers, confirmations or messages of one purpose, waiting to be claimed."""

    run: int
    sender: str
    validity_s: int
    purpose: Purpose
    entries: deque[Entry] = field(default_factory=deque)


@dataclass(slots=True)
class Again:
    """Parts of an answer that go once more: refused for now, given back, or uncertain."""

    due_ns: int
    parts: int = 0  # bit a part
    uncertain: int = 0  # those of them that go only if nothing has settled them by then
    tries: int = 0
    since_s: int = 0  # monotonic: when it was refused for now for the first time


class Replies:
    """Everything born alone that can still be claimed. `open_run(batch, sender, validity_s)` makes a batch known to the
    Book."""

    def __init__(self, book: Book, open_run: Callable[[int, str, int], int]) -> None:
        self.book = book
        self.batches: dict[int, ReplyBatch] = {}
        self._open_run = open_run
        self._of_run: dict[int, int] = {}
        self._again: dict[tuple[int, int], Again] = {}  # by batch and position
        self._turns = {purpose: Turns() for purpose in Purpose}
        self.due_ns = NEVER_NS  # when the first of them is due

    def __repr__(self) -> str:
        return f"<Replies {len(self.batches)} batches, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        return sum(len(batch.entries) for batch in self.batches.values()) + len(self._again)

    def wants(self, now_ns: int) -> bool:
        """Something can be claimed now."""
        lanes = {LANE[batch.purpose] for batch in self.batches.values() if batch.entries}
        if self.due_ns <= now_ns:
            lanes |= set(POOLS[1:])
        return any(self.book.room(lane) >= REPLY_PARTS for lane in lanes)

    def batch_of_run(self, run: int) -> int | None:
        return self._of_run.get(run)

    def open_batch(self, batch: int, sender: str, validity_s: int = REPLY_VALIDITY_S) -> ReplyBatch:
        """The run of a batch; the octets of sender and validity are those of the next claim."""
        known = self.batches.get(batch)
        if known is None or (known.sender, known.validity_s) != (sender, validity_s):
            run = self._open_run(batch, sender, validity_s)
            if known is None:
                known = self.batches[batch] = ReplyBatch(run, sender, validity_s, purpose_of_batch(batch))
                self._of_run[run] = batch
            known.sender, known.validity_s = sender, validity_s
        return known

    def add(self, entry: Entry) -> None:
        """Queue a single message that is on disk."""
        self.open_batch(entry.batch, entry.sender, entry.validity_s).entries.append(entry)

    def take_out(self, batch: int, position: int) -> Entry | None:
        """A message that nobody has claimed, nobody will claim any more; None when it is not waiting here."""
        known = self.batches.get(batch)
        entry = next((entry for entry in known.entries if entry.position == position), None) if known else None
        if known is not None and entry is not None:
            known.entries.remove(entry)
        return entry

    def let_go(self, view: View) -> None:
        """Batches with nothing that waits or is awaited give their run back."""
        busy = {batch for batch, _ in self._again}
        for batch, known in list(self.batches.items()):
            counts = ledger.read_counts(view, batch)
            idle = (
                not known.entries
                and batch not in busy
                and not any(map(counts.state, MOVING[: 3 + is_message_batch(batch)]))
            )
            if idle and self.book.close_run(known.run):
                del self.batches[batch], self._of_run[known.run]

    def send_again(self, batch: int, position: int, parts: int, tries: int, due_ns: int, since_s: int = 0) -> None:
        """Some parts (bit a part) of an answer, not before `due_ns`."""
        item = self._plan(batch, position, due_ns, tries)
        item.parts |= parts
        item.since_s = since_s

    def resend_uncertain(self, batch: int, position: int, part: int, due_ns: int) -> None:
        """A part that may have been accepted, unless it is settled by the time it is claimed."""
        item = self._plan(batch, position, due_ns, 1)
        item.parts |= 1 << part
        item.uncertain |= 1 << part

    def _plan(self, batch: int, position: int, due_ns: int, tries: int) -> Again:
        item = self._again.setdefault((batch, position), Again(due_ns, tries=tries))
        self.due_ns = min(self.due_ns, item.due_ns)
        return item

    def fill(self, view: View, now_ms: int, now_ns: int) -> int:
        """Claim what is due, then what is new by purpose and in turn, as far as the pools have room; returns the rows
        claimed."""
        made = 0
        if self.due_ns <= now_ns:
            due = [key for key, item in self._again.items() if item.due_ns <= now_ns][:REPLIES_AT_ONCE]
            for key in due:
                if self.book.room(LANE[purpose_of_batch(key[0])]) < REPLY_PARTS:
                    continue
                entry, item = read_entry(view, *key), self._again.pop(key)
                if entry is not None and entry.expiry_ms > now_ms:
                    made += self._claim_again(view, entry, item)
                else:
                    self._give_up(*key, item)
            self.due_ns = min((item.due_ns for item in self._again.values()), default=NEVER_NS)
        waiting = [(known.purpose, batch) for batch, known in self.batches.items() if known.entries]
        for purpose, turns in self._turns.items() if waiting else ():
            mine = [batch for of, batch in waiting if of is purpose]
            room = min(self.book.room(LANE[purpose]), REPLIES_AT_ONCE) if mine else 0
            made += turns.serve(mine, room, lambda batch, most: self._claim_new(view, batch, most, now_ms))
        return made

    def _claim_new(self, view: View, batch: int, most: int, now_ms: int) -> int:
        known, made = self.batches[batch], 0
        while known.entries and made < most and self.book.room(LANE[known.purpose]) >= REPLY_PARTS:
            entry = known.entries.popleft()
            if entry.expiry_ms > now_ms or entry.decision:  # else it stays unsent in its ledger
                made += self._claim(view, entry, None)
        return made

    def _give_up(self, batch: int, position: int, item: Again) -> None:
        """Too late: what was refused for now fails; what may be out stays uncertain."""
        for part in range(item.parts.bit_length()):
            if (item.parts & ~item.uncertain) >> part & 1:
                self.book.log(Kind.SETTLED, part, State.FAILED, position, self.batches[batch].run, 0)

    def _claim_again(self, view: View, entry: Entry, item: Again) -> int:
        for part in range(item.uncertain.bit_length()):
            if item.uncertain >> part & 1 and (
                ledger.state_of(view, entry.batch, entry.position, part) != State.UNCERTAIN
                or not entry.purpose.resends_uncertain
                or withdrawn(view, entry)
            ):
                item.parts &= ~(1 << part)
        return self._claim(view, entry, item) if item.parts else 0

    def _claim(self, view: View, entry: Entry, item: Again | None) -> int:
        batch = self.open_batch(entry.batch, entry.sender, entry.validity_s)
        rendered = render_singles([(entry.text, entry.to, entry.position, entry.position)], entry.tenant)
        why = entry.decision or withdrawn(view, entry)
        if rendered.count > REPLY_PARTS:
            why = Decision.TEXT_GREW
        if why:
            row = ROW.pack(entry.to, entry.position, 0, 0, 0, 0, 0, 0, 0, why, 0, entry.position, 0)
            rendered = Batch(bytearray(row), bytearray(), 1, entry.position, 1)
        elif item is not None:
            mark_again(rendered, {entry.position: (item.parts, item.tries, item.since_s)})
        self.book.claim(LANE[batch.purpose], batch.run, rendered.rows, rendered.count, rendered.octets)
        return rendered.count
