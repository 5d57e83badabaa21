"""One Book's run numbers, of which there are 4,096: opened for campaigns and batches, given back when nothing awaits
them.

Touches: the Book. Rests on: DESIGN 8 (a segment of the index goes when its messages are final, and an hour): until then
repeats of receipts end in the index; later they are held and found in the log. A campaign whose receipts are still
awaited lets go of its number only when numbers are short, and gets one again when a receipt is found to be its own.
"""

from __future__ import annotations

from collections.abc import Callable

from config import Endpoint
from dispatcher.smpp.pump import Book, Pace, submit_head, submit_mid
from dispatcher.text.options import PLAIN, Options

KEPT_NS = 3_600 * 1_000_000_000
LOOKED_AT = 64  # campaigns a tick
FEW = 1_024  # free numbers: those that are final go at once
VERY_FEW = 256  # those that only await receipts go too
SWEEPS_MAX = 130  # more than segments of the index, twice


class Runs:
    """By id of the campaign or batch; `make_room` is asked to close some when none is free."""

    def __init__(self, book: Book, endpoint: Endpoint, make_room: Callable[[], None]) -> None:
        self.book, self.endpoint = book, endpoint
        self._make_room = make_room
        self._of: dict[int, int] = {}
        self._id: dict[int, int] = {}
        self._octets: dict[int, tuple[bytes, bytes]] = {}  # of a run's submit_sm, as the Book has them
        self._paces: dict[int, tuple[Pace, ...]] = {}
        self._returned: list[tuple[int, ...]] = []  # taken from the Book, and nobody was told yet

    def __repr__(self) -> str:
        return f"<Runs {len(self._of)} open, {self.free} free>"

    @property
    def free(self) -> int:
        return int(self.book.runs_free)

    def get(self, id: int) -> int | None:
        return self._of.get(id)

    def all(self) -> dict[int, int]:
        """id -> run of everything that is open."""
        return dict(self._of)

    def id_of(self, run: int) -> int | None:
        return self._id.get(run)

    def parts_open(self, id: int) -> int:
        """Parts of it claimed here and not yet answered, timed out or given back."""
        run = self._of.get(id)
        return 0 if run is None else int(self.book.run_open(run))

    def stop(self, id: int, stopped: bool) -> None:
        """While stopped, what is claimed and not handed to a socket is given back."""
        run = self._of.get(id)
        if run is not None:
            self.book.stop_run(run, stopped)

    def open(
        self, id: int, tenant: int, sender: str, *, receipts: bool, stop: bool, validity: int,
        options: Options = PLAIN, paces: tuple[Pace, ...] = (),
    ) -> int:  # fmt: skip
        """Its run, with these octets from the next claim on. Raises ValueError when 4,096 campaigns and batches have
        something in flight here."""
        e = self.endpoint
        sender = sender or e.source_addr
        octets = (
            submit_head(sender, e.source_ton, e.source_npi, e.dest_ton, e.dest_npi),
            submit_mid(validity_s=validity, receipts=receipts, **options.fields(receipts)),
        )
        known = self._of.get(id)  # receipts stays: of a batch, one message's options are not the others'
        if known is not None and self._octets.get(known) == octets:
            if self._paces[known] != paces:
                self.book.set_paces(known, paces)
                self._paces[known] = paces
            return known
        if known is None and not self.book.runs_free:
            self._make_room()
            for _ in range(SWEEPS_MAX):
                if self.book.runs_free or not self.book.sweep_runs():
                    break
        run = int(
            self.book.open_run(
                id, tenant, self.book.endpoint, *octets, receipts=receipts, honours_stop=stop, paces=paces
            )
        )
        self._of[id], self._id[run], self._octets[run], self._paces[run] = run, id, octets, paces
        return run

    def take_returned(self) -> list[tuple[int, ...]]:
        """What the pump gave back of all runs since the last call (Book.take_returned)."""
        items, self._returned = self._returned + self.book.take_returned(), []
        return items

    def holds(self, id: int) -> bool:
        """Something of it was given back and waits for the commit that says so."""
        self._returned += self.book.take_returned()
        run = self._of.get(id)
        return run is not None and any(item[1] == run for item in self._returned)

    def close(self, id: int) -> bool:
        """Let go of its run, if it has one. False, and nothing done: something of it is still on its way here."""
        run = self._of.get(id)
        if run is None:
            return True
        if self.holds(id) or not self.book.close_run(run):
            return False
        del self._of[id], self._id[run], self._octets[run], self._paces[run]
        return True
