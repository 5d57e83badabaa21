"""What a start finds: claims of the process before, released or uncertain; ids that still await their receipt.

Touches: the store (through steps of the writer's kind, before any task runs), the mark's mapping, the Book.
Rests on: DESIGN 6 (the mark) and 8. After kill -9 (same boot_id) what was claimed at or above its pool's mark never
left and is released; what is below and unsettled is uncertain. After a power cut the mark may be older than the
claims: all claimed and unsettled is uncertain.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from dispatcher.campaigns.campaign import ACTIVE
from dispatcher.campaigns.expand import Repeat, members_of_ranks
from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.feeder import Feeder
from dispatcher.daemon.runs import VERY_FEW
from dispatcher.outbox.entry import batches, entries
from dispatcher.outcomes.uncertain import Uncertain
from dispatcher.records.batches import is_batch, is_message_batch
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import State
from dispatcher.smpp.pump import POOLS, Book, Kind, Settled
from dispatcher.store import Snapshot, Store, ledger
from dispatcher.store.blocks import ColumnKind
from dispatcher.store.columns import read_slot
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, TENANT_U64, U64
from dispatcher.store.values import pack, unpack

MARKS_OCTETS = 4096
# u64 words of the marks' file after the pools' own
CREDIT_SLOT = 3  # the greatest claim_credit of the process that owned them
EMPTY_SLOT = 4  # + pool: log position when the pool was last seen empty
POWER_CUT_JUMP = 1 << 32  # claims made since the mapping last reached the disk are fewer
_BOOT_AT, _BOOT_OCTETS = 64, 36
REASON_KILL, REASON_POWER = 3, 4
OPEN = (State.ACCEPTED, State.UNCERTAIN, State.RETRY_WAIT)  # something may still happen to them
RECOVERIES_KEPT = 100
JOURNAL_RECORDS_AT_ONCE = 50_000

Note = Callable[[Uncertain, bool, int], None]  # what is uncertain, whether for the first time, since when (ms)

log = structlog.get_logger("recovery")


@dataclass(slots=True)
class Marks:
    """The mapped file: u64 a pool, the credit, the boot it was written in."""

    octets: mmap.mmap
    same_boot: bool
    clean: bool  # there was no such file

    @property
    def words(self) -> memoryview:
        return memoryview(self.octets)[:64].cast("Q")

    def sign(self) -> None:
        """From here on they speak of this boot."""
        self.octets[_BOOT_AT : _BOOT_AT + _BOOT_OCTETS] = _boot_id()
        self.octets.flush()


@dataclass(slots=True)
class Recovery:
    """What was found, for the report kept in meta `recoveries`."""

    at_ms: int
    same_boot: bool
    claim_credit: int
    released: int = 0  # members
    uncertain: int = 0  # members
    at_or_above_mark: int = 0  # members left uncertain by the fold though nothing of them had left: must be 0
    parts_uncertain: int = 0
    settled_by_number: int = 0
    took_s: float = 0.0
    of_campaign: dict[str, int] = field(default_factory=dict)


def open_marks(folder: Path) -> Marks:
    """Map `marks` of the data folder. It outlives kill -9, not a power cut: compare the boot_id."""
    path = folder / "marks"
    clean = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        os.posix_fallocate(fd, 0, MARKS_OCTETS)  # a hole would be SIGBUS on a full disk, with no exception to catch
        octets = mmap.mmap(fd, MARKS_OCTETS)
    finally:
        os.close(fd)
    return Marks(octets, octets[_BOOT_AT : _BOOT_AT + _BOOT_OCTETS] == _boot_id(), clean)


def fold_all(store: Store) -> None:
    """Bring the whole tail into the ledger, a commit a slice."""
    done = False
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view)


def settle_claims(store: Store, marks: Marks, now_ms: int) -> Recovery:
    """Release or make uncertain every claim of the process before; returns what it did. Folds before and after.

    Writes one log value a 50,000 records through a Book of its own, which knows nothing but the journal; the report
    goes with the last of them. The marks change only after that: a start that is killed here is done again, alike.
    """
    began = time.perf_counter()
    fold_all(store)
    words = marks.words
    with store.snapshot() as view:
        above: dict[tuple[int, int, int], int] = {}
        if marks.same_boot:
            known = {pool: words[pool] for pool in POOLS}
            since = {pool: words[EMPTY_SLOT + pool] for pool in POOLS}
            following, above = ledger.claim_tail(view, known, since)
        else:
            following = {pool: words[pool] + POWER_CUT_JUMP for pool in POOLS}
        claimed = _claimed(view)
    recovery = Recovery(now_ms, marks.same_boot, int(words[CREDIT_SLOT]))
    reason = REASON_KILL if marks.same_boot else REASON_POWER
    records: list[tuple[int, int, int, int, int]] = []
    for campaign, rank, parts in claimed:
        lost = [part for part in parts if (campaign, rank, part) not in above]
        for part in parts:
            kind = Kind.UNCERTAIN if part in lost else Kind.RELEASED
            records.append((campaign, kind, part, reason if part in lost else 0, rank))
        recovery.released += not lost
        recovery.uncertain += bool(lost)
        recovery.parts_uncertain += len(lost)
        if lost:
            name = f"{campaign:x}"
            recovery.of_campaign[name] = recovery.of_campaign.get(name, 0) + 1
    recovery.took_s = round(time.perf_counter() - began, 3)
    crash_point("in_recovery")
    _log_all(store, records, None if marks.clean and not records else recovery)
    crash_point("in_recovery")
    fold_all(store)
    with store.snapshot() as view:
        released = [
            (campaign, rank)
            for campaign, rank, parts in claimed
            if {(campaign, rank, p) for p in parts} <= above.keys()
        ]
        recovery.at_or_above_mark = still_open(view, released)
        for pool in POOLS:
            words[pool] = max(words[pool], following.get(pool, 0))
            words[EMPTY_SLOT + pool] = ledger.next_position(view)
    crash_point("in_recovery")
    marks.sign()
    if recovery.at_or_above_mark:
        log.error("uncertain_above_the_mark", members=recovery.at_or_above_mark)
        with store.begin_write() as view:
            _keep(view, recovery, again=True)
    if recovery.released or recovery.uncertain:
        log.warning(
            "claims_of_the_process_before",
            released=recovery.released,
            uncertain=recovery.uncertain,
            same_boot=marks.same_boot,
        )
    return recovery


def still_open(view: Snapshot, released: list[tuple[int, int]]) -> int:
    """How many of these members, of whom nothing had left, the ledger has claimed or uncertain all the same: a second
    look, at what the fold made of the release. One that an earlier try left uncertain has a try to its name."""
    found = 0
    at, states, tries = (0, -1), None, None
    for campaign, rank in released:
        chunk, r = divmod(rank, BLOCK)
        if at != (campaign, chunk):
            at = campaign, chunk
            states = ledger.read_array(view, campaign, "state", chunk)
            tries = ledger.read_array(view, campaign, "tries", chunk)
        assert states is not None and tries is not None
        found += states[r] == State.CLAIMED or (states[r] == State.UNCERTAIN and not tries[r])
    return found


def _keep(view: Snapshot, recovery: Recovery, *, again: bool = False) -> None:
    """Into meta `recoveries`, newest last: what every start did to what was in flight. again: in the newest's place."""
    all_ = recoveries(view)[-RECOVERIES_KEPT + 1 :]
    if again:
        all_ = all_[:-1]
    changes = Changes()
    changes.put("meta", b"recoveries", pack({"all": [*all_, asdict(recovery)]}))
    view.apply(changes)


