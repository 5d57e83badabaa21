"""Drawn worlds made real in a store by the commands that people use, and beside it as the reference has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from config import Endpoint
from dispatcher.campaigns.campaign import create_campaign, load, save
from dispatcher.campaigns.money import top_up
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.price import set_prices
from dispatcher.campaigns.wording import register_signature
from dispatcher.control.commands import (
    AddSuppression,
    CreateCampaign,
    DefineField,
    EditTenant,
    EraseMember,
    ImportSuppressions,
    PreviewCampaign,
    RecordConsents,
    RegisterSignature,
    SetPrices,
    SnapshotSegment,
    TopUp,
)
from dispatcher.members.consent import record_optout
from dispatcher.members.consents import record_consents
from dispatcher.members.erase import erase_member
from dispatcher.members.fields import define_field
from dispatcher.members.suppression import add_suppression, found_by_hash, import_suppressions
from dispatcher.records.changes import Changes
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, Purpose
from dispatcher.routes.router import Router
from dispatcher.segments.snapshot import snapshot_segment
from dispatcher.store import Store
from dispatcher.store.hashed import digits_hash
from dispatcher.store.singles import put_single, who_of
from dispatcher.tenants.edit import edit_tenant
from dispatcher.tenants.profile import get_profile
from dispatcher.text.coding import Coding, coding_of
from tests.campaigns.drawn import EXACT, HEADS, HOUR_MS, ROUTES, SIGNATURE, ZONES
from tests.campaigns.log import claim, log, log_begins
from tests.fakes.shop import do, new_member, new_shop
from tests.reference import campaign as reference
from tests.reference.coding import say, split


@dataclass
class World:
    """One made real: what the store does not say is here, and every person as the reference knows them."""

    store: Store
    drawn: dict[str, Any]
    now_ms: int
    router: Router | None = None
    codings: dict[str, Coding] = field(default_factory=dict)
    people: dict[int, reference.Person] = field(default_factory=dict)
    listed: list[int] | None = None
    frozen: list[int] = field(default_factory=list)
    signature: str = ""
    campaign: int = 0
    max_parts: int = 1
    credit: int = 0
    plan: int = 0
    prices: list[dict[str, int]] = field(default_factory=list)  # the operator's, the tenant's

    def freeze(self) -> None:
        """Those who are there now."""
        wanted = self.people if self.listed is None else set(self.listed)
        self.frozen = [no for no, who in self.people.items() if no in wanted and not who.erased]

    @property
    def matched(self) -> dict[int, reference.Person]:
        return {no: self.people[no] for no in self.frozen}

    @property
    def local_at(self) -> str | None:
        """What the clock is to show at its start, where that is not at once."""
        if self.drawn["later"] is None:
            return None
        return datetime.fromtimestamp(self.now_ms // HOUR_MS * 3_600 + 30 * 3_600, UTC).replace(tzinfo=None).isoformat()

    @property
    def starts_ms(self) -> int:
        if self.local_at is None:
            return self.now_ms
        zone = "Pacific/Kiritimati" if self.drawn["later"] == "recipient" else "UTC"  # where the day comes first
        return round(1000 * datetime.fromisoformat(self.local_at).replace(tzinfo=ZoneInfo(zone)).timestamp())


def make(store: Store, drawn: dict[str, Any]) -> World:
    """Everything up to the draft."""
    world = World(store, drawn, drawn["now_ms"])
    _settle(world)
    _send_before(world)
    _tell(world)
    _route(world)
    _list(world)
    world.max_parts = drawn["more_parts"] + max(map(parts_of_words, texts_of(world)))
    world.campaign = _draft(world)
    return world


def _settle(world: World) -> None:
    store, drawn = world.store, world.drawn
    new_shop(store)
    do(store, define_field, DefineField(title="zone", kind="dict", values=ZONES))
    for place, one in enumerate(drawn["members"]):
        number = HEADS[one["head"]] + place
        values = {name: one[name] for name in ("name", "visits", "tier", "zone") if one[name] is not None}
        no = new_member(store, number, **values)
        shown = {name: str(value) for name, value in values.items() if name != "zone"}
        zone = one["zone"] if drawn["zone_field"] else None
        world.people[no] = reference.Person(number, shown, zone)


def _send_before(world: World) -> None:
    """What others sent, and will send, counts towards caps."""
    for one in world.drawn["earlier"]:
        when_ms = world.now_ms - 1000 * one["ago_s"]
        to = one["to"] & world.people.keys()
        if one["how"] == "single":
            for no in to:
                send_single(world, no, one["purpose"], when_ms)
        elif one["ago_s"] > 0:
            _campaign_before(world, one["purpose"], when_ms, to)
            for no in to:
                world.people[no].messages.append((one["purpose"], when_ms))


def _campaign_before(world: World, purpose: str, at_ms: int, to: set[int]) -> None:
    store, command = world.store, CreateCampaign(title="Before", text="Hi", sender="SHOP", purpose=purpose)
    campaign = parse_public_id("cmp", do(store, create_campaign, command, at_ms=at_ms)["id"])
    do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)
    with store.begin_write() as view:
        view.apply(save(1, campaign, load(view, 1, campaign) | {"state": "running", "started_ms": at_ms}))
    log_begins(store, campaign)
    log(store, campaign, at_ms, claim(0, [1 if no in to else Decision.QUIET for no in world.people]))


def send_single(world: World, no: int, purpose: str, when_ms: int) -> None:
    """One message of the API, as the gate keeps it once it is accepted; those that somebody asked for are not kept."""
    who, changes = world.people[no], Changes()
    if purpose != "transactional":
        with world.store.begin_write() as view:
            put_single(changes, view, 1, Purpose(purpose), who_of(view, 1, who.number), when_ms, 77, no)
            view.apply(changes)
        who.messages.append((purpose, when_ms))


def _tell(world: World) -> None:
    """Consents, opt-outs, suppressions, and the tenant's own rules."""
    store, drawn = world.store, world.drawn
    world.prices = [prices_in(drawn, name) for name in ("operator_prices", "own_prices")]
    before_ms = world.now_ms - HOUR_MS
    said = []
    for no, one in enumerate(drawn["members"]):
        if one["consented"]:
            consent(world, no, "marketing", said)
    if said:
        do(store, record_consents, RecordConsents(consents=said), at_ms=before_ms)
    if drawn["profile"] == "cn":
        world.signature = SIGNATURE
        do(store, register_signature, RegisterSignature(text=SIGNATURE))
    for no, one in enumerate(drawn["members"]):
        if one["opted_out"]:
            stop(world, no, one["opted_out"], before_ms + 1_000)
        if one["suppressed"]:
            suppress(world, no, one["suppressed"])
    changes: dict[str, Any] = {"market_profile": drawn["profile"], "signature": world.signature}
    changes["caps"] = [{"group": group, "max": most, "within_s": s} for group, most, s in drawn["tenant_caps"]]
    changes |= {"parts_month": 0 if drawn["plan"] == EXACT else drawn["plan"], "prepaid": drawn["credit"] is not None}
    if drawn["zone_field"]:
        changes["zone_field"] = "zone"
    do(store, edit_tenant, EditTenant(changes=changes))
    world.plan = changes["parts_month"]
    for tenant, of in enumerate(world.prices):
        if of:
            do(store, set_prices, SetPrices(prices=of), tenant=tenant)
    if drawn["credit"] not in (None, EXACT):
        credit(world, drawn["credit"])


