"""A tenant: whose members and campaigns these are, its zone, default region and sender.

Touches: rows of `tenants`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from phonenumbers import SUPPORTED_REGIONS

from dispatcher.control.commands import CreateTenant, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.profile import profile_names
from dispatcher.tenants.senders import note_sender

TENANTS_MAX = 0xFFFF  # u16 in every key
TITLE_MAX = 100
LEAP_RULES = ("feb28", "mar1", "leap")
SENDER_OCTETS_MAX = 20  # SMPP v3.4 4.4.1: source_addr is at most 21 octets with its NUL
TITLE_RULE = f"1 to {TITLE_MAX} characters"
SENDER_RULE = f"at most {SENDER_OCTETS_MAX} printable ASCII characters"
ZONE_RULE = "an IANA time zone such as Europe/Berlin"
REGION_RULE = "an ISO 3166 region of two capitals such as DE, or empty"


@dataclass(frozen=True, slots=True)
class Tenant:
    number: int
    title: str
    zone: str  # IANA
    region: str  # ISO 3166, "" = only international numbers are read
    sender: str
    brand: str
    next_member_no: int
    approval_above: int = 0  # messages above which somebody else must approve a campaign; 0: never asked
    count_change_percent: int = 5  # a scheduled campaign is held when its count differs by more from the approved one
    leap_rule: str = "feb28"  # when a birthday on 29 February falls in other years: feb28, mar1, leap (not at all)
    market_profile: str = "none"  # config/profiles (profile.py)
    signature: str = ""  # who a text says that it is from, where the profile or a campaign asks for it
    zone_field: str = ""  # the field with a member's own IANA zone; "" or unknown: by the number's prefix
    caps: tuple[dict[str, Any], ...] = ()  # {group, max, within_s}: beside the profile's, and all of them hold
    rate: int = 0  # parts a second of its plan, 0: no limit
    parts_month: int = 0  # billed parts a month of its plan, 0: no limit
    prepaid: bool = False  # sends only on credit: reserved at a start, settled at the end (money.py)
    currency: str = ""  # ISO 4217, of its prices and credit; nothing is converted


def create_tenant(view: View, command: CreateTenant, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A tenant with the next number, from 1. The operator's own command (envelope.tenant 0)."""
    if envelope.tenant:
        raise CommandRefused(403, "forbidden", "only the operator makes tenants")
    if errors := list(_errors(command)):
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    last = next(iter(view.range("tenants", reverse=True)), None)
    number = TENANT.unpack(last[0])[0] + 1 if last else 1
    if number > TENANTS_MAX:
        raise CommandRefused(409, "state_conflict", f"there are {TENANTS_MAX} tenants, the most one store holds")
    changes = Changes()
    row = {
        "title": command.title.strip(),
        "zone": command.zone,
        "region": command.region,
        "sender": command.sender,
        "brand": command.brand or command.title.strip(),
        "next_member_no": 0,
        "leap_rule": command.leap_rule,
        "market_profile": command.market_profile,
        "created_ms": envelope.at_ms,
    }
    changes.put("tenants", TENANT.pack(number), pack(row))
    note_sender(view, changes, number, command.sender)
    return changes, {"id": public_id("ten", number), "tenant": number, "title": row["title"]}


def get_tenant(view: View, tenant: int) -> Tenant | None:
    row = view.get("tenants", TENANT.pack(tenant)) if 0 < tenant <= TENANTS_MAX else None
    return _tenant(tenant, row) if row else None


def need_tenant(view: View, tenant: int) -> Tenant:
    """The tenant a command acts for; CommandRefused 404 when it does not exist."""
    found = get_tenant(view, tenant)
    if found is None:
        raise CommandRefused(404, "not_found", f"tenant {tenant} does not exist")
    return found


def list_tenants(view: View) -> list[Tenant]:
    return [_tenant(TENANT.unpack(key)[0], row) for key, row in view.range("tenants")]


def tenant_numbers(view: View) -> list[int]:
    return [TENANT.unpack(key)[0] for key, _ in view.range("tenants")]


def put_next_member_no(changes: Changes, view: View, tenant: int, next_member_no: int) -> None:
    """Give member numbers below `next_member_no` away. They are never given twice, so it only grows."""
    key = TENANT.pack(tenant)
    row = changes.rows.get(("tenants", key)) or view.get("tenants", key)
    assert row is not None, f"tenant {tenant} does not exist"
    value = unpack(bytes(row))
    assert next_member_no >= value["next_member_no"], f"{next_member_no} < {value['next_member_no']}"
    changes.put("tenants", key, pack({**value, "next_member_no": next_member_no}))


def _tenant(number: int, row: bytes) -> Tenant:
    value = unpack(row)
    return Tenant(number, **{name: value[name] for name in Tenant.__slots__ if name in value})


def _errors(command: CreateTenant) -> Any:
    def wrong(name: str, code: str, detail: str) -> dict[str, str]:
        return {"pointer": f"/{name}", "code": code, "detail": f"{name} {getattr(command, name)!r}: {detail}"}

    if not is_title(command.title):
        yield wrong("title", "wrong_length", TITLE_RULE)
    if not is_zone(command.zone):
        yield wrong("zone", "unknown_zone", ZONE_RULE)
    if not is_region(command.region):
        yield wrong("region", "unknown_region", REGION_RULE)
    if command.leap_rule not in LEAP_RULES:
        yield wrong("leap_rule", "wrong_value", f"one of {', '.join(LEAP_RULES)}")
    if command.market_profile not in profile_names():
        yield wrong("market_profile", "unknown_profile", f"one of {', '.join(profile_names())}")
    if not is_sender(command.sender):
        yield wrong("sender", "wrong_sender", SENDER_RULE)
    if len(command.brand) > TITLE_MAX:
        yield wrong("brand", "wrong_length", f"at most {TITLE_MAX} characters")


def is_title(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value.strip()) <= TITLE_MAX


def is_zone(value: Any) -> bool:
    return isinstance(value, str) and value in available_timezones()


def is_region(value: Any) -> bool:
    """Whether numbers without a country code can be read as of it; "" reads none."""
    return isinstance(value, str) and (value == "" or value in SUPPORTED_REGIONS)


def is_sender(value: Any) -> bool:
    plain = isinstance(value, str) and len(value) <= SENDER_OCTETS_MAX
    return plain and all(" " < character <= "~" for character in value)
