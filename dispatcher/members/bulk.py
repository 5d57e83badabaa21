"""One change to many members: the same values, the same tags put on and taken off, block by block, with a way back.

Touches: column blocks and the delta, `import_undo`, `bitmaps`, and the job's row of `imports` (kind "bulk").
The audience is frozen at the start, bitmaps of many blocks a row of `bitmaps`:

    zstd of (block:4 little-endian, bitmap:2040) ...    at worst 1 octet for 8 members: 3.6 MiB for 30 million

A slice does the next blocks and drops their bitmaps, so a kill goes on where the last commit ended. What is replaced is
kept as an import's is (import_undo.py), so that import.undo takes it back. Members erased or merged away since the
start are left out.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from dispatcher.control.commands import EditMembers
from dispatcher.errors import CommandRefused
from dispatcher.members import provenance
from dispatcher.members.attributes import Wrong, encode
from dispatcher.members.fields import Field, fields_of, unknown_field
from dispatcher.members.import_undo import Recorder
from dispatcher.members.job import EditJob, put_job_row
from dispatcher.members.tags import tag_entries, tags_field
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.columns import FLAGS, Column, ColumnKind, fold_block, next_member_no, open_block, put_delta
from dispatcher.store.compare import Compared, compare_rows
from dispatcher.store.delta import pack_delta, unpack_delta
from dispatcher.store.layout import BLOCK, LEDGER_KEY, PLANE_LIVE, TENANT_U64
from dispatcher.store.values import unpack

KIND = SOURCE = "bulk"
WHICH_FROZEN, WHICH_PACKED = 3, 4  # of table bitmaps: a block a row, as once, and BLOCKS_A_ROW of them
BLOCKS_A_ROW = 32  # packed: a bitmap of 2 KiB alone would take a page of 4
_NUMBER = struct.Struct("<I")
SLICE_OCTETS = 5 << 19  # of blocks and of what they replaced; a commit stays under 4 MiB (DESIGN 2)
SLICE_MEMBERS = 8_192  # some 30 ms, which a claim may have to wait
SLICE_ROWS = 512  # delta rows, a page each at worst
FOLD_FROM = BLOCK // 32  # this many in one block: rewriting its columns is less than a page a delta row
_OCTET_BITS = [[bit for bit in range(8) if octet >> bit & 1] for octet in range(256)]


@dataclass(frozen=True, slots=True)
class Edit:
    """What is written: a value a column as put_delta takes it, the fields that grow by it, all their names."""

    entries: dict[Column, bytes] = field(default_factory=dict)
    grown: list[Field] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def take(self, known: Field, grown: Field, entries: Mapping[Column, bytes]) -> None:
        self.entries.update(entries)
        self.names.append(known.name)
        if grown is not known:
            self.grown.append(grown)


def read_edit(view: View, tenant: int, command: EditMembers) -> Edit:
    """The change that a command asks for. Raises CommandRefused 422 with every error."""
    fields = fields_of(view, tenant)
    errors: list[dict[str, str]] = []
    edit = Edit()
    for name, value in command.values.items():
        known = fields.get(name)
        if known is None:
            raise unknown_field(name, fields, f"/set/{name}")
        encoded = encode(known, value) if known.editable else Wrong("not_editable", f"{name}: cannot be set")
        if isinstance(encoded, Wrong):
            errors.append({"pointer": f"/set/{name}", "code": encoded.code, "detail": encoded.detail})
        else:
            edit.take(known, *encoded)
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    if command.tags_add or command.tags_remove:
        known = tags_field(fields, command.tags_field)
        if known.name in command.values:
            raise CommandRefused(422, "invalid_value", f"{known.name}: either all tags or some to add and remove")
        edit.take(known, *tag_entries(known, command.tags_add, command.tags_remove))
    if not edit.names:
        raise CommandRefused(422, "invalid_value", "nothing to change: give set, tags_add or tags_remove")
    return edit


def freeze(changes: Changes, job_id: int, blocks: Iterable[tuple[int, bytes | bytearray, int]]) -> None:
    """The audience: (block, bitmap, how many) ascending, as select() gives them."""
    rest = [(block, bytes(bitmap)) for block, bitmap, _ in blocks]
    for at in range(0, len(rest), BLOCKS_A_ROW):
        some = rest[at : at + BLOCKS_A_ROW]
        changes.put("bitmaps", LEDGER_KEY.pack(job_id, WHICH_PACKED, some[0][0]), _packed(some))


def _packed(blocks: Sequence[tuple[int, bytes]]) -> bytes:
    return zstandard.compress(b"".join(_NUMBER.pack(block) + bitmap for block, bitmap in blocks), 1)


def _frozen(view: View, job_id: int) -> Iterator[tuple[bytes, list[tuple[int, bytes]]]]:
    """What is left of the audience: key of a row, and its blocks with their bitmaps. A job begun by an earlier version
    has a row a block."""
    for place, bitmap in view.range("bitmaps", LEDGER_KEY.pack(job_id, WHICH_FROZEN, 0)[:9]):
        yield place, [(LEDGER_KEY.unpack(place)[2], bitmap)]
    for place, row in view.range("bitmaps", LEDGER_KEY.pack(job_id, WHICH_PACKED, 0)[:9]):
        octets, size = zstandard.decompress(row), _NUMBER.size + BLOCK // 8
        records = [octets[at : at + size] for at in range(0, len(octets), size)]
        yield place, [(_NUMBER.unpack_from(record)[0], record[_NUMBER.size :]) for record in records]


def _keep(changes: Changes, place: bytes, rest: Sequence[tuple[int, bytes]]) -> None:
    """What of a row is not done yet."""
    if not rest:
        changes.delete("bitmaps", place)
    elif LEDGER_KEY.unpack(place)[1] == WHICH_FROZEN:
        changes.put("bitmaps", place, rest[0][1])
    else:
        changes.put("bitmaps", place, _packed(rest))


def put_job(changes: Changes, tenant: int, job_id: int, row: dict[str, Any], edit: Edit) -> None:
    """`row` has expr, of, actor and the times; here comes what drives it."""
    entries = [[*map(int, column), value] for column, value in edit.entries.items()]
    state: dict[str, Any] = {"kind": KIND, "state": "applying", "dry_run": False, "entries": entries, "slice": 0}
    state |= {"done": 0, "members_changed": 0}
    put_job_row(changes, tenant, job_id, {**state, "fields": edit.names, **row})


def compare_block(view: View, tenant: int, block: int, bitmap: bytes | bytearray, edit: Edit) -> Compared:
    """What the edit would change of the live members of a block's bitmap; a value of a better source stays."""
    live = open_block(view, tenant, block, [FLAGS]).plane(FLAGS[0], PLANE_LIVE)
    slots = slots_in(int.from_bytes(bitmap, "little") & int.from_bytes(live, "little"))
    ranked = [known for known in _with_sources(view, tenant, edit) if known.source_rank]
    whole = pack_delta(edit.entries)
    updates: list[tuple[int, bytes]] = []
    for slot in slots:
        kept = [f.number for f in ranked if not provenance.allowed(view, tenant, block * BLOCK + slot, f, SOURCE)]
        row = pack_delta({c: value for c, value in edit.entries.items() if c[0] not in kept}) if kept else whole
        updates.append((slot, row))
    return compare_rows(view, tenant, block, updates, list(edit.entries))


