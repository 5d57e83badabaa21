"""When a campaign goes out: a start in some zone, windows of the day, a time to spread over, a rule of repetition.

Touches: nothing; the instant of now and the tenant's zone are arguments.
Rests on: RFC 5545 3.3.10 (RRULE), by python-dateutil over local time, so 09:00 stays 09:00 over a clock change.

    schedule: {at, zone, window {from, to, days}, spread_over_s, repeat, if_late, count_change_percent}
      at      "2026-12-01T09:00" is local in `zone` ("tenant" or an IANA name); with Z or an offset it is that instant
      zone    "recipient": each number's own; it starts at that time in the earliest zone, and clocks behind it wait
      window  from 09:00 to 20:00 on the named days; a `to` that is not after `from` lies on the next day
      repeat  FREQ=DAILY, WEEKLY, MONTHLY or YEARLY with the parts in _PARTS; `at` is the first time
      if_late run or drop what came due while the server was down
      count_change_percent  held when the count differs by more from the approved one; null: the tenant's figure

An hour that a clock change leaves out is refused as `at`; of a repetition it comes an hour later on the clock. An hour
that comes twice means the first of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from dispatcher.clock import rfc3339
from dispatcher.errors import CommandRefused

DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
DAY_MINUTES = 24 * 60
SPREAD_MAX_S = 7 * 86_400
AHEAD_MAX_MS = 2 * 366 * 86_400_000  # a start in more than two years is a slip of the pen
REPEAT_CHARACTERS = 200
FOREVER_MS = 1 << 62
RECIPIENT = "recipient"
EARLIEST = "Pacific/Kiritimati"  # UTC+14: no clock shows a time sooner
DEFAULTS: dict[str, Any] = {
    "at": None, "zone": "tenant", "window": None, "spread_over_s": 0,
    "repeat": "", "if_late": "run", "count_change_percent": None,
}  # fmt: skip
# what goes with each frequency; more would let a rule that never comes be looked for over all years to 9999
_COMMON = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY"}
_PARTS = {
    "DAILY": _COMMON,
    "WEEKLY": _COMMON,
    "MONTHLY": _COMMON | {"BYMONTHDAY", "BYSETPOS"},
    "YEARLY": _COMMON | {"BYMONTHDAY", "BYSETPOS", "BYMONTH"},
}
# (part, frequencies, form, in words) of what dateutil takes otherwise than RFC 5545 means it: it completes an UNTIL by
# today's date, and one without a time leaves its day out; day 0 is every day; 2MO of a week is each Monday
_FORMS = (
    ("UNTIL", set(_PARTS), re.compile("[0-9]{8}T[0-9]{6}"), "local time such as 20261231T235959, without Z"),
    ("BYMONTHDAY", set(_PARTS), re.compile("([+-]?0?[1-9][0-9]?(,|$))+"), "days from 1 on, or back from -1"),
    ("BYDAY", {"DAILY", "WEEKLY"}, re.compile("([A-Z]{2}(,|$))+"), "MO to SU; 2MO would be of a month or year"),
)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of the day in which messages may leave. Minutes from 00:00; days 0 Monday to 6 Sunday, of the opening."""

    opens: int
    closes: int
    days: frozenset[int]

    def spans(self, zone: ZoneInfo, day: date) -> Iterator[tuple[int, int]]:
        """(first ms, ms after the last) of the openings of this day and the seven after it."""
        for offset in range(8):
            on = day + timedelta(days=offset)
            if on.weekday() not in self.days:
                continue
            over = self.closes <= self.opens
            begin, end = (_local_ms(on, self.opens, zone), _local_ms(on, self.closes + over * DAY_MINUTES, zone))
            if begin < end:  # else the clock change took it
                yield begin, end


def checked(given: Any, tenant_zone: str, now_ms: int) -> dict[str, Any] | None:
    """The schedule with every part there is, None for an empty one. Raises CommandRefused 422 naming what is wrong."""
    if given is None or given == {}:
        return None
    if not isinstance(given, dict):
        raise _refused([_problem("", "invalid_schedule", "an object such as {at, window, spread_over_s}")])
    schedule = {**DEFAULTS, **given}
    wrong = [
        _problem(f"/{name}", "unknown", f"no such part of a schedule: one of {', '.join(DEFAULTS)}")
        for name in given
        if name not in DEFAULTS
    ]
    wrong += _plain_problems(schedule)
    if not wrong:
        zone = zone_of(schedule, tenant_zone)
        schedule["window"], wrong = _checked_window(schedule["window"])
        own = ZoneInfo(tenant_zone) if schedule["zone"] == RECIPIENT else zone
        wrong += _recipient_problems(schedule) or _time_problems(schedule, own, now_ms)
    if wrong:
        raise _refused(wrong)
    return None if schedule == DEFAULTS else schedule


