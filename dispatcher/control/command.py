"""Every command as a frozen record. Safe to repeat: `request_key` names the wish, not the try.

Travels as msgpack {"command", "schema", envelope fields, "body": {...}} (frames.py); later over a
replicated log (DESIGN 10), so nothing here knows a machine, a socket or a loop.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, dataclass_transform

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who wants it, why, when, for which tenant (0: the operator's own)."""

    tenant: int
    actor: str  # key id or "cli"
    at_ms: int
    reason: str = ""
    request_key: str = ""  # "" = not asked to be repeat-safe
    fingerprint: str = ""  # of the request's body, so that a reused key with another body is refused
    version: int | None = None  # of the object as the actor saw it: refused (412) when it is at another by now
    schema: int = SCHEMA


class Command:
    """Base of the records below; `name` is the wire's word."""

    __slots__ = ()
    name: ClassVar[str]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def command(name: str) -> Any:
    """Make a class a frozen record that travels under this name."""

    def wrap(cls: type[Any]) -> Any:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.name = name
        COMMANDS[name] = made
        return made

    return wrap


COMMANDS: dict[str, type[Any]] = {}


def to_wire(command: Any, envelope: Envelope) -> dict[str, Any]:
    return {"command": command.name, **asdict(envelope), "body": asdict(command)}


def from_wire(message: dict[str, Any]) -> tuple[Any, Envelope]:
    """The command and its envelope. Raises KeyError or TypeError on one that this version does not know."""
    cls = COMMANDS[message["command"]]
    names = Envelope.__dataclass_fields__
    return cls(**message["body"]), Envelope(**{k: v for k, v in message.items() if k in names})
