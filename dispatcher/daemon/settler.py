"""What is uncertain, and what settles it: a late answer, a receipt by id in the log or by number, a resend.

Touches: the Book's journal, the ledger through snapshots. tick() is called once a second by a task of run.py.
Rests on: DESIGN 4 (what an uncertain message of each purpose is) and 8 (held receipts after the holding time).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dispatcher.campaigns.expand import Repeat
from dispatcher.daemon.feeder import Feeder
from dispatcher.outcomes.uncertain import Uncertain, UncertainSet
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose, State
from dispatcher.smpp.pump import Book, Kind, Settled
from dispatcher.store import Store, ledger
from dispatcher.store.layout import BLOCK

BY_NUMBER = 1 << 24  # in a receipt record's status: how it was matched

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

    def __init__(self, store: Store, book: Book, feeder: Feeder, holding_s: float) -> None:
        self.store, self.book, self.feeder, self.holding_s = store, book, feeder, holding_s
        self.uncertain = UncertainSet()
        self.counters = Counters()
        self._resend: list[tuple[int, int, Uncertain]] = []
        self._resent: set[tuple[int, int, int]] = set()  # campaign, rank, part; uncertain again, those are held
        self._number = 0
        self._due: list[Uncertain] = []  # looked at once what is in the journal is in the ledger
        self.fold: Callable[[], None] = lambda: None  # asks for that; set by dispatcher.py

    def returned(self, items: list[tuple[int, ...]], now_ms: int, now_ns: int) -> None:
        """Parts that the pump has just made uncertain."""
        for _, run, rank, part, _, member_no, number, _, _ in items:
            campaign = self.feeder.of_run(run)
            if campaign is not None:
                again = (campaign.id, rank, part) in self._resent
                self.note(Uncertain(campaign.id, run, rank, part, member_no, number, now_ms), not again, now_ns)

    def note(self, item: Uncertain, first: bool, now_ns: int | None = None) -> None:
        """Hold it; of a purpose that resends, plan the one resend (a one-time code is resent each time)."""
        self.uncertain.add(item)
        campaign = self.feeder.campaigns[item.campaign]
        otp = campaign.purpose is Purpose.OTP
        if campaign.purpose.resends_uncertain and campaign.expansion is not None and (first or otp):
            holding_ns = 0 if otp else int(self.holding_s * 1e9)
            self._number += 1
            due = (time.monotonic_ns() if now_ns is None else now_ns) + holding_ns
            heapq.heappush(self._resend, (due, self._number, item))
            campaign.waiting += 1

    def tick(self, now_ms: int, now_ns: int) -> None:
        """Held receipts past the holding time, then resends that are due, after the receipts held for their numbers."""
        due, self._due = self._due, []
        held = self.book.take_held(max(0, now_ms - int(self.holding_s * 1000)))
        held += self._held_for({item.number for item in due})
        if held or due:
            with self.store.snapshot() as view:
                if held:
                    self._settle_held(view, held)
                for item in due:
                    self._resend_one(view, item, now_ns)
        while self._resend and self._resend[0][0] <= now_ns:
            self._due.append(heapq.heappop(self._resend)[2])
        if self._due:  # the next tick decides on them: what may have settled them meanwhile is folded by then
            self.fold()

    def _held_for(self, numbers: set[int]) -> list[tuple[int, int, int, int, int]]:
        """The receipts held for these numbers, however young."""
        mine = []
        for key, number, state, status, at_ms in self.book.take_held((1 << 63) - 1) if numbers else ():
            if number in numbers:
                mine.append((key, number, state, status, at_ms))
            else:
                self.book.hold(key, number, at_ms, status, state)
        return mine

    def _settle_held(self, view: View, held: list[tuple[int, int, int, int, int]]) -> None:
        known = self._in_log(view, {key for key, *_ in held})
        for key, number, state, status, at_ms in held:
            if key in known:
                self.counters.held_matched_in_log += 1
                campaign, rank, part = known[key]
                run = self._run_of(campaign)
                if run is not None and self.state_of(view, campaign, rank, part) not in (state, State.DELIVERED):
                    self.book.log(Kind.RECEIPT, part, state, rank, run, status)
                continue
            fits = [
                item
                for item in self.uncertain.of(number)
                if self.state_of(view, item.campaign, item.rank, item.part) == State.UNCERTAIN
                and self._claimed_s(view, item) <= at_ms // 1000
            ]
            if len(fits) == 1:
                item = fits[0]
                self.book.log(Kind.RECEIPT, item.part, state, item.rank, item.run, (status & 0xFFFFFF) | BY_NUMBER)
                self.uncertain.remove(item)
                self.counters.by_number += 1
            elif fits:
                self.counters.several_candidates += 1
            else:
                self.counters.unmatched += 1

    def _in_log(self, view: View, keys: set[int]) -> dict[int, tuple[int, int, int]]:
        """Where the index has forgotten an id, the log still has it: repeats of old receipts end here."""
        wanted = Settled()
        for key in keys:
            wanted.put(key)
        found: dict[int, tuple[int, int, int]] = {}
        for _, value in ledger.log_values(view):  # type: ignore[arg-type]
            for key, campaign, rank, part in self.book.find_ids(value, wanted):
                found[key] = (campaign, rank, part)
        return found

    def _run_of(self, campaign: int) -> int | None:
        known = self.feeder.campaigns.get(campaign)
        return None if known is None else known.run

    def _claimed_s(self, view: View, item: Uncertain) -> int:
        """When it was last claimed, epoch seconds: a receipt from before that is of another message."""
        chunk, r = divmod(item.rank, BLOCK)
        times = ledger.read_array(view, item.campaign, "submit_s", chunk)
        return int.from_bytes(times[4 * r : 4 * r + 4], "little") if times is not None else 0

    def state_of(self, view: View, campaign: int, rank: int, part: int) -> State:
        """The part's state as of the last fold."""
        chunk, r = divmod(rank, BLOCK)
        width = ledger.part_width(view, campaign, chunk)
        counts = ledger.read_array(view, campaign, "parts", chunk)
        if width > 1 and counts is not None and counts[r] > 1:
            spread = ledger.read_array(view, campaign, "part_state", chunk)
            return State(spread[r * width + part] & 0x7F) if spread is not None else State.UNSENT
        states = ledger.read_array(view, campaign, "state", chunk)
        return State(states[r]) if states is not None and r < len(states) else State.UNSENT

    def _resend_one(self, view: View, item: Uncertain, now_ns: int) -> None:
        campaign = self.feeder.campaigns[item.campaign]
        campaign.waiting = max(0, campaign.waiting - 1)
        if item not in self.uncertain.of(item.number):
            return  # settled by number meanwhile
        self.uncertain.remove(item)
        state = self.state_of(view, item.campaign, item.rank, item.part)
        if campaign.expansion is not None and state == State.UNCERTAIN:
            campaign.expansion.repeat(Repeat(now_ns, item.rank, item.member_no, 1 << item.part, 1))
            self._resent.add((item.campaign, item.rank, item.part))
            self.counters.resent += 1
