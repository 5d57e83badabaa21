"""[trio] One running dispatcher: its parts, put together, and what a command does beside its rows.

Touches: everything; decides nothing: what a command means stands in its room, here is only who must be told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import structlog
import trio

from config import Settings
from dispatcher.apps.messages import batch_and_position
from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.clock import SystemClock
from dispatcher.control.commands import Envelope
from dispatcher.daemon import handlers, health, recovery, retries
from dispatcher.daemon.binds import Binds
from dispatcher.daemon.channel import Channel
from dispatcher.daemon.committer import Committer
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.imports import Imports
from dispatcher.daemon.lines import Lines
from dispatcher.daemon.marks import Marks
from dispatcher.daemon.refusals import Refusals, Refused
from dispatcher.daemon.resume import resume
from dispatcher.daemon.schedule import CHANGES, Schedule
from dispatcher.daemon.settler import Settler
from dispatcher.daemon.writer import Work, Writer
from dispatcher.errors import CommandRefused, StoreFull, WrongState
from dispatcher.members.consents import withdrawn
from dispatcher.members.erase import numbers_of
from dispatcher.members.suppression import reach
from dispatcher.outbox.entry import Entry, entries_of
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import CampaignState, Decision, Purpose
from dispatcher.segments.snapshot import Frozen, freeze_segment, snapshot_segment
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import Book
from dispatcher.store import Store, care, ledger
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
        self.lines = Lines(
            settings, store, marks, heard=self._heard, changed=self._binds_changed,
            make_room=lambda channel: self.feeder.make_room(channel),
        )  # fmt: skip
        self.channels = self.lines.channels
        self.feeder = Feeder(self.channels, self.lines.router, tuning.retry_s)
        self.feeder.replies.end_of = self.lines.end_of
        self.settler = Settler(store, self.feeder, settings.holding_s)
        self.writer = Writer(store, sync_delay_s=settings.store.sync_delay_ms / 1e3)
        self.committer = Committer(
            self.writer, self.channels, self.feeder, gap_s=settings.store.commit_gap_ms / 1e3,
            fold_every_s=tuning.fold_every_s, returned=self._returned, settled=self._settled,
        )  # fmt: skip
        self.lines.committer = self.committer
        for channel in self.channels:
            channel.deliveries.committer = self.committer
        self.settler.fold = self.committer.force_fold
        self.imports: Imports | None = None
        self.binds = Binds()
        self.schedule = Schedule(self)
        self.rates = Rates()
        self.archive_asked = False
        self.stale_readers = 0  # slots of readers that died, cleared by housekeeping
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

    def _pools(self) -> list[Pool]:
        return [channel.pool for channel in self.channels if channel.connects]

    # ---- commands

    async def execute(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """One command: (reply, whether it was a repeat), after its commit. Raises CommandRefused or StoreFull."""
        if command.name == "status":
            return health.statistics(self), False
        if command.name == "retries":
            tuning = self.settings.dispatcher
            return {"data": retries.table(retry_s=tuning.retry_s, tries_max=tuning.tries_max)}, False
        asked = self.binds.find(self._pools(), command.bind) if command.name.startswith("bind.") else []
        if command.name == "bind.trace":
            return self.binds.trace(asked, command, envelope), False
        if command.name not in handlers.ON_FULL_DISK:
            limits = self.settings.store
            full = care.short_of(self.store, limits, limits.full_percent)
            if full is not None or self.committer.full:
                raise StoreFull(full or "the store has no room for new work")
        if command.name == "campaign.preview":
            return await self._preview(command, envelope)
        if command.name == "segment.snapshot":
            return await self._snapshot(command, envelope)

        if command.name == "route.ported" and not envelope.tenant:
            await self.lines.load_ported(command.spool)
        gone: list[int] = []
        taken: list[Entry] = []

        def step(view: View) -> tuple[Changes, tuple[dict[str, Any], bool]]:
            if command.name == "member.erase":
                gone[:] = numbers_of(view, envelope.tenant, command.member_no)
            changes, reply, replayed = handlers.execute(view, command, envelope, self.clock.epoch_ms())
            if command.name == "campaign.start" and not replayed and reply["state"] == "running":
                ledger.set_log_base(changes, command.campaign, self.writer.position)
            elif command.name in ("message.send", "campaign.test") and not replayed:
                taken[:] = entries_of(changes)
                for batch in {entry.batch for entry in taken}:
                    if not ledger.log_base(view, batch):
                        ledger.set_log_base(changes, batch, self.writer.position)
            return changes, (reply, replayed)

        withdrawn = self._take_out(command, envelope)
        if command.name == "campaign.stop_all":
            self._hold_all(envelope.tenant)
        pending = self.committer.do(step, lambda: self._queue(taken))
        if command.name == "message.send" and any(one.get("purpose") == Purpose.OTP for one in command.messages):
            self.committer.hurry()
        try:
            reply, replayed = await pending
        except (CommandRefused, StoreFull):
            if withdrawn is not None:
                self.feeder.replies.add(withdrawn)
            if command.name == "campaign.stop_all":
                self._stop_or_release(envelope.tenant)
            raise
        if replayed and command.name == "campaign.stop_all":
            self._stop_or_release(envelope.tenant)
        if asked and not replayed:
            reply = self.binds.done(asked, command, envelope)
        if not replayed:
            self._tell(command, envelope)
            for number in gone:
                self._revoke(envelope.tenant, number, Decision.SUPPRESSED)
            if "resend" in reply:
                self.settler.resend_by_hand(reply.pop("resend"), self.clock.epoch_ms(), self.clock.monotonic_ns())
            if "job" in reply and self.imports is not None:
                self.imports.open(envelope.tenant, reply["job"])
        return reply, replayed

    def _queue(self, taken: list[Entry]) -> None:
        """Messages that are on disk now; a one-time code is claimed in the next commit."""
        for entry in taken:
            self.feeder.replies.add(entry)
        if any(entry.purpose is Purpose.OTP for entry in taken):
            self.committer.hurry()

    def _take_out(self, command: Any, envelope: Envelope) -> Entry | None:
        """A message to be cancelled: from here on nobody claims it. Raises CommandRefused when somebody has."""
        if command.name != "message.cancel":
            return None
        with self.store.snapshot() as view:
            if handlers.replay(view, envelope, self.clock.epoch_ms()) is not None:
                return None
            batch, position = batch_and_position(view, envelope.tenant, command.message)
        entry = self.feeder.replies.take_out(batch, position)
        if entry is None:
            raise CommandRefused(409, "state_conflict", "the message is on its way, decided or cancelled already")
        return entry

    async def _preview(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """Computed on a snapshot in a thread, committed if the campaign is still what it was."""

        def compute() -> tuple[int, Changes, dict[str, Any]]:
            with self.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                changes, reply = preview_campaign(view, command, envelope, self._rate(), self.coding)
                return (row["version"] if row else 0), changes, reply

        version, changes, reply = await trio.to_thread.run_sync(compute)

        def step(view: View) -> tuple[Changes, None]:
            row = campaigns.load(view, envelope.tenant, command.campaign)
            if row is None or row["version"] != version:
                raise CommandRefused(409, "state_conflict", "the campaign was changed while it was previewed")
            handlers.finish(view, changes, command.name, envelope, reply, self.clock.epoch_ms())
            return changes, None

        await self.committer.do(step)
        return reply, False

    async def _snapshot(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """Matched on a snapshot in a thread; the commit only writes who that were."""

        def match() -> Frozen:
            with self.store.snapshot() as view:
                return freeze_segment(view, command, envelope)

        frozen = await trio.to_thread.run_sync(match)

        def step(view: View) -> tuple[Changes, tuple[dict[str, Any], bool]]:
            now_ms = self.clock.epoch_ms()
            if (earlier := handlers.replay(view, envelope, now_ms)) is not None:
                return Changes(), (earlier, True)
            changes, reply = snapshot_segment(view, command, envelope, frozen)
            handlers.finish(view, changes, command.name, envelope, reply, now_ms)
            return changes, (reply, False)

        result: tuple[dict[str, Any], bool] = await self.committer.do(step)
        return result

    @property
    def coding(self) -> Coding | None:
        """How most texts leave: as the endpoint of the greatest weight takes them; None without one."""
        channels = [channel for channel in self.channels if channel.connects]
        return max(channels, key=lambda channel: channel.endpoint.weight).coding if channels else None

    def _rate(self) -> int:
        """Parts a second of all endpoints together; 0 where one has no limit."""
        rates = [endpoint.rate for endpoint in self.settings.endpoints]
        return int(sum(rates)) if rates and all(rates) else 0

    def _tell(self, command: Any, envelope: Envelope) -> None:
        """Who must know of a command that is on disk now."""
        name = command.name
        if name in ("campaign.start", "campaign.resume"):
            with self.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                if row is not None and row["state"] == "running":
                    self.feeder.start(view, envelope.tenant, command.campaign, row)
        elif name == "campaign.pause":
            self.feeder.pause(command.campaign)
        elif name == "campaign.cancel":
            self.feeder.stop(command.campaign)
        elif name in ("campaign.stop_all", "campaign.release"):
            self._stop_or_release(envelope.tenant)
        elif name == "campaign.winner":
            self.schedule.tell_winner(envelope.tenant, command.campaign)
        elif name == "campaign.archive":
            self.archive_asked = True
        elif name == "uncertain.decide":
            self.committer.force_fold()
        elif name.startswith("field.") or name in RECOMPILE:
            self.fields_changed(envelope.tenant)
        elif name in ("import.open", "import.body_done", "import.commit", "import.undo") and self.imports is not None:
            self.imports.open(envelope.tenant, command.import_id)
        elif name in ("suppression.add", "suppression.import"):
            with self.store.snapshot() as view:
                for tenant, number in reach(view, command, envelope.tenant):
                    self._revoke(tenant, number, Decision.SUPPRESSED)
        elif name == "consent.record":
            with self.store.snapshot() as view:
                for number in withdrawn(view, command, envelope.tenant):
                    self._revoke(envelope.tenant, number)
        elif name == "tenant.edit":
            with self.store.snapshot() as view:
                self.feeder.paces.read(view, envelope.tenant)
        elif name == "campaign.rate":
            with self.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                if row is not None and command.campaign in self.feeder.campaigns:
                    self.feeder.paces.set_campaign(command.campaign, row)
        elif name.startswith("route."):
            self.lines.read_routes()
        if name in CHANGES:
            self.schedule.changed()
        self._push()
        self.committer.wake()

    def _push(self) -> None:
        for channel in self.channels:
            channel.pool.push()

    def _hold_all(self, tenant: int) -> None:
        """Claim nothing more of a tenant's campaigns, or of all (0), before the rows say so: they may be thousands."""
        for known in list(self.feeder.campaigns.values()):
            if known.expansion is not None and tenant in (0, known.tenant):
                self.feeder.pause(known.id)
        self._push()

    def _stop_or_release(self, tenant: int) -> None:
        """Every campaign that is being sent, of one tenant or of all (0): paused or running as its row says now."""
        with self.store.snapshot() as view:
            for known in list(self.feeder.campaigns.values()):
                if known.expansion is None or tenant not in (0, known.tenant):
                    continue
                row = campaigns.load(view, known.tenant, known.id)
                if row is not None and row["state"] == "paused":
                    self.feeder.pause(known.id)
                elif row is not None and row["state"] == "running" and known.paused:
                    self.feeder.start(view, known.tenant, known.id, row)

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
        self.committer.wake()

    def _heard(self, channel: Channel, heard: Heard, entry: Entry | None) -> None:
        """A message from a phone is on disk: nothing more to who said STOP; the answer goes out."""
        if heard.what == "stop":
            self._revoke(heard.tenant, heard.number)
        if entry is None:
            return
        if entry.confirmation:
            self._confirmations.append(entry)
        else:
            self.feeder.replies.add(entry)
        self.committer.wake()

    def _revoke(self, tenant: int, number: int, decision: Decision = Decision.OPTED_OUT) -> None:
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

        def then(work: Work) -> None:
            self._marking.discard(campaign)
            if work.error is None:
                self.feeder.stop(campaign)
                log.info("campaign_done", campaign=f"{campaign:x}")
            elif not isinstance(work.error, StoreFull | WrongState):
                log.error("mark_done_failed", reason=str(work.error))

        self.committer.post(
            lambda view: (campaigns.mark_done(view, tenant, campaign, self.clock.epoch_ms()), None), then
        )
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
        log.error("campaign_held", campaign=f"{refused.campaign:x}", reason=refused.reason)

        def step(view: View) -> tuple[Changes, None]:
            now_ms = self.clock.epoch_ms()
            return campaigns.mark(
                view, refused.tenant, refused.campaign, CampaignState.HELD, now_ms, campaigns.DAEMON, refused.reason
            ), None

        def then(work: Work) -> None:
            if work.error is not None:
                log.error("hold_failed", reason=str(work.error))

        self.committer.post(step, then)

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
