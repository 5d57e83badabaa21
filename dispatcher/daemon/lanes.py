"""Who is served next: the lane of a purpose, and deficit round robin between those of one purpose.

Touches: nothing. Rests on: DESIGN 4 (purposes in order of priority) and 6 (lanes with a floor, deficit round robin).
A lane is a pool of the Book with its own mark. What is claimed into it leaves in the order of its claims; the pump
takes the greater lane first and gives one that waits a part in twenty. Weak spot: transactional and service share a
lane, so a service message may stand behind as much of a transactional campaign as the claim credit lets in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from dispatcher.records.states import Purpose
from dispatcher.smpp.pump import BULK, REPLIES, URGENT

LANE = {
    Purpose.OTP: URGENT,
    Purpose.TRANSACTIONAL: REPLIES,
    Purpose.SERVICE: REPLIES,
    Purpose.CARE: BULK,
    Purpose.MARKETING: BULK,
}
TURN_S = 0.02  # of an endpoint's rate is a turn: few campaigns in a commit and in a step of the fold
FLOOR = 20  # a purpose that waits is claimed one part at least in so many of those above it; the pump's own too
KEPT_PARTS = 255  # of what one could not use: a message that was longer than its rest


class Turns:
    """Deficit round robin: `room` parts in equal shares, what one leaves going to the others. A turn that the room cuts
    short goes on in the next call."""

    def __init__(self) -> None:
        self._order: list[int] = []  # who had their turn least lately first
        self._left: dict[int, int] = {}
        self._amid: set[int] = set()  # whose share is given and not used up

    def serve(self, keys: Collection[int], room: int, take: Callable[[int, int], int], turn: int = 0) -> int:
        """take(key, most) -> parts taken, at most so many; one that takes less has no more for now. turn: parts, where
        an equal share of the room is less. Returns the sum."""
        known = set(self._order)
        waiting = deque([key for key in self._order if key in keys] + [key for key in keys if key not in known])
        left = {key: self._left.get(key, 0) for key in waiting}
        share = max(1, room // max(1, len(waiting)), turn)
        amid = {key for key in self._amid if left.get(key)}
        short: list[int] = []  # the room, not they, made their turn too small for a message
        through: list[int] = []
        taken = 0
        while waiting and taken < room:
            key = waiting.popleft()
            if key not in amid:
                left[key] += share
            most = min(left[key], room - taken)
            got = take(key, most)
            taken += got
            left[key] -= got
            amid.discard(key)
            if most < left[key] + got:
                if got == most or left[key] > KEPT_PARTS:
                    amid.add(key)
                (waiting.appendleft if got == most else short.append)(key)
            elif got == most:
                waiting.append(key)
            else:
                through.append(key)
                left[key] = min(left[key], KEPT_PARTS)
        self._order = [*short, *waiting, *through]
        self._left, self._amid = left, amid
        return taken
