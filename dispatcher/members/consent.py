"""Who said stop and who said yes, by number, and the copies of it in the members' planes.

Touches: rows of `optouts`, `consents`, `optout_history`, `suppressions`, `suppression_hashes`, `erased_numbers`, the
salt in the tenant's row, and the planes of FIELD_FLAGS through the delta.
The person's last word wins: a lift counts only when it is later than the opt-out, and the other way round.
The history is append-only; its key is a time, so a second entry of one millisecond moves to the next.
A stop from a number that a merge freed holds for the member's own number too; a lift does not: by then the number may
be somebody else's.
A yes is asked for only where a market profile says so (guards.py); it is kept always, with its evidence, and ends with
a stop. Both are words of one append-only history: `optout`, and `lift`, which says `consent` where it was a yes.
An erased number is kept as a salted hash only (store/erased.py), and is suppressed for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dispatcher.members.aliases import alias_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Purpose
from dispatcher.store.columns import FLAGS, Column, ColumnKind, number_slot, plane_entry, put_delta, read_member
from dispatcher.store.erased import erased_among, erased_key, salt_of
from dispatcher.store.hashed import hashed_among
from dispatcher.store.layout import (
    CONSENT_GROUPS,
    FIELD_MSISDN,
    OPTOUT_GROUPS,
    OPTOUT_KEY,
    PLANE_SUPPRESSED,
    TENANT,
    TENANT_U64,
    U64,
)
from dispatcher.store.values import pack, unpack

STOP_GROUPS = tuple(OPTOUT_GROUPS)  # what a STOP by SMS ends
OPERATOR = 0  # whose suppressions hold for every tenant
SALT_OCTETS = 16
MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)


def group_of(purpose: Purpose) -> str | None:
    """The opt-out group that guards a purpose; None when none does."""
    return purpose.value if purpose.value in OPTOUT_GROUPS else None


def record_optout(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str | dict[str, Any]
) -> Changes:
    """The number opts out of `groups` (one or several). A stranger's counts too; a member's plane follows."""
    return _say(view, tenant, number, groups, at_ms, evidence, out=True)


def lift_optout(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str
) -> Changes:
    """The person's own words, later than the opt-out: sends may go again. They are a yes, too."""
    return _say(view, tenant, number, groups, at_ms, evidence, out=False, consent=True)


def record_consent(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str | dict[str, Any]
) -> Changes:
    """The number said yes to `groups`, with what proves it. It lifts an opt-out that is earlier; a later one stands."""
    return _say(view, tenant, number, groups, at_ms, evidence, out=False, consent=True)


def consented_since(view: View, tenant: int, number: int, group: str) -> int | None:
    """When the number last said yes; None when it has not, or has said stop since."""
    row = view.get("consents", OPTOUT_KEY.pack(tenant, number, CONSENT_GROUPS[group]))
    return None if row is None else int(unpack(row)["at_ms"])


def opted_out(view: View, tenant: int, number: int, group: str) -> bool:
    return opted_out_since(view, tenant, number, group) is not None


def opted_out_since(view: View, tenant: int, number: int, group: str) -> int | None:
    """When the number last said so; None when it is not opted out."""
    row = view.get("optouts", OPTOUT_KEY.pack(tenant, number, OPTOUT_GROUPS[group]))
    return None if row is None else int(unpack(row)["at_ms"])


def suppressed(view: View, tenant: int, number: int) -> bool:
    """By the tenant or by the operator, by its number or the hash of it, or since its member was erased."""
    listed = any(view.get("suppressions", TENANT_U64.pack(by, number)) is not None for by in (tenant, OPERATOR))
    return listed or bool(hashed_among(view, tenant, (number,))) or erased(view, tenant, number)


def number_hash(view: View, tenant: int, number: int) -> bytes | None:
    """What is kept of an erased number, 32 octets; None while the tenant has no salt: nobody was erased yet."""
    salt = salt_of(view, tenant)
    return erased_key(tenant, salt, number)[TENANT.size :] if salt else None


def erased(view: View, tenant: int, number: int) -> bool:
    """Whether a member with this number was erased."""
    return bool(erased_among(view, tenant, (number,)))


