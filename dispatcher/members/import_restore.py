"""Taking an import or a bulk edit back: checked whole first, then undone block by block between foreground commits.

Touches: rows of import_undo, imports, blocks, delta, phones, through a View. Has ImportJob's face, so that the same
driver runs both; all that counts is in the row's "undo", in the transaction of the slice it speaks of.

Exact until a later change: a value is given back only where the member still holds what was written (compare.py's
seals). With such changes the undo is refused whole and lists them; with skip_changed those members stay as they are.
A change that comes while it runs is skipped and listed too. New members go as if they had never been: the slot
stays empty, the number is free again; member numbers and dictionary codes stay used. What a phone said (opt-outs)
and suppressions are by number and stay.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dispatcher.members.attributes import unknown_octets
from dispatcher.members.fields import every_field
from dispatcher.members.import_undo import Created, Record, blocks_between, records_of
from dispatcher.members.importer import FINAL, need_import, put_import
from dispatcher.members.job import EditJob
from dispatcher.members.uncollected import uncollected
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store import phones
from dispatcher.store.blocks import Column, ColumnKind
from dispatcher.store.columns import FLAGS, fold_block, open_block, put_delta
from dispatcher.store.compare import SEAL, columns_named, laid_over, named_by, opened, seals_between, seals_of, set_of
from dispatcher.store.delta import pack_delta, unpack_delta
from dispatcher.store.layout import (
    BLOCK,
    FIELD_MSISDN,
    FIELD_POINTS,
    FIELD_POINTS_OPENING,
    MEMBER_NO,
    PLANE_LIVE,
    POINTS_KEY,
    TENANT_U64,
)
from dispatcher.store.snapshot import Snapshot

CHECKED_AT_ONCE = 1  # blocks: some 20 ms
REMOVED_AT_ONCE = 5_440  # new members a slice, a third of a block; fewer where their phone rows lie on many pages
FOLD_FROM = 512  # this many in one block: rewriting it takes less time than their delta rows
CONFLICTS_KEPT = 1_000
MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
POINTS: Column = (FIELD_POINTS, 0, ColumnKind.I64)
OPENING: Column = (FIELD_POINTS_OPENING, 0, ColumnKind.I64)
_CLEAR_BITS = [[bit for bit in range(8) if not octet >> bit & 1] for octet in range(256)]
SYSTEM = {column[0]: name for column, name in ((MSISDN, "phone"), (POINTS, "points"), (OPENING, "points"))}


class UndoJob(EditJob):
    """Drives one undo. Not shared between threads; calls never wait."""

    def next_slice(self, view: View, now_ms: int) -> Changes | None:
        """What to commit next, in the transaction of `view`; None when it is over (`finished`)."""
        with uncollected():
            return self._next_slice(view, now_ms)

    def _next_slice(self, view: View, now_ms: int) -> Changes | None:
        row = need_import(view, self.tenant, self.import_id)
        self.finished = row["state"] in FINAL
        if self.finished:
            return None
        changes, undo = Changes(), row["undo"]
        if undo["blocks"] is None:
            undo["blocks"] = sum(1 for _ in blocks_between(view, self.import_id))
        elif undo["phase"] == "check":
            self._check(view, row, undo)
        else:
            self._undo(view, row, undo, changes)
        row["updated_ms"] = now_ms
        put_import(changes, self.tenant, self.import_id, row)
        return changes

    def _check(self, view: View, row: dict[str, Any], undo: dict[str, Any]) -> None:
        for at, block in enumerate(blocks_between(view, self.import_id, undo["at"] - 1)):
            if at == CHECKED_AT_ONCE:
                return
            look = _Look(view, self.tenant, self.import_id, block)
            self._note(undo, look)
            undo["at"] = block + 1
        if undo["conflicts_found"]:
            undo["phase"], row["state"] = "refused", undo["was"]
        else:
            undo |= {"phase": "undo", "at": 0}

    def _undo(self, view: View, row: dict[str, Any], undo: dict[str, Any], changes: Changes) -> None:
        block = next(blocks_between(view, self.import_id, undo["at"] - 1), None)
        if block is None:
            undo["phase"], row["state"] = "done", "undone"
            return
        undo["at"] = block
        look = _Look(view, self.tenant, self.import_id, block)
        removed = _some_of(view, self.tenant, look.removed)
        whole = len(removed) == len(look.removed)
        undo["removed"] += len(removed)
        _remove(view, changes, self.tenant, block, removed)
        clear = _clear_row(view, self.tenant)
        rows = [(slot, clear) for slot in removed]
        if whole:
            rows += look.rows
            undo["restored"] += len({slot for slot, _ in look.rows})
            self._note(undo, look)
            for table, key, old in look.other:
                changes.rows[table, key] = old
            for key in look.keys:
                changes.delete("import_undo", key)
            undo |= {"at": block + 1, "blocks_done": undo["blocks_done"] + 1}
        if len(rows) >= FOLD_FROM:
            fold_block(view, self.tenant, block, changes, rows)
        else:
            for slot, old in rows:
                put_delta(changes, view, self.tenant, block * BLOCK + slot, unpack_delta(old))

    def _note(self, undo: dict[str, Any], look: _Look) -> None:
        undo["conflicts_found"] += len(look.conflicts)
        for slot, names in sorted(look.conflicts.items()):
            if len(undo["conflicts"]) < CONFLICTS_KEPT:
                number = look.number(slot)
                member = public_member_id(look.block * BLOCK + slot)
                said = {"member": member, "msisdn": f"+{number}" if number else None, "fields": sorted(names)}
                undo["conflicts"].append(said)


@dataclass(slots=True)
class _Batch:
    """Replaced values of members none of whom is named twice."""

    slots: array[int] = field(default_factory=lambda: array("H"))
    before: list[bytes] = field(default_factory=list)
    seals: list[bytes] = field(default_factory=list)


class _Look:
    """One block: what an undo would do to it now, newest record first, and which members have changed since."""

    def __init__(self, view: View, tenant: int, import_id: int, block: int) -> None:
        self.block = block
        self.conflicts: dict[int, set[str]] = {}
        self.removed: dict[int, int] = {}  # slot -> number of a new member
        self.rows: list[tuple[int, bytes]] = []  # what to lay over members, newest first
        self.other: list[tuple[str, bytes, bytes | None]] = []
        self.keys: list[bytes] = []
        self._view, self._tenant = view, tenant
        fields = every_field(view, tenant)
        self._names = SYSTEM | {each.number: each.name for each in fields}
        records = list(records_of(view, import_id, block))
        self._columns = _columns(fields, [record for _, record in records])
        self._opened = open_block(view, tenant, block, self._columns)
        live = bytes(self._opened.plane(FLAGS[0], PLANE_LIVE))
        self._dead = {8 * at + bit for at, octet in enumerate(live) if octet != 0xFF for bit in _CLEAR_BITS[octet]}
        batch, named = _Batch(), set[int]()
        for key, record in reversed(records):
            self.keys.append(key)
            if record.created or not named.isdisjoint(record.slots):
                self._take(batch)
                batch, named = _Batch(), set()
            batch.slots.extend(record.slots)
            batch.before += record.before
            batch.seals += record.seals
            named.update(record.slots)
            self.other += reversed(record.other)
            if record.created:
                self._take(batch)
                batch, named = _Batch(), set()
            for created in record.created:
                self._take_created(created)
        self._take(batch)
        self._settle()

    def number(self, slot: int) -> int:
        return int(self._opened.array(FIELD_MSISDN).cast("Q")[slot])

    def _conflict(self, slot: int, fields: list[int]) -> None:
        names = {self._names.get(number, f"field {number}") for number in fields}
        self.conflicts.setdefault(slot, set()).update(names)

    def _take(self, batch: _Batch) -> None:
        """Compare what a batch's members hold with what was written, then see them as they were before it."""
        if not batch.slots:
            return
        now = seals_of(batch.before, batch.slots, set_of(self._columns, opened(self._opened, self._columns)))
        if now != batch.seals:
            for slot, before, seal, seen in zip(batch.slots, batch.before, batch.seals, now, strict=True):
                if seal != seen and slot not in self._dead:
                    self._conflict(slot, named_by(before, seal, seen))
        self.rows += zip(batch.slots, batch.before, strict=True)
        self._opened = laid_over(self._opened, self._columns, batch.slots, batch.before)

    def _take_created(self, created: Created) -> None:
        wanted = [self._current(column) for column in created.columns]
        now = seals_between(set_of(wanted, opened(self._opened, wanted)), created.slot, created.count)
        named = {column[:2] for column in wanted} | {FLAGS[:2]}
        rest = [column for column in self._columns if column[:2] not in named]
        blank = seals_between(set_of(rest, [None] * len(rest)), 0, 1)
        others = seals_between(set_of(rest, opened(self._opened, rest)), created.slot, created.count)
        self._compare_seals(created, wanted, created.seals, now)
        self._compare_seals(created, rest, blank * created.count, others)
        first = self.block * BLOCK + created.slot
        for member_no in _with_entries(self._view, self._tenant, first, first + created.count):
            if member_no - self.block * BLOCK not in self._dead:
                self._conflict(member_no - self.block * BLOCK, [FIELD_POINTS])
        numbers, dead = self._opened.array(FIELD_MSISDN).cast("Q"), self._dead
        slots = range(created.slot, created.slot + created.count)
        self.removed |= {slot: numbers[slot] for slot in slots if slot not in dead}

    def _compare_seals(self, created: Created, columns: list[Column], written: bytes, now: bytes) -> None:
        if written == now:
            return
        width, dead = SEAL + len(columns), self._dead
        for slot, at in enumerate(range(0, len(now), width), created.slot):
            if written[at : at + width] != now[at : at + width] and slot not in dead:
                seal, seen = written[at + SEAL : at + width], now[at + SEAL : at + width]
                differ = [column[0] for column, a, b in zip(columns, seal, seen, strict=True) if a != b]
                self._conflict(slot, differ or [column[0] for column in columns])

    def _current(self, column: Column) -> Column:
        """The column as it is now: a dictionary's may have become wider."""
        return next((each for each in self._columns if each[:2] == column[:2]), column)

    def _settle(self) -> None:
        """Whoever has changed stays as a whole; who is gone needs nothing."""
        for slot in self.conflicts:
            self.removed.pop(slot, None)
        stay = self.conflicts.keys() | self.removed.keys() | self._dead
        self.rows = [each for each in self.rows if each[0] not in stay]
        changed = {(self.block * BLOCK + slot).to_bytes(4, "big") for slot in self.conflicts}
        self.other = [row for row in self.other if row[1][2:6] not in changed]


