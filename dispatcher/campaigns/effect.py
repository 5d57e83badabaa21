"""What each arm did, and what it did more than another or than nothing: rates, differences, and how sure they are.

Touches: a campaign's ledger and frozen audience through segments/runs.py, deeds through segments/engagement.py, a goal
through segments/select.py; one View. Nothing is kept: every count is made from the ledger's arrays when asked for.
Rests on: Wilson's score interval for a rate; Newcombe's hybrid of two of them for a difference (method 10 of "Interval
estimation for the difference between independent proportions", Statistics in Medicine 17, 1998), which stays within
-1 .. 1 and is right for rates near 0, as replies are. Arms are random, so a clear difference is the text's doing.

    base      of an arm those it was sent to, of the holdout those held out by it: guards skipped in both alike
    delivered, replied     only where something was sent
    redeemed               too, and only of a campaign with a coupon pool
    opted_out              took back consent since the campaign's start
    goal                   match an expression now, as bought since the start: what a holdout is for
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist
from typing import Any

from dispatcher.campaigns import _arms as kernel
from dispatcher.campaigns.arms import Arms, arms_of
from dispatcher.clock import rfc3339
from dispatcher.fastmatch import count_bits
from dispatcher.members.consent import group_of
from dispatcher.records.changes import View
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision, Purpose, State
from dispatcher.segments.engagement import Bitmaps, evaluate
from dispatcher.segments.given import ConsentChanged, Engaged, Key
from dispatcher.segments.plan import compile_text
from dispatcher.segments.runs import Run
from dispatcher.segments.select import select

CONFIDENCE = 0.95
EVERYBODY = ("holdout", "all", "rest")  # names of the groups where there are no arms
_STATE_AT = 64  # of a group's counts
Interval = tuple[float, float]


@dataclass(slots=True)
class Group:
    """Members of one arm, of the holdout or of the rest, as the ledger has them."""

    name: str
    members: int = 0
    counts: array[int] = field(default_factory=lambda: array("Q", bytes(8 * 128)))
    of: dict[str, int] = field(default_factory=dict)  # measure -> members of the base it holds for

    @property
    def held(self) -> bool:
        return self.name == EVERYBODY[0]

    @property
    def base(self) -> int:
        return int(self.counts[Decision.HOLDOUT if self.held else Decision.SENT])

    def state(self, state: State) -> int:
        return int(self.counts[_STATE_AT + state])


def counted(
    view: View,
    tenant: int,
    campaign: int,
    row: dict[str, Any],
    now_ms: int,
    *,
    goal: str | None = None,
    measures: tuple[str, ...] = ("replied", "redeemed", "opted_out"),
) -> list[Group]:
    """The holdout, each arm and the rest, in that order; one arm `all` where there are none.

    Raises CommandRefused 422 for a goal that is no expression. 10 M recipients take about a second.
    """
    arms = arms_of(row, campaign)
    names = [arms.word(group) for group in range(len(arms.names) + 2)] if arms and row["arms"] else list(EVERYBODY)
    deeds = _deeds(view, tenant, campaign, row, now_ms, measures)
    if goal is not None:
        compiled = compile_text(view, tenant, goal, as_of_ms=now_ms)
        deeds["goal"] = {block: bitmap for block, bitmap, _ in select(view, tenant, compiled)}
    groups = [Group(name, of=dict.fromkeys(deeds, 0)) for name in names]
    run = Run(view, campaign, row)
    for block in run.blocks:
        _count_block(view, run, arms, block, groups, deeds)
    return groups


def _count_block(
    view: View, run: Run, arms: Arms | None, block: int, groups: list[Group], deeds: Mapping[str, Bitmaps]
) -> None:
    audience = bytes(run.audience(block))
    decisions, states = run.ranks("decision", 1, block), run.ranks("state", 1, block)
    nobody = bytearray(len(audience))
    dealt = arms.groups(view, block, audience) if arms else [nobody, bytearray(audience), nobody]
    based = {}
    for wanted in (Decision.SENT, Decision.HOLDOUT):
        out = bytearray(len(audience))
        kernel.pick(audience, decisions, wanted, out)
        based[wanted] = int.from_bytes(out, "little")
    for group, mine in zip(groups, dealt, strict=True):
        many = count_bits(mine)
        if not many:
            continue
        group.members += many
        kernel.count(audience, mine, decisions, states, group.counts)
        base = int.from_bytes(mine, "little") & based[Decision.HOLDOUT if group.held else Decision.SENT]
        for measure, blocks in deeds.items():
            did = blocks.get(block)
            if did is not None:
                group.of[measure] = group.of.get(measure, 0) + (base & int.from_bytes(did, "little")).bit_count()


def _deeds(
    view: View, tenant: int, campaign: int, row: dict[str, Any], now_ms: int, measures: tuple[str, ...]
) -> dict[str, Bitmaps]:
    keys: dict[str, Key] = {}
    if "replied" in measures:
        keys["replied"] = Engaged("replied", campaign)
    if "redeemed" in measures and row.get("coupon_pool") is not None:
        keys["redeemed"] = Engaged("redeemed", campaign)
    consent = group_of(Purpose(row["purpose"]))
    if "opted_out" in measures and consent is not None and row["started_ms"]:
        keys["opted_out"] = ConsentChanged("opted_out", consent, row["started_ms"])
    found = evaluate(view, tenant, keys.values(), now_ms) if row["started_ms"] else {}
    return {name: found[key] for name, key in keys.items() if key in found}


def effect(
    view: View,
    tenant: int,
    campaign: int,
    row: dict[str, Any],
    now_ms: int,
    *,
    goal: str | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """{groups: what each did with its rates, differences: of each arm against the holdout and the first arm}."""
    groups = counted(view, tenant, campaign, row, now_ms, goal=goal)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    shown = [group for group in groups if group.members]
    arms = [group for group in shown if not group.held and group.name != EVERYBODY[2]]
    against = [group for group in shown if group.held] + arms[:1]
    differences = [
        _difference(group, other, measure, z)
        for other in against
        for group in arms
        if group is not other
        for measure in _measures(group)
        if measure in _measures(other)
    ]
    return {
        "id": public_id("cmp", campaign),
        "as_of": rfc3339(now_ms),
        "goal": goal,
        "confidence": confidence,
        "intervals": {"rate": "wilson score", "difference": "newcombe hybrid score (method 10)"},
        "groups": [_shown(group, z) for group in shown],
        "differences": differences,
    }


def _measures(group: Group) -> dict[str, int]:
    """Measure -> members of the base that it holds for."""
    found = {name: group.of.get(name, 0) for name in ("opted_out", "goal") if name != "goal" or "goal" in group.of}
    if not group.held:
        redeemed = {"redeemed": group.of["redeemed"]} if "redeemed" in group.of else {}
        replied = group.of.get("replied", 0)
        found = {"delivered": group.state(State.DELIVERED), "replied": replied, **redeemed, **found}
    return found


def _shown(group: Group, z: float) -> dict[str, Any]:
    skipped = {d.word: int(group.counts[d]) for d in Decision if d > Decision.SENT and group.counts[d]}
    rates = {}
    for measure, many in _measures(group).items():
        low, high = wilson(many, group.base, z)
        rates[measure] = {"count": many, "rate": _rate(many, group.base), "low": low, "high": high}
    return {
        "group": group.name,
        "members": group.members,
        "sent": 0 if group.held else group.base,
        "undecided": int(group.counts[Decision.UNDECIDED]),
        "skipped": skipped,
        "base": group.base,
        "states": {s.word: group.state(s) for s in State if s is not State.UNSENT and group.state(s)},
        "rates": rates,
    }


def _difference(group: Group, other: Group, measure: str, z: float) -> dict[str, Any]:
    mine, theirs = _measures(group)[measure], _measures(other)[measure]
    low, high = newcombe(mine, group.base, theirs, other.base, z)
    known = bool(group.base and other.base)
    rate, from_ = (mine / group.base, theirs / other.base) if known else (0.0, 0.0)
    return {
        "group": group.name,
        "against": other.name,
        "measure": measure,
        "difference": round(rate - from_, 6) if known else None,
        "low": low,
        "high": high,
        "lift": round((rate - from_) / from_, 4) if from_ else None,
        "extra": round((rate - from_) * group.base) if known else None,
        "clear": known and (low > 0 or high < 0),
    }


def wilson(many: int, of: int, z: float) -> Interval:
    """The score interval of a rate; 0 .. 1 when there is nobody."""
    if not of:
        return 0.0, 1.0
    p, zz = many / of, z * z
    middle, half = p + zz / (2 * of), z * sqrt(p * (1 - p) / of + zz / (4 * of * of))
    low, high = (middle - half) / (1 + zz / of), (middle + half) / (1 + zz / of)
    return round(0.0 if many == 0 else low, 6), round(1.0 if many == of else high, 6)


def newcombe(many: int, of: int, many2: int, of2: int, z: float) -> Interval:
    """The interval of many / of - many2 / of2; -1 .. 1 when one side is nobody."""
    if not of or not of2:
        return -1.0, 1.0
    p, p2 = many / of, many2 / of2
    (low, high), (low2, high2) = wilson(many, of, z), wilson(many2, of2, z)
    under = sqrt((p - low) ** 2 + (high2 - p2) ** 2)
    over = sqrt((high - p) ** 2 + (p2 - low2) ** 2)
    return round(p - p2 - under, 6), round(p - p2 + over, 6)


def _rate(many: int, of: int) -> float | None:
    return round(many / of, 6) if of else None
