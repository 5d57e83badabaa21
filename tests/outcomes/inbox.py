"""What is kept of what was heard."""

from __future__ import annotations

from typing import Any

from dispatcher.store import Store
from dispatcher.store.layout import TENANT
from dispatcher.store.values import unpack


def inbox(store: Store, tenant: int = 1) -> list[dict[str, Any]]:
    """A tenant's messages from phones, the oldest first."""
    with store.snapshot() as view:
        return [unpack(row) for _, row in view.range("inbound", TENANT.pack(tenant))]
