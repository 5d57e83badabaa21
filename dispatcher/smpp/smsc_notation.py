"""The simulator's options as a person writes them, on a command line or in a scenario, to SmscOptions' values.

Touches: texts. Every wrong value is a ValueError that names it and shows a right one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dispatcher.smpp.consts import ESME_RBINDFAIL
from dispatcher.smpp.smsc_options import AccountOptions, Delay, SmscOptions

FIELDS = {field.name: field for field in dataclasses.fields(SmscOptions)}
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def options_of(written: Mapping[str, Any]) -> dict[str, Any]:
    """SmscOptions' fields from options by name (with - or _); what is None is left out. Raises ValueError."""
    fields: dict[str, Any] = {}
    for name, value in written.items():
        field = name.replace("-", "_")
        if value is None:
            continue
        if field == "refuse_binds":
            fields["refuse_binds"], fields["refuse_status"] = refuse_of(value)
        elif field in FIELDS:
            fields[field] = _value(field, value)
        else:
            raise ValueError(f"{name}: no such option; there are {', '.join(sorted(FIELDS))}")
    return fields


def delay_of(value: str | int) -> int | Delay:
    kind, _, rest = str(value).partition(":")
    try:
        if not rest:
            return int(kind)
        numbers = [float(number) for number in rest.split(":")]
        if kind not in ("uniform", "lognormal", "exponential") or len(numbers) != (1 if kind == "exponential" else 2):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"delay {value!r}: MS, uniform:LEAST:MOST, lognormal:MEDIAN:SIGMA or exponential:MEAN, in ms"
        ) from None
    return Delay(kind, *numbers)  # type: ignore[arg-type]


def states_of(value: str) -> tuple[tuple[str, int, str], ...]:
    states = []
    for item in value.split(","):
        word, weight, error = (*item.strip().split(":"), "", "")[:3]
        if not weight.isdecimal():
            raise ValueError(f"states {item!r}: WORD:WEIGHT or WORD:WEIGHT:ERR, such as DELIVRD:97")
        states.append((word.upper(), int(weight), error or ("000" if word.upper() == "DELIVRD" else "001")))
    return tuple(states)


def refuse_of(value: str | int) -> tuple[int, int]:
    """How many binds are refused (-1: all), and with what."""
    text = str(value)
    head, colon, status = text.partition(":")
    try:
        if colon:
            return -1 if head == "all" else int(head), int(status, 0)
        number = int(text, 0)
    except ValueError:
        raise ValueError(f"refuse_binds {value!r}: N, 0xSTATUS, N:0xSTATUS or all:0xSTATUS") from None
    return (-1, number) if text.lower().startswith("0x") else (number, ESME_RBINDFAIL)


def account_of(value: str | Mapping[str, Any]) -> AccountOptions:
    """SYSTEM_ID[:PASSWORD][:binds=N][:tps=N][:bind_tps=N], or a table with these keys."""
    if isinstance(value, str):
        system_id, *rest = value.split(":")
        plain = [part for part in rest if "=" not in part]
        value = dict(part.split("=", 1) for part in rest if "=" in part)
        if plain:
            value |= {"password": ":".join(plain)}
        value |= {"system_id": system_id}
    known = {"system_id", "password", "binds", "tps", "bind_tps"}
    if value.keys() - known or "system_id" not in value:
        raise ValueError(f"account {dict(value)!r}: system_id, and of {', '.join(sorted(known))} what is wanted")
    try:
        numbers = {name: int(value[name]) for name in ("binds", "tps", "bind_tps") if name in value}
    except ValueError:
        raise ValueError(f"account {value['system_id']}: binds, tps and bind_tps are whole numbers") from None
    return AccountOptions(system_id=str(value["system_id"]), password=value.get("password"), **numbers)


def _pair(name: str, value: str, head_of: Callable[[str], Any], example: str) -> tuple[Any, int]:
    head, _, tail = value.rpartition(":")
    try:
        return head_of(head), int(tail, 0)
    except ValueError:
        raise ValueError(f"{name} {value!r}: such as {example}") from None


def _share(text: str) -> float:
    return float(text.removesuffix("%"))


_PAIRS: dict[str, tuple[Callable[[str], Any], str]] = {
    "status_every": (int, "1000:0x58, every 1000th"),
    "status_number": (str, "4915*7:0x0B, destinations that fit"),
    "status_of_numbers": (_share, "5%:0x14, a share of the destinations"),
    "status_share": (_share, "2.5%:0x08, a share of the submit_sm"),
}


def _value(name: str, value: Any) -> Any:
    if name in _PAIRS:
        head_of, example = _PAIRS[name]
        return tuple(_pair(name, str(item), head_of, example) for item in _each(value))
    if name in ("delay_ms", "receipt_delay_ms"):
        return delay_of(value)
    if name == "states":
        return states_of(value) if isinstance(value, str) else value
    if name == "queue":
        return _pair(name, str(value), int, "1000:500, room and messages a second") if value else (0, 0)
    if name == "congestion":
        return _congestion(value)
    if name == "accounts":
        return tuple(account_of(item) for item in _each(value))
    if name in ("garbage", "mo_texts"):
        return tuple(str(item) for item in _each(value)) or FIELDS[name].default
    return _plain(name, value)


def _each(value: Any) -> Iterable[Any]:
    return (value,) if isinstance(value, str | Mapping) else value


def _congestion(value: Any) -> int | str | None:
    if value in ("auto", "none", ""):
        return "auto" if value == "auto" else None
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"congestion {value!r}: 0 to 100, auto or none") from None


def _plain(name: str, value: Any) -> Any:
    """By the type of the field's default."""
    default = FIELDS[name].default
    if name in ("log", "mo", "tls_cert", "tls_key", "tls_client_ca"):
        return Path(value)
    if isinstance(default, bool):
        if str(value).lower() not in (*TRUE, *FALSE):
            raise ValueError(f"{name} {value!r}: true or false")
        return str(value).lower() in TRUE
    if isinstance(default, int | float):
        try:
            return type(default)(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} {value!r}: a number") from None
    return value
