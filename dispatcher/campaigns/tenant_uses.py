"""A tenant edited, and what of its campaigns and imports still stands on its zone and region of before.

Touches: the tenant's row; reads rows of `campaigns` and `imports`.
A campaign keeps the zone that its schedule was written in: what somebody saw, approved and waits for stays at that
instant. So a new zone moves no start and no window; the answer names the campaigns that keep the old one, and writing
their schedule anew takes the new one. What is computed when it is asked follows at once: "today" in segments, the days
of reports, the months of usage. Quiet hours are by the recipient's number or field, and follow no tenant's zone.
A region is asked only where a number is read, and members have theirs read.
Weak spot: every campaign's row of the tenant is read, some 10 us each, in the writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.campaigns.campaign import LATER
from dispatcher.campaigns.schedule import reads_tenant_zone
from dispatcher.campaigns.states import OVER, SCHEDULED
from dispatcher.clock import rfc3339
from dispatcher.control.commands import EditTenant, Envelope
from dispatcher.members.field_edits import imports_under_way
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import unpack
from dispatcher.tenants import edit
from dispatcher.tenants.tenant import Tenant, need_tenant

NAMED_MAX = 20  # of what a warning lists; the rest is a number


def edit_tenant(view: View, command: EditTenant, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """As tenants/edit.py; the reply's `warnings` say what a new zone or region does not reach, and what it moves."""
    before = need_tenant(view, envelope.tenant)
    changes, reply = edit.edit_tenant(view, command, envelope)
    warnings: list[str] = []
    if reply["zone"] != before.zone:
        warnings += _of_zone(view, before, reply["zone"])
    if reply["region"] != before.region:
        warnings += _of_region(view, before, reply["region"])
    return changes, {**reply, "warnings": warnings}


def _of_zone(view: View, before: Tenant, zone: str) -> Iterator[str]:
    keeping = _keeping(view, before.number, zone)
    found = [f"{public_id('cmp', campaign)} ({_in_words(row)})" for campaign, row in keeping]
    if found:
        yield f"still by the zone in which its schedule was written, until it is written anew: {_listed(found)}"
    yield f"from now on `today` in segments, days of reports and months of usage are those of {zone}"


def _of_region(view: View, before: Tenant, region: str) -> Iterator[str]:
    read = f"as of {region}" if region else "not at all"
    yield f"from now on numbers without a country code are read {read}; those of members stay as they were read"
    if under_way := imports_under_way(view, before.number):
        was = before.region or "none"
        yield f"an import that has begun to be read goes on with region {was}: {_listed(under_way)}"


def _keeping(view: View, tenant: int, zone: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Campaigns that are not over and whose schedule means another zone by `tenant`, the newest first."""
    for key, value in view.range("campaigns", TENANT.pack(tenant), reverse=True):
        row = LATER | unpack(value)
        if row["state"] not in OVER and row["zone"] != zone and reads_tenant_zone(row["schedule"]):
            yield TENANT_U64.unpack(key)[1], row


def _in_words(row: dict[str, Any]) -> str:
    due = f", due {rfc3339(row['due_ms'])}" if row["state"] == SCHEDULED else ""
    return f"{row['title']!r}, {row['state']}, by {row['zone']}{due}"


def _listed(found: list[str]) -> str:
    more = len(found) - NAMED_MAX
    return ", ".join(found[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")
