"""When what came back goes again: one table of actions, for campaigns and answers alike. Plain functions.

Rests on: SMPP_FACTS 3. Throttled: the account is too fast, after retry_s. Later: a queue is full or a service is away,
and the wait grows with the time that it has been so, to LATER_MAX_S; bounded by validity, not by a count. Bounded and
close: after retry_s, tries_max times (the pump counts). A restart begins a message's time anew.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.smpp.consts import STATUSES, Action
from dispatcher.smpp.pump import ACTIONS, Kind, action_of, actions_with

SECOND_NS = 1_000_000_000
LATER_MAX_S = 300  # SMPP_FACTS 9: 1 s to 5 min, with jitter
JITTER = 0.25
FREE = (Action.THROTTLED, Action.LATER)  # no attempt is used up


@dataclass(frozen=True, slots=True)
class Try:
    """The next one."""

    due_ns: int
    tries: int
    since_s: int  # monotonic: when it was refused for now for the first time


def next_try(
    kind: int, status: int, tries: int, since_s: int, now_ns: int, *, retry_ns: int, validity_s: int,
    actions: bytes = ACTIONS,
) -> Try | None:  # fmt: skip
    """For a part that the pump gave back, retried or released; None when it was refused for longer than it is valid."""
    if kind == Kind.RELEASED:
        return Try(now_ns, tries, since_s)
    now_s = max(1, now_ns // SECOND_NS)
    waited_s = now_s - since_s if since_s else 0
    if waited_s >= validity_s:
        return None
    action = action_of(status, actions)
    wait_ns = retry_ns
    if action is Action.LATER:
        wait_ns = max(retry_ns, min(waited_s, LATER_MAX_S) * SECOND_NS)
        wait_ns += int(wait_ns * JITTER * random.random())
    return Try(now_ns + wait_ns, tries if action in FREE else tries + 1, since_s or now_s)


def table(
    *, retry_s: float, tries_max: int, endpoints: Mapping[str, Mapping[str, str]] | None = None
) -> list[dict[str, Any]]:
    """What each command_status means for a message, for people: how often it goes again, how far apart, until when.

    endpoints: `statuses` of each by its name; a row with an endpoint says what holds there instead of the row above it.
    `attempts` None: not counted, the validity ends it. Each status that no table lists is as the last row says.
    """
    own: dict[int, list[tuple[str, Action]]] = {}
    for name, statuses in (endpoints or {}).items():
        for number in (int(written, 0) for written in statuses):
            own.setdefault(number, []).append((name, action_of(number, actions_with(statuses))))
    rows = []
    for status in sorted({*STATUSES, *own} - {0}):
        told = {"command_status": f"0x{status:08X}", "name": STATUSES[status][0] if status in STATUSES else ""}
        rows.append({**told, "endpoint": None, **_rule(action_of(status), retry_s, tries_max)})
        for endpoint, action in own.get(status, ()):
            rows.append({**told, "endpoint": endpoint, **_rule(action, retry_s, tries_max)})
    other = {"command_status": "other", "name": "", "endpoint": None}
    return [*rows, {**other, **_rule(Action.BOUNDED, retry_s, tries_max)}]


def _rule(action: Action, retry_s: float, tries_max: int) -> dict[str, Any]:
    told: dict[str, Any] = {"action": action.name.lower()}
    if action in (Action.FAIL, Action.HOLD):
        return told | {"attempts": 1, "spacing_s": None, "until": "at once"}
    if action is Action.LATER:
        return told | {"attempts": None, "spacing_s": [retry_s, LATER_MAX_S * (1 + JITTER)], "until": "validity"}
    attempts = None if action in FREE else tries_max
    return told | {"attempts": attempts, "spacing_s": [retry_s, retry_s], "until": "validity"}
