"""[trio] One running dispatcher: its parts, put together, and what a command does beside its rows.

Touches: everything; decides nothing: what a command means stands in its room, here is only who must be told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import structlog
import trio

from config import Endpoint, Settings
from dispatcher.apps.messages import batch_and_position
from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.clock import SystemClock
from dispatcher.control.commands import Envelope
from dispatcher.daemon import handlers, health, recovery
from dispatcher.daemon.committer import Committer
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.deliveries import Deliveries
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.imports import Imports
from dispatcher.daemon.schedule import CHANGES, Schedule
from dispatcher.daemon.settler import Settler
from dispatcher.daemon.writer import Work, Writer
from dispatcher.errors import CommandRefused, StoreFull, WrongState
from dispatcher.members.erase import numbers_of
from dispatcher.members.suppression import reach
from dispatcher.outbox.entry import Entry, entries_of
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, POOLS, Book
from dispatcher.store import Store, care, ledger

NO_ENDPOINT = Endpoint(name="none", host="127.0.0.1", system_id="none", binds=1)
RING, REPLY_RING = 1 << 16, 1 << 14

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

    def __init__(self, settings: Settings, store: Store, marks: recovery.Marks, report: recovery.Recovery) -> None:
        self.settings, self.store, self.marks = settings, store, marks
        self.clock = SystemClock()
        self.started_ns = self.clock.monotonic_ns()
        self.has_endpoint = bool(settings.endpoints)
        endpoint = settings.endpoints[0] if settings.endpoints else NO_ENDPOINT
        tuning = settings.dispatcher
        self.book = Book(
            endpoint.binds * endpoint.window + 2_048, marks.words, ACTIONS, ACTION_OTHER,
            ring=RING, reply_ring=REPLY_RING, ids=endpoint.receipt_ids, tries_max=tuning.tries_max,
        )  # fmt: skip
        self.book.retry_ns = int(tuning.retry_s * 1e9)
        self.book.set_rate(endpoint.rate, self.clock.monotonic_ns())
        self.feeder = Feeder(self.book, endpoint, tuning.retry_s)
        self.settler = Settler(store, self.book, self.feeder, settings.holding_s)
        self.deliveries = Deliveries(self.book, self._heard)
        self.pool = Pool(endpoint, self.book, self.deliveries, self._binds_changed)
        self.writer = Writer(store, sync_delay_s=settings.store.sync_delay_ms / 1e3)
        self.committer = Committer(
            self.writer, self.book, self.pool, self.feeder,
            gap_s=settings.store.commit_gap_ms / 1e3, ahead_max=tuning.claim_ahead_max,
            fold_every_s=tuning.fold_every_s, settled=self._settled, credit_raised=self._credit_raised,
        )  # fmt: skip
        self.deliveries.committer = self.committer
        self.settler.fold = self.committer.force_fold
        self.imports: Imports | None = None
        self.schedule = Schedule(self)
        self.rates = Rates()
        self.stale_readers = 0  # slots of readers that died, cleared by housekeeping
        self.recovery = report
        marks.words[recovery.CREDIT_SLOT] = 0
        with store.snapshot() as view:
            self.recoveries = recovery.recoveries(view)
        self._confirmations: list[Entry] = []
        self._revoked_until: list[int] | None = None
        self._marking: set[int] = set()
        recovery.resume(store, self.book, self.feeder, self.settler.note, settings.holding_s, self.clock.epoch_ms())

    # ---- commands

    async def execute(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """One command: (reply, whether it was a repeat), after its commit. Raises CommandRefused or StoreFull."""
        if command.name == "status":
            return health.statistics(self), False
        if command.name not in handlers.ON_FULL_DISK:
            limits = self.settings.store
            full = care.short_of(self.store, limits, limits.full_percent)
            if full is not None or self.committer.full:
                raise StoreFull(full or "the store has no room for new work")
        if command.name == "campaign.preview":
            return await self._preview(command, envelope)

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
        try:
            reply, replayed = await self.committer.do(step)
        except (CommandRefused, StoreFull):
            if withdrawn is not None:
                self.feeder.replies.add(withdrawn)
            if command.name == "campaign.stop_all":
                self._stop_or_release(envelope.tenant)
            raise
        if replayed and command.name == "campaign.stop_all":
            self._stop_or_release(envelope.tenant)
        for entry in taken:
            self.feeder.replies.add(entry)
        if not replayed:
            self._tell(command, envelope)
            for number in gone:
                self._revoke(envelope.tenant, number, Decision.SUPPRESSED)
            if "job" in reply and self.imports is not None:
                self.imports.open(envelope.tenant, reply["job"])
        return reply, replayed

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
                changes, reply = preview_campaign(view, command, envelope)
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
        elif name.startswith("field.") or name in ("member.upsert", "member.merge", "member.bulk"):
            self.fields_changed(envelope.tenant)
        elif name in ("import.open", "import.body_done", "import.commit", "import.undo") and self.imports is not None:
            self.imports.open(envelope.tenant, command.import_id)
        elif name == "suppression.add":
            with self.store.snapshot() as view:
                for tenant, number in reach(view, command.numbers, envelope.tenant):
                    self._revoke(tenant, number, Decision.SUPPRESSED)
        if name in CHANGES:
            self.schedule.changed()
        self.pool.push()
        self.committer.wake()

    def _hold_all(self, tenant: int) -> None:
        """Claim nothing more of a tenant's campaigns, or of all (0), before the rows say so: they may be thousands."""
        for known in list(self.feeder.campaigns.values()):
            if known.expansion is not None and tenant in (0, known.tenant):
                self.feeder.pause(known.id)
        self.pool.push()

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
        self.committer.wake()

    def _heard(self, heard: Heard, entry: Entry | None) -> None:
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
        """What was claimed before this moment and has not left must not; see _settled for when that is over."""
        self.book.revoke(tenant, number, decision)
        self._revoked_until = [self.book.position(pool)[0] for pool in POOLS]

    def _credit_raised(self, credit: int) -> None:
        """More may be claimed than ever before in this life; told before such a claim is on disk."""
        self.marks.words[recovery.CREDIT_SLOT] = credit

    def _settled(self) -> None:
        """After each commit, in the trio thread."""
        now_ms, now_ns = self.clock.epoch_ms(), self.clock.monotonic_ns()
        items = self.book.take_returned()
        if items:
            uncertain = self.feeder.returned(items, now_ns)
            if uncertain:
                self.settler.returned(uncertain, now_ms, now_ns)
        if self._confirmations:
            ready = [e for e in self._confirmations if not self.pool.flying_to(e.to)]
            for entry in ready:
                self._confirmations.remove(entry)
                self.feeder.replies.add(entry)
        until = self._revoked_until
        if until is not None and all(self.book.position(pool)[1] >= until[pool] for pool in POOLS):
            self.book.forget_revoked()
            self._revoked_until = None
        words = self.marks.words
        for pool in POOLS:
            made, taken = self.book.position(pool)
            if made == taken:
                words[recovery.EMPTY_SLOT + pool] = self.writer.position
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
        """Once a second: rates."""
        book = self.book
        self.rates.accepted_per_s = book.accepted - self.rates.accepted
        self.rates.receipts_per_s = book.receipts - self.rates.receipts
        self.rates.accepted, self.rates.receipts = book.accepted, book.receipts
        self.committer.kick()

    async def settle(self) -> None:
        """Once a second, apart from the rates, for it may walk the log: held receipts, resends that are due."""
        await self.settler.tick(self.clock.epoch_ms(), self.clock.monotonic_ns())
        with self.store.snapshot() as view:
            self.feeder.runs.tick(view, self.feeder, self.clock.monotonic_ns())
        self.committer.kick()

    def note_recovery(self) -> None:
        """The report of this start with what has been settled by number since."""
        if self.recoveries and self.settler.counters.by_number:
            self.recoveries[-1]["settled_by_number"] = self.settler.counters.by_number

    def describe(self) -> dict[str, Any]:
        return asdict(self.recovery)
