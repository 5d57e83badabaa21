"""A merge taken back: the loser is a member again as it was, the winner what it was before, but for later changes.

Touches: both members' delta rows, `phones`, `optouts`, `optout_history`, `suppressions`, `provenance` and `merges`.
Points go back by apps/merge.py in the same transaction.

A merge keeps in its row what this needs: all that the loser had, and of the winner each value that it replaced beside
what it put there. A value of the winner that is no longer what the merge left stays, and is named in `changed_since`:
the phone, a field, a source, an opt-out. Tags that the merge added go. Ledgers, entries and replies never moved.
Refused: where the winner was merged on (that one first), where the loser's number is somebody else's by now, and for a
merge of a version that kept nothing.
"""

from __future__ import annotations

from typing import Any

from dispatcher.control.commands import Envelope, UnmergeMembers
from dispatcher.errors import CommandRefused
from dispatcher.members import provenance
from dispatcher.members.aliases import MERGE_KEY, drop_alias, merged_into
from dispatcher.members.attributes import unknown_octets
from dispatcher.members.consent import planes_of
from dispatcher.members.fields import every_field
from dispatcher.members.member import MSISDN, POINTS
from dispatcher.members.msisdn import international
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import (
    FLAGS,
    Column,
    ColumnKind,
    number_slot,
    plane_entry,
    put_delta,
    read_member,
    read_slot,
)
from dispatcher.store.layout import (
    MEMBER_NO,
    OPTOUT_GROUPS,
    OPTOUT_KEY,
    PLANE_LIVE,
    PLANE_SUPPRESSED,
    TENANT_U64,
    U64,
)
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

Raw = int | str | None


def unmerge(view: View, command: UnmergeMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The members' part. The reply: id (the loser's), from, msisdn, restored and changed_since, by name; and `points`,
    what the merge had moved."""
    tenant, loser = need_tenant(view, envelope.tenant).number, command.member_no
    row = _need_merge(view, tenant, loser)
    winner, undo = int(row["into"]), row["undo"]
    named = {field.number: field.name for field in every_field(view, tenant)}
    kinds = {column[:2]: column[2] for field in every_field(view, tenant) for column in field.columns}
    changes, restored, changed = Changes(), list[str](), list[str]()
    numbers = _numbers(view, tenant, winner, loser, undo)
    if numbers[1] != undo["held_number"]:
        changed.append("phone")
    entries: dict[Column, bytes] = {}
    for number, part, kind, before, after in undo["replaced"]:
        column: Column = (number, part, kinds.get((number, part), ColumnKind(kind)))
        now = read_slot(view, tenant, winner, [column])[column]
        name = named.get(number, str(number))
        if column[2] == ColumnKind.PLANES:
            entries[column] = bytes((after & ~before & 0xFF, 0))
        elif now != after:
            changed.append(name)
            continue
        else:
            entries[column] = octets_of(column, before)
            _restore_source(changes, view, tenant, winner, number, undo["sources"].get(str(number)))
        restored.append(name)
    lifted = _lift(changes, view, tenant, row, envelope.at_ms, changed)
    _put_numbers(changes, view, tenant, winner, loser, numbers)
    entries[MSISDN] = NUMBER[ColumnKind.U64].pack(numbers[1])
    entries[FLAGS] = plane_entry({**planes_of(view, tenant, numbers[1]), **dict.fromkeys(lifted, False)})
    put_delta(changes, view, tenant, winner, entries)
    _put_loser(changes, view, tenant, loser, undo, numbers[0], kinds)
    changes.delete("merges", MERGE_KEY.pack(tenant, loser))
    reply = {
        "id": public_member_id(loser),
        "member_no": loser,
        "from": public_member_id(winner),
        "msisdn": international(numbers[0]),
        "restored": list(dict.fromkeys(restored)),
        "changed_since": list(dict.fromkeys(changed)),
        "points": undo["points"],
    }
    return changes, reply


def undo_of(
    view: View,
    tenant: int,
    sides: tuple[int, int],
    columns: list[Column],
    entries: dict[Column, bytes],
    rest: dict[str, Any],
) -> dict[str, Any]:
    """What a merge of (winner, loser) keeps. columns: all that the loser may have; entries: what the winner is given,
    besides number and flags; rest: kept, opted_out, suppressed."""
    winner, loser = sides
    lost = read_slot(view, tenant, loser, columns)
    held = read_slot(view, tenant, winner, [MSISDN, *entries])
    replaced: list[list[Raw]] = []
    for column, octets in entries.items():
        before, after = held[column], value_of(column, octets)
        if column[2] == ColumnKind.PLANES:
            assert isinstance(before, int) and isinstance(after, int)
            after |= before
        replaced.append([*column, before, after])
    sources = {str(column[0]): _source(view, tenant, winner, column[0]) for column in entries}
    return {
        "lost": [[*column, value] for column, value in lost.items() if value not in (None, "")],
        "lost_sources": {str(number): _source(view, tenant, loser, number) for number, *_ in columns},
        "replaced": replaced,
        "sources": sources,
        "held_number": int(held[MSISDN] or 0),
        "points": int(lost[POINTS] or 0),
        **rest,
    }


def value_of(column: Column, octets: bytes) -> Raw:
    """A delta entry as read_slot shows it; of planes the bits."""
    if column[2] == ColumnKind.TEXT:
        return octets.decode()
    return octets[1] if column[2] == ColumnKind.PLANES else int(NUMBER[column[2]].unpack(octets)[0])


def octets_of(column: Column, value: Raw) -> bytes:
    if value is None:
        return unknown_octets(column[2])
    if isinstance(value, str):
        return value.encode()
    return bytes((0xFF, value)) if column[2] == ColumnKind.PLANES else NUMBER[column[2]].pack(value)


def _need_merge(view: View, tenant: int, loser: int) -> dict[str, Any]:
    if not 0 <= loser < 1 << 32:
        raise CommandRefused(404, "not_found", f"member number {loser} does not exist")
    octets, loser_id = view.get("merges", MERGE_KEY.pack(tenant, loser)), public_member_id(loser)
    if octets is None:
        if read_member(view, tenant, loser, []) is not None:
            raise CommandRefused(409, "state_conflict", f"member {loser_id} is merged into nobody")
        raise CommandRefused(404, "not_found", f"member {loser_id} does not exist")
    row = unpack(octets)
    winner_id = public_member_id(row["into"])
    if (further := merged_into(view, tenant, int(row["into"]))) is not None:
        detail = (
            f"{winner_id}, into which {loser_id} was merged, was merged into {public_member_id(further)}: that first"
        )
        raise CommandRefused(409, "state_conflict", detail, extra={"merged_into": public_member_id(further)})
    if read_member(view, tenant, int(row["into"]), []) is None:
        raise CommandRefused(409, "state_conflict", f"{winner_id}, into which {loser_id} was merged, was erased")
    if not row.get("undo"):
        raise CommandRefused(409, "state_conflict", f"the merge of {loser_id} kept nothing to take it back with")
    return row


def _numbers(view: View, tenant: int, winner: int, loser: int, undo: dict[str, Any]) -> tuple[int, int, int]:
    """(loser's, winner's, what the winner has now). Raises 409 where one of them is somebody else's."""
    lost = next((value for number, _, _, value in undo["lost"] if number == MSISDN[0]), 0)
    now = int(read_slot(view, tenant, winner, [MSISDN])[MSISDN] or 0)
    back = undo["held_number"] if now == undo["kept"] else now
    if lost and lost == back:
        raise CommandRefused(409, "state_conflict", f"+{lost} is {public_member_id(winner)}'s own by now")
    for number in (lost, back):
        holder = number_slot(view, tenant, number) if number else None
        if holder not in (None, winner):
            detail = f"+{number} belongs to member {public_member_id(holder)} by now"
            raise CommandRefused(409, "duplicate_number", detail, extra={"member": public_member_id(holder)})
    return lost, back, now


