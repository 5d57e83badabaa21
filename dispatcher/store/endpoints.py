"""Numbers of endpoints: the log, the marks and the runs of a Book speak of an SMSC account by a number, not by its
name.

Touches: meta `endpoints`. A name keeps its number for ever and nobody else gets it, for the log of days ago still
speaks of it. The first is 0, which is what stands in values and marks from before there were several.
"""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.records.changes import Changes, View
from dispatcher.store.values import pack, unpack

ENDPOINTS_MAX = 1_000  # names in a store's life: each has 64 octets of the marks for ever
_ROW = b"endpoints"


def endpoint_numbers(view: View) -> dict[str, int]:
    """Every name that was ever configured, with its number."""
    row = view.get("meta", _ROW)
    return dict(unpack(row)["numbers"]) if row else {}


def number_endpoints(view: View, names: Iterable[str]) -> Changes:
    """Give a number to each name that has none, in their order. Raises ValueError past ENDPOINTS_MAX."""
    numbers, changes = endpoint_numbers(view), Changes()
    before = len(numbers)
    for name in names:
        numbers.setdefault(name, len(numbers))
    if len(numbers) > ENDPOINTS_MAX:
        raise ValueError(f"{len(numbers)} names of endpoints in this store's life, at most {ENDPOINTS_MAX}")
    if len(numbers) > before:
        changes.put("meta", _ROW, pack({"numbers": numbers}))
    return changes
