"""Which guards a purpose has for a tenant: consent, caps and quiet hours of its market profile, and caps of its own.

Touches: nothing but the profile's file, read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from config import SettingError
from dispatcher.errors import CommandRefused
from dispatcher.tenants.profile import CAP_GROUPS, Cap, Profile, QuietRule, get_profile
from dispatcher.tenants.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Rules:
    purpose: str
    profile: Profile
    consent: bool = False  # only who said yes
    caps: tuple[Cap, ...] = ()
    quiet: QuietRule | None = None


def market_of(tenant: Tenant) -> Profile:
    """A tenant's market profile. Raises CommandRefused 409 where its file is wrong by now: without it nothing goes."""
    try:
        return get_profile(tenant.market_profile)
    except SettingError as exc:
        raise CommandRefused(409, "market_profile_wrong", f"the tenant's market profile: {exc}") from exc


def rules_of(tenant: Tenant, purpose: str, caps: Iterable[Mapping[str, Any]] = ()) -> Rules:
    """caps: of a campaign itself, {max, within_s}; they are added to the others and lift none.

    Raises CommandRefused as market_of.
    """
    profile = market_of(tenant)
    mine = [cap for cap in profile.caps if cap.group == purpose]
    mine += [Cap(**cap) for cap in tenant.caps if cap["group"] == purpose]
    mine += [Cap(purpose, cap["max"], cap["within_s"]) for cap in caps]
    quiet = profile.quiet if profile.quiet is not None and purpose in profile.quiet.purposes else None
    consent = purpose in profile.consent and purpose in CAP_GROUPS
    return Rules(purpose, profile, consent, tuple(dict.fromkeys(mine)), quiet)
