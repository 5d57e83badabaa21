"""SMPP's numbers, one table each: command_id, command_status, TON, NPI, TLV tags, message_state, esm_class.

Touches: nothing. Rests on: SMPP v3.4 issue 1.2, sections 5.1.2, 5.1.3, 5.2 and 5.3, and the classes of
SMPP_FACTS 3. Values off the wire stay plain ints: a peer may send any of them.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto

RESPONSE = 0x80000000  # bit 31 of command_id: this PDU answers one
HEADER_OCTETS = 16
COMMAND_LENGTH_MAX = 65 * 1024  # message_payload's 64 KiB and 1 KiB for the rest; above it framing is lost
SEQUENCE_MAX = 0x7FFFFFFF  # 5.1.4; then 1 again


class CommandId(IntEnum):
    """5.1.2.1; an answer's is `RESPONSE |` its request's."""

    GENERIC_NACK = 0x80000000
    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    REPLACE_SM = 0x07
    CANCEL_SM = 0x08
    BIND_TRANSCEIVER = 0x09
    OUTBIND = 0x0B
    ENQUIRE_LINK = 0x15
    SUBMIT_MULTI = 0x21
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103


BINDS = {CommandId.BIND_RECEIVER: "rx", CommandId.BIND_TRANSMITTER: "tx", CommandId.BIND_TRANSCEIVER: "trx"}
UNANSWERED = frozenset((CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION))  # requests that have no response


class Action(Enum):
    """What the sender of a refused submit_sm must do (SMPP_FACTS 3)."""

    DONE = auto()
    THROTTLED = auto()  # slow down, send again here, no attempt used
    LATER = auto()  # again after a longer delay, bounded in time
    BOUNDED = auto()  # again or elsewhere, 2 or 3 tries, then failed
    FAIL = auto()  # this message for good
    CLOSE = auto()  # this bind is broken: put the message back, rebind
    HOLD = auto()  # as FAIL, and a share of them holds the campaign: it is its sender or type, not the number


class BindAction(Enum):
    """What the sender of a refused bind must do."""

    RETRY = auto()  # with back-off
    STOP = auto()  # and alarm: repeating it locks accounts


ESME_ROK = 0x00
ESME_RINVMSGLEN = 0x01
ESME_RINVCMDLEN = 0x02
ESME_RINVCMDID = 0x03
ESME_RINVBNDSTS = 0x04
ESME_RALYBND = 0x05
ESME_RSYSERR = 0x08
ESME_RINVSRCADR = 0x0A
ESME_RINVDSTADR = 0x0B
ESME_RBINDFAIL = 0x0D
ESME_RINVPASWD = 0x0E
ESME_RINVSYSID = 0x0F
ESME_RINVMSGID = 0x0C
ESME_RMSGQFUL = 0x14
ESME_RINVSERTYP = 0x15
ESME_RINVNUMDESTS = 0x33
ESME_RINVDLNAME = 0x34
ESME_RINVDESTFLAG = 0x40
ESME_RINVSYSTYP = 0x53
ESME_RTHROTTLED = 0x58
ESME_RINVSCHED = 0x61
ESME_RINVEXPIRY = 0x62
ESME_RX_T_APPN = 0x64
ESME_RX_R_APPN = 0x66

STATUSES: dict[int, tuple[str, Action]] = {
    0x00: ("ESME_ROK", Action.DONE),
    0x01: ("ESME_RINVMSGLEN", Action.FAIL),
    0x02: ("ESME_RINVCMDLEN", Action.CLOSE),
    0x03: ("ESME_RINVCMDID", Action.CLOSE),
    0x04: ("ESME_RINVBNDSTS", Action.CLOSE),
    0x05: ("ESME_RALYBND", Action.BOUNDED),
    0x06: ("ESME_RINVPRTFLG", Action.FAIL),
    0x07: ("ESME_RINVREGDLVFLG", Action.FAIL),
    0x08: ("ESME_RSYSERR", Action.BOUNDED),
    0x0A: ("ESME_RINVSRCADR", Action.FAIL),
    0x0B: ("ESME_RINVDSTADR", Action.FAIL),
    0x0C: ("ESME_RINVMSGID", Action.BOUNDED),
    0x0D: ("ESME_RBINDFAIL", Action.BOUNDED),
    0x0E: ("ESME_RINVPASWD", Action.BOUNDED),
    0x0F: ("ESME_RINVSYSID", Action.BOUNDED),
    0x11: ("ESME_RCANCELFAIL", Action.BOUNDED),
    0x13: ("ESME_RREPLACEFAIL", Action.BOUNDED),
    0x14: ("ESME_RMSGQFUL", Action.LATER),
    0x15: ("ESME_RINVSERTYP", Action.FAIL),
    0x33: ("ESME_RINVNUMDESTS", Action.BOUNDED),
    0x34: ("ESME_RINVDLNAME", Action.BOUNDED),
    0x40: ("ESME_RINVDESTFLAG", Action.BOUNDED),
    0x42: ("ESME_RINVSUBREP", Action.FAIL),
    0x43: ("ESME_RINVESMCLASS", Action.FAIL),
    0x44: ("ESME_RCNTSUBDL", Action.BOUNDED),
    0x45: ("ESME_RSUBMITFAIL", Action.BOUNDED),
    0x48: ("ESME_RINVSRCTON", Action.FAIL),
    0x49: ("ESME_RINVSRCNPI", Action.FAIL),
    0x50: ("ESME_RINVDSTTON", Action.FAIL),
    0x51: ("ESME_RINVDSTNPI", Action.FAIL),
    0x53: ("ESME_RINVSYSTYP", Action.BOUNDED),
    0x54: ("ESME_RINVREPFLAG", Action.FAIL),
    0x55: ("ESME_RINVNUMMSGS", Action.BOUNDED),
    0x58: ("ESME_RTHROTTLED", Action.THROTTLED),
    0x61: ("ESME_RINVSCHED", Action.FAIL),
    0x62: ("ESME_RINVEXPIRY", Action.FAIL),
    0x63: ("ESME_RINVDFTMSGID", Action.FAIL),
    0x64: ("ESME_RX_T_APPN", Action.LATER),
    0x65: ("ESME_RX_P_APPN", Action.FAIL),
    0x66: ("ESME_RX_R_APPN", Action.FAIL),
    0x67: ("ESME_RQUERYFAIL", Action.BOUNDED),
    0xC0: ("ESME_RINVOPTPARSTREAM", Action.FAIL),
    0xC1: ("ESME_ROPTPARNOTALLWD", Action.FAIL),
    0xC2: ("ESME_RINVPARLEN", Action.FAIL),
    0xC3: ("ESME_RMISSINGOPTPARAM", Action.FAIL),
    0xC4: ("ESME_RINVOPTPARAMVAL", Action.FAIL),
    0xFE: ("ESME_RDELIVERYFAILURE", Action.BOUNDED),
    0xFF: ("ESME_RUNKNOWNERR", Action.BOUNDED),
    0x100: ("ESME_RSERTYPUNAUTH", Action.FAIL),
    0x101: ("ESME_RPROHIBITED", Action.BOUNDED),
    0x102: ("ESME_RSERTYPUNAVAIL", Action.LATER),
    0x103: ("ESME_RSERTYPDENIED", Action.FAIL),
    0x104: ("ESME_RINVDCS", Action.FAIL),
    0x105: ("ESME_RINVSRCADDRSUBUNIT", Action.FAIL),
    0x106: ("ESME_RINVDSTADDRSUBUNIT", Action.FAIL),
    0x107: ("ESME_RINVBCASTFREQINT", Action.BOUNDED),
    0x108: ("ESME_RINVBCASTALIAS_NAME", Action.BOUNDED),
    0x109: ("ESME_RINVBCASTAREAFMT", Action.BOUNDED),
    0x10A: ("ESME_RINVNUMBCAST_AREAS", Action.BOUNDED),
    0x10B: ("ESME_RINVBCASTCNTTYPE", Action.BOUNDED),
    0x10C: ("ESME_RINVBCASTMSGCLASS", Action.BOUNDED),
    0x10D: ("ESME_RBCASTFAIL", Action.BOUNDED),
    0x10E: ("ESME_RBCASTQUERYFAIL", Action.BOUNDED),
    0x10F: ("ESME_RBCASTCANCELFAIL", Action.BOUNDED),
    0x110: ("ESME_RINVBCAST_REP", Action.BOUNDED),
    0x111: ("ESME_RINVBCASTSRVGRP", Action.BOUNDED),
    0x112: ("ESME_RINVBCASTCHANIND", Action.BOUNDED),
}

# Refusals that tell of configuration, not of one message: a share of them holds the campaign (SMPP_FACTS 3).
TELLS_OF_CONFIGURATION = frozenset((0x0A, 0x15, 0x48, 0x49, 0xC1, 0xC3, 0x100, 0x103, 0x104))
BIND_STOPS = frozenset((ESME_RINVPASWD, ESME_RINVSYSID, 0x53, 0x101))


def action_of(status: int) -> Action:
    """The class of any 32-bit command_status; what no table lists is tried again a bounded number of times."""
    return STATUSES[status][1] if status in STATUSES else Action.BOUNDED


def bind_action_of(status: int) -> BindAction:
    return BindAction.STOP if status in BIND_STOPS else BindAction.RETRY


def status_name(status: int) -> str:
    """`ESME_RTHROTTLED`, or `0x0000055F` for one that no table lists."""
    return STATUSES[status][0] if status in STATUSES else f"0x{status:08X}"


class Ton(IntEnum):
    """5.2.5 type of number."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NATIONAL = 2
    NETWORK = 3
    SUBSCRIBER = 4
    ALPHANUMERIC = 5
    ABBREVIATED = 6