def recoveries(view: View) -> list[dict[str, Any]]:
    row = view.get("meta", b"recoveries")
    return unpack(row)["all"] if row else []


def resume(store: Store, book: Book, feeder: Feeder, note: Note, holding_s: float, now_ms: int) -> None:
    """Open what is running, known or awaited: expansions, repeats, uncertain messages, replies, the index of ids."""
    with store.snapshot() as view:
        for key, octets in view.range("campaigns"):
            tenant, campaign = TENANT_U64.unpack(key)
            row = unpack(octets)
            counts = ledger.read_counts(view, campaign)
            active = row["state"] in ACTIVE
            if not active and not any(map(counts.state, OPEN)):
                continue
            known = feeder.open_campaign(tenant, campaign, row, run=active or book.runs_free > VERY_FEW)
            if active:
                feeder.start(view, tenant, campaign, row)
                if row["state"] in ("paused", "held"):
                    feeder.pause(campaign)
                _repeats(view, feeder, campaign)
            elif counts.state(State.RETRY_WAIT):
                feeder.run_of(campaign)
                _give_up(view, feeder, campaign)
            if counts.state(State.UNCERTAIN):
                _uncertain(view, feeder, campaign, note)
            assert known.id == campaign
        _replies(view, feeder, note, now_ms)
        _index(view, book, feeder, now_ms - int(2 * holding_s * 1000) - 60_000)


