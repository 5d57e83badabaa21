"""One member: made, changed, moved to another number, shown.

Touches: `phones`, the delta, `fields` (a dictionary that grows), `merges`, `provenance`, the tenant's
next_member_no.
A number's row may point to a slot that is not live: a running import reserved it. Readers do not find
it; whoever would make that member is told to wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.control.commands import Envelope, UpsertMember
from dispatcher.errors import CommandRefused
from dispatcher.members import provenance
from dispatcher.members.aliases import alias_of, drop_alias, gone
from dispatcher.members.attributes import Encoded, Wrong, decode, encode, unknown_entries, unknown_octets
from dispatcher.members.consent import planes_of
from dispatcher.members.fields import SYSTEM_FIELDS, Field, every_field, fields_of, put_field, unknown_field, with_room
from dispatcher.members.msisdn import Unparsed, international, normalise
from dispatcher.members.tags import tag_entries, tags_field
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import (
    FLAGS,
    Column,
    ColumnKind,
    blocks_of,
    find_number,
    next_member_no,
    number_slot,
    open_block,
    plane_entry,
    put_delta,
    read_member,
)
from dispatcher.store.layout import (
    BLOCK,
    FIELD_MSISDN,
    FIELD_POINTS,
    FIELD_POINTS_OPENING,
    MEMBER_NO,
    OPTOUT_GROUPS,
    PLANE_LIVE,
    PLANE_SUPPRESSED,
    TENANT_U64,
)
from dispatcher.tenants.tenant import need_tenant, put_next_member_no

MEMBERS_MAX = 0xFFFFFFFF
SOURCE_MAX = 60  # characters
MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
POINTS: Column = (FIELD_POINTS, 0, ColumnKind.I64)
POINTS_OPENING: Column = (FIELD_POINTS_OPENING, 0, ColumnKind.I64)


def upsert_member(view: View, command: UpsertMember, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Make or change one member. All of it or, when one value is wrong, nothing (422 with every error).

    `kept` in the reply names fields whose value came from a better source and stays (provenance.py).
    """
    tenant = need_tenant(view, envelope.tenant)
    fields = fields_of(view, tenant.number)
    number, given = _read(fields, command, tenant.region)
    if len(command.source) > SOURCE_MAX:
        raise CommandRefused(422, "invalid_value", f"source: at most {SOURCE_MAX} characters")
    member_no = command.member_no
    if member_no is None:
        member_no = _by_number(view, tenant.number, number, command)
    else:
        _need_live(view, tenant.number, member_no)
    created = member_no is None
    source = command.source or ("cli" if envelope.actor == "cli" else "api")
    kept = [
        name
        for name in given
        if member_no is not None and not provenance.allowed(view, tenant.number, member_no, fields[name], source)
    ]
    changes, entries = Changes(), dict[Column, bytes]()
    for name, (field, values) in given.items():
        if name not in kept:
            entries |= values
            if field is not fields[name]:
                put_field(changes, tenant.number, field)
    if member_no is None:
        member_no = _reserve(changes, view, tenant.number, tenant.next_member_no)
        entries |= {POINTS: NUMBER[ColumnKind.I64].pack(0)}
        _take_number(changes, view, tenant.number, member_no, number, entries, {PLANE_LIVE: True})
    elif command.member_no is not None and number:
        held = read_member(view, tenant.number, member_no, [MSISDN])
        old = int(held[MSISDN] or 0) if held else 0
        if number != old:
            _refuse_taken(view, tenant.number, number)
            if old:
                changes.delete("phones", TENANT_U64.pack(tenant.number, old))
            _take_number(changes, view, tenant.number, member_no, number, entries, {})
    if entries:
        put_delta(changes, view, tenant.number, member_no, entries)
    noted = [fields[name] for name in given if name not in kept]
    provenance.note(changes, view, tenant.number, member_no, noted, source, envelope.at_ms)
    reply: dict[str, Any] = {"id": public_member_id(member_no), "member_no": member_no, "created": created}
    return changes, reply | ({"kept": kept} if kept else {})


def clear_slot(changes: Changes, view: View, tenant: int, member_no: int) -> None:
    """Put every column of a slot back to unknown: nobody is there any more, and nobody ever will be."""
    entries = {column: unknown_octets(column[2]) for column in (FLAGS, MSISDN, POINTS, POINTS_OPENING)}
    for field in stored_fields(view, tenant):
        entries |= unknown_entries(field)
    put_delta(changes, view, tenant, member_no, entries)


def stored_fields(view: View, tenant: int) -> list[Field]:
    """The tenant's own fields, retired ones too: all that members may have values of."""
    return [field for field in every_field(view, tenant) if field.editable]


def member_json(
    view: View, tenant: int, member_no: int, fields: dict[str, Field] | None = None
) -> dict[str, Any] | None:
    """A live member as the API shows it; None when there is none. `fields` spares the look-up, for a page."""
    own = {name: field for name, field in (fields or fields_of(view, tenant)).items() if name not in SYSTEM_FIELDS}
    columns = [MSISDN, POINTS, *(column for field in own.values() for column in field.columns)]
    raw = read_member(view, tenant, member_no, columns)
    if raw is None:
        return None
    flags = int(raw[FLAGS] or 0)
    return {
        "id": public_member_id(member_no),
        "msisdn": international(int(raw[MSISDN] or 0)),
        "points": int(raw[POINTS] or 0),
        "values": {name: decode(field, raw) for name, field in own.items()},
        "suppressed": bool(flags >> PLANE_SUPPRESSED & 1),
        "opted_out": [group for group, plane in OPTOUT_GROUPS.items() if flags >> plane & 1],
    }