def prices_in(drawn: dict[str, Any], name: str) -> dict[str, int]:
    """Without those of endpoints where it is not known which there are."""
    return {key: micros for key, micros in drawn[name].items() if drawn["routes"] != "none" or ":" not in key}


def credit(world: World, micros: int) -> None:
    do(world.store, top_up, TopUp(micros=micros), at_ms=world.now_ms - HOUR_MS)
    world.credit = micros


def plan(world: World, parts: int) -> None:
    do(world.store, edit_tenant, EditTenant(changes={"parts_month": parts}))
    world.plan = parts


def consent(world: World, no: int, purpose: str, said: list[dict[str, Any]]) -> None:
    said.append({"number": f"+{world.people[no].number}", "purpose": purpose, "source": "till"})
    world.people[no].consented.add(purpose)


def stop(world: World, no: int, purpose: str, at_ms: int) -> None:
    with world.store.begin_write() as view:
        view.apply(record_optout(view, 1, world.people[no].number, [purpose], at_ms, "SMS: STOP"))
    world.people[no].opted_out.add(purpose)


def suppress(world: World, no: int, how: str) -> None:
    number, store = world.people[no].number, world.store
    if how == "hash":
        hashes = [digits_hash(number).hex()]
        with store.snapshot() as view:
            found = found_by_hash(view, 0, hashes)
        do(store, import_suppressions, ImportSuppressions(hashes=hashes, **found), tenant=0)
    else:
        signature = {"signature": world.signature, "other signature": "somebody else"}.get(how, "")
        command = AddSuppression(numbers=[f"+{number}"], signature=signature)
        do(store, add_suppression, command, tenant=0 if how == "operator" else 1)
    world.people[no].suppressed.add(
        "somebody else" if how == "other signature" else world.signature if how == "signature" else ""
    )


def _route(world: World) -> None:
    routes = ROUTES[world.drawn["routes"]]
    if routes is None:
        return
    world.router = Router({"main": (0, 1), "spare": (1, 1)}, [(route, "test") for route in routes])
    own = {"main": {}, "spare": world.drawn["spare"]}
    world.router.settings = {name: Endpoint(name=name, host="h", system_id="s", **more) for name, more in own.items()}
    world.codings = {name: coding_of(endpoint) for name, endpoint in world.router.settings.items()}


