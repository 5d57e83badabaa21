"""ROOM tenants: who pays, and under which rules."""

from dispatcher.tenants.keys import Key, find_key
from dispatcher.tenants.tenant import Tenant, get_tenant, list_tenants

__all__ = ["Key", "Tenant", "find_key", "get_tenant", "list_tenants"]