def list_members(
    view: View, tenant: int, after_member_no: int = -1, limit: int = 100
) -> tuple[list[dict[str, Any]], int | None]:
    """Up to `limit` live members above `after_member_no` in order, and where to go on (None: that was all)."""
    fields = fields_of(view, tenant)
    page: list[dict[str, Any]] = []
    last = None
    for member_no in live_members(view, tenant, after_member_no):
        if len(page) == limit:
            return page, last
        shown = member_json(view, tenant, member_no, fields)
        assert shown is not None, f"member {member_no} is live in the plane and not in its slot"
        page.append(shown)
        last = member_no
    return page, None


def live_members(view: View, tenant: int, after_member_no: int = -1) -> Iterator[int]:
    """Numbers of live members above `after_member_no`, in order."""
    no = next_member_no(view, tenant)
    start = after_member_no + 1
    for block in range(start // BLOCK, blocks_of(no)):
        opened = open_block(view, tenant, block, [FLAGS], next_no=no)
        bits = int.from_bytes(opened.plane(FLAGS[0], PLANE_LIVE), "little")
        bits &= -1 << max(0, start - block * BLOCK)
        while bits:
            low = bits & -bits
            yield block * BLOCK + low.bit_length() - 1
            bits ^= low


def _read(fields: dict[str, Field], command: UpsertMember, region: str) -> tuple[int, dict[str, Encoded]]:
    """(number or 0, {name: (field, grown where it grew; entries)}); raises CommandRefused with every error there is."""
    errors: list[dict[str, str]] = []
    given: dict[str, Encoded] = {}
    number = 0
    if command.msisdn is not None:
        parsed = normalise(command.msisdn, region)
        if isinstance(parsed, Unparsed):
            detail = f"msisdn {command.msisdn[:40]!r}: {parsed.reason.replace('_', ' ')}"
            errors.append({"pointer": "/msisdn", "code": parsed.reason, "detail": detail})
        else:
            number = parsed
    fresh = fields  # with the room that tags of this command leave
    for name, value in command.values.items():
        field = fresh.get(name)
        if field is None:
            raise unknown_field(name, fields, f"/values/{name}")
        encoded = encode(field, value) if field.editable else _NOT_EDITABLE[name]
        if isinstance(encoded, Wrong):
            errors.append({"pointer": f"/values/{name}", "code": encoded.code, "detail": encoded.detail})
            continue
        given[name] = encoded if encoded[0] is not field else (fields[name], encoded[1])
        if encoded[0] is not field:
            fresh = with_room({**fresh, name: encoded[0]})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    if command.tags_add or command.tags_remove:
        field = tags_field(fresh, command.tags_field)
        if field.name in command.values:
            raise CommandRefused(422, "invalid_value", f"{field.name}: either all tags or some to add and remove")
        grown, bits = tag_entries(field, command.tags_add, command.tags_remove)
        given[field.name] = (grown if grown is not field else fields[field.name]), bits
    return number, given


_NOT_EDITABLE = {
    "phone": Wrong("not_editable", "phone: changed as msisdn, not among the values"),
    "points": Wrong("not_editable", "points: the balance moves by entries only, see /v1/points/entries"),
}


def _by_number(view: View, tenant: int, number: int, command: UpsertMember) -> int | None:
    """Whom an upsert by number means; None: a member to be made."""
    if not number:
        detail = "msisdn: a member is found or made by its number"
        raise CommandRefused(
            422, "invalid_value", detail, errors=[{"pointer": "/msisdn", "code": "missing", "detail": detail}]
        )
    member_no = find_number(view, tenant, number)
    if member_no is None and number_slot(view, tenant, number) is None:
        member_no = alias_of(view, tenant, number)
    if member_no is None and not command.create:
        raise CommandRefused(404, "not_found", f"no member has the number +{number}")
    if member_no is None or command.must_be_new:
        _refuse_taken(view, tenant, number, member_no)
    return member_no


def _refuse_taken(view: View, tenant: int, number: int, alias: int | None = None) -> None:
    """Raises 409 when the number belongs to a member, or leads to one (`alias`), or to one that is being imported."""
    slot = number_slot(view, tenant, number)
    member_no = alias if slot is None else slot
    if member_no is None:
        return
    if slot is not None and find_number(view, tenant, number) is None:
        raise CommandRefused(409, "state_conflict", f"+{number} is being imported; try again when the import is done")
    member_id = public_member_id(member_no)
    detail = f"+{number} belongs to member {member_id}"
    raise CommandRefused(409, "duplicate_number", detail, extra={"member": member_id})


def _need_live(view: View, tenant: int, member_no: int) -> dict[Column, int | str | None]:
    held = read_member(view, tenant, member_no, [MSISDN]) if 0 <= member_no < MEMBERS_MAX else None
    if held is None:
        raise gone(view, tenant, member_no)
    return held


def _reserve(changes: Changes, view: View, tenant: int, member_no: int) -> int:
    if member_no >= MEMBERS_MAX:
        raise CommandRefused(409, "state_conflict", f"tenant {tenant} has given all {MEMBERS_MAX} member numbers")
    put_next_member_no(changes, view, tenant, member_no + 1)
    return member_no


def _take_number(
    changes: Changes,
    view: View,
    tenant: int,
    member_no: int,
    number: int,
    entries: dict[Column, bytes],
    planes: dict[int, bool],
) -> None:
    """The phones row, the column, and what this number said: all three or none."""
    changes.put("phones", TENANT_U64.pack(tenant, number), MEMBER_NO.pack(member_no))
    drop_alias(changes, view, tenant, number)
    entries[MSISDN] = NUMBER[ColumnKind.U64].pack(number)
    entries[FLAGS] = plane_entry({**planes, **planes_of(view, tenant, number)})
