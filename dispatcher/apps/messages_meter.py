"""What messages of the API use of a tenant's plan and credit: taken when they are accepted, given back if they never
go.

Touches: rows of `usage` and `money`, through View and Changes; time is an argument.
Rests on: campaigns/{money,usage}.py.

    usage: tenant:2 month:2 batch:8 -> {messages, parts, billed, micros, settled}, one a purpose
    meta: "metered" batch:8 -> the position from which on it is not known yet what became of each message

The month is that of the message's acceptance in the tenant's zone. A one-time code is metered as all are.
Weak spots: one that waits for long keeps what those behind it used and never went from being given back meanwhile; its
endpoint is not known yet, so a message has the price of its number without an endpoint, else the dearest endpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dispatcher.campaigns import usage
from dispatcher.campaigns.money import ACTOR, Account, account, enter
from dispatcher.campaigns.price import has_prices, price_of
from dispatcher.outbox.entry import batches, rows_from
from dispatcher.records.batches import is_message_batch, tenant_of_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision, State
from dispatcher.store.layout import BLOCK, U64
from dispatcher.store.ledger import read_array
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import Tenant, need_tenant

LOOKED_AT = 2_000  # messages a step
BATCH_IS = 20  # messages: what a look at a batch takes, however few are in it
_METERED = b"metered"
OPEN = (State.CLAIMED, State.RETRY_WAIT)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    detail: str


@dataclass(slots=True)
class MessageMeter:
    """Of one request. take() each message, then put() once."""

    view: View
    tenant: Tenant
    now_ms: int
    _used: dict[int, usage.Used] = field(default_factory=dict)  # by batch
    _left: int | None = None  # parts of the plan; None: not looked for yet
    _held: Account | None = None
    _priced: bool | None = None  # there is any price
    _prices: dict[int, int | None] = field(default_factory=dict)  # by number

    @property
    def month(self) -> int:
        return usage.month_of(self.now_ms, self.tenant.zone)

    def take(self, batch: int, to: int, parts: int, billed: int) -> int | Refusal:
        """Micro-units that a message costs, now used; or why there is no room for it."""
        price = self._price(to)
        if price is None and self.tenant.prepaid:
            return Refusal("price_missing", "its number has no price: the operator sets one (`volley price set`)")
        micros = billed * (price or 0)
        if self.tenant.parts_month:
            if self._left is None:
                used = usage.month_used(self.view, self.tenant.number, self.month).billed
                self._left = self.tenant.parts_month - used
            if billed > self._left:
                plan = f"{max(0, self._left):,} of {self.tenant.parts_month:,} parts are left this month"
                return Refusal("quota_exceeded", f"{plan}, {billed:,} are needed: ask for a greater plan")
        if self.tenant.prepaid:
            if self._held is None:
                self._held = account(self.view, self.tenant.number)
            if micros > self._held.balance - self._micros:
                left = f"the credit is {self._held.balance - self._micros:,} micro-units, {micros:,} are needed"
                return Refusal("insufficient_credit", f"{left}: top it up (`volley money top-up`)")
        if self._left is not None:
            self._left -= billed
        add(self._used.setdefault(batch, usage.Used()), usage.Used(1, parts, billed, micros))
        return micros

    def _price(self, to: int) -> int | None:
        if self._priced is None:
            self._priced = has_prices(self.view, self.tenant.number)
        if self._priced and to not in self._prices:
            self._prices[to] = price_of(self.view, self.tenant.number, to)
        return self._prices.get(to)

    @property
    def _micros(self) -> int:
        return sum(used.micros for used in self._used.values())

    def put(self, changes: Changes) -> None:
        """Write down what was taken."""
        for batch, used in self._used.items():
            put_more(changes, self.view, self.tenant.number, self.month, batch, used)
        if self.tenant.prepaid and self._micros:
            held = self._held or account(self.view, self.tenant.number)
            enter(changes, self.view, self.tenant.number, held, self.now_ms, ACTOR, "messages",
                  balance=-self._micros, micros=-self._micros)  # fmt: skip


def add(to: usage.Used, other: usage.Used, times: int = 1) -> None:
    to.messages += times * other.messages
    to.parts += times * other.parts
    to.billed += times * other.billed
    to.micros += times * other.micros


def put_more(
    changes: Changes, view: View, tenant: int, month: int, batch: int, used: usage.Used, times: int = 1
) -> None:
    """Add to (times 1) or take from (-1) what a month's messages of a purpose came to."""
    row = usage.row_of(view, tenant, month, batch) or {}
    total = usage.Used(row.get("messages", 0), row.get("parts", 0), row.get("billed", 0), row.get("micros", 0))
    add(total, used, times)
    usage.put_used(changes, tenant, month, batch, total, settled=True)


