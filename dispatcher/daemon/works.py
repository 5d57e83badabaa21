"""[trio] What waits for the next commit: steps of the rooms, and the bells that call for it.

Touches: nothing; the committer takes from here. Whoever has something to keep needs only this, not who writes it.
What phones say is a queue of its own, behind all others: a flood of it delays no command (PITFALLS F14).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from dispatcher.daemon.writer import Step, Work


class Works:
    """`do`, `post` and `hear` bring steps into the next commits; `wake` and `hurry` ring."""

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque()
        self._heard: deque[Work] = deque()
        self._bell = trio.Event()
        self._urgent = trio.Event()

    def __repr__(self) -> str:
        return f"<Works {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._heard)

    @property
    def heard_waiting(self) -> int:
        return len(self._heard)

    def wake(self) -> None:
        """Something may be there to commit."""
        self._bell.set()

    def hurry(self) -> None:
        """Somebody waits for a one-time code: the next commit is made without the gap, campaigns and a fold."""
        self._urgent.set()
        self._bell.set()

    def post(self, step: Step, then: Callable[[Work], None]) -> None:
        """Into the next commit; `then` is called in the trio thread when it is on disk or failed."""
        self._waiting.append(Work(step, then))
        self._bell.set()

    def hear(self, step: Step, then: Callable[[Work], None]) -> None:
        """As `post`, of what a phone said: into one of the next commits, in the order of these calls."""
        self._heard.append(Work(step, then, may_wait=True))
        self._bell.set()

    async def do(self, step: Step, after: Callable[[], None] | None = None) -> Any:
        """The step's result, once it is on disk; then `after` is called at once, before whoever waits runs on. Raises
        what the step raised, or StoreFull."""
        done = trio.Event()
        kept: list[Work] = []

        def then(work: Work) -> None:
            kept.append(work)
            if after is not None and work.error is None:
                after()
            done.set()

        self.post(step, then)
        await done.wait()
        if kept[0].error is not None:
            raise kept[0].error
        return kept[0].result

    # ---- the committer's side

    def take(self, most: int) -> list[Work]:
        """The first that wait, those that may not wait longer before the others."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
        return taken + [self._heard.popleft() for _ in range(min(len(self._heard), most - len(taken)))]

    def put_back(self, works: list[Work]) -> None:
        """What a commit had no time for is the first of the next."""
        self._heard.extendleft(reversed(works))

    async def woken(self, within_s: float) -> None:
        """Until the bell rings or the time is over."""
        with trio.move_on_after(within_s):
            await self._bell.wait()
        self._bell = trio.Event()

    async def gap(self, seconds: float) -> bool:
        """Sleep so long, or until somebody is in a hurry: True then, if not before."""
        with trio.move_on_after(seconds):
            await self._urgent.wait()
        hurried, self._urgent = self._urgent.is_set(), trio.Event()
        return hurried
