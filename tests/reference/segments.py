"""The meaning of a segment's rule for one member, said plainly: dispatcher/segments gives the same answer over columns.

A member is a dict of values as the API has them; None, an absent key, an empty text or list are unknown. What
happened to it stands under its own keys: "opted_out" {group: epoch ms or None}, "consented" {group: epoch ms},
"events" [(verb, campaign number, text, epoch ms)], "member_no". Time is a date and an instant, both given.
"""

from __future__ import annotations

import calendar
import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.segments import rule
from dispatcher.segments.rule import Node, Rule, Span

MASK = (1 << 64) - 1


@dataclass(frozen=True)
class World:
    """The instant a rule is asked at, and what it may name."""

    as_of_ms: int
    zone: str = "UTC"
    leap_rule: str = "feb28"

    @property
    def today(self) -> date:
        return datetime.fromtimestamp(self.as_of_ms / 1000, ZoneInfo(self.zone)).date()

    def midnight_ms(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.zone)).timestamp() * 1000)


def chosen(found: Rule, people: dict[int, dict[str, Any]], world: World) -> list[int]:
    """The member numbers that a rule means, in order."""
    numbers = [
        no
        for no, one in sorted(people.items())
        if one.get("live")
        and holds(found.who, one, world)
        and not (found.without and holds(found.without, one, world))
        and all(_in_share(share, no) for share in found.shares)
    ]
    if found.top:
        name = found.top.name
        known = [no for no in numbers if people[no].get(name) not in (None, "")]
        known.sort(key=lambda no: (-_comparable(people[no][name]), no))
        numbers = sorted(known[: found.top.count])
    return numbers[: found.limit]


def bucket_of(member_no: int, salt: bytes) -> int:
    """splitmix64's finaliser over the number and the salt's seed, as one of 10,000."""
    seed = int.from_bytes(hashlib.sha256(salt).digest()[:8], "little")
    mixed = (member_no + seed) & MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & MASK
    return ((mixed ^ mixed >> 31) * 10_000) >> 64


def _in_share(share: rule.Sample | rule.Bucket, no: int) -> bool:
    if isinstance(share, rule.Sample):
        return bucket_of(no, share.salt.text.encode()) < share.share
    return share.low <= bucket_of(no, b"") <= share.high


def holds(node: Node, one: dict[str, Any], world: World) -> bool:
    match node:
        case rule.Everyone():
            return True
        case rule.Not(part):
            return not holds(part, one, world)
        case rule.And(parts):
            return all(holds(part, one, world) for part in parts)
        case rule.Or(parts):
            return any(holds(part, one, world) for part in parts)
        case rule.Tags(names, every, lacks):
            has = [name.text in (one.get("tags") or []) for name in names]
            return (all(has) if every else any(has)) != lacks
        case rule.InRegion(path):
            region = one.get("region") or ""
            return region == path.text or region.startswith(path.text + "/")
        case rule.Consent():
            return _consents(node, one, world)
        case rule.Campaign(verb, name, text, span):
            return any(
                (event, campaign) == (verb, int(name.text) if name else campaign)
                and (text is None or said == text.text)
                and (span is None or world.midnight_ms(_back(world.today, span)) <= at_ms)
                and at_ms <= world.as_of_ms
                for event, campaign, said, at_ms in one.get("events", [])
            )
        case rule.Messages(span, comparison, value):
            since = world.midnight_ms(_back(world.today, span))
            sent = [e for e in one.get("events", []) if e[0] == "sent" and since <= e[3] <= world.as_of_ms]
            return _compare(len(sent), comparison, int(value.text))
    return _field_holds(node, one, world)


def _consents(node: rule.Consent, one: dict[str, Any], world: World) -> bool:
    out = one.get("opted_out", {}).get(node.purpose)
    since = world.midnight_ms(_back(world.today, node.span)) if node.span else None
    if node.what == "opted out of":
        return out is not None and (since is None or out >= since)
    said = one.get("consented", {}).get(node.purpose)
    return out is None and (since is None or (said is not None and said >= since))


