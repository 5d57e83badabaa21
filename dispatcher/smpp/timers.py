"""When a bind that looks alive is not, and when to ask: enquire_link, partial PDU, stuck write, mute peer, inactivity.

Touches: nothing. Rests on: SMPP_FACTS 7; every instant is of the monotonic clock and handed in.
"""

from __future__ import annotations

from typing import Protocol

from config import Endpoint
from dispatcher.errors import BindLost

ENQUIRE_ANSWER_S = 10.0  # SMPP_FACTS 7
PARTIAL_S = 10.0
STUCK_S = 30.0  # octets of ours that the peer's TCP takes none of
MUTE_LEAST = 10


class Link(Protocol):
    """Of a Pump."""

    blocked: bool
    window: int
    last_received_ns: int
    partial_since_ns: int
    timeouts_in_row: int
    octets_out: int
    submits: int
    delivers: int


class Timers:
    """Of one connection. look() says True when an enquire_link is due and raises BindLost when it is over."""

    def __init__(self, endpoint: Endpoint, now_ns: int) -> None:
        self.endpoint = endpoint
        self._asked_ns = 0
        self._moved_ns = self._carried_ns = now_ns
        self._octets_out = self._messages = 0

    @property
    def step_s(self) -> float:
        """How often to look."""
        return min(1.0, self.endpoint.response_timeout_s / 4, self.endpoint.enquire_link_s / 4)

    def look(self, link: Link, now_ns: int) -> bool:
        endpoint = self.endpoint
        if link.timeouts_in_row >= max(MUTE_LEAST, link.window):
            seconds = f"{endpoint.response_timeout_s:g} s"
            raise BindLost(f"{link.timeouts_in_row} submit_sm in a row unanswered for {seconds}")
        if link.partial_since_ns and now_ns - link.partial_since_ns > PARTIAL_S * 1e9:
            raise BindLost(f"a PDU that began {PARTIAL_S:g} s ago is not whole yet")
        if not link.blocked or link.octets_out != self._octets_out:
            self._moved_ns, self._octets_out = now_ns, link.octets_out
        elif now_ns - self._moved_ns > STUCK_S * 1e9:
            raise BindLost(f"the SMSC takes no octets for {STUCK_S:g} s")
        if (messages := link.submits + link.delivers) != self._messages:
            self._carried_ns, self._messages = now_ns, messages
        elif endpoint.inactivity_s and now_ns - self._carried_ns > endpoint.inactivity_s * 1e9:
            raise BindLost(f"no message either way for {endpoint.inactivity_s:g} s (inactivity_s)")
        if self._asked_ns > link.last_received_ns:
            if now_ns - self._asked_ns > ENQUIRE_ANSWER_S * 1e9:
                raise BindLost(f"enquire_link unanswered for {ENQUIRE_ANSWER_S:g} s")
        elif now_ns - link.last_received_ns >= endpoint.enquire_link_s * 1e9:
            self._asked_ns = now_ns
            return True
        return False
