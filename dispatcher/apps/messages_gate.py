"""The guards of a message of the API, asked when it is accepted and again at each claim.

Touches: opt-outs, consents and suppressions by number, ledgers and `singles` for caps, the member's own zone, through a
View; time is an argument. Rests on: DESIGN 6, the order of the guards, and DESIGN 3 (bulk and single messages share one
gate).

A one-time code is asked for by the person, now: no cap, no quiet hours. A test to a listed phone is neither capped nor
waits, and needs no consent. What waits for quiet hours to end has no decision; if they end after its validity it is
skipped at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.campaigns.quiet import Calendar, Zones, zones_known, zones_of
from dispatcher.members.consent import consented_since, erased, group_of, opted_out_since, suppressed
from dispatcher.members.fields import fields_of
from dispatcher.outbox.entry import Entry, withdrawn
from dispatcher.records.batches import is_message_batch
from dispatcher.records.changes import View
from dispatcher.records.states import Decision, Purpose
from dispatcher.segments.caps import capped_by
from dispatcher.store.columns import find_number, read_slot
from dispatcher.store.singles import who_of
from dispatcher.tenants.profile import QuietRule
from dispatcher.tenants.rules import Rules, rules_of
from dispatcher.tenants.tenant import Tenant, get_tenant

RULES_HOLD_MS = 1_000  # a tenant's rules are read anew after that


@dataclass(frozen=True, slots=True)
class Said:
    """What the gate says of a message: SENT, or why not; SENT with due_ms above now waits. due_ms of QUIET: when it
    would have opened, 0: not in time to be looked for."""

    decision: Decision
    due_ms: int = 0


class Gate:
    """Of every tenant. Not thread-safe: the writer's and the feeder's are two."""

    def __init__(self) -> None:
        self._calendars: dict[tuple[QuietRule, Zones], Calendar] = {}
        self._rules: dict[tuple[int, Purpose], tuple[int, Tenant, Rules]] = {}

    def __repr__(self) -> str:
        return f"<Gate {len(self._rules)} rules>"

    def judge(
        self, view: View, tenant: Tenant, rules: Rules, to: int, due_ms: int, expiry_ms: int, *,
        more: tuple[int, ...] = (), proof: bool = False,
    ) -> Said:  # fmt: skip
        """Of one to be accepted that may leave from `due_ms` on. rules: of the tenant and its purpose. more: instants
        of those to the same person that are accepted with it."""
        purpose = Purpose(rules.purpose)
        if suppressed(view, tenant.number, to):
            return Said(Decision.SUPPRESSED)
        group = group_of(purpose)
        if group is not None and opted_out_since(view, tenant.number, to, group) is not None:
            return Said(Decision.OPTED_OUT)
        if not proof:
            if group is not None and rules.consent and consented_since(view, tenant.number, to, group) is None:
                return Said(Decision.NO_CONSENT)
            found = self._when(view, tenant, rules, to, purpose, due_ms, expiry_ms)
            if rules.caps and _capped(view, rules, tenant.number, to, max(due_ms, found.due_ms), more=more):
                return Said(Decision.FREQUENCY_CAP)
            if found.decision is not Decision.SENT:
                return found
            due_ms = max(due_ms, found.due_ms)
        return Said(Decision.ERASED if erased(view, tenant.number, to) else Decision.SENT, due_ms)

    def again(self, view: View, entry: Entry, now_ms: int, *, partly: bool = False) -> Said:
        """Of one that was accepted, at its claim; partly: some of it is out, so that it is counted already."""
        if why := withdrawn(view, entry):
            return Said(why)
        if not is_message_batch(entry.batch) or entry.proof or entry.purpose is Purpose.OTP:
            return Said(Decision.SENT)
        found = self._rules_of(view, entry.tenant, entry.purpose, now_ms)
        if found is None:
            return Said(Decision.SENT)
        tenant, rules = found
        group = group_of(entry.purpose)
        if group is not None and rules.consent and consented_since(view, tenant.number, entry.to, group) is None:
            return Said(Decision.NO_CONSENT)
        if rules.caps and not partly:
            but = entry.batch, entry.position
            if _capped(view, rules, tenant.number, entry.to, now_ms, but=but):
                return Said(Decision.FREQUENCY_CAP)
        return self._when(view, tenant, rules, entry.to, entry.purpose, now_ms, entry.expiry_ms)

    def _rules_of(self, view: View, number: int, purpose: Purpose, now_ms: int) -> tuple[Tenant, Rules] | None:
        until_ms, *known = self._rules.get((number, purpose), (0, None, None))
        if now_ms >= until_ms or now_ms < until_ms - RULES_HOLD_MS:
            tenant = get_tenant(view, number)
            if tenant is None:
                return None
            known = [tenant, rules_of(tenant, purpose.value)]
            self._rules[number, purpose] = now_ms + RULES_HOLD_MS, *known  # type: ignore[assignment]
        return known[0], known[1]  # type: ignore[return-value]

    def _when(
        self, view: View, tenant: Tenant, rules: Rules, to: int, purpose: Purpose, at_ms: int, expiry_ms: int
    ) -> Said:
        """When it may leave from an instant on, by the clock where the number is."""
        if rules.quiet is None or purpose is Purpose.OTP:
            return Said(Decision.SENT, at_ms)
        known = rules.quiet, rules.profile.zones
        calendar = self._calendars.get(known)
        if calendar is None:
            calendar = self._calendars[known] = Calendar(*known)
        opens_ms = calendar.opens_ms(_zones(view, tenant, to), at_ms, at_ms + calendar.wait_ms)
        if opens_ms is None or opens_ms >= expiry_ms:
            return Said(Decision.QUIET, opens_ms or 0)
        return Said(Decision.SENT, opens_ms)


def _zones(view: View, tenant: Tenant, to: int) -> Zones:
    """Where somebody is: by a member's own zone, else by the number; () is not known."""
    own = fields_of(view, tenant.number).get(tenant.zone_field) if tenant.zone_field else None
    member_no = find_number(view, tenant.number, to) if own is not None and own.kind == "dict" else None
    if own is not None and member_no is not None:
        column = (own.number, 0, own.column)
        code = int(read_slot(view, tenant.number, member_no, [column])[column] or 0)
        if code:
            zone = own.values[code - 1]
            return (zone,) if zone in zones_known() else ()
    return zones_of(to)


def _capped(
    view: View, rules: Rules, tenant: int, to: int, at_ms: int, *, more: tuple[int, ...] = (),
    but: tuple[int, int] = (0, 0),
) -> bool:  # fmt: skip
    """Whether somebody has had as many as a cap allows, what is accepted and waits included."""
    caps = rules.caps
    if more:
        caps = tuple(
            type(cap)(cap.group, cap.max - sum(abs(one - at_ms) < 1000 * cap.within_s for one in more), cap.within_s)
            for cap in caps
        )
        if any(cap.max <= 0 for cap in caps):
            return True
    return capped_by(view, tenant, caps, who_of(view, tenant, to), at_ms, but=but, ahead=True) is not None
