"""Purposes, decisions, states and reasons: one enumeration for store, API, metrics and demo.

The numbers are on disk (ledger arrays, outcome log): add, never renumber.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Purpose(StrEnum):
    """What a message is for, in order of priority (DESIGN 4)."""

    OTP = "otp"
    TRANSACTIONAL = "transactional"
    SERVICE = "service"
    CARE = "care"
    MARKETING = "marketing"

    @property
    def number(self) -> int:
        return list(Purpose).index(self)

    @property
    def resends_uncertain(self) -> bool:
        """An uncertain message of this purpose is sent again; the others are held (DESIGN 4)."""
        return self in (Purpose.OTP, Purpose.TRANSACTIONAL, Purpose.SERVICE)

    @property
    def honours_stop(self) -> bool:
        """STOP ends submits of these purposes (DESIGN 1, the opt-out promise)."""
        return self in (Purpose.MARKETING, Purpose.CARE, Purpose.SERVICE)


class Decision(IntEnum):
    """Why a recipient was sent to or not: ledger array `decision`."""

    UNDECIDED = 0
    SENT = 1
    NO_VALID_NUMBER = 16
    NO_ALPHABET = 17  # the endpoint cannot say the text; ledgers of before have NO_ROUTE for it
    DUPLICATE_NUMBER = 18
    SUPPRESSED = 19
    OPTED_OUT = 20
    NO_CONSENT = 21
    FREQUENCY_CAP = 22
    QUIET = 23
    HOLDOUT = 24
    OVER_BUDGET = 25
    OVER_QUOTA = 26
    ERASED = 27
    NO_VALUE = 28
    TEXT_GREW = 29
    CANCELLED = 30
    NO_ROUTE = 31  # the last that the counters have room for (ledger.Counts)

    @property
    def word(self) -> str:
        return self.name.lower()


class State(IntEnum):
    """What became of a message or a part: ledger arrays `state` and `part_state`."""

    UNSENT = 0
    CLAIMED = 1  # on disk as claimed; may be on its way
    RETRY_WAIT = 2  # refused for now, goes out again when due
    ACCEPTED = 3  # ESME_ROK, receipt awaited where one was asked for
    DELIVERED = 4
    EXPIRED = 5
    FAILED = 6
    UNKNOWN = 7  # the SMSC says UNKNOWN, or uncertain at validity + 24 h
    NO_RECEIPT = 8
    UNCERTAIN = 9

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def final(self) -> bool:
        return self in (State.DELIVERED, State.EXPIRED, State.FAILED, State.UNKNOWN, State.NO_RECEIPT)


def moving(receipts: bool) -> tuple[State, ...]:
    """States that a message may still leave; accepted is final where no receipt was asked for."""
    open_ = (State.CLAIMED, State.RETRY_WAIT, State.UNCERTAIN)
    return (*open_, State.ACCEPTED) if receipts else open_


class CampaignState(StrEnum):
    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    FINISHING = "finishing"
    DONE = "done"
    CANCELLED = "cancelled"
