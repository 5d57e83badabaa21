"""What of the outcome log is dropped, when, and that a kill between slices leaves every message_id in log or segment."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.daemon.crash import crash_point
from dispatcher.daemon.log_drop import VALUES_AT_ONCE, drop_values, old_values
from dispatcher.records.batches import batch_of, message_batch
from dispatcher.records.states import Purpose, State
from dispatcher.smpp.pump import Kind
from dispatcher.store import Snapshot, Store, ids_kept, ledger, open_store
from tests.store.logs import BASE_MS, Claim, Record, append, fold_all, value_of

DAY = 86_400_000
CAMPAIGN = 7
ANSWERS, MESSAGES = batch_of(1), message_batch(1, Purpose.SERVICE)


def accepted(id: int, rank: int, base_ms: int = BASE_MS, *more: Record) -> bytes:
    """One message claimed and accepted as `<id>-<rank>`."""
    text = f"{id & 0xFFFF}-{rank}".encode()
    return value_of([Claim(id, rank, (1,)), Record(id, Kind.ACCEPTED, rank, message_id=text), *more], base_ms)


def delivered(id: int, rank: int) -> Record:
    return Record(id, Kind.RECEIPT, rank, state=State.DELIVERED)


def sweep(store: Store, now_ms: int, kept_ms: int = DAY, *, ids: bool = True) -> int:
    """Keeps the ids of what is old, then drops it; slices that the dropping took."""
    while ids:
        with store.snapshot() as view:
            slice_ = ids_kept.keep(view, kept_ms, frozenset(), now_ms)
        if slice_ is None:
            break
        with store.begin_write() as view:
            crash_point("in_ids_kept")
            view.apply(slice_.changes())
    slices = 0
    while True:
        with store.snapshot() as view:
            old = old_values(view, kept_ms, now_ms, ids_kept_too=ids)
        if not old:
            return slices
        with store.begin_write() as view:
            view.apply(drop_values(old))
        slices += 1


def left(store: Store) -> list[int]:
    """Ranks that the log still speaks of."""
    with store.snapshot() as view:
        return ranks_of(view, 0)


def ranks_of(view: Snapshot, since: int) -> list[int]:
    """Those accepted in the log from a position on."""
    values = [value for position, value in ledger.log_values(view) if position >= since]
    return [record[2] for value in values for record in ledger.records(value) if record[0] == Kind.ACCEPTED]


def kept(store: Store) -> list[tuple[int, int]]:
    """(campaign or batch, rank) of every kept id."""
    with store.snapshot() as view:
        rows = view.buffers(ids_kept.TABLE)
        return sorted((id, rank) for _, value in rows for _, id, _, rank, _ in ids_kept.entries(value))


def test_only_old_folded_and_settled_values_go_and_never_the_last(store: Store):
    values = [accepted(CAMPAIGN, rank, BASE_MS + rank, delivered(CAMPAIGN, rank)) for rank in range(4)]
    append(store, *values)
    assert sweep(store, BASE_MS + 2 * DAY) == 0, "nothing is folded yet"
    fold_all(store)
    assert sweep(store, BASE_MS + DAY - 1) == 0
    assert sweep(store, BASE_MS + DAY + 1) == 1 and left(store) == [2, 3]
    sweep(store, BASE_MS + 9 * DAY)
    assert left(store) == [3] and kept(store) == [(CAMPAIGN, 0), (CAMPAIGN, 1), (CAMPAIGN, 2), (CAMPAIGN, 3)]


def test_what_awaits_its_receipt_keeps_its_part_of_the_log_and_what_stands_behind_it(store: Store):
    append(store, *(accepted(MESSAGES, rank, BASE_MS, delivered(MESSAGES, 0)) for rank in range(4)))
    fold_all(store)
    sweep(store, BASE_MS + 2 * DAY)
    assert left(store) == [1, 2, 3], "a batch is never over, but what is before its oldest open message goes"


def test_answers_ask_for_no_receipt_and_hold_no_log(store: Store):
    append(store, *(accepted(ANSWERS, rank) for rank in range(3)), accepted(ANSWERS, 3))
    fold_all(store)
    sweep(store, BASE_MS + 2 * DAY)
    assert left(store) == [3] and kept(store) == [(ANSWERS, rank) for rank in range(4)]


def test_with_no_days_to_keep_them_ids_go_with_the_log(store: Store):
    append(store, *(accepted(ANSWERS, rank) for rank in range(3)))
    fold_all(store)
    sweep(store, BASE_MS + 2 * DAY, ids=False)
    assert left(store) == [2] and kept(store) == []


def test_nothing_is_dropped_before_its_ids_are_kept(store: Store):
    append(store, *(accepted(ANSWERS, rank) for rank in range(3)))
    fold_all(store)
    with store.snapshot() as view:
        assert old_values(view, DAY, BASE_MS + 2 * DAY) == []


def test_a_long_log_goes_in_slices_of_so_many_values(store: Store):
    append(store, *(accepted(ANSWERS, rank) for rank in range(2 * VALUES_AT_ONCE + 2)))
    fold_all(store)
    assert sweep(store, BASE_MS + 2 * DAY) == 3
    assert kept(store) == [(ANSWERS, rank) for rank in range(2 * VALUES_AT_ONCE + 2)]


spoken = st.tuples(st.sampled_from([CAMPAIGN, ANSWERS]), st.integers(0, 1 << 31), st.integers(1, 5), st.booleans())


@given(items=st.lists(spoken, min_size=1, max_size=30))
def test_a_value_says_between_which_ranks_it_speaks(items: list[tuple[int, int, int, bool]]):
    want: dict[int, tuple[int, int]] = {}
    made: list[Claim | Record] = []
    for id, rank, many, claims in items:
        many = many if claims else 1
        made.append(Claim(id, rank, (1,) * many) if claims else Record(id, Kind.REFUSED, rank))
        low, high = want.get(id, (rank, rank))
        want[id] = min(low, rank), max(high, rank + many - 1)
    assert sorted(ledger.rank_spans(value_of(made))) == sorted((id, *span) for id, span in want.items())


SWEEPER = """
import sys
from tests.daemon.test_log_drop import BASE_MS, DAY, sweep
from dispatcher.store import open_store
with open_store(sys.argv[1], write=True) as store:
    print("open", flush=True)
    sweep(store, BASE_MS + 2 * DAY)
