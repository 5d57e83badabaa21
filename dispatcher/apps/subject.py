"""Everything held about one person, for the person: values with their sources, consent, points, coupons, messages.

Touches: what timeline.py reads, in one snapshot. What stays out: other people's data, seals and hashes, the audit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dispatcher.apps.points.account import balance, opening, statement
from dispatcher.apps.timeline import coupons, events, imports_of, inbound, person_of
from dispatcher.clock import rfc3339
from dispatcher.members import provenance
from dispatcher.members.attributes import decode
from dispatcher.members.consent import history, planes_of
from dispatcher.members.member import member_json, stored_fields
from dispatcher.records.keys import public_member_id
from dispatcher.store.columns import read_member
from dispatcher.store.layout import OPTOUT_GROUPS, PLANE_SUPPRESSED
from dispatcher.store.snapshot import Snapshot

ENTRIES_MAX = 100_000  # of a statement


def subject(
    view: Snapshot, tenant: int, member_no: int, now_ms: int, *, folder: Path | None = None
) -> dict[str, Any] | None:
    """One JSON object; None when there is no such live member. `complete` is false where something was cut, or where
    the file of an archived campaign cannot be read. folder: of the data, for what is archived."""
    person = person_of(view, tenant, member_no)
    if person is None:
        return None
    told = list(events(view, tenant, person, folder))
    return {
        "id": public_member_id(member_no),
        "exported_at": rfc3339(now_ms),
        "member": member_json(view, tenant, member_no),
        "values": _values(view, tenant, member_no),
        "numbers": [_number(view, tenant, number) for number in person.numbers],
        "consent": [{"number": f"+{n}", **word} for n in person.numbers for word in history(view, tenant, n)],
        "points": [_account(view, tenant, no) for no in person.members],
        "coupons": list(coupons(view, tenant, person)),
        "messages": [event for event in told if event["kind"] in ("message", "receipt")],
        "answers": [event for event in told if event["kind"] == "answer"],
        "inbound": list(inbound(view, tenant, person)),
        "merges": [event for event in told if event["kind"] == "merge"],
        "imports": list(imports_of(view, tenant, person)),
        "complete": person.complete,
    }


def _values(view: Snapshot, tenant: int, member_no: int) -> list[dict[str, Any]]:
    """Every field's value, of retired fields too, with its source where that is kept."""
    fields = stored_fields(view, tenant)
    raw = read_member(view, tenant, member_no, [column for field in fields for column in field.columns]) or {}
    sources = provenance.of(view, tenant, member_no)
    return [
        {
            "field": field.name,
            "label": field.label,
            "kind": field.kind,
            "value": decode(field, raw),
            **sources.get(field.name, {}),
        }
        for field in fields
    ]


def _number(view: Snapshot, tenant: int, number: int) -> dict[str, Any]:
    said = planes_of(view, tenant, number)
    groups = [group for group, plane in OPTOUT_GROUPS.items() if said[plane]]
    return {"msisdn": f"+{number}", "opted_out": groups, "suppressed": said[PLANE_SUPPRESSED]}


def _account(view: Snapshot, tenant: int, member_no: int) -> dict[str, Any]:
    entries = statement(view, tenant, member_no, ENTRIES_MAX)
    return {
        "member": public_member_id(member_no),
        "balance": balance(view, tenant, member_no),
        "opening": opening(view, tenant, member_no),
        "entries": entries,
    }
