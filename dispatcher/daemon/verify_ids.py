"""Of `volley verify`: the index of message_ids, made anew from the log as a start makes it, leads every id home.

Touches: campaign_counts and outcome_log through one snapshot; 16 MiB of memory for each 786,432 ids without a receipt,
12 to 24 octets a receipt of the same campaigns.
Rests on: DESIGN 8 (each live id is found once); smpp/_index.pyx, the index of the dispatcher itself. What does not hold
is the log's damage, or an SMSC that gave one id to two messages: a receipt of it settles the later one.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.records.states import State
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, Book, Settled
from dispatcher.store import Snapshot, ledger
from dispatcher.store.layout import U64
from dispatcher.store.problem import Problem

RUNS = 1 << 15  # campaigns at once: the index numbers them in 16 bits


def live_ids_are_found_once(view: Snapshot) -> Iterator[Problem]:
    """Looked up by its id each accepted part without its last receipt is found, and nothing else."""
    waiting = [
        campaign
        for campaign in (U64.unpack(key)[0] for key, _ in view.range("campaign_counts"))
        if ledger.read_counts(view, campaign).state(State.ACCEPTED)
    ]
    for first in range(0, len(waiting), RUNS):
        yield from _of(view, waiting[first : first + RUNS])


def _of(view: Snapshot, campaigns: list[int]) -> Iterator[Problem]:
    runs = {campaign: run for run, campaign in enumerate(campaigns)}
    known: dict[int, tuple[Book, Settled]] = {}  # by endpoint: each writes ids of its own
    for _, value in ledger.log_values(view, reverse=True):
        _, spoken_of, endpoint = ledger.value_header(value)
        if not runs.keys().isdisjoint(spoken_of):
            if endpoint not in known:
                known[endpoint] = _book(endpoint), Settled()
            book, settled = known[endpoint]
            book.rebuild(value, runs, settled)
    for _, value in ledger.log_values(view):
        _, spoken_of, endpoint = ledger.value_header(value)
        if not runs.keys().isdisjoint(spoken_of):
            book, settled = known[endpoint]
            misled: list[tuple[int, int, int]] = []
            book.rebuild(value, runs, settled, misled)
            for run, rank, part in misled:
                place = f"campaign {campaigns[run]}, rank {rank}, part {part + 1}"
                yield Problem("live_ids_are_found_once", place, "another message was given the same message_id later")


def _book(endpoint: int) -> Book:
    marks = memoryview(bytearray(64)).cast("Q")
    return Book(1, marks, ACTIONS, ACTION_OTHER, ring=1 << 6, reply_ring=1 << 6, endpoint=endpoint)
