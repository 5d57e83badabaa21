"""Two members who are one person: the winner takes over what the loser had; the loser's slot stays empty for ever.

Touches: both members' delta rows, `phones`, `optouts`, `suppressions`, `provenance` and `merges`. Points are moved by
apps/merge.py in the same transaction.

    values       the winner's, unless unknown or named in `take`; where both are known and differ, a conflict is told
    tags         of both
    number       the winner's (`take` phone: the loser's); the other one leads to the winner from then on (aliases.py)
    consent      the stricter: what either number opted out of, or was suppressed for, holds for the number that stays
Ledgers, points entries and opt-out history stay under the loser; readers follow `merges` to it. A loser in the audience
of a running campaign is allowed: what is not claimed of it is skipped, since its slot has no number any more.
The row in `merges` keeps what unmerge.py needs, until one of the two is erased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dispatcher.control.commands import Envelope, MergeMembers
from dispatcher.errors import CommandRefused
from dispatcher.members import provenance
from dispatcher.members.aliases import drop_alias, merged_into, put_alias, put_merge
from dispatcher.members.attributes import decode
from dispatcher.members.consent import planes_of, record_optout
from dispatcher.members.fields import Field, fields_of, unknown_field
from dispatcher.members.member import MSISDN, POINTS, POINTS_OPENING, clear_slot, stored_fields
from dispatcher.members.msisdn import international
from dispatcher.members.unmerge import undo_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import FLAGS, Column, ColumnKind, plane_entry, put_delta, read_member
from dispatcher.store.layout import CONSENT_GROUPS, MEMBER_NO, OPTOUT_GROUPS, PLANE_SUPPRESSED, TENANT_U64
from dispatcher.store.values import pack
from dispatcher.tenants.tenant import need_tenant

PHONE = "phone"  # in `take`: the loser's number stays
Raw = dict[Column, int | str | None]


@dataclass(frozen=True, slots=True)
class _Pair:
    view: View
    tenant: int
    winner: int
    loser: int
    held: Raw  # the winner's
    lost: Raw  # the loser's


def merge(view: View, command: MergeMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The members' part of a merge. Refused for the same member twice and for one that is gone; all or nothing.

    The reply names filled (winner's was unknown), taken, conflicts (field, winner, loser: the winner's is kept) and
    opted_out (groups that are new for the number that stays).
    """
    tenant = need_tenant(view, envelope.tenant).number
    if command.winner == command.loser:
        raise CommandRefused(422, "invalid_value", "winner and loser are the same member")
    fields = fields_of(view, tenant)
    for i, name in enumerate(command.take):
        if name != PHONE and (name not in fields or not fields[name].editable):
            raise unknown_field(name, [PHONE, *(f.name for f in fields.values() if f.editable)], f"/take/{i}")
    every = stored_fields(view, tenant)
    columns = [MSISDN, *(column for field in every for column in field.columns)]
    sides = [_need_mergeable(view, tenant, no, columns) for no in (command.winner, command.loser)]
    pair = _Pair(view, tenant, command.winner, command.loser, *sides)
    changes = Changes()
    kept, left = int(pair.held[MSISDN] or 0), int(pair.lost[MSISDN] or 0)
    if PHONE in command.take:
        kept, left = left, kept
    opted_out, suppressed = _keep_consent(changes, pair, kept, left, envelope)
    entries, story = _values(pair, every, frozenset(command.take))
    rest = {"kept": kept, "opted_out": opted_out, "suppressed": suppressed}
    undo = undo_of(
        view, tenant, (command.winner, command.loser), [POINTS, POINTS_OPENING, *columns], dict(entries), rest
    )
    clear_slot(changes, view, tenant, command.loser)
    _move_number(changes, pair, kept, left, envelope.at_ms)
    entries[MSISDN] = NUMBER[ColumnKind.U64].pack(kept)
    entries[FLAGS] = plane_entry(_either(pair, kept, left))
    put_delta(changes, view, tenant, command.winner, entries)
    _move_provenance(changes, pair, [field for field in every if field.name in {*story["filled"], *story["taken"]}])
    row = {"into": command.winner, "at_ms": envelope.at_ms, "actor": envelope.actor, "conflicts": story["conflicts"]}
    put_merge(changes, tenant, command.loser, {**row, "undo": undo})
    winner_id, loser_id = public_member_id(command.winner), public_member_id(command.loser)
    reply = {
        "id": winner_id,
        "member_no": command.winner,
        "merged": loser_id,
        "msisdn": international(kept),
        "alias": international(left),
        **story,
        "opted_out": opted_out,
    }
    return changes, reply