"""


@pytest.mark.parametrize("at", ["in_ids_kept:1", "in_ids_kept:3", "in_log_drop:1", "in_log_drop:9", 0.0, 0.005, 0.02])
def test_a_kill_between_slices_leaves_each_id_in_a_segment_or_in_the_log_behind_and_the_next_start_goes_on(
    tmp_path: Path, at: str | float
):
    many = 12 * VALUES_AT_ONCE
    with open_store(tmp_path, write=True, create=True) as store:
        append(store, *(accepted(ANSWERS, rank) for rank in range(many)))
        fold_all(store)
    argv = [sys.executable, "-c", SWEEPER, str(tmp_path)]
    killed_at = {"VOLLEY_CRASH_AT": at} if isinstance(at, str) else {}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ | killed_at) as child:
        assert child.stdout is not None and child.stdout.readline() == b"open\n"
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=None if isinstance(at, str) else at)
        child.kill()
    with open_store(tmp_path, write=True) as store:
        with store.snapshot() as view:
            behind = ranks_of(view, ids_kept.upto(view))
        assert [rank for _, rank in kept(store)] + behind == list(range(many)), "in one of the two, and never in both"
        if str(at).startswith("in_log_drop"):
            assert many - len(left(store)) == (int(at[-1]) - 1) * VALUES_AT_ONCE, "what was committed, and no more"
        sweep(store, BASE_MS + 2 * DAY)
        assert [rank for _, rank in kept(store)] == list(range(many)) and left(store) == [many - 1]
        with store.snapshot() as view:
            assert [problem for check in ids_kept.CHECKS for problem in check(view)] == []
