"""A tenant with fields of every kind, and commands done as the writer does them: handler, apply, commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.control.commands import CreateTenant, DefineField, Envelope, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import define_field
from dispatcher.members.member import upsert_member
from dispatcher.records.changes import Changes, View
from dispatcher.store import Store
from dispatcher.tenants.tenant import create_tenant

NOW_MS = 1_790_000_000_000
Handler = Callable[[View, Any, Envelope], tuple[Changes, dict[str, Any]]]


def do(store: Store, handler: Handler, command: Any, *, tenant: int = 1, at_ms: int = NOW_MS) -> dict[str, Any]:
    """Run one command to its commit; returns the reply."""
    with store.begin_write() as view:
        changes, reply = handler(view, command, Envelope(tenant=tenant, actor="test", at_ms=at_ms))
        view.apply(changes)
    return reply


def refused(store: Store, handler: Handler, command: Any, *, tenant: int = 1) -> CommandRefused:
    """The refusal that a command must meet."""
    with pytest.raises(CommandRefused) as caught:
        do(store, handler, command, tenant=tenant)
    return caught.value


def new_shop(store: Store, title: str = "Corner Shop", region: str = "DE") -> int:
    """A tenant with fields of every kind; returns its number."""
    tenant = do(store, create_tenant, CreateTenant(title=title, zone="Europe/Berlin", region=region), tenant=0)[
        "tenant"
    ]
    for command in (
        DefineField(title="name", kind="text", max_length=40),
        DefineField(title="tier", kind="dict", values=["basic", "gold"], closed=True),
        DefineField(title="city", kind="dict"),
        DefineField(title="visits", kind="int", bits=32),
        DefineField(title="serial", kind="int"),
        DefineField(title="joined", kind="date"),
        DefineField(title="birthday", kind="month_day"),
        DefineField(title="vip", kind="bool"),
        DefineField(title="spend", kind="money"),
        DefineField(title="tags", kind="tags"),
    ):
        do(store, define_field, command, tenant=tenant)
    return int(tenant)


FRENCH = [33612345601 + i for i in range(6)]


def french_shop(store: Store) -> Store:
    """A tenant of France with six members, whose numbers are FRENCH."""
    new_shop(store, region="FR")
    for number in FRENCH:
        new_member(store, number)
    return store


def new_member(store: Store, number: int = 4915100000001, *, tenant: int = 1, **values: Any) -> int:
    """A member with this number; returns its member_no."""
    return int(do(store, upsert_member, UpsertMember(msisdn=f"+{number}", values=values), tenant=tenant)["member_no"])