def _with_sources(view: View, tenant: int, edit: Edit) -> list[Field]:
    return [known for name, known in fields_of(view, tenant).items() if name in edit.names and known.sources]


def cut(bitmap: bytes, count: int) -> tuple[bytes, bytes]:
    """The first `count` set bits, and the others (b"" when that was all)."""
    whole = int.from_bytes(bitmap, "little")
    if whole.bit_count() <= count:
        return bitmap, b""
    first = bytearray(len(bitmap))
    for slot in itertools.islice(slots_in(whole), count):
        first[slot >> 3] |= 1 << (slot & 7)
    rest = whole & ~int.from_bytes(first, "little")
    return bytes(first), rest.to_bytes(len(bitmap), "little")


def slots_in(bitmap: int) -> Iterator[int]:
    """Set bits, ascending."""
    for at, octet in enumerate(bitmap.to_bytes(BLOCK // 8, "little")):
        for bit in _OCTET_BITS[octet]:
            yield 8 * at + bit


class BulkJob(EditJob):
    """One job from its row to its end; has the face of an ImportJob for whoever drives it."""

    def next_slice(self, view: View, now_ms: int) -> Changes | None:
        """The next blocks, in the transaction of `view`; None when it is over. A cancelled one drops what is left."""
        key = TENANT_U64.pack(self.tenant, self.import_id)
        held = view.get("imports", key)
        row: dict[str, Any] = unpack(held) if held else {"state": "gone"}
        changes = Changes()
        if row["state"] != "applying":
            for place, _ in _frozen(view, self.import_id):
                changes.delete("bitmaps", place)
                if len(changes.rows) == SLICE_ROWS:
                    return changes
            self.finished = not changes
            return changes or None
        row["updated_ms"] = now_ms
        self._do(view, changes, row)
        put_job_row(changes, self.tenant, self.import_id, row)
        return changes

    def _do(self, view: View, changes: Changes, row: dict[str, Any]) -> None:
        entries = {(f, part, ColumnKind(kind)): value for f, part, kind, value in row["entries"]}
        edit = Edit(entries, names=row["fields"])
        undo = Recorder(self.import_id, row["slice"])
        next_no, rows, octets = next_member_no(view, self.tenant), 0, 0
        members, full = 0, False
        for place, blocks in _frozen(view, self.import_id):
            while blocks and not full:
                block, part = blocks[0][0], Changes()
                bitmap, left = cut(blocks[0][1], SLICE_MEMBERS - members)
                blocks[:1] = [(block, left)] if left else []
                compared = compare_block(view, self.tenant, block, bitmap, edit)
                undo.add_changed(block, compared)
                self._note(view, part, block, edit, compared, undo, row["updated_ms"])
                if len(compared.slots) >= FOLD_FROM:
                    updates = zip(compared.slots, compared.rows, strict=True)
                    fold_block(view, self.tenant, block, part, updates, next_no=next_no)
                else:
                    self._put_rows(view, part, block, compared.slots, compared.rows)
                    rows += len(compared.slots)
                changes.merge(part)
                octets += part.octets + sum(map(len, compared.before)) + 6 * len(compared.before)
                count = int.from_bytes(bitmap, "little").bit_count()
                members += count
                row["done"] += count
                row["members_changed"] += len(compared.slots)
                full = octets >= SLICE_OCTETS or rows >= SLICE_ROWS or members >= SLICE_MEMBERS
            _keep(changes, place, blocks)
            if full:
                break
        else:
            row["state"] = "done"
        undo.put(changes)
        row["slice"] += 1

    def _note(
        self, view: View, changes: Changes, block: int, edit: Edit, compared: Compared, undo: Recorder, now_ms: int
    ) -> None:
        """The source of what was changed, for fields that keep it."""
        known = {each.number: each for each in _with_sources(view, self.tenant, edit)}
        if not known:
            return
        source = f"{SOURCE}:{public_id('imp', self.import_id)}"
        for slot, entries in zip(compared.slots, compared.rows, strict=True):
            member_no = block * BLOCK + slot
            fields = [known[number] for number in {column[0] for column in unpack_delta(entries)} & known.keys()]
            for each in fields:
                key = provenance.PROVENANCE_KEY.pack(self.tenant, member_no, each.number)
                undo.add_other(member_no, "provenance", key, view.get("provenance", key))
            provenance.note(changes, view, self.tenant, member_no, fields, source, now_ms)

    def _put_rows(self, view: View, changes: Changes, block: int, slots: Sequence[int], rows: Sequence[bytes]) -> None:
        for slot, row in zip(slots, rows, strict=True):
            put_delta(changes, view, self.tenant, block * BLOCK + slot, unpack_delta(row))
