"""The quiet calendar: whether a number may be sent to at an instant, by its own zone, hours, weekdays and holidays.

Touches: a block's columns; time is an argument.
Rests on: phonenumbers' table of prefix -> time zones, tzdata, the holidays library; the rule is a market profile's.

It fails closed: a prefix of several zones is open when all of them are, a number of no known prefix when all zones of
the profile are, and a zone that this machine does not know never is. A member's own zone, where a field has it, counts
before the prefix; a value there that is no zone is a number of unknown place.
Weak spot: a ported or travelling phone keeps the zone of its prefix.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from dispatcher.fastmatch import BITMAP_OCTETS, Kind, Program, match_block, merge_ranges
from dispatcher.members.fields import Field
from dispatcher.members.prefixes import Ranges, outside, ranges_by
from dispatcher.records.changes import View
from dispatcher.segments.column_tests import Always, Every, InRanges, Some, Test
from dispatcher.segments.program import Columns, assemble
from dispatcher.store.columns import BlockView, Column, ColumnKind
from dispatcher.store.layout import FIELD_MSISDN, TENANT, TENANT_U64
from dispatcher.tenants.profile import QuietRule

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
DAY_MS = 86_400_000
WAIT_DAYS = 7  # without a rule: a start by recipients' clocks takes 26 hours
LAST_ZONE = "Etc/GMT+12"  # where each hour of the day comes last
Zones = tuple[str, ...]


@lru_cache(1)
def zones_known() -> frozenset[str]:
    return frozenset(available_timezones())  # reads folders, so once


@lru_cache(1)
def zones_by_number() -> dict[Zones, Ranges]:
    """The zones that a number may be in -> the numbers; () is those of which nothing is known."""
    from phonenumbers.tzdata import TIMEZONE_DATA  # 16 ms that only a calendar costs

    found = ranges_by({str(prefix): tuple(zones) for prefix, zones in TIMEZONE_DATA.items()})
    return {**found, (): outside(found.values())}


@dataclass(slots=True)
class _State:
    since_ms: int
    until_ms: int
    open: bool


@dataclass(frozen=True, slots=True)
class Waits:
    """Who of a block may not be sent to now (bitmaps as ints): those that wait, those that nothing will open for in
    time, and when the first of the waiting may go."""

    waiting: int
    never: int
    opens_ms: int | None


class Calendar:
    """One rule over all zones. Calls cost memory of what they found; one thread at a time."""

    def __init__(self, rule: QuietRule | None, unknown: Zones, starts_ms: Callable[[str], int] | None = None) -> None:
        """rule: None is open at any hour. unknown: zones of a number of unknown place. starts_ms: of a zone, before
        which it is closed there."""
        self.rule = rule
        self.unknown = unknown or (LAST_ZONE,)
        hours = rule.hours if rule is not None else ()
        self._edges = sorted({0, *(edge for one in hours for edge in (one.opens, one.closes))})
        self._states: dict[str, _State] = {}
        self._starts_ms = starts_ms
        self._holidays = _holidays_of(rule.holidays) if rule is not None else None

    def __repr__(self) -> str:
        return f"<Calendar {self.rule} of {', '.join(self.unknown)}>"

    @property
    def wait_ms(self) -> int:
        """How long a campaign waits for somebody."""
        return DAY_MS * (self.rule.wait_days if self.rule is not None else WAIT_DAYS)

    def is_open(self, zone: str, at_ms: int) -> bool:
        """Whether messages may leave to a phone in this zone at the instant. False for a zone that is none."""
        if zone not in zones_known() or (self._starts_ms is not None and at_ms < self._starts_ms(zone)):
            return False
        if self.rule is None:
            return True
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
        minute, day = 60 * local.hour + local.minute, local.weekday()
        if not any(day in hours.days and hours.opens <= minute < hours.closes for hours in self.rule.hours):
            return False
        return self._holidays is None or not self._holidays(local.date())

    def open_until(self, zones: Zones, at_ms: int) -> tuple[bool, int]:
        """(whether it is open in all of `zones`, an instant until which that holds at least)."""
        states = [self._state(zone, at_ms) for zone in zones or self.unknown]
        return all(state.open for state in states), min(state.until_ms for state in states)

    def opens_ms(self, zones: Zones, at_ms: int, last_ms: int) -> int | None:
        """The first instant from `at_ms` to `last_ms` at which it is open in all of `zones`."""
        while at_ms <= last_ms:
            open_, until_ms = self.open_until(zones, at_ms)
            if open_:
                return at_ms
            at_ms = until_ms
        return None

    def _state(self, zone: str, at_ms: int) -> _State:
        state = self._states.get(zone)
        if state is None or not state.since_ms <= at_ms < state.until_ms:
            now = self.is_open(zone, at_ms)
            until = at_ms + DAY_MS
            if zone in zones_known():
                changes = (
                    edge for edge in self._changes(zone, at_ms) if edge < until and self.is_open(zone, edge) != now
                )
                until = next(changes, until)
            state = self._states[zone] = _State(at_ms, until, now)
        return state

    def _changes(self, name: str, at_ms: int) -> Iterator[int]:
        """Instants after `at_ms`, in the next day or so, at which the answer may change, ascending."""
        zone = ZoneInfo(name)
        day = datetime.fromtimestamp(at_ms / 1000, zone).date()
        found = set[int]()
        for on in (day, day + timedelta(days=1), day + timedelta(days=2)):  # a clock put forward reaches the third
            found.update(_instants(zone, on, self._edges))
        if self._starts_ms is not None:
            found.add(self._starts_ms(name))
        yield from sorted(edge for edge in found if edge > at_ms)


def _instants(zone: ZoneInfo, day: date, minutes: Sequence[int]) -> Iterator[int]:
    """Instants of these minutes of a local day, both of them where the clock shows one twice, and of a clock change."""
    for minute in minutes:
        on = datetime.combine(day + timedelta(days=minute // 1440), time(minute % 1440 // 60, minute % 60))
        for fold in (0, 1):
            yield round(on.replace(tzinfo=zone, fold=fold).timestamp() * 1000)
    begin = round(datetime.combine(day, time(), UTC).timestamp()) - 15 * 3600  # every zone's day lies within
    end = begin + 54 * 3600
    if _offset(zone, begin) != _offset(zone, end):
        while end - begin > 1:
            middle = (begin + end) // 2
            begin, end = (middle, end) if _offset(zone, middle) == _offset(zone, begin) else (begin, middle)
        yield end * 1000


def _offset(zone: ZoneInfo, at_s: int) -> timedelta | None:
    return datetime.fromtimestamp(at_s, zone).utcoffset()


@lru_cache(16)
def _holidays_of(country: str):  # type: ignore[no-untyped-def]
    """Whether a day is a holiday there; None for no country."""
    if not country:
        return None
    import holidays  # 50 ms that only a profile with holidays costs

    calendar = holidays.country_holidays(country)
    return lambda day: day in calendar


@dataclass(slots=True)
class _Looked:
    """What holds from an instant to another: who may be sent to, and when the others may."""

    since_ms: int
    until_ms: int
    open: Program
    opening: list[tuple[int, Program]]  # when -> whom it opens for, first first
    never: Program


@dataclass(slots=True)
class Quiet:
    """A calendar over a tenant's blocks. `columns` is what open_block must be asked for beside others.

    Only ranges in which the tenant has a number are searched; a number that is new in another is closed until the next
    look, which is at the calendar's next change.
    """

    tenant: int
    calendar: Calendar
    zone_field: Field | None = None
    _looked: _Looked | None = None

    @property
    def columns(self) -> list[Column]:
        own = self.zone_field
        return [MSISDN] if own is None else [MSISDN, (own.number, 0, own.column)]

    def until_ms(self, view: View, at_ms: int, since_ms: int) -> int:
        """Until when what `waits` says at this instant holds."""
        return self._look(view, at_ms, since_ms).until_ms

    def waits(self, view: View, block: BlockView, of: int, at_ms: int, since_ms: int) -> Waits:
        """Those of bitmap `of` that may not be sent to at the instant. since_ms: when the campaign began to wait."""
        looked = self._look(view, at_ms, since_ms)
        closed = of & ~self._match(looked.open, block)
        if not closed:
            return Waits(0, 0, None)
        never = closed & self._match(looked.never, block)
        waiting = closed & ~never
        if not waiting:
            return Waits(0, never, None)
        opens = (at for at, program in looked.opening if waiting & self._match(program, block))
        return Waits(waiting, never, next(opens, looked.until_ms))

    def opening(self, view: View, block: BlockView, waiting: int, at_ms: int, since_ms: int) -> dict[int, int]:
        """When -> those of the waiting whom it opens for, a bitmap."""
        found: dict[int, int] = {}
        looked = self._look(view, at_ms, since_ms)
        for at, program in looked.opening:
            if not waiting:
                break
            if mine := waiting & self._match(program, block):
                found[at] = mine
                waiting &= ~mine
        if waiting:
            found[looked.until_ms] = found.get(looked.until_ms, 0) | waiting
        return found

    def _match(self, program: Program, block: BlockView) -> int:
        out = bytearray(BITMAP_OCTETS)
        match_block(program, [block.array(*column[:2]) for column in self.columns], block.slots, out)
        return int.from_bytes(out, "little")

    def _look(self, view: View, at_ms: int, since_ms: int) -> _Looked:
        looked = self._looked
        if looked is not None and looked.since_ms <= at_ms < looked.until_ms:
            return looked
        last_ms = since_ms + self.calendar.wait_ms
        until = at_ms + DAY_MS
        present = _present(view, self.tenant)
        own = [] if self.zone_field is None else [_own(zone) for zone in self.zone_field.values]
        open_, never, opening = list[Zones](), list[Zones](), dict[int, list[Zones]]()
        for zones in dict.fromkeys([*present, *own, ()]):
            now, changes_ms = self.calendar.open_until(zones, at_ms)
            until = min(until, changes_ms)
            opens = at_ms if now else self.calendar.opens_ms(zones, at_ms, last_ms)
            if now:
                open_.append(zones)
            elif opens is None:
                never.append(zones)
            else:
                opening.setdefault(opens, []).append(zones)
        self._looked = _Looked(
            at_ms, until, self._program(open_, present),
            [(at, self._program(zones, present)) for at, zones in sorted(opening.items())],
            self._program(never, present),
        )  # fmt: skip
        return self._looked

    def _program(self, zones: Iterable[Zones], present: Mapping[Zones, Ranges]) -> Program:
        """Members whose number, or own zone, is one of these."""
        wanted = set(zones)
        ranges = merge_ranges(Kind.U64, [one for each in wanted for one in present.get(each, ())])
        columns = Columns()
        for column in self.columns:
            columns.position(column)
        by_number: Test = InRanges(MSISDN, tuple(ranges)) if ranges else Always(False)
        if self.zone_field is None:
            return assemble(by_number, columns)
        own = self.columns[1]
        codes = [code for code, zone in enumerate(self.zone_field.values, 1) if _own(zone) in wanted]
        by_own: Test = InRanges(own, tuple((code, code) for code in codes)) if codes else Always(False)
        return assemble(Some((by_own, Every((InRanges(own, ((0, 0),)), by_number)))), columns)


def _own(zone: str) -> Zones:
    """A member's own zone; () is an unknown place."""
    return (zone,) if zone in zones_known() else ()


@lru_cache(1)
def _spans() -> list[tuple[int, int, Zones]]:
    return sorted((low, high, zones) for zones, ranges in zones_by_number().items() for low, high in ranges)


def zones_of(number: int) -> Zones:
    """The zones that one number may be in; () where nothing is known of it."""
    spans = _spans()
    low, high, zones = spans[bisect_right(spans, number, key=lambda span: span[0]) - 1]
    return zones if low <= number <= high else ()


def _present(view: View, tenant: int) -> dict[Zones, Ranges]:
    """Of zones_by_number, the ranges in which the tenant has a number: one look-up a range met."""
    found: dict[Zones, Ranges] = {}
    spans, number = _spans(), 0
    while number < spans[-1][1]:
        after = TENANT_U64.pack(tenant, number)
        key = next((key for key, _ in view.range("phones", TENANT.pack(tenant), after=after)), None)
        if key is None:
            break
        number = TENANT_U64.unpack(key)[1]
        low, high, zones = spans[bisect_right(spans, number, key=lambda span: span[0]) - 1]
        found.setdefault(zones, []).append((low, high))
        number = max(number, high)
    return found
