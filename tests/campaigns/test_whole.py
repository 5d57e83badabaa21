"""Whole campaigns in small random worlds against the plain reference: what the preview promises, who is claimed when and
as what, who is skipped and why, and the money, to the micro-unit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from dispatcher.campaigns.arms import arms_of
from dispatcher.campaigns.campaign import load, mark
from dispatcher.campaigns.due import due_before, start_due
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.freeze import freeze_row
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.money import account, measure_over, next_over, settle
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.campaigns.states import DONE
from dispatcher.control.commands import Envelope, PreviewCampaign, StartCampaign
from dispatcher.errors import CommandRefused
from dispatcher.records.batch import Row, read_rows
from dispatcher.records.states import Decision
from dispatcher.store import open_store
from dispatcher.text.coding import Coding
from tests.campaigns.drawn import EXACT, NIGHT_MS, world, worlds
from tests.campaigns.log import claim, log, log_begins, record
from tests.campaigns.worlds import World, as_reference, credit, happen, make, plan
from tests.fakes.shop import do
from tests.reference import arms as dealing
from tests.reference import campaign as reference

WHOLE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


COUNTED = ("will_send", "skipped", "held_out", "waiting", "parts", "billed", "by_route", "cost_micros", "no_price")
SUPPRESSED = {"suppressed": "tenant"}
GROWS = {"texts": [("a", 150, "{name|you}")] * 3, "more_parts": 1}
GREW = [{"step": 0, "what": "name", "who": no} for no in range(6)]  # into a second part


@pytest.fixture(scope="module", autouse=True)
def strict_market():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOLLEY_PROFILES", str(Path(__file__).parent / "profiles"))
        yield


@WHOLE
@given(drawn=worlds)
@example(world({"head": "morocco", **SUPPRESSED}, {}, routes="by_country"))  # was told that no route leads there
@example(world({}, {}, {}, profile="fr", now_ms=NIGHT_MS, holdout={"size": 1}))  # the held out counted as waiting
@example(world({}, *[SUPPRESSED] * 4, shares=[50, 50], winner=30))  # waited for the text that wins
@example(
    world({}, caps=[(1, 7_200)], earlier=[{"how": "single", "purpose": "marketing", "ago_s": -172_800, "to": {0}}])
)
@example(world(*[{}] * 6, plan=EXACT, holdout={"size": 2}, events=GREW[:4], **GROWS))  # held out, not over quota
@example(world(*[{}] * 6, own_prices={"": 10}, credit=EXACT, events=GREW, restart=True, **GROWS))
@example(
    world(
        {}, {}, {"head": "new_york"}, {"head": "honolulu"}, {"head": "china"}, profile="strict", now_ms=NIGHT_MS,
        own_prices={"": 10}, credit=EXACT, restart=True, events=GREW[:2], **GROWS,
    )
)  # fmt: skip
@example(world(SUPPRESSED, {}, own_prices={"49": 20, "4915100000000": 7}))  # a price of nothing was listed
def test_a_campaign_does_what_the_reference_says(tmp_path_factory, drawn):
    with open_store(tmp_path_factory.mktemp("world"), write=True, create=True, sync=False) as store:
        made = make(store, drawn)
        made.freeze()
        try:
            seen = previewed(made)
        except CommandRefused as exc:
            assert exc.code == "holdout_too_large", exc
            assert reference_sizes(made)[0] >= len(made.matched)
            return
        of = as_reference(made, dealt(made))
        expected = reference.previewed(of, made.matched)
        assert differing(shown(seen), expected) == {}
        if drawn["credit"] == EXACT and expected["cost_micros"]:
            credit(made, expected["cost_micros"])
        if drawn["plan"] == EXACT and expected["will_send"]:
            plan(made, billed_parts(expected))
        assert_held(made, of, seen, expected)


def previewed(world: World) -> dict[str, Any]:
    with world.store.begin_write() as view:
        envelope = Envelope(tenant=1, actor="test", at_ms=world.now_ms)
        changes, seen = preview_campaign(view, PreviewCampaign(campaign=world.campaign), envelope, router=world.router)
        view.apply(changes)
    return seen


def shown(seen: dict[str, Any]) -> dict[str, Any]:
    """Of a preview what the reference says too."""
    same = ("matched", "will_send", "skipped", "held_out", "waiting", "parts", "billed", "alphabet", "by_route",
            "cost_micros", "no_price", "by_price")  # fmt: skip
    waits = {ms_of(one["at"]): one["recipients"] for one in seen["waiting_until"]}
    return {
        **{name: seen[name] for name in same},
        "waiting_until": waits,
        "by_arm": list(seen["by_arm"].values()) or [seen["will_send"]],
    }


def reference_sizes(world: World) -> list[int]:
    drawn, holdout = world.drawn, world.drawn["holdout"] or {}
    test = drawn["winner"] if drawn["winner"] and len(drawn["shares"]) > 1 else 100
    return reference.sizes(
        drawn["shares"], len(world.matched), holdout.get("percent", 0), holdout.get("size", 0), test
    )  # fmt: skip


def dealt(world: World) -> dict[int, int]:
    """Who is in which group: by the reference, and where it is stratified by the deal, once its sizes are right."""
    with world.store.snapshot() as view:
        row = load(view, 1, world.campaign)
        deal, arms = row["deal"], arms_of(row, world.campaign)
        if arms is None:
            return {}
        sizes, members = reference_sizes(world), list(world.matched)
        if not row["stratify"]:
            return dealing.dealt(members, sizes, deal["held_seed"], deal["seed"])
        found = {no: arms.group_of(view, no) for no in members}
    assert [list(found.values()).count(group) for group in range(len(sizes))] == sizes
    for tier in ("basic", "gold", None) if members else ():
        mine = [no for no in members if world.people[no].values.get("tier") == tier]
        for group, size in enumerate(sizes):
            exact = size * len(mine) / len(members)
            assert abs(sum(found[no] == group for no in mine) - exact) < 2, (tier, group)
    return found


def ms_of(shown_at: str) -> int:
    return round(datetime.fromisoformat(shown_at).timestamp() * 1000)


def differing(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not as it should be: (found, expected)."""
    assert found.keys() == expected.keys()
    return {name: (found[name], one) for name, one in expected.items() if found[name] != one}