def _list(world: World) -> None:
    """An ad-hoc list of numbers: some twice, some nobody's, some that are none."""
    given = world.drawn["list"]
    if given is None:
        return
    texts = [
        f"+{world.people[no].number}" if no in world.people else "12" if no < 0 else f"+4917700000{no}" for no in given
    ]
    do(world.store, snapshot_segment, SnapshotSegment(title="Friday", numbers=texts))
    world.listed = [no for no in given if no in world.people]


def written(one: tuple[str, int, str]) -> str:
    filler, many, reference_ = one
    return filler * many + reference_


def _draft(world: World) -> int:
    drawn = world.drawn
    arms = [
        {"name": "ABC"[no], "share": share, "text": written(drawn["texts"][no]) if no else ""}
        for no, share in enumerate(drawn["shares"])
    ]
    parts: dict[str, Any] = {"arms": arms, "holdout": drawn["holdout"], "budget_micros": drawn["budget"]}
    if drawn["winner"] and len(arms) > 1:
        parts["winner"] = {"by": "delivered", "after_s": 3_600, "test_percent": drawn["winner"]}
    if drawn["stratify"] and (arms or drawn["holdout"]):
        parts["stratify"] = "tier"
    if drawn["later"]:
        parts["schedule"] = {"at": world.local_at, "zone": drawn["later"], "count_change_percent": 100_000}
    if world.listed is not None:
        parts["expr"] = 'in segment "Friday"'
    command = CreateCampaign(
        title="Sale", sender="SHOP", text=written(drawn["texts"][0]), purpose=drawn["purpose"],
        max_parts=world.max_parts, caps=[{"max": most, "within_s": s} for most, s in drawn["caps"]], **parts,
    )  # fmt: skip
    return parse_public_id("cmp", do(world.store, create_campaign, command, at_ms=world.now_ms)["id"])


def happen(world: World, event: dict[str, Any], at_ms: int) -> None:
    """Something between a preview and a claim."""
    no, purpose = event["who"], world.drawn["purpose"]
    who = world.people.get(no)
    if who is None or who.erased:
        return
    match event["what"]:
        case "stop" if purpose != "transactional":
            stop(world, no, purpose, at_ms)
        case "suppress":
            suppress(world, no, "tenant")
        case "single":
            send_single(world, no, purpose, at_ms)
        case "name":
            new_member(world.store, who.number, name="é" * 39)
            who.values["name"] = "é" * 39
        case "erase":
            do(world.store, erase_member, EraseMember(member_no=no), at_ms=at_ms)
            who.erased = True
        case "consent" if not who.opted_out:
            said: list[dict[str, Any]] = []
            consent(world, no, "marketing", said)
            do(world.store, record_consents, RecordConsents(consents=said), at_ms=at_ms)


def texts_of(world: World) -> list[list[reference.Piece]]:
    """Every arm's as the market has it."""
    drawn, rule, purpose = world.drawn, get_profile(world.drawn["profile"]).text, world.drawn["purpose"]
    texts = []
    for one in drawn["texts"][: max(1, len(drawn["shares"]))]:
        filler, many, name = one
        pieces: list[reference.Piece] = [filler * many]
        if name:
            field_, _, fallback = name.strip("{}").partition("|")
            pieces.append((field_, fallback if "|" in name else None))
        if purpose in rule.signature_purposes:
            pieces.insert(0, rule.signature_form.replace("{signature}", world.signature))
        if purpose in rule.opt_out_purposes:
            pieces.append(rule.opt_out_wording)
        texts.append(pieces)
    return texts


def parts_of_words(pieces: list[reference.Piece]) -> int:
    said = say("".join(piece for piece in pieces if isinstance(piece, str)), Coding())
    return len(split(said, Coding()))


def as_reference(world: World, group_of: dict[int, int]) -> reference.Campaign:
    """What the reference is to know of the campaign."""
    drawn, profile = world.drawn, get_profile(world.drawn["profile"])
    purpose = drawn["purpose"]
    caps = [(cap.max, cap.within_s) for cap in profile.caps if cap.group == purpose]
    caps += [(most, s) for group, most, s in drawn["tenant_caps"] if group == purpose] + drawn["caps"]
    return reference.Campaign(
        profile, purpose, texts_of(world), world.max_parts, world.starts_ms,
        world.local_at if drawn["later"] == "recipient" else None, world.signature, caps, group_of,
        world.router.rules if world.router else None,
        {number: name for name, number in world.router.endpoints.items()} if world.router else {},
        world.codings, world.prices[1], world.prices[0],
    )  # fmt: skip