def zone_of(schedule: dict[str, Any], tenant_zone: str) -> ZoneInfo:
    """The one zone that a schedule is read in; of the recipients' own the earliest there is."""
    named = {"tenant": tenant_zone, RECIPIENT: EARLIEST}
    return ZoneInfo(named.get(schedule["zone"], schedule["zone"]))


def first_ms(schedule: dict[str, Any], zone: ZoneInfo) -> int | None:
    """When it starts for the first time; None: with the command."""
    return None if schedule["at"] is None else _instant_ms(schedule["at"], zone)


def reads_tenant_zone(schedule: dict[str, Any] | None) -> bool:
    """Whether what it says depends on which zone `tenant` means: an instant alone does not."""
    if schedule is None or schedule["zone"] != "tenant":
        return False
    local = schedule["at"] is not None and not _has_zone(schedule["at"])
    return local or bool(schedule["repeat"]) or schedule["window"] is not None


def local_at(schedule: dict[str, Any] | None, due_ms: int | None = None) -> str | None:
    """What the clock of each recipient is to show before a message leaves; None where all start together.

    due_ms: of what repeats, when it is due: the last of its times by then, for one that some clocks had passed when it
    was started is due later than it says. Without it the first one.
    """
    if schedule is None or schedule["zone"] != RECIPIENT or schedule["at"] is None:
        return None
    local = datetime.fromisoformat(schedule["at"])
    if schedule["repeat"] and due_ms is not None:
        by = datetime.fromtimestamp(due_ms / 1000, ZoneInfo(EARLIEST)).replace(tzinfo=None)
        local = _rule(schedule["repeat"], local).before(by, inc=True) or local
    return local.isoformat(timespec="seconds")


def recipient_ms(local: str, zone: ZoneInfo) -> int:
    """When the clock of a zone shows what local_at() said; an hour that is left out there comes an hour later."""
    return _epoch_ms(datetime.fromisoformat(local).replace(tzinfo=zone))


def following_ms(schedule: dict[str, Any], zone: ZoneInfo, after_ms: int) -> int | None:
    """The next repetition strictly after an instant; None when there is none any more."""
    begin_ms = first_ms(schedule, zone)
    if begin_ms is None or not schedule["repeat"]:
        return None
    begin = datetime.fromtimestamp(begin_ms / 1000, zone).replace(tzinfo=None)
    rule = _rule(schedule["repeat"], begin)
    local = datetime.fromtimestamp(after_ms / 1000, zone).replace(tzinfo=None) - timedelta(days=1)
    for found in rule.xafter(local):
        at_ms = _epoch_ms(found.replace(tzinfo=zone))
        if at_ms > after_ms:
            return at_ms
    return None


def window_of(schedule: dict[str, Any] | None) -> Window | None:
    window = schedule["window"] if schedule else None
    if window is None:
        return None
    return Window(_minutes(window["from"]), _minutes(window["to"]), frozenset(map(DAYS.index, window["days"])))


def opening(window: Window | None, zone: ZoneInfo, now_ms: int) -> tuple[bool, int]:
    """(whether it is open now, the instant at which that ends)."""
    if window is None:
        return True, FOREVER_MS
    day = datetime.fromtimestamp(now_ms / 1000, zone).date() - timedelta(days=1)
    for begin, end in window.spans(zone, day):
        if now_ms < end:
            return (True, end) if begin <= now_ms else (False, begin)
    day += timedelta(days=7)  # the one opening of the week was just over, or fell into a clock change
    return False, next((begin for begin, _ in window.spans(zone, day) if begin > now_ms), FOREVER_MS)


def in_words(schedule: dict[str, Any], zone: ZoneInfo) -> str:
    """For a person who decides: one line."""
    words = []
    at_ms = first_ms(schedule, zone)
    if at_ms is not None:
        where = "in each recipient's own zone" if schedule["zone"] == RECIPIENT else zone.key
        words.append(f"at {datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m-%d %H:%M:%S} {where}")
    if schedule["repeat"]:
        words.append(f"again by {schedule['repeat']}")
    if window := schedule["window"]:
        words.append(f"from {window['from']} to {window['to']} on {', '.join(window['days'])}, {zone.key}")
    if schedule["spread_over_s"]:
        words.append(f"spread over {schedule['spread_over_s']:,} s")
    return "; ".join(words)


