"""What a killed dispatcher must have left and what its log must show, worked out without the code that a start uses.

The outcome log is replayed record by record in plain Python; the marks are read as octets. The simulator's log judges.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dispatcher.records.states import Decision, State
from dispatcher.smpp.pump import Kind
from dispatcher.store import ledger
from dispatcher.store.snapshot import Snapshot

MARKS = struct.Struct("<4Q32x36s")  # bulk, replies, urgent, the greatest claim_credit; the boot they were written in
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KILL, POWER = 3, 4  # reasons in an UNCERTAIN record
NOT_OUT = (Kind.RELEASED, Kind.SKIPPED, Kind.RETRY, Kind.REFUSED)  # records that end a claim without a line


class Line(NamedTuple):
    """One accepted submit_sm, as the simulator logged it."""

    destination: int
    part: int  # from 0
    octets_hash: int
    message_id: bytes


class Claim(NamedTuple):
    """One claim of one part."""

    rank: int
    part: int
    number: int


@dataclass(frozen=True)
class Death:
    """What a kill left: claimed and unsettled, by whether it may have left the process."""

    may_have_left: frozenset[Claim]
    never_left: frozenset[Claim]
    credit: int


@dataclass(frozen=True)
class Audience:
    """By rank: number and parts of its message."""

    numbers: list[int]
    parts: list[int]


@dataclass(frozen=True)
class Result:
    """Everything there is to judge when a run has come to its end."""

    lines: list[Line]
    deaths: list[Death]
    recoveries: list[dict[str, Any]]
    summary: dict[str, Any]
    campaign_state: str
    decisions: bytes
    states: bytes
    text_hashes: list[int]
    story: list[tuple[Any, ...]]  # the campaign's records of the outcome log, oldest first
    problems: list[str]  # of `volley verify`
    output: str


def story(view: Snapshot, campaign: int) -> list[tuple[Any, ...]]:
    return [r for _, value in ledger.log_values(view) for r in ledger.records(value) if r[1] == campaign]


def what_is_left(view: Snapshot, campaign: int, marks: Path) -> Death:
    """The claims of the log less what its other records settle; marks of another boot count for nothing."""
    open_: dict[tuple[int, int], tuple[int, int]] = {}  # -> pool, claim number
    for record in story(view, campaign):
        if record[0] != "claim":
            open_.pop((record[2], record[3]), None)
            continue
        for number, part in enumerate(_claimed(record), record[4]):
            open_[part] = record[2], number
    *of_pool, credit, boot = MARKS.unpack_from(marks.read_bytes())
    power_cut = boot != BOOT_ID.read_bytes()[: len(boot)]
    claims = {Claim(*part, number): number < of_pool[pool] for part, (pool, number) in open_.items()}
    may = frozenset(claim for claim, left in claims.items() if left or power_cut)
    return Death(may, frozenset(claims) - may, credit)


def _claimed(record: tuple[Any, ...]) -> list[tuple[int, int]]:
    """(rank, part) of each claim number of a claim record, in their order."""
    _, _, _, first, _, counts, _, again = record
    parts = [(rank, part) for rank, count in enumerate(counts, first) if count < 128 for part in range(count)]
    last = first + len(counts) - 1
    return [(rank, part) for rank, part in parts if not again or rank < last or again >> part & 1]


def judge(audience: Audience, result: Result, *, lines_max: int) -> None:
    """Nothing lost, nothing more often than it may be, every recipient in one final state, and the counts add up."""
    _judge_store(audience, result)
    _judge_lines(audience, result, lines_max)
    _judge_kills(result)


def _judge_store(audience: Audience, result: Result) -> None:
    assert "Traceback" not in result.output and "step_failed" not in result.output, result.output
    assert result.problems == [], result.problems
    summary = result.summary
    assert summary["unsent"] == 0 and summary["skipped"] == {} and summary["sent"] == len(audience.numbers)
    assert sum(summary["states"].values()) == summary["sent"]
    assert result.campaign_state == "done"
    assert set(result.decisions) == {Decision.SENT}
    assert Counter(State(s).word for s in result.states) == Counter({k: n for k, n in summary["states"].items() if n})
    assert set(result.states) <= {State.DELIVERED, State.UNCERTAIN}


def _judge_lines(audience: Audience, result: Result, lines_max: int) -> None:
    rank_of = {number: rank for rank, number in enumerate(audience.numbers)}
    met = Counter((rank_of.get(line.destination, -1), line.part) for line in result.lines)
    ids = {line.message_id: (rank_of.get(line.destination, -1), line.part) for line in result.lines}
    claims, ended = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for record in result.story:
        if record[0] == "claim":
            claims.update(_claimed(record))
        elif record[0] == Kind.ACCEPTED:
            assert ids.get(record[6]) == (record[2], record[3]), f"accepted here, absent there: {record}"
        elif record[0] in NOT_OUT:
            ended[record[2], record[3]] += 1
    over = {part: n for part, n in met.items() if n > min(lines_max, claims[part] - ended[part])}
    assert over == {}, f"more lines than claims that may have left, of {len(over)} parts"
    for line in result.lines:
        rank = rank_of[line.destination]
        assert audience.parts[rank] > 1 or line.octets_hash == result.text_hashes[rank], f"never claimed: {line}"
    whole = {rank for rank, n in enumerate(audience.parts) if all(met[rank, part] for part in range(n))}
    delivered = {rank for rank, state in enumerate(result.states) if state == State.DELIVERED}
    assert delivered <= whole, f"delivered, and not in the log: {sorted(delivered - whole)[:5]}"
    gone = {rank for rank in whole - delivered if audience.parts[rank] == 1}
    assert gone == set(), f"the SMSC had our answer to their receipt, the ledger has none: {sorted(gone)[:5]}"
    if lines_max == 1 and set(audience.parts) == {1}:
        assert result.summary["receipts"] == len(result.lines), "a receipt of each line, each counted once"


def _judge_kills(result: Result) -> None:
    """Each start made uncertain exactly what may have left and was unsettled, and released the rest."""
    may = frozenset[Claim]().union(*(death.may_have_left for death in result.deaths))
    never = frozenset[Claim]().union(*(death.never_left for death in result.deaths))
    assert not may & never, "what had not left at the first kill is uncertain after a second"
    made = Counter((r[2], r[3]) for r in result.story if r[0] == Kind.UNCERTAIN and r[4] in (KILL, POWER))
    assert made == Counter((claim.rank, claim.part) for claim in may)
    released = Counter((r[2], r[3]) for r in result.story if r[0] == Kind.RELEASED)
    assert not Counter((claim.rank, claim.part) for claim in never) - released
    for death in result.deaths:
        assert len(death.may_have_left) <= death.credit
    assert sum(r["at_or_above_mark"] for r in result.recoveries) == 0
    assert sum(r["parts_uncertain"] for r in result.recoveries) == len(may)
    for recovery in result.recoveries:
        assert recovery["uncertain"] <= recovery["claim_credit"]
