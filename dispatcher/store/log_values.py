"""What is appended to the outcome log: values of at most as many pages as the ledger's shortest array has.

Touches: table `outcome_log`, within whoever's write transaction.

LMDB gives a value of many pages a run of neighbours, and looks through all free pages for one before it takes new ones.
A backup's reader holds back what writers give up meanwhile; when it goes, those are tens of thousands of pages in runs
of 4 and 16. The log keeps what it takes, so it needs runs that nobody else gives back for it: values of 40 pages looked
through all that was free in vain, 6 to 12 ms a commit for minutes where it had been 0.05; of 16 pages, 2 to 3. Of 4
pages they fit whatever was given up: 0.3 to 0.5 ms, and the file does not grow.
"""

from __future__ import annotations

from dispatcher.records.changes import Changes
from dispatcher.store.layout import U64
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store._log_values import split
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_log_values is not built: run `make build`") from exc

__all__ = ["OCTETS_MAX", "append", "put", "split"]

Octets = bytes | bytearray | memoryview
OCTETS_MAX = 4 * 4_096 - 16  # pages, less LMDB's header: an array of an octet a rank takes as many


def append(view: Snapshot, position: int, value: Octets) -> int:
    """Put a value at the log's end, `position`, as several where it is long. Returns the end after it."""
    for each in split(value, OCTETS_MAX):
        view.txn.put(U64.pack(position), each, db=view.tables["outcome_log"], append=True)
        position += len(each) // 8
    return position


def put(changes: Changes, position: int, value: bytes) -> int:
    """The same, to be applied later in the commit."""
    for each in split(value, OCTETS_MAX):
        changes.put("outcome_log", U64.pack(position), bytes(each))
        position += len(each) // 8
    return position
