"""What a campaign or a single message asks of its submit_sm beside its text: class, priority, receipts, times.

Touches: nothing. Rests on: TS 23.038 4 (classes), TS 23.040 9.2.3.9 (protocol_id 0x41 to 0x47: replace type), SMPP 3.4
5.2.14 (priority), 5.2.17 (registered_delivery), 7.1.1 (absolute times). What is as usual is not kept.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dispatcher.errors import CommandRefused

REGISTERED = {"none": 0, "all": 1, "failure": 2}
AHEAD_MS_MAX = 63 * 86_400_000  # of valid_until and deliver_at; SMSCs keep no message longer (TS 23.040 9.2.3.12.1)
_REPLACE_TYPE = 0x40


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Read from a row by `of`."""

    message_class: int | None = None  # 0 is flash
    replace_type: int = 0  # 1 to 7: the phone puts it in place of the last one of that type from the sender; 0: no
    priority: int = 0
    registered: str = ""  # none, all, failure; "": as the campaign's `receipts` says
    transliterate: bool = False
    valid_until_ms: int = 0  # 0: the relative validity_s
    deliver_at_ms: int = 0  # when the SMSC delivers it; 0: at once

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> Options:
        """Of what `checked` gave."""
        kept = kept or {}
        return cls(
            message_class=kept.get("class"),
            replace_type=kept.get("replace_type", 0),
            priority=kept.get("priority", 0),
            registered=kept.get("registered_delivery", ""),
            transliterate=kept.get("transliterate", False),
            valid_until_ms=_epoch_ms(kept.get("valid_until")),
            deliver_at_ms=_epoch_ms(kept.get("deliver_at")),
        )

    def receipts(self, usual: bool) -> bool:
        """Whether any receipt is asked for."""
        return REGISTERED[self.registered] > 0 if self.registered else usual

    def fields(self, receipts: bool) -> dict[str, Any]:
        """Arguments of smpp.pump.submit_mid; `receipts` as the campaign says."""
        return {
            "protocol_id": _REPLACE_TYPE | self.replace_type if self.replace_type else 0,
            "priority": self.priority,
            "registered": REGISTERED[self.registered] if self.registered else int(receipts),
            "valid_until": smpp_time(self.valid_until_ms) if self.valid_until_ms else "",
            "deliver_at": smpp_time(self.deliver_at_ms) if self.deliver_at_ms else "",
        }


PLAIN = Options()


def checked(given: Any, now_ms: int, pointer: str = "/options") -> dict[str, Any]:
    """What was asked for as it is kept, times in UTC. Raises CommandRefused 422 invalid_option naming every key, the
    rule and, for one that does not exist, the nearest that does."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _refused([(pointer, "options: a table of names and values", None)])
    kept: dict[str, Any] = {}
    wrong: list[tuple[str, str, str | None]] = []
    for name, value in given.items():
        if name not in RULES:
            near = next(iter(difflib.get_close_matches(str(name), RULES, 1, 0.5)), None)
            wrong.append((f"{pointer}/{name}", f"no such option: one of {', '.join(RULES)}", near))
            continue
        rule, holds, usual = RULES[name]
        if value is None or (value == usual and isinstance(value, type(usual))):
            continue
        if not holds(value):
            wrong.append((f"{pointer}/{name}", f"{name} {value!r}: {rule}", None))
        else:
            kept[name] = value
    if kept.pop("flash", False):
        if kept.get("class", 0):
            wrong.append((f"{pointer}/flash", f"flash is class 0, and class {kept['class']} is asked for", None))
        kept["class"] = 0
    for name in ("valid_until", "deliver_at"):
        if name in kept:
            at_ms = _epoch_ms(kept[name])
            if not now_ms < at_ms <= now_ms + AHEAD_MS_MAX:
                wrong.append((f"{pointer}/{name}", f"{name} {kept[name]}: between now and 63 days from now", None))
            kept[name] = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if {"valid_until", "deliver_at"} <= kept.keys() and kept["valid_until"] <= kept["deliver_at"]:
        wrong.append((f"{pointer}/valid_until", "valid_until: after deliver_at", None))
    if wrong:
        raise _refused(wrong)
    return kept


def smpp_time(epoch_ms: int) -> str:
    """YYMMDDhhmmsstnnp, in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%y%m%d%H%M%S") + "000+"


def _epoch_ms(text: str | None) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


def _is_time(value: Any) -> bool:
    """RFC 3339 with an offset: a time without one means something else everywhere."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None and "T" in value
    except ValueError:
        return False


def _is_whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


# name -> (rule in words, its test, what is as usual)
RULES: dict[str, tuple[str, Callable[[Any], bool], Any]] = {
    "class": ("0 (flash) to 3", _is_whole(0, 3), None),
    "flash": ("true or false", _is_bool, False),
    "replace_type": ("1 to 7, 0 for none", _is_whole(0, 7), 0),
    "priority": ("0 to 3", _is_whole(0, 3), 0),
    "registered_delivery": ("none, all or failure", lambda value: isinstance(value, str) and value in REGISTERED, ""),
    "transliterate": ("true or false", _is_bool, False),
    "valid_until": ("a time as 2026-12-01T09:00:00Z", _is_time, ""),
    "deliver_at": ("a time as 2026-12-01T09:00:00Z", _is_time, ""),
}


def _refused(wrong: list[tuple[str, str, str | None]]) -> CommandRefused:
    errors = [{"pointer": pointer, "code": "invalid_option", "detail": detail} for pointer, detail, _ in wrong]
    near = next((near for *_, near in wrong if near), None)
    said = "; ".join(detail for _, detail, _ in wrong) + (f"; did you mean {near!r}?" if near else "")
    return CommandRefused(422, "invalid_option", said, errors=errors, extra={"did_you_mean": near})
