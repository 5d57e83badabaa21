"""What an operator may change of a tenant that is in use.

Touches: the tenant's row. What campaigns and imports make of a new zone or region, campaigns/tenant_uses.py says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from config import SettingError
from dispatcher.control.commands import EditTenant, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.profile import CAP_GROUPS, CAP_MAX, WITHIN_S_MAX, get_profile, profile_names
from dispatcher.tenants.senders import note_sender
from dispatcher.tenants.tenant import (
    LEAP_RULES,
    REGION_RULE,
    SENDER_RULE,
    TITLE_MAX,
    TITLE_RULE,
    ZONE_RULE,
    is_region,
    is_sender,
    is_title,
    is_zone,
    need_tenant,
)

CAPS_MAX = 12
SIGNATURE_CHARACTERS = 40


def edit_tenant(view: View, command: EditTenant, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Set what `changes` names for the envelope's tenant. Raises CommandRefused 404, 422."""
    tenant = need_tenant(view, envelope.tenant)
    errors = []
    for name, value in command.changes.items():
        if name not in EDITABLE:
            errors.append(_problem(name, "unknown", f"{name}: one of {', '.join(EDITABLE)}"))
        elif not EDITABLE[name][1](value):
            errors.append(_problem(name, "wrong_value", f"{name} {value!r}: {EDITABLE[name][0]}"))
    if not errors and "market_profile" in command.changes:
        try:
            get_profile(command.changes["market_profile"])
        except SettingError as exc:
            errors.append(_problem("market_profile", "wrong_value", str(exc)))
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    key = TENANT.pack(tenant.number)
    octets = view.get("tenants", key)
    assert octets is not None
    row = unpack(octets)
    changes = Changes()
    if any(row.get(name) != value for name, value in command.changes.items()):
        row |= command.changes
        changes.put("tenants", key, pack(row))
        note_sender(view, changes, tenant.number, row["sender"])
    shown = {name: row.get(name, getattr(tenant, name)) for name in EDITABLE}
    return changes, {"id": public_id("ten", tenant.number), **shown}


def _whole(most: int) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number, 0 to {most:,}", lambda value: _is_whole(value, 0, most)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_caps(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= CAPS_MAX and all(is_cap(one) for one in value)


def is_cap(value: Any) -> bool:
    """Whether it is {group, max, within_s}, each within its bounds."""
    return (
        isinstance(value, dict)
        and value.keys() == {"group", "max", "within_s"}
        and value["group"] in CAP_GROUPS
        and _is_whole(value["max"], 0, CAP_MAX)
        and _is_whole(value["within_s"], 1, WITHIN_S_MAX)
    )


def _is_text(value: Any, characters: int) -> bool:
    return isinstance(value, str) and len(value) <= characters and (value == "" or value.isprintable())


def is_signature(value: Any) -> bool:
    """Whether it may stand in a text as who it is from; "" too."""
    brackets = isinstance(value, str) and any(character in "{}【】" for character in value)
    return _is_text(value, SIGNATURE_CHARACTERS) and not brackets and value == value.strip()


SIGNATURE_RULE = f"at most {SIGNATURE_CHARACTERS} characters without brackets, no blanks around"
CAP_RULE = f"{{group: {'|'.join(CAP_GROUPS)}, max: 0 to {CAP_MAX:,}, within_s: 1 to {WITHIN_S_MAX:,}}}"

# name -> (its rule in words, its test)
EDITABLE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "title": (TITLE_RULE, is_title),
    "zone": (ZONE_RULE, is_zone),
    "region": (REGION_RULE, is_region),
    "sender": (f"{SENDER_RULE}; drafts keep theirs", is_sender),
    "brand": (TITLE_RULE, is_title),
    "approval_above": _whole(0xFFFFFFFF),
    "count_change_percent": _whole(100_000),
    "leap_rule": (f"one of {', '.join(LEAP_RULES)}", lambda value: value in LEAP_RULES),
    "market_profile": (f"one of {', '.join(profile_names())}", lambda value: value in profile_names()),
    "signature": (SIGNATURE_RULE, lambda value: is_signature(value)),
    "zone_field": (
        "the name of a dictionary field with IANA zones, or empty",
        lambda value: _is_text(value, TITLE_MAX),
    ),
    "caps": (f"a list of at most {CAPS_MAX} of {CAP_RULE}", _is_caps),
    "rate": _whole(1_000_000),
    "parts_month": _whole(1 << 40),
    "prepaid": ("true or false", lambda value: isinstance(value, bool)),
    "currency": (
        "three capitals as EUR, or empty",
        lambda value: value == "" or (_is_text(value, 3) and len(value) == 3 and value.isupper() and value.isalpha()),
    ),
}


def _problem(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "code": code, "detail": detail}
