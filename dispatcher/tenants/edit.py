"""What an operator may change of a tenant that is in use.

Touches: the tenant's row.
"""

from __future__ import annotations

from typing import Any

from dispatcher.control.commands import EditTenant, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

EDITABLE = {"approval_above": 0xFFFFFFFF, "count_change_percent": 100_000}  # name -> the greatest value


def edit_tenant(view: View, command: EditTenant, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Set what `changes` names for the envelope's tenant. Raises CommandRefused 404, 422."""
    tenant = need_tenant(view, envelope.tenant)
    errors = []
    for name, value in command.changes.items():
        if name not in EDITABLE:
            errors.append(_problem(name, "unknown", f"{name}: one of {', '.join(EDITABLE)}"))
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= EDITABLE[name]:
            errors.append(_problem(name, "wrong_value", f"{name} {value!r}: a whole number, 0 to {EDITABLE[name]:,}"))
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    key = TENANT.pack(tenant.number)
    octets = view.get("tenants", key)
    assert octets is not None
    row = unpack(octets)
    changes = Changes()
    if any(row.get(name) != value for name, value in command.changes.items()):
        row |= command.changes
        changes.put("tenants", key, pack(row))
    shown = {name: row.get(name, getattr(tenant, name)) for name in EDITABLE}
    return changes, {"id": public_id("ten", tenant.number), "title": tenant.title, **shown}


def _problem(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "code": code, "detail": detail}
