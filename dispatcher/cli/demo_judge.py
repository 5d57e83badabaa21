"""The judge of the demo: what the store says of every recipient, against the lines of an SMSC's log.

Touches: nothing; it is given an Account (demo_account.py), lines and the answers that phones must have got.
Rests on: the issue's "Sums". For each part: answered ESME_ROK, one line; uncertain and held, none or one; uncertain and
sent again, none to two, and at least one once it was accepted; refused, skipped or outside the audience, none.
A line is told by destination and octets: crc32 of short_message is the ledger's text_hash where a message has one part.
Weak spot: of a message of several parts only number and total are held against the ledger, not the octets.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# what happened to a part, as bits (Account.trace)
ROK, RECEIPT, UNCERTAIN, RESENT, OPEN = 1, 2, 4, 8, 16  # OPEN: claimed, and nothing since
EXAMPLES = 5


class Line(NamedTuple):
    """One accepted submit_sm, as `volley smsc --log` writes it."""

    at_ms: int
    source: str
    destination: str
    octets_hash: int
    part: int  # from 1
    total: int


class Reply(NamedTuple):
    """A message that exactly one phone must have got exactly once: an MO answer or a confirmation."""

    source: str
    destination: str
    octets_hash: int
    what: str
    must: bool = True  # False: at most once; a kill may leave a confirmation uncertain, and then it is never repeated


@dataclass(slots=True)
class Account:
    """A campaign as the store has it, by rank: who, what was claimed, what became of each part."""

    numbers: array[int]
    parts: bytearray  # of the latest claim; 0: nothing was sent
    decisions: bytes
    states: bytes
    text_hashes: array[int]
    trace: bytearray  # of part p of rank r at r * width + p
    width: int
    claims_ms: list[int] = field(default_factory=list)  # ascending: when claims of what had not left before were made

    def unsent_at(self, at_ms: int) -> bool:
        """Something that had not left by then was claimed after it."""
        return bool(self.claims_ms) and self.claims_ms[-1] > at_ms


@dataclass(slots=True)
class Verdict:
    lines: int = 0  # of the campaign
    duplicates_on_wire: int = 0
    lost: int = 0
    replies_missing: list[str] = field(default_factory=list)
    last_ms: int = 0  # of the last line that is no resend
    examples: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


def read_lines(path: Path, begin: int = 0) -> Iterator[Line]:
    """Every whole line from octet `begin` on. Raises ValueError at one that is not of the format."""
    with path.open("rb") as file:
        file.seek(begin)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            at_ms, source, destination, octets_hash, part, total, *_ = raw.rstrip(b"\n").decode("latin-1").split("\t")
            yield Line(int(at_ms), source, destination, int(octets_hash, 16), int(part), int(total))


def judge(account: Account, lines: Iterable[Line], replies: Sequence[Reply] = (), *, resends: bool = False) -> Verdict:
    """Every line against what may and must be there. resends: the purpose sends an uncertain message again."""
    verdict = Verdict()
    width, trace, parts = account.width, account.trace, account.parts
    ranks = {str(number): rank for rank, number in enumerate(account.numbers) if number}
    met = bytearray(len(trace))
    answered = dict.fromkeys(replies, 0)
    by_line = {reply[:3]: reply for reply in replies}
    for line in lines:
        reply = by_line.get((line.source, line.destination, line.octets_hash))
        if reply is not None:
            answered[reply] += 1
            continue
        rank = ranks.get(line.destination.removeprefix("+"))
        verdict.lines += 1
        if rank is None:
            verdict.duplicates_on_wire += 1
            verdict.note(f"a line for {line.destination}, who is not in the audience")
            continue
        at = rank * width + line.part - 1
        if not 1 <= line.part <= line.total == parts[rank]:
            verdict.duplicates_on_wire += 1
            verdict.note(f"{line.destination}: part {line.part} of {line.total}, the ledger has {parts[rank]} parts")
            continue
        if line.total == 1 and line.octets_hash != account.text_hashes[rank] and not trace[at] & RESENT:
            verdict.duplicates_on_wire += 1
            verdict.note(f"{line.destination}: octets {line.octets_hash:08x} that were never claimed")
            continue
        if met[at] < 255:
            met[at] += 1
        if not trace[at] & RESENT:
            verdict.last_ms = max(verdict.last_ms, line.at_ms)
    _weigh(account, met, verdict, resends)
    for reply, count in answered.items():
        if count == 0 and reply.must:
            verdict.replies_missing.append(reply.what)
        elif count > 1:
            verdict.duplicates_on_wire += count - 1
            verdict.note(f"{reply.destination}: {reply.what} came {count} times")
    return verdict


def spoken_after(lines: Iterable[Line], confirmations: Sequence[Reply]) -> list[str]:
    """Whose confirmation of STOP was not the last that they heard."""
    confirmed = {reply.destination: reply[:3] for reply in confirmations}
    last = {line.destination: line[1:4] for line in lines if line.destination in confirmed}
    heard = {line.destination for line in lines if line[1:4] == confirmed.get(line.destination)}
    return [number for number in confirmed if number in heard and last[number] != confirmed[number]]


def limits(trace: int, resends: bool) -> tuple[int, int]:
    """The least and the most lines of a part with this trace."""
    least = 1 if trace & (ROK | RECEIPT) else 0
    if trace & RESENT and resends:
        return least, 2
    return least, 1 if trace & (ROK | RECEIPT | UNCERTAIN | OPEN) else 0


def _weigh(account: Account, met: bytearray, verdict: Verdict, resends: bool) -> None:
    """Parts met too often or not at all. Nearly all are one line and ROK, so those are passed over at once."""
    trace, width = account.trace, account.width
    for at, (count, happened) in enumerate(zip(met, trace, strict=True)):
        if (count, happened) in ((1, ROK), (1, ROK | RECEIPT), (0, 0)):
            continue
        least, most = limits(happened, resends)
        if least <= count <= most:
            continue
        number = account.numbers[at // width]
        if count > most:
            verdict.duplicates_on_wire += count - most
            verdict.note(f"{number} part {at % width + 1}: {count} lines, at most {most} ({trace_words(happened)})")
        else:
            verdict.lost += 1
            verdict.note(f"{number} part {at % width + 1}: no line ({trace_words(happened)})")


def trace_words(trace: int) -> str:
    names = {ROK: "accepted", RECEIPT: "receipt", UNCERTAIN: "uncertain", RESENT: "resent", OPEN: "claimed"}
    return ", ".join(word for bit, word in names.items() if trace & bit) or "never sent"
