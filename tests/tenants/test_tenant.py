"""Tenants: numbered from 1, checked when made."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.control.commands import CreateTenant
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import create_tenant, get_tenant, list_tenants, put_next_member_no
from tests.fakes.shop import do, refused


def test_tenants_are_numbered_from_1_and_listed_in_order(store: Store):
    first = do(store, create_tenant, CreateTenant(title=" Corner Shop ", region="DE", sender="SHOP"), tenant=0)
    second = do(store, create_tenant, CreateTenant(title="Other", zone="Asia/Shanghai", brand="O."), tenant=0)
    assert (first["tenant"], second["tenant"]) == (1, 2) and first["id"].startswith("ten_")
    with store.snapshot() as view:
        assert [tenant.brand for tenant in list_tenants(view)] == ["Corner Shop", "O."]
        found = get_tenant(view, 2)
        assert found is not None and (found.zone, found.region, found.next_member_no) == ("Asia/Shanghai", "", 0)
        assert get_tenant(view, 0) is None and get_tenant(view, 3) is None and get_tenant(view, 1 << 20) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", ""),
        ("title", "x" * 101),
        ("zone", "Mars/Olympus"),
        ("region", "de"),
        ("sender", "x" * 21),
        ("sender", "a b"),
        ("sender", "café"),
        ("brand", "x" * 101),
        ("leap_rule", "feb29"),
    ],
)
def test_a_wrong_value_names_itself_and_the_rule(store: Store, name: str, value: str):
    values: dict[str, Any] = {"title": "Shop", name: value}
    error = refused(store, create_tenant, CreateTenant(**values), tenant=0)
    assert (error.status, error.errors[0]["pointer"]) == (422, f"/{name}")
    assert repr(value) in error.detail


def test_a_tenant_of_an_older_store_celebrates_29_february_on_the_28th(store: Store):
    do(store, create_tenant, CreateTenant(title="Shop", leap_rule="mar1"), tenant=0)
    changes, key = Changes(), TENANT.pack(1)
    with store.snapshot() as view:
        assert getattr(get_tenant(view, 1), "leap_rule", None) == "mar1"
        row = unpack(view.get("tenants", key) or b"")
    del row["leap_rule"]
    changes.put("tenants", key, pack(row))
    store.apply(changes)
    with store.snapshot() as view:
        assert getattr(get_tenant(view, 1), "leap_rule", None) == "feb28"


def test_only_the_operator_makes_tenants(store: Store):
    assert refused(store, create_tenant, CreateTenant(title="Shop"), tenant=1).status == 403


def test_member_numbers_once_given_stay_given_also_within_one_commit(store: Store):
    do(store, create_tenant, CreateTenant(title="Shop", sender="S"), tenant=0)
    with store.begin_write() as view:
        changes = Changes()
        put_next_member_no(changes, view, 1, 5)
        put_next_member_no(changes, view, 1, 9)
        with pytest.raises(AssertionError):
            put_next_member_no(changes, view, 1, 8)
        view.apply(changes)
    with store.snapshot() as view:
        tenant = get_tenant(view, 1)
        assert tenant is not None and (tenant.next_member_no, tenant.sender) == (9, "S")
