"""[trio] Group commit: what was claimed, answered and asked since the last one is one transaction; then it counts.

Touches: every channel's Book and binds, and the writer. Nothing leaves before its claim is on disk, no deliver_sm is
answered and no command replied to before what it says is. Rests on: DESIGN 6; spike/durable for the gap.
A commit holds one value of the log a Book. What a Book gives back is handed on only after the commit that holds it: it
may be claimed into another Book then, and the log must have the one before the other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import lmdb
import structlog
import trio

from dispatcher.daemon.channel import Channel
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.works import Works
from dispatcher.daemon.writer import FOLD_RECORDS, Job, Work, Writer
from dispatcher.errors import StoreFull
from dispatcher.smpp.bind import Answer
from dispatcher.smpp.consts import ESME_ROK
from dispatcher.smpp.pump import Pump

WORKS_AT_ONCE = 256
CUT_OCTETS = 2 << 20  # of journals in a commit: the others wait for the next, so that it stays near 4 MiB (DESIGN 2)
FULL_RETRY_S = 0.5
HURRIED_MAX = 4  # commits one after the other without campaigns and fold: a flood of one-time codes stops neither

log = structlog.get_logger("committer")


@dataclass(frozen=True, slots=True)
class _Cut:
    """A channel's part of a commit."""

    channel: Channel
    value: memoryview
    records: int
    pumps: list[Pump]
    answers: list[Answer]
    returned: list[tuple[int, ...]]


