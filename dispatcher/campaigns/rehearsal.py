"""A dress rehearsal's plan, and the small store that it is sent from: what a start now would read, and nothing else.

Touches: the tenant's rows through one View, read only; the scratch store it is given. Time is an argument.
Rests on: preview.py and life.py, asked over the View with a draft in the campaign's place, so that a rehearsal counts
and is refused exactly as a start now.

Copied: columns that its texts and guards read, of the audience's blocks alone; where a cap counts, what of earlier
campaigns' ledgers it looks at; prices, routes, signatures, the last line of the credit, the coupon pool without what
its codes are made with. No key, no audit, no outcome log, and no other tenant's row. Passed over, and said so in the
answer: the hour it starts, windows, quiet hours, the wait for a winner, the approval. Cost: one read of these rows,
held as one transaction; about what the copy takes of the disk, 60 octets a member for a name and the fixed columns.
Weak spot: what other campaigns sent since the last fold is not in the copy, so a cap may let somebody pass here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from dispatcher.campaigns.campaign import need_campaign
from dispatcher.campaigns.guards import Guards
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.money import meter_of
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.schedule import DEFAULTS, RECIPIENT
from dispatcher.campaigns.states import DONE, DRAFT, conflict
from dispatcher.campaigns.usage import Used, measured
from dispatcher.control.commands import Envelope, PreviewCampaign, RehearseCampaign, StartCampaign
from dispatcher.coupons.pool import need_pool
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.segments.caps import Counted
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.store import Snapshot, Store
from dispatcher.store.delta import block_prefix
from dispatcher.store.layout import ARRAYS, BLOCK_KEY, LEDGER_KEY, TENANT, TENANT_U16, TENANT_U64, U64
from dispatcher.store.singles import of_group
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant

ACTOR = "rehearsal"
SHARE_LEAST = 0.01
SALT = "rehearsal"
SLICE_OCTETS = 16 << 20  # a commit of the copy
ROW_OCTETS = 48  # of the tree, beside a row's own key and value
META = (b"endpoints", b"ported")
WHOLE = ("routes", "ported")  # tables of the operator
OF_TENANT = ("fields", "signatures", "signature_stops")
CAP_ARRAYS = ("decision", "submit_s")

Row = dict[str, Any]
Rows = Iterator[tuple[str, bytes, Any]]


def note_rehearsal(view: View, command: RehearseCampaign, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """No row of its own: the audit's line says who rehearsed what. Raises CommandRefused 404, 422, 409."""
    row = need_campaign(view, envelope.tenant, command.campaign)
    if row["started_ms"] is not None:
        raise conflict("it has begun: clone it (:clone), then rehearse the copy")
    if not SHARE_LEAST <= command.share <= 1:
        detail = f"share {command.share:g}: {SHARE_LEAST:g} to 1"
        raise CommandRefused(422, "invalid_value", detail, errors=[_wrong("/share", detail)])
    return Changes(), {"id": public_id("cmp", command.campaign), "state": row["state"]}


@dataclass(slots=True)
class Plan:
    """What will be rehearsed: `seen` is its preview, `whole` that of everybody, the same where nothing is left out."""

    tenant: int
    campaign: int
    at_ms: int
    whole: dict[str, Any]
    seen: dict[str, Any]
    passed_over: list[str]
    rows: dict[tuple[str, bytes], Any] = field(repr=False)
    fields: set[int]
    blocks: set[int]
    earlier: list[int]  # campaigns that a cap counts
    all_numbers: bool

    @property
    def parts(self) -> int:
        return wire_parts(self.seen)


def plan(
    view: Snapshot, tenant: int, campaign: int, at_ms: int, *, rate: int = 0, share: float = 1.0, windows: bool = False
) -> Plan:
    """rate: parts/s of all endpoints, as a preview is given it. windows: keep hours of the day and quiet hours.

    Raises CommandRefused as note_rehearsal, a preview and a start do; 422 when a share is asked of a segment that is
    cut to a number.
    """
    envelope = Envelope(tenant=tenant, actor=ACTOR, at_ms=at_ms)
    note_rehearsal(view, RehearseCampaign(campaign=campaign, share=share), envelope)
    draft, passed_over = _draft(need_campaign(view, tenant, campaign), windows)
    of = unpack(view.get("tenants", TENANT.pack(tenant)) or b"")
    if of.get("approval_above"):
        passed_over.append("somebody else's approval")
    there, key = _Over(view), ("campaigns", TENANT_U64.pack(tenant, campaign))
    there.rows = {("tenants", TENANT.pack(tenant)): pack({**of, "approval_above": 0}), key: pack(draft)}
    changes, whole = preview_campaign(there, PreviewCampaign(campaign=campaign), envelope, rate)
    seen = whole
    if share < 1:
        there.rows[key] = pack({**draft, "expr": _sampled(there, tenant, draft["expr"], share, at_ms)})
        changes, seen = preview_campaign(there, PreviewCampaign(campaign=campaign), envelope, rate)
    there.rows.update(changes.rows)
    there.rows.update(((table, key), value) for table, rows, _ in changes.bulk for key, value in rows)
    start_campaign(there, StartCampaign(campaign=campaign, token=seen["token"]), envelope)
    return _needs(there, Plan(tenant, campaign, at_ms, whole, seen, passed_over, there.rows, set(), set(), [], False))


