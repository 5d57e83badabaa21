"""What happened with one person, newest first: messages and receipts, what they wrote, points, consent, edits.

Touches: everything that speaks of a member, read-only, in one snapshot. Members merged into this one, and the numbers
they left, are part of it; so is what the files of archived campaigns say of them (apps/archive.py), 0.2 ms each.
Weak spot: messages from phones, and our answers, are looked through newest first, some 3 us each, and no further back
than LOOKED_AT of them; `complete` says whether those from phones were all. Edits by API are known by the fields that
keep their sources, and imports as long as they can be undone.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dispatcher.apps.archive import filled_one
from dispatcher.apps.coupons import redemptions_of
from dispatcher.apps.points.account import statement
from dispatcher.campaigns.contacts import messages_of
from dispatcher.clock import rfc3339
from dispatcher.members import provenance
from dispatcher.members.aliases import merges_of
from dispatcher.members.consent import history
from dispatcher.members.import_undo import records_of
from dispatcher.members.member import MSISDN
from dispatcher.records.batches import batches_of, is_message_batch
from dispatcher.records.keys import parse_public_id, public_id, public_member_id
from dispatcher.store.columns import read_member
from dispatcher.store.layout import BLOCK, TENANT, TENANT_U64, U64
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

LOOKED_AT = 200_000  # messages
STATEMENT_PAGE = 200
MESSAGE = ("campaign", "title", "purpose", "member", "decision", "state", "parts", "message_id")
RECEIPT = ("campaign", "state", "error", "message_id")
COUPON = ("id", "code", "state", "pool", "value", "campaign", "arm", "shop", "reference", "amount_micros", "undone")
POINTS = ("at_ms", "id", "member", "delta", "balance", "source", "reason")
Event = dict[str, Any]


@dataclass(slots=True)
class Person:
    """A live member with whatever was merged into it."""

    member_no: int
    number: int
    losers: dict[int, dict[str, Any]]
    aliases: list[int]
    complete: bool = field(default=True)

    @property
    def members(self) -> list[int]:
        return [self.member_no, *self.losers]

    @property
    def numbers(self) -> list[int]:
        return [self.number, *self.aliases] if self.number else self.aliases


def person_of(view: Snapshot, tenant: int, member_no: int) -> Person | None:
    """None when there is no such live member."""
    held = read_member(view, tenant, member_no, [MSISDN]) if 0 <= member_no < 1 << 32 else None
    if held is None:
        return None
    losers, aliases = merges_of(view, tenant, member_no)
    return Person(member_no, int(held[MSISDN] or 0), losers, aliases)


def timeline(
    view: Snapshot,
    tenant: int,
    member_no: int,
    *,
    limit: int = 50,
    before: tuple[int, int] | None = None,
    folder: Path | None = None,
) -> tuple[list[Event], tuple[int, int] | None] | None:
    """(events newest first, where the next page begins or None); None when there is no such member.

    A place is (at_ms, how many events of that millisecond were shown). folder: of the data, for what is archived.
    """
    person = person_of(view, tenant, member_no)
    if person is None:
        return None
    shown: list[Event] = []
    at_ms, seen = before or (1 << 63, 0)
    skip = seen
    for event in events(view, tenant, person, folder):
        if event["at_ms"] > at_ms:
            continue
        if event["at_ms"] == at_ms and skip:
            skip -= 1
            continue
        if len(shown) == limit:
            last = shown[-1]["at_ms"]
            same = sum(1 for each in shown if each["at_ms"] == last)
            return _dated(shown), (last, same + (seen if last == at_ms else 0))
        shown.append(event)
    return _dated(shown), None


def events(view: Snapshot, tenant: int, person: Person, folder: Path | None = None) -> Iterator[Event]:
    """All of them, newest first, each with kind and at_ms."""
    sources: list[Iterable[Event]] = [
        _newest(_messages(view, tenant, person, folder)),
        inbound(view, tenant, person),
        _newest(_answers(view, tenant, person)),
        *(_points(view, tenant, no) for no in person.members),
        coupons(view, tenant, person),
        _newest(_consent(view, tenant, person)),
        _newest(_merges(person)),
        _newest(_values(view, tenant, person)),
        _newest(imports_of(view, tenant, person)),
    ]
    return heapq.merge(*sources, key=_at, reverse=True)


def coupons(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    """What was redeemed or made void, newest first; with what was taken back of it."""
    for row in redemptions_of(view, tenant, person.members):
        yield {"kind": "coupon", "at_ms": row["at_ms"], "what": row["kind"], **{name: row[name] for name in COUPON}}


def inbound(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    """What the person wrote, newest first."""
    theirs = {text for number in person.numbers for text in (str(number), f"+{number}")}
    rows = view.range("inbound", TENANT.pack(tenant), reverse=True)
    for key, octets in itertools.islice(rows, LOOKED_AT):
        row = unpack(octets)
        if row["from"] in theirs:
            yield {
                "kind": "inbound",
                "at_ms": row["at_ms"],
                "id": public_id("inb", TENANT_U64.unpack(key)[1]),
                **{name: row[name] for name in ("from", "to", "text", "what")},
                **({"octets": row["octets"].hex()} if row["text"] is None else {}),  # what no alphabet reads
                **({"missing": row["missing"]} if row.get("missing") else {}),  # parts of a long one that never came
            }
    person.complete &= next(rows, None) is None


def imports_of(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    """Imports and bulk edits that made or changed the member, as long as they can be undone."""
    for key, octets in view.range("imports", TENANT.pack(tenant)):
        import_id, row = TENANT_U64.unpack(key)[1], unpack(octets)
        if any(_touched(view, import_id, no) for no in person.members):
            yield {
                "kind": "bulk_edit" if row.get("kind") == "bulk" else "import",
                "at_ms": row["updated_ms"],
                "id": public_id("imp", import_id),
                "file": row.get("filename", ""),
            }


def _touched(view: Snapshot, import_id: int, member_no: int) -> bool:
    block, slot = divmod(member_no, BLOCK)
    return any(
        slot in record.slots or any(made.slot <= slot < made.slot + made.count for made in record.created)
        for _, record in records_of(view, import_id, block)
    )


def _messages(view: Snapshot, tenant: int, person: Person, folder: Path | None) -> Iterator[Event]:
    for no in person.members:
        for row in messages_of(view, tenant, no):
            campaign = parse_public_id("cmp", row["campaign"]) or 0
            row, readable = filled_one(view, tenant, campaign, row, folder)
            person.complete &= readable
            sent_ms, final_ms = _ms(row["submitted_at"]), _ms(row["final_at"])
            yield {"kind": "message", "at_ms": sent_ms or row["at_ms"], **{name: row[name] for name in MESSAGE}}
            if final_ms is not None:
                yield {"kind": "receipt", "at_ms": final_ms, **{name: row[name] for name in RECEIPT}}


def _answers(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    theirs = set(person.numbers)
    for batch in batches_of(tenant):
        kind = "single_message" if is_message_batch(batch) else "answer"
        for _, octets in itertools.islice(view.range("outbox", U64.pack(batch), reverse=True), LOOKED_AT):
            row = unpack(octets)
            if row["to"] in theirs:
                yield {"kind": kind, "at_ms": row["created_ms"], "to": f"+{row['to']}", "text": row["text"]}


def _points(view: Snapshot, tenant: int, member_no: int) -> Iterator[Event]:
    before = None
    while rows := statement(view, tenant, member_no, STATEMENT_PAGE, before=before):
        for row in rows:
            yield {"kind": "points", **{name: row[name] for name in POINTS}}
        before = rows[-1]["entry"]


def _consent(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    for number in person.numbers:
        for word in history(view, tenant, number):
            yield {"kind": "consent", "number": f"+{number}", **word}


def _merges(person: Person) -> Iterator[Event]:
    for loser, row in person.losers.items():
        merged = {"merged": public_member_id(loser), "into": public_member_id(row["into"])}
        yield {"kind": "merge", "at_ms": row["at_ms"], **merged, "conflicts": row.get("conflicts", [])}


def _values(view: Snapshot, tenant: int, person: Person) -> Iterator[Event]:
    for name, given in provenance.of(view, tenant, person.member_no).items():
        yield {"kind": "value", "at_ms": _ms(given["at"]) or 0, "field": name, "source": given["source"]}


def _newest(found: Iterable[Event]) -> list[Event]:
    return sorted(found, key=_at, reverse=True)


def _at(event: Event) -> int:
    return int(event["at_ms"])


def _ms(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp() * 1000)


def _dated(found: list[Event]) -> list[Event]:
    return [{**event, "at": rfc3339(event["at_ms"])} for event in found]
