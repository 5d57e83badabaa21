"""Walks the whole store and reports what does not add up: for tests, and for an operator (`volley verify`).

Touches: every table, read-only, in one snapshot, files of archives; memory is one tenant's open blocks (of the map).
A check is a function of the view that yields problems; those of what was sent are in verify_ledger.py, of members who
are gone in verify_members.py, of coupons in verify_coupons.py, of files in verify_archives.py; other rooms append
theirs to CHECKS.
Weak spot: rows are walked in Python, about a second for a million members; the snapshot holds pages so long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dispatcher.errors import StoreError
from dispatcher.records.changes import View
from dispatcher.store import ids_kept, verify_archives, verify_coupons, verify_ledger, verify_members
from dispatcher.store.audit import audit_is_sealed
from dispatcher.store.blocks import Column, ColumnKind, blocks_of, next_member_no, slots_of, stored_array
from dispatcher.store.columns import FLAGS, BlockView, open_block
from dispatcher.store.delta import unpack_delta
from dispatcher.store.erased import erased_among
from dispatcher.store.hashed import hashed_among
from dispatcher.store.layout import (
    BLOCK,
    BLOCK_KEY,
    DELTA_KEY,
    FIELD_MSISDN,
    FIELD_POINTS,
    FIELD_POINTS_OPENING,
    MEMBER_NO,
    OPTOUT_KEY,
    PLANE_CONSENT_MARKETING,
    PLANE_CONSENT_SERVICE,
    PLANE_LIVE,
    PLANE_OPTOUT_MARKETING,
    PLANE_SUPPRESSED,
    POINTS_KEY,
    TABLES,
    TENANT,
    TENANT_U64,
)
from dispatcher.store.problem import Check, Problem
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import unpack

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
POINTS: Column = (FIELD_POINTS, 0, ColumnKind.I64)
OPENING: Column = (FIELD_POINTS_OPENING, 0, ColumnKind.I64)
PROBLEMS_MAX = 1_000  # reported; a store with more is broken as a whole
_UNKNOWN = -(1 << 63)
_ENDED = ("done", "failed", "cancelled", "undone")  # states of an import that is over


def verify(view: Snapshot, folder: Path | None = None, more: Sequence[Check] = ()) -> dict[str, Any]:
    """{"problems": sentences, at most PROBLEMS_MAX, "tables": rows by table, "checks": names that ran}. folder: of the
    data, or of a backup, whose files are looked at too. more: checks of rooms further on."""
    checks = [*CHECKS, *more] if folder is None else [*CHECKS, *more, _of_files(folder)]
    problems = [str(problem) for problem in islice(find_problems(view, checks), PROBLEMS_MAX)]
    tables = {table: view.count(table) for table in TABLES}
    return {"problems": problems, "tables": tables, "checks": [check.__name__ for check in checks]}


def _of_files(folder: Path) -> Check:
    def archives_are_whole(view: Snapshot) -> Iterator[Problem]:
        return verify_archives.archives_are_whole(view, folder)

    return archives_are_whole


def find_problems(view: Snapshot, checks: Sequence[Check] | None = None) -> Iterator[Problem]:
    """What every check finds. One that meets a value it cannot read says so and the others go on."""
    for check in checks or CHECKS:
        try:
            yield from check(view)
        except (StoreError, ValueError, IndexError, struct.error) as exc:
            yield Problem(check.__name__, "unreadable", str(exc))


def blocks_are_whole(view: View) -> Iterator[Problem]:
    """Every column block is of a tenant and block that exist, has a sound header, and no more slots than members."""
    for key, value in view.range("blocks"):
        tenant, field, part, block = BLOCK_KEY.unpack(key)
        place = f"tenant {tenant}, field {field}, part {part}, block {block}"
        no = next_member_no(view, tenant)
        try:
            slots = (stored_array(view, tenant, block, (field, part, ColumnKind(value[0]))) or (0,))[0]
        except (StoreError, ValueError, IndexError):
            yield Problem("blocks_are_whole", place, f"{len(value)} octets that are no block value")
            continue
        if slots > slots_of(no, block):
            yield Problem("blocks_are_whole", place, f"{slots} slots, members given are {no}")


def delta_rows_are_in_range(view: View) -> Iterator[Problem]:
    """Every delta row is of a member number that was given, and reads as entries."""
    nos: dict[int, int] = {}
    for key, row in view.range("delta"):
        tenant, block, slot = DELTA_KEY.unpack(key)
        no = nos.setdefault(tenant, next_member_no(view, tenant))
        place = f"tenant {tenant}, block {block}, slot {slot}"
        if slot >= BLOCK or block * BLOCK + slot >= no:
            yield Problem("delta_rows_are_in_range", place, f"members given are {no}")
        try:
            unpack_delta(row)
        except Exception as exc:  # whatever a damaged row raises is the finding
            yield Problem("delta_rows_are_in_range", place, f"no delta row: {exc}")


def numbers_add_up(view: View) -> Iterator[Problem]:
    """phones, the msisdn column and the LIVE plane say the same, in both directions."""
    for tenant in _tenants(view):
        no, blocks = _opened(view, tenant, [FLAGS, MSISDN])
        imports = (unpack(row) for _, row in view.range("imports", TENANT.pack(tenant)))
        importing = any(row["state"] not in _ENDED and "kind" not in row for row in imports)
        numbers = [block.array(FIELD_MSISDN).cast("Q") for block in blocks]
        live = [block.plane(FLAGS[0], PLANE_LIVE) for block in blocks]
        held = 0
        for key, row in view.range("phones", TENANT.pack(tenant)):
            number, member_no = TENANT_U64.unpack(key)[1], MEMBER_NO.unpack(row)[0]
            block, slot = divmod(member_no, BLOCK)
            place = f"tenant {tenant}, +{number} -> member {member_no}"
            if member_no >= no:
                yield Problem("numbers_add_up", place, f"members given are {no}")
            elif not live[block][slot >> 3] >> (slot & 7) & 1:
                if not importing:  # reserved: becomes live with its import
                    yield Problem("numbers_add_up", place, "not live, and no import is running")
            elif numbers[block][slot] != number:
                yield Problem("numbers_add_up", place, f"its msisdn is {numbers[block][slot]}")
            else:
                held += 1
        with_number = [
            block * BLOCK + slot for block, plane in enumerate(live) for slot in _bits(plane) if numbers[block][slot]
        ]
        if held != len(with_number):
            yield Problem(
                "numbers_add_up", f"tenant {tenant}", f"{len(with_number)} members with a number, {held} found by it"
            )
            for member_no in with_number:
                number = numbers[member_no // BLOCK][member_no % BLOCK]
                found = view.get("phones", TENANT_U64.pack(tenant, number))
                if found is None or MEMBER_NO.unpack(found)[0] != member_no:
                    yield Problem("numbers_add_up", f"tenant {tenant}, member {member_no}", f"not found by +{number}")


def planes_follow_the_tables(view: View) -> Iterator[Problem]:
    """A member's opt-out and suppression planes are what the tables say of its number."""
    rule = "planes_follow_the_tables"
    for tenant in _tenants(view):
        _, blocks = _opened(view, tenant, [FLAGS, MSISDN])
        for block, opened in enumerate(blocks):
            numbers = opened.array(FIELD_MSISDN).cast("Q")
            live = _word(opened.plane(FLAGS[0], PLANE_LIVE))
            for plane in range(PLANE_SUPPRESSED, PLANE_CONSENT_SERVICE + 1):
                for slot in _slots(_word(opened.plane(FLAGS[0], plane)) & live):
                    if not _said(view, tenant, numbers[slot], plane):
                        place = f"tenant {tenant}, member {block * BLOCK + slot}, plane {plane}"
                        yield Problem(rule, place, f"set, and no row says it of +{numbers[slot]}")
        for number, plane in _words(view, tenant):
            row = view.get("phones", TENANT_U64.pack(tenant, number))
            block, slot = divmod(MEMBER_NO.unpack(row)[0], BLOCK) if row else (len(blocks), 0)
            if block >= len(blocks) or slot >= blocks[block].slots:
                continue  # a stranger, or what numbers_add_up reports
            flags = [blocks[block].plane(FLAGS[0], each)[slot >> 3] >> (slot & 7) & 1 for each in (PLANE_LIVE, plane)]
            if flags == [1, 0]:
                yield Problem(
                    rule, f"tenant {tenant}, member {block * BLOCK + slot}, plane {plane}", f"clear for +{number}"
                )


