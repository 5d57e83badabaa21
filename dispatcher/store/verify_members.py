"""What must add up about numbers, and about members who are gone: merged into another, or erased.

Touches: phones, merges, erased_numbers, points_entries, column blocks, read-only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dispatcher.records.changes import View
from dispatcher.store.blocks import Column, ColumnKind, blocks_of, next_member_no
from dispatcher.store.columns import FLAGS, open_block, read_member
from dispatcher.store.erased import erased_among
from dispatcher.store.layout import FIELD_MSISDN, PLANE_LIVE, PLANE_SUPPRESSED, TENANT, TENANT_U64
from dispatcher.store.phones import in_both
from dispatcher.store.problem import Check, Problem
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
_MERGE_KEY = struct.Struct(">HI")


def merges_lead_somewhere(view: View) -> Iterator[Problem]:
    """Whoever was merged is gone, leads to a number that was given, and a number that leads on is nobody's own."""
    rule = "merges_lead_somewhere"
    for key, octets in view.range("merges"):
        tenant, into = TENANT.unpack_from(key)[0], unpack(octets)["into"]
        if into >= next_member_no(view, tenant):
            yield Problem(rule, f"tenant {tenant}, {key.hex()}", f"leads to member {into}, who was never given")
        if len(key) == _MERGE_KEY.size:
            loser = _MERGE_KEY.unpack(key)[1]
            if read_member(view, tenant, loser, ()) is not None:
                yield Problem(rule, f"tenant {tenant}, member {loser}", f"merged into {into}, and live")
        elif view.get("phones", key) is not None:
            number = TENANT_U64.unpack(key)[1]
            yield Problem(rule, f"tenant {tenant}, +{number}", f"leads to member {into}, and is a member's own")


def transfers_sum_to_zero(view: View) -> Iterator[Problem]:
    """What merges took from one account they gave to another."""
    sums: dict[int, int] = {}
    for key, row in view.range("points_entries"):
        value = unpack(row)
        if value.get("source") == "merge":
            tenant = TENANT.unpack_from(key)[0]
            sums[tenant] = sums.get(tenant, 0) + value["delta"]
    for tenant, total in sums.items():
        if total:
            yield Problem("transfers_sum_to_zero", f"tenant {tenant}", f"entries of merges sum to {total}")


def erased_numbers_are_suppressed(view: View) -> Iterator[Problem]:
    """A member whose number was erased before is suppressed."""
    for tenant in [TENANT.unpack(key)[0] for key, _ in view.range("tenants")]:
        if next(view.range("erased_numbers", TENANT.pack(tenant)), None) is None:
            continue
        no = next_member_no(view, tenant)
        for block in range(blocks_of(no)):
            opened = open_block(view, tenant, block, [FLAGS, MSISDN], next_no=no)
            live, suppressed = (
                int.from_bytes(opened.plane(FLAGS[0], plane), "little") for plane in (PLANE_LIVE, PLANE_SUPPRESSED)
            )
            free = live & ~suppressed
            numbers = opened.array(FIELD_MSISDN).cast("Q")
            reachable = [number for slot, number in enumerate(numbers) if number and free >> slot & 1]
            for number in sorted(erased_among(view, tenant, reachable)):
                yield Problem("erased_numbers_are_suppressed", f"tenant {tenant}, +{number}", "may be sent to")


def numbers_stand_once(view: View) -> Iterator[Problem]:
    """A number stands in one of the two tables of numbers."""
    assert isinstance(view, Snapshot)
    for tenant, number in in_both(view):
        yield Problem("numbers_stand_once", f"tenant {tenant}, +{number}", "in phones and in phones_new")


CHECKS: list[Check] = [numbers_stand_once, merges_lead_somewhere, transfers_sum_to_zero, erased_numbers_are_suppressed]