def _columns(fields: list[Any], records: list[Record]) -> list[Column]:
    """Every column that an undo of these records reads."""
    now = {column[:2]: column for each in fields for column in each.columns}
    found = {column[:2]: column for column in (FLAGS, MSISDN, POINTS, OPENING)}
    if any(record.created for record in records):
        found |= now
    for record in records:
        for column in columns_named(record.before):
            found.setdefault(column[:2], now.get(column[:2], column))
        for created in record.created:
            for column in created.columns:
                found.setdefault(column[:2], column)
    return list(found.values())


def _with_entries(view: View, tenant: int, first: int, end: int) -> Iterator[int]:
    """Members of a stretch whose points have moved."""
    prefix = POINTS_KEY.pack(tenant, 0, 0)[:2]
    for key, _ in view.range("points_entries", prefix, after=POINTS_KEY.pack(tenant, first, 0)):
        member_no = int(POINTS_KEY.unpack(key)[1])
        if member_no >= end:
            return
        yield member_no


def _some_of(view: View, tenant: int, removed: dict[int, int]) -> dict[int, int]:
    """Slots and numbers of as many new members as one commit may remove, by number: neighbours share a page."""
    assert isinstance(view, Snapshot)
    some = sorted((number, slot) for slot, number in removed.items())[:REMOVED_AT_ONCE]
    numbers = [number for number, _ in some if number]
    most = len(some) - len(numbers) + phones.removable(view, tenant, numbers)
    return {slot: number for number, slot in some[:most]}


def _remove(view: View, changes: Changes, tenant: int, block: int, removed: dict[int, int]) -> None:
    """The numbers of new members are free again."""
    for slot, number in removed.items():
        key = TENANT_U64.pack(tenant, number)
        held = view.get("phones", key) if number else None
        if held is not None and MEMBER_NO.unpack(held)[0] == block * BLOCK + slot:
            changes.delete("phones", key)


def _clear_row(view: View, tenant: int) -> bytes:
    """The delta row that leaves nothing of a member."""
    columns = [FLAGS, MSISDN, POINTS, OPENING]
    columns += [column for each in every_field(view, tenant) for column in each.columns]
    return pack_delta({column: unknown_octets(column[2]) for column in columns})
