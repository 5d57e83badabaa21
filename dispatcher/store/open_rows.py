"""Which rows of a table something is still to be done for, found without reading the others: a store has years of them.

Touches: rows of `meta`, through a View; whoever writes a row of the table keeps them in step.

    meta: name key -> what is known of the row
          name -> nothing, once a start has looked at every row: an earlier version wrote none of these
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.records.changes import View


def open_rows(view: View, name: bytes, of: bytes = b"") -> Iterator[tuple[bytes, bytes]] | None:
    """(key, what is known of the row) of those whose key begins with `of`; None before a start has looked."""
    if view.get("meta", name) is None:
        return None
    return ((key[len(name) :], known) for key, known in view.range("meta", name + of) if key != name)
