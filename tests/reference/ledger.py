"""What a fold means: values of the outcome log in, one Recipient a rank and the campaign's counters out."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field

from dispatcher.records.states import Decision, State
from dispatcher.smpp.pump import Kind

HEADER = struct.Struct("<HHIQI4x")  # magic, runs, records, base_ms, octets
RUN = struct.Struct("<QHH4x")
RECORD = struct.Struct("<BBBBIHHI")  # kind, part, state, id_octets, rank, run, delta_ms, status
CLAIM = struct.Struct("<BBHIHHIQ")  # kind, pool, again, first_rank, run, delta_ms, count, claim_no
SKIPPED = 128

UNSENT, CLAIMED, RETRY_WAIT, UNCERTAIN = State.UNSENT, State.CLAIMED, State.RETRY_WAIT, State.UNCERTAIN
MAY_BE_CLAIMED = (UNSENT, RETRY_WAIT, UNCERTAIN)
# of a message's parts: what is still moving first, then the worst
WORST_FIRST = (
    CLAIMED, RETRY_WAIT, UNSENT, UNCERTAIN, State.FAILED, State.ACCEPTED, State.UNKNOWN, State.EXPIRED, State.NO_RECEIPT,
    State.DELIVERED,
)  # fmt: skip


def padded(octets: int) -> int:
    return (octets + 7) // 8 * 8


@dataclass
class Recipient:
    decision: int = 0
    state: int = 0
    error: int = 0
    parts: int = 0
    tries: int = 0
    submit_s: int = 0
    final_s: int = 0
    text_hash: int = 0
    log_no: int = 0
    of_part: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    accepted: set[int] = field(default_factory=set)

    def worst(self) -> int:
        states = {self.of_part[part] for part in range(self.parts)}
        if states == {UNSENT}:
            return UNSENT
        first = next(state for state in WORST_FIRST if state in states)
        return RETRY_WAIT if first == UNSENT else first


@dataclass
class ReferenceLedger:
    """One campaign."""

    log_base: int = 0
    of_rank: dict[int, Recipient] = field(default_factory=lambda: defaultdict(Recipient))
    accepted: int = 0
    parts_sent: int = 0
    parts_accepted: int = 0
    retries: int = 0
    by_number: int = 0
    resent: int = 0
    receipts: int = 0
    repeated: int = 0

    def counts(self) -> list[int]:
        """The 64 counters."""
        found = [0] * 64
        for one in self.of_rank.values():
            if one.decision:
                found[one.decision] += 1
            if one.decision == Decision.SENT:
                found[32 + one.state] += 1
        found[48:56] = [
            self.accepted, self.parts_sent, self.parts_accepted, self.retries, self.by_number, self.resent, self.receipts,
            self.repeated,
        ]  # fmt: skip
        return found

    def claim(self, rank: int, octet: int, text_hash: int, now_s: int, again: int) -> None:
        one = self.of_rank[rank]
        if octet >= SKIPPED:
            self._skip(one, octet - SKIPPED)
            return
        if one.decision != Decision.SENT:
            one.decision, one.state = Decision.SENT, UNSENT
        elif one.state == UNCERTAIN:
            self.resent += 1
        one.parts, one.submit_s, one.text_hash = octet, now_s, text_hash
        one.tries = min(255, one.tries + (not again))
        if octet == 1:
            if one.state in MAY_BE_CLAIMED:
                one.state = CLAIMED
                self.parts_sent += 1
            return
        for part in range(octet):
            if (not again or again >> min(part, 15) & 1) and one.of_part[part] in MAY_BE_CLAIMED:
                one.of_part[part] = CLAIMED
                self.parts_sent += 1
        one.state = one.worst()

    def _skip(self, one: Recipient, decision: int) -> None:
        if one.decision == Decision.SENT:
            mine = [one.of_part[part] for part in range(one.parts)]
            if one.parts > 1 and set(mine) - {UNSENT, RETRY_WAIT}:  # some of it is out: the rest never will be
                for part in range(one.parts):
                    if one.of_part[part] in (UNSENT, RETRY_WAIT):
                        one.of_part[part] = State.FAILED
                one.state = one.worst()
                return
            if one.parts == 1 and one.state != RETRY_WAIT:
                return
        elif one.decision:
            return
        one.decision, one.state = decision, UNSENT

    def record(self, kind: int, rank: int, part: int, state: int, status: int, now_s: int, position: int) -> None:
        one = self.of_rank[rank]
        if kind == Kind.RETRY:
            self.retries += 1
        if kind == Kind.RECEIPT:
            self.receipts += 1
            self.by_number += status >> 24 == 1
        if one.decision != Decision.SENT or part >= one.parts:
            return
        several = one.parts > 1
        if kind == Kind.ACCEPTED:
            self._note_accepted(one, part, position)
        old = one.of_part[part] if several else one.state
        new = _next(kind, state, old, by_hand=status >> 24 == 2)
        if new is None:
            self.repeated += kind == Kind.RECEIPT
            return
        if kind in (Kind.RELEASED, Kind.SKIPPED) and self.parts_sent:
            self.parts_sent -= 1
        if kind in (Kind.REFUSED, Kind.RETRY):
            one.error = status
        elif kind in (Kind.RECEIPT, Kind.SETTLED) and status & 0xFFFFFF:
            one.error = status & 0xFFFFFF
        if kind == Kind.RETRY and state == 1 and not several and one.tries:
            one.tries -= 1  # no attempt used up
        if kind == Kind.SKIPPED and several and status < one.parts:
            new = State.FAILED
        if State(new).final:
            one.final_s = now_s
        if several:
            one.of_part[part] = new
            one.state = one.worst()
        else:
            if new == UNSENT and one.tries > 1 and not one.error:  # a resend that never left
                new = UNCERTAIN
                one.tries -= 1
            one.state = new
        if one.state == UNSENT and kind in (Kind.RELEASED, Kind.SKIPPED):
            one.decision = state if kind == Kind.SKIPPED else Decision.UNDECIDED
            one.tries = max(0, one.tries - 1)

    def _note_accepted(self, one: Recipient, part: int, position: int) -> None:
        if one.parts > 1:
            before = len(one.accepted & set(range(one.parts)))
            one.accepted.add(part)
            after = len(one.accepted & set(range(one.parts)))
            self.parts_accepted += after - before
            self.accepted += before < after == one.parts
        elif not one.log_no:
            self.parts_accepted += 1
            self.accepted += 1
        if part == 0 or not one.log_no:
            one.log_no = position - self.log_base + 1


def _next(kind: int, state: int, old: int, *, by_hand: bool) -> int | None:
    """Where a record takes a part; None when it may not: never backwards."""
    if kind == Kind.ACCEPTED:
        return State.ACCEPTED if old in (CLAIMED, UNCERTAIN, RETRY_WAIT) else None
    if kind == Kind.REFUSED:
        return State.FAILED if old == UNCERTAIN or (old == CLAIMED and not state) else None
    if kind == Kind.SKIPPED and state < Decision.NO_VALID_NUMBER:
        return None
    if kind in (Kind.RETRY, Kind.RELEASED, Kind.SKIPPED, Kind.UNCERTAIN):
        to = {Kind.RETRY: RETRY_WAIT, Kind.UNCERTAIN: UNCERTAIN}.get(kind, UNSENT)
        return to if old == CLAIMED else None
    if state not in range(10) or not State(state).final:
        return None
    if kind == Kind.SETTLED and by_hand:
        return state if old == UNCERTAIN else None
    if old in (CLAIMED, RETRY_WAIT, State.ACCEPTED, UNCERTAIN) or (kind == Kind.SETTLED and old == UNSENT):
        return state
    if kind == Kind.RECEIPT and old == State.NO_RECEIPT:  # which is our word, not the SMSC's
        return state if state != State.NO_RECEIPT else None
    return state if state == State.DELIVERED and old in (State.EXPIRED, State.UNKNOWN, State.NO_RECEIPT) else None


def fold_value(ledgers: dict[int, ReferenceLedger], value: bytes, position: int) -> None:
    """One log value into the campaigns it names."""
    _, runs, count, base_ms, octets = HEADER.unpack_from(value)
    of_run = {
        run: id_
        for id_, run, _ in RUN.iter_unpack(value[HEADER.size + octets : HEADER.size + octets + runs * RUN.size])
    }
    at = HEADER.size
    for _ in range(count):
        if value[at] == Kind.CLAIM:
            _, _, again, first, run, delta_ms, ranks, _ = CLAIM.unpack_from(value, at)
            octets_at = at + CLAIM.size
            hashes_at = octets_at + padded(ranks)
            for k in range(ranks):
                (text_hash,) = struct.unpack_from("<I", value, hashes_at + 4 * k)
                mask = again if k == ranks - 1 else 0
                ledgers[of_run[run]].claim(
                    first + k, value[octets_at + k], text_hash, (base_ms + delta_ms) // 1000, mask
                )
            at = hashes_at + padded(4 * ranks)
            continue
        kind, part, state, id_octets, rank, run, delta_ms, status = RECORD.unpack_from(value, at)
        if kind != Kind.HELD:
            now_s = (base_ms + delta_ms) // 1000
            ledgers[of_run[run]].record(kind, rank, part, state, status, now_s, position + at // 8)
        at += RECORD.size + padded(id_octets) + 8 * (kind == Kind.HELD)
