"""One finding of verify, and what a check is.

Touches: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dispatcher.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not add up: which rule, where, and what was found."""

    rule: str
    place: str
    found: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.place}: {self.found}"


Check = Callable[[Snapshot], Iterator[Problem]]
