"""The fold: records of the outcome log into the ledger's arrays, at most 4 MiB of images a commit, counters with them.

A fold opens a *pass* over a fixed stretch of the log and goes through it by chunk: receipts come in any order, so a
stretch may touch every chunk of a campaign, more than one commit may dirty. The meta row `folded` says where the log is
folded up to (key, at) and, while a pass is open, how far it reaches (until) and the last chunk that has its records
(after). Arrays and counters agree after every commit, a pass's chunks are merely not all as late as each other.
Weak spot: each step reads the pass's stretch of the log anew, some 10 ms for a million records.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from dispatcher.records.changes import View
from dispatcher.store._fold import Folder
from dispatcher.store.layout import ARRAYS, BLOCK, CHUNK_HEADER, HEADER, LEDGER_KEY, U64
from dispatcher.store.snapshot import Snapshot
from dispatcher.store.values import pack, unpack

BUDGET = 4 << 20  # octets of images a commit
PASS_RECORDS = 1 << 20  # read again at each of its steps
COUNTS_OCTETS = 512
_WIDTHS = dict(ARRAYS.values())  # number -> octets a rank
_PART_STATE, _STATE = ARRAYS["part_state"][0], ARRAYS["state"][0]
_PARTS, _TRIES = ARRAYS["parts"][0], ARRAYS["tries"][0]
_ACCEPTED = 0x80  # of a part's state: ESME_ROK came
_FIRST = (-1, -1)


class Wanted(NamedTuple):
    """A chunk that a stretch of the log touches: arrays to load and to write (as bits), ranks, parts of a message."""

    number: int
    campaign: int
    chunk: int
    load: int
    write: int
    slots: int
    width: int

    @property
    def octets(self) -> int:
        """Of its images, at most."""
        each = sum(width for number, width in _WIDTHS.items() if width and self.load >> number & 1)
        return (each + (self.width if self.width > 1 else 0)) * BLOCK


def fold(view: Snapshot, *, budget: int = BUDGET, records: int = PASS_RECORDS) -> tuple[int, bool]:
    """One step, within this write transaction. Returns (records looked at, nothing is left to fold)."""
    row = view.get("meta", b"folded")
    place: dict[str, Any] = unpack(row) if row else {"key": 0, "at": 0}
    key, at, until = place["key"], place["at"], place.get("until", 0)
    folder = Folder()
    values: list[tuple[int, memoryview, int]] = []
    count, following, complete = 0, key, True
    for raw, value in view.buffers("outcome_log", after=U64.pack(key - 1) if key else None):
        position = U64.unpack(raw)[0]
        if position >= until if until else count >= records:  # a pass ends where it was to, whoever goes on with it
            complete = False
            break
        begin = at if position == key else 0
        n = folder.scan(value, begin)
        count += n
        if n:
            values.append((position, value, begin))
        following = position + 1
    chosen, last = _choose(folder.wanted(), tuple(place.get("after", _FIRST)), budget)
    if last is None:
        new = {"key": following, "at": 0}
    else:
        new, complete = {"key": key, "at": at, "until": following, "after": last}, False
    if chosen:
        images = _load(view, folder, chosen)
        counts = _counts(view, folder)
        for position, value, begin in values:
            folder.apply(value, begin, position)
        for (campaign, array, chunk), octets in images.items():
            view.txn.put(LEDGER_KEY.pack(campaign, array, chunk), octets, db=view.tables["ledger"])
        for campaign, octets in counts.items():
            view.txn.put(U64.pack(campaign), octets, db=view.tables["campaign_counts"])
    del values
    if new != place:
        view.txn.put(b"folded", pack(new), db=view.tables["meta"])
    return count, complete


def pass_open(view: View) -> bool:
    """A pass is begun and not at its end."""
    row = view.get("meta", b"folded")
    return row is not None and "until" in unpack(row)


def log_base(view: View, campaign: int) -> int:
    """Where a campaign's log begins; 0 before it starts."""
    row = view.get("meta", b"log_base" + U64.pack(campaign))
    return int(U64.unpack(row)[0]) if row else 0


