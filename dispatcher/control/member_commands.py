"""Commands about members: fields, single members, consent, imports, segments, points."""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any

from dispatcher.control.command import Command, command


@command("field.define")
class DefineField(Command):
    title: str  # the field's name in segments and templates
    kind: str  # dict, int, date, month_day, bool, money, tags, text
    values: list[str] = field(default_factory=list)  # of a dictionary or tags
    closed: bool = False  # a value outside `values` is an error instead of a new entry
    max_values: int = 255  # dictionary: 255 -> u8, more -> u16 (at most 65,535)
    bits: int = 64  # int: 32 or 64
    max_length: int = 160  # text: characters
    label: str = ""
    pii: bool = False
    sources: bool = False  # keep each value's source and time
    source_rank: list[str] = field(default_factory=list)  # source words, best first; a worse one overwrites no better


@command("field.edit")
class EditField(Command):
    """Change a field that is in use: title, label, pii, closed, max_values, max_length, sources, source_rank,
    add_values [...], rename_values {old: new}."""

    title: str  # its name, or its public id
    changes: dict[str, Any]


@command("field.merge_values")
class MergeValues(Command):
    """Members with `value` of a dict get `into`, and the word means that from now on; `into` "": itself again."""

    title: str
    value: str
    into: str = ""
    dry_run: bool = False


@command("field.retire")
class RetireField(Command):
    title: str


@command("field.restore")
class RestoreField(Command):
    title: str  # its name when it was retired, or its public id
    new_title: str = ""  # where another field has the name by now


@command("member.upsert")
class UpsertMember(Command):
    """Create or update one member; `member_no` None: found or created by number."""

    member_no: int | None = None
    msisdn: str | None = None
    values: dict[str, Any] = field(default_factory=dict)  # field name -> value as JSON has it; None clears
    create: bool = True
    must_be_new: bool = False
    tags_add: list[str] = field(default_factory=list)  # these only; other tags stay as they are
    tags_remove: list[str] = field(default_factory=list)
    tags_field: str = ""  # "": the only tags field there is
    source: str = ""  # where the values come from, for fields that keep it; "" = the actor's kind


@command("member.erase")
class EraseMember(Command):
    member_no: int
    salt: bytes = field(default_factory=lambda: os.urandom(16))  # of the tenant's number hashes, if it has none yet


@command("member.merge")
class MergeMembers(Command):
    """`loser` becomes part of `winner`; `take`: fields whose value the loser has right, `phone` among them."""

    winner: int
    loser: int
    take: list[str] = field(default_factory=list)
    dry_run: bool = False


@command("member.unmerge")
class UnmergeMembers(Command):
    """The member that was merged away is one again, with what it had."""

    member_no: int
    dry_run: bool = False


@command("member.bulk")
class EditMembers(Command):
    """The same change to everybody whom `expr` matches now."""

    expr: str
    values: dict[str, Any] = field(default_factory=dict)  # as UpsertMember's; None clears
    tags_add: list[str] = field(default_factory=list)
    tags_remove: list[str] = field(default_factory=list)
    tags_field: str = ""


@command("export.note")
class NoteExport(Command):
    """Before members leave the house: who takes which fields of whom, with the envelope's reason."""

    expr: str
    fields: list[str]
    format: str
    masked: bool


@command("suppression.add")
class AddSuppression(Command):
    numbers: list[str]
    why: str = ""
    signature: str = ""  # for what bears this signature alone


@command("suppression.remove")
class RemoveSuppression(Command):
    numbers: list[str]
    signature: str = ""


@command("suppression.import")
class ImportSuppressions(Command):
    """Numbers and hashes of numbers for one scope, as add; of a file, in pieces of at most 5,000."""

    numbers: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)  # sha256 of the digits, hexadecimal
    members: list[list[int]] = field(default_factory=list)  # [tenant, member_no] that hashes mean, as was found
    upto: dict[str, int] = field(default_factory=dict)  # tenant -> the first member_no that was not looked at
    signature: str = ""
    why: str = ""
    remove: bool = False


@command("consent.record")
class RecordConsents(Command):
    """Who said yes or no to a purpose, with evidence: [{number, purpose, given, source, text, at_ms}]."""

    consents: list[dict[str, Any]]


@command("import.open")
class OpenImport(Command):
    """The body is (being) spooled to `imports/<import_id>/body` in the data folder."""

    import_id: int
    mode: str = "upsert"  # upsert, insert, update, replace_tags
    mapping: dict[str, Any] = field(default_factory=dict)  # column -> field, or {field, date_format, region, values}
    dry_run: bool = False
    format: str = ""  # csv, ndjson, parquet; this and the next three: "" = found out
    compression: str = ""  # none, gzip, zstd
    charset: str = ""
    delimiter: str = ""
    filename: str = ""
    resumable: bool = False  # the body comes in pieces and may rest; nobody parses it before it is whole


@command("import.body_done")
class EndImportBody(Command):
    import_id: int
    octets: int  # of the whole body, after fsync


@command("import.cancel")
class CancelImport(Command):
    import_id: int


@command("import.commit")
class CommitImport(Command):
    """After a dry run: do it."""

    import_id: int


@command("import.undo")
class UndoImport(Command):
    """Give members the values from before. When later changes touched some, nothing is done and they are listed."""

    import_id: int
    skip_changed: bool = False  # undo the others all the same


@command("segment.save")
class SaveSegment(Command):
    """A new segment, or the next version of the one with this title."""

    title: str
    expr: str
    description: str | None = None  # None: as it is


@command("segment.edit")
class EditSegment(Command):
    """title, expr, description; with `version`, only if the segment is still at that one."""

    segment: int
    changes: dict[str, Any]


@command("segment.snapshot")
class SnapshotSegment(Command):
    """Keep who `expr` matches as of an instant (None: now), or whom `numbers` mean, under a new title."""

    title: str
    expr: str = ""
    numbers: list[str] = field(default_factory=list)
    of: int | None = None  # the segment whose rule it is
    as_of_ms: int | None = None
    description: str | None = None


@command("segment.delete")
class DeleteSegment(Command):
    segment: int


@command("points.add")
class AddPoints(Command):
    member_no: int
    delta: int
    source: str
    key: str  # repeat-safe: the same key again answers the first entry
    why: str = ""
