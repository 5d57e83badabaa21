"""Commands about binds and endpoints: found before anything is written, audited by their commit, done when that is on
disk; traces.

Touches: the pools of the channels it is given. Nothing of it is kept over a restart.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dispatcher.control.commands import Envelope, TraceBind
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.smpp.bind import Bind
from dispatcher.smpp.pool import Pool
from dispatcher.smpp.trace import TooManyLook

HANDS: dict[str, Callable[[Pool, Bind], None]] = {
    "bind.connect": Pool.connect,
    "bind.pause": Pool.pause,
    "bind.drain": Pool.drain_bind,
    "bind.disconnect": Pool.disconnect,
    "bind.reconnect": Pool.rebind,
}
REVEALED_S = 600.0
NUMBER_DIGITS_MAX = 20


def note_command(view: View, command: Any, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """No rows of its own: the audit's line says who, what and why."""
    if not envelope.reason.strip():
        raise CommandRefused(
            400, "reason_missing", f"{command.name} needs a reason",
            errors=[{"pointer": "/reason", "code": "required", "detail": "say why, for the audit"}],
        )  # fmt: skip
    if envelope.tenant:
        raise CommandRefused(403, "operator_only", "binds and endpoints are the operator's")
    name = getattr(command, "bind", "") or getattr(command, "endpoint", "")
    return Changes(), {"id": name or "endpoints"}


class Binds:
    """Every bind of the process."""

    def __init__(self) -> None:
        self._revealed: dict[tuple[str, str], float] = {}  # (actor, bind) -> until when, monotonic

    def find(self, pools: Iterable[Pool], name: str) -> list[tuple[Pool, Bind]]:
        """The bind, or all of an endpoint. Raises CommandRefused 404."""
        pools = list(pools)
        found = [(pool, bind) for pool in pools for bind in pool.find(name)]
        if not found:
            known = [bind.name for pool in pools for bind in pool.binds] + [pool.endpoint.name for pool in pools]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            raise CommandRefused(
                404, "not_found", f"no bind {name!r}: an endpoint's name, or one of its binds, such as main.0",
                extra={"did_you_mean": near[0]} if near else None,
            )  # fmt: skip
        return found

    def done(self, found: Sequence[tuple[Pool, Bind]], command: Any, envelope: Envelope) -> dict[str, Any]:
        """What was wanted, now that it is on disk."""
        for pool, bind in found:
            if command.name == "bind.reveal":
                self._revealed[envelope.actor, bind.name] = time.monotonic() + REVEALED_S
            else:
                HANDS[command.name](pool, bind)
        return {"id": command.bind, "binds": [bind.name for _, bind in found]}

    def trace(self, found: Sequence[tuple[Pool, Bind]], command: TraceBind, envelope: Envelope) -> dict[str, Any]:
        """What crossed one bind since the last look of whoever asks. Raises CommandRefused."""
        if len(found) > 1:
            names = ", ".join(bind.name for _, bind in found)
            raise CommandRefused(400, "invalid", f"a trace is of one bind: {names}")
        number = command.number.lstrip("+")
        if number and (len(number) > NUMBER_DIGITS_MAX or not number.isascii() or not number.isdigit()):
            wrong = {"pointer": "/number", "code": "invalid", "detail": "at most 20 digits, + allowed before them"}
            raise CommandRefused(400, "invalid", f"number: {wrong['detail']}", errors=[wrong])
        ((_, bind),) = found
        if command.reveal and self._revealed.get((envelope.actor, bind.name), 0.0) < time.monotonic():
            raise CommandRefused(403, "reveal_first", "ask for bind.reveal with a reason first; it holds ten minutes")
        try:
            crossed, lost_octets = bind.look(f"{envelope.actor} {command.looker}", number, reveal=command.reveal)
        except TooManyLook as exc:
            detail = f"{exc} look at {bind.name} already: wait for one to end"
            raise CommandRefused(409, "too_many_look", detail) from exc
        ahead_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000
        return {
            "bind": bind.name,
            "state": bind.state,
            "lost_octets": lost_octets,
            "pdus": [
                {"at_us": each.at_ns // 1_000 + ahead_us, "sent": each.sent, "octets": each.octets} for each in crossed
            ],
        }
