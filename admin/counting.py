"""Counts while somebody types: a newer one from the same caller ends the older.

Touches: nothing; lives in the application's state. A count asks now and then whether it is still wanted, on the
thread it runs on, and stops by raising the refusal that its caller gets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispatcher.errors import CommandRefused

Who = tuple[int, int, str]  # key, tenant, the caller's own word for one of its places


class Counting:
    """Counts under way, at most one for each caller. begin() from the loop's thread only."""

    def __init__(self) -> None:
        self._latest: dict[Who, threading.Event] = {}

    def __repr__(self) -> str:
        return f"Counting({len(self._latest)} callers)"

    @contextmanager
    def begin(self, who: Who) -> Iterator[Callable[[], None]]:
        """What the count calls; it raises CommandRefused 409 superseded once `who` has begun another."""
        superseded = threading.Event()
        if (older := self._latest.get(who)) is not None:
            older.set()
        self._latest[who] = superseded

        def still_wanted() -> None:
            if superseded.is_set():
                raise CommandRefused(409, "superseded", "a newer count of the same caller took this one's place")

        try:
            yield still_wanted
        finally:
            if self._latest.get(who) is superseded:
                del self._latest[who]
