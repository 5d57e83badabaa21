"""Market profiles: a market's words, answers, hours, caps, billing and mandatory text, as data files.

Touches: config/profiles/*.toml, each read once; a folder named by VOLLEY_PROFILES adds to them and wins by name.
Rests on: PRODUCT (market rules). A value of a profile is what vendors publish, and the operator's to change; no rule of
a market stands in code. `none`, the default, asks for nothing: no consent, cap, hour or wording.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from config import SettingError
from config.rules import nearest
from dispatcher.records.states import Purpose
from dispatcher.tenants import market

NONE = "none"
FOLDER = "VOLLEY_PROFILES"
DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
PURPOSES = tuple(purpose.value for purpose in Purpose)
CAP_GROUPS = ("service", "care", "marketing")  # otp and transactional messages are asked for, one by one
CAP_MAX, WITHIN_S_MAX = 10_000, 92 * 86_400
WAIT_DAYS_MAX = 31
MONTHS_MAX = 1_200
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


@dataclass(frozen=True, slots=True)
class Words:
    """What a message from a phone means, compared as market.plain() has it."""

    opt_out_first: frozenset[str]
    opt_out_alone: frozenset[str]
    opt_in: frozenset[str]
    help: frozenset[str]

    def is_opt_out(self, plain: str) -> bool:
        """An opt-out word alone, or first in a sentence without digits ("stop, thanks")."""
        if plain in self.opt_out_first or plain in self.opt_out_alone:
            return True
        first = re.split(r"[\s,.;:!]+", plain, maxsplit=1)[0] if plain else ""
        return first in self.opt_out_first and not any(character.isdigit() for character in plain)


@dataclass(frozen=True, slots=True)
class Answers:
    opt_out: str = market.CONFIRM_STOP
    opt_in: str = market.CONFIRM_START
    help: str = ""  # "": a question for help is for the inbox


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of a local day in which messages may leave, on some weekdays (0 is Monday)."""

    days: frozenset[int]
    opens: int
    closes: int


@dataclass(frozen=True, slots=True)
class QuietRule:
    purposes: frozenset[str]
    hours: tuple[Hours, ...]
    holidays: str = ""  # a country of the `holidays` library; "" knows none
    wait_days: int = 7


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `max` messages of a group to one number in any `within_s` seconds."""

    group: str
    max: int
    within_s: int

    def __str__(self) -> str:
        days, rest = divmod(self.within_s, 86_400)
        span = f"{days} day{'s' * (days > 1)}" if days and not rest else f"{self.within_s:,} s"
        return f"{self.max:,} {self.group} in {span}"


@dataclass(frozen=True, slots=True)
class BillingRule:
    """Billed parts by UTF-16 units of the text: one up to `first`, above it one for each `more`."""

    first: int
    more: int


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a text must say, by purpose."""

    signature_purposes: frozenset[str] = frozenset()
    signature_form: str = "{signature}"
    signature_characters: tuple[int, int] = (1, 40)
    signature_registered: bool = False
    opt_out_purposes: frozenset[str] = frozenset()
    opt_out_wording: str = ""
    opt_out_known: tuple[str, ...] = ()  # a text that has one of them near its end says it already


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    title: str
    words: Words
    answers: Answers = Answers()
    zones: tuple[str, ...] = ()
    consent: frozenset[str] = frozenset()  # purposes that nobody gets without having said yes
    proof_months: int = 0  # how long the market wants a proof of it kept; here it is kept for good
    quiet: QuietRule | None = None
    caps: tuple[Cap, ...] = ()
    billing: BillingRule | None = None  # None: billed is what is on the wire
    text: TextRule = field(default_factory=TextRule)


def profile_names() -> list[str]:
    """Every profile there is, `none` first."""
    return [NONE, *sorted(_files())]


def get_profile(name: str) -> Profile:
    """A profile by name. Raises SettingError: no such one, or one whose file breaks a rule."""
    if name == NONE:
        return _NONE
    path = _files().get(name)
    if path is None:
        known = profile_names()
        raise SettingError("market_profile", name, f"one of {', '.join(known)}", nearest=nearest(name, known))
    return read_profile(path)


