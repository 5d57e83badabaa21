"""[trio] What people and shops' systems ask for: a command, its reply after the commit that keeps it, who must know.

Touches: rows by steps of the committer, long ones on a snapshot in a worker thread; the feeder, the lines and the
schedule are told. Decides nothing: what a command means stands in its room, here is only what it does beside its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from dispatcher.apps.messages import batch_and_position
from dispatcher.campaigns import campaign as campaigns
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import Envelope
from dispatcher.daemon import handlers, health, retries
from dispatcher.daemon.binds import Binds
from dispatcher.daemon.imports import Imports
from dispatcher.daemon.reload import apply_settings, fresh_settings, with_rate
from dispatcher.daemon.schedule import CHANGES, Schedule
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.members.consents import withdrawn
from dispatcher.members.erase import numbers_of
from dispatcher.members.suppression import reach
from dispatcher.outbox.entry import Entry, entries_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.snapshot import Frozen, freeze_segment, snapshot_segment
from dispatcher.store import care, ledger

if TYPE_CHECKING:
    from dispatcher.daemon.dispatcher import Dispatcher

# what texts or guards of running campaigns read
RECOMPILE = ("member.upsert", "member.merge", "member.unmerge", "member.bulk", "tenant.edit")
IMPORTED = ("import.open", "import.body_done", "import.commit", "import.undo")  # a job goes on


class Orders:
    """execute() is the one way in; the rest is what a command needs around its step."""

    def __init__(self, d: Dispatcher, schedule: Schedule, imports: Imports) -> None:
        self._d = d
        self._schedule, self._imports = schedule, imports
        self._binds = Binds()

    async def execute(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """One command: (reply, whether it was a repeat), after its commit. Raises CommandRefused or StoreFull."""
        if (answer := self._looked_up(command)) is not None:
            return answer, False
        pools = [channel.pool for channel in self._d.channels if channel.connects]
        asked = self._binds.find(pools, command.bind) if command.name.startswith("bind.") else []
        rated = with_rate(self._d, command.endpoint, command.parts_per_s) if command.name == "endpoint.rate" else None
        fresh = fresh_settings(self._d) if command.name == "endpoints.reload" and not envelope.tenant else None
        if command.name == "bind.trace":
            return self._binds.trace(asked, command, envelope), False
        if command.name not in handlers.ON_FULL_DISK:
            self._hold_room()
        if command.name == "campaign.preview":
            return await self._preview(command, envelope)
        if command.name == "segment.snapshot":
            return await self._snapshot(command, envelope)

        if command.name == "route.ported" and not envelope.tenant:
            await self._d.lines.load_ported(command.spool)
        gone: list[int] = []
        taken: list[Entry] = []

        def step(view: View) -> tuple[Changes, tuple[dict[str, Any], bool]]:
            if command.name == "member.erase":
                gone[:] = numbers_of(view, envelope.tenant, command.member_no)
            changes, reply, replayed = handlers.execute(view, command, envelope, self._d.clock.epoch_ms())
            if command.name == "campaign.start" and not replayed and reply["state"] == "running":
                ledger.set_log_base(changes, command.campaign, self._d.writer.position)
            elif command.name in ("message.send", "campaign.test") and not replayed:
                taken[:] = entries_of(changes)
                for batch in {entry.batch for entry in taken}:
                    if not ledger.has_log_base(view, batch):
                        ledger.set_log_base(changes, batch, self._d.writer.position)
            return changes, (reply, replayed)

        withdrawn = self._take_out(command, envelope)
        if command.name == "campaign.stop_all":
            self._hold_all(envelope.tenant)
        pending = self._d.works.do(step, lambda: self._queue(taken))
        if command.name == "message.send" and any(one.get("purpose") == Purpose.OTP for one in command.messages):
            self._d.works.hurry()
        try:
            reply, replayed = await pending
        except (CommandRefused, StoreFull):
            if withdrawn is not None:
                self._d.feeder.replies.add(withdrawn)
            if command.name == "campaign.stop_all":
                self._stop_or_release(envelope.tenant)
            raise
        if replayed and command.name == "campaign.stop_all":
            self._stop_or_release(envelope.tenant)
        if replayed:
            return reply, True
        if asked:
            reply = self._binds.done(asked, command, envelope)
        if rated is not None:
            rated[0].replace(rated[1])
            reply = reply | {"rate": rated[1].rate}
        if fresh is not None:
            reply = reply | await apply_settings(self._d, fresh)
        self._carry_out(command, envelope, reply, gone)
        return reply, False

    def _carry_out(self, command: Any, envelope: Envelope, reply: dict[str, Any], gone: list[int]) -> None:
        """What a command that is on disk now means for what goes on. gone: numbers that were erased."""
        self._tell(command, envelope)
        for number in gone:
            self._d.revoke(envelope.tenant, number, Decision.SUPPRESSED)
        if "resend" in reply:
            clock = self._d.clock
            self._d.settler.resend_by_hand(reply.pop("resend"), clock.epoch_ms(), clock.monotonic_ns())
        if "job" in reply:
            self._imports.open(envelope.tenant, reply["job"])

    def _looked_up(self, command: Any) -> dict[str, Any] | None:
        """The answer to what only asks how things are."""
        if command.name == "status":
            return health.statistics(self._d, self._imports.running)
        if command.name == "retries":
            tuning = self._d.settings.dispatcher
            own = {channel.name: channel.endpoint.statuses for channel in self._d.channels if channel.connects}
            return {"data": retries.table(retry_s=tuning.retry_s, tries_max=tuning.tries_max, endpoints=own)}
        return None

    def _hold_room(self) -> None:
        """Raises StoreFull while new work is refused."""
        limits = self._d.settings.store
        full = care.short_of(self._d.store, limits, limits.full_percent)
        if full is not None or self._d.committer.full:
            raise StoreFull(f"{full or 'the store has no room for new work'}: {care.REMEDY}")

    def _queue(self, taken: list[Entry]) -> None:
        """Messages that are on disk now; a one-time code is claimed in the next commit."""
        for entry in taken:
            self._d.feeder.replies.add(entry)
        if any(entry.purpose is Purpose.OTP for entry in taken):
            self._d.works.hurry()

    def _take_out(self, command: Any, envelope: Envelope) -> Entry | None:
        """A message to be cancelled: from here on nobody claims it. Raises CommandRefused when somebody has."""
        if command.name != "message.cancel":
            return None
        with self._d.store.snapshot() as view:
            if handlers.replay(view, envelope, self._d.clock.epoch_ms()) is not None:
                return None
            batch, position = batch_and_position(view, envelope.tenant, command.message)
            entry = self._d.feeder.replies.take_out(view, batch, position)
        if entry is None:
            raise CommandRefused(409, "state_conflict", "the message is on its way, decided or cancelled already")
        return entry

    async def _preview(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """Computed on a snapshot in a thread, committed if the campaign is still what it was."""
        window_rate = self._window_rate()

        def compute() -> tuple[int, Changes, dict[str, Any]]:
            with self._d.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                changes, reply = preview_campaign(
                    view, command, envelope, self._rate(), self._d.coding, self._d.lines.router, window_rate
                )
                return (row["version"] if row else 0), changes, reply

        version, changes, reply = await trio.to_thread.run_sync(compute)

        def step(view: View) -> tuple[Changes, None]:
            row = campaigns.load(view, envelope.tenant, command.campaign)
            if row is None or row["version"] != version:
                raise CommandRefused(409, "state_conflict", "the campaign was changed while it was previewed")
            handlers.finish(view, changes, command.name, envelope, reply, self._d.clock.epoch_ms())
            return changes, None

        await self._d.works.do(step)
        return reply, False

    async def _snapshot(self, command: Any, envelope: Envelope) -> tuple[dict[str, Any], bool]:
        """Matched on a snapshot in a thread; the commit only writes who that were."""

        def match() -> Frozen:
            with self._d.store.snapshot() as view:
                return freeze_segment(view, command, envelope)

        frozen = await trio.to_thread.run_sync(match)

        def step(view: View) -> tuple[Changes, tuple[dict[str, Any], bool]]:
            now_ms = self._d.clock.epoch_ms()
            if (earlier := handlers.replay(view, envelope, now_ms)) is not None:
                return Changes(), (earlier, True)
            changes, reply = snapshot_segment(view, command, envelope, frozen)
            handlers.finish(view, changes, command.name, envelope, reply, now_ms)
            return changes, (reply, False)

        result: tuple[dict[str, Any], bool] = await self._d.works.do(step)
        return result

    def _rate(self) -> int:
        """Parts a second of all endpoints together; 0 where one has no limit."""
        rates = [endpoint.rate for endpoint in self._d.settings.endpoints]
        return int(sum(rates)) if rates and all(rates) else 0

    def _window_rate(self) -> int:
        """Parts a second that the windows of all bound endpoints let out; 0 where one of them answered nothing yet."""
        rates = [channel.pool.window_per_s() for channel in self._d.channels if channel.pool.bound]
        return sum(rates) if all(rates) else 0

    def _tell(self, command: Any, envelope: Envelope) -> None:
        """Who must know of a command that is on disk now."""
        name = command.name
        if name in ("campaign.start", "campaign.resume"):
            with self._d.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                if row is not None and row["state"] == "running":
                    self._d.feeder.start(view, envelope.tenant, command.campaign, row)
        elif name == "campaign.pause":
            self._d.feeder.pause(command.campaign)
        elif name == "campaign.cancel":
            self._d.feeder.stop(command.campaign)
        elif name in ("campaign.stop_all", "campaign.release"):
            self._stop_or_release(envelope.tenant)
        elif name == "campaign.winner":
            self._schedule.tell_winner(envelope.tenant, command.campaign)
        elif name == "campaign.archive":
            self._d.archive_asked = True
        elif name == "uncertain.decide":
            self._d.committer.force_fold()
        elif name.startswith("field.") or name in RECOMPILE:
            if name == "tenant.edit":
                with self._d.store.snapshot() as view:
                    self._d.feeder.paces.read(view, envelope.tenant)
            self._d.fields_changed(envelope.tenant)
        elif name in IMPORTED:
            self._imports.open(envelope.tenant, command.import_id)
        elif name in ("suppression.add", "suppression.import"):
            with self._d.store.snapshot() as view:
                for tenant, number in reach(view, command, envelope.tenant):
                    self._d.revoke(tenant, number, Decision.SUPPRESSED)
        elif name == "consent.record":
            with self._d.store.snapshot() as view:
                for number in withdrawn(view, command, envelope.tenant):
                    self._d.revoke(envelope.tenant, number)
        elif name == "campaign.rate":
            with self._d.store.snapshot() as view:
                row = campaigns.load(view, envelope.tenant, command.campaign)
                if row is not None and command.campaign in self._d.feeder.campaigns:
                    self._d.feeder.paces.set_campaign(command.campaign, row)
        elif name.startswith("route."):
            self._d.lines.read_routes()
            if name.startswith("route.ported"):
                self._d.lines.start(self._d.lines.tidy_ported)
        if name in CHANGES:
            self._schedule.changed()
        self._push()
        self._d.works.wake()

    def _push(self) -> None:
        for channel in self._d.channels:
            channel.pool.push()

    def _hold_all(self, tenant: int) -> None:
        """Claim nothing more of a tenant's campaigns, or of all (0), before the rows say so: they may be thousands."""
        for known in list(self._d.feeder.campaigns.values()):
            if known.expansion is not None and tenant in (0, known.tenant):
                self._d.feeder.pause(known.id)
        self._push()

    def _stop_or_release(self, tenant: int) -> None:
        """Every campaign that is being sent, of one tenant or of all (0): paused or running as its row says now."""
        with self._d.store.snapshot() as view:
            for known in list(self._d.feeder.campaigns.values()):
                if known.expansion is None or tenant not in (0, known.tenant):
                    continue
                row = campaigns.load(view, known.tenant, known.id)
                if row is not None and row["state"] == "paused":
                    self._d.feeder.pause(known.id)
                elif row is not None and row["state"] == "running" and known.paused:
                    self._d.feeder.start(view, known.tenant, known.id, row)
