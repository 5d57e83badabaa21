"""Who said stop, by number, and the copies of it in the members' planes.

Touches: rows of `optouts`, `optout_history`, `suppressions`, and the planes of FIELD_FLAGS through the delta.
The person's last word wins: a lift counts only when it is later than the opt-out, and the other way round.
The history is append-only; its key is a time, so a second entry of one millisecond moves to the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Purpose
from dispatcher.store.columns import FLAGS, number_slot, plane_entry, put_delta
from dispatcher.store.layout import OPTOUT_GROUPS, OPTOUT_KEY, PLANE_SUPPRESSED, TENANT_U64, U64
from dispatcher.store.values import pack, unpack

STOP_GROUPS = tuple(OPTOUT_GROUPS)  # what a STOP by SMS ends
OPERATOR = 0  # whose suppressions hold for every tenant


def group_of(purpose: Purpose) -> str | None:
    """The opt-out group that guards a purpose; None when none does."""
    return purpose.value if purpose.value in OPTOUT_GROUPS else None


def record_optout(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str
) -> Changes:
    """The number opts out of `groups` (one or several). A stranger's counts too; a member's plane follows."""
    return _say(view, tenant, number, groups, at_ms, evidence, out=True)


def lift_optout(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str
) -> Changes:
    """The person's own words, or a consent with evidence, later than the opt-out: sends may go again."""
    return _say(view, tenant, number, groups, at_ms, evidence, out=False)


def opted_out(view: View, tenant: int, number: int, group: str) -> bool:
    return opted_out_since(view, tenant, number, group) is not None


def opted_out_since(view: View, tenant: int, number: int, group: str) -> int | None:
    """When the number last said so; None when it is not opted out."""
    row = view.get("optouts", OPTOUT_KEY.pack(tenant, number, OPTOUT_GROUPS[group]))
    return None if row is None else int(unpack(row)["at_ms"])


def suppressed(view: View, tenant: int, number: int) -> bool:
    """By the tenant or by the operator."""
    return any(view.get("suppressions", TENANT_U64.pack(by, number)) is not None for by in (tenant, OPERATOR))


def planes_of(view: View, tenant: int, number: int) -> dict[int, bool]:
    """What the planes of the member with this number must say: copied when it is created or changes number."""
    planes = {plane: opted_out(view, tenant, number, group) for group, plane in OPTOUT_GROUPS.items()}
    return {PLANE_SUPPRESSED: suppressed(view, tenant, number), **planes}


def history(view: View, tenant: int, number: int) -> list[dict[str, Any]]:
    """Every opt-out and lift of a number, oldest first: at_ms, what, groups, evidence."""
    prefix = TENANT_U64.pack(tenant, number)
    return [
        {**unpack(row), "at_ms": U64.unpack(key[len(prefix) :])[0]} for key, row in view.range("optout_history", prefix)
    ]


def _say(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str, *, out: bool
) -> Changes:
    names = [groups] if isinstance(groups, str) else list(groups)
    changes = Changes()
    last = _last_words(view, tenant, number)
    planes: dict[int, bool] = {}
    for name in names:
        plane = OPTOUT_GROUPS[name]
        key = OPTOUT_KEY.pack(tenant, number, plane)
        if last.get(name, -1) > at_ms - (not out):  # a lift must be later than what it lifts
            continue
        planes[plane] = out
        if out:
            changes.put("optouts", key, pack({"at_ms": at_ms, "evidence": evidence}))
        else:
            changes.delete("optouts", key)
    when = at_ms
    while view.get("optout_history", TENANT_U64.pack(tenant, number) + U64.pack(when)) is not None:
        when += 1
    word = {"what": "optout" if out else "lift", "groups": names, "evidence": evidence}
    changes.put("optout_history", TENANT_U64.pack(tenant, number) + U64.pack(when), pack(word))
    member_no = number_slot(view, tenant, number)
    if member_no is not None and planes:
        put_delta(changes, view, tenant, member_no, {FLAGS: plane_entry(planes)})
    return changes


def _last_words(view: View, tenant: int, number: int) -> dict[str, int]:
    """Group -> when the number last spoke about it."""
    said = sorted((word["at_ms"], name) for word in history(view, tenant, number) for name in word["groups"])
    return {name: at_ms for at_ms, name in said}
