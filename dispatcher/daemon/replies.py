"""What is born alone on its way to the wire (answers, confirmations, single messages): a tenant's batches, by the
endpoint that each message goes by, and what of them goes once more.

Touches: the channels' pools and a View, by plain calls of the feeder. Rests on: DESIGN 4 (what is uncertain of purpose
service is sent again once, a one-time code while it is valid, a confirmation of STOP never).
An answer to a message from a phone prefers the endpoint by which that came.
What waits for quiet hours to end, or for its time, is known by its place alone and read when it is due. The gate
(apps/messages_gate.py) is asked again at every claim.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dispatcher.apps.messages_gate import Gate
from dispatcher.campaigns.render import mark_again, render_singles
from dispatcher.campaigns.repeats import NEVER_NS
from dispatcher.daemon.lanes import LANE, Turns
from dispatcher.daemon.paces import Paces
from dispatcher.outbox.entry import REPLY_VALIDITY_S, Entry, read_entry
from dispatcher.records.batch import ROW, Batch
from dispatcher.records.batches import CONFIRMATIONS_BIT, is_message_batch, purpose_of_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose, State, moving
from dispatcher.routes.plan import NO_ROUTE, WAIT, Plan
from dispatcher.routes.router import Context, Router
from dispatcher.smpp.pump import POOLS, Kind
from dispatcher.store import ledger
from dispatcher.text.coding import encoder
from dispatcher.text.options import PLAIN, Options

if TYPE_CHECKING:
    from dispatcher.daemon.channel import Channel

REPLIES_AT_ONCE = 512
REPLY_PARTS = 16  # of one answer: more is no answer
WAIT_NS = 500_000_000  # before one whose endpoint is down is looked at again
ANYBODY = -3  # instead of an endpoint: nothing of it leaves, so any journal will do


@dataclass(slots=True)
class ReplyBatch:
    """A tenant's answers, confirmations or messages of one purpose."""

    id: int
    sender: str
    validity_s: int
    options: Options = PLAIN
    entries: dict[int, deque[Entry]] = field(default_factory=dict)  # waiting to be claimed, by endpoint

    @property
    def purpose(self) -> Purpose:
        return purpose_of_batch(self.id)

    @property
    def waiting(self) -> int:
        return sum(map(len, self.entries.values()))

    def has(self, endpoint: int) -> bool:
        return bool(self.entries.get(endpoint) or self.entries.get(ANYBODY))


@dataclass(slots=True)
class Again:
    """Parts of an answer that go once more: refused for now, given back, or uncertain."""

    due_ns: int
    parts: int = 0  # bit a part
    uncertain: int = 0  # those of them that go only if nothing has settled them by then
    tries: int = 0
    since_s: int = 0  # monotonic: when it was refused for now for the first time
    endpoint: int = WAIT  # by which it went last; WAIT: not known
    of: int = 1  # parts of the message
    turn: int = -1  # of the router, as of which `goes_by` holds
    goes_by: int = WAIT


