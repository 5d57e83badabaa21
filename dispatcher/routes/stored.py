"""Routes as the operator keeps them: rows of the store, before those of the file with the same name.

Touches: table `routes`. One truth: `routes_in_force`. A stored row takes the whole place of the file's route of its
name; deleting it brings that back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from config import Route, SettingError
from config.rules import nearest
from dispatcher.control.commands import DeleteRoute, Envelope, PutRoute, TurnPorted, UndoPorted
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.routes.ported import turn, turn_back
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.values import pack, unpack

FILE, STORE = "file", "store"
ROUTES_MAX = 10_000
KEYS = {item.name: item for item in fields(Route)}
# of a field's type as it is written: the rule in words, its test, what is kept
TYPES: dict[str, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    "str": ("text", lambda v: isinstance(v, str), str),
    "bool": ("true or false", lambda v: isinstance(v, bool), bool),
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool), int),
    "float": ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == v, float),
    "tuple[str, ...]": (
        "a list of texts",
        lambda v: isinstance(v, list | tuple) and all(isinstance(each, str) for each in v),
        tuple,
    ),
}


@dataclass(frozen=True, slots=True)
class InForce:
    """A route and where it is written."""

    route: Route
    source: str


def routes_in_force(view: View, of_file: Iterable[Route]) -> list[InForce]:
    """By name. A stored row that no longer keeps the rules is left out: the file's stands again."""
    found = {route.name: InForce(route, FILE) for route in of_file}
    for key, octets in view.range("routes"):
        try:
            found[key.decode()] = InForce(_route(unpack(octets)), STORE)
        except SettingError:
            continue
    return [found[name] for name in sorted(found)]


def get_route(view: View, name: str) -> Route | None:
    """A stored one."""
    row = view.get("routes", name.encode())
    return None if row is None else _route(unpack(row))


def as_dict(route: Route) -> dict[str, Any]:
    return {name: list(value) if isinstance(value := getattr(route, name), tuple) else value for name in KEYS}


def put_route(view: View, command: PutRoute, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Make or change one. Raises CommandRefused 403, 422 naming field, value, rule and the nearest name."""
    _operator(envelope)
    old = get_route(view, command.title)
    if command.new and old is not None:
        raise CommandRefused(409, "exists", f"there is a route {command.title!r}: change it instead")
    values = (as_dict(old) if old is not None else {}) | dict(command.values)
    values["name"] = command.title
    for name in values:
        if name not in KEYS:
            raise _wrong(name, f"{name}: no such field of a route", nearest(name, KEYS))
    for name, item in KEYS.items():
        if item.default is MISSING and name not in values:
            raise _wrong(name, f"{name}: is missing and has no default", None)
    try:
        route = _route(values)
        known = set(endpoint_numbers(view))
        for name in sorted(route.named - known) if known else ():  # before the first start nobody has a number
            key = "failover" if name in route.failover else "endpoints"
            rule = "the name of an endpoint: " + (", ".join(sorted(known)) or "there is none")
            raise SettingError(key, name, rule, nearest=nearest(name, known))
    except SettingError as exc:
        raise _wrong(exc.key, f"{exc.key} = {exc.value!r}: {exc.rule}", exc.nearest) from None
    if old is None and view.count("routes") >= ROUTES_MAX:
        raise CommandRefused(409, "too_many", f"there are {ROUTES_MAX:,} routes, the most one store holds")
    changes = Changes()
    changes.put("routes", route.name.encode(), pack(as_dict(route)))
    return changes, {"route": as_dict(route), "source": STORE}


def delete_route(view: View, command: DeleteRoute, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Forget a stored one. Raises CommandRefused 403, 404."""
    _operator(envelope)
    if view.get("routes", command.title.encode()) is None:
        names = [key.decode() for key, _ in view.range("routes")]
        near = nearest(command.title, names)
        hint = f"; did you mean {near!r}?" if near else ""
        detail = (
            f"no stored route {command.title!r} (one of the file is switched off by storing it with enabled = false)"
        )
        raise CommandRefused(404, "not_found", detail + hint)
    changes = Changes()
    changes.delete("routes", command.title.encode())
    return changes, {"deleted": command.title}


def turn_ported(view: View, command: TurnPorted, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The generation that was written last becomes the table. Raises CommandRefused 403."""
    _operator(envelope)
    told = {"lines": command.lines, "rejected": command.rejected}
    changes = turn(
        view, command.count, command.networks, command.file, envelope.at_ms, **told, wrong=command.wrong
    )  # fmt: skip
    return changes, {"count": command.count, "networks": len(command.networks), "file": command.file, **told}


def undo_ported(view: View, command: UndoPorted, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The table before the last load is in use again. Raises CommandRefused 403, 409."""
    _operator(envelope)
    changes, now = turn_back(view)
    return changes, now.as_json()


def _route(values: dict[str, Any]) -> Route:
    typed = {}
    for name, value in values.items():
        if name not in KEYS:
            continue
        word, holds, made = TYPES[str(KEYS[name].type)]
        if not holds(value):
            raise SettingError(name, value, f"must be {word}")
        typed[name] = made(value)
    return Route(**typed)


def _wrong(field: str, detail: str, near: str | None) -> CommandRefused:
    problem = {"pointer": f"/{field}", "code": "invalid_value", "detail": detail}
    if near:
        problem["did_you_mean"] = near
    return CommandRefused(
        422, "invalid_route", detail + (f"; did you mean {near!r}?" if near else ""), errors=[problem]
    )


def _operator(envelope: Envelope) -> None:
    if envelope.tenant:
        raise CommandRefused(403, "operator_only", "routes are the operator's")
