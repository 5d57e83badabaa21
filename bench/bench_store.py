"""Commits a second by rows a commit, each on disk; and how fast the outcome log is folded into the ledger.

Each batch size commits for SECONDS; the rows must be there afterwards. The log is as a campaign writes it: a claim for
each hundred recipients, then for each an ESME_ROK with its message_id and a receipt, a thousand recipients a commit.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.harness import Figure, disk_figures, face, print_figures
from dispatcher.records.changes import Changes
from dispatcher.records.states import State
from dispatcher.smpp.pump import Kind
from dispatcher.store import Store, ledger, open_store
from dispatcher.store.layout import DELTA_KEY, U64

SECONDS = 1.5
BATCHES = (1, 10, 100, 1_000)
ROW = bytes(24)  # a changed member with two fields
CLAIMED, SENT = 100, 1_000  # recipients a claim, a log value
_HEADER = struct.Struct("<HHIQI4x")  # records/outcome_log.h
_RUN = struct.Struct("<QHH4x")
_RECORD = struct.Struct("<BBBBIHHI16s")
_CLAIM = struct.Struct("<BB2xIHHIQ")


def commits(store: Store, tenant: int, rows: int) -> tuple[float, float]:
    """(commits a second, rows a second) of `rows` puts each."""
    made, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        changes = Changes()
        for row in range(made * rows, (made + 1) * rows):
            changes.put("delta", DELTA_KEY.pack(tenant, row >> 14, row & 0x3FFF), ROW)
        store.apply(changes)
        made += 1
    took_s = time.perf_counter() - began
    with store.snapshot() as view:
        assert sum(1 for _ in view.range("delta", tenant.to_bytes(2, "big"))) == made * rows
    return made / took_s, made * rows / took_s


def write_log(store: Store, campaign: int, recipients: int) -> int:
    """A whole campaign's log, not folded; the number of its records."""
    records = 0
    for first in range(0, recipients, SENT):
        ranks = range(first, min(first + SENT, recipients))
        body, number = b"", 0
        for at in range(ranks.start, ranks.stop, CLAIMED):
            count = min(CLAIMED, ranks.stop - at)
            pad = -count % 8
            body += _CLAIM.pack(Kind.CLAIM, 0, at, 0, 0, count, at) + b"\1" * count + bytes(pad)
            body += bytes(4 * count + -4 * count % 8)
            number += 1
        for kind, state in ((Kind.ACCEPTED, 0), (Kind.RECEIPT, State.DELIVERED)):
            body += b"".join(_RECORD.pack(kind, 0, state, 16, rank, 0, 1, 0, b"%016d" % rank) for rank in ranks)
            number += len(ranks)
        value = _HEADER.pack(0x564F, 1, number, 1_790_000_000_000 + first, len(body)) + body + _RUN.pack(campaign, 0, 1)
        changes = Changes()
        with store.begin_write() as view:
            changes.put("outcome_log", U64.pack(ledger.next_position(view)), value)
            view.apply(changes)
        records += number
    return records


def fold(store: Store, campaign: int, recipients: int) -> float:
    """Seconds to fold all of it, a commit a slice."""
    began, done = time.perf_counter(), False
    while not done:
        with store.begin_write() as view:
            _, done = ledger.fold(view)
    took_s = time.perf_counter() - began
    with store.snapshot() as view:
        counts = ledger.read_counts(view, campaign)
    assert (counts.sent, counts.accepted, counts.state(State.DELIVERED)) == (recipients, recipients, recipients)
    return took_s


def main(argv: Sequence[str]) -> int:
    parser = face("store", __doc__)
    parser.add_argument("--recipients", type=int, default=330_000, help="whose log is folded")
    parser.add_argument("--data", help="folder on the disk to measure; default: the temporary one")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=options.data) as name:
        print_figures(disk_figures(Path(name)), options.json)
        with open_store(name, write=True, create=True) as store:
            for tenant, rows in enumerate(BATCHES, 1):
                commits_s, rows_s = commits(store, tenant, rows)
                print_figures(
                    [
                        Figure(f"commits of {rows} rows", round(commits_s), "commits/s"),
                        Figure(f"rows in commits of {rows}", round(rows_s), "rows/s"),
                    ],
                    options.json,
                )
            records = write_log(store, 1 << 40, options.recipients)
            took_s = fold(store, 1 << 40, options.recipients)
            print_figures([Figure("outcome log folded", round(records / took_s), "records/s")], options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
