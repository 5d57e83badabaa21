"""What a start finds: claims of the process before, released or uncertain; ids that still await their receipt.

Touches: the store (through steps of the writer's kind, before any task runs) and the marks.
Rests on: DESIGN 6 (the mark) and 8. After kill -9 (same boot_id) what was claimed at or above the mark of its endpoint
and lane never left and is released; what is below and unsettled is uncertain. After a power cut the mark may be older
than the claims: all claimed and unsettled is uncertain. Endpoints that are configured no more have their marks too.
By which endpoint a message went, its claim says; by which of its binds, nobody knows after a kill.
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import structlog

from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.marks import CREDIT_SLOT, EMPTY_SLOT, Marks
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.records.states import State
from dispatcher.smpp.pump import POOLS, Book, Kind
from dispatcher.store import Snapshot, Store, ledger, log_values
from dispatcher.store.endpoints import endpoint_numbers
from dispatcher.store.layout import BLOCK, U64
from dispatcher.store.ledger import Place
from dispatcher.store.trail import endpoints_of
from dispatcher.store.values import pack, unpack

POWER_CUT_JUMP = 1 << 32  # claims made since the mapping last reached the disk are fewer
REASON_KILL, REASON_POWER = 3, 4
RECOVERIES_KEPT = 100
JOURNAL_RECORDS_AT_ONCE = 50_000
LOG_OCTETS = 1 << 30  # looked through for claims: a quarter of a second, and those of a kill are among the newest
NO_ENDPOINT = 0xFFFF  # a number that no endpoint has: the claim is older than that

log = structlog.get_logger("recovery")


Record = tuple[int, int, int, int, int, int]  # endpoint, campaign, kind, part, state, rank


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
    credits: dict[str, int] = field(default_factory=dict)  # claim_credit of each endpoint, by its name


def fold_all(store: Store) -> None:
    """Bring the whole tail into the ledger, a commit a slice."""
    done = False
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view)


def settle_claims(store: Store, marks: Marks, now_ms: int) -> Recovery:
    """Release or make uncertain every claim of the process before; returns what it did. Folds before and after.

    Commits 50,000 records at a time, written by a Book of its own, which knows nothing but the journal; the report goes
    with the last of them. The marks change only after that: a start that is killed here is done again, alike.
    """
    began = time.perf_counter()
    fold_all(store)
    with store.snapshot() as view:
        names = {number: name for name, number in endpoint_numbers(view).items()} or {0: ""}
        words = {number: marks.of(number) for number in names}
        places: list[Place] = [(number, lane) for number in names for lane in POOLS]
        above: dict[tuple[int, int, int], int] = {}
        if marks.same_boot:
            known = {(number, lane): words[number][lane] for number, lane in places}
            since = {(number, lane): words[number][EMPTY_SLOT + lane] for number, lane in places}
            following, above = ledger.claim_tail(view, known, since)
        else:
            following = {(number, lane): words[number][lane] + POWER_CUT_JUMP for number, lane in places}
        claimed = _claimed(view)
        went_by = endpoints_of(view, {(campaign, rank) for campaign, rank, _ in claimed}, LOG_OCTETS)
    credits = {name: int(words[number][CREDIT_SLOT]) for number, name in names.items() if words[number][CREDIT_SLOT]}
    recovery = Recovery(now_ms, marks.same_boot, sum(credits.values()), credits=credits)
    records = _settled(claimed, above, went_by, recovery)
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
        position = ledger.next_position(view)
        for number, lane in places:
            words[number][lane] = max(words[number][lane], following.get((number, lane), 0))
            words[number][EMPTY_SLOT + lane] = position
    crash_point("in_recovery")
    marks.sign()
    for number in names:
        words[number][CREDIT_SLOT] = 0  # the next life's begins
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


def _settled(
    claimed: list[tuple[int, int, list[int]]],
    above: Container[tuple[int, int, int]],
    went_by: dict[tuple[int, int], int],
    recovery: Recovery,
) -> list[Record]:
    """What becomes of each part that is claimed: released where its claim is `above` the mark, else uncertain; counted
    in `recovery`."""
    reason = REASON_KILL if recovery.same_boot else REASON_POWER
    records: list[Record] = []
    for campaign, rank, parts in claimed:
        lost = [part for part in parts if (campaign, rank, part) not in above]
        for part in parts:
            kind = Kind.UNCERTAIN if part in lost else Kind.RELEASED
            endpoint = went_by.get((campaign, rank), NO_ENDPOINT)
            records.append((endpoint, campaign, kind, part, reason if part in lost else 0, rank))
        recovery.released += not lost
        recovery.uncertain += bool(lost)
        recovery.parts_uncertain += len(lost)
        if lost:
            name = public_id("cmp", campaign)
            recovery.of_campaign[name] = recovery.of_campaign.get(name, 0) + 1
    return records


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


def _log_all(store: Store, records: list[Record], report: Recovery | None) -> None:
    """Each endpoint's in values of its own."""
    records = sorted(records, key=itemgetter(0))
    for first in range(0, max(1, len(records)), JOURNAL_RECORDS_AT_ONCE):
        values = [
            _value(endpoint, list(mine))
            for endpoint, mine in groupby(records[first : first + JOURNAL_RECORDS_AT_ONCE], key=itemgetter(0))
        ]
        with store.begin_write() as view:
            for value in values:
                log_values.append(view, ledger.next_position(view), value)
            if report is not None and first + JOURNAL_RECORDS_AT_ONCE >= len(records):
                _keep(view, report)


def _value(endpoint: int, records: list[Record]) -> bytes:
    words = memoryview(bytearray(64)).cast("Q")
    book = Book(1, words, bytes(256), 0, ring=2, reply_ring=2, endpoint=endpoint)  # for its journal alone
    runs: dict[int, int] = {}
    for _, campaign, kind, part, state, rank in records:
        run = runs.get(campaign)
        if run is None:
            run = runs[campaign] = book.open_run(campaign, 0, endpoint, b"", b"", receipts=False, honours_stop=False)
        book.log(kind, part, state, rank, run, 0)
    value, _ = book.cut()
    return bytes(value)