def _draft(row: Row, windows: bool) -> tuple[Row, list[str]]:
    """The campaign as a start now would find it, and what of it is passed over."""
    schedule, passed_over = row["schedule"], []
    if schedule is not None:
        passed_over += [f"its start at {schedule['at']}"] if schedule["at"] else []
        passed_over += ["its repetition"] if schedule["repeat"] else []
        kept = {**DEFAULTS, **{name: schedule[name] for name in ("window", "spread_over_s")}}
        kept |= {"zone": schedule["zone"]} if schedule["zone"] != RECIPIENT else {}
        if not windows:
            passed_over += ["its hours of the day and the time it is spread over"] if kept != DEFAULTS else []
            kept = DEFAULTS
        schedule = None if all(kept[name] == DEFAULTS[name] for name in ("window", "spread_over_s")) else kept
    if row["winner"] is not None:
        passed_over.append("the wait for a winner: all get their arm's text at once")
    fresh = {"state": DRAFT.value, "schedule": schedule, "winner": None, "won": None, "local_at": None}
    return {**row, **fresh, "open_hours": not windows, "approval": None, "preview": None}, passed_over


def _sampled(view: View, tenant: int, expr: str, share: float, at_ms: int) -> str:
    compiled = compile_segment(view, tenant, expr, as_of_ms=at_ms)
    if compiled.limit is not None or compiled.top is not None:
        detail = "share: the segment is cut to a number (top, limit), which a share would not make smaller"
        raise CommandRefused(422, "invalid_value", f"{detail}; rehearse it whole", errors=[_wrong("/share", detail)])
    return f'{compiled.text} sample {100 * share:.4g}% by "{SALT}"'


def _needs(view: _Over, made: Plan) -> Plan:
    """What of the store the plan's dispatcher will read."""
    row = need_campaign(view, made.tenant, made.campaign)
    guards = Guards(view, made.tenant, row, made.campaign, since_ms=made.at_ms)
    meter = meter_of(view, need_tenant(view, made.tenant), row)
    made.fields = {number for number, *_ in (*guards.columns, *meter.columns)}
    made.blocks = {
        LEDGER_KEY.unpack(key)[2] for (table, key), value in made.rows.items()
        if table == "bitmaps" and value is not None and LEDGER_KEY.unpack(key)[:2] == (made.campaign, 0)
    }  # fmt: skip
    if guards.rules.caps:
        made.earlier = Counted(view, made.tenant, guards.rules.caps, made.at_ms, campaign=made.campaign).campaigns
    made.all_numbers = guards.quiet is not None
    if guards.rules.quiet is not None and not made.all_numbers:
        made.passed_over.append("quiet hours")
    return made


