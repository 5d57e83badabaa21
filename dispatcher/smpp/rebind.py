"""When a bind that ended is tried again, and which alarm its end is. Plain values; the clock is handed in.

Touches: nothing. Rests on: SMPP_FACTS 3 (answers to a bind) and 7 (back-off 1 s to 60 s with jitter, the whole pool
never in one instant); PITFALLS D6, F1, F9: a wrong password waits five minutes, for retries lock accounts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from config import Endpoint
from dispatcher.errors import BindLost, BindRefused, CannotConnect, PeerBrokeProtocol
from dispatcher.smpp.consts import BIND_STOPS, ESME_RALYBND, status_name

LIVED_S = 60.0  # a bind that lived this long rebinds from the shortest delay again
LOCKOUT_S = 300.0
ALREADY_BOUND_S = 5.0  # the session before is still held: its inactivity time is the SMSC's own, asking often is no use
SHOWN_AFTER = 3  # failures in a row before a lost connection is an alarm

REMEDIES = {
    "credentials": "check system_id, password and system_type with the carrier, then `volley smpp connect`",
    "already_bound": "a session of before is still held there, or more binds are configured than the contract allows",
    "refused": "ask the carrier; it is tried again",
    "name": "check `host`: the name cannot be resolved",
    "closed": "ask the carrier: is this address allowed, does the port want TLS (`tls`), or our `tls_cert`?",
    "file": "give the dispatcher PEM files that it may read, a certificate and its own key",
    "connect": "check `host`, `port`, the route and the firewall; is this address allowed at the carrier?",
    "certificate": "check `tls_ca`, `tls_server_name`, `tls_pin` and the carrier's certificate; nothing was sent",
    "tls": "check that the port speaks TLS, and `tls_cert` and `tls_key`",
    "protocol": "check the port: what answers there does not speak SMPP",
    "lost": "the connection breaks again and again; ask the carrier why",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person has to know, with what to do about it."""

    code: str
    text: str
    remedy: str


class Backoff:
    """Of one bind."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._delay_s = 0.0

    def lived(self, seconds: float) -> None:
        """How long it was bound before it ended."""
        if seconds >= LIVED_S:
            self.failures, self._delay_s = 0, 0.0

    def wait_s(self, endpoint: Endpoint, end: Exception | None) -> float:
        """Until the next try, after this end."""
        self.failures += 1
        if isinstance(end, BindRefused):
            if end.command_status in BIND_STOPS:
                return LOCKOUT_S
            if end.command_status == ESME_RALYBND:
                longest = min(ALREADY_BOUND_S, endpoint.reconnect_max_s)
                return random.uniform(longest / 2, longest)
        self._delay_s = min(max(self._delay_s * 2, endpoint.reconnect_min_s), endpoint.reconnect_max_s)
        return random.uniform(self._delay_s / 2, self._delay_s)


def locks(end: Exception | None) -> bool:
    """Whether no other bind of the endpoint may try either: the account is what was refused."""
    return isinstance(end, BindRefused) and end.command_status in BIND_STOPS


def told(end: Exception) -> str:
    """How a bind ended, for a person."""
    if isinstance(end, BindRefused):
        return f"the bind was refused with {status_name(end.command_status)} (0x{end.command_status:08X})"
    return str(end)


def alarm_of(end: Exception, failures: int) -> Alarm | None:
    """What a person must know of it; None while it may pass by itself."""
    if isinstance(end, BindRefused):
        if end.command_status in BIND_STOPS:
            code = "credentials"
        else:
            code = "already_bound" if end.command_status == ESME_RALYBND else "refused"
            if failures < SHOWN_AFTER:
                return None
    elif isinstance(end, CannotConnect):
        code = end.code
        if code == "closed" and failures < SHOWN_AFTER:
            return None
    elif isinstance(end, PeerBrokeProtocol):
        code = "protocol"
    elif isinstance(end, BindLost) and failures >= SHOWN_AFTER:
        code = "lost"
    else:
        return None
    return Alarm(code, told(end), REMEDIES[code])
