"""Credit, budget and plan of a tenant: what a start reserves, what the end settles, what holds a campaign to it.

Touches: rows of `money`, `usage`, `signatures`, `campaigns`, through a View; time is an argument.
Rests on: DESIGN 6, PRODUCT D (/ledger, /usage, /quotas). Money is whole micro-units of the tenant's currency.

    money: tenant:2 entry:8 -> {kind, micros, balance, reserved, campaign, why, actor, at_ms}, append-only
    kinds: top_up; reserve (balance to reserved); settle (what was sent leaves reserved, the rest goes back); messages
           (of the API: taken when they are accepted, given back where they never go)

`balance` is what new campaigns may still reserve. A tenant that is not prepaid has entries only if somebody makes some.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dispatcher.campaigns import usage
from dispatcher.campaigns.arms import texts_of
from dispatcher.campaigns.campaign import need_campaign
from dispatcher.campaigns.guards import Guards, Limit
from dispatcher.campaigns.price import Bill, Meter, PriceList
from dispatcher.campaigns.render import Renderer
from dispatcher.campaigns.states import CANCELLED, OVER
from dispatcher.campaigns.template import Template
from dispatcher.campaigns.underway import under_way
from dispatcher.campaigns.written import compile_of
from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, TopUp
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.routes.nominal import Nominal
from dispatcher.routes.router import Router
from dispatcher.store.columns import BlockView
from dispatcher.store.ids import next_id
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.ledger import read_counts
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.rules import market_of
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.coding import Coding, coding_of
from dispatcher.text.options import Options

ACTOR = "meter"
MICROS_MAX = 1 << 53  # what JSON readers take whole

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    balance: int = 0
    reserved: int = 0
    entry: int = 0  # the last one's number


def account(view: View, tenant: int) -> Account:
    """As of the last entry."""
    for key, row in view.range("money", TENANT.pack(tenant), reverse=True):
        last = unpack(row)
        return Account(last["balance"], last["reserved"], TENANT_U64.unpack(key)[1])
    return Account()


def top_up(view: View, command: TopUp, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Credit for the envelope's tenant, by the operator; below 0 it is taken back, never more than there is.

    Raises CommandRefused 404, 409 insufficient_credit, 422.
    """
    tenant = need_tenant(view, envelope.tenant)
    if not 0 < abs(command.micros) <= MICROS_MAX:
        raise CommandRefused(422, "invalid_value", f"micros {command.micros}: micro-units, not 0, to {MICROS_MAX:,}")
    held = account(view, tenant.number)
    if held.balance + command.micros < 0:
        raise insufficient(tenant, held, -command.micros, "give back less")
    changes = Changes()
    entry = enter(changes, view, tenant.number, held, envelope.at_ms, envelope.actor, "top_up",
                   balance=command.micros, micros=command.micros, why=command.why)  # fmt: skip
    return changes, entry


def insufficient(tenant: Tenant, held: Account, needed: int, what: str) -> CommandRefused:
    detail = f"{needed:,} micro-{tenant.currency or 'units'} are needed, the credit is {held.balance:,}: {what}"
    extra = {"needed_micros": needed, "balance_micros": held.balance, "reserved_micros": held.reserved}
    return CommandRefused(409, "insufficient_credit", detail, extra=extra)


