"""[[route]]: which endpoints messages to some numbers take, as written in the file or kept in the store.

Touches: nothing. The reason for each default stands beside the key in volley.example.toml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

from config.rules import SettingError, between, nearest, one_of

PURPOSES = ("otp", "transactional", "service", "care", "marketing")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PREFIXES_MAX = 10_000  # of one route
WEIGHT_MAX = 1_000
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_TENANT = re.compile(r"[1-9]\d{0,4}|ten_\w{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One rule. Every list that is empty means: all of them."""

    name: str
    endpoints: tuple[str, ...]  # "main" or "main=3"; they share by weight
    prefixes: tuple[str, ...] = ()  # digits that a number begins with; the longest wins
    networks: tuple[str, ...] = ()  # codes of the table of ported numbers
    purposes: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    failover: tuple[str, ...] = ()  # one after the other, once all of `endpoints` are down
    failover_after_s: float = 10.0
    cost: int = 0  # millionths of a currency unit a part: of equal routes the cheaper goes first
    hours: str = ""  # 08:00-20:00
    days: tuple[str, ...] = ()
    zone: str = "UTC"
    enabled: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.endpoints:
            raise SettingError("endpoints", (), "at least one endpoint's name")
        for word in self.endpoints:
            _share(word)
        if len(self.prefixes) > PREFIXES_MAX:
            raise SettingError("prefixes", len(self.prefixes), f"at most {PREFIXES_MAX:,}")
        for prefix in self.prefixes:
            if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 15) or prefix.startswith("0"):
                raise SettingError("prefixes", prefix, "1 to 15 digits as in +49..., without the plus sign")
        for network in self.networks:
            if not 1 <= len(network.encode()) <= 16 or not network.isprintable() or " " in network:
                raise SettingError("networks", network, "a code of 1 to 16 octets, as in the table of ported numbers")
        for purpose in self.purposes:
            one_of("purposes", purpose, PURPOSES)
        for tenant in self.tenants:
            if not _TENANT.fullmatch(tenant):
                raise SettingError("tenants", tenant, "a tenant's number or its id (ten_...)")
        between("failover_after_s", self.failover_after_s, 0, 86_400, "s")
        between("cost", self.cost, 0, 1_000_000_000, "millionths of a currency unit a part")
        if self.hours and (not (found := _HOURS.fullmatch(self.hours)) or (found[3] == "24" and found[4] != "00")):
            raise SettingError("hours", self.hours, "from-to as in 08:00-20:00; 22:00-06:00 goes over midnight")
        for day in self.days:
            one_of("days", day, DAYS)
        if self.zone not in _zones():
            raise SettingError("zone", self.zone, "an IANA time zone", nearest=nearest(self.zone, _zones()))

    @property
    def shares(self) -> list[tuple[str, int]]:
        """(name, weight) of `endpoints`; weight 0: the endpoint's own."""
        return [_share(word) for word in self.endpoints]

    @property
    def named(self) -> set[str]:
        """Every endpoint that it speaks of."""
        return {name for name, _ in self.shares} | set(self.failover)

    @property
    def window(self) -> tuple[int, int] | None:
        """Minutes of the day from and to; to may be the smaller."""
        found = _HOURS.fullmatch(self.hours)
        if not found:
            return None
        return int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])


def check_name(name: str) -> None:
    if not name or len(name) > 64 or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise SettingError("name", name, "1 to 64 letters, digits, -, _ or .")


def check_endpoints(route: Route, known: set[str]) -> None:
    """Raises SettingError for a name that is no endpoint's."""
    for key, names in (("endpoints", [name for name, _ in route.shares]), ("failover", route.failover)):
        for name in names:
            if name not in known:
                raise SettingError(
                    key, name, "one of " + (", ".join(sorted(known)) or "the endpoints, of which there are none"),
                    section=f"route {route.name}", nearest=nearest(name, known),
                )  # fmt: skip


def _share(word: str) -> tuple[str, int]:
    name, _, weight = word.partition("=")
    if not name or (weight and not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= WEIGHT_MAX)):
        raise SettingError(
            "endpoints", word, f"an endpoint's name, or name=weight with a weight of 1 to {WEIGHT_MAX:,}"
        )
    return name, int(weight or 0)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