def has_log_base(view: View, campaign: int) -> bool:
    """Whether it was set, be it to 0: where nothing was ever sent the log is empty."""
    return view.get("meta", b"log_base" + U64.pack(campaign)) is not None


def _choose(
    wanted: Iterable[tuple[int, ...]], after: tuple[int, ...], budget: int
) -> tuple[list[Wanted], list[int] | None]:
    """(the next chunks within the budget, the first even beyond it; the last of them when others follow)"""
    left = sorted(
        (w for w in map(Wanted._make, wanted) if (w.campaign, w.chunk) > after), key=lambda w: (w.campaign, w.chunk)
    )
    chosen: list[Wanted] = []
    for each in left:
        budget -= each.octets
        if budget < 0 and chosen:
            return chosen, [chosen[-1].campaign, chosen[-1].chunk]
        chosen.append(each)
    return chosen, None


def _counts(view: Snapshot, folder: Folder) -> dict[int, bytearray]:
    """The counters of every campaign of the stretch, lent to the folder."""
    counts = {}
    for campaign in folder.campaigns():
        row = view.get("campaign_counts", U64.pack(campaign))
        counts[campaign] = bytearray(row) if row else bytearray(COUNTS_OCTETS)
        folder.attach_counts(campaign, counts[campaign], log_base(view, campaign))
    return counts


def _load(view: Snapshot, folder: Folder, chosen: Iterable[Wanted]) -> dict[tuple[int, int, int], bytearray]:
    """Images of these chunks, lent to the folder; returns those that must be written back."""
    written: dict[tuple[int, int, int], bytearray] = {}
    for number, campaign, chunk, load, write, top, width in chosen:
        states = view.buffer("ledger", LEDGER_KEY.pack(campaign, _STATE, chunk))
        had = CHUNK_HEADER.unpack_from(states)[0] if states is not None else 0
        slots = max(had, min(BLOCK, (top + 1023) // 1024 * 1024))
        for array, usual in _WIDTHS.items():
            if array != _PART_STATE and not load >> array & 1:
                continue
            old = view.buffer("ledger", LEDGER_KEY.pack(campaign, array, chunk))
            old_width = usual
            if array == _PART_STATE:
                old_width = CHUNK_HEADER.unpack_from(old)[2] if old is not None else 0
                parts = _without_states(view, campaign, chunk) if old is None and had else b""
                width = max(width, old_width, max(parts, default=0))
                if width < 2:
                    continue
            octets = width if array == _PART_STATE else old_width
            image = bytearray(HEADER + slots * octets)
            CHUNK_HEADER.pack_into(image, 0, slots, array, octets)
            if old is not None:
                if octets == old_width:
                    image[HEADER : len(old)] = old[HEADER:]
                else:  # more parts than the chunk had room for: respread
                    for rank in range((len(old) - HEADER) // old_width):
                        to = HEADER + rank * octets
                        image[to : to + old_width] = old[HEADER + rank * old_width : HEADER + (rank + 1) * old_width]
            elif array == _PART_STATE and states is not None:
                for rank in range(min(len(parts), had)):
                    at = HEADER + rank * width
                    image[at : at + parts[rank]] = bytes((states[HEADER + rank] | _ACCEPTED,)) * parts[rank]
            folder.attach(number, array, memoryview(image)[HEADER:], slots, octets)
            if write >> array & 1 or array == _PART_STATE:
                written[campaign, array, chunk] = image
    return written


def _without_states(view: Snapshot, campaign: int, chunk: int) -> bytes:
    """How many parts each message of a chunk has, where what became of each was dropped together with the tries, as
    archives did once (apps/archive.py): then all of a message's are in its state. Of any other chunk nothing."""
    if view.buffer("ledger", LEDGER_KEY.pack(campaign, _TRIES, chunk)) is not None:
        return b""
    octets = view.buffer("ledger", LEDGER_KEY.pack(campaign, _PARTS, chunk))
    return b"" if octets is None else bytes(octets[HEADER:])
