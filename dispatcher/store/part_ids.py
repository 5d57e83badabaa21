"""message_ids of every part of a message, out of the log: what an archive keeps before the log ages away.

Touches: table `outcome_log` and the ledger's `log_no`, through a Snapshot.
Rests on: parts of a message leave together and are answered within some commits of each other, so the log values beside
the one with the first part's ESME_ROK have them nearly always, and neighbours by rank share those values. What is not
there (a part that was refused for now and went again) is looked for between the last claim and the end.
Weak spot: a part that went again before the last claim, and far from the first answer, is not found: its id is None.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from dispatcher.store import ledger
from dispatcher.store._trail import later_ids
from dispatcher.store.layout import BLOCK
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.trail import ACCEPTED, Trail

BESIDE = 64  # values on either side: a commit has some an endpoint
VALUES_KEPT = 1_024  # of what was read: more than two frames' of an archive are beside
FAR_OCTETS = 1 << 20  # of the log that one message is worth

Ids = dict[int, dict[int, str]]  # rank -> part -> message_id


class PartIds:
    """For messages of one campaign by ascending rank; what was read for one serves the next. Snapshots may change."""

    def __init__(self, campaign: int) -> None:
        self._campaign = campaign
        self._read: OrderedDict[int, Ids] = OrderedDict()

    def of(
        self, look: Trail, rank: int, parts: int, first: str | None, since_ms: int, until_ms: int | None
    ) -> list[str | None]:
        """By part; `first` is the first one's, as it is known. look: its snapshot and how much of the log it may read
        where an id is far. since_ms and until_ms: the last claim and the end, None: the end of the log."""
        found: dict[int, str] = {} if first is None else {0: first}
        for ids in self._beside(look.view, rank):
            for part, text in ids.get(rank, {}).items():
                found.setdefault(part, text)
            if len(found) == parts:
                break
        else:
            steps, _ = look.of(self._campaign, rank, since_ms=since_ms, until_ms=until_ms, most=FAR_OCTETS)
            found = {step.part: id_text(step.id) for step in steps if step.kind == ACCEPTED} | found
        return [found.get(part) for part in range(parts)]

    @property
    def values_kept(self) -> int:
        return len(self._read)

    def _beside(self, view: Snapshot, rank: int) -> Iterator[Ids]:
        """Ids of the value with the first part's ESME_ROK, of those after it, of those before it."""
        chunk, r = divmod(rank, BLOCK)
        array = ledger.read_array(view, self._campaign, "log_no", chunk)
        log_no = 0 if array is None else int.from_bytes(array[4 * r : 4 * r + 4], "little")
        if not log_no:
            return
        position = ledger.log_base(view, self._campaign) + log_no - 1
        before = ledger.log_values(view, reverse=True, after=position + 1)
        for key, value in islice(before, 1):
            yield self._ids(key, value)
        for key, value in islice(ledger.log_values(view, after=position), BESIDE):
            yield self._ids(key, value)
        for key, value in islice(before, BESIDE):
            yield self._ids(key, value)

    def _ids(self, key: int, value: memoryview) -> Ids:
        ids = self._read.get(key)
        if ids is None:
            ids = self._read[key] = {}
            for rank, part, octets in later_ids(value, self._campaign):
                ids.setdefault(rank, {})[part] = id_text(octets)
            if len(self._read) > VALUES_KEPT:
                self._read.popitem(last=False)
        return ids


def id_text(octets: bytes) -> str:
    """A message_id as the SMSC wrote it."""
    return octets.rstrip(b"\0").decode("latin-1")