class Npi(IntEnum):
    """5.2.6 numbering plan."""

    UNKNOWN = 0
    ISDN = 1
    DATA = 3
    TELEX = 4
    LAND_MOBILE = 6
    NATIONAL = 8
    PRIVATE = 9
    INTERNET = 14


class Tag(IntEnum):
    """5.3.2 TLV tags that our code names; what each one's value is: tags.py."""

    QOS_TIME_TO_LIVE = 0x0017
    ADDITIONAL_STATUS_INFO_TEXT = 0x001D
    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    DELIVERY_FAILURE_REASON = 0x0425
    MORE_MESSAGES_TO_SEND = 0x0426
    MESSAGE_STATE = 0x0427
    CONGESTION_STATE = 0x0428


# 5.2.28 message_state -> its word in a receipt's text (appendix B); the words that vendors add map in outcomes.
MESSAGE_STATES: dict[int, str] = {
    0: "SCHEDLD",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}

# 5.2.12 esm_class
ESM_TYPE = 0x3C  # bits 5-2: what a deliver_sm is
ESM_RECEIPT = 0x04
ESM_INTERMEDIATE = 0x20
ESM_UDHI = 0x40
ESM_REPLY_PATH = 0x80

DATA_CODING_DEFAULT = 0
DATA_CODING_UCS2 = 8
INTERFACE_VERSION = 0x34
