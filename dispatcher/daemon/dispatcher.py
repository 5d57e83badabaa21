"""[trio] One running dispatcher: its parts, put together, and what happens by itself.

Touches: everything; decides nothing: what was heard or came back is handed to the part that knows what it means.
What is asked for comes in by orders.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import structlog

from config import Settings
from dispatcher.campaigns import campaign as campaigns
from dispatcher.clock import SystemClock
from dispatcher.daemon import recovery
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.committer import Committer
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.lines import Lines
from dispatcher.daemon.marks import Marks
from dispatcher.daemon.refusals import Refusals, Refused
from dispatcher.daemon.resume import resume
from dispatcher.daemon.settler import Settler
from dispatcher.daemon.works import Works
from dispatcher.daemon.writer import Work, Writer
from dispatcher.errors import StoreFull, WrongState
from dispatcher.outbox.entry import Entry
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState, Decision
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import Book
from dispatcher.store import Store, ids_kept
from dispatcher.text.coding import Coding

# what texts or guards of running campaigns read
RECOMPILE = ("member.upsert", "member.merge", "member.unmerge", "member.bulk", "tenant.edit")

log = structlog.get_logger("dispatcher")


@dataclass(slots=True)
class Rates:
    """Per second, over the last second."""

    accepted_per_s: float = 0.0
    receipts_per_s: float = 0.0
    accepted: int = 0
    receipts: int = 0


class Dispatcher:
    """Everything between the store and the sockets. Made by run.py after the recovery, inside trio."""

    def __init__(self, settings: Settings, store: Store, marks: Marks, report: recovery.Recovery) -> None:
        self.settings, self.store, self.marks = settings, store, marks
        self.clock = SystemClock()
        self.started_ns = self.clock.monotonic_ns()
        tuning = settings.dispatcher
        self.works = Works()
        self.lines = Lines(
            settings, store, marks, self.works, heard=self._heard, changed=self._binds_changed,
            make_room=lambda channel: self.feeder.make_room(channel),
        )  # fmt: skip
        self.channels = self.lines.channels
        self.feeder = Feeder(self.channels, self.lines.router, tuning.retry_s)
        self.feeder.replies.end_of = self.lines.end_of
        self.settler = Settler(store, self.feeder, settings.holding_s)
        self.writer = Writer(store, sync_delay_s=settings.store.sync_delay_ms / 1e3)
        self.committer = Committer(
            self.works, self.writer, self.channels, self.feeder, gap_s=settings.store.commit_gap_ms / 1e3,
            fold_every_s=tuning.fold_every_s, returned=self._returned, settled=self._settled,
        )  # fmt: skip
        self.settler.fold = self.committer.force_fold
        self.rates = Rates()
        self.archive_asked = False
        self.stale_readers = 0  # slots of readers that died, cleared by housekeeping
        self.segments_counted_until_ms = 0  # nobody looks before which of them is due
        self.kept_ids: ids_kept.Totals | None = None  # as of housekeeping's last minute; None: not counted yet
        self.recovery = report
        with store.snapshot() as view:
            self.recoveries = recovery.recoveries(view)
        self._confirmations: list[Entry] = []
        self._marking: set[int] = set()
        self.refusals = Refusals()
        self.reload_error = ""  # why the last reload changed nothing
        resume(store, self.feeder, self.settler.note, settings.holding_s, self.clock.epoch_ms())

    @property
    def book(self) -> Book:
        """Of the first endpoint."""
        return self.channels[0].book

    @property
    def pool(self) -> Pool:
        """Of the first endpoint."""
        return self.channels[0].pool

    @property
    def coding(self) -> Coding | None:
        """How most texts leave: as the endpoint of the greatest weight takes them; None without one."""
        channels = [channel for channel in self.channels if channel.connects]
        return max(channels, key=lambda channel: channel.endpoint.weight).coding if channels else None

    def fields_changed(self, tenant: int) -> None:
        running = [c for c in self.feeder.campaigns.values() if c.tenant == tenant and c.expansion is not None]
        if running:
            with self.store.snapshot() as view:
                rows = {c.id: row for c in running if (row := campaigns.load(view, tenant, c.id)) is not None}
                self.feeder.refresh(view, tenant, rows)

    # ---- what happens by itself

    def _binds_changed(self) -> None:
        crash_point("in_reconnect")
        self.lines.look()
        self.works.wake()

    def _heard(self, channel: Channel, heard: Heard, entry: Entry | None) -> None:
        """A message from a phone is on disk: nothing more to who said STOP; the answer goes out."""
        if heard.what == "stop":
            for tenant in (heard.tenant, *heard.others):
                self.revoke(tenant, heard.number)
        if entry is None:
            return
        if entry.confirmation:
            self._confirmations.append(entry)
        else:
            self.feeder.replies.add(entry)
        self.works.wake()

    def revoke(self, tenant: int, number: int, decision: Decision = Decision.OPTED_OUT) -> None:
        """What was claimed before this moment and has not left must not; see Channel.forget_revoked for when that
        is over."""
        for channel in self.channels:
            channel.revoke(tenant, number, decision)

    def _returned(self, channel: Channel, items: list[tuple[int, ...]]) -> None:
        """What a channel gave back, once the commit is on disk that says so."""
        now_ms, now_ns = self.clock.epoch_ms(), self.clock.monotonic_ns()
        uncertain = self.feeder.returned(channel, items, now_ns)
        if uncertain:
            self.settler.returned(channel, uncertain, now_ms, now_ns)

    def _settled(self) -> None:
        """After each commit, in the trio thread."""
        if self._confirmations:
            ready = [e for e in self._confirmations if not any(c.pool.flying_to(e.to) for c in self.channels)]
            for entry in ready:
                self._confirmations.remove(entry)
                self.feeder.replies.add(entry)
        for channel in self.channels:
            channel.forget_revoked()
            channel.note_empty(self.writer.position)
        for campaign in self.feeder.finished():
            self._finish(campaign.tenant, campaign.id)

    def _finish(self, tenant: int, campaign: int) -> None:
        """Nothing unsent, nothing in flight: done."""
        if campaign in self._marking:
            return
        self._marking.add(campaign)

        def step(view: View) -> tuple[Changes, bool]:
            try:
                return campaigns.mark_done(view, tenant, campaign, self.clock.epoch_ms()), True
            except WrongState:  # a pause or a cancel came first
                return Changes(), False

        def then(work: Work) -> None:
            self._marking.discard(campaign)
            if work.error is None and work.result:
                self.feeder.stop(campaign)
                log.info("campaign_done", campaign=public_id("cmp", campaign))
            elif work.error is not None and not isinstance(work.error, StoreFull):
                log.error("mark_done_failed", reason=str(work.error))

        self.works.post(step, then)
        self.committer.force_fold()

    def second(self) -> None:
        """Once a second: rates, and how the endpoints stand."""
        accepted = sum(channel.book.accepted for channel in self.channels) + self.lines.accepted_by_gone
        receipts = sum(channel.book.receipts for channel in self.channels) + self.lines.receipts_by_gone
        self.rates.accepted_per_s = accepted - self.rates.accepted
        self.rates.receipts_per_s = receipts - self.rates.receipts
        self.rates.accepted, self.rates.receipts = accepted, receipts
        for channel in self.channels:
            channel.second()
        self.lines.look()
        for refused in self.refusals.look(self.feeder):
            self._hold(refused)
        self.committer.kick()

    def _hold(self, refused: Refused) -> None:
        """The SMSC refuses what a campaign is: nothing more of it until a person has looked."""
        self.feeder.pause(refused.campaign)
        log.error("campaign_held", campaign=public_id("cmp", refused.campaign), reason=refused.reason)

        def step(view: View) -> tuple[Changes, None]:
            now_ms = self.clock.epoch_ms()
            return campaigns.mark(
                view, refused.tenant, refused.campaign, CampaignState.HELD, now_ms, campaigns.DAEMON, refused.reason
            ), None

        def then(work: Work) -> None:
            if work.error is not None:
                log.error("hold_failed", reason=str(work.error))

        self.works.post(step, then)

    async def settle(self) -> None:
        """Once a second, apart from the rates, for it may walk the log: held receipts, resends that are due."""
        await self.settler.tick(self.clock.epoch_ms(), self.clock.monotonic_ns())
        with self.store.snapshot() as view:
            self.feeder.sweep_runs(view, self.clock.monotonic_ns())
        self.committer.kick()

    def note_recovery(self) -> None:
        """The report of this start with what has been settled by number since."""
        if self.recoveries and self.settler.counters.by_number:
            self.recoveries[-1]["settled_by_number"] = self.settler.counters.by_number

    def describe(self) -> dict[str, Any]:
        return asdict(self.recovery)
