"""Numbers to members, in two tables: `phones`, large, and `phones_new`, where a number stands until many move at once.

Touches: rows of `phones` and `phones_new`, through a Snapshot; writes only through Changes. For one row at a time see
Snapshot, which reads and changes the two as one: a number stands in one of them.
Rests on: DESIGN 5. A row put between others dirties a page of 4 KiB, so 20,000 numbers at random places of 5 million
would dirty some 80 MB in one commit. Put together they take 0.5 MB; moved in order later they share pages, and
every slice of the way is at most PAGES_A_SLICE pages, each of which may have to become two.
Weak spot: how many pages a write will touch is told by where its neighbours lie now.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice

from dispatcher.records.changes import Changes, Rows
from dispatcher.store.layout import TENANT, TENANT_U64
from dispatcher.store.snapshot import Snapshot

try:
    from dispatcher.store._phones import fitting, look_up, place_of
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel store/_phones is not built: run `make build`") from exc

__all__ = [
    "Sole",
    "find_many",
    "in_both",
    "merge_some",
    "must_merge",
    "place_for",
    "place_of",
    "put_new",
    "removable",
    "waiting",
]

LARGE, NEW = "phones", "phones_new"
MERGE_FROM = 65_536  # rows: below, a slice of 16,320 at random places touches some 500 pages at most
MERGE_AT_ONCE = 1 << 20  # rows, or a 16th of the large table: from here on an import moves them before it goes on
PAGES_A_SLICE = 384  # of the large table that a slice of the move may touch: 3 MiB when each becomes two
ROWS_A_SLICE = 16_384  # some 20 ms, which a claim may have to wait


class Sole:
    """Whether all numbers of a tenant were put there by one importer, in this process: it knows them without asking.

    One that finds the tenant without numbers is their owner until another writes one (Snapshot.apply), and never again.
    """

    def __init__(self, tenant: int) -> None:
        self._tenant = tenant
        self._asked = False

    def owns(self, view: Snapshot) -> bool:
        """In the write transaction of what it goes for."""
        if not self._asked:
            self._asked = True
            if next(view.buffers(LARGE, TENANT.pack(self._tenant)), None) is None:
                view.owners[self._tenant] = self
        return view.owners.get(self._tenant) is self


def find_many(
    view: Snapshot,
    tenant: int,
    ordered: Sequence[int] | memoryview,
    start: int,
    end: int,
    marks: bytes | bytearray | None = None,
) -> array[int]:
    """The member of each distinct number of the ascending u64 array ordered[start:end]; -1: nobody has it. Those that
    `marks` is zero for are known to be nobody's."""
    found, count = array("q", b"\xff" * (8 * (end - start))), 0
    for table in (LARGE, NEW):
        with view.txn.cursor(db=view.tables[table]) as at:
            if start == end or not at.set_range(TENANT_U64.pack(tenant, ordered[start])):
                continue
            if bytes(at.key()) > TENANT_U64.pack(tenant, ordered[end - 1]):
                continue
            count = look_up(at.set_key, at.value, tenant, ordered, start, end, found, marks)
    del found[count or place_of(ordered, start, end, -1)[1] :]
    return found


def place_for(
    view: Snapshot, tenant: int, numbers: Sequence[int] | memoryview, count: int, room: int
) -> tuple[str, int]:
    """Where the first `count` of some ascending u64 numbers go that nobody has: the table, and how many of them a
    commit may take there that has room for `room` octets of pages."""
    pages = max(1, room // _page_octets(view) // 2)  # each may become two
    fits, _ = _fitting(view, LARGE, tenant, numbers, count, pages)
    if fits == count:
        return LARGE, count
    new, _ = _fitting(view, NEW, tenant, numbers, count, pages)
    return NEW, new


def _fitting(
    view: Snapshot, table: str, tenant: int, numbers: Sequence[int] | memoryview, count: int, most: int
) -> tuple[int, int]:
    with view.txn.cursor(db=view.tables[table]) as at:
        return fitting(at.set_range, at.key, tenant, numbers, count, _page_octets(view), most)


def _page_octets(view: Snapshot) -> int:
    return int(view.txn.stat(view.tables[LARGE])["psize"])


def put_new(view: Snapshot, changes: Changes, table: str, rows: Rows) -> None:
    """Rows of numbers that nobody has, in order."""
    with view.txn.cursor(db=view.tables[table]) as at:
        append = not at.last() or bytes(at.key()) < next(iter(rows))[0]
    changes.put_many(table, rows, append=append)


def removable(view: Snapshot, tenant: int, numbers: Sequence[int], most: int = PAGES_A_SLICE) -> int:
    """How many of these ascending numbers may be removed in one commit: at most `most` pages of the tables."""
    wanted = memoryview(array("Q", numbers))
    return min(_fitting(view, table, tenant, wanted, len(numbers), most // 2)[0] for table in (LARGE, NEW))


def waiting(view: Snapshot) -> int:
    """Rows of the small table."""
    return int(view.txn.stat(view.tables[NEW])["entries"])


def must_merge(view: Snapshot) -> bool:
    """Whether an import should move numbers before it brings more."""
    large = view.txn.stat(view.tables[LARGE])["entries"]
    return waiting(view) >= max(MERGE_AT_ONCE, large // 16)


def merge_some(view: Snapshot) -> Changes:
    """The first numbers of the small table to the large one, as many as a commit may; empty when none are left.

    Their keys are read in order, so those of one tenant follow each other; a slice is of one tenant.
    """
    changes = Changes()
    first = next(view.buffers(NEW), None)
    if first is None:
        return changes
    tenant = TENANT_U64.unpack(first[0])[0]
    rows = list(islice(view.range(NEW, TENANT.pack(tenant)), ROWS_A_SLICE))
    numbers = array("Q", [TENANT_U64.unpack(key)[1] for key, _ in rows])
    rows = rows[: _fitting(view, LARGE, tenant, memoryview(numbers), len(rows), PAGES_A_SLICE)[0]]
    put_new(view, changes, LARGE, rows)
    for key, _ in rows:
        changes.delete(NEW, key)
    return changes


def in_both(view: Snapshot) -> list[tuple[int, int]]:
    """(tenant, number) of rows that stand in both tables, which none should: for verify."""
    large = view.tables[LARGE]
    return [TENANT_U64.unpack(key)[:2] for key, _ in view.buffers(NEW) if view.txn.get(key, db=large) is not None]
