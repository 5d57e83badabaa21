"""[trio] What campaigns do by the clock: wakes when the next one is due, freezes its audience and starts it, or finds
the winner of its test.

Touches: the store by read snapshots in a worker thread, and through steps of the committer; the feeder is told.
The wall clock is looked at again after WAKE_S at most, so a step of it moves a start by no more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
import trio

from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns import winner
from dispatcher.campaigns.due import Due, cannot_start, due_before, start_due
from dispatcher.campaigns.preview import Frozen, freeze_row
from dispatcher.campaigns.states import RUNNING
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store import ledger

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

WAKE_S = 30.0
FULL_RETRY_S = 5.0
CHANGES = (
    "campaign.start", "campaign.resume", "campaign.edit", "campaign.cancel", "campaign.reject", "campaign.release",
)  # fmt: skip
NOTHING_SENT_S = 30.0  # a test of which nothing is sent yet is looked at again

log = structlog.get_logger("schedule")


class Schedule:
    """One task's state: `changed()` after a commit that may have moved what is due next."""

    def __init__(self, d: Dispatcher) -> None:
        self._d = d
        self._changed = trio.Event()
        self.next_ms: int | None = None  # epoch; None: not looked yet

    def __repr__(self) -> str:
        return f"<Schedule next={self.next_ms}>"

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed = trio.Event()
            wait_s = FULL_RETRY_S
            try:
                wait_s = await self.start_what_is_due()
            except StoreFull as exc:
                log.warning("put_off", reason=str(exc))
            with trio.move_on_after(min(wait_s, WAKE_S)):
                await self._changed.wait()

    async def start_what_is_due(self) -> float:
        """Start everything due by now; seconds until the next. Raises StoreFull."""
        now_ms = self._d.clock.epoch_ms()

        def look() -> tuple[list[Due], int]:
            with self._d.store.snapshot() as view:
                return due_before(view, now_ms)

        due, next_ms = await trio.to_thread.run_sync(look)
        self.next_ms = next_ms
        undecided = [one for one in due if one.winner and not await self._find_winner(one, now_ms)]
        for one in due:
            if not one.winner:
                await self._start(one, now_ms)
        if len(undecided) < len(due):
            return 0.0
        wait_s = NOTHING_SENT_S if undecided else WAKE_S
        return max(0.0, min(wait_s, (next_ms - self._d.clock.epoch_ms()) / 1000))

    async def _start(self, due: Due, now_ms: int) -> None:
        def compute() -> Frozen:
            with self._d.store.snapshot() as view:
                row = campaigns.need_campaign(view, due.tenant, due.campaign)
                return freeze_row(view, due.tenant, row, now_ms, due.campaign, self._d.coding, self._d.lines.router)

        try:
            frozen = await trio.to_thread.run_sync(compute)
        except CommandRefused as exc:
            detail = exc.detail
            await self._d.works.do(lambda view: (cannot_start(view, due, detail, now_ms), None))
            log.error("campaign_cannot_start", campaign=public_id("cmp", due.campaign), reason=detail)
            return

        def step(view: View) -> tuple[Changes, int | None]:
            changes, run = start_due(view, due, frozen, now_ms)
            if run is not None:
                ledger.set_log_base(changes, run, self._d.writer.position)
            return changes, run

        run = await self._d.works.do(step)
        if run is None:
            return
        with self._d.store.snapshot() as view:
            row = campaigns.need_campaign(view, due.tenant, run)
            log.info("campaign_due", campaign=public_id("cmp", run), state=row["state"], audience=row["audience"])
            if row["state"] == RUNNING:
                self._d.feeder.start(view, due.tenant, run, row)
        self._d.pool.push()
        self._d.works.wake()

    async def _find_winner(self, due: Due, now_ms: int) -> bool:
        """Whether the rule has spoken: the rest gets the winner's text from now on. Raises StoreFull."""

        def compute() -> dict[str, Any] | None:
            with self._d.store.snapshot() as view:
                row = campaigns.need_campaign(view, due.tenant, due.campaign)
                return winner.leading(view, due.tenant, due.campaign, row, now_ms)

        try:
            won = await trio.to_thread.run_sync(compute)
        except CommandRefused:  # it is gone
            return True
        if won is None:
            return False

        def step(view: View) -> tuple[Changes, None]:
            return winner.decide(view, due.tenant, due.campaign, won, now_ms), None

        await self._d.works.do(step)
        log.info("campaign_won", campaign=public_id("cmp", due.campaign), arm=won["arm"], clear=won["clear"])
        self.tell_winner(due.tenant, due.campaign)
        return True

    def tell_winner(self, tenant: int, campaign: int) -> None:
        """Whoever sends it reads its row anew: nobody of the rest waits any more."""
        with self._d.store.snapshot() as view:
            row = campaigns.load(view, tenant, campaign)
            if row is not None:
                self._d.feeder.refresh(view, tenant, {campaign: row})
        self._d.works.wake()
