"""The table of states: every PDU, from both sides, in every state."""

import itertools

import pytest

from dispatcher.smpp import codec
from dispatcher.smpp.consts import BINDS, ESME_RALYBND, ESME_RINVBNDSTS, ESME_RINVCMDID, RESPONSE, UNANSWERED, CommandId
from dispatcher.smpp.pdu import BODIES, COMMANDS, Header
from dispatcher.smpp.states import REQUESTS, Side, State, after, may_send, refusal, refuse

ESME, SMSC = Side
BOUND = (State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX)

# request -> who may send it in OPEN, OUTBOUND, TX, RX, TRX: e the ESME, s the SMSC, b both
TABLE = {
    "bind_transmitter": "e e - - -",
    "bind_receiver": "e e - - -",
    "bind_transceiver": "e e - - -",
    "outbind": "s - - - -",
    "unbind": "- - b b b",
    "enquire_link": "- - b b b",
    "submit_sm": "- - e - e",
    "submit_multi": "- - e - e",
    "query_sm": "- - e - e",
    "cancel_sm": "- - e - e",
    "replace_sm": "- - e - e",
    "data_sm": "- - e s b",
    "deliver_sm": "- - - s s",
    "alert_notification": "- - - s s",
}


def who(name, state, *, answers=False):
    order = (State.OPEN, State.OUTBOUND, *BOUND)
    letter = TABLE[name].split()[order.index(state)] if state in order else "-"
    found = {"e": {ESME}, "s": {SMSC}, "b": {ESME, SMSC}, "-": set()}[letter]
    return {SMSC if side is ESME else ESME for side in found} if answers else found


def test_every_request_has_a_row():
    assert {COMMANDS[name] for name in TABLE} == set(REQUESTS)
    assert set(REQUESTS) == {c for c in BODIES if not c & RESPONSE}


@pytest.mark.parametrize(("state", "side", "name"), [*itertools.product(State, Side, TABLE)])
def test_a_request_may_cross_as_the_table_says(state, side, name):
    assert may_send(state, side, COMMANDS[name]) == (side in who(name, state))


@pytest.mark.parametrize(("state", "side", "name"), [*itertools.product((State.OPEN, *BOUND), Side, TABLE)])
def test_a_response_may_go_where_its_request_may_have_come_from(state, side, name):
    if COMMANDS[name] in UNANSWERED:
        assert not may_send(state, side, RESPONSE | COMMANDS[name])
    else:
        assert may_send(state, side, RESPONSE | COMMANDS[name]) == (side in who(name, state, answers=True))


def test_what_was_in_flight_when_unbind_came_is_still_answered():
    assert may_send(State.UNBOUND, SMSC, RESPONSE | CommandId.SUBMIT_SM)
    assert may_send(State.UNBOUND, ESME, RESPONSE | CommandId.DELIVER_SM)
    assert may_send(State.UNBOUND, ESME, RESPONSE | CommandId.UNBIND)
    assert not may_send(State.UNBOUND, ESME, CommandId.SUBMIT_SM)
    assert not may_send(State.UNBOUND, SMSC, RESPONSE | CommandId.BIND_TRANSCEIVER)


@pytest.mark.parametrize(("state", "side"), [*itertools.product(State, Side)])
def test_generic_nack_may_cross_while_anything_may(state, side):
    assert may_send(state, side, CommandId.GENERIC_NACK) == (state is not State.CLOSED)


@pytest.mark.parametrize(
    ("state", "side", "command_id"), [*itertools.product(State, Side, [*BODIES, 0x999, 0x80000999])]
)
def test_a_refusal_is_octets_that_its_sender_can_match(state, side, command_id):
    octets = refuse(state, side, Header(16, command_id, 0, 41))
    if may_send(state, side, command_id) or command_id & RESPONSE or command_id in UNANSWERED:
        assert octets == b""
        return
    answer = codec.decode_header(octets)
    nacked = refusal(state, side, command_id) == ESME_RINVCMDID
    assert answer.command_id == (CommandId.GENERIC_NACK if nacked else RESPONSE | command_id)
    assert answer.command_status == refusal(state, side, command_id) and answer.sequence_number == 41


def test_refusals_name_the_reason():
    assert refusal(State.OPEN, ESME, CommandId.SUBMIT_SM) == ESME_RINVBNDSTS
    assert refusal(State.BOUND_RX, ESME, CommandId.SUBMIT_SM) == ESME_RINVBNDSTS
    assert all(refusal(state, ESME, bind) == ESME_RALYBND for state in BOUND for bind in BINDS)
    assert refusal(State.BOUND_TRX, SMSC, CommandId.SUBMIT_SM) == ESME_RINVCMDID
    assert refusal(State.BOUND_TRX, SMSC, 0x999) == ESME_RINVCMDID


def test_a_session_goes_from_open_to_unbound():
    for command_id, state in zip(
        (CommandId.BIND_TRANSMITTER, CommandId.BIND_RECEIVER, CommandId.BIND_TRANSCEIVER), BOUND, strict=True
    ):
        assert after(State.OPEN, command_id) is State.OPEN
        assert after(State.OPEN, RESPONSE | command_id, 0x0E) is State.OPEN
        assert after(State.OPEN, RESPONSE | command_id) is state
        assert after(state, CommandId.UNBIND) is State.UNBOUND
    assert after(State.OPEN, CommandId.OUTBIND) is State.OUTBOUND
    assert after(State.BOUND_TRX, CommandId.SUBMIT_SM) is State.BOUND_TRX
