"""Conditions that no column answers: what happened to a member, as keys of bitmaps given from outside the columns.

Touches: nothing. typed.py makes them of a rule, engagement.py evaluates them, the scan takes the bitmaps.
Instants are epoch milliseconds; since_ms None is all time. Every window ends at the evaluation's own instant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Engaged:
    """Something a campaign did to a member, or a member answered."""

    verb: str  # sent, received, undelivered, replied, redeemed, held_out
    campaign: int | None = None  # None: any
    text: str | None = None  # of a reply, compared as market.plain() has it
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MessagesIn:
    """How many campaign messages a member was sent since then; both ends inside."""

    since_ms: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class ConsentChanged:
    """The last word of the member's number about a group, when it was said since then."""

    what: str  # consented, opted_out
    group: str
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FrozenMembers:
    """Who a snapshot holds (snapshot.py)."""

    segment: int


Key = Engaged | MessagesIn | ConsentChanged | FrozenMembers