def give_back(changes: Changes, view: View, tenant: Tenant, batch: int, rows: list[Row], now_ms: int) -> None:
    """These of a batch will never go: what they used is free again."""
    of_month: dict[int, usage.Used] = {}
    for row in rows:
        if "micros" in row:  # else it was accepted before messages were metered
            month = usage.month_of(row["created_ms"], tenant.zone)
            mine = of_month.setdefault(month, usage.Used())
            add(mine, usage.Used(1, row["parts"], row["billed"], row["micros"]))
    for month, used in of_month.items():
        put_more(changes, view, tenant.number, month, batch, used, -1)
    micros = sum(used.micros for used in of_month.values())
    if tenant.prepaid and micros:
        held = account(view, tenant.number)
        enter(changes, view, tenant.number, held, now_ms, ACTOR, "messages", balance=micros, micros=micros)


def unsettled(view: View, now_ms: int) -> list[int]:
    """Batches with messages that went, or never will, since what they used was looked at: for settle_messages."""
    return [batch for batch in batches(view) if is_message_batch(batch) and _settled(view, batch, now_ms)[1]]


def settle_messages(view: View, of: list[int], now_ms: int) -> tuple[Changes, list[int]]:
    """Give back what messages of these batches used that never went: some of one batch a tenant, for a tenant's account
    is read before. Result: the batches to go on with."""
    changes, left, room = Changes(), list[int](), LOOKED_AT
    done = set[int]()  # tenants
    for batch in of:
        tenant = tenant_of_batch(batch)
        if room <= 0 or tenant in done:
            left.append(batch)
            continue
        dead, looked, open_from = _settled(view, batch, now_ms)
        room -= looked + BATCH_IS
        if looked:
            changes.put("meta", _METERED + U64.pack(batch), pack({"from": open_from}))
            if dead:
                give_back(changes, view, need_tenant(view, tenant), batch, dead, now_ms)
            left.append(batch)
            done.add(tenant)
    return changes, left


def _settled(view: View, batch: int, now_ms: int) -> tuple[list[Row], int, int]:
    """(rows of messages that will never go, how many it is known of now, the position of the first of which not)"""
    known = view.get("meta", _METERED + U64.pack(batch))
    first = unpack(known)["from"] if known else 0
    dead, open_from = _dead(view, batch, first, now_ms)
    return dead, open_from - first, open_from


def _dead(view: View, batch: int, first: int, now_ms: int) -> tuple[list[Row], int]:
    """(rows of messages that will never go, the position of the first of which that is not known yet)."""
    dead, arrays, open_from = list[Row](), dict[tuple[str, int], bytes](), first

    def at(name: str, position: int) -> int:
        chunk, r = divmod(position, BLOCK)
        if (name, chunk) not in arrays:
            arrays[name, chunk] = bytes(read_array(view, batch, name, chunk) or b"")
        return arrays[name, chunk][r] if r < len(arrays[name, chunk]) else 0

    for looked, (position, row) in enumerate(rows_from(view, batch, first)):
        if looked == LOOKED_AT:
            break
        counted = not row["cancelled_ms"] and not row["decision"]
        state, decision = at("state", position), at("decision", position)
        if counted and state in OPEN:
            break
        if counted and state == State.UNSENT:
            if decision in (0, Decision.SENT) and row["expiry_ms"] > now_ms:
                break
            dead.append(row)
        open_from = position + 1
    return dead, open_from
