"""The table of ported numbers: number -> network, 10 M entries and more, loaded whole from lines.

Touches: tables `ported` and meta `ported`. Rests on: _choose.pyx, which looks numbers up in the values as they lie.

    ported: generation:4 first:8 -> u64 (number << 14 | index of its network), ascending, at most 65,536 a value

A load writes a generation of its own in slices and then turns to it in one commit; what was before is deleted in
slices.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.routes._choose import read_lines, sort_entries
from dispatcher.store.values import pack, unpack

ENTRIES_A_VALUE = 1 << 16
VALUES_A_SLICE = 6  # 3 MiB a commit
READ_OCTETS = 1 << 20
NETWORK_BITS = 14
_KEY = struct.Struct(">IQ")
_GENERATION = struct.Struct(">I")
_ROW = b"ported"


@dataclass(frozen=True, slots=True)
class Ported:
    """What is loaded."""

    generation: int = 0  # 0: nothing
    count: int = 0
    networks: tuple[str, ...] = ()
    at_ms: int = 0
    file: str = ""


@dataclass(slots=True)
class Read:
    """A file's entries in order, and its lines that could not be read."""

    entries: bytearray
    count: int
    networks: list[str]
    lines: int
    wrong: list[tuple[int, bytes]]


def get_ported(view: View) -> Ported:
    row = view.get("meta", _ROW)
    if row is None:
        return Ported()
    found: dict[str, Any] = unpack(row)
    return Ported(found["generation"], found["count"], tuple(found["networks"]), found["at_ms"], found["file"])


def ported_values(view: View, generation: int) -> list[memoryview]:
    """The table's values in order, as they lie in the map: they die with the view."""
    if not generation:
        return []
    return [value for _, value in view.buffers("ported", _GENERATION.pack(generation))]  # type: ignore[attr-defined]


def network_of(view: View, generation: int, networks: Sequence[str], number: int) -> str | None:
    """The code of the network that a number was ported to."""
    for value in reversed(ported_values(view, generation)):
        if int.from_bytes(value[:8], "little") >> NETWORK_BITS <= number:
            entries = value.cast("Q")
            at = bisect_left(entries, number << NETWORK_BITS)
            if at < len(entries) and entries[at] >> NETWORK_BITS == number:
                return networks[entries[at] & (1 << NETWORK_BITS) - 1]
            return None
    return None


def read_ported(octets: Iterable[bytes]) -> Read:
    """Lines `number,network`; a first line without digits is a header. Memory: 8 octets an entry."""
    entries, networks = bytearray(), dict[bytes, int]()
    wrong: list[tuple[int, bytes]] = []
    rest, line = b"", 1
    for some in octets:
        some = rest + some
        at, line = read_lines(some, networks, entries, wrong, line)
        rest = some[at:]
    if rest:
        _, line = read_lines(rest + b"\n", networks, entries, wrong, line)
    if wrong and wrong[0][0] == 1 and not any(48 <= octet <= 57 for octet in wrong[0][1]):
        wrong.pop(0)
    count = sort_entries(entries)
    del entries[8 * count :]
    return Read(entries, count, [code.decode("utf-8", "replace") for code in networks], line - 1, wrong)


def write_slice(view: View, entries: bytes | bytearray | memoryview, first: int) -> tuple[Changes, int]:
    """(what to write in one commit from entry `first` on, the entry after it) of a new generation. The table in use is
    not touched; call drop_old() until there is none before the first."""
    generation, count = get_ported(view).generation + 1, len(entries) // 8
    changes, end = Changes(), min(first + VALUES_A_SLICE * ENTRIES_A_VALUE, count)
    for at in range(first, end, ENTRIES_A_VALUE):
        value = bytes(entries[8 * at : 8 * min(at + ENTRIES_A_VALUE, count)])
        changes.put("ported", _KEY.pack(generation, int.from_bytes(value[:8], "little") >> NETWORK_BITS), value)
    return changes, end


def turn(view: View, read_count: int, networks: list[str], file: str, at_ms: int) -> Changes:
    """From this commit on the new generation is the table."""
    changes = Changes()
    row = {
        "generation": get_ported(view).generation + 1,
        "count": read_count,
        "networks": networks,
        "at_ms": at_ms,
        "file": file,
    }
    changes.put("meta", _ROW, pack(row))
    return changes


def drop_old(view: View) -> Changes:
    """Some values of other generations than the one in use; empty when there are none."""
    changes, now = Changes(), get_ported(view).generation
    for after in (None, _KEY.pack(now, (1 << 64) - 1)):
        for key, _ in view.range("ported", after=after):
            if _KEY.unpack(key)[0] == now:
                break
            changes.delete("ported", key)
            if len(changes.rows) >= VALUES_A_SLICE:
                return changes
    return changes
