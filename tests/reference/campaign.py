"""What a whole campaign means, in plain Python: one person after the other, from what was said of each.

Rests on: DESIGN 6 (the order of the guards, claims, money), PRODUCT C1 to C8 and the market rules. Alphabets and parts
are coding.py's, routes routes.py's, who is in which group arms.py's. Nothing here is fast, and nothing is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo, available_timezones

import holidays
from phonenumbers.tzdata import TIMEZONE_DATA

from dispatcher.records.states import Decision
from dispatcher.routes.plan import NO_ROUTE, Rule
from dispatcher.tenants.profile import Profile, QuietRule
from dispatcher.text.coding import Coding
from tests.reference.coding import say, split
from tests.reference.routes import endpoint_of

STEP_MS = 5 * 60_000  # the clocks of the world and the hours of these markets change at multiples of it
DAY_MS = 86_400_000
WAIT_DAYS = 7  # for somebody's clock, without a rule of the market
LAST_ZONE = "Etc/GMT+12"  # of a number of unknown place, without a market
ZONES = available_timezones()
HELD_OUT, FIRST_ARM = 0, 1  # groups, as arms.py numbers them

Piece = str | tuple[str, str | None]  # words, or a field and what stands for a value that is not known


@dataclass
class Person:
    number: int
    values: dict[str, str] = field(default_factory=dict)  # as a text shows them; what is absent is not known
    zone: str | None = None  # their own
    suppressed: set[str] = field(default_factory=set)  # for a signature; "" for any
    opted_out: set[str] = field(default_factory=set)  # purposes
    consented: set[str] = field(default_factory=set)
    messages: list[tuple[str, int]] = field(default_factory=list)  # (purpose, when) of all that others sent
    erased: bool = False


@dataclass
class Campaign:
    profile: Profile
    purpose: str
    texts: list[list[Piece]]  # one an arm, as the market has them
    max_parts: int
    starts_ms: int
    local_at: str | None = None  # what the clock of each is to show before anything goes
    signature: str = ""
    caps: Sequence[tuple[int, int]] = ()  # (most, seconds), of market, tenant and campaign
    group_of: Mapping[int, int] = field(default_factory=dict)  # as dealt; without a deal all are in the first arm
    rules: Sequence[Rule] | None = None  # routes; None: not known
    names: Mapping[int, str] = field(default_factory=dict)  # of endpoints
    codings: Mapping[str, Coding] = field(default_factory=dict)
    own_prices: Mapping[str, int] = field(default_factory=dict)
    operator_prices: Mapping[str, int] = field(default_factory=dict)

    @property
    def priced(self) -> bool:
        return bool(self.own_prices or self.operator_prices)


@dataclass(frozen=True)
class Message:
    parts: int
    billed: int
    ucs2: bool
    endpoint: str
    price: int | None

    @property
    def micros(self) -> int:
        return self.billed * (self.price or 0)


@dataclass(frozen=True)
class Outcome:
    """decision: UNDECIDED for who waits, until `until_ms` if that is known. arm: None for a text that is to win yet."""

    decision: Decision
    until_ms: int | None = None
    arm: int | None = None
    message: Message | None = None


def outcome(of: Campaign, member: int, who: Person, at_ms: int) -> Outcome:
    """What is to become of one person at an instant."""
    why, from_ms = guarded(of, who, at_ms)
    if why is not None:
        return Outcome(why)
    return ending(of, member, who) if from_ms == at_ms else Outcome(Decision.UNDECIDED, from_ms)


def guarded(of: Campaign, who: Person, at_ms: int) -> tuple[Decision | None, int]:
    """(why somebody may get nothing, from when on who may)."""
    if who.erased:
        return Decision.ERASED, at_ms
    if who.suppressed & {"", of.signature or "none"}:
        return Decision.SUPPRESSED, at_ms
    if of.purpose in who.opted_out:
        return Decision.OPTED_OUT, at_ms
    if of.purpose in of.profile.consent and of.purpose not in who.consented:
        return Decision.NO_CONSENT, at_ms
    if any(heard(who, of.purpose, at_ms, within_s) >= most for most, within_s in of.caps):
        return Decision.FREQUENCY_CAP, at_ms
    opens_ms = opening(of, zones_of(of.profile, who), at_ms)
    return (None, opens_ms) if opens_ms is not None else (Decision.QUIET, at_ms)


def ending(of: Campaign, member: int, who: Person) -> Outcome:
    """What becomes of somebody whom no guard holds back any more."""
    group = of.group_of.get(member, FIRST_ARM)
    if group == HELD_OUT:
        return Outcome(Decision.HOLDOUT)
    if group > len(of.texts):
        return Outcome(Decision.UNDECIDED)
    return rendered(of, who, group - FIRST_ARM)


def heard(who: Person, purpose: str, at_ms: int, within_s: int) -> int:
    """Messages of a purpose that are within so many seconds of one at the instant, to a second."""
    span_ms = 1000 * within_s
    return sum(
        of == purpose and when_ms // 1000 >= (at_ms - span_ms) // 1000 and when_ms < at_ms + span_ms
        for of, when_ms in who.messages
    )


def rendered(of: Campaign, who: Person, arm: int) -> Outcome:
    """Whether an arm's text may go to somebody, and what it comes to."""
    number = endpoint_of(who.number, of.rules, dict.fromkeys(of.names, 0.0)) if of.rules is not None else 0
    if number == NO_ROUTE:
        return Outcome(Decision.NO_ROUTE)
    found = [piece if isinstance(piece, str) else who.values.get(*piece) for piece in of.texts[arm]]
    if None in found:
        return Outcome(Decision.NO_VALUE)
    text, endpoint = "".join(map(str, found)), of.names.get(number, "")
    coding = of.codings.get(endpoint, Coding())
    said = say(text, coding)
    if said is None:
        return Outcome(Decision.NO_ALPHABET)
    parts = len(split(said, coding))
    if parts > of.max_parts:
        return Outcome(Decision.TEXT_GREW)
    billed, rule = parts, of.profile.billing
    if rule is not None:
        units = len(text.encode("utf-16-le")) // 2
        billed = 1 if units <= rule.first else -(-units // rule.more)
    message = Message(parts, billed, said.encoding == "UCS2", endpoint, price(of, who.number, endpoint))
    return Outcome(Decision.SENT, arm=arm, message=message)


def price(of: Campaign, number: int, endpoint: str) -> int | None:
    """Of the longest prefix that has one: the tenant's own before the operator's, the endpoint's before that of all."""
    for digits in range(len(str(number)), -1, -1):
        prefix = str(number)[:digits]
        for prices in (of.own_prices, of.operator_prices):
            for key in (f"{endpoint}:{prefix}", prefix):
                if key in prices:
                    return prices[key]
    return None


# ---- the clock where somebody is


def zones_of(profile: Profile, who: Person) -> Sequence[str]:
    """All the zones that somebody may be in."""
    unknown = profile.zones or (LAST_ZONE,)
    if who.zone is not None:
        return (who.zone,) if who.zone in ZONES else unknown
    digits = str(who.number)
    heads = (digits[:n] for n in range(len(digits), 0, -1))
    return next((TIMEZONE_DATA[head] for head in heads if head in TIMEZONE_DATA), unknown)


def allowed(rule: QuietRule, zone: str, at_ms: int) -> bool:
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    if rule.holidays and local.date() in holidays.country_holidays(rule.holidays, years=local.year):
        return False
    minute = 60 * local.hour + local.minute
    return any(local.weekday() in one.days and one.opens <= minute < one.closes for one in rule.hours)


def opening(of: Campaign, zones: Sequence[str], at_ms: int) -> int | None:
    """The first instant, while the campaign waits, at which all of the zones allow it."""
    rule = of.profile.quiet if of.profile.quiet and of.purpose in of.profile.quiet.purposes else None
    last_ms = of.starts_ms + DAY_MS * (rule.wait_days if rule is not None else WAIT_DAYS)
    if of.local_at is not None:
        local = datetime.fromisoformat(of.local_at)
        begins_ms = max(round(1000 * local.replace(tzinfo=ZoneInfo(zone)).timestamp()) for zone in zones)
        at_ms = max(at_ms, begins_ms)
    while rule is not None and at_ms <= last_ms and not all(allowed(rule, zone, at_ms) for zone in zones):
        at_ms += STEP_MS - at_ms % STEP_MS
    return at_ms if rule is None or at_ms <= last_ms else None


# ---- arms


def sizes(shares: Sequence[float], matched: int, percent: float = 0, size: int = 0, test: float = 100) -> list[int]:
    """Members by group: the held out, each arm, the rest. Halves round up; what is over goes to the largest rests."""

    def share(many: int, per_cent: float) -> int:
        return int(Fraction(str(per_cent)) * many / 100 + Fraction(1, 2))

    held = size or share(matched, percent)
    tested = share(matched - held, test)
    exact = [Fraction(str(one)) * tested / 100 for one in shares] or [Fraction(tested)]
    found = [int(one) for one in exact]
    for arm in sorted(range(len(exact)), key=lambda arm: (found[arm] - exact[arm], arm))[: tested - sum(found)]:
        found[arm] += 1
    return [held, *found, matched - held - tested]


# ---- totals


def previewed(of: Campaign, people: Mapping[int, Person]) -> dict[str, object]:
    """What a preview must show of the matched."""
    skipped, waiting, arms = Counter[str](), Counter[int](), Counter[int]()
    sent: list[Message] = []
    rest: list[tuple[Person, int]] = []  # they get the text that wins
    for member, who in people.items():
        why, from_ms = guarded(of, who, of.starts_ms)
        found = Outcome(why) if why is not None else ending(of, member, who)
        if found.decision == Decision.UNDECIDED:
            rest.append((who, from_ms))
        elif found.message is None:
            skipped[found.decision.word] += 1
        else:
            sent.append(found.message)
            waiting[from_ms] += 1
            arms[found.arm or 0] += 1
    dear = dearest(of, [who for who, _ in rest])
    for who, from_ms in rest:
        found = rendered(of, who, dear)
        if found.message is None:
            skipped[found.decision.word] += 1
        else:
            sent.append(found.message)
            waiting[from_ms] += 1
    del waiting[of.starts_ms]  # they go at once
    prices = Counter[str]()
    for one in sent:
        if one.price is not None:
            prices[str(one.price)] += one.billed
    return {
        "matched": len(people),
        "will_send": len(sent),
        "skipped": dict(skipped),
        "held_out": skipped[Decision.HOLDOUT.word],
        "waiting": waiting.total(),
        "waiting_until": dict(waiting),
        "by_arm": [arms[arm] for arm in range(len(of.texts))],
        "parts": dict(Counter(str(one.parts) for one in sent)),
        "billed": dict(Counter(str(one.billed) for one in sent)),
        "alphabet": {"gsm7": sum(not one.ucs2 for one in sent), "ucs2": sum(one.ucs2 for one in sent)},
        "by_route": by_route(sent),
        "by_price": dict(prices),
        "cost_micros": sum(one.micros for one in sent) if of.priced else None,
        "no_price": sum(one.price is None for one in sent) if of.priced else 0,
    }


def dearest(of: Campaign, rest: Sequence[Person]) -> int:
    """The arm that costs the most if it wins."""

    def comes_to(arm: int) -> tuple[int, int]:
        found = [message for who in rest if (message := rendered(of, who, arm).message) is not None]
        return sum(one.billed for one in found), sum(one.micros for one in found)

    return max(range(len(of.texts)), key=comes_to)


def by_route(sent: Sequence[Message]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for one in sent:
        of = found.setdefault(one.endpoint or "(no endpoint)", {"messages": 0, "parts": 0, "billed": 0, "micros": 0})
        for name, more in (("messages", 1), ("parts", one.parts), ("billed", one.billed), ("micros", one.micros)):
            of[name] += more
    return found