def enter(
    changes: Changes, view: View, tenant: int, held: Account, at_ms: int, actor: str, kind: str, *,
    balance: int = 0, reserved: int = 0, micros: int, campaign: int = 0, why: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One more entry of the credit; balance and reserved: by how much they change."""
    number = max(next_id(changes, view, at_ms), held.entry + 1)  # the last one's, also when the clock was put back
    row = {
        "kind": kind,
        "micros": micros,
        "balance": held.balance + balance,
        "reserved": held.reserved + reserved,
        "campaign": campaign,
        "why": why,
        "actor": actor,
        "at_ms": at_ms,
    }
    changes.put("money", TENANT_U64.pack(tenant, number), pack(row))
    return entry_json(number, row)


def entries(view: View, tenant: int, after: int | None = None, limit: int = 50) -> list[tuple[int, Row]]:
    """Up to `limit` (entry, row), newest first, strictly older than `after`."""
    key = None if after is None else TENANT_U64.pack(tenant, after)
    found: list[tuple[int, Row]] = []
    for name, row in view.range("money", TENANT.pack(tenant), after=key, reverse=True):
        if len(found) == limit:
            break
        found.append((TENANT_U64.unpack(name)[1], unpack(row)))
    return found


def entry_json(number: int, row: Row) -> dict[str, Any]:
    return {
        "id": public_id("mny", number),
        "kind": row["kind"],
        "micros": row["micros"],
        "balance": row["balance"],
        "reserved": row["reserved"],
        "campaign": public_id("cmp", row["campaign"]) if row["campaign"] else None,
        "reason": row["why"],
        "actor": row["actor"],
        "at": rfc3339(row["at_ms"]),
    }


def quotas_json(view: View, tenant: Tenant, at_ms: int) -> dict[str, Any]:
    """A tenant's plan and what of it is left this month."""
    month = usage.month_of(at_ms, tenant.zone)
    used, held = usage.month_used(view, tenant.number, month), account(view, tenant.number)
    return {
        "month": usage.month_text(month),
        "rate": tenant.rate or None,
        "parts_month": tenant.parts_month or None,
        "parts_used": used.billed,
        "parts_left": max(0, tenant.parts_month - used.billed) if tenant.parts_month else None,
        "prepaid": tenant.prepaid,
        "currency": tenant.currency,
        "balance_micros": held.balance,
        "reserved_micros": held.reserved,
    }


# ---- a start and an end


def hold_money(
    view: View, tenant: Tenant, campaign: int, row: Row, at_ms: int, *, bound: bool = True
) -> Changes:  # fmt: skip
    """What a start costs, held against budget, plan and credit, and reserved; `row` gets its `quote`.

    The numbers are those of row["preview"]. bound: its prices must be those of now. Raises CommandRefused: 422
    price_missing, budget_too_small; 409 price_changed, quota_exceeded, insufficient_credit, each with what is lacking.
    """
    preview, changes = row["preview"], Changes()
    prices = PriceList(view, tenant.number)
    micros, billed = preview.get("cost_micros"), preview.get("billed_parts", 0)
    seen = preview.get("prices", "")
    if bound and seen != (prices.digest if prices else ""):
        detail = "a price changed since the preview: preview again, then start with its token"
        raise CommandRefused(409, "price_changed", detail, extra={"changed": ["price"]})
    if preview.get("no_price") or (micros is None and (tenant.prepaid or row["budget_micros"] is not None)):
        many = preview.get("no_price") or preview["will_send"]
        detail = f"{many:,} recipients have a number without a price: the operator sets one (`volley price set`)"
        raise CommandRefused(422, "price_missing", detail, extra={"recipients": many})
    budget = row["budget_micros"]
    if budget is not None and micros > budget:
        detail = f"it would cost {micros:,} micro-units, its budget is {budget:,}: raise the budget or send to fewer"
        extra = {"cost_micros": micros, "budget_micros": budget}
        raise CommandRefused(422, "budget_too_small", detail, extra=extra)
    month = usage.month_of(at_ms, tenant.zone)
    used = usage.month_used(view, tenant.number, month, but=campaign)
    if tenant.parts_month and used.billed + billed > tenant.parts_month:
        left = max(0, tenant.parts_month - used.billed)
        detail = f"{billed:,} parts are needed, {left:,} of {tenant.parts_month:,} are left this month: send to fewer"
        extra = {"needed_parts": billed, "parts_left": left, "parts_month": tenant.parts_month}
        raise CommandRefused(
            409, "quota_exceeded", f"{detail}, wait for the next one or ask for a greater plan", extra=extra
        )
    held = account(view, tenant.number)
    if tenant.prepaid:
        if micros > held.balance:
            raise insufficient(tenant, held, micros, "top it up (`volley money top-up`) or send to fewer")
        enter(changes, view, tenant.number, held, at_ms, ACTOR, "reserve",
               balance=-micros, reserved=micros, micros=micros, campaign=campaign)  # fmt: skip
    row["quote"] = {
        "micros": micros,
        "billed": billed,
        "month": month,
        "reserved": micros if tenant.prepaid else 0,
        "prices": prices.version,
    }
    quoted = usage.Used(preview["will_send"], wire_parts(preview), billed, micros or 0)
    usage.put_used(changes, tenant.number, month, campaign, quoted, settled=False)
    return changes


def wire_parts(preview: Row) -> int:
    return sum(int(parts) * n for parts, n in preview["parts"].items())


def limit_guards(view: View, guards: Guards, row: Row, router: Router | None = None) -> None:
    """Hold a running campaign to its budget, what it has reserved and its tenant's plan."""
    tenant, quote = need_tenant(view, guards.tenant), row["quote"]
    most = [row["budget_micros"], quote["reserved"] if quote and quote["reserved"] else None]
    money = min((one for one in most if one is not None), default=None)
    if money is None and not tenant.parts_month:
        return
    meter = meter_of(view, tenant, row, prices=money is not None, router=router)
    limits = []
    if money is not None:
        limits.append(Limit(Decision.OVER_BUDGET, money, lambda bill: bill.micros))
    if tenant.parts_month:
        month = quote["month"] if quote else 0
        others = usage.month_used(view, tenant.number, month, but=guards.campaign).billed
        limits.append(Limit(Decision.OVER_QUOTA, max(0, tenant.parts_month - others), lambda bill: bill.billed))
    used = usage.measured(view, tenant.number, guards.campaign, row, meter)
    spent = [used.micros if limit.decision is Decision.OVER_BUDGET else used.billed for limit in limits]

    def bill(view: View, columns: BlockView, block: int, bits: int) -> Bill:
        total = Bill()
        if meter.routes is not None:
            meter.routes.look(view)
        for arm, mine in usage.of_arms(view, tenant.number, guards.campaign, row, block, bits):
            total += meter.bill(columns, block, mine, arm)
        return total

    guards.limit(limits, spent, bill, meter.columns)


def guards_of(
    view: View, tenant: int, row: Row, campaign: int, router: Router | None = None
) -> Guards | None:  # fmt: skip
    """A running campaign's guards; None when it has none but the kernel's."""
    guards = Guards(view, tenant, row, campaign)
    limit_guards(view, guards, row, router)
    return None if guards.idle else guards


def meter_of(
    view: View, tenant: Tenant, row: Row, *, prices: bool = True, transliterate: bool | None = None,
    coding: Coding | None = None, router: Router | None = None,
) -> Meter:  # fmt: skip
    """What bills a campaign's texts: its arms' renderers by the market's rule, and the tenant's prices: those of its
    start, once it has a quote.

    transliterate: other than the campaign's options and the endpoints say. coding: how most texts are taken; None: as
    most endpoints do. router: where numbers lead, and how each endpoint takes them."""
    billing, options = market_of(tenant).billing, Options.of(row["options"])
    look_alikes = options.transliterate if transliterate is None else transliterate
    templates = [compile_of(view, tenant.number, row, text) for text in texts_of(row)]

    def renderers(by: Coding) -> list[Renderer]:
        by = by if transliterate is None else replace(by, transliterate=False)
        return [
            Renderer(
                template, Purpose(row["purpose"]), row["max_parts"], by,
                message_class=options.message_class, transliterate=look_alikes, billing=billing,
            )
            for template in templates
        ]  # fmt: skip

    usual = coding or Coding()
    own = {name: coding_of(endpoint) for name, endpoint in router.settings.items()} if router else {}
    by_endpoint = {name: renderers(by) for name, by in own.items() if by != usual}
    listed = _prices(view, tenant.number, row) if prices else None
    return Meter(renderers(usual), listed, _routes(view, tenant, row, router), by_endpoint)


def _prices(view: View, tenant: int, row: Row) -> PriceList:
    """Those that a campaign's start was bound to; of a draft those of now."""
    return PriceList(view, tenant, (row.get("quote") or {}).get("prices"))


def _routes(view: View, tenant: Tenant, row: Row, router: Router | None) -> Nominal | None:
    """Where a campaign's numbers lead; None: it is not known, and nothing but the common price is."""
    if router is None or not router.endpoints:
        return None
    routes = Nominal.of(router, Purpose(row["purpose"]), tenant.number, row["sender"], row["started_ms"] or 0)
    routes.look(view)
    return routes


@dataclass(frozen=True, slots=True)
class Over:
    """A campaign that ended and is not settled yet."""

    tenant: int
    campaign: int
    reserved_in: int  # month of the reservation


def next_over(view: View) -> Over | None:
    """One that has nothing in flight any more. Reads the rows of all campaigns under way."""
    for tenant, campaign, row in under_way(view, *OVER):
        quote = row.get("quote")
        if quote is None or not _is_reserved(view, tenant, quote["month"], campaign):
            continue
        counts = read_counts(view, campaign)
        moving = counts.state(State.RETRY_WAIT) if row["state"] != CANCELLED else 0
        if not (moving or counts.state(State.CLAIMED)):
            return Over(tenant, campaign, quote["month"])
    return None


def measure_over(view: View, over: Over, now_ms: int, router: Router | None = None) -> dict[int, usage.Used]:
    """What was sent of it, by month, from the ledger: for a snapshot in a thread. Where its texts hold no more (a field
    was retired), billed is what was on the wire."""
    tenant, row, found = need_tenant(view, over.tenant), need_campaign(view, over.tenant, over.campaign), {}
    try:
        meter = meter_of(view, tenant, row, router=router)
    except CommandRefused:
        plain = Renderer(Template("-", ("-",)), Purpose(row["purpose"]), 1)
        routes = _routes(view, tenant, row, router)
        meter = Meter([plain] * len(texts_of(row)), _prices(view, over.tenant, row), routes)
    first = usage.month_of(row["started_ms"] or now_ms, tenant.zone)
    for month in range(first, usage.month_of(now_ms, tenant.zone) + 1):
        low_s, end_s = usage.begins_s(month, tenant.zone), usage.begins_s(month + 1, tenant.zone)
        used = usage.measured(view, over.tenant, over.campaign, row, meter, low_s, end_s - 1)
        if used.messages or month == over.reserved_in:
            found[month] = used
    return found


def settle(view: View, over: Over, found: dict[int, usage.Used], now_ms: int) -> Changes:
    """Replace what was reserved for a campaign by what was sent; nothing when somebody did so meanwhile."""
    changes = Changes()
    if not _is_reserved(view, over.tenant, over.reserved_in, over.campaign):
        return changes
    usage.drop_used(changes, over.tenant, over.reserved_in, over.campaign)
    for month, used in found.items():
        usage.put_used(changes, over.tenant, month, over.campaign, used, settled=True)
    reserved = need_campaign(view, over.tenant, over.campaign)["quote"]["reserved"]
    if reserved:
        micros = sum(used.micros for used in found.values())
        held = account(view, over.tenant)
        enter(changes, view, over.tenant, held, now_ms, ACTOR, "settle", balance=reserved - micros,
               reserved=-reserved, micros=-micros, campaign=over.campaign)  # fmt: skip
    return changes


def _is_reserved(view: View, tenant: int, month: int, campaign: int) -> bool:
    row = usage.row_of(view, tenant, month, campaign)
    return row is not None and not row["settled"]