class Replies:
    """Everything born alone that can still be claimed."""

    def __init__(self, channels: list[Channel], router: Router, paces: Paces) -> None:
        self.channels, self.router, self.paces = channels, router, paces
        self.batches: dict[int, ReplyBatch] = {}
        self._again: dict[tuple[int, int], Again] = {}  # by batch and position
        self._later: dict[tuple[int, int], int] = {}  # batch and position -> epoch ms from which on it may leave
        self._due_later: list[tuple[int, int, int]] = []  # the same as a heap, with some that are no more
        self._gate = Gate()
        self._turns: dict[int, dict[Purpose, Turns]] = {}  # by endpoint
        self._turn = router.turn
        self.due_ns = NEVER_NS  # when the first of them is due
        self.end_of: Callable[[Plan, int], int] = _by_number  # where ported numbers count: set by dispatcher.py

    def __repr__(self) -> str:
        return f"<Replies {len(self.batches)} batches, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        return sum(batch.waiting for batch in self.batches.values()) + len(self._again) + len(self._later)

    def wants(self, channel: Channel, now_ns: int) -> bool:
        """Something can be claimed for a channel now."""
        self._look()
        lanes = {
            LANE[batch.purpose]
            for batch in self.batches.values()
            if batch.has(channel.number) and self.paces.room_of_batch(batch.id, now_ns)
        }
        if self._due_later and self._due_later[0][0] <= time.time_ns() // 1_000_000:
            return True
        if self.due_ns <= now_ns:
            lanes |= set(POOLS[1:])
        return any(channel.book.room(lane) >= REPLY_PARTS for lane in lanes)

    # ---- what there is

    def open_batch(
        self, batch: int, sender: str, validity_s: int = REPLY_VALIDITY_S, options: Options = PLAIN
    ) -> ReplyBatch:
        """A batch that is known from here on; sender, validity and options are those of its next claim."""
        known = self.batches.get(batch)
        if known is None:
            known = self.batches[batch] = ReplyBatch(batch, sender, validity_s)
        known.sender, known.validity_s, known.options = sender, validity_s, options
        return known

    def run_in(self, channel: Channel, batch: int) -> int | None:
        """Its run in a channel's Book; None when nothing is known of it."""
        known = self.batches.get(batch)
        run = channel.runs.get(batch)
        return run if run is not None or known is None else self._open(channel, known)

    def _open(self, channel: Channel, known: ReplyBatch) -> int:
        stop = not known.id & CONFIRMATIONS_BIT and known.purpose.honours_stop
        return channel.runs.open(
            known.id, known.id & 0xFFFF, known.sender,
            receipts=is_message_batch(known.id), stop=stop, validity=known.validity_s,
            options=known.options, paces=self.paces.of_batch(known.id),
        )  # fmt: skip

    def add(self, entry: Entry) -> None:
        """Queue a single message that is on disk."""
        if entry.due_ms > time.time_ns() // 1_000_000 and not entry.decision:
            self._wait(entry.batch, entry.position, entry.due_ms)
            return
        known = self.open_batch(entry.batch, entry.sender, entry.validity_s)
        endpoint = self._goes_by(entry)
        if endpoint == NO_ROUTE:
            entry, endpoint = replace(entry, decision=Decision.NO_ROUTE), ANYBODY
        known.entries.setdefault(endpoint, deque()).append(entry)

    def _goes_by(self, entry: Entry) -> int:
        """The endpoint's number, WAIT, NO_ROUTE or ANYBODY."""
        if entry.decision:
            return ANYBODY
        if entry.via >= 0 and self.router.is_up(entry.via):
            return entry.via
        context = Context(entry.purpose, entry.tenant, entry.sender)
        plan = self.router.plan(context, time.time_ns() // 1_000_000)
        return self.end_of(plan, entry.to)

    def _look(self) -> None:
        """Routes turned: everything that waits is looked at anew, in its order."""
        if self._turn == self.router.turn:
            return
        self._turn = self.router.turn
        for known in self.batches.values():
            queued = sorted((e for mine in known.entries.values() for e in mine), key=lambda e: e.position)
            known.entries.clear()
            for entry in queued:
                self.add(entry if entry.decision != Decision.NO_ROUTE else replace(entry, decision=Decision(0)))

    def _wait(self, batch: int, position: int, due_ms: int) -> None:
        self._later[batch, position] = due_ms
        heapq.heappush(self._due_later, (due_ms, batch, position))

    def _wake(self, view: View, now_ms: int) -> None:
        """Those whose time has come."""
        while self._due_later and self._due_later[0][0] <= now_ms:
            due_ms, *place = heapq.heappop(self._due_later)
            batch, position = place
            if self._later.get((batch, position)) != due_ms:
                continue
            del self._later[batch, position]
            entry = read_entry(view, batch, position)
            if entry is not None and not entry.cancelled:
                self.add(replace(entry, due_ms=0))

    def take_out(self, view: View, batch: int, position: int) -> Entry | None:
        """A message that nobody has claimed, nobody will claim any more; None when it is not waiting here."""
        if self._later.pop((batch, position), None) is not None:
            return read_entry(view, batch, position)
        known = self.batches.get(batch)
        for mine in known.entries.values() if known is not None else ():
            for entry in mine:
                if entry.position == position:
                    mine.remove(entry)
                    return entry
        return None

    def let_go(self, view: View) -> None:
        """Batches with nothing that waits or is awaited give their runs back."""
        busy = {batch for batch, _ in self._again}
        for batch, known in list(self.batches.items()):
            counts = ledger.read_counts(view, batch)
            awaited = any(map(counts.state, moving(is_message_batch(batch))))
            idle = not known.waiting and batch not in busy and not awaited
            closed = [idle and channel.runs.close(batch) for channel in self.channels]
            if all(closed):
                del self.batches[batch]

    def send_again(
        self, batch: int, position: int, parts: int, tries: int, due_ns: int, since_s: int = 0, endpoint: int = WAIT,
        of: int = 1,
    ) -> None:  # fmt: skip
        """Some parts (bit a part) of an answer, not before `due_ns`; `endpoint`: by which it went last."""
        item = self._plan(batch, position, due_ns, tries)
        item.parts |= parts
        item.since_s, item.endpoint, item.of, item.turn = since_s, endpoint, of, -1

    def resend_uncertain(
        self, batch: int, position: int, part: int, due_ns: int, *, endpoint: int = WAIT, of: int = 1
    ) -> None:
        """A part that may have been accepted by this endpoint, unless it is settled by the time it is claimed."""
        item = self._plan(batch, position, due_ns, 1)
        item.parts |= 1 << part
        item.uncertain |= 1 << part
        item.endpoint, item.of, item.turn = endpoint, of, -1

    def _plan(self, batch: int, position: int, due_ns: int, tries: int) -> Again:
        item = self._again.setdefault((batch, position), Again(due_ns, tries=tries))
        self.due_ns = min(self.due_ns, item.due_ns)
        return item

    # ---- claiming

    def fill(self, view: View, channel: Channel, now_ms: int, now_ns: int) -> int:
        """Claim what is due, then what is new by purpose and in turn, as far as the pools have room; returns the rows
        claimed."""
        self._look()
        self._wake(view, now_ms)
        made = 0
        if self.due_ns <= now_ns:
            for key, entry, item in list(self._due(view, channel, now_ms, now_ns)):
                lane = LANE[purpose_of_batch(key[0])]
                if channel.book.room(lane) < REPLY_PARTS or not self.paces.room_of_batch(key[0], now_ns):
                    continue
                made += self._claim_again(view, channel, entry, item, now_ms, now_ns)
            self.due_ns = min((item.due_ns for item in self._again.values()), default=NEVER_NS)
        waiting = [
            (known.purpose, batch)
            for batch, known in self.batches.items()
            if known.has(channel.number) and self.paces.room_of_batch(batch, now_ns)
        ]
        turns = self._turns.setdefault(channel.number, {purpose: Turns() for purpose in Purpose}) if waiting else {}
        for purpose, of_purpose in turns.items():
            mine = [batch for of, batch in waiting if of is purpose]
            room = min(channel.book.room(LANE[purpose]), REPLIES_AT_ONCE) if mine else 0
            made += of_purpose.serve(
                mine,
                room,
                lambda batch, most: self._claim_new(view, channel, batch, self._paced(batch, most, now_ns), now_ms),
            )
        return made

    def _paced(self, batch: int, most: int, now_ns: int) -> int:
        return min(most, self.paces.room_of_batch(batch, now_ns))

    def _due(
        self, view: View, channel: Channel, now_ms: int, now_ns: int
    ) -> Iterator[tuple[tuple[int, int], Entry, Again]]:
        """What goes again by this channel now. What is too late for it is given up."""
        due = [key for key, item in self._again.items() if item.due_ns <= now_ns][:REPLIES_AT_ONCE]
        for key in due:
            item = self._again[key]
            if item.turn == self.router.turn and item.goes_by != channel.number and self.router.is_up(item.goes_by):
                continue  # its own channel takes it
            entry = read_entry(view, *key)
            if entry is None or entry.expiry_ms <= now_ms:
                self._give_up(*key, self._again.pop(key))
                continue
            if item.turn != self.router.turn:
                item.turn, item.goes_by = self.router.turn, self._again_by(entry, item, channel)
            if item.goes_by == channel.number:
                yield key, entry, item
            elif not self.router.is_up(item.goes_by):
                item.due_ns = now_ns + WAIT_NS

    def _again_by(self, entry: Entry, item: Again, channel: Channel) -> int:
        """Where it went, while that is up or as long as other parts of it are out; else by its route."""
        partly = item.parts != (1 << item.of) - 1
        if item.endpoint >= 0 and (
            self.router.is_up(item.endpoint) or (partly and item.endpoint in self.router.standing)
        ):
            return item.endpoint
        end = self._goes_by(entry)
        return channel.number if end == ANYBODY else end

    def _claim_new(self, view: View, channel: Channel, batch: int, most: int, now_ms: int) -> int:
        known, made, lane = self.batches[batch], 0, LANE[purpose_of_batch(batch)]
        for endpoint in (channel.number, ANYBODY):
            mine = known.entries.get(endpoint)
            while mine and made < most and channel.book.room(lane) >= REPLY_PARTS:
                entry = mine.popleft()
                if entry.expiry_ms <= now_ms and not entry.decision:
                    continue  # it stays unsent in its ledger
                said = self._gate.again(view, entry, now_ms)
                if said.decision is Decision.SENT and said.due_ms > now_ms and not entry.decision:
                    self._wait(entry.batch, entry.position, said.due_ms)  # quiet hours began meanwhile
                    continue
                made += self._claim(view, channel, entry, None, said.decision)
        return made

    def _give_up(self, batch: int, position: int, item: Again) -> None:
        """Too late: what was refused for now fails; what may be out stays uncertain."""
        channel = next((c for c in self.channels if c.runs.get(batch) is not None), self.channels[0])
        run = self.run_in(channel, batch)
        for part in range(item.parts.bit_length()):
            if run is not None and (item.parts & ~item.uncertain) >> part & 1:
                channel.book.log(Kind.SETTLED, part, State.FAILED, position, run, 0)

    def _claim_again(
        self, view: View, channel: Channel, entry: Entry, item: Again, now_ms: int, now_ns: int
    ) -> int:  # fmt: skip
        said = self._gate.again(view, entry, now_ms, partly=item.parts != (1 << item.of) - 1)
        for part in range(item.uncertain.bit_length()):
            if item.uncertain >> part & 1 and (
                ledger.state_of(view, entry.batch, entry.position, part) != State.UNCERTAIN
                or not entry.purpose.resends_uncertain
                or said.decision is not Decision.SENT
            ):
                item.parts &= ~(1 << part)
        if said.decision is Decision.SENT and said.due_ms > now_ms and item.parts:
            item.due_ns = now_ns + (said.due_ms - now_ms) * 1_000_000
            return 0
        del self._again[entry.batch, entry.position]
        return self._claim(view, channel, entry, item, said.decision) if item.parts else 0

    def _claim(self, view: View, channel: Channel, entry: Entry, item: Again | None, said: Decision) -> int:
        options = entry.options
        batch = self.open_batch(entry.batch, entry.sender, entry.validity_s, options)
        by = encoder(channel.coding, options.message_class, options.transliterate)
        rendered = render_singles([(entry.text, entry.to, entry.position, entry.position)], entry.tenant, by=by)
        why = entry.decision or (said if said is not Decision.SENT else Decision.UNDECIDED)
        if rendered.count > REPLY_PARTS:
            why = Decision.TEXT_GREW
        if why:
            row = ROW.pack(entry.to, entry.position, 0, 0, 0, 0, 0, 0, 0, why, 0, entry.position, 0)
            rendered = Batch(bytearray(row), bytearray(), 1, entry.position, 1)
        elif item is not None:
            mark_again(rendered, {entry.position: (item.parts, item.tries, item.since_s)})
        lane, run = LANE[batch.purpose], self._open(channel, batch)
        channel.book.claim(lane, run, rendered.rows, rendered.count, rendered.octets)
        return rendered.count


def _by_number(plan: Plan, number: int) -> int:
    return plan.one(number, [])