class Committer:
    """The loop; it takes what waits in `works`."""

    def __init__(
        self, works: Works, writer: Writer, channels: list[Channel], feeder: Feeder, *, gap_s: float,
        fold_every_s: float, returned: Callable[[Channel, list[tuple[int, ...]]], None], settled: Callable[[], None],
    ) -> None:  # fmt: skip
        self.works, self.writer, self.channels, self.feeder = works, writer, channels, feeder
        self.full = False  # the last commit failed for want of room
        self.feeding = True
        self.commits = 0
        self.period_s = 0.004
        self.times: deque[float] = deque(maxlen=4_096)
        self._gap_s, self._fold_every_s = gap_s, fold_every_s
        self._returned = returned
        self._settled = settled
        self._hurried = 0  # commits in a row that were made for one-time codes alone
        self._shield = trio.CancelScope()
        self._unfolded = 1  # a start looks once
        self._fold_at = 0.0
        self._open = self._wide = False  # a pass of the fold is open; the last one needed several commits
        self._first = 0  # whose journal is cut first

    def __repr__(self) -> str:
        return f"<Committer {self.commits} commits, period {self.period_s * 1e3:.1f} ms, full={self.full}>"

    @property
    def submits_per_s(self) -> float:
        return sum(channel.submits_per_s for channel in self.channels)

    def kick(self) -> None:
        """Ring, if there is something to commit."""
        if self._pending():
            self.works.wake()

    def force_fold(self) -> None:
        self._unfolded = max(self._unfolded, 1)
        self._fold_at = 0.0
        self.works.wake()

    def _waiting_records(self) -> int:
        return sum(c.book.journal_records_waiting + len(c.deliveries.answers) for c in self.channels)

    def _pending(self) -> bool:
        return bool(
            self.works.waiting
            or self._waiting_records()
            or (self.feeding and any(c.claims and self.feeder.wants(c) for c in self.channels))
            or (self._unfolded and time.monotonic() >= self._fold_at)
        )

    async def run(self) -> None:
        """Commit until cancelled. Cancellation takes effect between commits."""
        began = 0.0
        while True:
            busy = True
            while not self._pending():
                busy = False
                await self.works.woken(self._idle_s())
                self._settled()  # what waits for no commit: a confirmation, a campaign's end
            asked = await self.works.gap(max(0.0, began + self._gap_s - time.perf_counter()))
            hurried = asked and self._hurried < HURRIED_MAX
            self._hurried = self._hurried + 1 if hurried else 0
            previous, began = began, time.perf_counter()
            if busy and previous:  # an idle stretch is no period
                self.period_s += (began - previous - self.period_s) * 0.1
            with trio.CancelScope(shield=True) as self._shield:
                await self._commit(hurried)
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
                    if not (self.works.waiting or self._waiting_records() or self._unfolded):
                        return True
                    await self._commit()
        log.error("not_flushed", records=self._waiting_records())
        return False

    async def _commit(self, hurried: bool = False) -> None:
        if self.feeding and not self.full and any(c.claims for c in self.channels):
            with self.writer.store.snapshot() as view:
                for channel in self.channels:
                    if channel.claims:
                        self.feeder.fill(view, channel, time.time_ns() // 1_000_000, campaigns=not hurried)
            for channel in self.channels:
                channel.note_credit()
        cuts = self._cut()
        works = self.works.take(WORKS_AT_ONCE)
        records = sum(cut.records for cut in cuts)
        self._unfolded += records
        due = time.monotonic() >= self._fold_at or (self._unfolded >= FOLD_RECORDS and not self._wide)
        fold = bool(self._unfolded) and due and not hurried
        job = Job([cut.value for cut in cuts if cut.records], works, fold)
        self.writer.put(job)
        await job.done.wait()
        if job.error is not None:
            await self._failed(job)
        self.works.put_back(job.left)
        crash_point("after_commit_before_write", lambda: records > 0)
        self.commits += 1
        self.times.append(job.took_s)
        if fold and job.error is None:
            self._wide, self._open = job.pass_open or self._open, job.pass_open
            self._unfolded = 0 if job.folded_all else max(1, self._unfolded)
            at_once = job.pass_open or not (job.folded_all or self._wide)
            self._fold_at = time.monotonic() + (0.0 if at_once else self._fold_every_s)
        elif fold:
            self._fold_at = time.monotonic() + FULL_RETRY_S
        for cut in cuts:
            cut.channel.book.committed()
            for pump in cut.pumps:
                pump.committed()
            for answer in cut.answers:
                answer(ESME_ROK)
            if cut.returned:
                self._returned(cut.channel, cut.returned)
        self._settled()
        for work in works:
            work.then(work)
        for channel in self.channels:
            channel.pool.push()
        crash_point("after_write_before_response", lambda: any(c.pool.in_flight for c in self.channels))
        for channel in self.channels:
            channel.measure(self.period_s)

    def _cut(self) -> list[_Cut]:
        """The channels' journals, another first each time; one that would make the commit too long waits for the
        next."""
        cuts: list[_Cut] = []
        octets, n = 0, len(self.channels)
        for i in range(n):
            channel = self.channels[(self._first + i) % n]
            if octets > CUT_OCTETS:
                self._first = (self._first + i) % n
                break
            pumps = list(channel.pool.pumps())
            answers, channel.deliveries.answers = channel.deliveries.answers, []
            returned = channel.runs.take_returned()
            value, records = channel.book.cut()
            for pump in pumps:
                pump.cut()
            octets += len(value)
            cuts.append(_Cut(channel, value, records, pumps, answers, returned))
        return cuts

    async def _failed(self, job: Job) -> None:
        """No room, or an I/O error: its steps are refused, its journal tried until it is on disk. Nothing leaves."""
        reason = f"{type(job.error).__name__}: {job.error}"
        if not isinstance(job.error, lmdb.Error | OSError):
            log.error("commit_failed", reason=reason)
            assert job.error is not None
            raise job.error
        self.full = True
        log.error("store_full", reason=reason, steps_refused=len(job.works))
        self._refuse([*job.works, *job.left], reason)  # at once: the disk may be long in coming back
        job.works.clear()  # told, and once is enough: an answer given twice is one too many
        job.left.clear()
        while True:
            again = Job(job.values, [], False)
            self.writer.put(again)
            await again.done.wait()
            if again.error is None:
                break
            self._refuse(self.works.take(self.works.waiting), reason)
            await trio.sleep(FULL_RETRY_S)
        self.full = False
        log.info("store_has_room_again")

    def _refuse(self, works: list[Work], reason: str) -> None:
        """Tell each that nothing of it is kept."""
        for work in works:
            work.error = StoreFull(f"the store has no room: {reason}")
            work.then(work)

    def _idle_s(self) -> float:
        """How long nothing needs doing: until the next fold or repeat."""
        wait = 1.0
        if self._unfolded:
            wait = min(wait, max(0.0, self._fold_at - time.monotonic()))
        due, now = self.feeder.next_due_ns(), time.monotonic_ns()
        if due is not None and due > now:  # past: it waits for a bind or for room, and they wake us
            wait = min(wait, (due - now) / 1e9)
        return max(wait, 0.001)