def rows_of(view: Snapshot, made: Plan) -> Rows:
    """Every row of the scratch store, the plan's own last. Values of big tables are zero-copy."""
    of = TENANT.pack(made.tenant)
    for name in (*META, b"signature_stops" + of):
        yield from (("meta", key, value) for key, value in view.buffers("meta", name) if key == name)
    for table in WHOLE:
        yield from ((table, key, value) for key, value in view.buffers(table))
    for table in OF_TENANT:
        yield from ((table, key, value) for key, value in view.buffers(table, of))
    for owner in (TENANT.pack(0), of):
        yield from (("prices", key, value) for key, value in view.buffers("prices", owner))
    yield from (("money", key, value) for key, value in islice(view.range("money", of, reverse=True), 1))
    yield from (("usage", key, pack({**unpack(row), "settled": True})) for key, row in view.range("usage", of))
    if made.all_numbers:
        yield from (("phones", key, value) for key, value in view.buffers("phones", of))
    else:  # prices look at the least and the greatest
        ends = (islice(view.range("phones", of, reverse=reverse), 1) for reverse in (False, True))
        yield from (("phones", key, value) for end in ends for key, value in end)
    for campaign in made.earlier:
        yield from _earlier(view, made.tenant, campaign)
    mine = unpack(bytes(made.rows["campaigns", TENANT_U64.pack(made.tenant, made.campaign)] or b""))
    if mine["coupon_pool"] is not None:
        pool = need_pool(view, made.tenant, mine["coupon_pool"])
        yield "coupon_pools", TENANT_U64.pack(made.tenant, mine["coupon_pool"]), pack({**pool, "key": b""})
    counted = of_group(made.tenant, mine["purpose"])  # messages of the API, which caps count too
    yield from (("singles", key, value) for key, value in view.buffers("singles", counted))
    for number in sorted(made.fields):
        for key, value in view.buffers("blocks", TENANT_U16.pack(made.tenant, number)):
            if BLOCK_KEY.unpack(key)[3] in made.blocks:
                yield "blocks", key, value
    for block in sorted(made.blocks):
        yield from (("delta", key, value) for key, value in view.buffers("delta", block_prefix(made.tenant, block)))
    yield from ((table, key, value) for (table, key), value in made.rows.items() if value is not None)


def _earlier(view: Snapshot, tenant: int, campaign: int) -> Rows:
    """One whose messages a cap counts; as one that is over, so that nothing of it is ever sent here."""
    row, prefix = need_campaign(view, tenant, campaign), U64.pack(campaign)
    yield "campaigns", TENANT_U64.pack(tenant, campaign), pack({**row, "state": DONE.value})
    for table in ("campaign_counts", "bitmaps"):
        yield from ((table, key, value) for key, value in view.buffers(table, prefix))
    for name in CAP_ARRAYS:
        array = LEDGER_KEY.pack(campaign, ARRAYS[name][0], 0)[:9]
        yield from (("ledger", key, value) for key, value in view.buffers("ledger", array))


def octets_of(view: Snapshot, made: Plan) -> tuple[int, int]:
    """(rows, octets that they take of the disk), by reading what would be copied."""
    rows = octets = 0
    for _, key, value in rows_of(view, made):
        rows += 1
        octets += len(key) + len(value) + ROW_OCTETS
    return rows, octets


def copy_rows(view: Snapshot, made: Plan, store: Store) -> Iterator[int]:
    """Write them into a new store, a slice a commit; after each the octets so far."""
    changes, done, told = Changes(), 0, 0
    for table, key, value in rows_of(view, made):
        changes.put(table, key, value)
        done += len(key) + len(value) + ROW_OCTETS
        if done - told >= SLICE_OCTETS:
            store.apply(changes)
            changes, told = Changes(), done
            yield done
    store.apply(changes)
    yield done


# ---- what came of it


def used(view: View, made: Plan) -> Used:
    """Messages, parts on the wire and billed, money, by the scratch store's ledger."""
    row = need_campaign(view, made.tenant, made.campaign)
    return measured(view, made.tenant, made.campaign, row, meter_of(view, need_tenant(view, made.tenant), row))


def wire_parts(seen: dict[str, Any]) -> int:
    return sum(int(parts) * n for parts, n in seen["parts"].items())


def differences(seen: dict[str, Any], sent: Used, skipped: dict[str, int]) -> list[str]:
    """What was not as its preview had said; none is as it must be."""
    pairs = [
        ("messages", seen["will_send"], sent.messages),
        ("parts", wire_parts(seen), sent.parts),
        ("billed parts", seen["billed_parts"], sent.billed),
        ("cost in micro-units", seen["cost_micros"], None if seen["cost_micros"] is None else sent.micros),
    ]
    reasons = dict.fromkeys((*seen["skipped"], *skipped))
    pairs += [(f"skipped {reason}", seen["skipped"].get(reason, 0), skipped.get(reason, 0)) for reason in reasons]
    return [f"{what}: {said:,} previewed, {was:,} found" for what, said, was in pairs if said != was]


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "code": "invalid_value", "detail": detail}


class _Over(Snapshot):
    """A snapshot with some rows in the place of its own, for those who get them by key."""

    __slots__ = ("rows",)

    def __init__(self, view: Snapshot) -> None:
        super().__init__(view.txn, view.tables, view.kept, view.page_octets)
        self.rows: dict[tuple[str, bytes], Any] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        if (table, key) not in self.rows:
            return super().get(table, key)
        value = self.rows[table, key]
        return None if value is None else bytes(value)
