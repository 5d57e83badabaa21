"""Whose fault it is and what ends: the exceptions of every room.

Touches: nothing. Handlers read fields, never text. Expected answers (a refused submit_sm, a bad
row) are values and live in records; an exception here ends a request, a bind or the process.
"""

from __future__ import annotations

from typing import Any


class DispatcherError(Exception):
    """Root of ours."""


class CommandRefused(DispatcherError):
    """A command or request that may not be done; becomes an RFC 9457 problem, unchanged.

    `status` is the HTTP status, `code` one of PRODUCT D's codes, `errors` a list of
    {"pointer", "code", "detail"}, `extra` further members of the problem (position, expected, ...).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.extra = extra or {}


class StoreError(DispatcherError):
    """The store cannot be used as asked."""


class StoreLocked(StoreError):
    """Another dispatcher holds the writer's lock of this data folder."""


class NewerSchema(StoreError):
    """The store was written by a later version than this one."""


class StoreFull(StoreError):
    """The disk or store_max has no room for new work; what was accepted is kept."""


class WrongState(DispatcherError):
    """Ours, a bug: a call that the object's state forbids."""


class PeerBrokeProtocol(DispatcherError):
    """Theirs, final for the connection: framing or a rule of SMPP was broken."""


class BindLost(DispatcherError):
    """The connection ended without our asking."""


class CannotConnect(BindLost):
    """No connection to bind over; `code` says what is in the way: name, connect, closed, file, certificate or tls."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class BindRefused(DispatcherError):
    """The SMSC answered a bind with an error; `command_status` says which."""

    def __init__(self, command_status: int) -> None:
        super().__init__(f"bind refused with command_status 0x{command_status:08X}")
        self.command_status = command_status
