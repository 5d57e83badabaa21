"""Who took over whom: members that were merged away, and the numbers they left.

Touches: rows of `merges`, of two shapes: tenant:2 member_no:4 -> the merge of that member into another, and
tenant:2 number:8 -> the member who answers for a number that a merge freed. A member merged into one that is merged
itself later leads to the last. `phones` comes first: whoever takes such a number as its own ends the alias.
Weak spot: members led to one are found by walking the tenant's merges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store.columns import number_slot
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack

MERGE_KEY = struct.Struct(">HI")


def merged_into(view: View, tenant: int, member_no: int) -> int | None:
    """The member who stands for one that was merged away; None for a member that was not."""
    row = view.get("merges", MERGE_KEY.pack(tenant, member_no)) if 0 <= member_no < 1 << 32 else None
    found = None
    while row is not None:
        found = int(unpack(row)["into"])
        row = view.get("merges", MERGE_KEY.pack(tenant, found))
    return found


def line_of(view: View, tenant: int, member_no: int) -> list[int]:
    """A member, whom it was merged into, whom that one was merged into, and so on: the last one stands for all."""
    line = [member_no]
    while (row := view.get("merges", MERGE_KEY.pack(tenant, line[-1]))) is not None:
        line.append(int(unpack(row)["into"]))
    return line


def gone(view: View, tenant: int, member_no: int) -> CommandRefused:
    """The refusal for a member who is not there: 404, with `merged_into` where another took over."""
    into = merged_into(view, tenant, member_no)
    if into is None:
        return CommandRefused(404, "not_found", f"member number {member_no} does not exist")
    winner = public_member_id(into)
    detail = f"member {public_member_id(member_no)} was merged into {winner}"
    return CommandRefused(404, "not_found", detail, extra={"merged_into": winner})


def alias_of(view: View, tenant: int, number: int) -> int | None:
    """The member who answers for a number that is nobody's own any more."""
    row = view.get("merges", TENANT_U64.pack(tenant, number))
    if row is None:
        return None
    into = int(unpack(row)["into"])
    last = merged_into(view, tenant, into)
    return into if last is None else last


def writer_of(view: View, tenant: int, sender: str) -> int | None:
    """The member whose phone a message came from: whose number it is, or who answers for it since a merge."""
    digits = sender.lstrip("+")
    number = int(digits) if digits.isdecimal() and len(digits) < 16 else 0  # a name is nobody's phone
    if not number:
        return None
    member_no = number_slot(view, tenant, number)
    return alias_of(view, tenant, number) if member_no is None else member_no


def alias_numbers(view: View, tenant: int, numbers: Iterable[int]) -> dict[int, int]:
    """Those of `numbers` that a merge freed, with the member each leads to. Costs nothing where nobody was merged."""
    if next(view.range("merges", TENANT.pack(tenant)), None) is None:
        return {}
    found = ((number, alias_of(view, tenant, number)) for number in numbers)
    return {number: member_no for number, member_no in found if member_no is not None}


def merges_of(view: View, tenant: int, member_no: int) -> tuple[dict[int, dict[str, Any]], list[int]]:
    """({member_no merged away: its row}, [numbers that lead here]) of all that ended in one member, in any step."""
    rows: dict[int, dict[str, Any]] = {}
    numbers: list[tuple[int, int]] = []
    for key, row in view.range("merges", TENANT.pack(tenant)):
        if len(key) == MERGE_KEY.size:
            rows[MERGE_KEY.unpack(key)[1]] = unpack(row)
        else:
            numbers.append((TENANT_U64.unpack(key)[1], unpack(row)["into"]))
    mine, grown = {member_no}, True
    while grown:
        more = {loser for loser, row in rows.items() if row["into"] in mine} - mine
        grown = bool(more)
        mine |= more
    losers = {loser: rows[loser] for loser in sorted(mine - {member_no})}
    return losers, [number for number, into in numbers if into in mine]


def taken_over(view: View, tenant: int) -> dict[int, int]:
    """Each member merged away and who stands for it; empty, after one look, where nobody was merged."""
    into = {
        MERGE_KEY.unpack(key)[1]: int(unpack(row)["into"])
        for key, row in view.range("merges", TENANT.pack(tenant))
        if len(key) == MERGE_KEY.size
    }
    found = {}
    for loser, winner in into.items():
        while winner in into:
            winner = into[winner]
        found[loser] = winner
    return found


def put_merge(changes: Changes, tenant: int, loser: int, row: dict[str, Any]) -> None:
    """`row`: {into, at_ms, ...}"""
    changes.put("merges", MERGE_KEY.pack(tenant, loser), pack(row))


def put_alias(changes: Changes, tenant: int, number: int, into: int, at_ms: int) -> None:
    changes.put("merges", TENANT_U64.pack(tenant, number), pack({"into": into, "at_ms": at_ms}))


def drop_alias(changes: Changes, view: View, tenant: int, number: int) -> None:
    """The number is a member's own again, or its person is erased."""
    key = TENANT_U64.pack(tenant, number)
    if view.get("merges", key) is not None:
        changes.delete("merges", key)
