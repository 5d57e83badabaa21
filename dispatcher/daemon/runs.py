"""The Book's run numbers, of which there are 4,096: opened for campaigns and batches, given back when nothing awaits
them.

Touches: the Book, a View of ledger counts. tick() is called once a second. Rests on: DESIGN 8 (a segment of the index
goes when its messages are final, and an hour): until then repeats of receipts end in the index; later they are held and
found in the log. A campaign whose receipts are still awaited lets go of its number only when numbers are short, and
gets one again when a receipt is found to be its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from config import Endpoint
from dispatcher.records.changes import View
from dispatcher.records.states import State
from dispatcher.smpp.pump import Book, submit_head, submit_mid
from dispatcher.store import ledger

if TYPE_CHECKING:
    from dispatcher.daemon.feeder import Feeder

NO_RUN = -1
KEPT_NS = 3_600 * 1_000_000_000
LOOKED_AT = 64  # campaigns a tick
FEW = 1_024  # free numbers: those that are final go at once
VERY_FEW = 256  # those that only await receipts go too
SWEEPS_MAX = 130  # more than segments of the index, twice
MOVING = (State.CLAIMED, State.RETRY_WAIT, State.UNCERTAIN, State.ACCEPTED)


class Runs:
    """Opens them; `make_room` is asked to close some when none is free."""

    def __init__(self, book: Book, endpoint: Endpoint, make_room: Callable[[], None]) -> None:
        self.book, self.endpoint = book, endpoint
        self._make_room = make_room
        self._at = 0

    def open(self, id: int, tenant: int, sender: str, *, receipts: bool, stop: bool, validity: int) -> int:
        """Raises ValueError when 4,096 campaigns and batches have something in flight."""
        if not self.book.runs_free:
            self._make_room()
            for _ in range(SWEEPS_MAX):
                if self.book.runs_free or not self.book.sweep_runs():
                    break
        e = self.endpoint
        head = submit_head(sender, e.source_ton, e.source_npi, e.dest_ton, e.dest_npi)
        mid = submit_mid(validity_s=validity, receipts=receipts)
        return int(self.book.open_run(id, tenant, 0, head, mid, receipts=receipts, honours_stop=stop))

    def tick(self, view: View, feeder: Feeder, now_ns: int) -> None:
        """Let go of what has ended, a few campaigns a call; one step of the sweep."""
        free = self.book.runs_free
        known = [campaign for campaign in feeder.campaigns.values() if campaign.expansion is None]
        looked = len(known) if free < FEW else min(len(known), LOOKED_AT)
        for i in range(looked):
            campaign = known[(self._at + i) % len(known)]
            moving = MOVING if campaign.receipts else MOVING[:-1]  # accepted is final where no receipt was asked for
            if any(map(ledger.read_counts(view, campaign.id).state, moving)):
                campaign.ended_ns = 0
                if free < VERY_FEW:
                    feeder.let_go(campaign, whole=False)
                continue
            campaign.ended_ns = campaign.ended_ns or now_ns
            if free < FEW or now_ns - campaign.ended_ns >= KEPT_NS:
                feeder.let_go(campaign, whole=True)
        self._at += looked
        if free < FEW:
            feeder.replies.let_go(view)
        self.book.sweep_runs()