def assert_held(world: World, of: reference.Campaign, seen: dict[str, Any], expected: dict[str, Any]) -> None:
    """Its start, its claims at each instant, and the money at its end."""
    drawn, now_ms = world.drawn, world.now_ms
    refusal = reference_refusal(world, expected)
    events = sorted(drawn["events"], key=lambda one: one["step"])
    token = StartCampaign(campaign=world.campaign, token=seen["token"])
    try:
        do(world.store, start_campaign, token, at_ms=now_ms)
    except CommandRefused as exc:
        assert exc.code in refusal, (exc.code, refusal)
        return
    assert not refusal
    if drawn["later"]:
        now_ms = world.starts_ms
        while events and events[0]["step"] == 0:
            happen(world, events.pop(0), now_ms)
        world.freeze()
        due(world)
        of = as_reference(world, dealt(world))
        expected = reference.previewed(of, world.matched)
        with world.store.snapshot() as view:
            row = load(view, 1, world.campaign)
        assert (
            differing({name: row["preview"][name] for name in COUNTED}, {name: expected[name] for name in COUNTED})
            == {}
        )
        assert (row["state"] == "held") == bool(reference_refusal(world, expected))
        if row["state"] == "held":
            return
    log_begins(world.store, world.campaign)
    reserved = expected["cost_micros"] if drawn["credit"] is not None else 0
    assert differing({"money": money(world)}, {"money": (world.credit - reserved, reserved)}) == {}
    decided: dict[int, tuple[Decision, int, int]] = {}
    spent = Spent(world, expected, reserved)
    made = expansion(world)
    for step in range(8):
        while events and events[0]["step"] <= step:
            happen(world, events.pop(0), now_ms)
        if drawn["restart"]:
            made = expansion(world)
        open_ = {no: reference.outcome(of, no, who, now_ms) for no, who in world.matched.items() if no not in decided}
        meant = spent.hold(open_)
        found = taken(world, made, now_ms)
        wanted = {no: said(of, one) for no, one in meant.items() if one.decision != Decision.UNDECIDED}
        assert (
            differing(
                found | dict.fromkeys(wanted.keys() - found.keys()),
                wanted | dict.fromkeys(found.keys() - wanted.keys()),
            )
            == {}
        )
        decided |= found
        waits = [one for one in meant.values() if one.decision == Decision.UNDECIDED]
        assert made.waiting == len(waits)
        assert made.expanded == (not waits)
        opens_ms = min((one.until_ms for one in waits if one.until_ms is not None), default=None)
        assert made.opens_ms == opens_ms
        if opens_ms is None:
            break
        now_ms = opens_ms
    if len(decided) == len(world.matched):
        assert_settled(world, decided, spent, reserved, now_ms)


def due(world: World) -> None:
    """Its time has come."""
    with world.store.begin_write() as view:
        (one,), _ = due_before(view, world.starts_ms)
        row = load(view, 1, world.campaign)
        frozen = freeze_row(view, 1, row, world.starts_ms, world.campaign, router=world.router)
        changes, _ = start_due(view, one, frozen, world.starts_ms)
        view.apply(changes)


def said(of: reference.Campaign, one: reference.Outcome) -> tuple[Decision, int, int]:
    """(decision, parts, endpoint's number)"""
    if one.message is None:
        return one.decision, 0, -1
    return one.decision, one.message.parts, {name: no for no, name in of.names.items()}.get(one.message.endpoint, 0)