def _need_mergeable(view: View, tenant: int, member_no: int, columns: list[Column]) -> Raw:
    held = read_member(view, tenant, member_no, columns) if 0 <= member_no < 1 << 32 else None
    if held is not None:
        return held
    into = merged_into(view, tenant, member_no)
    if into is None:
        raise CommandRefused(404, "not_found", f"member {public_member_id(member_no)} does not exist")
    detail = f"member {public_member_id(member_no)} was merged into {public_member_id(into)} already"
    raise CommandRefused(409, "state_conflict", detail, extra={"merged_into": public_member_id(into)})


def _values(pair: _Pair, fields: list[Field], take: frozenset[str]) -> tuple[dict[Column, bytes], dict[str, Any]]:
    """What changes in the winner's slot, and the story: filled, taken, tags_added, conflicts."""
    entries: dict[Column, bytes] = {}
    filled: list[str] = []
    taken: list[str] = []
    tags: list[str] = []
    conflicts: list[dict[str, Any]] = []
    for field in fields:
        mine, theirs = decode(field, pair.held), decode(field, pair.lost)
        if field.kind == "tags":
            if more := [tag for tag in theirs if tag not in mine]:
                tags += more
                entries |= {column: _bits(pair.lost[column]) for column in field.columns if pair.lost[column]}
        elif theirs is None or mine == theirs:
            continue
        elif mine is None or field.name in take:
            (filled if mine is None else taken).append(field.name)
            entries[field.columns[0]] = _octets(field.columns[0], pair.lost[field.columns[0]])
        else:
            conflicts.append({"field": field.name, "winner": mine, "loser": theirs})
    return entries, {"filled": filled, "taken": taken, "tags_added": tags, "conflicts": conflicts}


def _keep_consent(changes: Changes, pair: _Pair, kept: int, left: int, envelope: Envelope) -> tuple[list[str], bool]:
    """What the number that goes said holds for the one that stays. Returns what is new for that one: the groups, and
    whether it is suppressed."""
    view, tenant = pair.view, pair.tenant
    said, heard = planes_of(view, tenant, kept), planes_of(view, tenant, left)
    why = f"merged with member {public_member_id(pair.loser)}"
    groups = [group for group, plane in OPTOUT_GROUPS.items() if heard[plane] and not said[plane]]
    if groups:
        changes.merge(record_optout(view, tenant, kept, groups, envelope.at_ms, f"{why} +{left}, opted out"))
    suppressed = heard[PLANE_SUPPRESSED] and not said[PLANE_SUPPRESSED]
    if suppressed:
        changes.put("suppressions", TENANT_U64.pack(tenant, kept), pack({"at_ms": envelope.at_ms, "reason": why}))
    return groups, suppressed


def _either(pair: _Pair, kept: int, left: int) -> dict[int, bool]:
    said, heard = planes_of(pair.view, pair.tenant, kept), planes_of(pair.view, pair.tenant, left)
    either = {plane: said[plane] or heard[plane] for plane in said}
    for group, plane in CONSENT_GROUPS.items():  # a yes is a number's own, and ends with a stop of either
        either[plane] = said[plane] and not either[OPTOUT_GROUPS[group]]
    return either


def _move_number(changes: Changes, pair: _Pair, kept: int, left: int, at_ms: int) -> None:
    """`kept` is the winner's; `left` is nobody's own and leads to the winner."""
    changes.put("phones", TENANT_U64.pack(pair.tenant, kept), MEMBER_NO.pack(pair.winner))
    drop_alias(changes, pair.view, pair.tenant, kept)
    if left:
        changes.delete("phones", TENANT_U64.pack(pair.tenant, left))
        put_alias(changes, pair.tenant, left, pair.winner, at_ms)


def _move_provenance(changes: Changes, pair: _Pair, fields: list[Field]) -> None:
    """Sources of values that came from the loser; its other rows go."""
    key = provenance.PROVENANCE_KEY.pack
    for field in fields:
        row = pair.view.get("provenance", key(pair.tenant, pair.loser, field.number))
        if row is not None:
            changes.put("provenance", key(pair.tenant, pair.winner, field.number), row)
    provenance.forget(pair.view, changes, pair.tenant, pair.loser)


def _bits(value: int | str | None) -> bytes:
    assert isinstance(value, int)
    return bytes((value, value))


def _octets(column: Column, value: int | str | None) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return NUMBER[column[2]].pack(value)