def points_add_up(view: View) -> Iterator[Problem]:
    """balance = opening + the sum of entries, none negative, each entry's balance the one before it plus its delta."""
    for tenant in _tenants(view):
        no, blocks = _opened(view, tenant, [FLAGS, POINTS, OPENING])
        entries = _entries(view, tenant)
        member_no, sums = next(entries, (no, []))
        for block, opened in enumerate(blocks):
            points, opening = opened.array(FIELD_POINTS).cast("q"), opened.array(FIELD_POINTS_OPENING).cast("q")
            live = opened.plane(FLAGS[0], PLANE_LIVE)
            moved = set[int]()
            while member_no // BLOCK == block and member_no < no:
                slot = member_no % BLOCK
                moved.add(slot)
                if live[slot >> 3] >> (slot & 7) & 1:  # an erased member's columns are gone, its accounts are not
                    start = 0 if opening[slot] == _UNKNOWN else opening[slot]
                    yield from _account(f"tenant {tenant}, member {member_no}", start, sums, points[slot])
                member_no, sums = next(entries, (no, []))
            for slot in _bits(live):
                have, start = points[slot], opening[slot]
                if have != start and slot not in moved and (have or start != _UNKNOWN) and (start or have != _UNKNOWN):
                    place = f"tenant {tenant}, member {block * BLOCK + slot}"
                    yield Problem("points_add_up", place, f"balance {have}, opening {start}, no entries")
        if member_no < 1 << 32 and (member_no, sums) != (no, []):
            yield Problem("points_add_up", f"tenant {tenant}, member {member_no}", f"entries, members given are {no}")
    for key, value in view.range("points_keys"):
        if view.get("points_entries", key[: TENANT.size] + value) is None:
            yield Problem("points_add_up", f"points key {key.hex()}", "names an entry that is not there")


