"""Every command as a frozen record. Safe to repeat: `request_key` names the wish, not the try.

Travels as msgpack {"command", "schema", envelope fields, "body": {...}} (frames.py); later over a
replicated log (DESIGN 10), so nothing here knows a machine, a socket or a loop.
"""

from __future__ import annotations

import os
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
    version: int | None = None  # of the object as the actor saw it: refused (412) when it is at another by now
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
    leap_rule: str = "feb28"  # birthdays on 29 February in other years: feb28, mar1, or leap (not at all)
    market_profile: str = "none"  # config/profiles


@_command("tenant.edit")
class EditTenant(Command):
    """What tenants/edit.py names: limits of approval, market profile, plan, caps and such."""

    changes: dict[str, Any]


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
    sources: bool = False  # keep each value's source and time
    source_rank: list[str] = field(default_factory=list)  # source words, best first; a worse one overwrites no better


@_command("field.edit")
class EditField(Command):
    """Change a field that is in use: title, label, pii, closed, max_values, max_length, sources, source_rank,
    add_values [...], rename_values {old: new}."""

    title: str  # its name, or its public id
    changes: dict[str, Any]


@_command("field.merge_values")
class MergeValues(Command):
    """Members with `value` of a dict get `into`, and the word means that from now on; `into` "": it means itself again."""

    title: str
    value: str
    into: str = ""
    dry_run: bool = False


@_command("field.retire")
class RetireField(Command):
    title: str


@_command("field.restore")
class RestoreField(Command):
    title: str  # its name when it was retired, or its public id
    new_title: str = ""  # where another field has the name by now


@_command("member.upsert")
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


@_command("member.erase")
class EraseMember(Command):
    member_no: int
    salt: bytes = field(default_factory=lambda: os.urandom(16))  # of the tenant's number hashes, if it has none yet


@_command("member.merge")
class MergeMembers(Command):
    """`loser` becomes part of `winner`; `take`: fields whose value the loser has right, `phone` among them."""

    winner: int
    loser: int
    take: list[str] = field(default_factory=list)
    dry_run: bool = False


@_command("member.unmerge")
class UnmergeMembers(Command):
    """The member that was merged away is one again, with what it had."""

    member_no: int
    dry_run: bool = False


@_command("member.bulk")
class EditMembers(Command):
    """The same change to everybody whom `expr` matches now."""

    expr: str
    values: dict[str, Any] = field(default_factory=dict)  # as UpsertMember's; None clears
    tags_add: list[str] = field(default_factory=list)
    tags_remove: list[str] = field(default_factory=list)
    tags_field: str = ""


@_command("export.note")
class NoteExport(Command):
    """Before members leave the house: who takes which fields of whom, with the envelope's reason."""

    expr: str
    fields: list[str]
    format: str
    masked: bool


@_command("suppression.add")
class AddSuppression(Command):
    numbers: list[str]
    why: str = ""
    signature: str = ""  # for what bears this signature alone


@_command("suppression.remove")
class RemoveSuppression(Command):
    numbers: list[str]
    signature: str = ""


@_command("suppression.import")
class ImportSuppressions(Command):
    """Numbers and hashes of numbers for one scope, as add; of a file, in pieces of at most 5,000."""

    numbers: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)  # sha256 of the digits, hexadecimal
    members: list[list[int]] = field(default_factory=list)  # [tenant, member_no] that hashes mean, as was found
    upto: dict[str, int] = field(default_factory=dict)  # tenant -> the first member_no that was not looked at
    signature: str = ""
    why: str = ""
    remove: bool = False


@_command("consent.record")
class RecordConsents(Command):
    """Who said yes or no to a purpose, with evidence: [{number, purpose, given, source, text, at_ms}]."""

    consents: list[dict[str, Any]]


@_command("signature.register")
class RegisterSignature(Command):
    text: str
    state: str = "registered"  # or pending, refused


@_command("prices.set")
class SetPrices(Command):
    prices: dict[str, int | None]  # prefix of digits -> micro-units a billed part; None: away


@_command("money.top_up")
class TopUp(Command):
    micros: int  # below 0: taken back
    why: str = ""


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
    resumable: bool = False  # the body comes in pieces and may rest; nobody parses it before it is whole


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
    """Give members the values from before. When later changes touched some, nothing is done and they are listed."""

    import_id: int
    skip_changed: bool = False  # undo the others all the same


@_command("segment.save")
class SaveSegment(Command):
    """A new segment, or the next version of the one with this title."""

    title: str
    expr: str
    description: str | None = None  # None: as it is


@_command("segment.edit")
class EditSegment(Command):
    """title, expr, description; with `version`, only if the segment is still at that one."""

    segment: int
    changes: dict[str, Any]


@_command("segment.snapshot")
class SnapshotSegment(Command):
    """Keep who `expr` matches as of an instant (None: now) under a new title."""

    title: str
    expr: str
    of: int | None = None  # the segment whose rule it is
    as_of_ms: int | None = None
    description: str | None = None


@_command("segment.delete")
class DeleteSegment(Command):
    segment: int


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
    schedule: dict[str, Any] | None = None  # campaigns/schedule.py
    arms: list[dict[str, Any]] = field(default_factory=list)  # {name, share, text}: campaigns/arm_rules.py
    holdout: dict[str, Any] | None = None  # {percent | size, salt}
    winner: dict[str, Any] | None = None  # {by, after_s, test_percent}
    stratify: str = ""  # a dictionary field
    signature: str = ""  # "": the tenant's
    budget_micros: int | None = None
    caps: list[dict[str, int]] = field(default_factory=list)  # {max, within_s}, beside those of market and tenant
    rate: int = 0  # parts a second, 0: no limit of its own
    options: dict[str, Any] | None = None  # {class, flash, replace_type, priority, ...}: text/options.py


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