@lru_cache(64)
def read_profile(path: Path) -> Profile:
    """One file. Raises SettingError naming file, key, value and rule."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingError("profile", None, str(exc), file=str(path)) from exc
    try:
        return _profile(path.stem, found)
    except SettingError as exc:
        raise exc.at(file=str(path)) from exc


def _files() -> dict[str, Path]:
    folders = [Path(str(resources.files("config") / "profiles"))]
    if own := os.environ.get(FOLDER):
        folders.append(Path(own))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def _profile(name: str, found: dict[str, Any]) -> Profile:
    top = _Section("", found)
    words, answers, consent = top.section("words"), top.section("answers"), top.section("consent")
    zones = top.texts("zones")
    for zone in zones:
        if zone not in available_timezones():
            raise SettingError("zones", zone, "IANA time zones such as Europe/Paris", nearest=_zone_like(zone))
    profile = Profile(
        name=name,
        title=top.text("title", name),
        words=Words(
            opt_out_first=_plain(words.texts("opt_out_first")) | market.STOP_FIRST,
            opt_out_alone=_plain(words.texts("opt_out_alone")),
            opt_in=_plain(words.texts("opt_in")) or market.START_ALONE,
            help=_plain(words.texts("help")),
        ),
        answers=Answers(
            answers.text("opt_out", market.CONFIRM_STOP),
            answers.text("opt_in", market.CONFIRM_START),
            answers.text("help", ""),
        ),
        zones=zones,
        consent=consent.purposes("purposes"),
        proof_months=consent.whole("proof_months", 0, 0, MONTHS_MAX),
        quiet=_quiet(top.section("quiet"), zones) if "quiet" in found else None,
        caps=tuple(_cap(_Section("caps", one)) for one in top.tables("caps")),
        billing=_billing(top.section("billing")) if "billing" in found else None,
        text=_text(top.section("text")),
    )
    for section in (words, answers, consent, top):
        section.end()
    return profile


def _quiet(section: _Section, zones: tuple[str, ...]) -> QuietRule:
    if not zones:
        raise SettingError("zones", None, "a profile with quiet hours names the zones of numbers of unknown place")
    hours = []
    for table in section.tables("hours"):
        one = _Section("quiet.hours", table)
        days, opens, closes = one.texts("days"), one.clock("from"), one.clock("to")
        one.end()
        if not days or not set(days) <= set(DAYS):
            raise SettingError("days", list(days), f"some of {', '.join(DAYS)}", section="quiet.hours")
        if opens >= closes:
            rule = "from is before to, within one day: write hours over midnight as two"
            raise SettingError("to", table["to"], rule, section="quiet.hours")
        hours.append(Hours(frozenset(map(DAYS.index, days)), opens, closes))
    if not hours:
        raise SettingError("hours", None, "at least one: without any nothing would ever go", section="quiet")
    country = section.text("holidays", "")
    if country:
        import holidays  # 50 ms that only a profile with holidays costs

        known = holidays.list_supported_countries(include_aliases=False)
        if country not in known:
            rule = "a country of the holidays library, as FR, or empty"
            raise SettingError("holidays", country, rule, section="quiet", nearest=nearest(country, known))
    wait_days = section.whole("wait_days", 7, 1, WAIT_DAYS_MAX)
    purposes = section.purposes("purposes")
    section.end()
    return QuietRule(purposes, tuple(hours), country, wait_days)


def _cap(section: _Section) -> Cap:
    group = section.text("group", "marketing")
    if group not in CAP_GROUPS:
        raise SettingError("group", group, f"one of {', '.join(CAP_GROUPS)}", section="caps")
    cap = Cap(group, section.whole("max", None, 0, CAP_MAX), section.whole("within_s", None, 1, WITHIN_S_MAX))
    section.end()
    return cap


def _billing(section: _Section) -> BillingRule:
    rule = BillingRule(section.whole("first", None, 1, 1_000), section.whole("more", None, 1, 1_000))
    section.end()
    return rule


def _text(section: _Section) -> TextRule:
    low, high = section.given("signature_characters", [1, 40])
    form = section.text("signature_form", "{signature}")
    if form.count("{signature}") != 1:
        raise SettingError("signature_form", form, "has {signature} once, as 【{signature}】", section="text")
    rule = TextRule(
        signature_purposes=section.purposes("signature_purposes"),
        signature_form=form,
        signature_characters=(int(low), int(high)),
        signature_registered=bool(section.given("signature_registered", False)),
        opt_out_purposes=section.purposes("opt_out_purposes"),
        opt_out_wording=section.text("opt_out_wording", ""),
        opt_out_known=tuple(one.casefold() for one in section.texts("opt_out_known")),
    )
    section.end()
    if rule.opt_out_purposes and not rule.opt_out_wording.strip():
        raise SettingError("opt_out_wording", rule.opt_out_wording, "what marketing must say", section="text")
    return rule


class _Section:
    """Keys of one table, taken one by one; end() refuses those that nobody asked for."""

    def __init__(self, name: str, found: Any) -> None:
        if not isinstance(found, Mapping):
            raise SettingError(name, found, f"is a section: write [{name}]")
        self._name, self._found, self._asked = name, found, set[str]()

    def given(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        value = self._found.get(key, default)
        if default is not None and type(value) is not type(default):
            raise self._wrong(key, value, f"a {type(default).__name__} as {default!r}")
        return value

    def section(self, key: str) -> _Section:
        return _Section(key, self.given(key, {}))

    def tables(self, key: str) -> list[Mapping[str, Any]]:
        return list(self.given(key, []))

    def text(self, key: str, default: str) -> str:
        return str(self.given(key, default))

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.given(key, [])
        if not all(isinstance(one, str) for one in found):
            raise self._wrong(key, found, "a list of texts")
        return tuple(found)

    def purposes(self, key: str) -> frozenset[str]:
        found = self.texts(key)
        for one in found:
            if one not in PURPOSES:
                raise self._wrong(key, one, f"purposes: {', '.join(PURPOSES)}", nearest(one, PURPOSES))
        return frozenset(found)

    def whole(self, key: str, default: int | None, least: int, most: int) -> int:
        value = self.given(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(key, value, f"a whole number, {least:,} to {most:,}")
        return value

    def clock(self, key: str) -> int:
        value = self.text(key, "")
        if not _CLOCK.fullmatch(value):
            raise self._wrong(key, value, "an hour of the day such as 08:00, to 24:00")
        return 60 * int(value[:2]) + int(value[3:])

    def end(self) -> None:
        for key in self._found:
            if key not in self._asked:
                raise self._wrong(key, None, "no such key", nearest(key, self._asked))

    def _wrong(self, key: str, value: Any, rule: str, hint: str | None = None) -> SettingError:
        return SettingError(key, value, rule, section=self._name, nearest=hint)


def _plain(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(market.plain(word) or word for word in words)


def _zone_like(zone: str) -> str | None:
    return nearest(zone, sorted(available_timezones()))


_NONE = Profile(
    NONE,
    "No market's rules",
    Words(market.STOP_FIRST, market.STOP_ALONE, market.START_ALONE, frozenset()),
)


def profile_json(profile: Profile) -> dict[str, Any]:
    """As the API shows it."""
    quiet, text = profile.quiet, profile.text
    return {
        "name": profile.name,
        "title": profile.title,
        "words": {one.name: sorted(getattr(profile.words, one.name)) for one in fields(Words)},
        "answers": {one.name: getattr(profile.answers, one.name) for one in fields(Answers)},
        "zones": list(profile.zones),
        "consent": sorted(profile.consent),
        "proof_months": profile.proof_months,
        "quiet": None if quiet is None else {
            "purposes": sorted(quiet.purposes),
            "hours": [
                {"days": [DAYS[day] for day in sorted(one.days)], "from": _shown(one.opens), "to": _shown(one.closes)}
                for one in quiet.hours
            ],
            "holidays": quiet.holidays,
            "wait_days": quiet.wait_days,
        },
        "caps": [{"group": cap.group, "max": cap.max, "within_s": cap.within_s} for cap in profile.caps],
        "billing": None if profile.billing is None else {"first": profile.billing.first, "more": profile.billing.more},
        "text": {
            "signature_purposes": sorted(text.signature_purposes),
            "signature_form": text.signature_form,
            "signature_characters": list(text.signature_characters),
            "signature_registered": text.signature_registered,
            "opt_out_purposes": sorted(text.opt_out_purposes),
            "opt_out_wording": text.opt_out_wording,
            "opt_out_known": list(text.opt_out_known),
        },
    }  # fmt: skip


def _shown(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
