"""Preview, the contract of a start: the audience frozen under a token, and exactly what a start would send and cost.

Touches: the members' blocks and the campaign's row, through one View that must stay the same throughout; runs on a
read snapshot in a worker thread, and its Changes are good only while the campaign is at the version it read.
Rests on: freeze.py, which counts; texts.py, which shows; money.py, which holds a start to what was seen here.

The token binds text, arms, schedule, guards, prices, coupon pool and count; what of them changes ends it
(campaign.PREVIEWED). The row keeps the counts and no texts: a person who is erased is not to live on in a sample.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns import wording
from dispatcher.campaigns.arms import names_of
from dispatcher.campaigns.campaign import fingerprint, need_campaign, save
from dispatcher.campaigns.coupon_pool import hold_pool, pool_warnings, said_of, seen_of
from dispatcher.campaigns.eta import eta
from dispatcher.campaigns.freeze import Frozen, counted, freeze, freeze_row, put_audience, start_of
from dispatcher.campaigns.money import account, hold_money, meter_of
from dispatcher.campaigns.render import PartCounts, spared
from dispatcher.campaigns.states import next_state
from dispatcher.campaigns.template import Template
from dispatcher.campaigns.texts import SAMPLES, Texts
from dispatcher.campaigns.written import compile_of, recompose
from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, PreviewCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision
from dispatcher.routes.router import Router
from dispatcher.segments.number_list import told
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.segments.snapshot import list_behind
from dispatcher.store.columns import open_block
from dispatcher.tenants.tenant import Tenant, need_tenant
from dispatcher.text.alphabet import outside_gsm7
from dispatcher.text.coding import Coding, Encoder
from dispatcher.text.options import Options
from dispatcher.text.options import checked as options_checked

__all__ = ["SAMPLES", "TOKEN_LIVES_MS", "Frozen", "counted", "freeze_row", "preview_campaign", "put_audience"]

TOKEN_LIVES_MS = 24 * 3_600_000  # DESIGN 6
TOKEN_OCTETS = 24
OUTDATED_KEPT = 4  # previews before the latest, of which a start with their token is told what changed since
DIGITS_KEPT = 16  # of their fingerprints: enough to tell what differs
CULPRITS_NAMED = 5  # characters that a warning shows
SENDER_NAME_SHOWN = 11  # characters of an alphanumeric sender that phones take (TS 23.040 9.1.2.5)


def preview_campaign(
    view: View, command: PreviewCampaign, envelope: Envelope, endpoint_rate: int = 0, coding: Coding | None = None,
    router: Router | None = None, window_rate: int = 0,
) -> tuple[Changes, dict[str, Any]]:  # fmt: skip
    """Freeze the audience and count. The reply has the token that start asks for, good for 24 h.

    endpoint_rate: parts/s of all endpoints together, 0 where that is not known. coding: how they take texts. router:
    which of them each number goes by. window_rate: parts/s that their windows let out, 0 not known. Raises
    CommandRefused: 404; 409 unless a draft; 422 for a segment or text that is wrong, or no text; what the market asks
    of the text (wording.py); what its coupon pool does not hold for.
    """
    began = perf_counter()
    tenant = need_tenant(view, envelope.tenant)
    row = need_campaign(view, tenant.number, command.campaign)
    next_state(row, "preview")
    template, schedule = _hold_written(view, tenant, row, envelope.at_ms), row["schedule"]
    compiled = compile_segment(view, tenant.number, row["expr"], as_of_ms=envelope.at_ms)
    frozen = freeze(view, tenant, row, compiled, envelope.at_ms, command.campaign, coding, router)
    counts, lasts = counted(frozen), eta(row, tenant, frozen, endpoint_rate, window_rate)
    pool = hold_pool(view, tenant.number, row, frozen.starts_ms, lasts.ms)
    _keep(row, frozen, envelope.at_ms, market_profile=tenant.market_profile, coupon=seen_of(pool, lasts.ms), **counts)
    changes = save(tenant.number, command.campaign, row)
    put_audience(view, changes, command.campaign, frozen)
    meter = meter_of(view, tenant, row, prices=False, coding=coding, router=router)
    texts = Texts(view, tenant.number, meter.renderers, names_of(row), frozen)
    listed = list_behind(view, tenant.number, compiled.text)
    reply = {
        "id": public_id("cmp", command.campaign),
        "version": row["version"],
        "token": row["preview"]["token"],
        "expires_at": rfc3339(row["preview"]["expires_ms"]),
        "as_of": _as_of(envelope.at_ms, tenant),
        "audience": frozen.matched,
        "matched": frozen.matched,
        **{name: value for name, value in counts.items() if name != "prices"},
        "waiting_until": [{"at": rfc3339(at), "recipients": n} for at, n in sorted(frozen.waiting.items())],
        "by_arm": {name: frozen.by_arm[arm] for arm, name in enumerate(names_of(row)) if name},
        "by_price": {str(price): parts for price, parts in sorted(frozen.bill.by_price.items())},
        **_balance(view, tenant, counts["cost_micros"]),
        "listed": listed,
        "text": row["text"],
        "schedule": schedules.in_words(schedule, schedules.zone_of(schedule, row["zone"])) if schedule else "at once",
        "approval_needed": bool(tenant.approval_above) and counts["will_send"] > tenant.approval_above,
        "eta": lasts.shown(),
        "coupon_pool": said_of(row, pool),
        "samples": texts.samples(),
        "longest": texts.longest(),
        "dearer": texts.dearer(),
        "look_alikes": _look_alikes(view, tenant, row, frozen, coding, router),
        "warnings": [
            *compiled.warnings,
            *filter(None, [told(listed) if listed else ""]),
            *_warnings(row, tenant, template, frozen, texts, meter.encoders),
            *_of_guards(row, frozen),
            *pool_warnings(pool, [one.template for one in meter.renderers], frozen.will_send, frozen.starts_ms),
            *_unpaid(view, tenant, command.campaign, row, envelope.at_ms),
        ],
        "ms": round((perf_counter() - began) * 1000, 1),
    }
    return changes, reply


def _hold_written(view: View, tenant: Tenant, row: dict[str, Any], at_ms: int) -> Template:
    """Its text, where everything that is written in it still holds: by the clock, by the market, by its coupon pool."""
    if not row["text"]:
        problem = {"pointer": "/text", "code": "text_missing", "detail": "the campaign has no text yet"}
        raise CommandRefused(422, "text_missing", problem["detail"], errors=[problem])
    schedules.checked(row["schedule"], row["zone"], at_ms)  # its time may be past by now
    options_checked(row["options"], at_ms)  # and so may theirs
    recompose(tenant, row)  # the market's wording may be another by now
    wording.hold_signature(view, tenant, row)
    hold_pool(view, tenant.number, row, start_of(row, at_ms))
    return compile_of(view, tenant.number, row, row["text"])


def _keep(row: dict[str, Any], frozen: Frozen, at_ms: int, **counts: Any) -> None:
    """The preview into the row, under a token of its own; of the one before what tells what changed since."""
    row["audience"] = frozen.matched
    row["deal"] = frozen.deal.row if frozen.deal else None
    row["outdated"] = [*row["outdated"], *_outdated(row["preview"])][-OUTDATED_KEPT:]
    row["preview"] = {
        "token": secrets.token_urlsafe(TOKEN_OCTETS),
        "at_ms": at_ms,
        "expires_ms": at_ms + TOKEN_LIVES_MS,
        "fingerprint": fingerprint(row),
        "audience": frozen.matched,
        **counts,
    }


def _outdated(preview: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """What is kept of a preview that is followed by another."""
    if preview is not None:
        yield {
            "token_sha256": hashlib.sha256(preview["token"].encode()).hexdigest(),
            "will_send": preview["will_send"],
            "fingerprint": {name: digest[:DIGITS_KEPT] for name, digest in preview["fingerprint"].items()},
        }


def _balance(view: View, tenant: Tenant, cost: int | None) -> dict[str, Any]:
    """What a prepaid tenant has, now and after it."""
    now = account(view, tenant.number).balance if tenant.prepaid else None
    after = None if now is None or cost is None else now - cost
    return {"currency": tenant.currency, "balance_micros": now, "balance_after_micros": after}


def _as_of(at_ms: int, tenant: Tenant) -> str:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(tenant.zone)).isoformat(timespec="milliseconds")


def _warnings(
    row: dict[str, Any], tenant: Tenant, template: Template, frozen: Frozen, texts: Texts, encoders: Sequence[Encoder]
) -> Iterator[str]:  # fmt: skip
    """What its writer should know before starting, one sentence each."""
    decisions, will_send = frozen.total.decisions, frozen.will_send
    if not frozen.matched:
        yield "The segment matches no member: there is nobody to send to."
    elif not will_send:
        yield f"All that are matched ({frozen.matched:,}) are skipped: there is nobody to send to."
    if n := decisions[Decision.NO_VALUE]:
        bare = " or ".join(f"{{{ref.field.name}}}" for ref in template.references if ref.fallback is None)
        yield f"{_members(n)} skipped because {bare} is not known; a fallback, as in {{name|friend}}, would reach them."
    if n := decisions[Decision.TEXT_GREW]:
        yield f"{_members(n)} skipped because the text would need more than {_parts(row['max_parts'])}."
    if n := decisions[Decision.NO_ROUTE]:
        yield f"{_members(n)} skipped because no route fits their number: volley smpp route NUMBER says why."
    narrow = next((by for by in encoders if not by.coding.ucs2), None)
    if (n := decisions[Decision.NO_ALPHABET]) and narrow is not None:
        lacking = narrow.outside(template.literals)
        named = ", ".join(f"“{character}”" for character in lacking[:CULPRITS_NAMED]) or "what is in their values"
        advice = "" if narrow.transliterates else "; look-alikes (transliterate) may spare some"
        yield f"{_members(n)} skipped because the endpoint takes no UCS-2 and has no {named}{advice}."
    if ucs2 := frozen.total.ucs2:
        literal = outside_gsm7(template.literals)
        characters, complete = (literal, True) if literal else texts.culprits()
        named = ", ".join(f"“{character}”" for character in characters[:CULPRITS_NAMED])
        more = "" if complete and len(characters) <= CULPRITS_NAMED else " and others"
        whose = "in the text" if literal else "in their values"
        yield f"{_members(ucs2, 'need')} UCS-2, 70 characters a part instead of 160, because of {named}{more} {whose}."
    sender = row["sender"]
    if not sender:
        yield f"No sender is set, neither here nor for {tenant.title}: the SMSC chooses one."
    elif len(sender) > SENDER_NAME_SHOWN and not sender.removeprefix("+").isdigit():
        yield f"The sender {sender!r} is longer than the {SENDER_NAME_SHOWN} characters that phones show of a name."


def _of_guards(row: dict[str, Any], frozen: Frozen) -> Iterator[str]:
    """What guards and market say before the start, one sentence each."""
    decisions = frozen.total.decisions
    if n := decisions[Decision.NO_CONSENT]:
        yield f"{_members(n)} skipped because nobody recorded that they said yes to {row['purpose']} messages."
    if n := decisions[Decision.FREQUENCY_CAP]:
        yield f"{_members(n)} skipped because they had as many {row['purpose']} messages as a cap allows."
    if n := decisions[Decision.QUIET]:
        yield f"{_members(n)} skipped because the quiet calendar does not open for them in time."
    if n := frozen.waiting.total():
        first = rfc3339(min(frozen.waiting))
        own = schedules.local_at(row["schedule"])
        hours = "their own clock to show the time" if own else "the hours in which the market allows messages"
        yield f"{_members(n, 'wait')} for {hours}, the first until {first}."
    if frozen.undealt:
        yield f"{_members(frozen.undealt, 'wait')} for the winning text; the dearest one is counted for them."


def _unpaid(view: View, tenant: Tenant, campaign: int, row: dict[str, Any], at_ms: int) -> Iterator[str]:
    """What price, budget, plan or credit would refuse its start for now, in the words of that refusal."""
    if not row["preview"]["will_send"]:
        return
    try:
        hold_money(view, tenant, campaign, dict(row), at_ms)
    except CommandRefused as exc:
        yield f"As it is, its start would be refused: {exc.detail}."


def _look_alikes(
    view: View, tenant: Tenant, row: dict[str, Any], frozen: Frozen, coding: Coding | None, router: Router | None
) -> dict[str, Any] | None:
    """What look-alikes of GSM 7-bit change and save, where the campaign or an endpoint asks for them."""
    asked = [Options.of(row["options"]), coding or Coding(), *(router.settings.values() if router else ())]
    if not any(one.transliterate for one in asked):
        return None
    plain = meter_of(
        view, tenant, {**row, "started_ms": frozen.starts_ms}, prices=False, transliterate=False, coding=coding,
        router=router,
    )  # fmt: skip
    before = PartCounts()
    for (block, _, _), passed in zip(frozen.blocks, frozen.passed, strict=True):
        columns = open_block(view, tenant.number, block, plain.columns)
        for arm, bits in enumerate(passed):
            if bits:
                before += plain.bill(columns, block, bits, arm).counts
    return spared(before, frozen.bill.counts)


def _members(n: int, verb: str = "is") -> str:
    plural = {"is": "are"}.get(verb, verb)
    singular = {"is": "is", "have": "has"}.get(verb, f"{verb}s")
    return f"1 member {singular}" if n == 1 else f"{n:,} members {plural}"


def _parts(n: int) -> str:
    return f"{n} part{'s' * (n > 1)}"