def suppressed_numbers(view: View, tenant: int, numbers: Sequence[int]) -> set[int]:
    """Those of `numbers` that were erased or whose hash is listed: whoever gets one is suppressed. Costs three look-ups
    where there is neither."""
    return erased_among(view, tenant, numbers) | hashed_among(view, tenant, numbers)


def note_erased(changes: Changes, view: View, tenant: int, numbers: Iterable[int], at_ms: int, salt: bytes) -> None:
    """Keep the hashes of `numbers`; `salt` becomes the tenant's where it has none yet."""
    held = salt_of(view, tenant)
    if not held:
        assert len(salt) == SALT_OCTETS, "the command's maker draws it"
        held, key = salt, TENANT.pack(tenant)
        row = changes.rows.get(("tenants", key)) or view.get("tenants", key)
        assert row is not None, f"tenant {tenant} does not exist"
        changes.put("tenants", key, pack({**unpack(bytes(row)), "erased_salt": held}))
    for number in numbers:
        changes.put("erased_numbers", erased_key(tenant, held, number), pack({"at_ms": at_ms}))


def planes_of(view: View, tenant: int, number: int) -> dict[int, bool]:
    """What the planes of the member with this number must say: copied when it is created or changes number."""
    planes = {plane: opted_out(view, tenant, number, group) for group, plane in OPTOUT_GROUPS.items()}
    said_yes = {group: consented_since(view, tenant, number, group) is not None for group in CONSENT_GROUPS}
    planes |= {plane: said_yes[group] for group, plane in CONSENT_GROUPS.items()}
    return {PLANE_SUPPRESSED: suppressed(view, tenant, number), **planes}


def history(view: View, tenant: int, number: int) -> list[dict[str, Any]]:
    """Every opt-out and lift of a number, oldest first: at_ms, what, groups, evidence."""
    prefix = TENANT_U64.pack(tenant, number)
    return [
        {**unpack(row), "at_ms": U64.unpack(key[len(prefix) :])[0]} for key, row in view.range("optout_history", prefix)
    ]


def _say(
    view: View, tenant: int, number: int, groups: str | Iterable[str], at_ms: int, evidence: str | dict[str, Any], *,
    out: bool, consent: bool = False,
) -> Changes:  # fmt: skip
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
        yes = OPTOUT_KEY.pack(tenant, number, CONSENT_GROUPS[name])
        if out:
            changes.put("optouts", key, pack({"at_ms": at_ms, "evidence": evidence}))
            changes.delete("consents", yes)
            planes[CONSENT_GROUPS[name]] = False
        else:
            changes.delete("optouts", key)
        if consent:
            changes.put("consents", yes, pack({"at_ms": at_ms, "evidence": evidence}))
            planes[CONSENT_GROUPS[name]] = True
    when = at_ms
    while view.get("optout_history", TENANT_U64.pack(tenant, number) + U64.pack(when)) is not None:
        when += 1
    word: dict[str, Any] = {"what": "optout" if out else "lift", "groups": names, "evidence": evidence}
    if consent:
        word["consent"] = True
    changes.put("optout_history", TENANT_U64.pack(tenant, number) + U64.pack(when), pack(word))
    member_no = number_slot(view, tenant, number)
    if member_no is not None and planes:
        put_delta(changes, view, tenant, member_no, {FLAGS: plane_entry(planes)})
    if member_no is None and out and (own := _own_number(view, tenant, number)):
        changes.merge(_say(view, tenant, own, names, at_ms, evidence, out=True))  # a yes stays with its own number
    return changes


def _own_number(view: View, tenant: int, number: int) -> int:
    """The number of the member who answers for a number that a merge freed; 0 for any other."""
    member_no = alias_of(view, tenant, number)
    held = read_member(view, tenant, member_no, [MSISDN]) if member_no is not None else None
    return int(held[MSISDN] or 0) if held else 0


def _last_words(view: View, tenant: int, number: int) -> dict[str, int]:
    """Group -> when the number last spoke about it."""
    said = sorted((word["at_ms"], name) for word in history(view, tenant, number) for name in word["groups"])
    return {name: at_ms for at_ms, name in said}
