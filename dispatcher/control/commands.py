"""Every command as a frozen record. Safe to repeat: `request_key` names the wish, not the try.

Travels as msgpack {"command", "schema", envelope fields, "body": {...}} (frames.py); later over a
replicated log (DESIGN 10), so nothing here knows a machine, a socket or a loop.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, dataclass_transform

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who wants it, why, when, for which tenant (0: the operator's own)."""

    tenant: int
    actor: str  # key id or "cli"
    at_ms: int
    reason: str = ""
    request_key: str = ""  # "" = not asked to be repeat-safe
    fingerprint: str = ""  # of the request's body, so that a reused key with another body is refused
    schema: int = SCHEMA


class Command:
    """Base of the records below; `name` is the wire's word."""

    __slots__ = ()
    name: ClassVar[str]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _command(name: str) -> Any:
    def wrap(cls: type[Any]) -> Any:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.name = name
        COMMANDS[name] = made
        return made

    return wrap


COMMANDS: dict[str, type[Any]] = {}


@_command("tenant.create")
class CreateTenant(Command):
    title: str  # the tenant's name
    zone: str = "UTC"  # IANA time zone
    region: str = ""  # ISO 3166 default region of national numbers, "" = only international ones
    sender: str = ""  # default source_addr
    brand: str = ""  # named in the STOP confirmation; "" = title


@_command("key.create")
class CreateKey(Command):
    for_tenant: int  # 0 = operator key
    title: str
    scopes: list[str]
    secret_sha256: bytes  # the secret itself never travels; whoever makes it shows it once


@_command("key.revoke")
class RevokeKey(Command):
    key_id: int


@_command("field.define")
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


@_command("member.upsert")
class UpsertMember(Command):
    """Create or update one member; `member_no` None: found or created by number."""

    member_no: int | None = None
    msisdn: str | None = None
    values: dict[str, Any] = field(default_factory=dict)  # field name -> value as JSON has it; None clears
    create: bool = True
    must_be_new: bool = False


@_command("member.erase")
class EraseMember(Command):
    member_no: int


@_command("suppression.add")
class AddSuppression(Command):
    numbers: list[str]
    why: str = ""


@_command("suppression.remove")
class RemoveSuppression(Command):
    numbers: list[str]


@_command("import.open")
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


@_command("import.body_done")
class EndImportBody(Command):
    import_id: int
    octets: int  # of the whole body, after fsync


@_command("import.cancel")
class CancelImport(Command):
    import_id: int


@_command("import.commit")
class CommitImport(Command):
    """After a dry run: do it."""

    import_id: int


@_command("import.undo")
class UndoImport(Command):
    """Give every member the values from before, unless a later change touched some: those are listed and stay."""

    import_id: int


@_command("segment.save")
class SaveSegment(Command):
    title: str
    expr: str


@_command("campaign.create")
class CreateCampaign(Command):
    title: str
    purpose: str = "marketing"
    expr: str = "everyone"
    text: str = ""
    sender: str = ""
    max_parts: int = 3
    validity_s: int = 172_800
    receipts: bool = True


@_command("campaign.edit")
class EditCampaign(Command):
    campaign: int
    changes: dict[str, Any]


@_command("campaign.delete")
class DeleteCampaign(Command):
    campaign: int


@_command("campaign.preview")
class PreviewCampaign(Command):
    campaign: int


@_command("campaign.start")
class StartCampaign(Command):
    campaign: int
    token: str


@_command("campaign.pause")
class PauseCampaign(Command):
    campaign: int


@_command("campaign.resume")
class ResumeCampaign(Command):
    campaign: int


@_command("campaign.cancel")
class CancelCampaign(Command):
    campaign: int


@_command("points.add")
class AddPoints(Command):
    member_no: int
    delta: int
    source: str
    key: str  # repeat-safe: the same key again answers the first entry
    why: str = ""


@_command("status")
class AskStatus(Command):
    """Live figures of the dispatcher (health.py): binds, lanes, writer, campaigns."""


def to_wire(command: Any, envelope: Envelope) -> dict[str, Any]:
    return {"command": command.name, **asdict(envelope), "body": asdict(command)}


def from_wire(message: dict[str, Any]) -> tuple[Any, Envelope]:
    """The command and its envelope. Raises KeyError or TypeError on one that this version does not know."""
    cls = COMMANDS[message["command"]]
    names = Envelope.__dataclass_fields__
    return cls(**message["body"]), Envelope(**{k: v for k, v in message.items() if k in names})
