"""message_ids of a dropped log: octets each, how many a second are packed and committed, and how soon one is found.

For each kind of id a log of RECIPIENTS messages, answers shuffled within a commit, is written, folded, kept and dropped
as the dispatcher does it (store/ids_kept.py, daemon/log_drop.py), a slice a commit and on disk. Every id asked for must
be found afterwards. Then the last segment is laid beside itself until there are LOOKED ids, and one that nobody has is
looked up; among 100 M it takes so many times as long, for a look-up goes through all segments.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.harness import Figure, best_of, disk_figures, face, print_figures
from dispatcher.daemon.log_drop import drop_values, old_values
from dispatcher.records.changes import Changes
from dispatcher.records.states import State
from dispatcher.smpp.pump import Book, Kind
from dispatcher.store import Snapshot, Store, ids_kept, ledger, open_store
from dispatcher.store.layout import U64
from tests.store.logs import BASE_MS, Claim, Record, append, fold_all, value_of

RECIPIENTS, A_COMMIT = 400_000, 4_000
LOOKED, RECKONED = 20_000_000, 100_000_000
CAMPAIGN, DAY_MS = 7, 86_400_000
NOW_MS = BASE_MS + 2 * DAY_MS
T = TypeVar("T")
_random = random.Random(7)
KINDS: dict[str, Callable[[int], bytes]] = {
    "decimal": lambda n: b"%d" % (4_000_000_000 + n),
    "hexadecimal": lambda n: b"%08x" % (0x3000_0000 + n),
    "random 64 bits": lambda n: b"%016x" % _random.getrandbits(64),
}


def write_log(store: Store, text_of: Callable[[int], bytes]) -> dict[int, bytes]:
    """Claims, answers and receipts of RECIPIENTS; the id of some of them by rank."""
    some: dict[int, bytes] = {}
    for first in range(0, RECIPIENTS, A_COMMIT):
        ranks = _random.sample(range(first, first + A_COMMIT), A_COMMIT)
        texts = {rank: text_of(rank) for rank in ranks}
        items: list[Claim | Record] = [Claim(CAMPAIGN, first, (1,) * A_COMMIT)]
        items += [Record(CAMPAIGN, Kind.ACCEPTED, rank, message_id=texts[rank]) for rank in ranks]
        items += [Record(CAMPAIGN, Kind.RECEIPT, rank, state=State.DELIVERED) for rank in ranks]
        append(store, value_of(items, BASE_MS + first))
        some[first] = texts[first]
    append(store, value_of([Record(CAMPAIGN, Kind.RECEIPT, 0, state=State.DELIVERED)], BASE_MS + RECIPIENTS))
    fold_all(store)
    return some


def sweep(store: Store) -> tuple[float, float]:
    """Seconds that it took to keep the ids and to drop the log; of these the longest commit."""
    began, longest = time.perf_counter(), 0.0

    def commit(changes: Changes) -> None:
        nonlocal longest
        since = time.perf_counter()
        store.apply(changes)
        longest = max(longest, time.perf_counter() - since)

    while (kept := _of(store, lambda view: ids_kept.keep(view, DAY_MS, frozenset(), NOW_MS))) is not None:
        commit(kept.changes())
    while old := _of(store, lambda view: old_values(view, DAY_MS, NOW_MS)):
        commit(drop_values(old))
    return time.perf_counter() - began, longest


def _of(store: Store, look: Callable[[Snapshot], T]) -> T:
    with store.snapshot() as view:
        return look(view)


def look_up_s(store: Store) -> float:
    """Of one id among LOOKED, the best of 20."""
    with store.snapshot() as view:
        (*_, (_, value)) = view.range(ids_kept.TABLE)
        entries = ids_kept.kept_ids(view)[-1].entries
    with store.begin_write() as view:
        for no in range(LOOKED // entries):
            view.txn.put(U64.pack(no), value, db=view.tables[ids_kept.TABLE])
    with store.snapshot() as view:
        (took_s,) = best_of(20, lambda: ids_kept.look_up(view, [1]))
    return took_s


def main(argv: Sequence[str]) -> int:
    parser = face("ids", __doc__)
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    book = Book(1, memoryview(bytearray(64)).cast("Q"), bytes(256), 0, ring=2, reply_ring=2)
    for kind, text_of in KINDS.items():
        with (
            tempfile.TemporaryDirectory(dir=options.data) as name,
            open_store(name, write=True, create=True) as store,
        ):
            if kind == next(iter(KINDS)):
                print_figures(disk_figures(Path(name)), options.json)
            some = write_log(store, text_of)
            with store.snapshot() as view:
                log_octets = sum(len(value) for _, value in ledger.log_values(view))
            took_s, longest_s = sweep(store)
            keys = {book.key_of(text): rank for rank, text in some.items()}
            with store.snapshot() as view:
                found = ids_kept.look_up(view, list(keys))
                assert {key: known.rank for (_, key), known in found.items()} == keys
                octets = sum(len(value) for _, value in view.buffers(ids_kept.TABLE))
            figures = [
                Figure(f"a kept id, {kind}", round(octets / RECIPIENTS, 2), "octets", "< 16", octets < 16 * RECIPIENTS),
                Figure(f"log of it, {kind}", round(log_octets / RECIPIENTS, 1), "octets"),
                Figure(f"ids kept and their log dropped, {kind}", round(RECIPIENTS / took_s), "ids/s"),
                Figure(f"longest commit of that, {kind}", round(longest_s * 1e3, 1), "ms"),
            ]
            if kind == list(KINDS)[-1]:
                ms = 1e3 * look_up_s(store)
                figures.append(Figure(f"one id among {LOOKED // 10**6} M", round(ms, 3), "ms"))
                ms *= RECKONED / LOOKED
                figures.append(
                    Figure(f"one id among {RECKONED // 10**6} M, reckoned", round(ms, 3), "ms", "< 1", ms < 1)
                )
            print_figures(figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
