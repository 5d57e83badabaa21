"""[trio] Group commit: what was claimed, answered and asked since the last one is one transaction; then it counts.

Touches: the Book, the binds and the writer. Nothing leaves before its claim is on disk, no deliver_sm is answered and
no command replied to before what it says is. Rests on: DESIGN 6; spike/durable for the gap and the credit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import lmdb
import structlog
import trio

from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.writer import FOLD_RECORDS, Job, Step, Work, Writer
from dispatcher.errors import StoreFull
from dispatcher.smpp.bind import Answer
from dispatcher.smpp.consts import ESME_ROK
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import Book

WORKS_AT_ONCE = 256
CREDIT_EVERY_S = 0.1
AHEAD_LEAST = 8_192  # parts, without a rate: before anything is measured
AHEAD_LEAST_PACED = 32  # with a rate below 100,000 parts/s
AHEAD_GROWTH = 1.5  # above 3 periods, so that a credit that is the limit grows
FULL_RETRY_S = 0.5

log = structlog.get_logger("committer")


class Committer:
    """The loop. `do` and `post` bring steps into the next commit."""

    def __init__(
        self, writer: Writer, book: Book, pool: Pool, feeder: Feeder, *, gap_s: float, ahead_max: int,
        fold_every_s: float, settled: Callable[[], None], credit_raised: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.writer, self.book, self.pool, self.feeder = writer, book, pool, feeder
        self.full = False  # the last commit failed for want of room
        self.feeding = True
        self.commits = 0
        self.period_s = 0.004
        self.times: deque[float] = deque(maxlen=4_096)
        self.credit_max = 0
        self._gap_s, self._ahead_max, self._fold_every_s = gap_s, ahead_max, fold_every_s
        self._settled = settled
        self._credit_raised = credit_raised
        self._wake = trio.Event()
        self._shield = trio.CancelScope()
        self._works: deque[Work] = deque()
        self._answers: list[Answer] = []
        self._unfolded = 1  # a start looks once
        self._fold_at = 0.0
        self._rate = 0.0
        self._credit_at = time.monotonic()
        self._credit_submits = 0

    def __repr__(self) -> str:
        return f"<Committer {self.commits} commits, period {self.period_s * 1e3:.1f} ms, full={self.full}>"

    @property
    def waiting(self) -> int:
        return len(self._works)

    @property
    def submits_per_s(self) -> float:
        return self._rate

    def kick(self) -> None:
        if not self._wake.is_set() and self._pending():
            self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def post(self, step: Step, then: Callable[[Work], None]) -> None:
        """Into the next commit; `then` is called in the trio thread when it is on disk or failed."""
        self._works.append(Work(step, then))
        self._wake.set()

    async def do(self, step: Step) -> Any:
        """The step's result, once it is on disk. Raises what the step raised, or StoreFull."""
        done = trio.Event()
        kept: list[Work] = []

        def then(work: Work) -> None:
            kept.append(work)
            done.set()

        self.post(step, then)
        await done.wait()
        if kept[0].error is not None:
            raise kept[0].error
        return kept[0].result

    def answer_after_commit(self, answer: Answer) -> None:
        """A deliver_sm whose content is in the journal already."""
        self._answers.append(answer)
        self._wake.set()

    def force_fold(self) -> None:
        self._unfolded = max(self._unfolded, 1)
        self._fold_at = 0.0
        self._wake.set()

    def _least(self) -> int:
        return max(1, min(2_048, int(self.book.credit) // 8))

    def _pending(self) -> bool:
        return bool(
            self._works
            or self._answers
            or self.book.journal_records_waiting
            or (self.feeding and self.pool.bound and self.feeder.wants(self._least()))
            or (self._unfolded and time.monotonic() >= self._fold_at)
        )

    async def run(self) -> None:
        """Commit until cancelled. Cancellation takes effect between commits."""
        began = 0.0
        while True:
            busy = True
            while not self._pending():
                busy = False
                with trio.move_on_after(self._idle_s()):
                    await self._wake.wait()
                self._wake = trio.Event()
                self._settled()  # what waits for no commit: a confirmation, a campaign's end
            await trio.sleep(max(0.0, began + self._gap_s - time.perf_counter()))
            previous, began = began, time.perf_counter()
            if busy and previous:  # an idle stretch is no period
                self.period_s += (began - previous - self.period_s) * 0.1
            with trio.CancelScope(shield=True) as self._shield:
                await self._commit()
            await trio.lowlevel.checkpoint_if_cancelled()

    def give_up_if_full(self) -> None:
        """At the end of a run: a commit that has no room is not waited for."""
        if self.full:
            self._shield.shield = False

    async def flush(self, seconds: float) -> bool:
        """Commit whatever waits and fold all of it: the end of a run. False: there was no room for it within `seconds`;
        what the rest of the journal would have told is uncertain to the next start."""
        self.feeding = False
        if not self.full:
            with trio.move_on_after(seconds, shield=True):
                for _ in range(10_000):
                    self._fold_at = 0.0
                    if not (self._works or self._answers or self.book.journal_records_waiting or self._unfolded):
                        return True
                    await self._commit()
        log.error("not_flushed", records=self.book.journal_records_waiting)
        return False

    async def _commit(self) -> None:
        if self.feeding and not self.full and self.pool.bound:
            with self.writer.store.snapshot() as view:
                self.feeder.fill(view, self._least(), time.time_ns() // 1_000_000)
            if self.book.credit > self.credit_max:
                self.credit_max = self.book.credit
                self._credit_raised(self.credit_max)
        answers, self._answers = self._answers, []
        value, records = self.book.cut()
        pumps = list(self.pool.pumps())
        for pump in pumps:
            pump.cut()
        works = [self._works.popleft() for _ in range(min(len(self._works), WORKS_AT_ONCE))]
        self._unfolded += records
        fold = bool(self._unfolded) and (self._unfolded >= FOLD_RECORDS or time.monotonic() >= self._fold_at)
        job = Job(value, records, works, fold)
        self.writer.put(job)
        await job.done.wait()
        if job.error is not None:
            await self._failed(job)
        crash_point("after_commit_before_write", lambda: records > 0)
        self.commits += 1
        self.times.append(job.took_s)
        if fold and job.error is None:
            self._unfolded = 0 if job.folded_all else 1
            self._fold_at = time.monotonic() + (self._fold_every_s if job.folded_all else 0.0)
        elif fold:
            self._fold_at = time.monotonic() + FULL_RETRY_S
        self.book.committed()
        for pump in pumps:
            pump.committed()
        for answer in answers:
            answer(ESME_ROK)
        self._settled()
        for work in works:
            work.then(work)
        self.pool.push()
        crash_point("after_write_before_response", lambda: self.pool.in_flight > 0)
        self._credit()

    async def _failed(self, job: Job) -> None:
        """No room, or an I/O error: its steps are refused, its journal tried until it is on disk. Nothing leaves."""
        reason = f"{type(job.error).__name__}: {job.error}"
        if not isinstance(job.error, lmdb.Error | OSError):
            log.error("commit_failed", reason=reason)
            assert job.error is not None
            raise job.error
        self.full = True
        log.error("store_full", reason=reason, steps_refused=len(job.works))
        for work in job.works:
            work.error = StoreFull(f"the store has no room: {reason}")
        while True:
            again = Job(job.value, job.records, [], False)
            self.writer.put(again)
            await again.done.wait()
            if again.error is None:
                break
            for work in self._works:
                work.error = StoreFull(f"the store has no room: {reason}")
                work.then(work)
            self._works.clear()
            await trio.sleep(FULL_RETRY_S)
        self.full = False
        log.info("store_has_room_again")

    def _idle_s(self) -> float:
        """How long nothing needs doing: until the next fold or repeat."""
        wait = 1.0
        if self._unfolded:
            wait = min(wait, max(0.0, self._fold_at - time.monotonic()))
        due, now = self.feeder.next_due_ns(), time.monotonic_ns()
        if due is not None and due > now:  # past: it waits for a bind or for room, and they wake us
            wait = min(wait, (due - now) / 1e9)
        return max(wait, 0.001)

    def _credit(self) -> None:
        """claim_credit = windows + ahead; ahead = 3 x commit period x rate, from what was measured (DESIGN 1)."""
        now = time.monotonic()
        if now - self._credit_at >= CREDIT_EVERY_S:
            rate = (self.book.submits - self._credit_submits) / (now - self._credit_at)
            self._rate += (rate - self._rate) * (0.5 if rate > self._rate else 0.25)
            self._credit_at, self._credit_submits = now, self.book.submits
        pace = self.book.rate
        rate = min(self._rate, pace) if pace else self._rate
        least = AHEAD_LEAST_PACED if pace and pace < 100_000 else AHEAD_LEAST
        if pace and not self._rate:
            rate = pace
        ahead = min(self._ahead_max, max(least, math.ceil(3 * self.period_s * rate * AHEAD_GROWTH)))
        windows = sum(pump.window for pump in self.pool.pumps())
        self.book.credit = windows + ahead