CHECKS: list[Check] = [
    blocks_are_whole,
    delta_rows_are_in_range,
    numbers_add_up,
    planes_follow_the_tables,
    points_add_up,
    *verify_members.CHECKS,
    *verify_ledger.CHECKS,
    *verify_coupons.CHECKS,
    *ids_kept.CHECKS,
    audit_is_sealed,
]


def _tenants(view: View) -> list[int]:
    return [TENANT.unpack(key)[0] for key, _ in view.range("tenants")]


def _opened(view: View, tenant: int, columns: list[Column]) -> tuple[int, list[BlockView]]:
    no = next_member_no(view, tenant)
    return no, [open_block(view, tenant, block, columns, next_no=no) for block in range(blocks_of(no))]


def _word(bitmap: memoryview | bytes) -> int:
    return int.from_bytes(bitmap, "little")


def _slots(word: int) -> Iterator[int]:
    while word:
        low = word & -word
        yield low.bit_length() - 1
        word ^= low


def _bits(bitmap: memoryview) -> Iterator[int]:
    """Slots whose bit is set, octet by octet: cheaper than _slots where most are."""
    for at, octet in enumerate(bitmap):
        for bit in _OCTET_BITS[octet]:
            yield at * 8 + bit


_OCTET_BITS = [[bit for bit in range(8) if octet >> bit & 1] for octet in range(256)]


def _said(view: View, tenant: int, number: int, plane: int) -> bool:
    if plane >= PLANE_CONSENT_MARKETING:
        return view.get("consents", OPTOUT_KEY.pack(tenant, number, plane)) is not None
    if plane >= PLANE_OPTOUT_MARKETING:
        return view.get("optouts", OPTOUT_KEY.pack(tenant, number, plane)) is not None
    listed = any(view.get("suppressions", TENANT_U64.pack(by, number)) is not None for by in (tenant, 0))
    return listed or bool(hashed_among(view, tenant, (number,)) or erased_among(view, tenant, (number,)))


def _words(view: View, tenant: int) -> Iterator[tuple[int, int]]:
    """(number, plane) of every opt-out and suppression that holds for a tenant."""
    for table in ("optouts", "consents"):
        for key, _ in view.range(table, TENANT.pack(tenant)):
            _, number, plane = OPTOUT_KEY.unpack(key)
            yield number, plane
    for by in (tenant, 0):
        for key, _ in view.range("suppressions", TENANT.pack(by)):
            yield TENANT_U64.unpack(key)[1], PLANE_SUPPRESSED


def _entries(view: View, tenant: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """(member_no, [(delta, balance)] oldest first) of every member that has entries, in order."""
    whose, found = -1, list[tuple[int, int]]()
    for key, row in view.range("points_entries", TENANT.pack(tenant)):
        member_no = POINTS_KEY.unpack(key)[1]
        if member_no != whose and found:
            yield whose, found
            found = []
        value = unpack(row)
        whose = member_no
        found.append((value["delta"], value["balance"]))
    if found:
        yield whose, found


def _account(place: str, opening: int, entries: list[tuple[int, int]], balance: int) -> Iterator[Problem]:
    total = opening
    for delta, after in entries:
        total += delta
        if total != after or total < 0:
            yield Problem("points_add_up", place, f"an entry says balance {after}, the sum is {total}")
            total = after
    if total != balance:
        yield Problem("points_add_up", place, f"balance {balance}, opening {opening} and entries give {total}")
