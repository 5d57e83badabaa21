"""[trio] One endpoint of this process: its Book and binds, the runs it knows, and how much of it may be claimed ahead.

Touches: its own Book, Pool and words of the marks. Rests on: DESIGN 1 and 6 (claim_credit = windows + ahead; ahead = 3
x commit period x rate, from what was measured); ARCHITECTURE for the 4.5 there is instead of 3.
Everything here is an account's own: what a receipt means, who is in flight, what a kill left. A campaign may have a run
in several channels, a message is in one at a time.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import structlog

from config import Endpoint
from config.settings import Dispatcher as Tuning
from dispatcher.daemon.deliveries import Deliveries
from dispatcher.daemon.lanes import Turns
from dispatcher.daemon.marks import CREDIT_SLOT, EMPTY_SLOT
from dispatcher.daemon.runs import Runs
from dispatcher.daemon.works import Works
from dispatcher.outbox.entry import Entry
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.states import Decision, Purpose
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import ACTION_OTHER, POOLS, Book, actions_with
from dispatcher.text.coding import coding_of

log = structlog.get_logger("channel")

NO_ENDPOINT = Endpoint(name="none", host="127.0.0.1", system_id="none", binds=1)
RING, REPLY_RING = 1 << 16, 1 << 14
CREDIT_EVERY_S = 0.1
AHEAD_LEAST = 8_192  # parts, without a rate: before anything is measured
AHEAD_LEAST_PACED = 32  # with a rate below 100,000 parts/s
AHEAD_GROWTH = 1.5  # above 3 periods, so that a credit that is the limit grows


class Channel:
    """What one SMSC account needs. `number` is the endpoint's for ever (store/endpoints.py)."""

    def __init__(
        self, number: int, endpoint: Endpoint, words: memoryview, tuning: Tuning, works: Works, *,
        heard: Callable[[Channel, Heard, Entry | None], None], changed: Callable[[], None],
        make_room: Callable[[Channel], None],
    ) -> None:  # fmt: skip
        self.number, self.endpoint, self.words = number, endpoint, words
        self.book = Book(
            endpoint.binds * endpoint.window + 2_048, words, actions_with(endpoint.statuses), ACTION_OTHER,
            ring=RING, reply_ring=REPLY_RING, ids=endpoint.receipt_ids, tries_max=tuning.tries_max, endpoint=number,
        )  # fmt: skip
        self.coding = coding_of(endpoint)
        self.actions = actions_with(endpoint.statuses)
        self.book.retry_ns = int(tuning.retry_s * 1e9)
        self.book.set_rate(endpoint.rate, time.monotonic_ns())
        self.runs = Runs(self.book, endpoint, partial(make_room, self))
        self.deliveries = Deliveries(self.book, works, partial(heard, self))
        self.deliveries.default_alphabet = endpoint.default_alphabet
        self.pool = Pool(endpoint, self.book, self.deliveries, changed)
        self.tenants: dict[Purpose, Turns] = defaultdict(Turns)
        self.of_tenant: dict[tuple[Purpose, int], Turns] = defaultdict(Turns)
        self.down_ns = time.monotonic_ns()  # since when no bind is there; 0: one is
        self.leaving = False  # taken out of the configuration: nothing more is claimed
        self.credit_max = 0
        self.accepted_per_s = self.receipts_per_s = 0.0
        self._accepted = self._receipts = 0
        self._revoked_until: list[int] | None = None
        self.submits_per_s = 0.0
        self._ahead_max = tuning.claim_ahead_max
        self._credit_at, self._credit_submits = time.monotonic(), 0
        words[CREDIT_SLOT] = 0

    def __repr__(self) -> str:
        return f"<Channel {self.number} {self.endpoint.name}: {self.pool!r}>"

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def connects(self) -> bool:
        """False for the one that only keeps a journal where no endpoint is configured."""
        return self.endpoint is not NO_ENDPOINT

    @property
    def claims(self) -> bool:
        """What is claimed for it now may leave soon."""
        return bool(self.pool.bound) and not self.leaving

    @property
    def least(self) -> int:
        """The smallest claim of a campaign that is worth a commit."""
        return max(1, min(2_048, int(self.book.credit) // 8))

    def replace(self, endpoint: Endpoint) -> None:
        """Other settings of the same endpoint; the Pool keeps the binds that they do not touch."""
        self.endpoint = self.runs.endpoint = endpoint
        self.coding, self.actions = coding_of(endpoint), actions_with(endpoint.statuses)
        self.deliveries.default_alphabet = endpoint.default_alphabet
        self.book.set_actions(self.actions, ACTION_OTHER)
        self.pool.replace(endpoint)

    def look(self, now_ns: int) -> None:
        """Whether a bind is there."""
        if self.pool.bound:
            self.down_ns = 0
        elif not self.down_ns:
            self.down_ns = now_ns

    def down_s(self, now_ns: int) -> float:
        """For how long nothing can leave; infinite when nothing shall."""
        if self.leaving or not self.connects:
            return math.inf
        return (now_ns - self.down_ns) / 1e9 if self.down_ns else 0.0

    def revoke(self, tenant: int, number: int, decision: Decision) -> None:
        """What is claimed here and has not left must not."""
        self.book.revoke(tenant, number, decision)
        self._revoked_until = [self.book.position(lane)[0] for lane in POOLS]

    def forget_revoked(self) -> None:
        """Once everything claimed before has left or was stopped, the guards of new claims are enough."""
        until = self._revoked_until
        if until is not None and all(self.book.position(lane)[1] >= until[lane] for lane in POOLS):
            self.book.forget_revoked()
            self._revoked_until = None

    def second(self) -> None:
        """Once a second: rates."""
        self.accepted_per_s = self.book.accepted - self._accepted
        self.receipts_per_s = self.book.receipts - self._receipts
        self._accepted, self._receipts = self.book.accepted, self.book.receipts

    def give_back(self) -> None:
        """What is claimed here and has not left is for others to send. As far as the journal has room: called again."""
        if any(map(self.book.queued, POOLS)):
            log.info("given_back", endpoint=self.name, parts=self.book.release_queued(keep_marks=True))

    def note_empty(self, position: int) -> None:
        """Lanes from which everything claimed has left: a start need not read the log before `position` for them."""
        for lane in POOLS:
            made, taken = self.book.position(lane)
            if made == taken:
                self.words[EMPTY_SLOT + lane] = position

    def measure(self, period_s: float) -> None:
        """The credit, from how fast it went lately."""
        now = time.monotonic()
        if now - self._credit_at >= CREDIT_EVERY_S:
            rate = (self.book.submits - self._credit_submits) / (now - self._credit_at)
            self.submits_per_s += (rate - self.submits_per_s) * (0.5 if rate > self.submits_per_s else 0.25)
            self._credit_at, self._credit_submits = now, self.book.submits
        pace = self.book.rate
        rate = min(self.submits_per_s, pace) if pace else self.submits_per_s
        least = AHEAD_LEAST_PACED if pace and pace < 100_000 else AHEAD_LEAST
        if pace and not self.submits_per_s:
            rate = pace
        ahead = min(self._ahead_max, max(least, math.ceil(3 * period_s * rate * AHEAD_GROWTH)))
        self.book.credit = sum(pump.window for pump in self.pool.pumps()) + ahead

    def note_credit(self) -> None:
        """More may be claimed than ever before in this life: said before such a claim is on disk."""
        if self.book.credit > self.credit_max:
            self.words[CREDIT_SLOT] = self.credit_max = self.book.credit