@_command("campaign.submit")
class SubmitCampaign(Command):
    """Ask for the approval of somebody who did not write it."""

    campaign: int


@_command("campaign.approve")
class ApproveCampaign(Command):
    campaign: int


@_command("campaign.reject")
class RejectCampaign(Command):
    """Back to its author, with the envelope's reason."""

    campaign: int


@_command("campaign.clone")
class CloneCampaign(Command):
    campaign: int
    title: str = ""  # "" = its title and (copy)


@_command("campaign.rehearse")
class RehearseCampaign(Command):
    """Changes nothing: its line in the audit says who rehearsed what."""

    campaign: int
    share: float = 1.0


@_command("campaign.resend")
class ResendCampaign(Command):
    """A new draft to those of a campaign whose message failed or expired."""

    campaign: int
    title: str = ""


@_command("campaign.winner")
class ChooseWinner(Command):
    """The rest of a test's audience gets this arm's text, before the rule decides."""

    campaign: int
    arm: str  # its name


@_command("campaign.archive")
class ArchiveCampaign(Command):
    """Of one that is over: recipients to a compressed file, totals kept."""

    campaign: int


@_command("uncertain.decide")
class DecideUncertain(Command):
    """A person's word on messages that may have arrived: sent, failed, or resend. Of a campaign those of `ranks`, or
    all that fit the filter; or single messages."""

    decision: str
    campaign: int | None = None
    ranks: list[int] = field(default_factory=list)  # none: by the filter
    messages: list[str] = field(default_factory=list)  # public ids
    cause: str = ""  # filter: timeout, bind_lost, kill, power_cut
    before_ms: int | None = None  # filter: uncertain since before then


@_command("campaign.rate")
class SetCampaignRate(Command):
    """Its own pace from now on, also while it is sent."""

    campaign: int
    rate: int  # parts a second, 0: no limit of its own


@_command("campaign.test")
class TestCampaign(Command):
    """The text as it is now to a few phones, beside any audience."""

    campaign: int
    to: list[str]


@_command("campaign.stop_all")
class StopAll(Command):
    """Pause whatever runs and start nothing: of the envelope's tenant, or of every tenant when that is the operator."""


@_command("campaign.release")
class ReleaseAll(Command):
    """Lift a stop of everything."""

    resume: bool = False  # what it paused goes on


@_command("points.add")
class AddPoints(Command):
    member_no: int
    delta: int
    source: str
    key: str  # repeat-safe: the same key again answers the first entry
    why: str = ""


@_command("message.send")
class SendMessages(Command):
    messages: list[dict[str, Any]]  # each {to, text | template and vars, purpose, validity_s, ref, sender}


@_command("message.cancel")
class CancelMessage(Command):
    message: str  # its public id


@_command("route.put")
class PutRoute(Command):
    """Make or change a route of the operator's (routes/stored.py)."""

    title: str  # its name
    values: dict[str, Any]  # keys of [[route]]; those left out stay as they are, of a new one as by default
    new: bool = False  # there must be none of that name


@_command("route.delete")
class DeleteRoute(Command):
    title: str


@_command("route.ported")
class TurnPorted(Command):
    """The ported numbers of a spooled file (routes/ported.py) become the table."""

    count: int
    networks: list[str]
    file: str  # whose they are
    spool: str  # where they lie, in order, as u64: a name in the data folder


@_command("backup.note")
class NoteBackup(Command):
    """Before all of the store leaves the house: who takes it where."""

    folder: str


@_command("bind.connect")
class ConnectBind(Command):
    """Bound again, whatever an operator or a refusal said before."""

    bind: str  # endpoint.number, or an endpoint for all its binds


@_command("bind.drain")
class DrainBind(Command):
    """Submit nothing more, unbind when the window is answered; stays so until connected or a restart."""

    bind: str


@_command("bind.disconnect")
class DisconnectBind(Command):
    """End the connection at once; what is in the window is uncertain. Stays so until connected or a restart."""

    bind: str


@_command("bind.reveal")
class RevealBind(Command):
    """See numbers and texts in a trace of this bind, for ten minutes; needs a reason."""

    bind: str


@_command("bind.trace")
class TraceBind(Command):
    """What crossed a bind since the last of these. Asked for again and again; ends five seconds after the last."""

    bind: str
    number: str = ""  # only from and to this one
    reveal: bool = False  # after bind.reveal


@_command("status")
class AskStatus(Command):
    """Live figures of the dispatcher (health.py): binds, lanes, writer, campaigns."""


@_command("retries")
class AskRetries(Command):
    """What each command_status means: how often a message goes again, how far apart, until when."""


def to_wire(command: Any, envelope: Envelope) -> dict[str, Any]:
    return {"command": command.name, **asdict(envelope), "body": asdict(command)}


def from_wire(message: dict[str, Any]) -> tuple[Any, Envelope]:
    """The command and its envelope. Raises KeyError or TypeError on one that this version does not know."""
    cls = COMMANDS[message["command"]]
    names = Envelope.__dataclass_fields__
    return cls(**message["body"]), Envelope(**{k: v for k, v in message.items() if k in names})