def _field_holds(node: rule.FieldCondition, one: dict[str, Any], world: World) -> bool:
    value = one.get(node.name)
    if node.name == "age" and "age" not in one:
        value = age_of(one.get("birthday"), world)
    known = value not in (None, "", [])
    match node:
        case rule.Is(_, "known"):
            return known
        case rule.Is(_, "unknown"):
            return not known
    if not known:
        return False
    match node:
        case rule.Is(_, what):
            return bool(value == (what == "yes"))
        case rule.Compare(_, comparison, wanted):
            return _compare(_comparable(value), comparison, _like(value, wanted))
        case rule.Between(_, low, high):
            return bool(_like(value, low) <= _comparable(value) <= _like(value, high))
        case rule.OneOf(_, values, negated):
            return (_comparable(value) in [_like(value, wanted) for wanted in values]) != negated
        case rule.Text(_, how, wanted):
            asks = {"contains": wanted.text in value, "starts with": value.startswith(wanted.text)}
            return bool(asks.get(how, value.endswith(wanted.text)))
        case rule.InMonth(_, month):
            born = node.name != "birthday" or len(value) == 5 or int(value[:4]) <= world.today.year
            return born and int(value[-5:-3]) == month
    yearly = len(value) == 5 or node.name == "birthday"
    if isinstance(node, rule.DaysSince):
        past = (world.today - date.fromisoformat(value)).days
        return _compare(past, node.comparison, int(node.value.text))
    if isinstance(node, rule.Older):
        return date.fromisoformat(value) < _back(world.today, node.span)
    first, last = _days(node, world.today)
    if yearly:
        born = len(value) == 5 or 1900 <= int(value[:4]) <= world.today.year
        some = (first + timedelta(n) for n in range(min((last - first).days, 3_000) + 1))
        found = born and any(celebrates(value[-5:], day, world.leap_rule) for day in some)
    else:
        found = first <= date.fromisoformat(value) <= last
    return found != (isinstance(node, rule.IsDay) and node.negated)


def celebrates(month_day: str, day: date, leap_rule: str) -> bool:
    """Whether somebody born on a month and day is greeted on `day`."""
    if month_day == "02-29" and not calendar.isleap(day.year):
        return {"feb28": "02-28", "mar1": "03-01"}.get(leap_rule) == day.isoformat()[5:]
    return day.isoformat()[5:] == month_day


def age_of(birthday: str | None, world: World) -> int | None:
    """Full years since a birth with a year; None without one, and before it."""
    if not birthday or len(birthday) == 5 or date.fromisoformat(birthday) > world.today:
        return None
    born, today = date.fromisoformat(birthday), world.today
    turns = (born.month, born.day)
    if turns == (2, 29) and not calendar.isleap(today.year):
        turns = (2, 28) if world.leap_rule == "feb28" else (3, 1)
    return today.year - born.year - ((today.month, today.day) < turns)


def _days(node: rule.IsDay | rule.Within, today: date) -> tuple[date, date]:
    if isinstance(node, rule.Within):
        return (today, _ahead(today, node.span)) if node.ahead else (_back(today, node.span), today)
    if node.what in ("today", "tomorrow", "yesterday"):
        day = today + timedelta({"today": 0, "tomorrow": 1, "yesterday": -1}[node.what])
        return day, day
    which, unit = node.what.split()
    step = {"this": 0, "last": -1, "next": 1}[which]
    if unit == "week":
        monday = today - timedelta(today.weekday()) + timedelta(7 * step)
        return monday, monday + timedelta(6)
    if unit == "year":
        return date(today.year + step, 1, 1), date(today.year + step, 12, 31)
    first = date(today.year + (today.month + step - 1) // 12, (today.month + step - 1) % 12 + 1, 1)
    return first, date(first.year, first.month, calendar.monthrange(first.year, first.month)[1])


def _back(day: date, span: Span) -> date:
    if span.unit in ("day", "week"):
        return day - timedelta(span.count * (7 if span.unit == "week" else 1))
    month = day.year * 12 + day.month - 1 - span.count * (12 if span.unit == "year" else 1)
    year, month = divmod(month, 12)
    while True:  # the last day of a month that is shorter
        try:
            return date(year, month + 1, day.day)
        except ValueError:
            day -= timedelta(1)


def _ahead(day: date, span: Span) -> date:
    if span.unit in ("day", "week"):
        return day + timedelta(span.count * (7 if span.unit == "week" else 1))
    month = day.year * 12 + day.month - 1 + span.count * (12 if span.unit == "year" else 1)
    year, month = divmod(month, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _comparable(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _like(value: Any, wanted: rule.Value) -> Any:
    return Decimal(wanted.text) if isinstance(value, int | Decimal) else wanted.text


def _compare(mine: Any, comparison: str, theirs: Any) -> bool:
    return bool(
        {
            "=": mine == theirs,
            "!=": mine != theirs,
            "<": mine < theirs,
            "<=": mine <= theirs,
            ">": mine > theirs,
            ">=": mine >= theirs,
        }[comparison]
    )
