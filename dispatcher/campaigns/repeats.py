"""Messages of a campaign that go (again): refused for now, given back, uncertain and resent; by the endpoint they wait
for.

Touches: nothing. A message of which something is out stays with its endpoint, for its parts must agree; one of which
nothing is out goes wherever its route leads when it is due.
Memory is an item a part; bounded by what may be in flight, and by what a down SMSC has refused for now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

ANY = -1  # instead of an endpoint's number: by the route
ALL_PARTS = (1 << 255) - 1
NEVER_NS = 1 << 63


@dataclass(order=True, slots=True)
class Repeat:
    """A message, or some parts of one, to be sent (again)."""

    due_ns: int
    rank: int
    member_no: int = field(compare=False)
    parts: int = field(compare=False)  # bit per part; all bits of the message: the whole
    tries: int = field(compare=False)
    fails: bool = field(compare=False, default=False)  # it is sent in part or was refused: failed if it goes no more
    since_s: int = field(compare=False, default=0)  # monotonic: when it was refused for now for the first time
    endpoint: int = field(compare=False, default=ANY)
    of: int = field(compare=False, default=1)  # parts of the message
    no_route: bool = field(compare=False, default=False)  # its route is gone: it ends here
    uncertain: int = field(compare=False, default=0)  # of these parts, those that nothing may settle first


class Repeats:
    """By the endpoint that they wait for, the next due first."""

    def __init__(self) -> None:
        self._of: dict[int, list[Repeat]] = {}
        self.stray = False  # some may wait for an endpoint that is down

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def __repr__(self) -> str:
        return f"<Repeats { {endpoint: len(mine) for endpoint, mine in self._of.items()} }>"

    def __iter__(self) -> Iterator[Repeat]:
        for mine in self._of.values():
            yield from mine

    @property
    def next_due_ns(self) -> int:
        return min((mine[0].due_ns for mine in self._of.values() if mine), default=NEVER_NS)

    def due(self, endpoint: int, now_ns: int) -> bool:
        mine = self._of.get(endpoint)
        return bool(mine) and mine[0].due_ns <= now_ns  # type: ignore[index]

    def push(self, item: Repeat) -> None:
        heapq.heappush(self._of.setdefault(item.endpoint, []), item)

    def take(self, endpoint: int, now_ns: int, most_parts: int) -> list[Repeat]:
        """What is due of an endpoint's, the parts of a message together."""
        mine, found, parts = self._of.get(endpoint, []), dict[int, Repeat](), 0
        while mine and mine[0].due_ns <= now_ns and (parts < most_parts or mine[0].rank in found):
            item = heapq.heappop(mine)
            parts += item.parts.bit_count() if item.parts != ALL_PARTS else item.of
            other = found.get(item.rank)
            if other is not None:
                item.parts |= other.parts
                item.uncertain |= other.uncertain
            found[item.rank] = item
        return list(found.values())

    def take_all(self) -> list[Repeat]:
        found = list(self)
        self._of.clear()
        return found

    def free(self, is_up: Callable[[int], bool], exists: Callable[[int], bool]) -> None:
        """Of endpoints that are down, the whole messages go by their route again; of endpoints that are gone, all
        do."""
        self.stray = False
        for endpoint in [e for e, mine in self._of.items() if e != ANY and mine and not is_up(e)]:
            mine = self._of.pop(endpoint)
            whole = _whole(mine) if exists(endpoint) else {item.rank for item in mine}
            for item in mine:
                if item.rank in whole:
                    item.endpoint = ANY
                self.push(item)


def _whole(items: Iterable[Repeat]) -> set[int]:
    """Ranks of messages of which every part is to be sent."""
    parts: dict[int, int] = {}
    of: dict[int, int] = {}
    for item in items:
        parts[item.rank] = parts.get(item.rank, 0) | item.parts
        of[item.rank] = item.of
    return {rank for rank, mask in parts.items() if mask == ALL_PARTS or mask == (1 << of[rank]) - 1}