def _plain_problems(schedule: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong with a part by itself."""
    wrong = []
    zone, spread, percent = schedule["zone"], schedule["spread_over_s"], schedule["count_change_percent"]
    if zone not in ("tenant", RECIPIENT) and zone not in available_timezones():
        detail = f"zone {zone!r}: `tenant`, `{RECIPIENT}` or an IANA time zone such as Europe/Berlin"
        wrong.append(_problem("/zone", "unknown_zone", detail))
    if not _whole(spread, 0, SPREAD_MAX_S):
        wrong.append(_problem("/spread_over_s", "invalid_schedule", f"spread_over_s: seconds, 0 to {SPREAD_MAX_S}"))
    if schedule["if_late"] not in ("run", "drop"):
        wrong.append(_problem("/if_late", "invalid_schedule", f"if_late {schedule['if_late']!r}: run or drop"))
    if percent is not None and not _whole(percent, 0, 100_000):
        detail = "count_change_percent: 0 to 100,000, or null for the tenant's"
        wrong.append(_problem("/count_change_percent", "invalid_schedule", detail))
    if not isinstance(schedule["repeat"], str) or len(schedule["repeat"]) > REPEAT_CHARACTERS:
        wrong.append(_problem("/repeat", "invalid_schedule", f"repeat: text of at most {REPEAT_CHARACTERS} characters"))
    if schedule["at"] is not None and (not isinstance(schedule["at"], str) or len(schedule["at"]) > 40):
        wrong.append(_problem("/at", "invalid_schedule", "at: a time such as 2026-12-01T09:00, or null"))
    return wrong


def _recipient_problems(schedule: dict[str, Any]) -> list[dict[str, str]]:
    """What does not go with a start by everybody's own clock."""
    if schedule["zone"] != RECIPIENT:
        return []
    wrong = []
    if schedule["at"] is None:
        wrong.append(_problem("/at", "invalid_schedule", "zone recipient is about a start: it needs `at`"))
    elif not schedule["at"].isascii() or _has_zone(schedule["at"]):
        detail = (
            f"at {schedule['at']!r} is one instant, and zone recipient each number's own: leave Z or the offset out"
        )
        wrong.append(_problem("/at", "invalid_schedule", detail))
    if schedule["window"] is not None:
        detail = "a window's hours are of one zone: name it, or leave hours in everybody's own to the quiet calendar"
        wrong.append(_problem("/window", "invalid_schedule", detail))
    return wrong


def _has_zone(at: str) -> bool:
    try:
        return datetime.fromisoformat(at).tzinfo is not None
    except ValueError:
        return False


def _checked_window(window: Any) -> tuple[dict[str, Any] | None, list[dict[str, str]]]:
    if window is None:
        return None, []
    if not isinstance(window, dict) or not {"from", "to"} <= window.keys() <= {"from", "to", "days"}:
        return None, [_problem("/window", "invalid_schedule", "a window is {from, to, days}: 09:00, 20:00, [mo, tu]")]
    wrong = []
    for name in ("from", "to"):
        if _minutes(window[name]) < 0:
            detail = f"{name} {window[name]!r}: an hour of the day such as 09:00, to 24:00"
            wrong.append(_problem(f"/window/{name}", "invalid_schedule", detail))
    days = window.get("days", list(DAYS))
    if not isinstance(days, list) or not all(day in DAYS for day in days):
        wrong.append(_problem("/window/days", "invalid_schedule", f"days {days!r}: a list of {', '.join(DAYS)}"))
    elif not days:
        wrong.append(_problem("/window/days", "schedule_never_opens", "a window on no day never opens: name a day"))
    if not wrong and window["from"] in (window["to"], "24:00"):
        detail = f"the window from {window['from']} to {window['to']} never opens; 00:00 to 24:00 is the whole day"
        wrong.append(_problem("/window/to", "schedule_never_opens", detail))
    if wrong:
        return None, wrong
    return {"from": window["from"], "to": window["to"], "days": [day for day in DAYS if day in days]}, []


def _time_problems(schedule: dict[str, Any], zone: ZoneInfo, now_ms: int) -> list[dict[str, str]]:
    at, repeat = schedule["at"], schedule["repeat"]
    if at is None:
        return [_problem("/at", "invalid_schedule", "a repetition needs `at`, its first time")] if repeat else []
    try:
        local = datetime.fromisoformat(at)
    except ValueError:
        return [_problem("/at", "invalid_schedule", f"at {at!r}: a time such as 2026-12-01T09:00")]
    try:
        gone = _gone(local, zone) if local.tzinfo is None else None
        at_ms = _instant_ms(at, zone)
    except (OverflowError, ValueError):
        return [_problem("/at", "invalid_schedule", f"at {at!r}: too far away")]
    if gone:
        detail = f"on that day the clocks of {zone.key} leave {at} out; the next time there is, is {gone}"
        return [_problem("/at", "schedule_missing_hour", detail)]
    if at_ms <= now_ms:
        detail = f"at {at} ({zone.key}) is past, it is {rfc3339(now_ms)}: give a later time, or none to start at once"
        return [_problem("/at", "schedule_in_the_past", detail)]
    if at_ms > now_ms + AHEAD_MAX_MS:
        return [_problem("/at", "invalid_schedule", f"at {at}: more than two years ahead")]
    return _repeat_problems(repeat, datetime.fromtimestamp(at_ms / 1000, zone).replace(tzinfo=None)) if repeat else []


def _repeat_problems(repeat: str, begin: datetime) -> list[dict[str, str]]:
    parts = dict(part.partition("=")[::2] for part in repeat.upper().removeprefix("RRULE:").split(";"))
    known = _PARTS.get(parts.get("FREQ", ""))
    if known is None:
        detail = f"repeat {repeat!r}: begins with FREQ={', FREQ='.join(_PARTS)}"
        return [_problem("/repeat", "invalid_schedule", detail)]
    if unknown := [name for name in parts if name not in known]:
        detail = f"repeat: {', '.join(unknown)} does not go with FREQ={parts['FREQ']}, but {', '.join(sorted(known))}"
        return [_problem("/repeat", "invalid_schedule", detail)]
    for name, frequencies, form, meaning in _FORMS:
        if name in parts and parts["FREQ"] in frequencies and not form.fullmatch(parts[name]):
            return [_problem("/repeat", "invalid_schedule", f"repeat: {name}={parts[name]}: {meaning}")]
    if any(name in parts and not (parts[name].isdecimal() and int(parts[name])) for name in ("INTERVAL", "COUNT")):
        return [_problem("/repeat", "invalid_schedule", "repeat: INTERVAL and COUNT are whole numbers from 1")]
    try:
        first = next(iter(_rule(repeat, begin)), None)
    except (ValueError, TypeError, IndexError) as exc:
        return [_problem("/repeat", "invalid_schedule", f"repeat {repeat!r}: {exc}")]
    if first is None:
        return [_problem("/repeat", "schedule_never_opens", f"repeat {repeat!r} never comes after {begin}")]
    if first != begin:
        detail = f"`at` is not a time of its own rule {repeat!r}, whose first is {first.isoformat()}: begin there"
        return [_problem("/repeat", "invalid_schedule", detail)]
    return []


@lru_cache(256)
def _rule(repeat: str, begin: datetime) -> Any:
    from dateutil.rrule import rrulestr  # 20 ms that only a repetition costs

    return rrulestr(repeat.upper().removeprefix("RRULE:"), dtstart=begin)


def _instant_ms(at: str, zone: ZoneInfo) -> int:
    local = datetime.fromisoformat(at)
    return _epoch_ms(local if local.tzinfo else local.replace(tzinfo=zone))


def _epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _gone(local: datetime, zone: ZoneInfo) -> str | None:
    """What the clock shows instead of a time that it leaves out; None for one there is."""
    back = local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    return None if back == local else back.isoformat(timespec="minutes")


def _local_ms(day: date, minutes: int, zone: ZoneInfo) -> int:
    days, minutes = divmod(minutes, DAY_MINUTES)
    return _epoch_ms(datetime.combine(day + timedelta(days=days), time(minutes // 60, minutes % 60), zone))


def _minutes(text: Any) -> int:
    """Of HH:MM; -1 for anything else."""
    if not isinstance(text, str) or len(text) != 5 or text[2] != ":" or not (text[:2] + text[3:]).isdecimal():
        return -1
    hours, minutes = int(text[:2]), int(text[3:])
    return 60 * hours + minutes if minutes < 60 and 60 * hours + minutes <= DAY_MINUTES else -1


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _problem(pointer: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/schedule{pointer}", "code": code, "detail": detail}


def _refused(wrong: list[dict[str, str]]) -> CommandRefused:
    code = wrong[0]["code"]
    named = code if code.startswith("schedule_") else "invalid_schedule"
    return CommandRefused(422, named, "; ".join(problem["detail"] for problem in wrong), errors=wrong)