def _put_numbers(
    changes: Changes, view: View, tenant: int, winner: int, loser: int, numbers: tuple[int, int, int]
) -> None:
    lost, back, now = numbers
    if now and now != back:
        changes.delete("phones", TENANT_U64.pack(tenant, now))
    for number, member_no in ((back, winner), (lost, loser)):
        if number:
            changes.put("phones", TENANT_U64.pack(tenant, number), MEMBER_NO.pack(member_no))
            drop_alias(changes, view, tenant, number)


def _put_loser(
    changes: Changes, view: View, tenant: int, loser: int, undo: dict[str, Any], number: int, kinds: dict[Any, Any]
) -> None:
    entries: dict[Column, bytes] = {}
    for at, part, kind, value in undo["lost"]:
        column: Column = (at, part, kinds.get((at, part), ColumnKind(kind)))
        if column[:2] not in (FLAGS[:2], POINTS[:2]):  # the account's move gives the points
            entries[column] = octets_of(column, value)
    entries[FLAGS] = plane_entry({PLANE_LIVE: True, **planes_of(view, tenant, number)})
    put_delta(changes, view, tenant, loser, entries)
    for at, row in undo["lost_sources"].items():
        if row is not None:
            changes.put("provenance", provenance.PROVENANCE_KEY.pack(tenant, loser, int(at)), row)


def _lift(changes: Changes, view: View, tenant: int, row: dict[str, Any], at_ms: int, changed: list[str]) -> list[int]:
    """Take back what the winner's number was opted out of and suppressed for only because of the other's; returns the
    planes. What was said since stays."""
    undo, planes = row["undo"], list[int]()
    number, groups = undo["kept"], list[str]()
    for group in undo["opted_out"]:
        key = OPTOUT_KEY.pack(tenant, number, OPTOUT_GROUPS[group])
        octets = view.get("optouts", key)
        if octets is not None and unpack(octets)["at_ms"] == row["at_ms"]:
            changes.delete("optouts", key)
            groups.append(group)
            planes.append(OPTOUT_GROUPS[group])
        else:
            changed.append(f"opt-out of {group}")
    if groups:
        key, when = TENANT_U64.pack(tenant, number), at_ms
        while view.get("optout_history", key + U64.pack(when)) is not None:
            when += 1
        word = {"what": "unmerge", "groups": groups, "evidence": "the merge that it came from was taken back"}
        changes.put("optout_history", key + U64.pack(when), pack(word))
    if undo["suppressed"]:
        key = TENANT_U64.pack(tenant, number)
        octets = view.get("suppressions", key)
        if octets is not None and unpack(octets)["at_ms"] == row["at_ms"]:
            changes.delete("suppressions", key)
            planes.append(PLANE_SUPPRESSED)
        else:
            changed.append("suppression")
    return planes


def _source(view: View, tenant: int, member_no: int, field: int) -> bytes | None:
    return view.get("provenance", provenance.PROVENANCE_KEY.pack(tenant, member_no, field))


def _restore_source(
    changes: Changes, view: View, tenant: int, member_no: int, field: int, before: bytes | None
) -> None:
    key = provenance.PROVENANCE_KEY.pack(tenant, member_no, field)
    if before is not None:
        changes.put("provenance", key, before)
    elif view.get("provenance", key) is not None:
        changes.delete("provenance", key)
