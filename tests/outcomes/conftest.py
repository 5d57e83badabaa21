"""Who is written to."""

from __future__ import annotations

import pytest

from dispatcher.control.commands import CreateTenant
from dispatcher.store import Store
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import do


@pytest.fixture
def shop(store: Store) -> Store:
    """A tenant whose sender is SHOP."""
    tenant = CreateTenant(title="Corner Shop", zone="Europe/Berlin", region="DE", sender="SHOP")
    do(store, create_tenant, tenant, tenant=0)
    return store
