"""Numbers that nobody may send to: a tenant's own list, and the operator's, which holds for all tenants.

Touches: rows of `suppressions`, and the plane SUPPRESSED of the members concerned through the delta.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.control.commands import AddSuppression, Envelope, RemoveSuppression
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import OPERATOR, erased, suppressed
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.changes import Changes, View
from dispatcher.store.columns import FLAGS, number_slot, plane_entry, put_delta
from dispatcher.store.layout import PLANE_SUPPRESSED, TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import list_tenants, need_tenant

NUMBERS_MAX = 5_000  # of one command: a row and a delta row each, well inside one commit


def add_suppression(view: View, command: AddSuppression, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Envelope.tenant 0: for every tenant. All the numbers or, when one is wrong, none."""
    numbers = _numbers(view, command.numbers, envelope.tenant)
    changes, added = Changes(), 0
    for number in numbers:
        key = TENANT_U64.pack(envelope.tenant, number)
        if view.get("suppressions", key) is None:
            added += 1
            changes.put("suppressions", key, pack({"at_ms": envelope.at_ms, "reason": command.why}))
            _mark(changes, view, envelope.tenant, number, on=True)
    return changes, {"added": added, "already": len(numbers) - added}


def remove_suppression(view: View, command: RemoveSuppression, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    numbers = _numbers(view, command.numbers, envelope.tenant)
    changes, removed = Changes(), 0
    for number in numbers:
        key = TENANT_U64.pack(envelope.tenant, number)
        if view.get("suppressions", key) is not None:
            removed += 1
            changes.delete("suppressions", key)
            _mark(changes, view, envelope.tenant, number, on=False)
    return changes, {"removed": removed, "absent": len(numbers) - removed}


def reach(view: View, texts: list[str], by: int) -> Iterator[tuple[int, int]]:
    """Every (tenant, number) that a suppression of these numbers concerns."""
    for number in _numbers(view, texts, by):
        for tenant in _tenants(view, by):
            yield tenant, number


def _numbers(view: View, texts: list[str], tenant: int) -> list[int]:
    region = need_tenant(view, tenant).region if tenant != OPERATOR else ""
    if not 1 <= len(texts) <= NUMBERS_MAX:
        raise CommandRefused(422, "invalid_value", f"numbers: 1 to {NUMBERS_MAX} of them, got {len(texts)}")
    errors, numbers = [], dict[int, None]()
    for i, text in enumerate(texts):
        number = normalise(text, region)
        if isinstance(number, Unparsed):
            detail = f"numbers {text[:40]!r}: {number.reason.replace('_', ' ')}"
            errors.append({"pointer": f"/numbers/{i}", "code": number.reason, "detail": detail})
        else:
            numbers[number] = None
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    return list(numbers)


def _tenants(view: View, by: int) -> list[int]:
    return [by] if by != OPERATOR else [tenant.number for tenant in list_tenants(view)]


def _mark(changes: Changes, view: View, by: int, number: int, *, on: bool) -> None:
    """Set the plane, or clear it where neither the other list nor an erasure holds the number."""
    for tenant in _tenants(view, by):
        member_no = number_slot(view, tenant, number)
        if member_no is None:
            continue
        other = OPERATOR if by != OPERATOR else tenant
        listed = view.get("suppressions", TENANT_U64.pack(other, number)) is not None
        stays = on or listed or erased(view, tenant, number)
        put_delta(changes, view, tenant, member_no, {FLAGS: plane_entry({PLANE_SUPPRESSED: stays})})


__all__ = ["add_suppression", "remove_suppression", "suppressed"]