def _claimed(view: Snapshot) -> list[tuple[int, int, list[int]]]:
    """(campaign, rank, parts) of everything in state CLAIMED."""
    found = []
    for campaign in [U64.unpack(key)[0] for key, _ in view.range("campaign_counts")]:
        if not ledger.read_counts(view, campaign).state(State.CLAIMED):
            continue
        for chunk in ledger.chunks(view, campaign):
            states = ledger.read_array(view, campaign, "state", chunk)
            assert states is not None
            ranks = ledger.ranks_in_state(states, State.CLAIMED, chunk * BLOCK)
            found += [(campaign, rank, ledger.parts_in_state(view, campaign, rank, State.CLAIMED)) for rank in ranks]
    return found


def _log_all(store: Store, records: list[tuple[int, int, int, int, int]], report: Recovery | None) -> None:
    for first in range(0, max(1, len(records)), JOURNAL_RECORDS_AT_ONCE):
        book = Book(
            1, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=2, reply_ring=2
        )  # for its journal alone
        runs: dict[int, int] = {}
        for campaign, kind, part, state, rank in records[first : first + JOURNAL_RECORDS_AT_ONCE]:
            run = runs.get(campaign)
            if run is None:
                run = runs[campaign] = book.open_run(campaign, 0, 0, b"", b"", receipts=False, honours_stop=False)
            book.log(kind, part, state, rank, run, 0)
        value, _ = book.cut()
        with store.begin_write() as view:
            if runs:
                view.txn.put(U64.pack(ledger.next_position(view)), value, db=view.tables["outcome_log"], append=True)
            if report is not None and first + JOURNAL_RECORDS_AT_ONCE >= len(records):
                _keep(view, report)


def _repeats(view: Snapshot, feeder: Feeder, campaign: int) -> None:
    """Ranks that were refused for now: their parts that are not out yet go again at once."""
    expansion = feeder.campaigns[campaign].expansion
    assert expansion is not None
    for rank, member_no, mask, tries in _refused_for_now(view, campaign):
        expansion.repeat(Repeat(0, rank, member_no, mask, tries, fails=True))


def _give_up(view: Snapshot, feeder: Feeder, campaign: int) -> None:
    """The same of a campaign that was cancelled: the process before ended before it could say so."""
    for rank, _, mask, _ in _refused_for_now(view, campaign):
        for part in range(mask.bit_length()):
            if mask >> part & 1:
                feeder.give_up(feeder.campaigns[campaign].run, rank, part)


def _refused_for_now(view: Snapshot, campaign: int) -> Iterator[tuple[int, int, int, int]]:
    """(rank, member_no, bits of the parts that are not out, tries)"""
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        ranks = ledger.ranks_in_state(states, State.RETRY_WAIT, chunk * BLOCK)
        members = members_of_ranks(view, campaign, ranks)
        for rank, mask, tries in _masks(view, campaign, chunk, ranks, (State.UNSENT, State.RETRY_WAIT)):
            yield rank, members[rank], mask, tries


def _masks(
    view: Snapshot, campaign: int, chunk: int, ranks: list[int], wanted: tuple[State, ...]
) -> list[tuple[int, int, int]]:
    """(rank, bits of the parts in a wanted state, tries)"""
    width = ledger.part_width(view, campaign, chunk)
    counts = ledger.read_array(view, campaign, "parts", chunk)
    tries = ledger.read_array(view, campaign, "tries", chunk)
    spread = ledger.read_array(view, campaign, "part_state", chunk) if width > 1 else None
    out = []
    for rank in ranks:
        r = rank - chunk * BLOCK
        n = counts[r] if counts is not None else 1
        mask = 1
        if n > 1 and spread is not None:
            mask = sum(1 << p for p in range(n) if spread[r * width + p] & 0x7F in wanted)
        out.append((rank, mask, tries[r] if tries is not None else 0))
    return out


