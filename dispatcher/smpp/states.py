"""Which PDU may cross in which state of a session, from which side, and what answers one that may not: one table.

Touches: nothing. Rests on: SMPP v3.4 issue 1.2, 2.2, 2.3 (table 2-1), SMPP_FACTS 7; from 5.0: OUTBOUND, replace_sm
and the rest from a transceiver too, generic_nack in any open state. Where 3.4's table lets an ESME bound to receive
send data_sm, this does not: it could not be answered by the text of 4.7.
"""

from __future__ import annotations

from enum import Enum, auto

from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    BINDS,
    ESME_RALYBND,
    ESME_RINVBNDSTS,
    ESME_RINVCMDID,
    ESME_ROK,
    RESPONSE,
    UNANSWERED,
    CommandId,
)
from dispatcher.smpp.pdu import BODIES, Header


class State(Enum):
    OPEN = auto()  # connected, nobody bound
    OUTBOUND = auto()  # the SMSC sent outbind
    BOUND_TX = auto()
    BOUND_RX = auto()
    BOUND_TRX = auto()
    UNBOUND = auto()
    CLOSED = auto()


class Side(Enum):
    ESME = auto()
    SMSC = auto()


_BOUND = frozenset((State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX))
_TX = frozenset((State.BOUND_TX, State.BOUND_TRX))
_RX = frozenset((State.BOUND_RX, State.BOUND_TRX))
_UNBOUND = frozenset((State.OPEN, State.OUTBOUND))
_OPEN = frozenset(State) - {State.CLOSED}
_NEVER: frozenset[State] = frozenset()

# request -> the states in which the ESME may send it, and those in which the SMSC may
REQUESTS: dict[int, tuple[frozenset[State], frozenset[State]]] = {
    CommandId.BIND_RECEIVER: (_UNBOUND, _NEVER),
    CommandId.BIND_TRANSMITTER: (_UNBOUND, _NEVER),
    CommandId.BIND_TRANSCEIVER: (_UNBOUND, _NEVER),
    CommandId.OUTBIND: (_NEVER, frozenset((State.OPEN,))),
    CommandId.UNBIND: (_BOUND, _BOUND),
    CommandId.ENQUIRE_LINK: (_BOUND, _BOUND),
    CommandId.SUBMIT_SM: (_TX, _NEVER),
    CommandId.SUBMIT_MULTI: (_TX, _NEVER),
    CommandId.DATA_SM: (_TX, _RX),
    CommandId.DELIVER_SM: (_NEVER, _RX),
    CommandId.QUERY_SM: (_TX, _NEVER),
    CommandId.CANCEL_SM: (_TX, _NEVER),
    CommandId.REPLACE_SM: (_TX, _NEVER),
    CommandId.ALERT_NOTIFICATION: (_NEVER, _RX),
}
_BOUND_AS = {
    CommandId.BIND_TRANSMITTER: State.BOUND_TX,
    CommandId.BIND_RECEIVER: State.BOUND_RX,
    CommandId.BIND_TRANSCEIVER: State.BOUND_TRX,
}


def may_send(state: State, side: Side, command_id: int) -> bool:
    """Whether `side` may send it now. A response may go where the other side's request may have come."""
    if command_id == CommandId.GENERIC_NACK:
        return state in _OPEN
    if command_id not in BODIES:
        return False
    answers = bool(command_id & RESPONSE)
    from_esme, from_smsc = REQUESTS[command_id & ~RESPONSE]
    states = from_esme if (side is Side.ESME) != answers else from_smsc
    if answers and state is State.UNBOUND:  # what was in flight when unbind came is still answered
        return bool(states) and command_id & ~RESPONSE not in BINDS
    return state in states


def refusal(state: State, side: Side, command_id: int) -> int:
    """The command_status that refuses a request of `side`; ESME_ROK when it may cross. ESME_RINVCMDID goes out in a
    generic_nack, the others in the request's own response. A response is never answered; one that may not is dropped.
    """
    if may_send(state, side, command_id):
        return ESME_ROK
    if command_id not in BODIES:
        return ESME_RINVCMDID
    if command_id in BINDS and side is Side.ESME and state in _BOUND:
        return ESME_RALYBND
    if not command_id & RESPONSE and not REQUESTS[command_id][0 if side is Side.ESME else 1]:
        return ESME_RINVCMDID  # never a request of that side
    return ESME_RINVBNDSTS


def refuse(state: State, side: Side, header: Header) -> bytes:
    """The octets that refuse what `side` sent; none for what may cross, for a response, for what has no response."""
    if header.command_id & RESPONSE or header.command_id in UNANSWERED:
        return b""
    status = refusal(state, side, header.command_id)
    if status == ESME_ROK:
        return b""
    if status == ESME_RINVCMDID:
        return codec.generic_nack(header.sequence_number, status)
    return codec.error_response(header.command_id, status, header.sequence_number)


def after(state: State, command_id: int, command_status: int = ESME_ROK) -> State:
    """The state once a PDU that may cross has crossed."""
    if command_id == CommandId.OUTBIND:
        return State.OUTBOUND
    if command_id == CommandId.UNBIND or command_id == RESPONSE | CommandId.UNBIND:
        return State.UNBOUND
    if command_id & RESPONSE and command_status == ESME_ROK and command_id & ~RESPONSE in BINDS:
        return _BOUND_AS[CommandId(command_id & ~RESPONSE)]
    return state