def reference_refusal(world: World, expected: dict[str, Any]) -> str:
    """Why a start must be refused; "" when it must not."""
    drawn, cost = world.drawn, expected["cost_micros"]
    if not expected["will_send"]:
        return "no_recipients consent_missing"
    if expected["no_price"] or (cost is None and (drawn["credit"] is not None or drawn["budget"] is not None)):
        return "price_missing"
    if drawn["budget"] is not None and cost > drawn["budget"]:
        return "budget_too_small"
    if world.plan and billed_parts(expected) > world.plan:
        return "quota_exceeded"
    return "insufficient_credit" if drawn["credit"] is not None and cost > world.credit else ""


def billed_parts(expected: dict[str, Any]) -> int:
    return sum(int(parts) * n for parts, n in expected["billed"].items())


class Spent:
    """What budget, reservation and plan have room for: the lowest members that fit, at each instant."""

    def __init__(self, world: World, expected: dict[str, Any], reserved: int) -> None:
        most = [one for one in (world.drawn["budget"], reserved or None) if one is not None]
        self.room = {Decision.OVER_BUDGET: min(most, default=None), Decision.OVER_QUOTA: world.plan or None}
        self.messages: list[reference.Message] = []

    def hold(self, due: dict[int, reference.Outcome]) -> dict[int, reference.Outcome]:
        left = dict(due)
        for why, most in self.room.items():
            if most is None:
                continue
            used = sum(self.used(why, one) for one in self.messages)
            full = False
            for no, one in sorted(left.items()):
                if one.message is None:
                    continue
                used += self.used(why, one.message)
                full = full or used > most
                if full:
                    left[no] = reference.Outcome(why)
        self.messages += [one.message for one in left.values() if one.message is not None]
        return left

    def used(self, why: Decision, one: reference.Message) -> int:
        return one.micros if why == Decision.OVER_BUDGET else one.billed


def expansion(world: World) -> Expansion:
    codings = {world.router.endpoints[name]: one for name, one in world.codings.items()} if world.router else {}
    with world.store.snapshot() as view:
        row = load(view, 1, world.campaign)
        return Expansion(view, 1, world.campaign, row, world.router, lambda number: codings.get(number, Coding()))


def taken(world: World, made: Expansion, now_ms: int) -> dict[int, tuple[Decision, int, int]]:
    """Everything that may be claimed at an instant, by whoever asks; it is in the ledger then."""
    rows: list[tuple[Row, int]] = []
    for endpoint in world.router.endpoints.values() if world.router else (0,):
        with world.store.snapshot() as view:
            while made.wants(now_ms * 1_000_000, now_ms, endpoint):
                batch = made.next(view, endpoint, 3, now_ms)
                rows += [(row, endpoint) for row in read_rows(batch)] if batch is not None else []
    firsts = [(row, endpoint) for row, endpoint in rows if row.part == 0]
    assert len({row.rank for row, _ in firsts}) == len(firsts), "each once"
    claims = [claim(row.rank, [row.parts or Decision(row.decision)]) for row, _ in firsts]
    if claims:
        log(world.store, world.campaign, now_ms, *claims)
    return {
        row.slot: (Decision(row.decision), row.parts, endpoint if row.decision == Decision.SENT else -1)
        for row, endpoint in firsts
    }


def money(world: World) -> tuple[int, int]:
    with world.store.snapshot() as view:
        now = account(view, 1)
    return now.balance, now.reserved


def assert_settled(
    world: World, decided: dict[int, tuple[Decision, int, int]], spent: Spent, reserved: int, now_ms: int
) -> None:  # fmt: skip
    """What was sent is taken, the rest of what was reserved is given back."""
    ranks = {no: rank for rank, no in enumerate(world.matched)}
    sent = [no for no, (decision, _, _) in decided.items() if decision == Decision.SENT]
    accepted = [
        record(2, ranks[no], part=part, state=3, message_id=b"%d.%d" % (no, part))
        for no in sent for part in range(decided[no][1])
    ]  # fmt: skip
    if accepted:
        log(world.store, world.campaign, now_ms, *accepted)
    with world.store.begin_write() as view:
        view.apply(mark(view, 1, world.campaign, DONE, now_ms + 1, "dispatcher"))
    with world.store.snapshot() as view:
        over = next_over(view)
        used = measure_over(view, over, now_ms + 2, world.router)
    with world.store.begin_write() as view:
        view.apply(settle(view, over, used, now_ms + 2))
    assert sum(one.messages for one in used.values()) == len(sent)
    assert sum(one.parts for one in used.values()) == sum(one.parts for one in spent.messages)
    if not any(
        who.erased or event["what"] in ("stop", "suppress", "name")
        for who in world.people.values()
        for event in world.drawn["events"]
    ):
        assert sum(one.billed for one in used.values()) == sum(one.billed for one in spent.messages)
        micros = sum(one.micros for one in spent.messages)
        assert sum(one.micros for one in used.values()) == micros
        assert money(world) == (world.credit - (micros if reserved else 0), 0)
    assert money(world)[1] == 0
