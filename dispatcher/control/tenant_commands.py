"""Commands about who pays: tenants, keys, signatures, prices, credit."""

from __future__ import annotations

from typing import Any

from dispatcher.control.command import Command, command


@command("tenant.create")
class CreateTenant(Command):
    title: str  # the tenant's name
    zone: str = "UTC"  # IANA time zone
    region: str = ""  # ISO 3166 default region of national numbers, "" = only international ones
    sender: str = ""  # default source_addr
    brand: str = ""  # named in the STOP confirmation; "" = title
    leap_rule: str = "feb28"  # birthdays on 29 February in other years: feb28, mar1, or leap (not at all)
    market_profile: str = "none"  # config/profiles


@command("tenant.edit")
class EditTenant(Command):
    """What tenants/edit.py names: limits of approval, market profile, plan, caps and such."""

    changes: dict[str, Any]


@command("key.create")
class CreateKey(Command):
    for_tenant: int  # 0 = operator key
    title: str
    scopes: list[str]
    secret_sha256: bytes  # the secret itself never travels; whoever makes it shows it once


@command("key.revoke")
class RevokeKey(Command):
    key_id: int


@command("signature.register")
class RegisterSignature(Command):
    text: str
    state: str = "registered"  # or pending, refused


@command("prices.set")
class SetPrices(Command):
    prices: dict[str, int | None]  # prefix of digits -> micro-units a billed part; None: away


@command("money.top_up")
class TopUp(Command):
    micros: int  # below 0: taken back
    why: str = ""