def _uncertain(view: Snapshot, feeder: Feeder, campaign: int, note: Note) -> None:
    """Every part that may have been accepted, for whoever settles those. One claimed twice already is not sent again
    by itself: the ledger does not tell a resend from a retry, and a message too few is listed, one too many is not."""
    known = feeder.campaigns[campaign]
    for chunk in ledger.chunks(view, campaign):
        states = ledger.read_array(view, campaign, "state", chunk)
        assert states is not None
        ranks = ledger.ranks_in_state(states, State.UNCERTAIN, chunk * BLOCK)
        members = members_of_ranks(view, campaign, ranks)
        claimed = ledger.read_array(view, campaign, "submit_s", chunk)
        assert claimed is not None
        for rank, mask, tries in _masks(view, campaign, chunk, ranks, (State.UNCERTAIN,)):
            number = number_of(view, known.tenant, members[rank])
            claimed_ms = int.from_bytes(claimed[4 * (rank % BLOCK) : 4 * (rank % BLOCK) + 4], "little") * 1000
            for part in range(mask.bit_length()):
                if mask >> part & 1:
                    note(Uncertain(campaign, known.run, rank, part, members[rank], number), tries < 2, claimed_ms)


def number_of(view: View, tenant: int, member_no: int) -> int:
    column = (FIELD_MSISDN, 0, ColumnKind.U64)
    return int(read_slot(view, tenant, member_no, [column])[column] or 0)


def _replies(view: Snapshot, feeder: Feeder, note: Note, now_ms: int) -> None:
    """Single messages that are on disk and not out: to be claimed again; and those that may be out."""
    for batch in batches(view):
        assert is_batch(batch)
        for entry in entries(view, batch):
            chunk, r = divmod(entry.position, BLOCK)
            states = ledger.read_array(view, batch, "state", chunk)
            state = State(states[r]) if states is not None and r < len(states) else State.UNSENT
            run = feeder.replies.open_batch(batch, entry.sender, entry.validity_s).run
            valid = entry.expiry_ms > now_ms and not entry.cancelled
            decided = states is not None and _decision(view, batch, chunk, r)
            if state == State.UNSENT and not decided and (valid or (entry.decision and not entry.cancelled)):
                feeder.replies.add(entry)
            elif state == State.RETRY_WAIT and valid:
                for _, mask, tries in _masks(view, batch, chunk, [entry.position], (State.UNSENT, State.RETRY_WAIT)):
                    feeder.replies.send_again(batch, entry.position, mask, tries, 0)
            elif state == State.UNCERTAIN:
                for _, mask, tries in _masks(view, batch, chunk, [entry.position], (State.UNCERTAIN,)):
                    for part in range(mask.bit_length()):
                        if mask >> part & 1:
                            item = Uncertain(batch, run, entry.position, part, entry.position, entry.to)
                            note(item, valid and tries < 2, entry.created_ms)


def _decision(view: Snapshot, batch: int, chunk: int, r: int) -> int:
    decisions = ledger.read_array(view, batch, "decision", chunk)
    return decisions[r] if decisions is not None and r < len(decisions) else 0


def _index(view: Snapshot, book: Book, feeder: Feeder, held_since_ms: int) -> None:
    """Ids accepted and without their final receipt, newest value first; then receipts still held."""
    run_of = {c.id: c.run for c in feeder.campaigns.values()}
    run_of |= {batch: known.run for batch, known in feeder.replies.batches.items() if is_message_batch(batch)}
    settled = Settled()
    held: list[tuple[int, int, int, int, int]] = []
    inserted = 0
    for _, value in ledger.log_values(view, reverse=True):
        inserted += book.rebuild(value, run_of, settled)
        held += book.held_in(value, held_since_ms)
    for key, number, at_ms, status, state in held:
        book.hold(key, number, at_ms, status, state)
    if inserted:
        log.info("index_rebuilt", ids=inserted, held=len(held))


def _boot_id() -> bytes:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:_BOOT_OCTETS]
